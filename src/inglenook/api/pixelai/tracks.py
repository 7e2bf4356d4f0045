# SPDX-License-Identifier: Apache-2.0
"""Generations by the id that clients know: while they run, and for a while after. In memory.

An ended one answers for `DONE_S` (`FAILED_S` where it failed), then it is "expired", and after `FORGET_S`
nobody has heard of it. Its pictures are in the gallery all the same.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from inglenook.api.errors import error_of_job
from inglenook.api.pixelai.asked import Asked
from inglenook.api.pixelai.milestones import ENDED, Milestones, Status
from inglenook.api.pixelai.shapes import BUSY
from inglenook.base.clock import Clock
from inglenook.base.errors import Cancelled, Conflict, InglenookError, NotFound
from inglenook.base.ids import JobId, PersonId
from inglenook.jobs.model import JobError, JobEvent, JobState

DONE_S: Final = 10.0
FAILED_S: Final = 30.0
FORGET_S: Final = 600.0
MOST_UNREAD: Final = 64
"""Events that wait for a slow reader."""
MOST_ENDED: Final = 1000
"""Ended generations that are remembered; beyond that the oldest is forgotten."""


@dataclass(eq=False)
class Track:
    """One generation.

    Attributes:
        begun: set when its job is known, or when there will be none.
        refused: why it never began.
        engine: that counts for it, once that is known. full_prompt: as the model reads it.
        ended: set when nothing more will happen.
        stopping: somebody has asked it to.
        waiters: requests that wait for it. detached: somebody means to ask for it later.
        end: the job as JSON when it was final.
    """

    id: str
    person: PersonId
    asked: Asked
    clock: Clock
    began_s: float
    milestones: Milestones = field(default_factory=Milestones)
    status: Status = Status.GENERATING
    job: JobId | None = None
    refused: InglenookError | None = None
    stopping: bool = False
    waiters: int = 0
    detached: bool = False
    end: dict[str, Any] | None = None
    problem: InglenookError | None = None
    ended_s: float | None = None
    ended_at: datetime | None = None
    heard_at: datetime | None = None
    engine: str | None = None
    full_prompt: str | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _readers: list["asyncio.Queue[JobEvent | None]"] = field(default_factory=list)

    def hear(self, event: JobEvent) -> None:
        self.heard_at = self.clock.now()
        self.milestones.hear(event, self.clock.monotonic())
        for reader in self._readers:
            if not reader.full():  # what a slow reader misses is in `milestones` all the same
                reader.put_nowait(event)

    def finish(self, end: dict[str, Any] | None, problem: InglenookError | None = None) -> None:
        """Args: problem: where there was no job, or its end cannot be known."""
        if self.ended.is_set():
            return
        self.end, self.problem = end, problem
        if end is not None:
            self.status = ENDED.get(JobState(end["state"]), Status.ERROR)
        else:
            self.status = Status.CANCELED if isinstance(problem, Cancelled) else Status.ERROR
        self._close()

    def refuse(self, error: InglenookError) -> None:
        """It never began."""
        self.refused = error
        self.status = Status.ERROR
        self._close()

    def _close(self) -> None:
        self.ended_s, self.ended_at = self.clock.monotonic(), self.clock.now()
        self.begun.set()
        self.ended.set()
        for reader in self._readers:
            if reader.full():
                reader.get_nowait()
            reader.put_nowait(None)

    async def events(self) -> AsyncIterator[JobEvent | None]:
        """None at once, for what is known already; then every event, heard by `milestones` before."""
        reader: asyncio.Queue[JobEvent | None] = asyncio.Queue(maxsize=MOST_UNREAD)
        self._readers.append(reader)
        try:
            yield None
            while not (self.ended.is_set() and reader.empty()):
                event = await reader.get()
                if event is None:
                    return
                yield event
        finally:
            self._readers.remove(reader)

    def error(self) -> InglenookError | None:
        """Why there is no picture; None while it may still come, and where it has."""
        if self.refused is not None or self.problem is not None:
            return self.refused or self.problem
        return None if self.end is None else _error_of(self.end)

    @property
    def kept_s(self) -> float:
        """Seconds for which it answers after its end."""
        return FAILED_S if self.status is Status.ERROR else DONE_S

    @property
    def is_expired(self) -> bool:
        return self.ended_s is not None and self.clock.monotonic() - self.ended_s > self.kept_s

    @property
    def expires_at(self) -> datetime | None:
        return None if self.ended_at is None else self.ended_at + timedelta(seconds=self.kept_s)

    @property
    def elapsed_s(self) -> float:
        until_s = self.clock.monotonic() if self.ended_s is None else self.ended_s
        return until_s - self.began_s


def _error_of(end: Mapping[str, Any]) -> InglenookError | None:
    """What a job that has ended failed with."""
    state = JobState(end["state"])
    if state is JobState.SUCCEEDED:
        return None
    if end.get("error") is not None:
        return error_of_job(JobError(**end["error"]))
    kind = "cancelled" if state is JobState.CANCELLED else "failed"
    return error_of_job(JobError(f"job.{state}", kind, f"The generation was {state}."))


class Tracks:
    """All generations of the dialect. Belongs to the event loop: nothing here waits."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._tracks: dict[tuple[PersonId, str], Track] = {}

    def begin(self, asked: Asked, *, person: PersonId) -> tuple[Track, bool]:
        """A new generation; or the one that has this id and asks for the same, and True: a client that sends
        its request again after a broken connection gets the picture that is being made.

        Raises:
            Conflict: the id stands for something else; or, where that was asked for, another is under way.
        """
        self.sweep()
        known = None if asked.generation_id is None else self._tracks.get((person, asked.generation_id))
        if known is not None:
            if known.asked != asked:
                raise Conflict(
                    f"generation_id {known.id} stands for another request.",
                    code="pixel.id_taken",
                    field="generation_id",
                    hint="make a new UUID for each request",
                )
            return known, True
        if asked.single_flight:
            self._require_none(person)
        track = Track(
            id=asked.generation_id or str(uuid4()),
            person=person,
            asked=asked,
            clock=self._clock,
            began_s=self._clock.monotonic(),
        )
        self._tracks[person, track.id] = track
        return track, False

    def _require_none(self, person: PersonId) -> None:
        for one in self.unfinished(person):
            raise Conflict(BUSY, code="pixel.busy", hint=f"it is {one.id}")

    def unfinished(self, person: PersonId) -> Iterator[Track]:
        return (
            track for track in self._tracks.values() if track.person == person and not track.ended.is_set()
        )

    def get(self, generation_id: str, *, person: PersonId) -> Track:
        """Raises NotFound for an id that nobody has heard of, or that is another person's."""
        self.sweep()
        track = self._tracks.get((person, generation_id))
        if track is None:
            raise NotFound(f"There is no generation {generation_id}.", code="pixel.unknown_generation")
        return track

    def drop(self, track: Track, error: InglenookError) -> None:
        """It was refused before it began: the id is free again, and whoever waits for it hears why."""
        self._tracks.pop((track.person, track.id), None)
        track.refuse(error)

    def sweep(self) -> None:
        now_s = self._clock.monotonic()
        ended = [(track.ended_s, key) for key, track in self._tracks.items() if track.ended_s is not None]
        ended.sort(key=lambda one: one[0])
        too_many = len(ended) - MOST_ENDED
        for number, (ended_s, key) in enumerate(ended):
            if number < too_many or now_s - ended_s > FORGET_S:
                del self._tracks[key]
