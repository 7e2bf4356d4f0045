# SPDX-License-Identifier: Apache-2.0
"""A training job while it runs: place → manifest → lease → worker → documents."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from inglenook.base.cancel import StopReason
from inglenook.base.clock import Clock
from inglenook.base.errors import Conflict, Failed, InglenookError
from inglenook.base.ids import DeviceId, JobId, ModelId, RequestId
from inglenook.engines import studio
from inglenook.engines.studio import BY_FORCE, StudioChild
from inglenook.jobs.model import Job, Receipt
from inglenook.jobs.work import Report, Stopped
from inglenook.runtime.contracts import ChildFailed, Failure, Lease, LoadPlan, ResidentState
from inglenook.runtime.scheduler.loop import LeaseStopped, Scheduler
from inglenook.runtime.scheduler.snapshot import explanation_json
from inglenook.studio.tasks.registry import require_available
from inglenook.studio.training import footprint
from inglenook.studio.training.chronicle import Chronicle, why
from inglenook.studio.training.devices import allowed
from inglenook.studio.training.documents import MANIFEST, ExperimentDocuments
from inglenook.studio.training.material import Material
from inglenook.studio.training.model import EpochRecord, Experiment, Status
from inglenook.studio.training.news import Newsroom
from inglenook.studio.training.slots import Slots
from inglenook.studio.training.weights import Weights
from inglenook.wire.studio.spec import TrainSpec
from inglenook.wire.studio.training import Train, Trained, TrainFailed, TrainLastWord, TrainStopped

KIND: Final = "studio.train"
LOAD_S: Final = 8.0
"""Starting a worker and importing its libraries, before anybody has measured it."""
MOST_INTERRUPTIONS: Final = 3
"""So often a run goes on by itself after its server died in the middle of one and the same epoch: perhaps it
is what kills the server."""
MOST_LOSSES: Final = 3
"""So often it goes on by itself after we had to end its worker to give others the device."""


class TrainingFailed(Failed):
    """The run failed; the code and the words are the worker's."""

    default_code = "train.failed"


class TrainWork:
    """Carries out jobs of kind `studio.train`. See `jobs.work.Work`."""

    kind = KIND
    restarts = True  # from its last checkpoint

    def __init__(
        self,
        *,
        scheduler: Scheduler,
        documents: ExperimentDocuments,
        material: Material,
        newsroom: Newsroom,
        slots: Slots,
        clock: Clock,
        save_every_s: float,
        weights: Weights,
    ) -> None:
        self.scheduler = scheduler
        self.documents = documents
        self.material = material
        self.slots = slots
        self.clock = clock
        self.save_every_s = save_every_s
        self.weights = weights
        self._newsroom = newsroom
        self.requests: dict[JobId, RequestId] = {}

    def explain(self, job: JobId) -> Mapping[str, Any] | None:
        waiting = self.slots.explain(job)
        if waiting is not None:
            return waiting
        request = self.requests.get(job)
        explanation = None if request is None else self.scheduler.explain(request)
        return None if explanation is None else explanation_json(explanation)

    async def run(self, job: Job, report: Report) -> Mapping[str, Any]:
        key = (str(job.payload["project"]), str(job.payload["experiment"]))
        experiment = await asyncio.to_thread(self._begin, job, key)
        if experiment.status is Status.COMPLETED:  # the server died before the job could be told
            return outcome(experiment)
        chronicle = Chronicle(
            documents=self.documents,
            newsroom=self._newsroom,
            clock=self.clock,
            key=key,
            experiment=experiment,
            report=report,
        )
        return await _Session(job=job, report=report, chronicle=chronicle, work=self, key=key).carry_out()

    def _begin(self, job: Job, key: tuple[str, str]) -> Experiment:
        """The experiment, ours from now on. Raises Conflict: it is no longer this job's to carry out."""

        def ours(old: Experiment) -> Experiment:
            if old.generation != int(job.payload["generation"]):
                raise Conflict(f"{old.name} was restarted since.", code="experiment.restarted")
            if old.is_running and old.job in (None, job.id):
                return _with_job(self.documents.with_last(key[0], old), job)
            if old.status is Status.COMPLETED and old.job == job.id:
                return old
            if old.status in (Status.FAILED, Status.CANCELLED):  # somebody wants the job done again
                found = self.documents.with_last(key[0], old)
                return _with_job(found.moved(Status.PENDING, error=None, completed_at=None), job)
            raise Conflict(
                f"{old.name} is {old.status}: this job has nothing to do.", code="experiment.status"
            )

        return self.documents.change(*key, ours)


