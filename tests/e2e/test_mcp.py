# SPDX-License-Identifier: Apache-2.0
"""The `mcp` package's client against a real server: over streamable HTTP, and through `inglenook mcp`."""

import asyncio
import base64
import sys
from collections.abc import Awaitable, Callable
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from PIL import Image

from inglenook.testing.server import RunningServer

pytestmark = pytest.mark.slow

Done = TypeVar("Done")


def run(work: Callable[[], Awaitable[Done]]) -> Done:
    async def bounded() -> Done:
        async with asyncio.timeout(240):
            return await work()

    return asyncio.run(bounded())


def over_http(server: RunningServer, mode: str = "auto") -> Client:
    return Client(f"{server.base_url}/mcp", mode=mode)


def over_stdio(data: Path) -> Client:
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "inglenook", "mcp", "--data", str(data)],
        env={"INGLENOOK_RUNTIME__CPU_THREADS": "1", "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
    )
    return Client(stdio_client(command))


def picture_in(result: Any) -> Image.Image:
    data = next(block.data for block in result.content if block.type == "image")
    image = Image.open(BytesIO(base64.b64decode(data)))
    image.load()
    return image


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_picture_is_drawn_edited_and_shown_over_http(server: RunningServer, mode: str) -> None:
    progress: list[float] = []

    async def heard(fraction: float, _total: float | None, _text: str | None) -> None:
        progress.append(fraction)

    async def work() -> None:
        async with over_http(server, mode) as client:
            models = await client.call_tool("list_models", {})
            assert models.structured_content["models"][0]["usable"]
            drawn = await client.call_tool(
                "generate_image", {"prompt": "a red fox", "seed": 3, "size": "64x64"}, progress_callback=heard
            )
            assert picture_in(drawn).size == (64, 64)
            assert progress
            assert progress == sorted(progress)
            picture = drawn.structured_content["pictures"][0]["picture_id"]
            edited = await client.call_tool(
                "edit_image", {"prompt": "a blue fox", "pictures": [{"picture_id": picture}], "strength": 0.7}
            )
            assert edited.structured_content["state"] == "succeeded"
            shown = await client.call_tool("get_picture", {"picture_id": picture})
            assert shown.structured_content["parameters"]["seed"] == 3
            refused = await client.call_tool("generate_image", {"prompt": "a fox", "model": "nobody"})
            assert refused.is_error

    run(work)


def test_a_job_is_watched_and_cancelled_over_http(server: RunningServer) -> None:
    async def work() -> None:
        async with over_http(server) as client:
            begun = await client.call_tool(
                "generate_image", {"prompt": "a fox", "steps": 150, "n": 8, "wait_s": 0}
            )
            job = begun.structured_content["job_id"]
            assert begun.structured_content["state"] in ("queued", "waiting", "running")
            cancelled = await client.call_tool("cancel_job", {"job_id": job})
            assert cancelled.structured_content["job"]["state"] == "cancelled"
            watched = await client.call_tool("watch_job", {"job_id": job, "wait_s": 5})
            assert watched.structured_content["state"] == "cancelled"

    run(work)


def test_a_call_that_is_given_up_stops_its_job(server: RunningServer) -> None:
    async def work() -> None:
        async with over_http(server, "legacy") as client:
            call = asyncio.create_task(
                client.call_tool("generate_image", {"prompt": "give up", "steps": 150, "n": 8})
            )
            async with httpx.AsyncClient(base_url=server.base_url, trust_env=False, timeout=60) as http:
                job = await _until(http, lambda job: job["title"] == "give up")
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)
                ended = await _until(http, lambda found: found["id"] == job["id"] and found["finished_at"])
        assert ended["state"] == "cancelled"

    run(work)


async def _until(http: httpx.AsyncClient, fits: Callable[[Any], Any]) -> Any:
    """The first job that fits; there is nothing to subscribe to before it is known."""
    while True:
        jobs = (await http.get("/v1/jobs")).json()["data"]
        for job in jobs:
            if fits(job):
                return job
        await asyncio.sleep(0.05)


def test_the_terminal_passes_calls_on_to_the_server_that_runs(server: RunningServer) -> None:
    async def work() -> None:
        async with over_stdio(server.data) as client:
            drawn = await client.call_tool("generate_image", {"prompt": "a green frog", "size": "64x64"})
            picture = drawn.structured_content["pictures"][0]["picture_id"]
            assert picture_in(drawn).size == (64, 64)
        async with httpx.AsyncClient(base_url=server.base_url, trust_env=False, timeout=60) as http:
            assert (await http.get(f"/v1/pictures/{picture}")).status_code == 200

    run(work)


def test_the_terminal_draws_by_itself_where_no_server_runs(tmp_path: Path) -> None:
    async def work() -> None:
        async with over_stdio(tmp_path) as client:
            drawn = await client.call_tool("generate_image", {"prompt": "a red apple", "size": "64x64"})
            assert picture_in(drawn).size == (64, 64)

    run(work)
    assert (tmp_path / "inglenook.db").exists()
