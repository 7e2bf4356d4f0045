# SPDX-License-Identifier: Apache-2.0
"""How many trainings run at once, and whose is next. Belongs to the event loop's thread.

The scheduler counts memory alone; two trainings that share one device would each take twice as long, and the
first result would come when the last one does.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from inglenook.base.cancel import StopToken
from inglenook.base.ids import JobId, PersonId
from inglenook.jobs.turns import Turns
from inglenook.runtime.scheduler.loop import LeaseStopped


class Slots:
    """Args:
    count: of trainings at once; one that is parked counts.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._turns = Turns()
        self._waiting: dict[JobId, tuple[PersonId, asyncio.Event]] = {}
        self._running: Counter[PersonId] = Counter()

    @asynccontextmanager
    async def one(self, person: PersonId, job: JobId, stop: StopToken) -> AsyncIterator[None]:
        """Wait for a place, people in turn, and give it back.

        Raises:
            LeaseStopped: `stop` was set first.
        """
        given = asyncio.Event()
        self._waiting[job] = (person, given)
        self._turns.add(person, job)
        self._give()
        try:
            await _either(given, stop)
            if not given.is_set():
                raise LeaseStopped(await stop.wait())
            yield
        finally:
            if given.is_set():
                self._running[person] -= 1
            self._turns.remove(person, job)
            self._waiting.pop(job, None)
            self._give()

    def explain(self, job: JobId) -> Mapping[str, Any] | None:
        """Why it waits for a place; None when it does not."""
        waiting = self._waiting.get(job)
        if waiting is None or waiting[1].is_set():
            return None
        running = self._running.total()
        text = f"{running} training{'s run' if running > 1 else ' runs'}, as many as may at once"
        return {
            "position": self._turns.position(waiting[0], job),
            "waiting": len(self._turns),
            "reason": {"kind": "turn", "text": f"{text}; this one follows in its turn"},
        }

    def _give(self) -> None:
        while self._running.total() < self.count:
            turn = self._turns.take(self._running)
            if turn is None:
                return
            person, job = turn
            self._running[person] += 1
            self._waiting[job][1].set()


async def _either(given: asyncio.Event, stop: StopToken) -> None:
    waits = [asyncio.ensure_future(given.wait()), asyncio.ensure_future(stop.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