def _with_job(experiment: Experiment, job: Job) -> Experiment:
    return replace(experiment, job=str(job.id), started_by=str(job.owner))


def outcome(experiment: Experiment) -> Mapping[str, Any]:
    """What is kept in the job."""
    return {
        "experiment": experiment.id,
        "epochs": experiment.epoch,
        "best_epoch": experiment.best_epoch,
        "best_metric": experiment.best_metric,
        "seconds": experiment.seconds,
    }


@dataclass(slots=True)
class _Lost(Exception):
    """We had to end the worker to give the device to others: the run goes on from its last checkpoint."""

    failure: Failure


@dataclass(slots=True)
class _Session:
    """One job."""

    job: Job
    report: Report
    chronicle: Chronicle
    work: TrainWork
    key: tuple[str, str]
    stop_seen: tuple[float, int | None] | None = None
    lost: Failure | None = None
    attempts: int = 0
    began_s: float = 0.0

    async def carry_out(self) -> Mapping[str, Any]:
        try:
            if self.chronicle.experiment.interrupted > MOST_INTERRUPTIONS:
                raise _interrupted_too_often(self.chronicle.experiment)
            await self.report.waiting()
            async with self.work.slots.one(self.job.owner, self.job.id, self.report.stop):
                await self._manifest()
                await self._weights()
                last = await self._train()
            return await self._end(last)
        except LeaseStopped as stopped:
            await self._stopped("it left the queue before it began")
            raise Stopped(self._receipt("left the queue before it began", None)) from stopped
        except ChildFailed as failed:
            if self.report.stop.is_set:
                await self._stopped("its worker ended when it was to stop")
                raise Stopped(self._receipt("its process ended", 0)) from failed
            await self._child_failed(failed)
            raise
        except Stopped:
            raise
        except InglenookError as error:
            if self.chronicle.experiment.is_running:
                await self.chronicle.failed(why(error.code, error.message, error.hint))
            raise

    # -- what it learns from -------------------------------------------------------------------------------

    async def _manifest(self) -> None:
        """Written once: what is resumed learns from the same pictures in the same order."""
        path = self._folder() / MANIFEST
        if self.chronicle.experiment.data is not None and path.exists():
            return
        experiment = self.chronicle.experiment
        data, notes = await asyncio.to_thread(self.work.material.write, self.key[0], experiment, path)
        await self.chronicle.settle_data(data)
        for text in notes:
            await self.chronicle.notice(text)

    async def _weights(self) -> None:
        """A run that goes on has its own."""
        experiment = self.chronicle.experiment
        if "last" not in experiment.checkpoints:
            await self.work.weights.bring(
                experiment.spec.model, say=self.chronicle.notice, stop=self.report.stop
            )

    def _folder(self) -> Path:
        return self.work.documents.folder(*self.key)

    # -- training ------------------------------------------------------------------------------------------

    async def _train(self) -> TrainLastWord:
        while True:
            try:
                return await self._once()
            except _Lost as lost:
                if self.attempts > MOST_LOSSES:
                    raise ChildFailed(lost.failure) from None
                text = f"{lost.failure.message} It goes on from its last checkpoint."
                await self.chronicle.notice(text)
                await self.report.waiting()
                await self.chronicle.move(Status.PENDING, "waits for the device again")

    async def _once(self) -> TrainLastWord:
        async with self._leased() as lease:
            child = lease.child
            assert isinstance(child, StudioChild)
            await self.report.running()
            train = await asyncio.to_thread(self._message)
            now = self.work.documents.now()
            started = self.chronicle.experiment.started_at or now
            resumed = self.chronicle.experiment.resumed_from
            if train.resume is not None:
                resumed = (*resumed, self.chronicle.experiment.checkpoints["last"].epoch)
            await self.chronicle.move(
                Status.TRAINING, f"has {lease.device.id}", started_at=started, resumed_from=resumed
            )
            watches = [
                asyncio.create_task(self._watch_lease(lease)),
                asyncio.create_task(self._note_stop(lease)),
            ]
            try:
                return await child.train(train, stop=self.report.stop, tell=self.chronicle.hear)
            except ChildFailed:
                if self.lost is None or self.report.stop.is_set:
                    raise
                raise _Lost(self.lost) from None
            finally:
                for watch in watches:
                    watch.cancel()
                await asyncio.gather(*watches, return_exceptions=True)
                await self.chronicle.went_on()

    def _message(self) -> Train:
        experiment = self.chronicle.experiment
        folder = self._folder()
        last = experiment.checkpoints.get("last")
        resume = None if last is None else folder / last.file
        if resume is not None and not resume.is_file():
            resume = None
        assert experiment.data is not None
        return Train(
            job=self.job.id,
            task=experiment.task,
            spec=experiment.spec,
            classes=experiment.data.classes,
            manifest=str(folder / MANIFEST),
            folder=str(folder),
            resume=None if resume is None else str(resume),
            told=None if resume is None else whole_epochs(self.work.documents.epochs(*self.key)),
            save_every_s=self.work.save_every_s,
            lineage=self._lineage(experiment),
        )

    def _lineage(self, experiment: Experiment) -> dict[str, str]:
        """Where it comes from, for checkpoints and for what TensorBoard and MLflow show."""
        data, code = experiment.data, experiment.code
        assert data is not None
        known = {
            "project": self.key[0],
            "experiment": experiment.id,
            "name": experiment.name,
            "split": experiment.split_name,
            "split_id": data.split_id,
            "split_seed": data.split_seed,
            "dataset_version": data.dataset_version,
            "program": None if code is None else f"inglenook {code.version}",
            "commit": None if code is None else code.commit,
        }
        return {name: str(value) for name, value in known.items() if value is not None}

    @asynccontextmanager
    async def _leased(self) -> AsyncIterator[Lease]:
        experiment = self.chronicle.experiment
        self.attempts += 1
        self.lost = None
        request = self.work.scheduler.request(
            person=self.job.owner,
            work_class=self.job.work_class,
            plan=load_plan(experiment.task, experiment.spec, apart=f"{self.job.id}.{self.attempts}"),
            label=f"training of {experiment.name} for {self.job.owner}",
            devices=self._devices(experiment),
            keep_s=0.0,
        )
        self.work.requests[self.job.id] = request.id
        try:
            lease = await self.work.scheduler.acquire(request, self.report.stop)
        finally:
            del self.work.requests[self.job.id]
        self.began_s = self.work.clock.monotonic()
        parked_before = self.chronicle.parked_seconds
        try:
            yield lease
        finally:
            lease.release()
            parked = self.chronicle.parked_seconds - parked_before
            held_s = max(0.0, self.work.clock.monotonic() - self.began_s - parked)
            await self.report.cost(seconds=held_s, byte_seconds=held_s * lease.reserved_bytes)
            await self.chronicle.add_seconds(held_s)

    def _devices(self, experiment: Experiment) -> tuple[DeviceId, ...]:
        return allowed(experiment.hardware.selected_devices, self.work.scheduler.devices)

    async def _watch_lease(self, lease: Lease) -> None:
        """Tell when it is parked and when it goes on."""
        while True:
            change = await lease.changes.get()
            match change.state:
                case ResidentState.PARKED:
                    await self.report.paused()  # first: whoever hears of it finds the job as it is told
                    await self.chronicle.parked(change.text)
                case ResidentState.READY:
                    await self.report.running()
                    await self.chronicle.went_on()
                case ResidentState.FAILED:
                    self.lost = change.failure
                case _:
                    await self.chronicle.note(change.text)

    async def _note_stop(self, lease: Lease) -> None:
        await self.report.stop.wait()
        self.stop_seen = (self.work.clock.monotonic(), None)
        self.stop_seen = (self.stop_seen[0], await self.work.scheduler.used_bytes(lease))

    # -- ends ----------------------------------------------------------------------------------------------

    async def _end(self, last: TrainLastWord) -> Mapping[str, Any]:
        match last:
            case Trained():
                await self.chronicle.completed(last)
                return outcome(self.chronicle.experiment)
            case TrainFailed():
                error = _failure(last)
                await self.chronicle.failed(why(error.code, error.message, error.hint))
                raise error
            case TrainStopped():
                how = _how(last)
                await self._stopped(how)
                after = 0 if last.epoch == BY_FORCE else last.after_bytes
                raise Stopped(self._receipt(how, after, last.before_bytes))

    async def _stopped(self, how: str) -> None:
        """By a person: cancelled. By a server that stops: it waits for the next one."""
        if not self.chronicle.experiment.is_running:
            return
        if self.report.stop.reason is StopReason.SHUTDOWN:
            if self.chronicle.experiment.status is Status.TRAINING:
                await self.chronicle.move(Status.PENDING, f"the server stops; {how}")
            return
        await self.chronicle.move(
            Status.CANCELLED, f"cancelled: {how}", completed_at=self.work.documents.now(), error=None
        )

    async def _child_failed(self, failed: ChildFailed) -> None:
        epoch = self.chronicle.experiment.epoch + 1
        begun = self.chronicle.experiment.status is Status.TRAINING
        message = f"Training stopped in epoch {epoch}: {failed.message}" if begun else failed.message
        kept = self.chronicle.experiment.checkpoints.get("last")
        hint = failed.hint if kept is None else f"resume it: it goes on after epoch {kept.epoch}"
        await self.chronicle.failed(why(failed.code, message, hint, failed.failure.last_lines))

    def _receipt(self, how: str, after: int | None, before: int | None = None) -> Receipt:
        since_s, seen = (self.work.clock.monotonic(), None) if self.stop_seen is None else self.stop_seen
        seconds = self.work.clock.monotonic() - since_s
        return Receipt(how, self.work.clock.now(), seconds, seen if before is None else before, after)


