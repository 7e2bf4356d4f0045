# SPDX-License-Identifier: Apache-2.0
"""What is asked before a run, on real pictures and a real network."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.studio_pictures import SHAKEN, draw_pictures, read_examples, spec
from tests.unit.workers.studio.bench import Bench

from inglenook.wire.studio.finding import (
    BatchSizeTried,
    FindBatchSize,
    FindLearningRate,
    LearningRateTried,
    PreviewAugmentations,
    RatePoint,
    TriedBatch,
)
from inglenook.wire.studio.spec import Step
from inglenook.wire.studio.training import Parked
from inglenook.workers.studio.data.dataset import Examples
from inglenook.workers.studio.data.sampling import Key
from inglenook.workers.studio.data.transforms import Pipeline
from inglenook.workers.studio.errors import BadAugmentation, InvalidSpec, NoData, Stopped
from inglenook.workers.studio.finding.batch_size import choose, find_batch_size, forecast, sizes
from inglenook.workers.studio.finding.learning_rate import find_learning_rate, steepest
from inglenook.workers.studio.finding.preview import preview

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pictures(tmp_path_factory.mktemp("pictures"), 44, val=4)


def test_batches_are_tried_until_the_pictures_are_used_up(tmp_path: Path, manifest: Path) -> None:
    bench = Bench(tmp_path)
    found = find_batch_size(bench.asked(FindBatchSize, manifest, spec(), steps=2), bench.context)
    assert [one.size for one in found.tried] == [2, 4, 8, 16, 32, 40]
    assert all(one.fits and one.peak_bytes and one.examples_per_s for one in found.tried)
    assert found.largest == 40
    assert found.suggested in {2, 4, 8, 16, 32, 40}
    assert [message.tried for message in bench.of(BatchSizeTried)] == list(found.tried)


def test_a_batch_that_takes_more_than_may_be_taken_does_not_fit(tmp_path: Path, manifest: Path) -> None:
    bench = Bench(tmp_path)
    found = find_batch_size(bench.asked(FindBatchSize, manifest, spec(), limit_bytes=1), bench.context)
    assert (found.largest, found.suggested, len(found.tried)) == (0, 0, 1)
    assert "1 may be taken" in found.reason


def test_sizes_double_up_to_the_ceiling() -> None:
    assert sizes(1) == [1]
    assert sizes(2) == [2]
    assert sizes(20) == [2, 4, 8, 16, 20]
    assert sizes(256)[-2:] == [128, 256]


def test_memory_is_foreseen_on_the_line_through_the_last_two_sizes() -> None:
    tried = [TriedBatch(size=2, fits=True, peak_bytes=120), TriedBatch(size=4, fits=True, peak_bytes=140)]
    assert forecast(tried, 8) == 180
    assert forecast(tried[:1], 8) is None


def test_the_smallest_batch_that_is_nearly_as_fast_as_the_fastest_is_suggested() -> None:
    speeds = {2: 10.0, 4: 95.0, 8: 100.0, 16: 99.0}
    tried = [TriedBatch(size=size, fits=True, examples_per_s=speed) for size, speed in speeds.items()]
    assert choose([*tried, TriedBatch(size=32, fits=False)]) == (16, 4)
    assert choose([TriedBatch(size=2, fits=False)]) == (0, 0)


def test_the_learning_rate_is_suggested_where_the_loss_falls(tmp_path: Path, manifest: Path) -> None:
    bench = Bench(tmp_path)
    work = bench.asked(FindLearningRate, manifest, spec(), lowest=1e-6, highest=10.0, steps=60)
    found = find_learning_rate(work, bench.context)
    rates = [point.learning_rate for point in found.points]
    assert rates[0] == pytest.approx(1e-6)
    assert rates == sorted(rates)
    assert found.suggested is not None
    assert 1e-5 < found.suggested < 5.0
    at = rates.index(found.suggested)
    assert found.points[at + 1].smoothed < found.points[at - 1].smoothed
    assert len(bench.of(LearningRateTried)) == len(found.points)


def test_a_search_is_parked_and_stopped_like_a_run(tmp_path: Path, manifest: Path) -> None:
    def on(message: object, bench: Bench) -> None:
        if isinstance(message, LearningRateTried) and message.step == 3:
            bench.park()
        if isinstance(message, Parked):
            bench.stop()

    bench = Bench(tmp_path, on=on)
    with pytest.raises(Stopped):
        find_learning_rate(bench.asked(FindLearningRate, manifest, spec(), steps=50), bench.context)
    assert len(bench.of(LearningRateTried)) == 3


def test_a_parked_search_finds_what_it_would_have_found(tmp_path: Path, manifest: Path) -> None:
    def on(message: object, bench: Bench) -> None:
        if isinstance(message, LearningRateTried) and message.step == 3:
            bench.park()
            bench.unpark()

    asked = {"lowest": 1e-5, "steps": 12}
    plain, parked = Bench(tmp_path / "a"), Bench(tmp_path / "b", on=on)
    one = find_learning_rate(plain.asked(FindLearningRate, manifest, spec(), **asked), plain.context)
    other = find_learning_rate(parked.asked(FindLearningRate, manifest, spec(), **asked), parked.context)
    assert len(parked.of(Parked)) == 1
    assert one.points == other.points


def test_an_empty_range_of_rates_is_refused(tmp_path: Path, manifest: Path) -> None:
    bench = Bench(tmp_path)
    with pytest.raises(InvalidSpec, match="not below the highest"):
        find_learning_rate(
            bench.asked(FindLearningRate, manifest, spec(), lowest=0.1, highest=0.1), bench.context
        )


def test_a_loss_that_only_rises_suggests_nothing() -> None:
    assert steepest([RatePoint(10.0**place, float(place), float(place)) for place in range(20)]) is None
    assert steepest([]) is None


def test_a_preview_shows_what_the_epochs_will_get(tmp_path: Path, manifest: Path) -> None:
    steps = (*SHAKEN, Step(name="Normalize", params={"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}))
    wanted = spec(train=steps)
    bench = Bench(tmp_path)
    shown = preview(bench.asked(PreviewAugmentations, manifest, wanted, pictures=2, epochs=3), bench.context)
    assert [picture.id for picture in shown.pictures] == ["img-0", "img-1"]
    examples = read_examples(manifest)
    train = Examples(
        examples, transform=Pipeline(SHAKEN, "train"), target=int, seed=wanted.hyperparameters.seed
    )
    for index, picture in enumerate(shown.pictures):
        with Image.open(bench.spool / picture.val) as seen, Image.open(examples[index].file) as original:
            assert np.array_equal(np.asarray(seen), np.asarray(original))
        for epoch, name in enumerate(picture.epochs, 1):
            trained_on = train[Key(epoch, index)].pixels
            with Image.open(bench.spool / name) as seen:
                pixels = torch.tensor(np.asarray(seen)).permute(2, 0, 1) / 255
            assert torch.allclose(pixels, trained_on, atol=1.01 / 255)
    files = [(bench.spool / name).read_bytes() for name in shown.pictures[0].epochs]
    assert len(set(files)) > 1


def test_a_preview_of_what_cannot_be_done_says_which_step(tmp_path: Path, manifest: Path) -> None:
    bench = Bench(tmp_path)
    for steps, words in (
        ((Step(name="RandomCrop", params={"size": [64, 64]}), *SHAKEN), r"Step 1 .* RandomCrop"),
        ((Step(name="Blur"),), "no step 'Blur'"),
    ):
        with pytest.raises(BadAugmentation, match=words):
            preview(bench.asked(PreviewAugmentations, manifest, spec(train=steps)), bench.context)
    with pytest.raises(NoData, match="no picture 'nobody'"):
        preview(bench.asked(PreviewAugmentations, manifest, spec(), examples=("nobody",)), bench.context)
