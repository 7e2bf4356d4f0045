# SPDX-License-Identifier: Apache-2.0
"""Jobs that are done for one connection, and end with it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress

from inglenook.base.cancel import StopReason
from inglenook.base.errors import Conflict
from inglenook.base.ids import JobId, PersonId
from inglenook.door.services import Jobs
from inglenook.jobs.model import FINAL, EventType, Job, JobEvent

Tell = Callable[[JobEvent], Awaitable[None]]


class Errands:
    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._ending: set[asyncio.Task[None]] = set()

    async def done(self, job: Job, person: PersonId, tell: Tell) -> Job:
        """The job when it is final, whatever became of it. Cancelling this call cancels the job."""
        async with self.waited_for(job, person):
            await self.follow(job.id, tell)
        return await self._jobs.get(job.id, person)

    @asynccontextmanager
    async def waited_for(self, job: Job, person: PersonId) -> AsyncIterator[None]:
        """The job is cancelled when the body is: the client gave up, and nobody else waits for it."""
        try:
            yield
        except asyncio.CancelledError:
            # In a task of its own: whoever cancels this one may go on doing so at every await.
            ending = asyncio.create_task(self._give_up(job.id, person))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            raise

    async def follow(self, job: JobId, tell: Tell) -> None:
        """Tell of everything that happens to the job until it is final."""
        async with aclosing(self._jobs.subscribe(job)) as events:
            async for event in events:
                if event.type is EventType.STATE and event.data["state"] in FINAL:
                    return
                await tell(event)

    async def _give_up(self, job: JobId, person: PersonId) -> None:
        with suppress(Conflict):  # it has just ended
            await self._jobs.cancel(job, caller=person, reason=StopReason.CLIENT_GONE)