def whole_epochs(records: Sequence[EpochRecord]) -> int:
    """So many from the first on are written down, with none missing between them."""
    known = {record.epoch for record in records}
    return next(count for count in itertools.count() if count + 1 not in known)


def _how(last: TrainStopped) -> str:
    if last.epoch == BY_FORCE:
        return "its process was ended, because it did not stop by itself"
    kept = "nothing was kept" if last.checkpoint is None else "a checkpoint was kept"
    return f"stopped after batch {last.batch} of epoch {last.epoch}; {kept}"


def _failure(last: TrainFailed) -> TrainingFailed:
    where = "" if last.epoch is None else f"Training stopped in epoch {last.epoch}: "
    return TrainingFailed(f"{where}{last.message}", code=last.code, hint=last.hint)


def _interrupted_too_often(experiment: Experiment) -> TrainingFailed:
    return TrainingFailed(
        f"The server stopped {experiment.interrupted} times while this trained epoch {experiment.epoch + 1}.",
        code="interrupted",
        hint="resume it by hand; if the server stops again, lower batch_size or look at the machine's memory",
    )


def load_plan(task: str, spec: TrainSpec, *, apart: str) -> LoadPlan:
    """What must be resident to train this, and what that is expected to need.

    Args:
        apart: unlike any other: each run gets a process of its own, and all of a kind learn one footprint.
    """
    named = {one.name: one for one in require_available(task).backbones}
    backbone = named[spec.model.backbone]
    steps = (*spec.augmentations.val, *spec.augmentations.train)
    side = footprint.side_px(steps, backbone.input_px)
    return LoadPlan(
        model=ModelId(backbone.name),
        engine=studio.NAME,
        footprint_bytes=footprint.estimate(spec, backbone, side=side),
        load_s=LOAD_S,
        variant="train",
        apart=apart,
        form=footprint.form(spec, side=side),
        keep_s=0.0,
        parkable=True,
    )
