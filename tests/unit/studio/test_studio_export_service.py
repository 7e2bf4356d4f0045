# SPDX-License-Identifier: Apache-2.0
"""Exports as documents, and their place in the library; the work itself is done elsewhere."""

import errno
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.onnx_files import colours, metadata

from inglenook.base.errors import InglenookError
from inglenook.catalog.service import CatalogService
from inglenook.store.lock import this_process
from inglenook.studio.errors import ProjectNotFound
from inglenook.studio.export.documents import ExportDocuments
from inglenook.studio.export.errors import (
    BadExport,
    CheckpointNotFound,
    ExportBusy,
    ExportFileMissing,
    NameTaken,
    NotCompleted,
    NotRegistered,
)
from inglenook.studio.export.library import Library
from inglenook.studio.export.model import ExportOrder, ExportRecord, Status
from inglenook.studio.export.service import ExportsService
from inglenook.studio.projects.service import ProjectsService
from inglenook.studio.training.documents import ExperimentDocuments
from inglenook.studio.training.model import Experiment
from inglenook.studio.training.model import Status as Trained
from inglenook.studio.workspace import Workspace
from inglenook.testing.clock import FakeClock
from inglenook.wire.studio.export import ExportOptions
from inglenook.wire.studio.spec import TrainSpec

pytest.importorskip("onnx")
ME, OTHER = "me", "somebody"
replace = msgspec.structs.replace


@dataclass
class Bench:
    project: str
    exports: ExportsService
    documents: ExportDocuments
    experiments: ExperimentDocuments
    catalog: CatalogService
    models: Path

    def experiment(self, status: Trained = Trained.COMPLETED) -> Experiment:
        spec = TrainSpec()
        made = self.experiments.add(
            self.project,
            lambda new_id, names: Experiment(
                id=new_id,
                name=f"Experiment {len(names)}",
                created_at="2026-11-26T17:00:00.000Z",
                status=status,
                split_name="main",
                model=spec.model,
                hyperparameters=spec.hyperparameters,
                augmentations=spec.augmentations,
                hardware=spec.hardware,
            ),
        )
        folder = self.experiments.folder(self.project, made.id)
        (folder / "checkpoints" / "best.ckpt").write_bytes(b"x")
        (folder / "manifest.jsonl").write_bytes(b"")
        return made

    def ordered(self) -> ExportRecord:
        return self.exports.order(ME, self.project, ExportOrder(experiment_id=self.experiment().id))

    def completed(self, data: bytes | None = None) -> ExportRecord:
        record = self.ordered()
        folder = self.documents.folder(self.project, record.id)
        (folder / "model.onnx").write_bytes(colours() if data is None else data)
        done = {"status": Status.COMPLETED, "output_file": "model.onnx", "files": ("model.onnx",)}
        return self.documents.change(self.project, record.id, lambda old: replace(old, **done))


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Bench]:
    clock = FakeClock()
    workspace = Workspace(tmp_path / "studio", clock)
    workspace.open(this_process("", datetime.now(UTC)))
    projects = ProjectsService(workspace=workspace, clock=clock)
    project = projects.create(ME, "Colours", "classification").id
    models = tmp_path / "models"
    catalog = CatalogService(roots=[models], builtin=tmp_path / "none")
    documents = ExportDocuments(workspace=workspace, clock=clock)
    experiments = ExperimentDocuments(workspace=workspace, clock=clock)
    exports = ExportsService(
        projects=projects,
        documents=documents,
        experiments=experiments,
        library=Library(catalog=catalog, folder=models),
    )
    yield Bench(project, exports, documents, experiments, catalog, models)
    workspace.close()


def test_an_order_is_kept_and_listed(it: Bench) -> None:
    record = it.ordered()
    assert (record.status, record.checkpoint, record.owner) == (Status.PENDING, "best", ME)
    assert [one.id for one in it.exports.list(ME, it.project)] == [record.id]
    assert it.exports.get(ME, it.project, record.id) == record
    assert "being made" in (it.exports.running(it.project) or "")


