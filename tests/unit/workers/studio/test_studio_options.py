# SPDX-License-Identifier: Apache-2.0
"""Each option of a spec by what it does to a run."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from tests.studio_pictures import CLASSES, SHAKEN, draw_pictures, read_examples, spec
from tests.unit.workers.studio.bench import Bench, same, weights

from inglenook.testing.clock import FakeClock
from inglenook.wire.message import Message
from inglenook.wire.studio.spec import Hardware, Step, TrainSpec
from inglenook.wire.studio.training import MEASURED, Batch, Began, Checkpoint, Samples, Trained
from inglenook.workers.studio.data.pictures import read_picture
from inglenook.workers.studio.kept import load_kept

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pictures(tmp_path_factory.mktemp("pictures"), 36, val=12)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, manifest: Path) -> Bench:
    """One run with nothing special, which many tests look at."""
    bench = Bench(tmp_path_factory.mktemp("plain"))
    assert isinstance(bench.train(manifest, spec(max_epochs=4)), Trained)
    return bench


def trained(folder: Path, manifest: Path, wanted: TrainSpec, **fields: Any) -> Bench:
    bench = Bench(folder)
    assert isinstance(last := bench.train(manifest, wanted, **fields), Trained), last
    return bench


def test_it_says_what_it_built_and_what_it_did(plain: Bench) -> None:
    began: Began = plain.of(Began)[0]
    assert (began.weights, began.pretrained, began.precision, began.device[:3]) == (
        "random", False, "32-true", "cpu",
    )  # fmt: skip
    assert (began.epoch, began.epochs, began.batches) == (1, 4, 3)
    assert began.parameters == began.trainable > 20_000
    assert {"python", "torch", "lightning", "threads"} <= began.environment.keys()


def test_every_record_is_whole_and_of_its_own_epoch(plain: Bench) -> None:
    assert [record.epoch for record in plain.epochs] == [1, 2, 3, 4]
    names = set(plain.epochs[0].values)
    parts = ("loss", "accuracy", "precision_macro", "recall_macro", "f1_macro", "precision", "recall", "f1")
    of_both = {f"{part}_{name}" for part in ("train", "val") for name in parts}
    assert names == of_both | {"val_accuracy_low", "val_accuracy_high", "lr", *MEASURED}
    for record in plain.epochs:
        assert set(record.values) == names
        assert record.values["memory_bytes"] > 2**20
        losses = [loss for epoch, _, loss in plain.losses if epoch == record.epoch]
        assert record.values["train_loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-6)
    assert plain.epochs[-1].values["val_accuracy"] == 1.0


def test_the_best_checkpoint_is_of_the_best_epoch_and_predicts_what_the_record_says(
    plain: Bench, manifest: Path
) -> None:
    accuracies = [record.values["val_accuracy"] for record in plain.epochs]
    first_best = accuracies.index(max(accuracies)) + 1
    kept = load_kept(plain.folder / "run" / "checkpoints" / "best.ckpt")
    assert (kept.about["epoch"], kept.about["value"]) == (first_best, max(accuracies))
    assert kept.about["monitor"] == "val_accuracy"
    assert [record.epoch for record in plain.epochs if record.best][-1] == first_best
    said = [message for message in plain.of(Checkpoint) if message.name == "best"]
    assert (said[-1].epoch, said[-1].value) == (first_best, max(accuracies))
    assert accuracy_of(kept, manifest) == max(accuracies)
    assert kept.classes == CLASSES


def accuracy_of(kept: Any, manifest: Path) -> float:
    """By another way than the worker's: one picture after another."""
    pipeline, right = kept.pipeline(), []
    for example in read_examples(manifest):
        if example.subset == "val":
            logits = kept.network(pipeline(read_picture(example.file))[None])
            right.append(int(logits.argmax()) == example.target)
    return sum(right) / len(right)


def test_some_pictures_are_shown_with_what_is_predicted(plain: Bench) -> None:
    shown: Samples = plain.of(Samples)[-1]
    assert len(shown.samples) == 8
    for sample in shown.samples:
        assert sample.prediction == sample.target
        assert sample.confidence is not None
        assert 0.4 < sample.confidence <= 1.0
    assert [one.samples[0].id for one in plain.of(Samples)] == ["img-24"] * 4


def test_batches_tell_of_speed_and_memory(plain: Bench) -> None:
    batches: list[Batch] = plain.of(Batch)
    train = [one for one in batches if one.stage == "train"]
    assert [(one.epoch, one.batch) for one in train] == [(e, b) for e in (1, 2, 3, 4) for b in (1, 2, 3)]
    assert all(one.examples_per_s and one.memory_bytes and one.batches == 3 for one in train)
    assert {one.batches for one in batches if one.stage == "val"} == {2}


