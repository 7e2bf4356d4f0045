# SPDX-License-Identifier: Apache-2.0
"""The real worker of stable-diffusion.cpp, as the server starts it, with a file of full size."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.ldm_files import write_flux_without_encoders, write_sd1

from inglenook.base.cancel import StopReason, StopToken
from inglenook.base.ids import ModelId
from inglenook.engines.sdcpp import SdcppEngine
from inglenook.runtime.contracts import ChildFailed, LoadPlan
from inglenook.runtime.image_child import ImageChild
from inglenook.testing.devices import fake_device
from inglenook.wire.image import Draw, DrawCancelled, DrawFailed, Drawn, LastWord, PictureMade, Progress
from inglenook.wire.message import Message

pytestmark = pytest.mark.slow

WAIT_S = 300.0
CPU = fake_device("cpu", 10**10)
RED = np.full((64, 64, 3), (200, 30, 30), np.uint8)


@pytest.fixture(scope="module")
def sd1(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = write_sd1(tmp_path_factory.mktemp("sdcpp") / "sd1.safetensors")
    yield path
    path.unlink()  # 2 GB that pytest would keep for its last three runs


def run(main: Any) -> Any:
    return asyncio.run(asyncio.wait_for(main, WAIT_S))


@asynccontextmanager
async def child_of(file: Path, spool: Path, *, cancel_grace_s: float = WAIT_S) -> AsyncIterator[ImageChild]:
    engine = SdcppEngine(
        spool_root=spool,
        start_timeout_s=WAIT_S,
        cancel_grace_s=cancel_grace_s,
        stop_grace_s=5.0,
        cpu_threads=1,
    )
    told = {"path": str(file), "family": "sd1"}
    plan = LoadPlan(model=ModelId("m"), engine="sdcpp", footprint_bytes={"cpu": 10**8}, options=told)
    child = await engine.start(plan, CPU)
    try:
        await child.ready()
        yield child
    finally:
        await child.stop(5.0)
        await child.discard()


def a_draw(**more: Any) -> Draw:
    usual: dict[str, Any] = {
        "job": "job-1", "prompt": "a red fox", "width": 64, "height": 64, "steps": 1, "guidance_scale": 1.0,
        "seeds": (1,), "scheduler": "euler",
    }  # fmt: skip
    return Draw(**{**usual, **more})


class Heard:
    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def __call__(self, message: Message) -> None:
        self.messages.append(message)

    def pictures(self, child: ImageChild) -> list[np.ndarray]:
        made = [one for one in self.messages if isinstance(one, PictureMade)]
        return [np.asarray(Image.open(child.spool / one.file)) for one in made]

    def steps(self) -> list[tuple[int, int]]:
        told = [one for one in self.messages if isinstance(one, Progress) and one.stage == "denoise"]
        return [(one.step, one.steps) for one in told]


async def drawn(child: ImageChild, **more: Any) -> tuple[LastWord, Heard]:
    heard = Heard()
    return await child.draw(a_draw(**more), stop=StopToken(), tell=heard), heard


def test_one_child_draws_from_noise_from_a_picture_and_inside_a_mask(sd1: Path, tmp_path: Path) -> None:
    async def main() -> None:
        async with child_of(sd1, tmp_path) as child:
            last, heard = await drawn(child, steps=2, preview_every=1)
            assert isinstance(last, Drawn), last
            (first,) = heard.pictures(child)
            assert first.shape == (64, 64, 3)
            assert first.std() > 20
            assert heard.steps() == [(1, 2), (2, 2)]
            previews = [one.preview for one in heard.messages if isinstance(one, Progress) and one.preview]
            assert len(previews) == 2
            assert np.asarray(Image.open(child.spool / previews[0])).shape == (8, 8, 3)

            last, heard = await drawn(child, steps=2, seeds=(1, 2))
            again, other = heard.pictures(child)
            assert (again == first).all(), "the same seed gives the same picture"
            assert (other != first).any()

            Image.fromarray(RED).save(child.spool / "red.png")
            mask = np.zeros((64, 64), np.uint8)
            mask[:, 32:] = 255
            Image.fromarray(mask).save(child.spool / "mask.png")
            last, heard = await drawn(child, mode="image", image="red.png", steps=4, strength=0.25)
            assert isinstance(last, Drawn), last
            assert heard.steps() == [(1, 2), (2, 2)], "one step of four, and the one that it always takes"
            last, heard = await drawn(child, mode="inpaint", image="red.png", mask="mask.png")
            assert isinstance(last, Drawn), last
            (inside,) = heard.pictures(child)
            assert (inside[:, :32] == RED[:, :32]).all()
            assert (inside[:, 32:] != RED[:, 32:]).any()

            for more, word in (
                ({"scheduler": "unipc"}, "unipc"),
                ({"sigmas": "beta"}, "beta"),
                ({"vae": "other.safetensors"}, "VAE"),
                ({"width": 60}, "60"),
            ):
                last, _ = await drawn(child, **more)
                assert isinstance(last, DrawFailed)
                assert last.code == "draw.invalid"
                assert word in last.message
            assert child.alive

    run(main())


def test_a_cancel_between_two_pictures_leaves_the_child_and_inside_one_ends_it(
    sd1: Path, tmp_path: Path
) -> None:
    async def main(grace_s: float, **more: Any) -> tuple[LastWord, bool]:
        async with child_of(sd1, tmp_path, cancel_grace_s=grace_s) as child:
            stop = StopToken()

            async def hear(message: Message) -> None:
                if isinstance(message, Progress):
                    stop.stop(StopReason.CANCELLED)

            last = await child.draw(a_draw(**more), stop=stop, tell=hear)
            return last, child.alive

    last, alive = run(main(WAIT_S, seeds=(1, 2, 3)))
    assert isinstance(last, DrawCancelled)
    assert (last.picture, last.step) == (1, 1)
    assert alive
    last, alive = run(main(0.05, steps=500))
    assert isinstance(last, DrawCancelled)
    assert last.step == -1, "its process was ended"
    assert not alive


def test_a_crash_of_the_library_is_told_in_words(tmp_path: Path) -> None:
    async def main() -> None:
        file = write_flux_without_encoders(tmp_path / "flux.safetensors")
        async with child_of(file, tmp_path / "spool") as child:
            with pytest.raises(ChildFailed) as failed:
                await drawn(child)
            assert "SIGSEGV" in failed.value.message or "SIGABRT" in failed.value.message
            assert "while it drew" in failed.value.message
            assert not child.alive

    run(main())


def test_a_file_that_is_no_model_fails_the_load_in_the_librarys_words(tmp_path: Path) -> None:
    async def main() -> None:
        file = tmp_path / "m.safetensors"
        file.write_bytes(b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
        with pytest.raises(ChildFailed) as failed:
            async with child_of(file, tmp_path / "spool"):
                pass
        assert failed.value.code == "load.unsupported"
        assert "stable-diffusion.cpp does not read this file" in failed.value.message

    run(main())
