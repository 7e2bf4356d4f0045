# SPDX-License-Identifier: Apache-2.0
"""The real MLX worker and the real converter, as the server starts them; neither needs torch."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.mlx_models import STARTER, converted, wish

from inglenook.base.cancel import StopReason, StopToken
from inglenook.base.ids import ModelId
from inglenook.engines import mlx
from inglenook.engines.mlx import Converters, MlxEngine
from inglenook.runtime.contracts import ChildFailed, LoadPlan
from inglenook.runtime.image_child import ImageChild
from inglenook.testing.devices import fake_device
from inglenook.wire.image import Draw, DrawCancelled, DrawFailed, Drawn, PictureMade, Progress
from inglenook.wire.message import Message
from inglenook.wire.mlx import MANIFEST, Converted, ConvertFailed, ConvertStopped

pytestmark = pytest.mark.slow

WAIT_S = 120.0
CPU = fake_device("cpu", 10**9)


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return converted(STARTER, tmp_path_factory.mktemp("mlx") / "starter")


def run(main: Any) -> Any:
    return asyncio.run(asyncio.wait_for(main, WAIT_S))


@asynccontextmanager
async def child_of(folder: Path, spool: Path, **options: Any) -> AsyncIterator[ImageChild]:
    engine = MlxEngine(spool_root=spool, start_timeout_s=WAIT_S, cancel_grace_s=WAIT_S, stop_grace_s=5.0)
    told = {"path": str(folder), "family": "sd1", **options}
    plan = LoadPlan(model=ModelId("m"), engine="mlx", footprint_bytes={"cpu": 10**8}, options=told)
    child = await engine.start(plan, CPU)
    try:
        await child.ready()
        yield child
    finally:
        await child.stop(5.0)
        await child.discard()


def a_draw(**more: Any) -> Draw:
    usual: dict[str, Any] = {
        "job": "job-1", "prompt": "a red fox", "width": 32, "height": 32, "steps": 6, "guidance_scale": 3.0,
        "seeds": (1,),
    }  # fmt: skip
    return Draw(**{**usual, **more})


def test_a_child_draws_one_picture_after_another(starter: Path, tmp_path: Path) -> None:
    async def main() -> None:
        async with child_of(starter, tmp_path) as child:
            heard: list[Message] = []

            async def hear(message: Message) -> None:
                heard.append(message)

            for number in range(2):
                last = await child.draw(
                    a_draw(job=f"job-{number}", preview_every=3), stop=StopToken(), tell=hear
                )
                assert isinstance(last, Drawn), last
                assert last.peak_bytes is not None
            pictures = [message for message in heard if isinstance(message, PictureMade)]
            drawn = [np.asarray(Image.open(child.spool / made.file)) for made in pictures]
            assert len(drawn) == 2
            assert (drawn[0] == drawn[1]).all()
            assert drawn[0].std() > 20
            assert any(isinstance(one, Progress) and one.preview for one in heard)

    run(main())


def test_a_cancel_ends_the_draw_and_not_the_child(starter: Path, tmp_path: Path) -> None:
    async def main() -> None:
        async with child_of(starter, tmp_path) as child:
            stop = StopToken()

            async def hear(message: Message) -> None:
                if isinstance(message, Progress) and message.stage == "denoise" and message.step == 2:
                    stop.stop(StopReason.CANCELLED)

            last = await child.draw(a_draw(steps=400), stop=stop, tell=hear)
            assert isinstance(last, DrawCancelled)
            assert 2 < last.step < 390, "within a few steps, though the message had to travel"
            assert child.alive
            refused = await child.draw(a_draw(scheduler="unipc"), stop=StopToken(), tell=_deaf)
            assert isinstance(refused, DrawFailed)
            assert isinstance(await child.draw(a_draw(), stop=StopToken(), tell=_deaf), Drawn)

    run(main())


async def _deaf(_: Message) -> None:
    """Nobody listens."""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "unet.safetensors").unlink(), "unet.safetensors"),
        (lambda folder: (folder / "vae.json").write_text("{}"), "vae.json"),
        (lambda folder: (folder / MANIFEST).unlink(), MANIFEST),
    ],
)
def test_a_changed_model_is_not_loaded_and_the_words_say_why(
    starter: Path, tmp_path: Path, change: Callable[[Path], object], words: str
) -> None:
    import shutil

    folder = shutil.copytree(starter, tmp_path / "copy")
    change(folder)

    async def main() -> None:
        with pytest.raises(ChildFailed) as failed:
            async with child_of(folder, tmp_path / "spool"):
                pass
        assert words in failed.value.failure.message
        assert failed.value.failure.code == "load.corrupt"

    run(main())


def test_a_device_that_mlx_has_not_is_told(starter: Path, tmp_path: Path) -> None:
    async def main() -> None:
        engine = MlxEngine(spool_root=tmp_path, start_timeout_s=WAIT_S, cancel_grace_s=5.0, stop_grace_s=5.0)
        told = {"path": str(starter), "family": "sd1"}
        plan = LoadPlan(model=ModelId("m"), engine="mlx", footprint_bytes={"mps": 10**8}, options=told)
        child = await engine.start(plan, fake_device("mps", 10**9))
        try:
            with pytest.raises(ChildFailed, match="no device 'mps'"):
                await child.ready()
        finally:
            await child.stop(5.0)
            await child.discard()

    if "mps" in mlx.kinds_of_devices():
        pytest.skip("this machine has one")
    run(main())


def test_the_converter_is_a_child_that_tells_its_progress_and_can_be_stopped(tmp_path: Path) -> None:
    async def main() -> None:
        converters = Converters(
            spool_root=tmp_path / "spool", start_timeout_s=WAIT_S, cancel_grace_s=WAIT_S, stop_grace_s=5.0
        )
        told: list[Message] = []

        async def hear(message: Message) -> None:
            told.append(message)

        async with converters.started("starter") as child:
            last = await child.convert(wish(STARTER, tmp_path / "a"), stop=StopToken(), tell=hear)
            assert isinstance(last, Converted)
            assert told
            again = await child.convert(wish(STARTER, tmp_path / "a"), stop=StopToken(), tell=hear)
            assert isinstance(again, ConvertFailed)
            stopped = StopToken()
            stopped.stop(StopReason.CANCELLED)
            ended = await child.convert(wish(STARTER, tmp_path / "b"), stop=stopped, tell=hear)
            assert isinstance(ended, ConvertStopped | Converted)
        names = {path.name for path in tmp_path.iterdir()} - {"spool"}
        assert names == ({"a"} if isinstance(ended, ConvertStopped) else {"a", "b"})
        assert list((tmp_path / "spool").iterdir()) == []

    run(main())


WITHOUT_TORCH = """
import sys
for name in ("torch", "diffusers", "transformers", "accelerate", "peft"):
    sys.modules[name] = None
from pathlib import Path
from tests.mlx_models import STARTER, converted
from inglenook.base.clock import SystemClock
from inglenook.wire.image import Draw, Drawn, LoadImageModel
from inglenook.workers.image.spool import Spool
from inglenook.workers.mlx import worker
from inglenook.workers.mlx.drawing import Studio
from inglenook.workers.mlx.model import Model
here = Path(sys.argv[1])
folder = converted(STARTER, here / "starter")
told = {"layout": "folder", "family": "sd1", "device": "cpu", "dtype": "float32", "spool": "."}
load = LoadImageModel(path=str(folder), **told)
model = Model(load)
studio = Studio(model=model, saving=0, spool=Spool(here), send=lambda _: None, should_stop=lambda: False,
                clock=SystemClock())
draw = Draw(job="j", prompt="a fox", width=32, height=32, steps=2, guidance_scale=3.0, seeds=(1,))
assert isinstance(studio.execute(draw), Drawn)
"""


def test_neither_converting_nor_drawing_needs_torch(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(tmp_path)], capture_output=True, text=True, timeout=WAIT_S
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(list(tmp_path.glob("picture-*.png"))) == 1