def test_the_speed_of_an_epoch_is_that_of_its_training_and_its_time_is_all_of_it(
    tmp_path: Path, manifest: Path
) -> None:
    """Three batches of 8 in a second each, then two of the validation that take a quarter of an hour."""
    clock = FakeClock()

    def pass_time(message: Message, _: Bench) -> None:
        if isinstance(message, Batch):
            clock.advance(1.0 if message.stage == "train" else 450.0)

    bench = Bench(tmp_path, on=pass_time, clock=clock)
    assert isinstance(bench.train(manifest, spec(max_epochs=2)), Trained)
    for record in bench.epochs:
        assert record.values["duration_s"] == pytest.approx(3 + 2 * 450)
        assert record.values["examples_per_s"] == pytest.approx(24 / 3)


def test_progress_is_told_no_more_often_than_it_should_be(tmp_path: Path, manifest: Path) -> None:
    from dataclasses import replace as with_

    bench = Bench(tmp_path)
    bench.context = with_(bench.context, report_every_s=3600.0)
    bench.train(manifest, spec())
    assert bench.of(Batch) == []
    assert len(bench.epochs) == 2


def test_the_learning_rate_of_each_epoch_is_the_schedules(tmp_path: Path, manifest: Path) -> None:
    wanted = spec(max_epochs=4, warmup_epochs=1, scheduler="poly", poly_power=1.0, learning_rate=0.01)
    bench = trained(tmp_path, manifest, wanted)
    assert [record.values["lr"] for record in bench.epochs] == pytest.approx(
        [0.001, 0.01, 0.02 / 3, 0.01 / 3]
    )
    assert {b.learning_rate for b in bench.of(Batch) if b.epoch == 1 and b.stage == "train"} == {0.001}


def test_gradients_are_added_up_over_the_batches_of_a_step(tmp_path: Path, manifest: Path) -> None:
    """With a frozen backbone nothing depends on the batch's own statistics: two halves are a whole."""
    frozen = {"freeze_backbone": True, "dropout": 0.0}
    chosen: dict[str, Any] = {"optimizer": "sgd", "max_epochs": 1, "model": frozen}
    whole = trained(tmp_path / "whole", manifest, spec(batch_size=8, **chosen))
    halves = trained(tmp_path / "halves", manifest, spec(batch_size=4, batch_multiplier=2, **chosen))
    apart = trained(tmp_path / "apart", manifest, spec(batch_size=4, **chosen))
    name = "head.1.weight"
    one, other, third = (weights(bench.folder / "run")[name] for bench in (whole, halves, apart))
    assert torch.allclose(one, other, atol=1e-6)
    assert not torch.allclose(one, third, atol=1e-6)


def test_a_frozen_backbone_stands_still_with_its_statistics_until_it_is_let_go(
    tmp_path: Path, manifest: Path
) -> None:
    kept: dict[int, dict[str, torch.Tensor]] = {}

    def on(message: Message, bench: Bench) -> None:
        if isinstance(message, Checkpoint) and message.name == "last":
            kept[message.epoch] = weights(bench.folder / "run")

    bench = Bench(tmp_path, on=on)
    bench.train(manifest, spec(max_epochs=3, model={"freeze_backbone": True, "unfreeze_epoch": 3}))
    assert bench.of(Began)[0].trainable == 64 * 3 + 3
    body = [name for name in kept[1] if name.startswith("backbone.")]
    assert any("running_mean" in name for name in body)
    for name in body:
        assert torch.equal(kept[1][name], kept[2][name])
        assert not torch.equal(kept[2][name], kept[3][name])
    assert not torch.equal(kept[1]["head.1.weight"], kept[2]["head.1.weight"])


@pytest.mark.parametrize("wanted", ["bf16-mixed", "16-mixed"])
def test_precision_is_really_used_and_said(tmp_path: Path, manifest: Path, plain: Bench, wanted: str) -> None:
    bench = trained(
        tmp_path,
        manifest,
        replace(spec(max_epochs=1), hardware=Hardware(precision=wanted)),  # type: ignore[arg-type]
    )
    began: Began = bench.of(Began)[0]
    assert began.precision == "bf16-mixed"
    assert ("A CPU does not train in 16-mixed" in " ".join(began.notes)) == (wanted == "16-mixed")
    first, in_full = bench.losses[0][2], plain.losses[0][2]
    assert first != in_full
    assert first == pytest.approx(in_full, rel=0.02)


def test_it_ends_early_when_nothing_gets_better(tmp_path: Path, manifest: Path) -> None:
    wanted = spec(max_epochs=50, early_stopping_patience=2, learning_rate=1e-12, optimizer="sgd")
    bench = Bench(tmp_path)
    last = bench.train(manifest, wanted)
    assert (last.ended, last.best_epoch, last.epochs) == ("early_stopping", 1, 3)
    patient = Bench(tmp_path / "patient")
    last = patient.train(manifest, spec(max_epochs=5, early_stopping_patience=0, learning_rate=1e-12))
    assert (last.ended, last.epochs) == ("epochs", 5)


