# SPDX-License-Identifier: Apache-2.0
"""A scheduler with engines, a clock and hardware that the test holds in its hands."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from inglenook.base.cancel import StopToken
from inglenook.base.ids import OWNER, PersonId
from inglenook.base.work import WorkClass
from inglenook.runtime.contracts import Device, Engine, FootprintBook, Lease, LoadPlan, Request
from inglenook.runtime.scheduler.ledger import Ledger
from inglenook.runtime.scheduler.loop import Scheduler
from inglenook.runtime.scheduler.policy import Rules
from inglenook.testing.clock import FakeClock
from inglenook.testing.devices import FakeBook, FakeProbe, fake_device
from inglenook.testing.engines import FakeEngine

T = TypeVar("T")
DEADLINE_S = 60.0


def run(main: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(main, DEADLINE_S))


async def until(condition: Callable[[], object]) -> None:
    """Let everybody else go on until the condition holds; the test's own time limit ends it."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0)


class Bench:
    """One running scheduler.

    Attributes:
        stops: the stop token of each request that was asked.
    """

    def __init__(
        self,
        devices: Iterable[Device],
        *,
        rules: Rules,
        engines: Mapping[str, Engine] | None,
        book: FootprintBook | None,
        park_grace_s: float = 60.0,
    ) -> None:
        self.devices = list(devices)
        self.engine = FakeEngine()
        self.clock = FakeClock()
        self.probe = FakeProbe(self.devices)
        self.book = FakeBook() if book is None else book
        self.scheduler = Scheduler(
            engines={self.engine.name: self.engine} if engines is None else engines,
            ledger=Ledger(self.devices, self.book.learned()),
            rules=rules,
            clock=self.clock,
            probe=self.probe,
            book=self.book,
            stop_grace_s=5.0,
            park_grace_s=park_grace_s,
        )
        self.stops: dict[str, StopToken] = {}

    def request(
        self, plan: LoadPlan, *, person: str = OWNER, work_class: WorkClass = WorkClass.INTERACTIVE
    ) -> Request:
        return self.scheduler.request(
            person=PersonId(person), work_class=work_class, plan=plan, label=f"work for {person}"
        )

    def ask(
        self, plan: LoadPlan, *, person: str = OWNER, work_class: WorkClass = WorkClass.INTERACTIVE
    ) -> "asyncio.Task[Lease]":
        """A task that waits for a lease; its name is the request's id."""
        request = self.request(plan, person=person, work_class=work_class)
        stop = StopToken()
        self.stops[request.id] = stop
        return asyncio.create_task(self.scheduler.acquire(request, stop), name=request.id)

    async def leased(self, plan: LoadPlan, *, person: str = OWNER) -> Lease:
        """A lease, with the child loaded on the way where it has to be."""
        asking = self.ask(plan, person=person)
        await self.settled()
        living = [c for c in self.engine.living if c.plan.key == plan.key]
        if not asking.done() and living:
            living[-1].load()
        return await asking

    async def settled(self) -> None:
        """The loop has taken every event, and every answer has been seen."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.scheduler.tick()
        await self.settled()

    def state(self) -> dict[str, Any]:
        return self.scheduler.snapshot()

    def models(self) -> dict[str, str]:
        """State by model, of what is resident."""
        return {resident["model"]: resident["state"] for resident in self.state()["residents"]}

    def queue(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.state()["queue"]
        return found


@asynccontextmanager
async def bench(
    *devices: Device,
    rules: Rules | None = None,
    engines: Mapping[str, Engine] | None = None,
    book: FootprintBook | None = None,
    park_grace_s: float = 60.0,
) -> AsyncIterator[Bench]:
    """Without devices: one GPU with a budget of 10 bytes. At the end nothing lives or is reserved."""
    made = Bench(
        devices or [fake_device("cuda:0", 10)],
        rules=Rules() if rules is None else rules,
        engines=engines,
        book=book,
        park_grace_s=park_grace_s,
    )
    loop = asyncio.create_task(made.scheduler.run())
    try:
        yield made
        assert not loop.done(), "the scheduler has ended"
    finally:
        for child in made.engine.living:
            child.stubborn = False
        await made.scheduler.close()
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
    assert made.engine.living == []
    assert all(child.discarded == 1 for child in made.engine.children), "something was left on the disk"
    assert all(device["reserved_bytes"] == 0 for device in made.state()["devices"])


async def outcome(waiting: Awaitable[T]) -> T | BaseException:
    return (await asyncio.gather(waiting, return_exceptions=True))[0]
