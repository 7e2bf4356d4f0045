# SPDX-License-Identifier: Apache-2.0
"""A subject told from its background: by the real model in the real worker, and by the border without one."""

import asyncio
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from inglenook.base.cancel import StopToken
from inglenook.base.clock import SystemClock
from inglenook.base.errors import Invalid
from inglenook.base.ids import PersonId
from inglenook.catalog.model import ModelKind
from inglenook.catalog.service import CatalogService
from inglenook.engines.onnx import OnnxEngine
from inglenook.prediction.matting import MattingService
from inglenook.prediction.planning import load_plan
from inglenook.testing.devices import fake_device
from inglenook.wire.vision import Matte, Matted, PredictFailed


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def ball(size: tuple[int, int] = (400, 300)) -> Image.Image:
    """A red ball before a sky that grows lighter downwards: its border has no colour of its own."""
    width, height = size
    sky = np.linspace((40, 60, 160), (220, 235, 255), height).astype(np.uint8)
    image = Image.fromarray(np.repeat(sky[:, None], width, axis=1))
    ImageDraw.Draw(image).ellipse((140, 90, 260, 210), fill=(200, 30, 30))
    return image


@pytest.mark.slow
def test_the_real_model_finds_a_ball_before_the_sky(matting_model: Path, tmp_path: Path) -> None:
    catalog = CatalogService(roots=[matting_model.parent], builtin=tmp_path / "none")
    record = catalog.resolve("auto", kind=ModelKind.MATTING)
    assert record.problem is None
    assert record.vision is not None
    assert (record.vision.task, record.vision.width, record.vision.height) == ("matting", 320, 320)

    async def main() -> None:
        engine = OnnxEngine(
            spool_root=tmp_path / "spool",
            start_timeout_s=60,
            cancel_grace_s=20,
            stop_grace_s=2,
            cpu_threads=1,
        )
        plan = load_plan(record, pinned=False, max_pixels=10**6, devices={"cpu"})
        child = await engine.start(plan, fake_device("cpu", 10**9))
        try:
            await child.ready()
            (child.spool / "p").write_bytes(png(ball()))
            last = await child.matte(Matte(job="a", file="p"), stop=StopToken())
            assert isinstance(last, Matted), last
            with Image.open(child.spool / last.file) as opened:
                matte = np.asarray(opened)
            assert matte.shape == (300, 400)
            y, x = np.mgrid[:300, :400]
            away = np.hypot(x - 200, y - 150)
            assert matte[away < 55].min() > 200
            assert matte[away > 70].max() < 60
            (child.spool / "q").write_bytes(b"no picture")
            failed = await child.matte(Matte(job="b", file="q"), stop=StopToken())
            assert isinstance(failed, PredictFailed)
            assert failed.code == "picture.unreadable"
        finally:
            await child.stop(2)
            await child.discard()

    asyncio.run(asyncio.wait_for(main(), 120))


def by_border(tmp_path: Path, image: Image.Image):
    service = MattingService(
        scheduler=None,  # type: ignore[arg-type]  # nothing is leased where there is no model
        catalog=CatalogService(roots=[tmp_path], builtin=tmp_path / "none"),
        clock=SystemClock(),
        pinned=frozenset(),
        devices={"cpu"},
        max_pixels=10**6,
    )
    return asyncio.run(service.matte(png(image), person=PersonId("local"), stop=StopToken()))


def test_without_a_model_the_plain_border_tells(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 30), "white")
    ImageDraw.Draw(image).rectangle((10, 10, 29, 19), fill="blue")
    matte = by_border(tmp_path, image)
    assert matte.by == "border"
    found = np.asarray(Image.open(io.BytesIO(matte.png)))
    assert (found == 255).sum() == 20 * 10
    assert (found == 0).sum() == 40 * 30 - 20 * 10


def test_without_a_model_and_a_plain_border_it_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="no matting model") as failed:
        by_border(tmp_path, ball())
    assert failed.value.hint is not None
    assert "starters install matting" in failed.value.hint