@pytest.mark.parametrize("status", [one for one in Trained if one is not Trained.COMPLETED])
def test_an_experiment_must_be_completed(it: Bench, status: Trained) -> None:
    made = it.experiment(status)
    with pytest.raises(NotCompleted, match="must be completed"):
        it.exports.order(ME, it.project, ExportOrder(experiment_id=made.id))
    assert it.exports.list(ME, it.project) == ()


def test_what_does_not_go_together_is_refused(it: Bench) -> None:
    made = it.experiment().id
    with pytest.raises(CheckpointNotFound, match=r"no checkpoint last\.ckpt"):
        it.exports.order(ME, it.project, ExportOrder(experiment_id=made, checkpoint="last"))
    asked = ExportOrder(
        experiment_id=made, format="torchscript", options=ExportOptions(quantization="dynamic")
    )
    with pytest.raises(BadExport, match="TorchScript"):
        it.exports.order(ME, it.project, asked)
    (it.experiments.folder(it.project, made) / "manifest.jsonl").unlink()
    with pytest.raises(BadExport, match="no manifest"):
        it.exports.order(ME, it.project, ExportOrder(experiment_id=made))


def test_somebody_else_sees_nothing(it: Bench) -> None:
    record = it.completed()
    calls: list[Callable[[], Any]] = [
        lambda: it.exports.list(OTHER, it.project),
        lambda: it.exports.get(OTHER, it.project, record.id),
        lambda: it.exports.file(OTHER, it.project, record.id),
        lambda: it.exports.register(OTHER, it.project, record.id, "mine"),
        lambda: it.exports.delete(OTHER, it.project, record.id),
    ]
    for call in calls:
        with pytest.raises(ProjectNotFound):
            call()


def test_only_what_is_listed_can_be_downloaded(it: Bench) -> None:
    waiting = it.ordered()
    with pytest.raises(ExportFileMissing, match="no file"):
        it.exports.file(ME, it.project, waiting.id)
    record = it.completed()
    path, _ = it.exports.file(ME, it.project, record.id)
    assert path.name == "model.onnx"
    for name in ("export.json", "../exports_index.json", "predict.py"):
        with pytest.raises(ExportFileMissing, match="no file"):
            it.exports.file(ME, it.project, record.id, name)


def test_what_is_being_made_is_not_deleted(it: Bench) -> None:
    record = it.ordered()
    with pytest.raises(ExportBusy):
        it.exports.delete(ME, it.project, record.id)
    done = it.completed()
    it.exports.delete(ME, it.project, done.id)
    assert [one.id for one in it.exports.list(ME, it.project)] == [record.id]
    assert not (it.documents.home(it.project) / done.id).exists()


def test_a_file_is_put_into_the_library_and_known_at_once(it: Bench) -> None:
    record = it.exports.register(ME, it.project, it.completed().id, "papers")
    assert record.registered is not None
    assert record.registered.model == "papers"
    found = it.catalog.resolve("papers", kind=it.catalog.get(record.registered.model).kind)  # type: ignore[arg-type]  # an id is a text
    assert found.vision is not None
    assert it.exports.list(ME, it.project)[0].model == "papers"
    assert [one.name for one in it.models.iterdir()] == ["papers.onnx"]
    it.exports.delete(ME, it.project, record.id)
    assert (it.models / "papers.onnx").read_bytes() == colours(), "what the library has stays"


def test_names_are_taken_once_whatever_their_case(it: Bench) -> None:
    it.exports.register(ME, it.project, it.completed().id, "Papers")
    second = it.completed()
    with pytest.raises(NameTaken, match="papers"):
        it.exports.register(ME, it.project, second.id, "papers")
    (it.models / "broken.onnx").mkdir()
    with pytest.raises(NameTaken):
        it.exports.register(ME, it.project, second.id, "broken")
    assert it.exports.get(ME, it.project, second.id).registered is None


