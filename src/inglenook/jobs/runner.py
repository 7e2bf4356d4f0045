# SPDX-License-Identifier: Apache-2.0
"""The unfinished jobs of this server: who is next, what is begun, and how each one ends."""

import asyncio
import logging
import secrets
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, repeat
from statistics import median
from typing import Any

from inglenook.base.cancel import StopReason, StopToken
from inglenook.base.clock import Clock
from inglenook.base.errors import Cancelled, InglenookError
from inglenook.base.ids import JobId, PersonId
from inglenook.base.work import WorkClass
from inglenook.jobs import outcome as outcomes
from inglenook.jobs.blocking import Blocking
from inglenook.jobs.limits import JobLimits
from inglenook.jobs.model import EventType, Job, JobState, Json, Receipt, as_json, plain_json
from inglenook.jobs.outcome import LEFT_THE_QUEUE, Outcome
from inglenook.jobs.records import JobRecords
from inglenook.jobs.reporter import Reporter
from inglenook.jobs.stream import Feed, JobStream
from inglenook.jobs.turns import Turns
from inglenook.jobs.work import Stopped, Work

AGAIN: Mapping[str, Any] = {
    "progress": 0.0,
    "stage": None,
    "estimate_s": None,
    "error": None,
    "receipt": None,
    "finished_at": None,
}
"""The fields of a job that goes back to the queue; the parts of its result stay."""

_FINISHED_STREAMS = 16  # of finished jobs, kept for readers who come back; they hold previews
_FIRST_GUESS_S = 5.0  # how long a job runs, before one has
_READ_AGAIN_S = 5.0
_WRITE_AGAIN_S = (0.2, 1.0, 5.0)  # pauses before an end that could not be written is tried again

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Begun:
    """A job that has a task. `reporter` is None until the job was read."""

    id: JobId
    owner: PersonId
    work_class: WorkClass
    stop: StopToken
    reporter: Reporter | None = None
    wished_s: float | None = None  # monotonic time of the wish to stop


