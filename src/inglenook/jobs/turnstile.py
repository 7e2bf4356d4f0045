# SPDX-License-Identifier: Apache-2.0
"""One at a time, where what is done takes too little to be a job: people still take turns."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

from inglenook.base.cancel import StopReason, StopToken
from inglenook.base.errors import Cancelled, Unavailable
from inglenook.base.ids import JobId, PersonId
from inglenook.jobs.turns import Turns


class Turnstile:
    """Lets one through at a time; people in rotation, each one's own in their order.

    Args:
        what: is done behind it, in messages: `The work on the sprites`.
        code: the first half of the codes of its errors.
    """

    def __init__(self, *, what: str, code: str) -> None:
        self._what = what
        self._code = code
        self._turns = Turns()
        self._waiting: dict[JobId, asyncio.Future[None]] = {}
        self._numbers = count(1)
        self._taken = False
        self._closed = False

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @asynccontextmanager
    async def turn(self, person: PersonId, stop: StopToken) -> AsyncIterator[None]:
        """Raises Cancelled when `stop` is set before it is its turn; Unavailable after `close`."""
        if self._closed:
            raise self._stopping()
        if stop.is_set:
            raise self._cancelled(stop)
        if self._taken:
            await self._wait(person, stop)
        self._taken = True
        try:
            yield
        finally:
            self._pass_on()

    def close(self) -> None:
        """Turn away all who wait and all who come."""
        self._closed = True
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(self._stopping())

    async def _wait(self, person: PersonId, stop: StopToken) -> None:
        ticket = JobId(str(next(self._numbers)))
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[ticket] = mine
        self._turns.add(person, ticket)

        def stopped(_: StopReason) -> None:
            if not mine.done():
                mine.set_exception(self._cancelled(stop))

        forget = stop.watch(stopped)
        try:
            await mine
        except BaseException:
            granted = mine.done() and not mine.cancelled() and mine.exception() is None
            if not self._turns.remove(person, ticket) and granted:
                self._pass_on()  # it was my turn already, and I do not come any more
            raise
        finally:
            del self._waiting[ticket]
            forget()

    def _pass_on(self) -> None:
        """Whose turn it is next; nobody else can come in between, since it stays taken."""
        while (one := self._turns.take({})) is not None:
            mine = self._waiting[one[1]]
            if not mine.done():
                mine.set_result(None)
                return
        self._taken = False

    def _cancelled(self, stop: StopToken) -> Cancelled:
        text = f"{self._what} was stopped before it began ({stop.reason})."
        return Cancelled(text, code=f"{self._code}.cancelled")

    def _stopping(self) -> Unavailable:
        return Unavailable(
            "The server is stopping.", code=f"{self._code}.stopping", hint="try again when it is up"
        )
