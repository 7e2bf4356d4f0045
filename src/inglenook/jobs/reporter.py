# SPDX-License-Identifier: Apache-2.0
"""The single writer of one job: each change goes to the database first, then to the readers."""

import asyncio
import base64
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from inglenook.base.cancel import StopToken
from inglenook.base.clock import Clock
from inglenook.base.errors import InglenookError
from inglenook.jobs.blocking import Blocking
from inglenook.jobs.model import FINAL, EventType, Job, JobEvent, JobState, Json, before
from inglenook.jobs.records import JobRecords
from inglenook.jobs.stream import JobStream

T = TypeVar("T")

RESERVED_SEQS = 256
"""The database holds a number at least as high as the last event's, this far ahead, so that numbers do
not repeat after a crash although a preview is not worth a write."""

logger = logging.getLogger(__name__)


class Reporter:
    """Implements `jobs.work.Report`. Its methods may be called from several tasks; they take turns.

    A caller that is cancelled while it waits for one does not stop the change half-way.

    Args:
        job: as it is in the database.
        tell: publishes an event to the readers of all of the owner's jobs.
        describe: the job as JSON, with why it waits.
    """

    def __init__(
        self,
        *,
        job: Job,
        stop: StopToken,
        stream: JobStream,
        records: JobRecords,
        blocking: Blocking,
        clock: Clock,
        progress_every_s: float,
        tell: Callable[[JobEvent], None],
        describe: Callable[[Job], Json],
    ) -> None:
        self.stop = stop
        self._job = job
        self._stream = stream
        self._records = records
        self._blocking = blocking
        self._clock = clock
        self._progress_every_s = progress_every_s
        self._tell = tell
        self._describe = describe
        self._turn = asyncio.Lock()
        self._reserved_seq = job.event_seq
        self._unsent: Json | None = None  # the latest progress, when it came too soon after the one before
        self._sent_at: float | None = None
        self._running_since_s: float | None = None

    @property
    def job(self) -> Job:
        """As it is now; `event_seq` is the number of the last event."""
        return replace(self._job, event_seq=self._stream.seq)

    @property
    def ran_s(self) -> float | None:
        """Seconds since it first said that it runs; None when it never did."""
        since_s = self._running_since_s
        return None if since_s is None else self._clock.monotonic() - since_s

    async def waiting(self) -> None:
        await self.advance(JobState.WAITING)

    async def running(self) -> None:
        started_at = self._clock.now() if self._job.started_at is None else self._job.started_at
        if self._running_since_s is None:
            self._running_since_s = self._clock.monotonic()
        await self.advance(JobState.RUNNING, started_at=started_at)

    async def paused(self) -> None:
        await self.advance(JobState.PAUSED)

    async def progress(
        self, fraction: float, *, stage: str, estimate_s: float | None = None, detail: Mapping[str, Any]
    ) -> None:
        reached = min(1.0, max(self._job.progress, fraction))
        self._unsent = {**detail, "progress": reached, "stage": stage, "estimate_s": estimate_s}
        if self._is_due():
            await self.flush()

    async def preview(self, *, picture: int, step: int, media_type: str, data: bytes) -> None:
        b64 = base64.b64encode(data).decode("ascii")
        await self._say(
            EventType.PREVIEW, {"picture": picture, "step": step, "media_type": media_type, "b64": b64}
        )

    async def result(self, part: Mapping[str, Any]) -> None:
        await self._whole(self._add_part(dict(part)))

    async def notice(self, text: str) -> None:
        await self._say(EventType.NOTICE, {"text": text})

    async def cost(self, *, seconds: float, byte_seconds: float) -> None:
        spent = self._job.cost_s + seconds, self._job.cost_byte_s + byte_seconds
        self._job = replace(self._job, cost_s=spent[0], cost_byte_s=spent[1])  # written with the next change

    async def tell_wait(self, explanation: Json) -> None:
        """Say why the job waits now."""
        await self._say(EventType.WAIT, explanation)

    async def flush(self) -> None:
        """Send the latest progress if it was held back."""
        await self._whole(self._send_progress())

    async def flush_if_due(self) -> None:
        if self._unsent is not None and self._is_due():
            await self.flush()

    async def advance(self, to: JobState, **fields: Any) -> bool:
        """Move the job, and return whether this call did. A state that it has already is left alone."""
        return await self._whole(self._advance(to, fields))

    async def finish(self, to: JobState, **fields: Any) -> bool:
        """Move the job to a final state, after the last progress."""
        await self.flush()
        if to is JobState.SUCCEEDED and self._job.state is not JobState.RUNNING:
            await self.running()  # work that never said so
        return await self.advance(to, finished_at=self._clock.now(), **fields)

    def _is_due(self) -> bool:
        return self._sent_at is None or self._clock.monotonic() - self._sent_at >= self._progress_every_s

    async def _whole(self, change: Coroutine[Any, Any, T]) -> T:
        """Carry the change through even when the caller is cancelled."""
        return await asyncio.shield(asyncio.ensure_future(change))

    async def _advance(self, to: JobState, fields: Mapping[str, Any]) -> bool:
        async with self._turn:
            if self._job.state not in before(to):
                return False
            seq = self._stream.seq + 1
            reserved = seq if to in FINAL else seq + RESERVED_SEQS
            changed = {**fields, "cost_s": self._job.cost_s, "cost_byte_s": self._job.cost_byte_s}
            moved = await self._blocking.run(
                self._records.advance,
                self._job.id,
                to,
                expected=(self._job.state,),
                event_seq=reserved,
                **changed,
            )
            if moved:
                self._reserved_seq = reserved
                self._job = replace(self._job, state=to, event_seq=seq, **fields)
                self._publish(EventType.STATE, self._describe(self._job))
            return moved

    async def _send_progress(self) -> None:
        async with self._turn:
            if self._unsent is None:
                return
            said, self._unsent = self._unsent, None
            self._sent_at = self._clock.monotonic()
            changed = {key: said[key] for key in ("progress", "stage", "estimate_s")}
            self._job = replace(self._job, **changed)
            try:
                await self._update(**changed, cost_s=self._job.cost_s, cost_byte_s=self._job.cost_byte_s)
            except InglenookError as error:  # a lost progress is no reason to lose the work
                logger.warning("progress of %s was not written: %s", self._job.id, error.message)
            self._publish(EventType.PROGRESS, said)

    async def _add_part(self, part: Json) -> None:
        async with self._turn:
            result = {**self._job.result, "parts": [*self._job.result.get("parts", ()), part]}
            await self._update(result=result)
            self._job = replace(self._job, result=result)
            self._publish(EventType.RESULT, part)

    async def _say(self, kind: EventType, data: Json) -> None:
        await self._whole(self._say_in_turn(kind, data))

    async def _say_in_turn(self, kind: EventType, data: Json) -> None:
        async with self._turn:
            if self._stream.seq >= self._reserved_seq:
                await self._update()
            self._publish(kind, data)

    async def _update(self, **fields: Any) -> None:
        reserved = self._stream.seq + RESERVED_SEQS
        await self._blocking.run(self._records.update, self._job.id, event_seq=reserved, **fields)
        self._reserved_seq = reserved

    def _publish(self, kind: EventType, data: Json) -> None:
        self._tell(self._stream.publish(kind, data))