class Runner:
    """Owns every unfinished job, from the queue to its end. Belongs to one event loop."""

    def __init__(
        self,
        *,
        records: JobRecords,
        works: Iterable[Work],
        clock: Clock,
        limits: JobLimits,
        blocking: Blocking,
    ) -> None:
        self.works: Mapping[str, Work] = {work.kind: work for work in works}
        self.unfinished: Counter[PersonId] = Counter()
        self.feed = Feed()
        self._records = records
        self._clock = clock
        self._limits = limits
        self._blocking = blocking
        self._turns = {work_class: Turns() for work_class in WorkClass}
        self._begun: dict[JobId, _Begun] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._streams: dict[JobId, JobStream] = {}
        self._finished: OrderedDict[JobId, JobStream] = OrderedDict()
        self._ran_s: deque[float] = deque(maxlen=32)
        self._reading = asyncio.Lock()
        self._open = False

    # -- into the queue, and out of it -------------------------------------------------------------------

    def open(self) -> None:
        """Begin to begin jobs."""
        self._open = True
        self._begin_more()

    def enqueue(self, job: Job, *, seq: int) -> None:
        """Take a queued job and tell of it; `seq` is the number of its last event."""
        self._take(job, seq)
        now = replace(job, event_seq=seq + 1)
        event = self._streams[job.id].publish(EventType.STATE, self.describe(now))
        self.feed.publish(job.owner, event)
        self._begin_more()

    async def repair(self, job: Job) -> None:
        """Take, before `open`, what another server left unfinished."""
        work = self.works.get(job.kind)
        if work is None:
            outcome = outcomes.of_no_kind(job)
        else:
            outcome = outcomes.found_unfinished(job, restarts=work.restarts)
        reporter = self._reporter(job, StopToken(), JobStream(job.id, seq=job.event_seq))
        await self._apply(reporter, outcome)
        if not reporter.job.is_final:
            self._take(reporter.job, reporter.job.event_seq)

    async def cancel_queued(self, job: Job) -> bool:
        """Cancel a job that is not begun. Return False when it is, or when it is final."""
        if job.id in self._begun:
            return False
        queued = self._turns[job.work_class].remove(job.owner, job.id)
        stream = self._streams.get(job.id, JobStream(job.id, seq=job.event_seq))
        reporter = self._reporter(job, StopToken(), stream)
        try:
            return await reporter.finish(JobState.CANCELLED, receipt=self._receipt(LEFT_THE_QUEUE, 0.0))
        finally:
            if queued:
                self._forget(job.id, job.owner)

    def wish_stop(self, job: JobId, reason: StopReason) -> None:
        """Ask a begun job to stop; its stream closes when it has."""
        begun = self._begun.get(job)
        if begun is not None and begun.stop.stop(reason):
            begun.wished_s = self._clock.monotonic()

    async def close(self, grace_s: float) -> None:
        """Begin nothing more, ask the begun jobs to stop, and wait `grace_s` for them; all streams end."""
        self._open = False
        for job in tuple(self._begun):
            self.wish_stop(job, StopReason.SHUTDOWN)
        if self._tasks:
            _, late = await asyncio.wait(set(self._tasks), timeout=grace_s)
            await _end_by_force(late)
        for stream in self._streams.values():
            stream.close()
        self.feed.close()

    # -- what is known -----------------------------------------------------------------------------------

    def live_stream(self, job: JobId) -> JobStream | None:
        """The stream of an unfinished job."""
        return self._streams.get(job)

    def stream(self, job: JobId) -> JobStream | None:
        """The stream of an unfinished job, or of one that finished lately."""
        return self._streams.get(job, self._finished.get(job))

    def newest(self, job: Job) -> Job:
        """What the job's single writer knows of it is newer than what was read."""
        begun = self._begun.get(job.id)
        if begun is not None and begun.reporter is not None:
            return begun.reporter.job
        stream = self._streams.get(job.id)
        return job if stream is None else replace(job, event_seq=stream.seq)

    def describe(self, job: Job) -> Json:
        """The job as JSON, with why it waits when it does."""
        return as_json(job, self._explain(job))

    def typical_s(self) -> float:
        """How long jobs ran lately: about the time after which one more has ended."""
        return median(self._ran_s) if self._ran_s else _FIRST_GUESS_S

    async def pulse(self) -> None:
        """Tell readers why jobs wait, and send the last progress that came too soon."""
        for begun in tuple(self._begun.values()):
            if begun.reporter is not None:
                await begun.reporter.flush_if_due()
                await self._tell_wait(begun.reporter)

    # -- carrying out ------------------------------------------------------------------------------------

    def _begin_more(self) -> None:
        for work_class, turns in self._turns.items():
            while self._open:
                people = Counter(
                    begun.owner for begun in self._begun.values() if begun.work_class is work_class
                )
                if people.total() >= self._limits.max_active:
                    break
                turn = turns.take(people)
                if turn is None:
                    break
                self._begin(*turn, work_class)

    def _begin(self, owner: PersonId, job: JobId, work_class: WorkClass) -> None:
        begun = _Begun(job, owner, work_class, StopToken())
        self._begun[job] = begun
        task = asyncio.create_task(self._carry_out(begun), name=job)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(begun, done))

    async def _carry_out(self, begun: _Begun) -> None:
        async with self._reading:  # threads overtake each other; a person's jobs must not
            job = await self._read(begun)
        if job is None or job.state is not JobState.QUEUED:
            return
        reporter = begun.reporter = self._reporter(job, begun.stop, self._streams[job.id])
        outcome = await self._outcome(begun, reporter)
        if reporter.ran_s is not None:
            self._ran_s.append(reporter.ran_s)
        await self._write_end(reporter, outcome)

    async def _read(self, begun: _Begun) -> Job | None:
        """A database that is away for a while does not empty the queue."""
        while True:
            try:
                return await self._blocking.run(self._records.get, begun.id)
            except InglenookError as error:
                if begun.stop.is_set:
                    raise
                logger.warning("%s could not be read: %s", begun.id, error.message)
            with suppress(TimeoutError):
                async with asyncio.timeout(_READ_AGAIN_S):
                    await begun.stop.wait()

    async def _outcome(self, begun: _Begun, reporter: Reporter) -> Outcome:
        """Do the work, and tell how it ended."""
        try:
            if begun.stop.is_set:
                raise Stopped(self._receipt_since(LEFT_THE_QUEUE, begun))
            result = await self.works[reporter.job.kind].run(reporter.job, reporter)
            return Outcome(JobState.SUCCEEDED, result=plain_json(result))
        except Stopped as stop:
            return self._stopped(begun, reporter, stop.receipt)
        except InglenookError as error:
            if isinstance(error, Cancelled) and begun.stop.is_set:
                return self._stopped(begun, reporter, self._receipt_since(error.message, begun))
            return outcomes.failed(error)
        except asyncio.CancelledError:
            if not begun.stop.is_set:
                raise
            return self._stopped(begun, reporter, None)
        except Exception:  # whatever a work raises ends its own job and no other
            incident = secrets.token_hex(4)
            logger.exception("incident %s: %s of kind %s broke", incident, begun.id, reporter.job.kind)
            return outcomes.broken(incident)

    def _stopped(self, begun: _Begun, reporter: Reporter, receipt: Receipt | None) -> Outcome:
        reason = StopReason.CANCELLED if begun.stop.reason is None else begun.stop.reason
        restarts = self.works[reporter.job.kind].restarts
        return outcomes.stopped(reporter.job, reason, receipt, restarts=restarts)

    def _receipt_since(self, how: str, begun: _Begun) -> Receipt:
        now_s = self._clock.monotonic()
        return self._receipt(how, now_s - (now_s if begun.wished_s is None else begun.wished_s))

    def _receipt(self, how: str, seconds: float) -> Receipt:
        return Receipt(how=how, stopped_at=self._clock.now(), seconds=seconds)

    async def _write_end(self, reporter: Reporter, outcome: Outcome) -> None:
        """Write it down, also when the disk is full for an hour. What the server's own end cuts off is
        repaired at the next start."""
        for pause_s in chain(_WRITE_AGAIN_S, repeat(_WRITE_AGAIN_S[-1])):
            try:
                await self._apply(reporter, outcome)
                return
            except InglenookError as error:
                logger.warning("the end of %s was not written: %s", reporter.job.id, error.message)
                await asyncio.sleep(pause_s)

    async def _apply(self, reporter: Reporter, outcome: Outcome) -> None:
        if outcome.state is JobState.QUEUED:
            await reporter.advance(JobState.QUEUED, **AGAIN)
            return
        await reporter.finish(outcome.state, **outcome.fields(reporter.job))
        if outcome.again:
            await reporter.advance(JobState.QUEUED, **AGAIN)

    def _ended(self, begun: _Begun, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("%s was given up", begun.id, exc_info=task.exception())
        del self._begun[begun.id]
        self._forget(begun.id, begun.owner)
        self._begin_more()

    def _take(self, job: Job, seq: int) -> None:
        """Everything that is known of an unfinished job begins here, and ends in `_forget`."""
        self.unfinished[job.owner] += 1
        self._finished.pop(job.id, None)
        self._streams[job.id] = JobStream(job.id, seq=seq)
        self._turns[job.work_class].add(job.owner, job.id)

    def _forget(self, job: JobId, owner: PersonId) -> None:
        self.unfinished[owner] -= 1
        stream = self._streams.pop(job)
        stream.close()
        self._finished[job] = stream
        if len(self._finished) > _FINISHED_STREAMS:
            self._finished.popitem(last=False)

    def _reporter(self, job: Job, stop: StopToken, stream: JobStream) -> Reporter:
        return Reporter(
            job=job,
            stop=stop,
            stream=stream,
            records=self._records,
            blocking=self._blocking,
            clock=self._clock,
            progress_every_s=self._limits.progress_every_s,
            tell=lambda event: self.feed.publish(job.owner, event),
            describe=self.describe,
        )

    # -- why it waits ------------------------------------------------------------------------------------

    def _explain(self, job: Job) -> Mapping[str, Any] | None:
        if job.state not in (JobState.QUEUED, JobState.WAITING):
            return None
        turns = self._turns[job.work_class]
        position = turns.position(job.owner, job.id)
        if position is None:
            return self.works[job.kind].explain(job.id) if job.kind in self.works else None
        text = f"{self._limits.max_active} jobs are begun, as many as may be; this one follows in its turn"
        return {"position": position, "waiting": len(turns), "reason": {"kind": "queue", "text": text}}

    async def _tell_wait(self, reporter: Reporter) -> None:
        job = reporter.job
        stream = self._streams.get(job.id)
        if stream is None or not (stream.readers or self.feed.has_readers(job.owner)):
            return
        explanation = self._explain(job)
        if explanation is not None:
            await reporter.tell_wait(dict(explanation))


async def _end_by_force(late: set[asyncio.Task[None]]) -> None:
    """Cancel tasks that did not stop when asked; one that swallows even this is left behind."""
    if not late:
        return
    for task in late:
        task.cancel()
    _, stuck = await asyncio.wait(late, timeout=1.0)
    for task in stuck:
        logger.error("%s does not stop and is left behind", task.get_name())
