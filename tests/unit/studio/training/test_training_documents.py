# SPDX-License-Identifier: Apache-2.0
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.unit.studio.training.test_training_model import experiment

from inglenook.base.clock import SystemClock
from inglenook.base.ids import OWNER
from inglenook.store.lock import this_process
from inglenook.studio.errors import CorruptDocument
from inglenook.studio.projects.service import ProjectsService
from inglenook.studio.training.documents import INDEX, METRICS, ExperimentDocuments
from inglenook.studio.training.errors import ExperimentNotFound
from inglenook.studio.training.model import EpochRecord, Experiment, Status
from inglenook.studio.workspace import Workspace


@pytest.fixture
def documents(tmp_path: Path) -> Iterator[ExperimentDocuments]:
    clock = SystemClock()
    workspace = Workspace(tmp_path, clock)
    workspace.open(this_process("", clock.now()))
    yield ExperimentDocuments(workspace=workspace, clock=clock)
    workspace.close()


@pytest.fixture
def project(documents: ExperimentDocuments) -> str:
    projects = ProjectsService(workspace=documents.workspace, clock=SystemClock())
    return projects.create(OWNER, "Pets", "classification").id


def make(documents: ExperimentDocuments, project: str) -> Experiment:
    return documents.add(project, lambda new, names: experiment(id=new, name=f"number {len(names)}"))


def record(epoch: int) -> EpochRecord:
    return EpochRecord(epoch=epoch, at="now", values={"loss": epoch / 10})


def test_what_was_written_is_read_back_and_stands_in_the_list(
    documents: ExperimentDocuments, project: str
) -> None:
    made = [make(documents, project) for _ in range(3)]
    assert documents.read(project, made[1].id) == made[1]
    assert [one.id for one in documents.index(project).experiments] == [one.id for one in made]
    on_disk = json.loads((documents.folder(project, made[0].id) / "experiment.json").read_bytes())
    assert on_disk["status"] == "created"
    assert on_disk["hyperparameters"]["batch_size"] == 32


def test_a_change_that_raises_changes_nothing(documents: ExperimentDocuments, project: str) -> None:
    made = make(documents, project)

    def refuse(_: Experiment) -> Experiment:
        raise ExperimentNotFound("no")

    with pytest.raises(ExperimentNotFound):
        documents.change(project, made.id, refuse)
    assert documents.read(project, made.id) == made


@pytest.mark.parametrize("name", ["exp-ffffffff", "../x", "exp-ABCDEF01", ""])
def test_what_is_no_experiment_is_not_found(documents: ExperimentDocuments, project: str, name: str) -> None:
    with pytest.raises(ExperimentNotFound):
        documents.read(project, name)


def test_a_list_that_is_broken_or_lost_is_made_again_from_the_documents(
    documents: ExperimentDocuments, project: str
) -> None:
    made = [make(documents, project) for _ in range(2)]
    (documents.home(project) / INDEX).write_text("{")
    with pytest.raises(CorruptDocument):
        documents.index(project)
    documents.repair(project)
    listed = documents.index(project).experiments
    assert {one.id for one in listed} == {one.id for one in made}
    (documents.home(project) / INDEX).unlink()
    documents.repair(project)
    assert documents.index(project).experiments == listed


def test_one_document_that_cannot_be_read_takes_no_other_down(
    documents: ExperimentDocuments, project: str
) -> None:
    good, bad = make(documents, project), make(documents, project)
    (documents.folder(project, bad.id) / "experiment.json").write_text("nonsense")
    assert [one.id for one in documents.repair(project)] == [good.id]


def test_a_line_that_was_being_written_at_the_kill_does_not_count(
    documents: ExperimentDocuments, project: str
) -> None:
    made = make(documents, project)
    for epoch in (1, 2):
        documents.add_epoch(project, made.id, record(epoch))
    path = documents.folder(project, made.id) / METRICS
    path.write_bytes(path.read_bytes() + b'{"epoch":3,"at":"no')
    assert documents.epochs(project, made.id) == [record(1), record(2)]
    documents.add_epoch(project, made.id, record(3))
    assert documents.epochs(project, made.id) == [record(1), record(2), record(3)]


def test_an_epoch_that_is_trained_again_replaces_itself_and_what_followed(
    documents: ExperimentDocuments, project: str
) -> None:
    made = make(documents, project)
    for epoch in (1, 2, 3):
        documents.add_epoch(project, made.id, record(epoch))
    documents.add_epoch(project, made.id, record(2))
    assert [one.epoch for one in documents.epochs(project, made.id)] == [1, 2]
    documents.drop_epochs(project, made.id, 1)
    assert documents.epochs(project, made.id) == []


def test_a_log_line_is_one_line(documents: ExperimentDocuments, project: str) -> None:
    made = make(documents, project)
    documents.note(project, made.id, "two\nlines")
    ((at, text),) = documents.log(project, made.id)
    assert text == "two lines"
    assert at.endswith("Z")


def test_a_removed_one_is_gone_with_its_folder(documents: ExperimentDocuments, project: str) -> None:
    made = make(documents, project)
    documents.change(project, made.id, lambda old: replace(old, status=Status.PENDING))
    folder = documents.folder(project, made.id)
    documents.remove(project, made.id, lambda _: None)
    assert not folder.exists()
    assert documents.index(project).experiments == ()
