# SPDX-License-Identifier: Apache-2.0
"""An evaluation job while it runs: lease → worker → what it says of each picture → figures."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from inglenook.base.cancel import StopReason
from inglenook.base.clock import Clock
from inglenook.base.errors import Conflict, InglenookError, NotFound
from inglenook.base.ids import DeviceId, JobId, RequestId
from inglenook.engines.studio import StudioChild
from inglenook.jobs.model import Job, Receipt
from inglenook.jobs.work import Report, Stopped
from inglenook.runtime.contracts import ChildFailed, Lease
from inglenook.runtime.scheduler.loop import LeaseStopped, Scheduler
from inglenook.runtime.scheduler.snapshot import explanation_json
from inglenook.studio.checks.service import ChecksService
from inglenook.studio.evaluation.documents import AGGREGATE, MANIFEST, EvaluationDocuments, Key
from inglenook.studio.evaluation.errors import EvaluationFailure, EvaluationRefused
from inglenook.studio.evaluation.model import (
    MAX_ERROR,
    MAX_UNREADABLE,
    EvaluationRecord,
    NotSeen,
    Progress,
)
from inglenook.studio.evaluation.planning import load_plan
from inglenook.studio.evaluation.suspecting import tell_checks
from inglenook.studio.training.devices import allowed
from inglenook.studio.training.documents import CHECKPOINTS
from inglenook.studio.training.errors import NotTrainable
from inglenook.studio.training.model import Experiment
from inglenook.wire.message import Message
from inglenook.wire.studio.evaluation import (
    Evaluate,
    Evaluated,
    EvaluateLastWord,
    Predicted,
    Unreadable,
    WorkFailed,
)

KIND: Final = "studio.evaluate"
REFUSED: Final = frozenset({"studio.bad_checkpoint", "studio.no_data", "studio.bad_augmentation"})
"""Failures that are the order's own: the same order would fail again."""
replace = msgspec.structs.replace


