# SPDX-License-Identifier: Apache-2.0
"""The news of jobs, for readers who come late, go away and come back. Belongs to the event loop's thread."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager

from inglenook.base.events import Closed, Topic
from inglenook.base.ids import JobId, PersonId
from inglenook.jobs.model import EventType, JobEvent, Json

KEPT_EVENTS = 256


class JobStream:
    """What happened to one job: numbered, the last events kept.

    A reader pulls from the kept ones at its own pace, so it never delays the writer. One that has fallen
    behind them gets the job as a whole instead, and goes on from there.

    Args:
        seq: the number of the last event ever published of this job; nothing up to it is kept.
    """

    def __init__(self, job: JobId, *, seq: int) -> None:
        self.job = job
        self.seq = seq
        self.closed = asyncio.Event()
        self._gone = seq  # events up to this number are not kept
        self._kept: deque[JobEvent] = deque()
        self._news: Topic[int] = Topic(limit=1)

    @property
    def readers(self) -> int:
        return self._news.readers

    def publish(self, kind: EventType, data: Json) -> JobEvent:
        """Number the event, keep it, wake the readers."""
        self.seq += 1
        event = JobEvent(self.job, self.seq, kind, data)
        self._forget_what_it_replaces(event)
        self._kept.append(event)
        if len(self._kept) > KEPT_EVENTS:
            self._gone = self._kept.popleft().seq
        self._news.publish(self.seq)
        return event

    def close(self) -> None:
        """No more events; readers end when they have read the last one."""
        self.closed.set()
        self._news.close()

    def after(self, seq: int) -> list[JobEvent] | None:
        """The events after number `seq`, or None when not all of them are kept (or `seq` is none of ours)."""
        if not self._gone <= seq <= self.seq:
            return None
        return [event for event in self._kept if event.seq > seq]

    async def follow(
        self, seq: int | None, snapshot: Callable[[], Awaitable[Json]]
    ) -> AsyncGenerator[JobEvent, None]:
        """The events after number `seq`, then those to come, until the stream is closed.

        Begins with one STATE event that holds the whole job (`snapshot`) and the number of the latest event
        when `seq` is None or too long ago. A reader that had read everything before it came gets that event
        too, so that nobody goes away without having been told the end.
        """
        told = False
        reader = self._news.subscribe()
        try:
            while True:
                found = None if seq is None else self.after(seq)
                if found is None:
                    latest = self.seq
                    found = [JobEvent(self.job, latest, EventType.STATE, await snapshot())]
                for event in found:
                    yield event
                    told, seq = True, event.seq
                if seq == self.seq:
                    await reader.get()
        except Closed:
            if not told:
                yield JobEvent(self.job, self.seq, EventType.STATE, await snapshot())
        finally:
            self._news.unsubscribe(reader)

    def _forget_what_it_replaces(self, event: JobEvent) -> None:
        """Only the newest preview of a picture, and the newest reason to wait, are worth keeping."""
        if event.type not in (EventType.PREVIEW, EventType.WAIT):
            return
        for old in self._kept:
            if old.type is event.type and old.data.get("picture") == event.data.get("picture"):
                self._kept.remove(old)
                return


_FEED_TYPES = frozenset({EventType.STATE, EventType.PROGRESS, EventType.WAIT})


class Feed:
    """State, progress and waiting of all jobs of each person. A slow reader gets the newest of each."""

    def __init__(self) -> None:
        self._readers: dict[PersonId, set[FeedReader]] = {}
        self._closed = False

    def publish(self, owner: PersonId, event: JobEvent) -> None:
        if event.type in _FEED_TYPES:
            for reader in self._readers.get(owner, ()):
                reader.push(event)

    def has_readers(self, owner: PersonId) -> bool:
        return owner in self._readers

    def close(self) -> None:
        self._closed = True
        for readers in self._readers.values():
            for reader in readers:
                reader.close()

    @contextmanager
    def reader(self, owner: PersonId) -> Iterator["FeedReader"]:
        """The owner's events from now on."""
        reader = FeedReader()
        self._readers.setdefault(owner, set()).add(reader)
        if self._closed:
            reader.close()
        try:
            yield reader
        finally:
            self._readers[owner].discard(reader)
            if not self._readers[owner]:
                del self._readers[owner]


class FeedReader:
    """Holds at most one unread event of each type for each job."""

    def __init__(self) -> None:
        self._unread: dict[tuple[JobId, EventType], JobEvent] = {}
        self._wake = asyncio.Event()
        self._closed = False

    def push(self, event: JobEvent) -> None:
        key = (event.job, event.type)
        self._unread.pop(key, None)  # so that the newest stands at the end
        self._unread[key] = event
        self._wake.set()

    def close(self) -> None:
        self._closed = True
        self._wake.set()

    async def get(self) -> JobEvent | None:
        """The next event; None at the end."""
        while not self._unread:
            if self._closed:
                return None
            self._wake.clear()
            await self._wake.wait()
        return self._unread.pop(next(iter(self._unread)))
