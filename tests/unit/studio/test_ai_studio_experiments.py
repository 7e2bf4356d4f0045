# SPDX-License-Identifier: Apache-2.0
"""Experiments of AI Studio become ones that can be read here, and say where they tell otherwise."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.ai_studio import PROJECT, put, write_workspace
from tests.studio_bench import ANNA, studio_in

from inglenook.base.errors import Conflict
from inglenook.studio.foreign.bringing import Brought, bring_ai_studio
from inglenook.studio.foreign.contents import contents_of
from inglenook.studio.foreign.experiments import RENAMED, SHIFTED
from inglenook.studio.studio import Studio
from inglenook.studio.training.model import Experiment, Status

DONE: dict[str, Any] = {
    "id": "exp-0000000a",
    "name": "Night run",
    "description": "long",
    "created_at": "2026-01-03T00:00:00Z",
    "status": "completed",
    "started_at": "2026-01-03T01:00:00Z",
    "completed_at": "2026-01-03T02:00:00Z",
    "split_name": "main",
    "model": {"backbone": "resnet18", "head": "classification", "pretrained": True, "dropout": 0.4},
    "hyperparameters": {"batch_size": 16, "learning_rate": 0.01, "optimizer": "lion", "max_epochs": 3},
    "augmentations": {"train": [{"name": "ToImage", "params": {}}], "val": []},
    "hardware": {"selected_devices": ["gpu:0"], "precision": "16-mixed"},
    "best_epoch": 3,
    "best_checkpoint_path": "/somewhere/best.ckpt",
    "best_metric": {"val_accuracy": 0.75},
    "final_metrics": {"val_accuracy": 0.75, "val_loss": None},
    "error": None,
}
EPOCHS = """{"epochs": [
 {"epoch": 1, "val_loss": 0.9, "lr-Adam": 0.01, "duration_s": 2.0},
 {"epoch": 2, "val_loss": 0.8, "train_loss": 1.1, "train_accuracy": 0.4, "val_accuracy": 0.5,
  "lr": 0.02, "duration_s": 2.5},
 {"epoch": 3, "val_loss": NaN, "train_loss": 0.7, "train_accuracy": 0.6, "val_accuracy": 0.75, "lr": 0.03},
 {"epoch": "four"}
]}"""


def write(root: Path, name: str, document: dict[str, Any], epochs: str | None = None) -> Path:
    folder = root / "projects" / PROJECT / "experiments" / name
    put(folder / "experiment.json", document)
    if epochs is not None:
        (folder / "metrics.json").write_text(epochs)
    return folder


class Copied:
    """What came of a workspace, by the names of its experiments."""

    def __init__(self, studio: Studio, one: Brought) -> None:
        self.studio, self.one = studio, one
        self.project = one.project.id

    def experiment(self, name: str) -> Experiment:
        lines = self.studio.experiments.list(ANNA, self.project)
        found = next(line.id for line in lines if line.name == name)
        return self.studio.experiments.get(ANNA, self.project, found)


@pytest.fixture
def brought(tmp_path: Path) -> Iterator[Copied]:
    root = write_workspace(tmp_path / "old")
    write(root, "exp-0000000a", DONE, EPOCHS)
    plain = EPOCHS.replace('"val_loss": 0.9,', '"val_loss": 0.9, "train_loss": 2.0,')
    write(root, "exp-0000000b", {**DONE, "name": "Not shifted"}, plain)
    error = {"type": "RuntimeError", "message": "It broke", "traceback": "line 1"}
    write(root, "exp-0000000c", {**DONE, "name": "Broken", "status": "failed", "error": error})
    write(root, "exp-0000000d", {"id": "exp-0000000d", "name": "\x07", "status": "created"})
    with studio_in(tmp_path) as studio:
        report = bring_ai_studio(studio, root, person=ANNA)
        yield Copied(studio, report.projects[0])


def test_configuration_and_state_are_taken_over_and_what_is_not_known_is_named(brought: Copied) -> None:
    one = brought.experiment("Night run")
    assert (one.status, one.created_at, one.completed_at) == (
        Status.COMPLETED, DONE["created_at"], DONE["completed_at"],
    )  # fmt: skip
    assert (one.model.backbone, one.model.dropout, one.hyperparameters.batch_size) == ("resnet18", 0.4, 16)
    assert one.hardware.precision == "16-mixed"
    assert [step.name for step in one.augmentations.train] == ["ToImage"]
    assert one.split_name == "main"
    assert one.split_id == brought.studio.splits.get(brought.project, "main").split.id
    assert one.imported is not None
    assert (one.imported.program, one.imported.id, one.imported.status) == (
        "AI Studio", "exp-0000000a", "completed",
    )  # fmt: skip
    assert "Its hyperparameters.optimizer ('lion') is nothing that is known here." in one.imported.notes
    assert one.owner == ANNA
    lines = [text for _, text in brought.studio.experiments.log(ANNA, brought.project, one.id)]
    assert lines[0] == "came from AI Studio (exp-0000000a)"


def test_figures_stand_at_their_own_epoch_under_the_name_of_what_they_are(brought: Copied) -> None:
    one = brought.experiment("Night run")
    records = brought.studio.experiments.epochs(ANNA, brought.project, one.id)
    assert [(it.epoch, it.best) for it in records] == [(1, False), (2, True), (3, False)]
    first, second, third = (it.values for it in records)
    assert first == {
        "val_loss": 0.9, "train_loss": 1.1, "train_recall_macro": 0.4, "val_recall_macro": 0.5,
        "lr": 0.01, "duration_s": 2.0,
    }  # fmt: skip
    assert (second["val_loss"], second["train_loss"], second["val_recall_macro"]) == (0.8, 0.7, 0.75)
    assert third == {"lr": 0.03}
    assert records[2].not_finite == ("val_loss",)
    assert (one.best_epoch, one.best_metric) == (2, {"val_recall_macro": 0.75})
    assert one.final_metrics == {"val_recall_macro": 0.75}
    assert one.imported is not None
    assert {SHIFTED, RENAMED, "1 records of epochs could not be read."} <= set(one.imported.notes)
    assert one.seconds == 4.5


def test_records_that_are_whole_are_left_where_they_stand(brought: Copied) -> None:
    one = brought.experiment("Not shifted")
    second = brought.studio.experiments.epochs(ANNA, brought.project, one.id)[1]
    assert (second.values["train_loss"], second.values["val_recall_macro"]) == (1.1, 0.5)
    assert one.best_epoch == 3
    assert one.imported is not None
    assert SHIFTED not in one.imported.notes


def test_whatever_it_was_doing_it_has_ended_and_says_how(brought: Copied) -> None:
    broken = brought.experiment("Broken")
    assert broken.status is Status.FAILED
    assert broken.error is not None
    assert (broken.error.type, broken.error.message, broken.error.traceback) == (
        "RuntimeError", "It broke", "line 1",
    )  # fmt: skip
    hanging = brought.experiment("Two")
    assert hanging.status is Status.FAILED
    assert hanging.error is not None
    assert hanging.error.message == "It was training when it was copied, and never ended."
    assert brought.experiment("Experiment 2").status is Status.CREATED  # its name could not be kept


def test_it_can_be_read_copied_and_deleted_and_nothing_else(brought: Copied) -> None:
    experiments, project = brought.studio.experiments, brought.project
    one = brought.experiment("Night run")
    for change in ({"hyperparameters": {"batch_size": 4}}, {"split_name": "tiny"}):
        with pytest.raises(Conflict, match="came from AI Studio: it can only be read") as caught:
            experiments.update(ANNA, project, one.id, change)
        assert caught.value.code == "experiment.imported"
    copy = experiments.duplicate(ANNA, project, one.id)
    assert copy.imported is None
    assert copy.hyperparameters.batch_size == 16
    experiments.update(ANNA, project, copy.id, {"hyperparameters": {"batch_size": 4}})
    experiments.delete(ANNA, project, one.id)


def test_no_checkpoint_is_taken_over_and_one_of_safetensors_is_looked_at(tmp_path: Path) -> None:
    root = write_workspace(tmp_path / "old")
    folder = write(root, "exp-0000000a", DONE)
    header = b"{}"
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "best.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    (folder / "checkpoints" / "last.safetensors").write_bytes(b"no tensors")
    with studio_in(tmp_path) as studio:
        report = bring_ai_studio(studio, root, person=ANNA)
        project = report.projects[0].project.id
        old = next(it for it in contents_of(studio, project).experiments if it.id == "exp-0000000a")
        assert old.experiment is not None
        ours = studio.experiments.get(ANNA, project, old.experiment)
        assert ours.checkpoints == {}
        assert ours.imported is not None
        assert any("best.safetensors, last.safetensors" in note for note in ours.imported.notes)
        assert not list((studio.documents.folder(project, ours.id) / "checkpoints").iterdir())
        assert json.loads((studio.documents.folder(project, ours.id) / "experiment.json").read_text())
    problems = {Path(it.file).name: it.problem for it in old.checkpoints}
    assert problems["best.safetensors"] is None
    assert problems["last.safetensors"] is not None
