# SPDX-License-Identifier: Apache-2.0
"""Work that does what a test says, and a service of jobs around it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from inglenook.base.ids import OWNER, JobId, PersonId
from inglenook.base.work import WorkClass
from inglenook.jobs.limits import JobLimits
from inglenook.jobs.model import Job, Receipt
from inglenook.jobs.records import JobRecords
from inglenook.jobs.service import JobsService
from inglenook.jobs.work import Report, Stopped, Work
from inglenook.store.database import Database
from inglenook.testing.clock import FakeClock

Script = Callable[[Job, Report], Awaitable[Mapping[str, Any]]]

STOPPED = Receipt("stopped between two steps", datetime(2026, 1, 1, tzinfo=UTC), 0.25, 2_000, 1_000)


class ScriptedWork:
    """Runs `script` for each job, and tells which jobs have begun."""

    def __init__(self, script: Script, *, kind: str = "scripted", restarts: bool = False) -> None:
        self.kind = kind
        self.restarts = restarts
        self.script = script
        self.begun: list[JobId] = []
        self.explanations: dict[JobId, Mapping[str, Any]] = {}
        self._changed = asyncio.Condition()

    async def run(self, job: Job, report: Report) -> Mapping[str, Any]:
        async with self._changed:
            self.begun.append(job.id)
            self._changed.notify_all()
        return await self.script(job, report)

    def explain(self, job: JobId) -> Mapping[str, Any] | None:
        return self.explanations.get(job)

    async def until_begun(self, count: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.begun) >= count)


class Gate:
    """A script that waits, in the state that it was told, until it is opened or asked to stop."""

    def __init__(self, *, state: str = "running") -> None:
        self._state = state
        self._open = asyncio.Event()
        self._entered = asyncio.Semaphore(0)

    async def __call__(self, _job: Job, report: Report) -> Mapping[str, Any]:
        if self._state != "queued":
            await report.waiting()
        if self._state == "running":
            await report.running()
        self._entered.release()
        await _first(self._open.wait(), report.stop.wait())
        if report.stop.is_set:
            raise Stopped(STOPPED)
        await report.running()
        return {"through": True}

    def open(self) -> None:
        self._open.set()

    async def until_entered(self, count: int = 1) -> None:
        for _ in range(count):
            await self._entered.acquire()


async def done_at_once(_job: Job, _report: Report) -> Mapping[str, Any]:
    return {}


async def submit(
    service: JobsService,
    *,
    owner: PersonId = OWNER,
    work_class: WorkClass = WorkClass.BATCH,
    kind: str = "scripted",
    key: str | None = None,
    **payload: Any,
) -> Job:
    return await service.submit(
        kind=kind, owner=owner, work_class=work_class, title="a job", payload=payload, idempotency_key=key
    )


@asynccontextmanager
async def serving(
    database: Database,
    *works: Work,
    clock: FakeClock | None = None,
    grace_s: float = 5.0,
    **limits: Any,
) -> AsyncIterator[JobsService]:
    """A started service, stopped at the end. Its pulse never comes by itself."""
    service = made(database, works, clock=FakeClock() if clock is None else clock, **limits)
    await service.start()
    try:
        yield service
    finally:
        await service.stop(grace_s)


def made(database: Database, works: Iterable[Work], *, clock: FakeClock, **limits: Any) -> JobsService:
    bounds = JobLimits(**{"pulse_s": 3600.0, **limits})
    return JobsService(records=JobRecords(database=database), works=works, clock=clock, limits=bounds)


def run(main: Callable[[], Coroutine[Any, Any, None]], *, within_s: float = 60.0) -> None:
    """Run a test's coroutine; it fails rather than hangs."""

    async def bounded() -> None:
        async with asyncio.timeout(within_s):
            await main()

    asyncio.run(bounded())


async def _first(*waits: Coroutine[Any, Any, Any]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
