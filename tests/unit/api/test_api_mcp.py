# SPDX-License-Identifier: Apache-2.0
"""The tools through the protocol's own client, over the same small services as the other doors."""

import asyncio
import base64
from io import BytesIO
from typing import Any

import pytest
from mcp.client import Client
from PIL import Image
from tests.unit.api.services import Workshop

from inglenook.api.mcp.protocol import mcp_server
from inglenook.api.mcp.schemas import TOOLS
from inglenook.api.mcp.tools import MAX_IMAGE_BYTES, Tools
from inglenook.base.cancel import StopReason
from inglenook.base.ids import OWNER, PersonId, PictureId
from inglenook.images.model import Mode
from inglenook.jobs.model import EventType

pytestmark = pytest.mark.anyio


async def owner(_: object) -> PersonId:
    return OWNER


@pytest.fixture
def workshop() -> Workshop:
    return Workshop()


def connected(workshop: Workshop) -> Client:
    tools = Tools(
        images=workshop.images, jobs=workshop.jobs, gallery=workshop.gallery, catalog=workshop.catalog
    )
    return Client(mcp_server(tools.call, owner))


async def called(workshop: Workshop, name: str, **arguments: Any) -> Any:
    async with connected(workshop) as client:
        return await client.call_tool(name, arguments)


def words(result: Any) -> str:
    return " ".join(block.text for block in result.content if block.type == "text")


async def test_every_tool_is_listed_with_what_it_takes(workshop: Workshop) -> None:
    async with connected(workshop) as client:
        tools = (await client.list_tools()).tools
    assert [tool.name for tool in tools] == [tool.name for tool in TOOLS]
    by_name = {tool.name: tool for tool in tools}
    assert "seed" in by_name["generate_image"].input_schema["properties"]
    assert "stream" not in by_name["generate_image"].input_schema["properties"]
    assert by_name["list_models"].annotations is not None
    assert by_name["list_models"].annotations.read_only_hint


async def test_models_are_listed_with_what_they_can_do_and_what_is_wrong(workshop: Workshop) -> None:
    result = await called(workshop, "list_models")
    models = {model["id"]: model for model in result.structured_content["models"]}
    assert models["starter"]["default_size"] == "64x48"
    assert models["broken"]["problem"] == "its header is cut off"
    assert models["a-lora"]["kind"] == "lora"


async def test_a_picture_is_drawn_and_shown(workshop: Workshop) -> None:
    result = await called(workshop, "generate_image", prompt="a red fox", n=2, seed=5, size="128x96")
    assert not result.is_error
    [request] = workshop.images.requests
    assert (request.prompt, request.n, request.seed, request.width) == ("a red fox", 2, 5, 128)
    assert result.structured_content["state"] == "succeeded"
    assert [part["seed"] for part in result.structured_content["pictures"]] == [10, 11]
    shown = [block for block in result.content if block.type == "image"]
    assert len(shown) == 2
    assert shown[0].mime_type == "image/png"


async def test_progress_is_told_while_it_is_drawn(workshop: Workshop) -> None:
    workshop.images.plan = workshop.images.hang
    told: list[tuple[float, str | None]] = []

    async def heard(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, message))
        assert total == 1.0

    async with connected(workshop) as client:
        call = asyncio.create_task(
            client.call_tool("generate_image", {"prompt": "a fox"}, progress_callback=heard)
        )
        while not workshop.images.requests:
            await asyncio.sleep(0)
        [job] = workshop.jobs.jobs.values()
        step = {"progress": 0.25, "stage": "denoise", "picture": 0, "pictures": 1, "step": 5, "steps": 20}
        workshop.jobs.tell(job.id, EventType.PROGRESS, step)
        while not told:
            await asyncio.sleep(0)
        workshop.images.succeed(workshop.jobs.jobs[job.id], workshop.images.requests[0])
        result = await call
    assert told[0] == (0.25, "denoise, picture 1 of 1, step 5 of 20")
    assert result.structured_content["state"] == "succeeded"


async def test_a_long_job_is_answered_before_its_end_and_can_be_watched_and_cancelled(
    workshop: Workshop,
) -> None:
    workshop.images.plan = workshop.images.hang
    result = await called(workshop, "generate_image", prompt="a fox", wait_s=0)
    assert result.structured_content["state"] == "queued"
    job = result.structured_content["job_id"]
    assert (await called(workshop, "watch_job", job_id=job)).structured_content["state"] == "queued"
    cancelled = await called(workshop, "cancel_job", job_id=job)
    assert cancelled.structured_content["job"]["receipt"]["how"] == "stopped"
    assert (await called(workshop, "watch_job", job_id=job)).structured_content["state"] == "cancelled"