@dataclass(slots=True)
class EvaluateWork:
    """Carries out jobs of kind `studio.evaluate`. See `jobs.work.Work`."""

    scheduler: Scheduler
    documents: EvaluationDocuments
    checks: ChecksService
    clock: Clock
    kind: str = KIND
    restarts: bool = True  # it changes nothing but its own folder, and finds the same again
    requests: dict[JobId, RequestId] = field(default_factory=dict)

    def explain(self, job: JobId) -> Mapping[str, Any] | None:
        request = self.requests.get(job)
        explanation = None if request is None else self.scheduler.explain(request)
        return None if explanation is None else explanation_json(explanation)

    async def run(self, job: Job, report: Report) -> Mapping[str, Any]:
        """Raises InglenookError, Stopped."""
        key = (
            str(job.payload["project"]),
            str(job.payload["experiment"]),
            str(job.payload["evaluation"]),
        )
        record = await asyncio.to_thread(self._begin, key, job)
        if record.status == "completed":  # the server died before the job could be told
            return outcome(record)
        try:
            last = await self._look(key, record, job, report)
            return await self._end(key, last, report)
        except LeaseStopped as stopped:
            await self._stopped(key, report)
            raise Stopped(self._receipt("left the queue before it began")) from stopped
        except ChildFailed as failed:
            if report.stop.is_set:
                await self._stopped(key, report)
                raise Stopped(self._receipt("its process ended")) from failed
            await self._failed(key, failed)
            raise
        except Stopped:
            raise
        except InglenookError as error:
            await self._failed(key, error)
            raise
        finally:
            self.documents.progress.pop(key[2], None)

    # -- looking -------------------------------------------------------------------------------------------

    def _begin(self, key: Key, job: Job) -> EvaluationRecord:
        """The evaluation, ours from now on. Raises Conflict: it is not this job's to carry out."""

        def ours(old: EvaluationRecord) -> EvaluationRecord:
            if old.status == "completed" and old.job == job.id:
                return old
            if old.status in ("failed", "cancelled"):  # somebody wants the job done again
                old = old.moved("pending", error=None, error_code=None, error_hint=None, completed_at=None)
            if not old.is_running or old.job not in (None, str(job.id)):
                raise Conflict(
                    f"{old.id} is {old.status}: this job has nothing to do.", code="evaluation.status"
                )
            return replace(old, job=str(job.id))

        return self.documents.change(key, ours)

    async def _look(self, key: Key, record: EvaluationRecord, job: Job, report: Report) -> EvaluateLastWord:
        experiment = await asyncio.to_thread(self.documents.experiments.read, key[0], key[1])
        asked = await asyncio.to_thread(self._asked, key, record, experiment, job)

        async def tell(message: Message) -> None:
            if isinstance(message, Predicted):
                self.documents.progress[record.id] = Progress(processed=message.done, total=message.whole)
                detail = {"done": message.done, "total": message.whole}
                await report.progress(0.95 * message.done / message.whole, stage="look", detail=detail)

        devices, note = self._devices(record)
        async with self._leased(job, record, experiment, devices, report) as lease:
            child = lease.child
            assert isinstance(child, StudioChild)
            await report.running()
            await asyncio.to_thread(self._started, key, lease, note)
            return await child.evaluate(asked, stop=report.stop, tell=tell)

    def _asked(self, key: Key, record: EvaluationRecord, experiment: Experiment, job: Job) -> Evaluate:
        folder = self.documents.folder(key)
        checkpoints = self.documents.experiments.folder(key[0], key[1]) / CHECKPOINTS
        return Evaluate(
            job=str(job.id),
            task=experiment.task,
            checkpoint=str(checkpoints / f"{record.checkpoint}.ckpt"),
            manifest=str(folder / MANIFEST),
            folder=str(folder),
            batch_size=record.batch_size,
        )

    def _devices(self, record: EvaluationRecord) -> tuple[tuple[DeviceId, ...], str | None]:
        """Where it may run; where the device that was asked for is not here, on any, and that is said."""
        try:
            return allowed((record.device,), self.scheduler.devices), None
        except NotTrainable:
            return (), f"{record.device} is not on this machine: another device was taken."

    def _started(self, key: Key, lease: Lease, note: str | None) -> None:
        def start(old: EvaluationRecord) -> EvaluationRecord:
            old = old.moved("running") if old.status == "pending" else old
            return replace(old, started_at=self.documents.now(), used_device=str(lease.device.id), note=note)

        self.documents.change(key, start)

    @asynccontextmanager
    async def _leased(
        self,
        job: Job,
        record: EvaluationRecord,
        experiment: Experiment,
        devices: tuple[DeviceId, ...],
        report: Report,
    ) -> AsyncIterator[Lease]:
        request = self.scheduler.request(
            person=job.owner,
            work_class=job.work_class,
            plan=load_plan(experiment.task, experiment.spec, use="evaluate", batch_size=record.batch_size),
            label=f"evaluation of {experiment.name} for {job.owner}",
            devices=devices,
        )
        await report.waiting()
        self.requests[job.id] = request.id
        try:
            lease = await self.scheduler.acquire(request, report.stop)
        finally:
            del self.requests[job.id]
        began_s = self.clock.monotonic()
        try:
            yield lease
        finally:
            lease.release()
            held_s = self.clock.monotonic() - began_s
            await report.cost(seconds=held_s, byte_seconds=held_s * lease.reserved_bytes)

    # -- ends ----------------------------------------------------------------------------------------------

    async def _end(self, key: Key, last: EvaluateLastWord, report: Report) -> Mapping[str, Any]:
        match last:
            case Evaluated():
                return outcome(await asyncio.to_thread(self._completed, key, last))
            case WorkFailed():
                kind = EvaluationRefused if last.code in REFUSED else EvaluationFailure
                raise kind(last.message, code=last.code, hint=last.hint)
            case _:
                await self._stopped(key, report)
                raise Stopped(self._receipt(f"stopped after {last.done} pictures"))

    def _completed(self, key: Key, last: Evaluated) -> EvaluationRecord:
        """Figures, the document that says that they are there, then what they say of labels."""
        from inglenook.studio.evaluation import figures  # NumPy only where it is needed
        from inglenook.studio.evaluation.stored import read_table

        folder = self.documents.folder(key)
        experiment = self.documents.experiments.read(key[0], key[1])
        if experiment.data is None or last.classes != experiment.data.classes:
            raise EvaluationRefused(
                "The checkpoint tells other classes apart than the experiment.", hint="train it again"
            )
        table, files = read_table(folder, last.classes)
        aggregate = figures.aggregate(last.classes, table.truth, table.logits, table.subsets)
        self.documents.workspace.write(folder / AGGREGATE, aggregate)
        now = self.documents.now()

        def complete(old: EvaluationRecord) -> EvaluationRecord:
            return old.moved(
                "completed",
                completed_at=now,
                checkpoint_epoch=last.epoch,
                progress=Progress(processed=len(files), total=len(files)),
                unreadable=len(last.unreadable),
                not_seen=_named(last.unreadable, files),
                seconds=last.seconds,
                peak_bytes=last.peak_bytes,
            )

        done = self.documents.change(key, complete)
        tell_checks(self.documents, self.checks, key[0], key[1])
        return done

    async def _failed(self, key: Key, error: InglenookError) -> None:
        def fail(old: EvaluationRecord) -> EvaluationRecord:
            if not old.is_running:
                return old
            return old.moved(
                "failed",
                error=error.message[:MAX_ERROR],
                error_code=error.code,
                error_hint=error.hint,
                completed_at=self.documents.now(),
            )

        with suppress(NotFound):  # it was deleted meanwhile, or its experiment was
            await asyncio.to_thread(self.documents.change, key, fail)

    async def _stopped(self, key: Key, report: Report) -> None:
        """By a person: cancelled. By a server that stops: the next one begins it again."""
        shutdown = report.stop.reason is StopReason.SHUTDOWN

        def stop(old: EvaluationRecord) -> EvaluationRecord:
            if not old.is_running:
                return old
            if shutdown:
                return old.moved("pending") if old.status == "running" else old
            return old.moved("cancelled", error="It was cancelled.", completed_at=self.documents.now())

        with suppress(NotFound):
            await asyncio.to_thread(self.documents.change, key, stop)

    def _receipt(self, how: str) -> Receipt:
        return Receipt(how=how, stopped_at=self.clock.now(), seconds=0.0)


def _named(unreadable: tuple[Unreadable, ...], files: Mapping[str, str]) -> tuple[NotSeen, ...]:
    return tuple(
        NotSeen(filename=Path(files.get(one.id, one.id)).name, reason=one.reason)
        for one in unreadable[:MAX_UNREADABLE]
    )


def outcome(record: EvaluationRecord) -> Mapping[str, Any]:
    """What is kept in the job."""
    return {"experiment": record.experiment_id, "evaluation": record.id, "status": record.status}