def test_where_there_are_no_links_the_file_is_copied(it: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    true = os.link

    def only_beside(source: Path, target: Path) -> None:
        if Path(source).parent != Path(target).parent:
            raise OSError(errno.EXDEV, "another file system")
        true(source, target)

    monkeypatch.setattr(os, "link", only_beside)
    record = it.completed()
    it.exports.register(ME, it.project, record.id, "copied")
    copied = it.models / "copied.onnx"
    assert copied.read_bytes() == colours()
    assert copied.stat().st_ino != (it.documents.folder(it.project, record.id) / "model.onnx").stat().st_ino


def test_an_export_is_in_the_library_once_and_again_when_somebody_deleted_it_there(it: Bench) -> None:
    record = it.completed(colours(told=metadata(labels=("a", "b", "c"))))
    with pytest.raises(NotRegistered):
        it.exports.registered(ME, it.project, record.id)
    it.exports.register(ME, it.project, record.id, "one")
    with pytest.raises(ExportBusy, match="in the library as one"):
        it.exports.register(ME, it.project, record.id, "two")
    (it.models / "one.onnx").unlink()
    (it.models / "one.onnx").write_bytes(colours())
    assert it.exports.registered(ME, it.project, record.id) is None, "it is somebody else's file"
    (it.models / "one.onnx").unlink()
    assert it.exports.registered(ME, it.project, record.id) is None
    assert it.exports.register(ME, it.project, record.id, "two").registered is not None
    assert it.exports.unregistered(ME, it.project, record.id).registered is None


def test_the_model_of_an_experiment_is_the_last_that_was_exported_of_its_run_as_it_ended(it: Bench) -> None:
    one = replace(it.experiment(), completed_at="2026-11-26T18:00:00.000Z")
    told = {"project": it.project, "experiment": one.id}

    def put(name: str, **lineage: str) -> None:
        lines = metadata(lineage=json.dumps(told | lineage))
        (it.models / f"{name}.onnx").write_bytes(colours(told=lines))

    def model() -> str | None:
        return it.exports.models_of([(it.project, one)]).get((it.project, one.id))

    it.models.mkdir()
    put("of an earlier run", exported_at="2026-11-26T17:59:59.000Z")
    put("of another", exported_at="2026-11-26T19:00:00.000Z", experiment="exp-00000000")
    (it.models / "of somebody.onnx").write_bytes(colours())
    assert model() is None
    put("zebra", exported_at="2026-11-26T18:30:00.000Z")
    assert model() == "zebra"
    put("aardvark", exported_at="2026-11-26T18:45:00.000Z")
    assert model() == "aardvark"
    assert it.exports.models_of([(it.project, replace(one, status=Trained.TRAINING))]) == {}
    (it.models / "aardvark.onnx").unlink()
    assert model() == "zebra"


def test_a_start_puts_the_list_right_and_tells_of_what_never_got_into_the_queue(it: Bench) -> None:
    lost, queued, done = it.ordered(), it.ordered(), it.completed()
    it.exports.given_to(it.project, queued.id, "job_1")
    (it.documents.home(it.project) / "exports_index.json").unlink()
    it.exports.recover([it.project])
    states = {one.id: one.status for one in it.exports.list(ME, it.project)}
    assert states == {lost.id: Status.FAILED, queued.id: Status.PENDING, done.id: Status.COMPLETED}
    assert "before it was put into the queue" in (it.exports.get(ME, it.project, lost.id).error or "")


def test_a_document_that_cannot_be_read_does_not_take_the_others_down(it: Bench) -> None:
    broken, sound = it.completed(), it.completed()
    (it.documents.folder(it.project, broken.id) / "export.json").write_text("{")
    it.exports.recover([it.project])
    assert [one.id for one in it.exports.list(ME, it.project)] == [sound.id]
    with pytest.raises(InglenookError, match=r"export\.json"):
        it.exports.get(ME, it.project, broken.id)
