# SPDX-License-Identifier: Apache-2.0
"""The scheduler's promises, spot-checked with real children."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.integration.processes import is_gone, survivors

from inglenook.base.cancel import StopReason, StopToken
from inglenook.base.clock import SystemClock
from inglenook.base.ids import ModelId, PersonId
from inglenook.base.work import WorkClass
from inglenook.engines.diffusers import ImageChild
from inglenook.runtime.contracts import ChildFailed, FootprintKey, Lease, LoadPlan
from inglenook.runtime.devices import Cpu, SystemProbe
from inglenook.runtime.records import FootprintRecords
from inglenook.runtime.scheduler.ledger import Ledger
from inglenook.runtime.scheduler.loop import Scheduler
from inglenook.runtime.scheduler.policy import Rules
from inglenook.store.database import Database
from inglenook.testing.child import Behaviour
from inglenook.testing.devices import FakeBook
from inglenook.testing.engines import ScriptedEngine
from inglenook.wire.image import Draw, DrawCancelled, Drawn, Progress
from inglenook.wire.message import Message

MB = 10**6
BUDGET_BYTES = 150 * MB
RULES = Rules(patience_s=0.2, idle_unload_s=None)


def run(main: Any) -> Any:
    return asyncio.run(asyncio.wait_for(main, 100))


class Hearth:
    """A scheduler over the CPU of this machine, with a budget that holds one scripted worker."""

    def __init__(self, spool_root: Path, book: Any) -> None:
        probe = SystemProbe(sources=[Cpu()], budgets={"cpu": BUDGET_BYTES}, reserve_bytes=0, only=["cpu"])
        self.engine = ScriptedEngine(spool_root=spool_root)
        self.spool_root = spool_root
        self.scheduler = Scheduler(
            engines={self.engine.name: self.engine},
            ledger=Ledger(probe.devices(), book.learned()),
            rules=RULES,
            clock=SystemClock(),
            probe=probe,
            book=book,
            stop_grace_s=0.5,
        )

    async def lease(self, model: str, behaviour: Behaviour = Behaviour.NORMAL, person: str = "ann") -> Lease:
        request = self.scheduler.request(
            person=PersonId(person),
            work_class=WorkClass.INTERACTIVE,
            plan=LoadPlan(
                model=ModelId(model),
                engine=self.engine.name,
                footprint_bytes={"cpu": 100 * MB},
                load_s=0.2,
                options={"behaviour": behaviour},
            ),
            label=f"{model} for {person}",
        )
        return await self.scheduler.acquire(request, StopToken())

    def models(self) -> dict[str, str]:
        return {r["model"]: r["state"] for r in self.scheduler.snapshot()["residents"]}

    def reserved_bytes(self) -> int:
        found: int = self.scheduler.snapshot()["devices"][0]["reserved_bytes"]
        return found


@asynccontextmanager
async def hearth(spool_root: Path, book: Any = None) -> AsyncIterator[Hearth]:
    made = Hearth(spool_root, FakeBook() if book is None else book)

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.02)
            assert made.reserved_bytes() <= BUDGET_BYTES
            made.scheduler.tick()

    tasks = [asyncio.create_task(made.scheduler.run()), asyncio.create_task(tick())]
    try:
        yield made
        assert not any(task.done() for task in tasks)
    finally:
        await made.scheduler.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    pids = [pid for child in made.engine.children for pid in child.pids]
    assert all(is_gone(pid) for pid in pids)
    assert list(spool_root.iterdir()) == []


def draw_of(job: str) -> Draw:
    return Draw(job=job, prompt="a fox", width=8, height=8, steps=2, guidance_scale=1.0, seeds=(1,))


async def work(lease: Lease, job: str = "j") -> Any:
    async def ignore(_message: Message) -> None:
        return

    assert isinstance(lease.child, ImageChild)
    try:
        return await lease.child.draw(draw_of(job), stop=StopToken(), tell=ignore)
    finally:
        lease.release()


def test_two_models_take_turns_on_memory_that_holds_one(tmp_path: Path) -> None:
    async def main() -> None:
        async with hearth(tmp_path) as h:

            async def one(model: str, person: str) -> None:
                assert isinstance(await work(await h.lease(model, person=person)), Drawn)

            await asyncio.gather(*(one(m, p) for m in ("x", "y") for p in ("ann", "bob", "cem")))
            assert 2 <= len(h.engine.children) <= 4
            assert sum(child.alive for child in h.engine.children) == 1

    run(main())


def test_eight_first_requests_start_one_process(tmp_path: Path) -> None:
    async def main() -> None:
        async with hearth(tmp_path) as h:

            async def one(number: int) -> None:
                await work(await h.lease("x", person=f"person{number}"))

            await asyncio.gather(*(one(n) for n in range(8)))
            assert len(h.engine.children) == 1

    run(main())


def test_a_crash_at_work_fails_that_work_alone_and_everybody_behind_it_is_served(tmp_path: Path) -> None:
    """The worker crashes at each drawing; so nobody must be given a child on which another has worked."""

    async def main() -> None:
        async with hearth(tmp_path) as h:

            async def one(person: str) -> ChildFailed:
                lease = await h.lease("x", Behaviour.CRASHES, person)
                with pytest.raises(ChildFailed) as failed:
                    await work(lease)
                return failed.value

            failures = await asyncio.gather(*(one(p) for p in ("ann", "bob", "cem")))
            assert {failure.code for failure in failures} == {"child.killed"}
            assert all("SIGSEGV" in failure.message for failure in failures)
            assert len(h.engine.children) == 3
            assert isinstance(await work(await h.lease("y")), Drawn)

    run(main())


def test_a_child_killed_from_outside_while_idle_is_replaced(tmp_path: Path) -> None:
    async def main() -> None:
        async with hearth(tmp_path) as h:
            await work(await h.lease("x"))
            (pid,) = h.engine.children[0].pids
            os.kill(pid, signal.SIGKILL)
            assert survivors([pid], 60.0) == []
            async with asyncio.timeout(30):
                while h.models():
                    await asyncio.sleep(0.01)
            assert isinstance(await work(await h.lease("x")), Drawn)
            assert len(h.engine.children) == 2

    run(main())


def test_a_drawing_that_does_not_stop_costs_its_child_and_nobody_elses_work(tmp_path: Path) -> None:
    async def main() -> None:
        async with hearth(tmp_path) as h:
            lease = await h.lease("x", Behaviour.IGNORES_CANCEL)
            waiting = asyncio.create_task(h.lease("x", Behaviour.IGNORES_CANCEL, "bob"))
            begun, stop = asyncio.Event(), StopToken()

            async def hear(message: Message) -> None:
                assert isinstance(message, Progress)
                begun.set()

            assert isinstance(lease.child, ImageChild)
            drawing = asyncio.create_task(lease.child.draw(draw_of("j1"), stop=stop, tell=hear))
            await begun.wait()
            stop.stop(StopReason.CANCELLED)
            assert isinstance(await drawing, DrawCancelled)
            lease.release()
            second = await waiting
            assert second.child is not lease.child
            assert second.child.alive
            second.release()

    run(main())


def test_a_model_that_never_loads_gives_its_memory_back(tmp_path: Path) -> None:
    async def main() -> None:
        async with hearth(tmp_path) as h:
            for behaviour in (Behaviour.EXIT_AT_START, Behaviour.REFUSES_TO_LOAD, Behaviour.WRONG_PROTOCOL):
                with pytest.raises(ChildFailed):
                    await h.lease(f"m-{behaviour}", behaviour)
            assert isinstance(await work(await h.lease("good")), Drawn)
            assert h.reserved_bytes() == 100 * MB

    run(main())


def test_out_of_memory_at_load_is_tried_twice_and_then_told_with_numbers(tmp_path: Path) -> None:
    async def main() -> None:
        async with hearth(tmp_path) as h:
            await work(await h.lease("small"))
            with pytest.raises(ChildFailed, match="119 MiB reserved") as failed:  # 100 MB x 1.25
                await h.lease("big", Behaviour.OUT_OF_MEMORY)
            assert failed.value.code == "model.too_large"
            assert len(h.engine.children) == 3
            assert h.models() == {}

    run(main())


def test_closing_in_the_middle_of_everything_leaves_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with hearth(tmp_path) as h:
            lease = await h.lease("x", Behaviour.IGNORES_SIGTERM)
            asking = asyncio.create_task(h.lease("y", Behaviour.SLOW_START))
            await asyncio.sleep(0)
            del lease
        with pytest.raises(Exception, match="stopping"):
            await asking

    run(main())


def test_what_a_real_child_was_measured_to_use_is_kept_in_the_database(
    tmp_path: Path, database: Database
) -> None:
    spool_root = tmp_path / "spool"
    spool_root.mkdir()
    records = FootprintRecords(database=database, clock=SystemClock())

    async def main() -> None:
        async with hearth(spool_root, records) as h:
            lease = await h.lease("x")
            async with asyncio.timeout(30):
                while not h.scheduler.snapshot()["residents"][0]["measured_bytes"]:
                    await asyncio.sleep(0.01)
            lease.release()

    run(main())
    key = FootprintKey("scripted", ModelId("x"), "cpu", 0)
    peak_bytes, load_s = records.learned()[key]
    assert 5 * MB < peak_bytes < 150 * MB
    assert load_s > 0
