# SPDX-License-Identifier: Apache-2.0
"""Experiments as documents: made, looked at, changed, compared, deleted. Everything here blocks.

What brings them into the queue and out of it is `runs`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from inglenook.studio.projects.service import ProjectsService
from inglenook.studio.splits.model import SplitSummary
from inglenook.studio.tasks.registry import require_available
from inglenook.studio.training import checking
from inglenook.studio.training.comparison import compared
from inglenook.studio.training.documents import ExperimentDocuments
from inglenook.studio.training.errors import BadSpec, WrongStatus
from inglenook.studio.training.material import Material
from inglenook.studio.training.model import (
    RUNNING,
    EpochRecord,
    Experiment,
    Status,
    Summary,
    described,
    lowest_free,
    require_own,
    require_stopped,
    titled,
)

Json = dict[str, Any]
replace = msgspec.structs.replace


class ExperimentsService:
    def __init__(
        self, *, projects: ProjectsService, documents: ExperimentDocuments, material: Material
    ) -> None:
        self._projects = projects
        self._documents = documents
        self._material = material

    # -- reading ----------------------------------------------------------------------------------------

    def list(self, person: str, project_id: str) -> Sequence[Summary]:
        """In the order in which they were made. Raises ProjectNotFound, CorruptDocument."""
        self._projects.require(person, project_id, write=False)
        return self._documents.index(project_id).experiments

    def get(self, person: str, project_id: str, experiment_id: str) -> Experiment:
        """Raises ProjectNotFound, ExperimentNotFound, CorruptDocument."""
        self._projects.require(person, project_id, write=False)
        return self._documents.read(project_id, experiment_id)

    def get_with_last(self, person: str, project_id: str, experiment_id: str) -> Experiment:
        """As `get`, with a last checkpoint whose line was lost (`ExperimentDocuments.with_last`)."""
        return self._documents.with_last(project_id, self.get(person, project_id, experiment_id))

    def epochs(self, person: str, project_id: str, experiment_id: str) -> Sequence[EpochRecord]:
        """The records of all epochs that are done. Raises as `get`."""
        self.get(person, project_id, experiment_id)
        return self._documents.epochs(project_id, experiment_id)

    def log(self, person: str, project_id: str, experiment_id: str) -> Sequence[tuple[str, str]]:
        """Time and text of each line. Raises as `get`."""
        self.get(person, project_id, experiment_id)
        return self._documents.log(project_id, experiment_id)

    def samples(self, person: str, project_id: str, experiment_id: str) -> Any:
        """Pictures of the validation part with what was predicted last; None before. Raises as `get`."""
        self.get(person, project_id, experiment_id)
        return self._documents.samples(project_id, experiment_id)

    def compare(self, person: str, project_id: str, experiments: Sequence[str]) -> Json:
        """What differs between experiments, and their curves. Raises as `get`; BadSpec: fewer than two."""
        if len(set(experiments)) < 2:
            raise BadSpec("Two experiments at least are compared.", field="experiments")
        found = [self.get(person, project_id, one) for one in dict.fromkeys(experiments)]
        return compared(found, {one.id: self._documents.epochs(project_id, one.id) for one in found})

    def running(self, project_id: str) -> str | None:
        """Why nothing under the project may be deleted: for `ProjectsService.guard_with`."""
        found = self._documents.index(project_id).experiments
        names = [one.name for one in found if one.status in RUNNING]
        if not names:
            return None
        return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} in training"

    def users(self, project_id: str, split: SplitSummary) -> Sequence[str]:
        """Names of the experiments that use a split, `!` before those that run (`SplitsService.use_with`)."""
        found = []
        for line in self._documents.index(project_id).experiments:
            experiment = self._documents.read(project_id, line.id)
            if experiment.split_id == split.id:
                found.append(f"{'!' if experiment.is_running else ''}{experiment.name}")
        return found

    def files(self, project_id: str) -> set[str]:
        """Names of the data set's files that runs learn from, or may go on with: for
        `DatasetsService.need_with`."""
        needed: set[str] = set()
        for line in self._documents.index(project_id).experiments:
            if line.status not in (Status.CREATED, Status.COMPLETED):
                needed |= self._documents.manifest_files(project_id, line.id)
        return needed

    def count(self, project_id: str) -> int:
        return len(self._documents.index(project_id).experiments)

    def keep_imported(
        self,
        project_id: str,
        make: Callable[[str, set[str]], Experiment],
        epochs: Sequence[EpochRecord],
    ) -> Experiment:
        """Keep another program's experiment, whose `imported` is set, with the records of its epochs.

        Raises:
            ProjectNotFound, Failed, Unavailable.
        """
        made = self._documents.add(project_id, make)
        assert made.imported is not None
        self._documents.keep_epochs(project_id, made.id, epochs)
        self._documents.note(project_id, made.id, f"came from {made.imported.program} ({made.imported.id})")
        for text in made.imported.notes:
            self._documents.note(project_id, made.id, text)
        return made

    # -- changing ---------------------------------------------------------------------------------------

    def create(self, person: str, project_id: str, asked: Mapping[str, Any]) -> Experiment:
        """Make one from AI Studio's fields (`name`, `description`, `split_name`, `model`, `hyperparameters`,
        `augmentations`, `hardware`) and `preset`; what is not given is the task's own.

        Raises:
            ProjectNotFound, DatasetNotImported, SplitNotFound.
            Invalid: the task cannot be trained, or a field cannot be accepted (`BadSpec`).
        """
        project = self._projects.require(person, project_id, write=True)
        task = require_available(project.task)
        spec = task.defaults()
        preset = asked.get("preset")
        if preset is not None:
            presets = task.presets()
            if preset not in presets:
                raise BadSpec(
                    f"There is no preset {preset!r:.60}.",
                    field="preset",
                    hint=checking.near(str(preset), presets),
                )
            spec = presets[preset]
        spec = checking.merged(spec, asked)
        checking.check(spec, task)
        split = self._material.split(project_id, asked.get("split_name"))
        name = asked.get("name")

        def make(new_id: str, names: set[str]) -> Experiment:
            return Experiment(
                id=new_id,
                name=lowest_free(names) if not name else titled(name),
                description=described(asked.get("description")),
                created_at=self._documents.now(),
                task=project.task,
                owner=person,
                split_name=split.name,
                split_id=split.id,
                model=spec.model,
                hyperparameters=spec.hyperparameters,
                augmentations=spec.augmentations,
                hardware=spec.hardware,
                metadata=dict(asked.get("metadata") or {}),
            )

        return self._documents.add(project_id, make)

    def update(
        self, person: str, project_id: str, experiment_id: str, asked: Mapping[str, Any]
    ) -> Experiment:
        """Change what is named; the configuration only before it was started. A null description clears it.

        Raises:
            TrainingInProgress, WrongStatus: the configuration is settled.
            BadSpec, SplitNotFound; as `get`.
        """
        self._projects.require(person, project_id, write=True)

        def change(old: Experiment) -> Experiment:
            new = old
            if asked.get("name") is not None:
                new = replace(new, name=titled(asked["name"]))
            if "description" in asked:
                new = replace(new, description=described(asked["description"]))
            if any(asked.get(part) is not None for part in (*checking.PARTS, "split_name")):
                _require_changeable(old)
                spec = checking.merged(old.spec, asked)
                checking.check(spec, require_available(old.task))
                new = new.with_spec(spec)
            if asked.get("split_name") is not None:
                split = self._material.split(project_id, asked["split_name"])
                new = replace(new, split_name=split.name, split_id=split.id)
            return new

        return self._documents.change(project_id, experiment_id, change)

    def duplicate(
        self, person: str, project_id: str, experiment_id: str, name: str | None = None
    ) -> Experiment:
        """A new one with the same configuration, split and description. Raises as `get`, and Invalid."""
        self._projects.require(person, project_id, write=True)
        old = self._documents.read(project_id, experiment_id)

        def make(new_id: str, names: set[str]) -> Experiment:
            copy = lowest_free(names) if name is None else titled(name)
            return Experiment(
                id=new_id,
                name=copy,
                description=old.description,
                created_at=self._documents.now(),
                task=old.task,
                owner=person,
                split_name=old.split_name,
                split_id=old.split_id,
                model=old.model,
                hyperparameters=old.hyperparameters,
                augmentations=old.augmentations,
                hardware=old.hardware,
                copied_from=old.id,
            )

        return self._documents.add(project_id, make)

    def delete(self, person: str, project_id: str, experiment_id: str) -> None:
        """With its checkpoints, evaluations and logs. Raises TrainingInProgress; as `get`."""
        self._projects.require(person, project_id, write=True)
        self._documents.remove(project_id, experiment_id, require_stopped)


def _require_changeable(experiment: Experiment) -> None:
    require_own(experiment)
    require_stopped(experiment)
    if experiment.status is not Status.CREATED:
        raise WrongStatus(
            f"{experiment.name} is {experiment.status}: its configuration belongs to its results.",
            hint="restart it, or duplicate it and change the copy",
        )
