# SPDX-License-Identifier: Apache-2.0
from itertools import product
from typing import Any

import pytest

from inglenook.base.errors import Invalid
from inglenook.studio.training.errors import TrainingInProgress
from inglenook.studio.training.model import (
    FINISHED,
    NEXT,
    RUNNING,
    EpochRecord,
    Experiment,
    Status,
    lowest_free,
    require_stopped,
    summary_of,
    titled,
)
from inglenook.wire.studio.spec import TrainSpec


def experiment(**changes: Any) -> Experiment:
    spec = TrainSpec()
    fields: dict[str, Any] = {
        "id": "exp-00000001",
        "name": "one",
        "created_at": "2026-01-01T00:00:00.000Z",
        "split_name": "first",
        "model": spec.model,
        "hyperparameters": spec.hyperparameters,
        "augmentations": spec.augmentations,
        "hardware": spec.hardware,
    }
    return Experiment(**fields | changes)


@pytest.mark.parametrize(("old", "new"), list(product(Status, Status)))
def test_a_status_is_followed_only_by_what_the_table_says(old: Status, new: Status) -> None:
    there = experiment(status=old)
    if new in NEXT[old]:
        assert there.moved(new).status is new
    else:
        with pytest.raises(ValueError, match="may not follow"):
            there.moved(new)


def test_every_status_runs_or_has_ended_or_was_never_begun() -> None:
    assert frozenset(Status) == RUNNING | FINISHED | {Status.CREATED}
    assert not RUNNING & FINISHED


def test_nothing_that_has_ended_trains_without_passing_the_queue() -> None:
    assert [old for old in Status if Status.TRAINING in NEXT[old]] == [Status.PENDING]


@pytest.mark.parametrize("status", list(Status))
def test_only_what_runs_must_be_stopped_first(status: Status) -> None:
    there = experiment(status=status)
    if status in RUNNING:
        with pytest.raises(TrainingInProgress):
            require_stopped(there)
    else:
        require_stopped(there)


def test_a_summary_has_ai_studio_s_fields() -> None:
    said = summary_of(experiment(best_metric={"val_accuracy": 0.75}, epoch=2))
    assert (said.id, said.name, said.status, said.best_metric_value) == (
        "exp-00000001",
        "one",
        "created",
        0.75,
    )
    assert (said.epoch, said.max_epochs, said.backbone) == (2, 50, "resnet18")


def test_names_are_the_lowest_free_ones_and_hold_no_control_characters() -> None:
    assert lowest_free({"Experiment 1", "Experiment 3"}) == "Experiment 2"
    assert titled("  lr = 0.01,\t wide ") == "lr = 0.01, wide"
    for wrong in ("", "   ", "x" * 121, "a\x00b"):
        with pytest.raises(Invalid):
            titled(wrong)


def test_a_record_of_an_epoch_is_flat_and_names_what_was_not_finite() -> None:
    record = EpochRecord(epoch=3, at="now", values={"train_loss": 0.5}, not_finite=("val_loss",))
    assert record.as_json() == {
        "epoch": 3,
        "train_loss": 0.5,
        "at": "now",
        "best": False,
        "not_finite": ["val_loss"],
    }
