# SPDX-License-Identifier: Apache-2.0
"""A run that was stopped, or parked, learns the same, number for number, as one that never was."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from tests.studio_pictures import SHAKEN, draw_pictures, read_examples, spec, write_manifest
from tests.unit.workers.studio.bench import Bench, same, weights

from inglenook.wire.message import Message
from inglenook.wire.studio.spec import Step, TrainSpec
from inglenook.wire.studio.training import (
    MEASURED,
    Batch,
    Checkpoint,
    Parked,
    Trained,
    TrainFailed,
    TrainStopped,
    Unparked,
)

pytestmark = pytest.mark.slow

EVERYTHING = spec(
    train=SHAKEN,
    max_epochs=3,
    warmup_epochs=1,
    mixup=0.3,
    cutmix=0.5,
    ema_decay=0.9,
    batch_multiplier=3,
    sampling="balanced",
    class_weights="balanced",
    gradient_clip=1.0,
    label_smoothing=0.1,
    model={"dropout": 0.5},
)
"""Everything that draws at random, or remembers something from one batch to the next."""


class Uninterrupted:
    """What the run comes to when nobody disturbs it."""

    def __init__(self, folder: Path) -> None:
        self.manifest = draw_pictures(folder / "pictures", 60, val=12)
        bench = Bench(folder)
        self.last = bench.train(self.manifest, EVERYTHING)
        assert isinstance(self.last, Trained)
        self.losses = bench.losses
        self.records = [_of_the_run(epoch.values) for epoch in bench.epochs]
        self.weights = weights(folder / "run")
        self.best = weights(folder / "run", "best")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Uninterrupted:
    return Uninterrupted(tmp_path_factory.mktemp("reference"))


def _of_the_run(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if name not in MEASURED}


def at(stage: str, epoch: int, batch: int, act: Callable[[Bench], None]) -> Callable[[Message, Bench], None]:
    def on(message: Message, bench: Bench) -> None:
        if isinstance(message, Batch) and (message.stage, message.epoch, message.batch) == (
            stage,
            epoch,
            batch,
        ):
            act(bench)

    return on


@pytest.mark.parametrize(
    ("stage", "epoch", "batch"),
    [("train", 1, 2), ("train", 2, 5), ("train", 2, 6), ("val", 2, 1), ("train", 3, 1)],
    ids=["mid-window", "last but one", "last of the epoch", "while validating", "new epoch"],
)
def test_a_stopped_run_goes_on_as_if_nothing_had_been(
    reference: Uninterrupted, tmp_path: Path, stage: str, epoch: int, batch: int
) -> None:
    bench = Bench(tmp_path, on=at(stage, epoch, batch, Bench.stop))
    stopped = bench.train(reference.manifest, EVERYTHING)
    assert isinstance(stopped, TrainStopped)
    first = bench.losses
    torch.manual_seed(12345)  # another process has another state
    again = Bench(tmp_path)
    assert isinstance(again.train(reference.manifest, EVERYTHING, resume=stopped.checkpoint), Trained)
    assert first + again.losses == reference.losses
    records = [_of_the_run(record.values) for record in bench.epochs + again.epochs]
    assert records == reference.records
    assert same(weights(tmp_path / "run"), reference.weights)
    assert same(weights(tmp_path / "run", "best"), reference.best)


def test_the_checkpoint_that_is_saved_in_mid_epoch_is_as_good(
    reference: Uninterrupted, tmp_path: Path
) -> None:
    """As after a crash: the process has gone, and what was saved last is all there is."""
    kept: list[bytes] = []
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    bench = Bench(tmp_path, on=at("train", 2, 5, lambda bench: kept.append(last.read_bytes())))
    bench.train(reference.manifest, EVERYTHING, save_every_s=0.0)
    last.write_bytes(kept[0])
    again = Bench(tmp_path)
    again.train(reference.manifest, EVERYTHING, resume=str(last))
    assert again.losses[0][:2] == (2, 5)
    assert again.losses == [loss for loss in reference.losses if loss[:2] >= (2, 5)]
    assert same(weights(tmp_path / "run"), reference.weights)


@pytest.mark.parametrize("heard", [0, 1])
def test_epochs_of_which_the_server_has_not_heard_are_told_again_and_no_others(
    reference: Uninterrupted, tmp_path: Path, heard: int
) -> None:
    """It ended while the run was ahead of it: the checkpoint has more epochs than are written down."""
    bench = Bench(tmp_path, on=at("train", 3, 1, Bench.stop))
    stopped = bench.train(reference.manifest, EVERYTHING)
    again = Bench(tmp_path)
    again.train(reference.manifest, EVERYTHING, resume=stopped.checkpoint, told=heard)
    assert again.epochs[:-1] == bench.epochs[heard:]
    assert [record.epoch for record in again.epochs] == list(range(heard + 1, 4))
    before, after = ([one for one in each.of(Checkpoint) if one.name == "best"] for each in (bench, again))
    missed = [one for one in before[-1:] if one.epoch > heard]
    assert after[: len(missed)] == missed
    assert again.losses == [loss for loss in reference.losses if loss[:2] > (3, 1)]


@pytest.mark.parametrize(("stage", "epoch", "batch"), [("train", 1, 2), ("val", 2, 1), ("train", 3, 4)])
def test_a_parked_run_goes_on_as_if_nothing_had_been(
    reference: Uninterrupted, tmp_path: Path, stage: str, epoch: int, batch: int
) -> None:
    park = at(stage, epoch, batch, Bench.park)
    spooled: list[list[str]] = []

    def on(message: Message, bench: Bench) -> None:
        park(message, bench)
        if isinstance(message, Parked):
            spooled.append([path.name for path in bench.spool.iterdir()])
            if len(spooled) == 1:
                bench.park()  # is answered too, although it is parked already
                bench.unpark()

    bench = Bench(tmp_path, on=on)
    assert isinstance(bench.train(reference.manifest, EVERYTHING), Trained)
    assert bench.losses == reference.losses
    assert same(weights(tmp_path / "run"), reference.weights)
    receipts = bench.of(Parked)
    assert [receipt.epoch for receipt in receipts] == [epoch, epoch]
    assert len(bench.of(Unparked)) == 1
    assert spooled == [["parked.pt"], ["parked.pt"]]
    assert list(bench.spool.iterdir()) == []


def test_a_run_is_stopped_while_it_is_parked_and_goes_on_later(
    reference: Uninterrupted, tmp_path: Path
) -> None:
    park = at("val", 2, 1, Bench.park)

    def on(message: Message, bench: Bench) -> None:
        park(message, bench)
        if isinstance(message, Parked):
            bench.stop()

    bench = Bench(tmp_path, on=on)
    stopped = bench.train(reference.manifest, EVERYTHING)
    assert isinstance(stopped, TrainStopped)
    assert list(bench.spool.iterdir()) == []
    again = Bench(tmp_path)
    again.train(reference.manifest, EVERYTHING, resume=stopped.checkpoint)
    assert bench.losses + again.losses == reference.losses
    assert same(weights(tmp_path / "run"), reference.weights)


def test_pictures_read_in_other_processes_are_the_same(reference: Uninterrupted, tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.train(reference.manifest, replace(EVERYTHING, hardware=replace(EVERYTHING.hardware, workers=2)))
    assert bench.losses == reference.losses
    assert same(weights(tmp_path / "run"), reference.weights)


def test_another_seed_is_another_run(reference: Uninterrupted, tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.train(reference.manifest, changed(seed=1))
    assert bench.losses != reference.losses


def test_a_run_is_not_resumed_with_what_it_did_not_begin_with(
    reference: Uninterrupted, tmp_path: Path
) -> None:
    bench = Bench(tmp_path, on=at("train", 1, 2, Bench.stop))
    stopped = bench.train(reference.manifest, EVERYTHING)
    failed = Bench(tmp_path).train(reference.manifest, changed(learning_rate=0.5), resume=stopped.checkpoint)
    assert isinstance(failed, TrainFailed)
    assert failed.code == "train.bad_checkpoint"
    assert "hyperparameters.learning_rate changed" in failed.message

    fewer = write_manifest(tmp_path / "fewer.jsonl", read_examples(reference.manifest)[1:])
    failed = Bench(tmp_path).train(fewer, EVERYTHING, resume=stopped.checkpoint)
    assert "the pictures changed" in failed.message


def changed(**chosen: Any) -> TrainSpec:
    return replace(EVERYTHING, hyperparameters=replace(EVERYTHING.hyperparameters, **chosen))


def test_parking_on_a_processor_gives_the_memory_back(tmp_path: Path) -> None:
    """A network of 45 MB, with Adam's two moments and the gradients of a window: four times that."""
    manifest = draw_pictures(tmp_path / "pictures", 16)
    steps = (Step(name="Resize", params={"size": [32, 32]}), Step(name="ToImage"))
    big = spec(backbone="resnet18", batch_size=4, batch_multiplier=4, max_epochs=2)
    big = replace(big, augmentations=replace(big.augmentations, train=steps, val=steps))
    park = at("train", 2, 2, Bench.park)

    def on(message: Message, bench: Bench) -> None:
        park(message, bench)
        if isinstance(message, Parked):
            bench.unpark()

    bench = Bench(tmp_path, on=on)
    assert isinstance(bench.train(manifest, big), Trained)
    (receipt,) = bench.of(Parked)
    assert receipt.before_bytes - receipt.after_bytes > 140_000_000
    (back,) = bench.of(Unparked)
    assert back.memory_bytes > receipt.after_bytes + 140_000_000
