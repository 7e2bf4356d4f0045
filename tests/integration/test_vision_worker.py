# SPDX-License-Identifier: Apache-2.0
"""The real vision worker with models of a few numbers, in every way that a picture may come, or not come."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.onnx_files import colours

from inglenook.base.cancel import StopReason, StopToken
from inglenook.base.ids import ModelId
from inglenook.catalog.service import CatalogService
from inglenook.engines.onnx import OnnxEngine, VisionChild
from inglenook.prediction.planning import load_plan
from inglenook.runtime.contracts import ChildFailed
from inglenook.testing.devices import fake_device
from inglenook.wire.vision import Predict, PredictCancelled, Predicted, PredictFailed, PredictLastWord

pytestmark = pytest.mark.slow

CPU = fake_device("cpu", 10**9)
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@dataclass
class Bench:
    child: VisionChild
    numbers: int = 0

    async def look(self, *files: bytes, top: int = 3, stop: StopToken | None = None) -> PredictLastWord:
        self.numbers += 1
        names = [f"given-{self.numbers}-{place}" for place in range(len(files))]
        for name, data in zip(names, files, strict=True):
            (self.child.spool / name).write_bytes(data)
        asked = Predict(job=f"job-{self.numbers}", files=tuple(names), top=top)
        return await self.child.predict(asked, stop=StopToken() if stop is None else stop)


@asynccontextmanager
async def started(tmp_path: Path, data: bytes, *, max_pixels: int = 10**6) -> AsyncIterator[Bench]:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "m.onnx").write_bytes(data)
    catalog = CatalogService(roots=[tmp_path / "models"], builtin=tmp_path / "none")
    record = catalog.get(ModelId("m"))
    assert record.problem is None
    engine = OnnxEngine(
        spool_root=tmp_path / "spool", start_timeout_s=60, cancel_grace_s=20, stop_grace_s=2, cpu_threads=1
    )
    plan = load_plan(record, pinned=False, max_pixels=max_pixels, devices={"cpu"})
    child = await engine.start(plan, CPU)
    try:
        await child.ready()
        yield Bench(child)
    finally:
        await child.stop(2)
        await child.discard()


def run(main: Any) -> None:
    asyncio.run(asyncio.wait_for(main, 120))


def png(colour: Any, size: tuple[int, int] = (20, 10), mode: str = "RGB", form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, form)
    return file.getvalue()


def seen(last: PredictLastWord) -> Predicted:
    assert isinstance(last, Predicted), last
    return last


def failed(last: PredictLastWord, code: str) -> PredictFailed:
    assert isinstance(last, PredictFailed), last
    assert last.code == code, last.message
    return last


def test_the_highest_scores_come_with_their_classes_and_add_up_to_one(tmp_path: Path) -> None:
    async def main() -> None:
        async with started(tmp_path, colours()) as bench:
            last = seen(await bench.look(png(GREEN), png(BLUE), png((255, 128, 0))))
            assert [one.classes[0] for one in last.pictures] == [1, 2, 0]
            assert last.pictures[2].classes == (0, 1, 2)
            expected = np.exp([10, 10 * 128 / 255, 0])
            assert last.pictures[2].scores == pytest.approx(expected / expected.sum(), abs=1e-6)
            assert (last.pictures[0].width, last.pictures[0].height) == (20, 10)
            assert len(seen(await bench.look(png(RED), top=1)).pictures[0].classes) == 1

    run(main())


@pytest.mark.parametrize(
    "how",
    [
        {"layout": "NHWC"},
        {"dtype": "float16"},
        {"dtype": "uint8", "layout": "NHWC", "told": {}, "gain": 0.05},
        {"batch": 2},
        {"side": "side", "told": {}},
        {"softmax": True, "told": {}},
    ],
)
def test_models_of_every_form_are_given_what_they_take(tmp_path: Path, how: dict[str, Any]) -> None:
    async def main() -> None:
        async with started(tmp_path, colours(**how)) as bench:
            last = seen(await bench.look(*[png(colour) for colour in (RED, GREEN, BLUE, RED, GREEN)]))
            assert [one.classes[0] for one in last.pictures] == [0, 1, 2, 0, 1]
            assert all(abs(sum(one.scores) - 1) < 1e-3 for one in last.pictures)

    run(main())


def test_pictures_of_every_mode_and_format_are_looked_at_alike(tmp_path: Path) -> None:
    async def main() -> None:
        async with started(tmp_path, colours()) as bench:
            palette = Image.new("RGB", (8, 8), GREEN).quantize(4)
            file = io.BytesIO()
            palette.save(file, "GIF")
            files = [png(GREEN, form=form) for form in ("PNG", "JPEG", "WEBP", "BMP")] + [file.getvalue()]
            files.append(png((0, 255, 0, 255), mode="RGBA"))
            last = seen(await bench.look(*files))
            assert [one.classes[0] for one in last.pictures] == [1] * 6
            unseen = seen(await bench.look(png((0, 255, 0, 0), mode="RGBA")))  # is white, as in training
            assert unseen.pictures[0].scores == pytest.approx([1 / 3] * 3, abs=1e-6)
            assert failed(await bench.look(png(GREEN, form="TIFF")), "picture.unreadable").picture == 0

    run(main())


def test_what_is_no_picture_is_told_by_its_place_and_the_worker_lives_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with started(tmp_path, colours(), max_pixels=2000) as bench:
            last = failed(await bench.look(png(RED), png(RED)[:40]), "picture.unreadable")
            assert last.picture == 1
            assert "Picture 2" in last.message
            assert failed(await bench.look(b""), "picture.unreadable").picture == 0
            large = failed(await bench.look(png(RED, (100, 21))), "picture.too_large")
            assert "100 x 21" in large.message
            assert seen(await bench.look(png(RED))).pictures[0].classes[0] == 0
            away = Predict(job="away", files=("../m.onnx",), top=1)
            failed(await bench.child.predict(away, stop=StopToken()), "picture.unreadable")

    run(main())


def test_scores_that_are_no_numbers_are_a_failure_and_no_answer(tmp_path: Path) -> None:
    async def main() -> None:
        async with started(tmp_path, colours(gain=float("inf"))) as bench:
            failed(await bench.look(png(RED)), "predict.not_finite")

    run(main())


def test_a_cancel_stops_before_the_next_batch(tmp_path: Path) -> None:
    async def main() -> None:
        async with started(tmp_path, colours(batch=1)) as bench:
            stop = StopToken()
            stop.stop(StopReason.CLIENT_GONE)
            last = await bench.look(*[png(RED, (900, 900))] * 60, stop=stop)
            assert isinstance(last, PredictCancelled)
            assert seen(await bench.look(png(RED))).pictures[0].classes[0] == 0

    run(main())


def test_a_file_that_onnxruntime_cannot_run_says_so_when_it_is_loaded(tmp_path: Path) -> None:
    async def main() -> None:
        data = colours().replace(b"GlobalAveragePool", b"GlobalAverageFool")
        with pytest.raises(ChildFailed, match="GlobalAverageFool") as caught:
            async with started(tmp_path, data):
                pass
        assert caught.value.code == "load.failed"

    run(main())