def test_without_a_validation_part_nothing_is_called_best_and_nothing_ends_early(tmp_path: Path) -> None:
    manifest = draw_pictures(tmp_path / "pictures", 16)
    bench = Bench(tmp_path)
    last = bench.train(manifest, spec(max_epochs=3, early_stopping_patience=1, learning_rate=1e-12))
    assert (last.epochs, last.ended) == (3, "epochs")
    assert (last.monitor, last.best_epoch, last.best_value) == (None, None, None)
    assert "early stopping is off" in bench.notices
    assert not any(name.startswith("val_") for name in last.values)
    assert [(m.epoch, m.monitor) for m in bench.of(Checkpoint) if m.name == "best"] == [
        (1, None), (2, None), (3, None),
    ]  # fmt: skip
    assert same(weights(tmp_path / "run", "best"), weights(tmp_path / "run", "last"))


def test_the_average_is_what_is_validated_and_kept(tmp_path: Path, manifest: Path) -> None:
    bench = trained(tmp_path, manifest, spec(max_epochs=2, ema_decay=0.9))
    content = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    own, average = content["training"]["own"], content["network"]
    assert not torch.equal(own["head.1.weight"], average["head.1.weight"])
    kept = load_kept(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert accuracy_of(kept, manifest) == bench.epochs[-1].values["val_accuracy"]
    assert same(dict(kept.network.state_dict()), average)


def test_a_clipped_gradient_moves_the_weights_no_further(tmp_path: Path, manifest: Path) -> None:
    moved = {}
    for clip in (0.0, 1e-3):
        chosen: dict[str, Any] = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 1.0, "max_epochs": 1}
        folder = tmp_path / str(clip)
        trained(folder, manifest, spec(gradient_clip=clip, weight_decay=0.0, scheduler="none", **chosen))
        before = weights(_begun(tmp_path, manifest, chosen))
        after = weights(folder / "run")
        names = [name for name in after if "weight" in name or "bias" in name]
        moved[clip] = sum(float((after[n] - before[n]).square().sum()) for n in names) ** 0.5
    assert moved[1e-3] <= 3 * 1e-3 * 1.01  # three steps of at most 1e-3
    assert moved[0.0] > 10 * moved[1e-3]


def _begun(folder: Path, manifest: Path, chosen: dict[str, Any]) -> Path:
    """A run that learned nothing: its weights are the first ones."""
    still = chosen | {"learning_rate": 1e-30, "weight_decay": 0.0}
    Bench(folder).train(manifest, spec(**still), run="begun")
    return folder / "begun"


def test_the_backbone_learns_at_its_share_of_the_rate(tmp_path: Path, manifest: Path) -> None:
    moved = {}
    for share in (1.0, 0.01):
        chosen: dict[str, Any] = {"optimizer": "sgd", "momentum": 0.0, "max_epochs": 1, "weight_decay": 0.0}
        run = tmp_path / str(share)
        trained(run, manifest, spec(**chosen, batch_size=32, model={"backbone_lr_scale": share}))
        name = "backbone.0.weight"
        moved[share] = weights(run / "run")[name] - weights(_begun(tmp_path, manifest, chosen))[name]
    # One step of plain SGD: the way is the rate times the same gradient.
    assert torch.allclose(moved[0.01] * 100, moved[1.0], rtol=0.02, atol=1e-5)


def test_augmentation_happens_while_training_and_never_while_validating(
    tmp_path: Path, manifest: Path, plain: Bench
) -> None:
    shaken = trained(tmp_path / "shaken", manifest, spec(train=SHAKEN, max_epochs=1))
    assert shaken.losses[0] != plain.losses[0]
    never = tuple(replace(step, params=step.params | {"apply_p": 0.0}) for step in SHAKEN[:-1])
    still = trained(tmp_path / "still", manifest, spec(train=(*never, SHAKEN[-1]), max_epochs=1))
    assert still.losses[0] == plain.losses[0]


def test_mixing_and_balancing_and_weights_of_classes_change_what_is_learned(
    tmp_path: Path, manifest: Path, plain: Bench
) -> None:
    chosen: list[dict[str, Any]] = [
        {"mixup": 0.4}, {"cutmix": 1.0}, {"sampling": "balanced"}, {"loss": "focal"},
        {"label_smoothing": 0.2}, {"model": {"dropout": 0.8}}, {"seed": 7},
    ]  # fmt: skip
    first = set()
    for number, one in enumerate(chosen):
        first.add(trained(tmp_path / str(number), manifest, spec(max_epochs=1, **one)).losses[0][2])
    assert len(first | {plain.losses[0][2]}) == len(chosen) + 1


