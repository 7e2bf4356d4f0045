# SPDX-License-Identifier: Apache-2.0
"""Exports of a project: ordered, looked at, downloaded, put into the library, deleted. All of it blocks.

What makes them is `work`.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from inglenook.catalog.model import ModelRecord
from inglenook.studio.export.documents import ExportDocuments
from inglenook.studio.export.errors import (
    BadExport,
    CheckpointNotFound,
    ExportBusy,
    ExportFileMissing,
    NotCompleted,
    NotRegistered,
)
from inglenook.studio.export.library import Library
from inglenook.studio.export.model import (
    ExportOrder,
    ExportRecord,
    ExportSummary,
    Registered,
    Status,
    checkpoint_name,
    model_name,
)
from inglenook.studio.projects.service import ProjectsService
from inglenook.studio.training.documents import CHECKPOINTS, MANIFEST
from inglenook.studio.training.model import Experiment
from inglenook.studio.training.model import Status as Trained
from inglenook.wire.studio.backbones import find_backbone

replace = msgspec.structs.replace

FORMATS: tuple[tuple[str, str, bool], ...] = (
    ("onnx", "ONNX", True),
    ("torchscript", "TorchScript", True),
    ("tensorrt", "TensorRT", False),
    ("openvino", "OpenVINO", False),
)
"""Name, title, and whether it can be made here."""


class Experiments(Protocol):
    """What exports ask of experiments."""

    def read(self, project_id: str, experiment_id: str) -> Experiment: ...

    def folder(self, project_id: str, experiment_id: str) -> Path: ...


class ExportsService:
    def __init__(
        self,
        *,
        projects: ProjectsService,
        documents: ExportDocuments,
        experiments: Experiments,
        library: Library,
    ) -> None:
        self._projects = projects
        self._documents = documents
        self._experiments = experiments
        self._library = library

    # -- reading -------------------------------------------------------------------------------------------

    def list(self, person: str, project_id: str) -> Sequence[ExportSummary]:
        """In the order in which they were made. Raises ProjectNotFound, CorruptDocument."""
        self._projects.require(person, project_id, write=False)
        return self._documents.index(project_id).exports

    def get(self, person: str, project_id: str, export_id: str) -> ExportRecord:
        """Raises ProjectNotFound, ExportNotFound, CorruptDocument."""
        self._projects.require(person, project_id, write=False)
        return self._documents.read(project_id, export_id)

    def file(
        self, person: str, project_id: str, export_id: str, name: str | None = None
    ) -> tuple[Path, ExportRecord]:
        """One of the files that can be downloaded; the model where no name is given.

        Raises:
            ExportFileMissing: there is none of that name (yet).
        """
        record = self.get(person, project_id, export_id)
        wanted = record.output_file if name is None else name
        if wanted is None or wanted not in record.files:
            what = "no file" if name is None else f"no file {name[:80]!r}"
            hint = f"there are {', '.join(record.files)}" if record.files else f"it is {record.status}"
            raise ExportFileMissing(f"The export {export_id} has {what}.", hint=hint)
        path = self._documents.folder(project_id, export_id) / wanted
        if not path.is_file():
            raise ExportFileMissing(
                f"The file {wanted} of {export_id} is gone.", hint="make the export again"
            )
        return path, record

    def models_of(self, some: Iterable[tuple[str, Experiment]]) -> Mapping[tuple[str, str], str]:
        """By project and experiment, the model of the library that was exported of it last. One of an
        earlier run of it, before it was resumed or restarted, does not count.

        Args:
            some: each with its project. Whoever asks may see them.
        """
        newest: dict[tuple[str, str], tuple[str, str]] = {}
        for model, told in self._library.lineages().items():
            place = (str(told.get("project")), str(told.get("experiment")))
            newest[place] = max(newest.get(place, ("", "")), (str(told.get("exported_at", "")), model))
        found = {}
        for project, one in some:
            exported_at, model = newest.get((project, one.id), ("", ""))
            if one.status is Trained.COMPLETED and one.completed_at and exported_at >= one.completed_at:
                found[project, one.id] = model
        return found

    def recover(self, projects: Iterable[str]) -> None:
        """Once, at the start: lists are put right, and what never got into the queue is told. The queue
        itself begins again what it had."""
        for project_id in projects:
            for record in self._documents.repair(project_id):
                if record.is_running and record.job is None:
                    self.refused(
                        project_id, record.id, "The server stopped before it was put into the queue."
                    )

    def count(self, project_id: str) -> int:
        return len(self._documents.index(project_id).exports)

    def running(self, project_id: str) -> str | None:
        """Why nothing under the project may be deleted: for `ProjectsService.guard_with`."""
        busy = [one.id for one in self._documents.index(project_id).exports if one.status in _BUSY]
        return f"{', '.join(busy)} {'is' if len(busy) == 1 else 'are'} being made" if busy else None

    # -- changing ------------------------------------------------------------------------------------------

    def order(self, person: str, project_id: str, asked: ExportOrder) -> ExportRecord:
        """Keep an export that is to be made.

        Raises:
            ProjectNotFound, ExperimentNotFound, CheckpointNotFound.
            NotCompleted: the experiment has not been trained to its end.
            BadExport: a field contradicts another.
        """
        self._projects.require(person, project_id, write=True)
        checkpoint = checkpoint_name(asked.checkpoint)
        experiment = self._experiments.read(project_id, asked.experiment_id)
        if experiment.status is not Trained.COMPLETED:
            raise NotCompleted(
                f"The experiment {experiment.name} must be completed before it is exported; "
                f"it is {experiment.status}."
            )
        _check(asked)
        folder = self._experiments.folder(project_id, asked.experiment_id)
        if not (folder / CHECKPOINTS / f"{checkpoint}.ckpt").is_file():
            raise CheckpointNotFound(
                f"{experiment.name} has no checkpoint {checkpoint}.ckpt.",
                field="checkpoint",
                hint=f"it has {_listed(folder)}",
            )
        if not (folder / MANIFEST).is_file():
            raise BadExport(
                f"{experiment.name} has no manifest of the pictures that it learned from.",
                hint="restart it: exports are checked on its pictures",
            )
        return self._documents.add(
            project_id,
            lambda new_id: ExportRecord(
                id=new_id,
                experiment_id=experiment.id,
                checkpoint=checkpoint,
                format=asked.format,
                created_at=self._documents.now(),
                options=asked.options,
                experiment_name=experiment.name,
                task=experiment.task,
                licence=asked.options.licence,
                owner=person,
            ),
        )

    def given_to(self, project_id: str, export_id: str, job: str) -> ExportRecord:
        """Keep which job makes it."""
        return self._documents.change(project_id, export_id, lambda old: replace(old, job=job))

    def refused(self, project_id: str, export_id: str, why: str) -> ExportRecord:
        """It did not get into the queue."""

        def fail(old: ExportRecord) -> ExportRecord:
            return old.moved(Status.FAILED, error=why, completed_at=self._documents.now())

        return self._documents.change(project_id, export_id, fail)

    def delete(self, person: str, project_id: str, export_id: str) -> None:
        """Its folder with its files; a copy in the library stays.

        Raises:
            ExportBusy: it is being made.
        """
        self._projects.require(person, project_id, write=True)
        self._documents.remove(project_id, export_id, _require_idle)

    def register(self, person: str, project_id: str, export_id: str, name: str) -> ExportRecord:
        """Put its file into the library, where `POST /v1/vision/predict` finds it at once.

        Raises:
            BadExport: no name for a model; or the format is not served.
            NotCompleted: there is no file. ExportBusy: it is registered already. NameTaken.
            Failed, Unavailable: the file cannot be written.
        """
        self._projects.require(person, project_id, write=True)
        chosen = model_name(name)

        def put(old: ExportRecord) -> ExportRecord:
            if old.status is not Status.COMPLETED or old.output_file is None:
                raise NotCompleted(f"The export {old.id} must be completed first; it is {old.status}.")
            if old.format != "onnx":
                raise BadExport(
                    f"{old.id} is a file of {old.format}; the library serves ONNX.",
                    field="format",
                    hint="make an export to ONNX of the same checkpoint",
                )
            if old.registered is not None and self._found(old.registered) is not None:
                raise ExportBusy(
                    f"{old.id} is in the library as {old.registered.model}.",
                    code="export.registered",
                    hint="unregister it first",
                )
            source = self._documents.folder(project_id, export_id) / old.output_file
            if not source.is_file():
                raise ExportFileMissing(f"The file of {old.id} is gone.", hint="make the export again")
            record = self._library.put(source, chosen)
            done = Registered(
                model=record.id,
                file=record.path.name,
                digest=record.digest,
                at=self._documents.now(),
                by=person,
            )
            return replace(old, registered=done)

        return self._documents.change(project_id, export_id, put)

    def registered(self, person: str, project_id: str, export_id: str) -> ModelRecord | None:
        """The model that it is in the library; None where somebody has deleted it there.

        Raises:
            NotRegistered: it was not put there.
        """
        self._projects.require(person, project_id, write=True)
        record = self._documents.read(project_id, export_id)
        if record.registered is None:
            raise NotRegistered(f"The export {export_id} is not in the library.")
        return self._found(record.registered)

    def _found(self, registered: Registered) -> ModelRecord | None:
        return self._library.find(registered.file, registered.digest)

    def unregistered(self, person: str, project_id: str, export_id: str) -> ExportRecord:
        """Note that its copy in the library is gone."""
        self._projects.require(person, project_id, write=True)
        return self._documents.change(project_id, export_id, lambda old: replace(old, registered=None))


_BUSY = frozenset({Status.PENDING, Status.RUNNING})


def _require_idle(record: ExportRecord) -> None:
    if record.is_running:
        raise ExportBusy(f"The export {record.id} is being made.", hint="wait for it, or cancel its job")


def _check(asked: ExportOrder) -> None:
    options = asked.options
    if asked.format == "torchscript" and options.quantization != "none":
        raise BadExport(
            "TorchScript is not written with 8-bit integers here.", field="options.quantization",
            hint="take ONNX, or leave quantization out",
        )  # fmt: skip
    for name, axes in (options.dynamic_axes or {}).items():
        if name not in ("input", "output") or set(axes) - {"0"}:
            raise BadExport(
                f"dynamic_axes names {name}: {', '.join(axes)}; only axis 0 of input and output can "
                "be dynamic.",
                field="options.dynamic_axes",
                hint="leave it out for any number of pictures at a time, or send null for a fixed one",
            )


def _listed(folder: Path) -> str:
    found = sorted(path.stem for path in (folder / CHECKPOINTS).glob("*.ckpt"))
    return ", ".join(found) or "none"


def weights_licence(experiment: Experiment) -> str | None:
    """Of the published weights that it began with; None where they were random."""
    pretrained = experiment.built is not None and experiment.built.pretrained
    facts = find_backbone(experiment.model.backbone)
    return facts.licence if pretrained and facts is not None else None


def lineage_of(project_id: str, project: str, record: ExportRecord, experiment: Experiment) -> dict[str, Any]:
    """Where a file comes from, as it is written into it."""
    data, built = experiment.data, experiment.built
    known = {
        "project": project_id,
        "project_name": project,
        "experiment": experiment.id,
        "experiment_name": experiment.name,
        "export": record.id,
        "checkpoint": record.checkpoint,
        "dataset_version": None if data is None else data.dataset_version,
        "split": experiment.split_name,
        "split_id": None if data is None else data.split_id,
        "split_seed": None if data is None else data.split_seed,
        "first_weights": None if built is None else built.weights,
        "weights_licence": weights_licence(experiment),
        "exported_at": record.created_at,
    }
    return {name: value for name, value in known.items() if value is not None}