async def test_a_client_that_gives_up_takes_its_job_along(workshop: Workshop) -> None:
    workshop.images.plan = workshop.images.hang
    tools = Tools(
        images=workshop.images, jobs=workshop.jobs, gallery=workshop.gallery, catalog=workshop.catalog
    )

    async def deaf(_fraction: float, _text: str) -> None:
        """Hears nothing."""

    call = asyncio.create_task(tools.call("generate_image", {"prompt": "a fox"}, person=OWNER, tell=deaf))
    while not workshop.images.requests:
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    while not workshop.jobs.cancelled:
        await asyncio.sleep(0)
    assert workshop.jobs.cancelled[0][1] is StopReason.CLIENT_GONE


async def test_pictures_are_changed_by_id_and_by_their_bytes(workshop: Workshop) -> None:
    made = workshop.gallery.add(b"made here")
    sent = base64.b64encode(b"sent along").decode()
    result = await called(
        workshop,
        "edit_image",
        prompt="put them together",
        pictures=[{"picture_id": made.id}, {"data": sent}, {"data": f"data:image/png;base64,{sent}"}],
    )
    assert not result.is_error
    assert workshop.images.inputs == [b"made here", b"sent along", b"sent along"]
    assert workshop.images.requests[0].mode is Mode.IMAGE


async def test_a_mask_makes_it_an_inpainting(workshop: Workshop) -> None:
    data = {"data": base64.b64encode(b"bytes").decode()}
    await called(workshop, "edit_image", prompt="a hat", pictures=[data], mask=data)
    assert workshop.images.requests[0].mode is Mode.INPAINT


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("draw", {}, "There is no tool 'draw'"),
        ("generate_image", {}, "prompt is required"),
        ("generate_image", {"prompt": "a fox", "steps": 0}, "at least 1"),
        ("generate_image", {"prompt": "a fox", "stream": True}, "takes no argument 'stream'"),
        ("generate_image", {"prompt": "a fox", "model": "nobody"}, "There is no model 'nobody'"),
        ("generate_image", {"prompt": "a fox", "wait_s": 601}, "wait_s must be 0 to 600"),
        ("generate_image", {"prompt": "a fox", "wait_s": True}, "wait_s must be"),
        ("edit_image", {"prompt": "a hat"}, "pictures must be a list"),
        ("edit_image", {"prompt": "a hat", "pictures": ["x"]}, "either picture_id or data"),
        ("edit_image", {"prompt": "a hat", "pictures": [{"data": "!"}]}, "not base64"),
        ("edit_image", {"prompt": "a hat", "pictures": [{"picture_id": "pic_0"}]}, "no picture"),
        ("watch_job", {}, "job_id is required"),
        ("watch_job", {"job_id": "job_0"}, "no job"),
        ("get_picture", {"picture_id": 7}, "picture_id is required"),
    ],
)
async def test_a_wrong_call_is_answered_in_words(
    workshop: Workshop, name: str, arguments: dict[str, Any], says: str
) -> None:
    result = await called(workshop, name, **arguments)
    assert result.is_error
    assert says in words(result)


async def test_a_failed_job_is_told_with_its_reason(workshop: Workshop) -> None:
    workshop.images.plan = workshop.images.fail
    result = await called(workshop, "generate_image", prompt="a fox")
    assert result.structured_content["state"] == "failed"
    assert "6 GiB were needed" in words(result)


async def test_a_picture_is_shown_with_its_parameters(workshop: Workshop) -> None:
    made = workshop.gallery.add(b"made here")
    result = await called(workshop, "get_picture", picture_id=made.id)
    assert result.structured_content["parameters"] == {"steps": 4}
    assert base64.b64decode(next(b.data for b in result.content if b.type == "image")) == b"made here"


async def test_a_large_picture_is_shown_smaller(workshop: Workshop) -> None:
    large = BytesIO()
    Image.effect_noise((1500, 1200), 90).convert("RGB").save(large, "PNG")
    assert len(large.getvalue()) > MAX_IMAGE_BYTES
    made = workshop.gallery.add(large.getvalue())
    result = await called(workshop, "get_picture", picture_id=PictureId(made.id))
    [shown] = [block for block in result.content if block.type == "image"]
    assert shown.mime_type == "image/jpeg"
    with Image.open(BytesIO(base64.b64decode(shown.data))) as image:
        assert max(image.size) == 1024
