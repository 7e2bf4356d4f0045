# SPDX-License-Identifier: Apache-2.0
"""Experiments in the queue: started, stopped, gone on with, and found again after a restart of the server."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

import msgspec

from inglenook.base.cancel import StopReason
from inglenook.base.errors import Conflict, Failed, InglenookError, NotFound, Unavailable
from inglenook.base.ids import JobId, PersonId
from inglenook.base.work import WorkClass
from inglenook.jobs.model import Job, JobState
from inglenook.jobs.service import JobsService
from inglenook.runtime.contracts import Device
from inglenook.studio.projects.service import ProjectsService
from inglenook.studio.training.chronicle import why
from inglenook.studio.training.code import this_code
from inglenook.studio.training.devices import allowed
from inglenook.studio.training.documents import Change, ExperimentDocuments
from inglenook.studio.training.errors import CheckpointNotFound, WrongStatus
from inglenook.studio.training.finding import KIND as FIND
from inglenook.studio.training.finding import What
from inglenook.studio.training.material import Material
from inglenook.studio.training.model import FINISHED, NEXT, Experiment, Status, require_own, require_stopped
from inglenook.studio.training.news import Key, Newsroom
from inglenook.studio.training.watching import tell_status
from inglenook.studio.training.work import KIND

STOP_WAIT_S: Final = 3.0
"""So long a stop is waited for before it is answered that it was asked for."""
SETTLE_AGAIN_S: Final = 5.0
_LASTING: Final = (
    *("id", "name", "description", "created_at", "split_name", "model", "hyperparameters", "augmentations"),
    *("hardware", "task", "owner", "split_id", "copied_from", "metadata"),
)
"""Fields of an experiment that a restart keeps."""

log = logging.getLogger(__name__)
replace = msgspec.structs.replace


class Runs:
    """Belongs to one event loop.

    Args:
        devices: of this machine, as the runtime knows them.
    """

    def __init__(
        self,
        *,
        projects: ProjectsService,
        documents: ExperimentDocuments,
        material: Material,
        jobs: JobsService,
        newsroom: Newsroom,
        devices: Sequence[Device],
    ) -> None:
        self._projects = projects
        self._documents = documents
        self._material = material
        self._jobs = jobs
        self._newsroom = newsroom
        self._devices = devices
        self._following: set[asyncio.Task[None]] = set()
        self._unsettled: list[tuple[Key, Job]] = []

    # -- the queue -----------------------------------------------------------------------------------------

    @property
    def devices(self) -> tuple[Device, ...]:
        """Those of the machine, as a configuration may name them."""
        return tuple(self._devices)

    async def start(self, person: PersonId, project_id: str, experiment_id: str) -> Experiment:
        """Put it into the queue. Of two at once, one wins.

        Raises:
            TrainingInProgress: it runs already. WrongStatus: it has run; resume or restart it.
            NotTrainable: no picture to learn from, or no such device here.
            SplitNotFound, DatasetNotImported, Busy, Unavailable; as `get`.
        """

        def begin(old: Experiment) -> Experiment:
            require_own(old)
            require_stopped(old)
            if old.status is not Status.CREATED:
                raise WrongStatus(
                    f"{old.name} is {old.status}.", hint="resume it, or restart it, which forgets its results"
                )
            self._material.require_pictures(project_id, old.split_id)
            self._documents.clear(project_id, experiment_id)  # what a restart could not remove
            return self._queued(old, person)

        return await self._into_queue(person, project_id, experiment_id, begin)

    async def resume(self, person: PersonId, project_id: str, experiment_id: str) -> Experiment:
        """Go on from its last checkpoint, exactly as if it had never stopped.

        Raises:
            CheckpointNotFound: none was kept. WrongStatus: it has not failed and was not stopped.
            As `start`.
        """

        def begin(old: Experiment) -> Experiment:
            require_own(old)
            require_stopped(old)
            if old.status not in (Status.FAILED, Status.CANCELLED):
                raise WrongStatus(f"{old.name} is {old.status}: there is nothing to resume.")
            old = self._documents.with_last(project_id, old)
            last = old.checkpoints.get("last")
            if last is None or not (self._documents.folder(project_id, experiment_id) / last.file).is_file():
                raise CheckpointNotFound(
                    f"{old.name} has no last checkpoint.", hint="restart it: it begins anew"
                )
            return self._queued(old, person)

        return await self._into_queue(person, project_id, experiment_id, begin)

    async def restart(self, person: PersonId, project_id: str, experiment_id: str) -> Experiment:
        """Back to `created`; its checkpoints, records, log and evaluations are removed.

        Raises:
            TrainingInProgress, WrongStatus: it has never run. As `get`.
        """
        await asyncio.to_thread(self._projects.require, person, project_id, write=True)

        def anew(old: Experiment) -> Experiment:
            require_own(old)
            require_stopped(old)
            if old.status not in FINISHED:
                raise WrongStatus(f"{old.name} is {old.status}: there is nothing to forget.")
            fresh = Experiment(
                **{name: getattr(old, name) for name in _LASTING}, generation=old.generation + 1
            )
            assert fresh.status in NEXT[old.status]
            return fresh

        done = await asyncio.to_thread(self._documents.change, project_id, experiment_id, anew)
        await asyncio.to_thread(self._documents.clear, project_id, experiment_id)
        tell_status(self._newsroom, project_id, done)
        return done

    async def stop(self, person: PersonId, project_id: str, experiment_id: str) -> Experiment:
        """Ask it to stop, and wait a moment for it; it is still `training` where that takes longer.

        Raises:
            WrongStatus: it does not run. As `get`.
        """
        await asyncio.to_thread(self._projects.require, person, project_id, write=True)
        found = await asyncio.to_thread(self._documents.read, project_id, experiment_id)
        if not found.is_running or found.job is None:
            raise WrongStatus(f"{found.name} is {found.status}: there is nothing to stop.")
        asked = asyncio.create_task(self._cancel(found, (project_id, experiment_id)))
        self._keep(asked)
        await asyncio.wait({asked}, timeout=STOP_WAIT_S)
        if asked.done() and asked.exception() is not None:
            raise asked.exception() or AssertionError
        return await asyncio.to_thread(self._documents.read, project_id, experiment_id)

    async def _cancel(self, found: Experiment, key: Key) -> None:
        owner = PersonId(found.started_by or found.owner)
        job_id = JobId(found.job or "")
        try:
            job = await self._jobs.cancel(job_id, caller=owner, reason=StopReason.CANCELLED)
        except Conflict:  # it ended a moment ago
            job = await self._jobs.get(job_id, owner)
        if job.is_final:
            await self._settle(key, job)

    def _queued(self, old: Experiment, person: str) -> Experiment:
        allowed(old.hardware.selected_devices, self._devices)
        return old.moved(
            Status.PENDING,
            error=None,
            completed_at=None,
            job=None,
            started_by=str(person),
            code=this_code(),
            interrupted=0,
        )

    async def _into_queue(
        self, person: PersonId, project_id: str, experiment_id: str, begin: Change
    ) -> Experiment:
        """First the status, so that one of two wins; then the job; and back where there is no room for it."""
        await asyncio.to_thread(self._projects.require, person, project_id, write=True)
        before: list[Experiment] = []

        def claim(old: Experiment) -> Experiment:
            before.append(old)
            return begin(old)

        claimed = await asyncio.to_thread(self._documents.change, project_id, experiment_id, claim)
        try:
            job = await self._jobs.submit(
                kind=KIND,
                owner=person,
                work_class=WorkClass.TRAINING,
                title=f"Training of {claimed.name}",
                payload={
                    "project": project_id,
                    "experiment": experiment_id,
                    "generation": claimed.generation,
                },
            )
        except InglenookError:
            await asyncio.to_thread(self._documents.change, project_id, experiment_id, lambda _: before[0])
            raise

        def note(now: Experiment) -> Experiment:
            return replace(now, job=str(job.id)) if now.job is None and now.is_running else now

        await asyncio.to_thread(self._documents.change, project_id, experiment_id, note)
        queued = replace(claimed, job=str(job.id))
        tell_status(self._newsroom, project_id, queued)
        self._follow((project_id, experiment_id), job)
        return queued

    async def find(self, person: PersonId, project_id: str, experiment_id: str, what: What) -> Job:
        """Search a batch size or a learning rate for an experiment; the job's result holds it.

        Raises:
            NotTrainable, SplitNotFound, DatasetNotImported, Busy, Unavailable; as `get`.
        """
        await asyncio.to_thread(self._projects.require, person, project_id, write=True)
        found = await asyncio.to_thread(self._documents.read, project_id, experiment_id)
        await asyncio.to_thread(self._material.require_pictures, project_id, found.split_id)
        allowed(found.hardware.selected_devices, self._devices)
        return await self._jobs.submit(
            kind=FIND,
            owner=person,
            work_class=WorkClass.BATCH,
            title=f"Search of a {what.replace('_', ' ')} for {found.name}",
            payload={"project": project_id, "experiment": experiment_id, "what": what},
        )

    # -- after a restart, and after every end ----------------------------------------------------------------

    async def recover(self) -> None:
        """Put right what the last server left: before the jobs begin again. No experiment stays `training`
        without somebody who trains it."""
        for project_id in await asyncio.to_thread(self._documents.workspace.projects):
            try:
                found = await asyncio.to_thread(self._documents.repair, project_id)
            except InglenookError as error:
                log.warning("the experiments of %s cannot be looked at: %s", project_id, error.message)
                continue
            for experiment in found:
                if experiment.is_running:
                    await self._recover((project_id, experiment.id), experiment)

    def follow_recovered(self) -> None:
        """Watch the jobs that go on: after the jobs have begun."""
        waiting, self._unsettled = self._unsettled, []
        for key, job in waiting:
            self._follow(key, job)

    async def _recover(self, key: Key, experiment: Experiment) -> None:
        job = None
        if experiment.job is not None:
            try:
                job = await self._jobs.get(
                    JobId(experiment.job), PersonId(experiment.started_by or experiment.owner)
                )
            except NotFound:
                log.warning("%s has lost its job %s", experiment.id, experiment.job)
        if job is not None and not job.is_final:
            self._unsettled.append((key, job))
            if experiment.status is Status.TRAINING:
                await self._change(
                    key,
                    lambda old: old.moved(Status.PENDING, interrupted=old.interrupted + 1),
                    "the server had stopped in the middle; it goes on from its last checkpoint",
                )
            return
        if job is not None:
            await self._settle(key, job)
            return
        if experiment.status is Status.PENDING and not experiment.checkpoints and experiment.epoch == 0:
            await self._change(
                key, lambda old: old.moved(Status.CREATED), "the server stopped before it began"
            )
            return
        await self._change(key, self._interrupted(key), "failed: the server stopped in the middle")

    def _follow(self, key: Key, job: Job) -> None:
        self._keep(asyncio.create_task(self._until_final(key, job), name=f"until {job.id} is final"))

    def _keep(self, task: "asyncio.Task[None]") -> None:
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    async def _until_final(self, key: Key, job: Job) -> None:
        """However the job ends, also before its work could begin, the experiment is told."""
        try:
            final = await self._jobs.wait(job.id)
        except (Unavailable, Failed):  # the server stops: the next one recovers it
            return
        while True:
            try:
                await self._settle(key, final)
            except NotFound:  # deleted meanwhile
                return
            except InglenookError as error:  # a full disk: until there is room
                log.warning("the end of %s could not be written: %s", key[1], error.message)
                await asyncio.sleep(SETTLE_AGAIN_S)
            else:
                return

    async def _settle(self, key: Key, job: Job) -> None:
        """Its job is final: so is the experiment."""
        now = self._documents.now()

        def end(old: Experiment) -> Experiment:
            if not old.is_running or old.job != str(job.id):  # another job has it meanwhile
                return old
            match job.state:
                case JobState.CANCELLED:
                    return old.moved(Status.CANCELLED, completed_at=now)
                case JobState.SUCCEEDED:
                    return old.moved(Status.COMPLETED, completed_at=now)
                case JobState.FAILED if job.error is not None:
                    told = why(job.error.code, job.error.message, job.error.hint)
                    return old.moved(Status.FAILED, completed_at=now, error=told)
                case _:
                    return self._interrupted(key)(old)

        before = await asyncio.to_thread(self._documents.read, *key)
        after = await asyncio.to_thread(self._documents.change, *key, end)
        if after.status is not before.status:
            tell_status(self._newsroom, key[0], after)

    def _interrupted(self, key: Key) -> Change:
        """It cannot go on by itself."""

        def end(found: Experiment) -> Experiment:
            old = self._documents.with_last(key[0], found)
            begun = old.epoch or old.checkpoints
            where = f"in epoch {old.epoch + 1}" if begun else "before its first epoch was done"
            hint = "resume it" if "last" in old.checkpoints else "restart it"
            told = why(
                "interrupted", f"The server stopped {where}, and the run cannot go on by itself.", hint
            )
            return old.moved(Status.FAILED, completed_at=self._documents.now(), error=told)

        return end

    async def _change(self, key: Key, change: Change, said: str) -> None:
        after = await asyncio.to_thread(self._documents.change, *key, change)
        await asyncio.to_thread(self._documents.note, *key, said)
        tell_status(self._newsroom, key[0], after)

    async def close(self) -> None:
        """End all streams, and stop watching jobs."""
        self._newsroom.close()
        for task in tuple(self._following):
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)