def test_deterministic_is_on_while_it_trains_and_off_afterwards(tmp_path: Path, manifest: Path) -> None:
    seen = []
    bench = Bench(
        tmp_path,
        on=lambda m, _: (
            seen.append(torch.are_deterministic_algorithms_enabled()) if isinstance(m, Batch) else None
        ),
    )
    bench.train(manifest, spec(max_epochs=1, deterministic=True))
    assert set(seen) == {True}
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_spec_that_says_nothing_of_pictures_gets_the_backbones_own_size(
    tmp_path: Path, manifest: Path
) -> None:
    bare = replace(spec(max_epochs=1), augmentations=type(spec().augmentations)())
    bench = trained(tmp_path, manifest, bare)
    assert "resized to 32 x 32" in bench.notices
    kept = load_kept(tmp_path / "run" / "checkpoints" / "best.ckpt")
    assert kept.input == (3, 32, 32)
    assert [step.name for step in kept.steps] == ["Resize", "ToImage", "Normalize"]


def test_what_the_server_knows_is_in_the_checkpoint(tmp_path: Path, manifest: Path) -> None:
    lineage = {"experiment": "exp-1", "dataset_version": "4"}
    trained(tmp_path, manifest, spec(max_epochs=1), lineage=lineage)
    kept = load_kept(tmp_path / "run" / "checkpoints" / "best.ckpt")
    assert kept.about["lineage"] == lineage
    assert (kept.about["class_count"], kept.about["weights"], kept.about["batch"]) == (3, "random", 3)
    assert kept.spec == spec(max_epochs=1)


def test_logs_are_read_by_tensorboard_and_lie_as_mlflow_wants_them(plain: Bench) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(plain.folder / "run" / "tensorboard"))
    board.Reload()
    found = [(event.step, event.value) for event in board.Scalars("accuracy/val")]
    expected = [(record.epoch, record.values["val_accuracy"]) for record in plain.epochs]
    assert found == [(step, pytest.approx(value)) for step, value in expected]
    (run,) = (path.parent for path in (plain.folder / "run" / "mlruns" / "0").glob("*/meta.yaml"))
    lines = (run / "metrics" / "val_accuracy").read_text().splitlines()
    assert [(int(line.split()[2]), float(line.split()[1])) for line in lines] == expected
    assert "status: 3" in (run / "meta.yaml").read_text()
    assert (run / "params" / "model.backbone").read_text() == "small_cnn"


def test_logs_of_a_run_that_went_on_have_each_epoch_once(tmp_path: Path, manifest: Path) -> None:
    def on(message: Message, bench: Bench) -> None:
        if isinstance(message, Batch) and (message.epoch, message.stage) == (2, "train"):
            bench.stop()

    stopped = Bench(tmp_path, on=on).train(manifest, spec(max_epochs=3))
    Bench(tmp_path).train(manifest, spec(max_epochs=3), resume=stopped.checkpoint)
    (run,) = (path.parent for path in (tmp_path / "run" / "mlruns" / "0").glob("*/meta.yaml"))
    steps = [int(line.split()[2]) for line in (run / "metrics" / "train_loss").read_text().splitlines()]
    assert steps == [1, 2, 3]


def test_steps_that_do_not_fit_are_refused_before_anything_is_trained(tmp_path: Path, manifest: Path) -> None:
    normalize = Step(name="Normalize", params={"mean": [0.5], "std": [0.0]})
    image = Step(name="ToImage")
    for steps, words in (
        ((Step(name="RandomHorizontalFlip", params={"p": 1.5}), image), "RandomHorizontalFlip"),
        ((Step(name="RandomRotation", params={"degrees": -5}), image), "RandomRotation"),
        ((Step(name="Resize", params={"sise": 8}), image), "Resize has no parameter 'sise'"),
        ((Step(name="Resize", params={"size": [8, 8], "apply_p": 2}), image), "apply_p is 2"),
        ((image, replace(normalize, params=normalize.params | {"apply_p": 0.01})), "Step 2 .* Normalize"),
        ((Step(name="Resize", params={"size": [8, 8]}),), "not in float32 numbers"),
        ((Step(name="Resize", params={"size": 8}), image), "pictures of different sizes"),
        ((Step(name="Resize", params={"size": [9, 9]}), image), "ends in 9 x 9 pixels"),
        ((Step(name="os.system"), image), "no step 'os.system'"),
    ):
        bench = Bench(tmp_path)
        failed = bench.train(manifest, spec(train=steps))
        assert failed.code == "train.bad_augmentation", failed
        assert re.search(words, failed.message), failed.message
        assert bench.messages == []
