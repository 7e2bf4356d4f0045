# SPDX-License-Identifier: Apache-2.0
"""Take jobs, tell about them, stop them, and find them again after a restart."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from inglenook.base.cancel import StopReason
from inglenook.base.clock import Clock
from inglenook.base.errors import Busy, Conflict, Failed, InglenookError, Invalid, NotFound, Unavailable
from inglenook.base.ids import JobId, PersonId, new_id
from inglenook.base.units import format_seconds
from inglenook.base.work import WorkClass
from inglenook.jobs.blocking import Blocking
from inglenook.jobs.limits import JobLimits
from inglenook.jobs.model import FINAL, EventType, Job, JobEvent, JobState, Json, plain_json
from inglenook.jobs.records import UNFINISHED, JobRecords
from inglenook.jobs.runner import AGAIN, Runner
from inglenook.jobs.work import Work
from inglenook.store.text import storable

MAX_LISTED = 1000

_RETRY_AFTER_S = (1.0, 3600.0)

logger = logging.getLogger(__name__)


class JobsService:
    """All jobs of this server. Belongs to one event loop; `start` comes before anything else.

    Every method that takes a job's id raises `NotFound` (`job.not_found`) when there is no such job, or
    when it is not the caller's.
    """

    def __init__(
        self, *, records: JobRecords, works: Iterable[Work], clock: Clock, limits: JobLimits
    ) -> None:
        self._records = records
        self._clock = clock
        self._limits = limits
        self._blocking = Blocking(threads=limits.threads)
        self._runner = Runner(
            records=records, works=works, clock=clock, limits=limits, blocking=self._blocking
        )
        self._admission = asyncio.Lock()  # inside it, a job is either in the queue, or begun, or final
        self._pulse: asyncio.Task[None] | None = None
        self._open = False

    async def start(self) -> None:
        """Repair what the last server left unfinished, and begin the queue again in its old order."""
        for job in await self._blocking.run(self._records.unfinished):
            await self._runner.repair(job)
        self._open = True
        self._pulse = asyncio.create_task(self._beat(), name="jobs-pulse")
        self._runner.open()

    async def stop(self, grace_s: float) -> None:
        """Take no more jobs, ask the running ones to stop, and give them `grace_s` seconds to do so.

        What had not begun stays in the queue for the next start. Work that does not stop in time is left
        behind; its job is repaired at the next start. Idempotent.
        """
        self._open = False
        if self._pulse is not None:
            self._pulse.cancel()
            with suppress(asyncio.CancelledError):
                await self._pulse
        async with self._admission:
            await self._runner.close(grace_s)
        self._blocking.close()

    async def submit(
        self,
        *,
        kind: str,
        owner: PersonId,
        work_class: WorkClass,
        title: str,
        payload: Mapping[str, Any],
        idempotency_key: str | None = None,
    ) -> Job:
        """Keep a job and put it into the queue. The same key with the same payload gives the same job.

        Raises:
            Invalid: no work of this kind (`job.kind`), or the payload is not JSON (`job.payload`).
            Conflict: the key was used for something else (`job.idempotency`).
            Busy: the queue is full (`job.queue_full`, `job.person_queue_full`).
            Unavailable: the server is not started yet, or stops (`job.stopping`).
        """
        if kind not in self._runner.works:
            raise Invalid(f"There are no jobs of the kind {kind!r}.", code="job.kind")
        plain = plain_json(payload)
        async with self._admission:
            earlier = await self._earlier(owner, idempotency_key, kind, plain)
            if earlier is not None:
                return earlier
            self._admit(owner)
            now = self._clock.now()
            job = Job(
                id=JobId(new_id("job", now)),
                kind=kind,
                owner=owner,
                state=JobState.QUEUED,
                work_class=work_class,
                title=storable(title),
                payload=plain,
                created_at=now,
                idempotency_key=idempotency_key,
                event_seq=1,
            )
            if not await self._blocking.run(self._records.insert, job):  # another server, the same database
                raise _key_used(job.idempotency_key)
            self._runner.enqueue(job, seq=0)
            return job

    async def get(self, job: JobId, caller: PersonId) -> Job:
        """The job as it is now."""
        found = await self._read(job)
        if found.owner != caller:
            raise _not_found(job)
        return found

    async def list(
        self,
        caller: PersonId,
        *,
        states: Iterable[JobState] | None = None,
        kind: str | None = None,
        limit: int = 50,
        before: JobId | None = None,
    ) -> list[Job]:
        """The caller's jobs, the last submitted first.

        Args:
            limit: 1 to `MAX_LISTED`.
            before: the last one of the page before.

        Raises:
            Invalid: `limit` is out of bounds.
        """
        if not 1 <= limit <= MAX_LISTED:
            raise Invalid(f"limit is {limit}; it must be 1 to {MAX_LISTED}.", field="limit")
        if before is not None:
            await self.get(before, caller)
        rows = await self._blocking.run(
            self._records.listing, caller, states=states, kind=kind, limit=limit, before=before
        )
        return [self._runner.newest(job) for job in rows]

    async def counts(self, kind: str | None = None) -> Mapping[JobState, int]:
        """How many jobs, of one kind or of all, there are in each state, of everybody."""
        return await self._blocking.run(self._records.counts, kind)

    def describe(self, job: Job) -> Json:
        """The job as JSON, with why it waits when it does."""
        return self._runner.describe(job)

    async def cancel(self, job: JobId, *, caller: PersonId, reason: StopReason = StopReason.CANCELLED) -> Job:
        """Stop it, and wait until it has stopped, at most `cancel_wait_s`.

        The answer holds the receipt. It is `succeeded` when the work was done before it could stop, and not
        final when the work has not stopped in time; the wish stands then.

        Raises:
            Conflict: it was final before (`job.final`).
        """
        async with self._admission:
            found = await self.get(job, caller)
            if found.is_final:
                raise Conflict(f"The job is {found.state}; there is nothing to stop.", code="job.final")
            if await self._runner.cancel_queued(found):
                return await self.get(job, caller)
            self._runner.wish_stop(job, reason)
            stream = self._runner.live_stream(job)
        if stream is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._limits.cancel_wait_s):
                    await stream.closed.wait()
        return await self.get(job, caller)

    async def retry(self, job: JobId, *, caller: PersonId) -> Job:
        """Do again what did not succeed.

        An interrupted job that can go on goes back to the queue; for any other a new job is made.

        Raises:
            Conflict: it has succeeded, or is not final (`job.not_retryable`).
            Busy, Unavailable, Invalid: as `submit`.
        """
        found = await self.get(job, caller)
        if found.state not in FINAL - {JobState.SUCCEEDED}:
            raise Conflict(
                f"The job is {found.state}; only one that failed or was stopped can be done again.",
                code="job.not_retryable",
            )
        work = self._runner.works.get(found.kind)
        if found.state is JobState.INTERRUPTED and work is not None and work.restarts:
            return await self._go_on(found)
        return await self.submit(
            kind=found.kind,
            owner=found.owner,
            work_class=found.work_class,
            title=found.title,
            payload=found.payload,
        )

    async def wait(self, job: JobId) -> Job:
        """The job when it is final.

        Raises:
            Unavailable: the server stopped before (`job.stopping`).
            Failed: how the job ended could not be written (`job.unwritten`).
        """
        stream = self._runner.live_stream(job)
        if stream is not None:
            await stream.closed.wait()
        found = await self._read(job)
        if found.is_final:
            return found
        if not self._open:
            raise _stopping()
        raise Failed(
            "The job has ended, but how could not be written.",
            code="job.unwritten",
            hint="see the server's log; a full disk is the usual reason",
        )

    async def subscribe(self, job: JobId, last_event_id: int | None = None) -> AsyncGenerator[JobEvent, None]:
        """The job's events after number `last_event_id`, and those to come, until the final STATE event.

        Begins with one STATE event that holds the whole job when `last_event_id` is None or no longer kept,
        and has at least that one event, also for a reader who has read everything there will ever be.
        Close it (`contextlib.aclosing`) when you stop reading before the end.
        """
        stream = self._runner.stream(job)
        if stream is not None:
            async for event in stream.follow(last_event_id, lambda: self._snapshot(job)):
                yield event
            return
        found = await self._read(job)
        yield JobEvent(job, found.event_seq, EventType.STATE, self.describe(found))

    async def subscribe_all(self, owner: PersonId) -> AsyncGenerator[JobEvent, None]:
        """State, progress and waiting of all the owner's jobs, until the server stops.

        First a STATE event of each unfinished one. A reader that is slow gets the newest of each type.
        """
        with self._runner.feed.reader(owner) as news:
            told: dict[JobId, int] = {}
            rows = await self._blocking.run(self._records.listing, owner, states=UNFINISHED, limit=MAX_LISTED)
            for job in map(self._runner.newest, rows):
                told[job.id] = job.event_seq
                yield JobEvent(job.id, job.event_seq, EventType.STATE, self.describe(job))
            while (event := await news.get()) is not None:
                if event.seq > told.get(event.job, 0):
                    yield event

    async def pulse(self) -> None:
        """Tell readers why jobs wait, and the last progress that came too soon. Done every `pulse_s`."""
        await self._runner.pulse()

    async def _earlier(self, owner: PersonId, key: str | None, kind: str, payload: Json) -> Job | None:
        if key is None:
            return None
        found = await self._blocking.run(self._records.by_key, owner, key)
        if found is None:
            return None
        if found.kind != kind or found.payload != payload:
            raise _key_used(key)
        return self._runner.newest(found)

    def _admit(self, owner: PersonId) -> None:
        if not self._open:
            raise _stopping()
        unfinished = self._runner.unfinished
        if unfinished[owner] >= self._limits.person_limit:
            raise self._full(f"You have {unfinished[owner]} unfinished jobs", "job.person_queue_full")
        if unfinished.total() >= self._limits.queue_limit:
            raise self._full(f"There are {unfinished.total()} unfinished jobs", "job.queue_full")

    def _full(self, fact: str, code: str) -> Busy:
        low, high = _RETRY_AFTER_S
        retry_after_s = min(high, max(low, self._runner.typical_s()))
        return Busy(
            f"{fact}, which is as many as may be.",
            code=code,
            hint=f"try again in about {format_seconds(retry_after_s)}",
            retry_after_s=retry_after_s,
        )

    async def _go_on(self, job: Job) -> Job:
        async with self._admission:
            self._admit(job.owner)
            again = replace(job, state=JobState.QUEUED, event_seq=job.event_seq + 1, **AGAIN)
            moved = await self._blocking.run(
                self._records.advance,
                job.id,
                JobState.QUEUED,
                expected=(JobState.INTERRUPTED,),
                event_seq=again.event_seq,
                **AGAIN,
            )
            if not moved:
                raise Conflict("The job was begun again a moment ago.", code="job.not_retryable")
            self._runner.enqueue(again, seq=job.event_seq)
            return again

    async def _read(self, job: JobId) -> Job:
        found = await self._blocking.run(self._records.get, job)
        if found is None:
            raise _not_found(job)
        return self._runner.newest(found)

    async def _snapshot(self, job: JobId) -> Json:
        return self.describe(await self._read(job))

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._limits.pulse_s)
            try:
                await self.pulse()
            except InglenookError as error:
                logger.warning("waiting jobs could not be told why: %s", error.message)


def _not_found(job: JobId) -> NotFound:
    return NotFound(f"There is no job {job[:80]!r}.", code="job.not_found")


def _key_used(key: str | None) -> Conflict:
    return Conflict(
        f"The idempotency key {str(key)[:80]!r} was used for another request.",
        code="job.idempotency",
        hint="use a new key for each new request",
    )


def _stopping() -> Unavailable:
    return Unavailable(
        "The server takes no jobs now: it is starting or stopping.",
        code="job.stopping",
        hint="try again when it is up",
        retry_after_s=5.0,
    )
