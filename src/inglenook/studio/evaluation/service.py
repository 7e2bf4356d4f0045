# SPDX-License-Identifier: Apache-2.0
"""Evaluations of an experiment: ordered, looked at, told how they ended, deleted. All of it blocks.

What carries them out is `work`, what brings them into the queue is `runs`, what is read out of their results
is `views`.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from inglenook.jobs.model import Job, JobState
from inglenook.studio.checks.service import ChecksService
from inglenook.studio.datasets.service import DatasetsService
from inglenook.studio.evaluation.documents import MANIFEST, EvaluationDocuments, Key
from inglenook.studio.evaluation.errors import (
    CheckpointNotFound,
    EvaluationExists,
    EvaluationNotFound,
    NotEvaluable,
    NothingSelected,
    NotReady,
)
from inglenook.studio.evaluation.model import MAX_ERROR, Aggregate, EvaluationRecord, EvaluationRequest
from inglenook.studio.evaluation.pictures import Chosen, write_chosen
from inglenook.studio.evaluation.suspecting import finding_source, tell_checks
from inglenook.studio.projects.service import ProjectsService
from inglenook.studio.tasks.registry import require_available
from inglenook.studio.training.documents import CHECKPOINTS, ExperimentDocuments
from inglenook.studio.training.documents import MANIFEST as LEARNED
from inglenook.studio.training.model import Experiment, Status

replace = msgspec.structs.replace


class EvaluationsService:
    def __init__(
        self,
        *,
        projects: ProjectsService,
        datasets: DatasetsService,
        checks: ChecksService,
        experiments: ExperimentDocuments,
        documents: EvaluationDocuments,
    ) -> None:
        self.projects = projects
        self.datasets = datasets
        self.documents = documents
        self._checks = checks
        self._experiments = experiments

    # -- reading -------------------------------------------------------------------------------------------

    def experiment(self, person: str, project: str, experiment: str) -> Experiment:
        """Raises ProjectNotFound, ExperimentNotFound."""
        self.projects.require(person, project, write=False)
        return self._experiments.read(project, experiment)

    def all(self, person: str, project: str, experiment: str) -> Sequence[EvaluationRecord]:
        """The oldest first, each with its progress. Raises as `experiment`."""
        self.experiment(person, project, experiment)
        return [self._shown(one) for one in self.documents.all(project, experiment)]

    def key(self, person: str, project: str, experiment: str, evaluation: str | None = None) -> Key:
        """Of that one, or of the newest. Raises EvaluationNotFound; as `experiment`."""
        found = self.experiment(person, project, experiment)
        if evaluation is not None:
            key = (project, found.id, evaluation)
            self.documents.folder(key)
            return key
        known = self.documents.all(project, experiment)
        if not known:
            raise EvaluationNotFound(
                f"{found.name} has not been evaluated yet.", hint="evaluate one of its checkpoints"
            )
        return (project, found.id, known[-1].id)

    def get(
        self, person: str, project: str, experiment: str, evaluation: str | None = None
    ) -> tuple[EvaluationRecord, Aggregate | None]:
        """One of them, by default the newest; figures where it is completed. Raises as `key`."""
        key = self.key(person, project, experiment, evaluation)
        record = self.documents.read(key)
        figures = self.documents.aggregate(key) if record.status == "completed" else None
        return self._shown(record), figures

    def checkpoints(self, person: str, project: str, experiment: str) -> Sequence[str]:
        """Names of those that exist, without `.ckpt`, sorted. Raises as `experiment`."""
        self.experiment(person, project, experiment)
        return checkpoint_names(self._experiments.folder(project, experiment))

    def running(self, project: str) -> str | None:
        """Why nothing under the project may be deleted: for `ProjectsService.guard_with`."""
        busy = [
            one.id
            for line in self._experiments.index(project).experiments
            for one in self.documents.all(project, line.id)
            if one.is_running
        ]
        return f"{', '.join(busy)} {'is' if len(busy) == 1 else 'are'} being computed" if busy else None

    def _shown(self, record: EvaluationRecord) -> EvaluationRecord:
        now = self.documents.progress.get(record.id)
        return replace(record, progress=now) if now is not None and record.status == "running" else record

    # -- changing ------------------------------------------------------------------------------------------

    def order(
        self, person: str, project: str, experiment: str, asked: EvaluationRequest, *, again: bool
    ) -> EvaluationRecord:
        """Keep an evaluation that is to be made, with the pictures that it looks at.

        Args:
            again: also where there is one already.

        Raises:
            EvaluationExists; NotReady: no checkpoint yet; CheckpointNotFound: not that one.
            NothingSelected: the subsets hold no picture. NotEvaluable: it is not known what it learned from.
            DatasetNotImported; as `experiment`.
        """
        self.projects.require(person, project, write=True)
        found = self._experiments.read(project, experiment)
        if self.documents.all(project, experiment) and not again:
            raise EvaluationExists(
                f"{found.name} has been evaluated already.",
                hint="evaluate it again, which keeps the earlier one (?again=true, in the terminal --again),"
                " or delete that",
            )
        self._require_checkpoint(project, found, asked.checkpoint)
        if not asked.split_subsets:
            raise NothingSelected("No subset was chosen.", field="split_subsets")

        def make(new_id: str, folder: Path) -> EvaluationRecord:
            chosen, version = self._choose(project, found, asked.split_subsets, folder / MANIFEST)
            return EvaluationRecord(
                id=new_id,
                experiment_id=found.id,
                checkpoint=asked.checkpoint,
                split_subsets=tuple(dict.fromkeys(asked.split_subsets)),
                batch_size=asked.batch_size,
                device=asked.device,
                status="pending",
                created_at=self.documents.now(),
                split_name=found.split_name,
                dataset_version=version,
                owner=person,
                left_out=dict(chosen.left_out),
            )

        return self.documents.add(project, experiment, make)

    def _choose(
        self, project: str, found: Experiment, subsets: Sequence[str], path: Path
    ) -> tuple[Chosen, int]:
        learned = self._experiments.folder(project, found.id) / LEARNED
        if found.data is None or not learned.is_file():
            raise NotEvaluable(
                f"{found.name} does not say from which pictures it learned.", hint="train it again"
            )
        version = self.datasets.head(project).current
        chosen = write_chosen(
            path,
            learned,
            subsets,
            datasets=self.datasets,
            project=project,
            task=require_available(found.task),
            classes=found.data.classes,
        )
        if not chosen.total:
            raise NothingSelected(
                f"The part {' + '.join(subsets)} of the split {found.split_name!r} has no picture with a "
                "class that can be looked at.",
                field="split_subsets",
                hint="choose another part, or label its pictures",
            )
        return chosen, version

    def _require_checkpoint(self, project: str, found: Experiment, name: str) -> None:
        folder = self._experiments.folder(project, found.id)
        if (folder / CHECKPOINTS / f"{name}.ckpt").is_file():
            return
        there = checkpoint_names(folder)
        if not there and (found.is_running or found.status is Status.CREATED):
            raise NotReady(
                f"The experiment {found.name} must be completed before it is evaluated; it is {found.status}."
            )
        raise CheckpointNotFound(
            f"{found.name} has no checkpoint {name}.ckpt.",
            field="checkpoint",
            hint=f"it has {', '.join(there) or 'none'}",
        )

    def given_to(self, key: Key, job: str) -> EvaluationRecord:
        """Keep which job makes it."""
        return self.documents.change(key, lambda old: replace(old, job=old.job or job))

    def refused(self, key: Key, why: str) -> EvaluationRecord:
        """It did not get into the queue."""
        now = self.documents.now()
        return self.documents.change(key, lambda old: old.moved("failed", error=why, completed_at=now))

    def settle(self, key: Key, job: Job) -> EvaluationRecord:
        """Its job is final: so is the evaluation. Raises EvaluationNotFound: it was deleted meanwhile."""
        now = self.documents.now()

        def end(old: EvaluationRecord) -> EvaluationRecord:
            if not old.is_running or old.job not in (None, str(job.id)):
                return old
            if job.state is JobState.CANCELLED:
                return old.moved("cancelled", error="It was cancelled.", completed_at=now)
            error = job.error
            return old.moved(
                "failed",
                error=("The server stopped in the middle." if error is None else error.message)[:MAX_ERROR],
                error_code=None if error is None else error.code,
                error_hint="evaluate it again" if error is None else error.hint,
                completed_at=now,
            )

        return self.documents.change(key, end)

    def remove(self, key: Key) -> None:
        """With all its files, and what the checks of the data set know of it. Idempotent."""
        self.documents.remove(key)
        self._checks.drop(key[0], finding_source(key[2]))
        tell_checks(self.documents, self._checks, key[0], key[1])

    def forget(self, project: str, experiment: str) -> None:
        """The experiment is being cleared: for `ExperimentDocuments.before_clearing`."""
        for one in self.documents.all(project, experiment):
            self.documents.remove((project, experiment, one.id))
            self._checks.drop(project, finding_source(one.id))

    def require_writable(self, person: str, project: str, experiment: str) -> Sequence[EvaluationRecord]:
        """All of the experiment's, for somebody who may delete them. Raises as `experiment`."""
        self.projects.require(person, project, write=True)
        self._experiments.read(project, experiment)
        return self.documents.all(project, experiment)


def checkpoint_names(folder: Path) -> Sequence[str]:
    """Of an experiment's folder."""
    return sorted(path.stem for path in (folder / CHECKPOINTS).glob("*.ckpt") if path.is_file())
