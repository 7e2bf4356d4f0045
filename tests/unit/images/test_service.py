# SPDX-License-Identifier: Apache-2.0
"""What the service keeps and makes of input pictures, and which words it draws; with a real blob store."""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from inglenook.base.errors import InglenookError, Invalid
from inglenook.base.ids import OWNER, BlobId, ModelId
from inglenook.images.canvas import Margins, Rectangle
from inglenook.images.engines import Engines
from inglenook.images.errors import BadRequest
from inglenook.images.model import Engine, ImageRequest, Mode
from inglenook.images.request import Drawing
from inglenook.images.service import ImagesService
from inglenook.images.work import engine_of
from inglenook.store.blobs import LocalBlobs
from tests.sprite_bench import MLX, SDCPP, TORCH
from tests.unit.web.services import LIMITS, SDXL, Catalog, model

pytestmark = pytest.mark.anyio


@dataclass
class Queue:
    """Keeps the payloads that were handed in."""

    payloads: list[dict[str, Any]] = field(default_factory=list)

    async def submit(self, *, payload: dict[str, Any], **_: Any) -> None:
        self.payloads.append(payload)


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def service(tmp_path: Path, queue: Queue) -> ImagesService:
    return ImagesService(
        catalog=Catalog(model("sdxl", SDXL, family="sdxl")),  # type: ignore[arg-type] # as much of it as is used
        engines=Engines([TORCH, MLX, SDCPP]),
        jobs=queue,  # type: ignore[arg-type] # the same
        blobs=LocalBlobs(tmp_path),
        limits=LIMITS,
        max_upload_bytes=10**6,
        max_input_pixels=10**6,
    )


def png(size: tuple[int, int] = (96, 64)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, "red").save(out, "PNG")
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


async def test_an_input_can_be_read_again_and_another_cannot(service: ImagesService) -> None:
    kept = await service.keep_input(png())
    assert opened(await service.input(kept)).size == (96, 64)
    with pytest.raises(BadRequest, match="There is no input picture"):
        await service.input(BlobId("0" * 64))
    with pytest.raises(Invalid):
        await service.input(BlobId("../inglenook.db"))


async def test_an_extended_picture_goes_into_the_queue_with_a_mask_of_its_size(
    service: ImagesService, queue: Queue
) -> None:
    kept = await service.keep_input(png())
    larger = await service.extend(kept, Margins(left=32, bottom=64))
    assert (larger.width, larger.height) == (128, 128)
    picture, mask = opened(await service.input(larger.image)), opened(await service.input(larger.mask))
    assert (picture.size, picture.mode, mask.size, mask.mode) == ((128, 128), "RGB", (128, 128), "L")
    request = ImageRequest(
        model=ModelId("sdxl"), prompt="a fox", mode=Mode.INPAINT, image=larger.image, mask=larger.mask
    )
    await service.submit(request, owner=OWNER)
    assert queue.payloads[0]["mode"] == "inpaint"


async def test_a_rectangle_is_a_mask_of_the_picture_s_size(service: ImagesService) -> None:
    kept = await service.keep_input(png())
    mask = opened(await service.input(await service.rectangle(kept, Rectangle(8, 8, 16, 16))))
    assert (mask.size, mask.getbbox()) == ((96, 64), (8, 8, 24, 24))


async def test_the_style_s_words_are_drawn_and_ones_own_are_kept(
    service: ImagesService, queue: Queue
) -> None:
    request = ImageRequest(model=ModelId("sdxl"), prompt="a fox", negative_prompt="snow", style="oil")
    await service.submit(request, owner=OWNER)
    payload = queue.payloads[0]
    assert payload["prompt"].startswith("oil painting of a fox, ")
    assert payload["negative_prompt"].startswith("snow, photograph")
    assert (payload["style"], payload["plain_prompt"], payload["plain_negative_prompt"]) == (
        "oil", "a fox", "snow",
    )  # fmt: skip


async def test_a_style_that_nobody_knows_is_refused(service: ImagesService) -> None:
    request = ImageRequest(model=ModelId("sdxl"), prompt="a fox", style="cubist")
    with pytest.raises(BadRequest, match="There is no style 'cubist'"):
        await service.submit(request, owner=OWNER)


@pytest.mark.parametrize("asked", [Engine.AUTO, Engine.TORCH])
async def test_the_job_knows_which_engine_draws(service: ImagesService, queue: Queue, asked: Engine) -> None:
    request = ImageRequest(model=ModelId("sdxl"), prompt="a fox", engine=asked)
    await service.submit(request, owner=OWNER)
    assert queue.payloads[0]["engine"] == "diffusers"
    assert engine_of(Drawing.from_json(queue.payloads[0])) == "torch"


@pytest.mark.parametrize(
    ("asked", "code", "field"),
    [(Engine.SDCPP, "engine.not_installed", "engine"), (Engine.MLX, "model.not_converted", "model")],
)
async def test_an_engine_that_cannot_draw_is_refused_before_there_is_a_job(
    service: ImagesService, queue: Queue, asked: Engine, code: str, field: str
) -> None:
    with pytest.raises(InglenookError) as refused:
        await service.submit(ImageRequest(model=ModelId("sdxl"), prompt="a fox", engine=asked), owner=OWNER)
    assert (refused.value.code, refused.value.field) == (code, field)
    assert refused.value.hint
    assert queue.payloads == []
