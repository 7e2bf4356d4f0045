# SPDX-License-Identifier: Apache-2.0
"""Evaluations in the queue: ordered, reset, and told how their jobs ended, also after a restart."""

import asyncio
import logging
from typing import Final

from inglenook.base.errors import Conflict, Failed, InglenookError, NotFound, Unavailable
from inglenook.base.ids import JobId, PersonId
from inglenook.base.work import WorkClass
from inglenook.jobs.model import Job
from inglenook.jobs.service import JobsService
from inglenook.studio.evaluation.documents import Key
from inglenook.studio.evaluation.errors import EvaluationNotFound
from inglenook.studio.evaluation.model import EvaluationRecord, EvaluationRequest
from inglenook.studio.evaluation.service import EvaluationsService
from inglenook.studio.evaluation.work import KIND

SETTLE_AGAIN_S: Final = 5.0
log = logging.getLogger(__name__)


class EvaluationRuns:
    """Belongs to one event loop."""

    def __init__(self, *, evaluations: EvaluationsService, jobs: JobsService) -> None:
        self._evaluations = evaluations
        self._jobs = jobs
        self._following: set[asyncio.Task[None]] = set()
        self._unsettled: list[tuple[Key, Job]] = []

    async def order(
        self, person: PersonId, project: str, experiment: str, asked: EvaluationRequest, *, again: bool
    ) -> tuple[EvaluationRecord, Job]:
        """Put one into the queue. Raises as `EvaluationsService.order`; Busy, Unavailable."""
        record = await asyncio.to_thread(
            self._evaluations.order, person, project, experiment, asked, again=again
        )
        key = (project, record.experiment_id, record.id)
        try:
            job = await self._jobs.submit(
                kind=KIND,
                owner=person,
                work_class=WorkClass.BATCH,
                title=f"Evaluation of {asked.checkpoint} on {' + '.join(record.split_subsets)}",
                payload={"project": project, "experiment": experiment, "evaluation": record.id},
            )
        except InglenookError as error:
            await asyncio.to_thread(self._evaluations.refused, key, error.message)
            raise
        record = await asyncio.to_thread(self._evaluations.given_to, key, str(job.id))
        self._follow(key, job)
        return record, job

    async def reset(
        self, person: PersonId, project: str, experiment: str, evaluation: str | None = None
    ) -> None:
        """Stop and delete that one, or all of the experiment's. Idempotent.

        Raises ProjectNotFound, ExperimentNotFound.
        """
        for record in await asyncio.to_thread(
            self._evaluations.require_writable, person, project, experiment
        ):
            if evaluation not in (None, record.id):
                continue
            if record.is_running and record.job is not None:
                await self._cancel(record)
            await asyncio.to_thread(self._evaluations.remove, (project, experiment, record.id))

    async def _cancel(self, record: EvaluationRecord) -> None:
        try:
            job = await self._jobs.cancel(JobId(record.job or ""), caller=PersonId(record.owner))
        except (Conflict, NotFound):  # it ended a moment ago
            return
        if not job.is_final:
            await self._jobs.wait(job.id)

    # -- after a restart, and after every end --------------------------------------------------------------

    async def recover(self) -> None:
        """Put right what the last server left, before the jobs begin again: nothing stays `running` without
        somebody who computes it."""
        for key, record in await asyncio.to_thread(self._left):
            job = None
            if record.job is not None:
                try:
                    job = await self._jobs.get(JobId(record.job), PersonId(record.owner))
                except NotFound:
                    log.warning("%s has lost its job %s", record.id, record.job)
            if job is None:
                why = "The server stopped before it was put into the queue."
                await asyncio.to_thread(self._evaluations.refused, key, why)
            elif job.is_final:
                await self._settle(key, job)
            else:
                self._unsettled.append((key, job))

    def _left(self) -> list[tuple[Key, EvaluationRecord]]:
        """Those that are not final, of all projects."""
        documents = self._evaluations.documents
        found = []
        for project in documents.workspace.projects():
            try:
                lines = documents.experiments.index(project).experiments
            except InglenookError as error:
                log.warning("the evaluations of %s cannot be looked at: %s", project, error.message)
                continue
            for line in lines:
                documents.tidy(project, line.id)
                some = documents.all(project, line.id)
                found += [((project, line.id, one.id), one) for one in some if one.is_running]
        return found

    def follow_recovered(self) -> None:
        """Watch the jobs that go on: after the jobs have begun."""
        waiting, self._unsettled = self._unsettled, []
        for key, job in waiting:
            self._follow(key, job)

    def _follow(self, key: Key, job: Job) -> None:
        task = asyncio.create_task(self._until_final(key, job), name=f"until {job.id} is final")
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    async def _until_final(self, key: Key, job: Job) -> None:
        """However the job ends, also before its work could begin, the evaluation is told."""
        try:
            final = await self._jobs.wait(job.id)
        except (Unavailable, Failed):  # the server stops: the next one recovers it
            return
        while True:
            try:
                await self._settle(key, final)
            except InglenookError as error:  # a full disk: until there is room
                log.warning("the end of %s could not be written: %s", key[2], error.message)
                await asyncio.sleep(SETTLE_AGAIN_S)
            else:
                return

    async def settle(self, key: Key, job: Job) -> None:
        """For whoever has waited for the job: what its document says now agrees with it."""
        await self._settle(key, job)

    async def _settle(self, key: Key, job: Job) -> None:
        try:
            await asyncio.to_thread(self._evaluations.settle, key, job)
        except (EvaluationNotFound, NotFound):  # deleted meanwhile
            return

    async def close(self) -> None:
        """Stop watching jobs."""
        for task in tuple(self._following):
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)
