# SPDX-License-Identifier: Apache-2.0
"""A training that steps aside for other work, with real children on this machine's processor."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.integration.processes import is_gone

from inglenook.base.cancel import StopReason, StopToken
from inglenook.base.clock import SystemClock
from inglenook.base.ids import ModelId, PersonId
from inglenook.base.work import WorkClass
from inglenook.runtime.contracts import ChildFailed, Lease, LoadPlan, ResidentState
from inglenook.runtime.devices import Cpu, SystemProbe
from inglenook.runtime.scheduler.ledger import Ledger
from inglenook.runtime.scheduler.loop import Scheduler
from inglenook.runtime.scheduler.policy import Rules
from inglenook.testing.devices import FakeBook
from inglenook.testing.engines import ScriptedEngine
from inglenook.testing.training import MODULUS, TrainBehaviour, next_value
from inglenook.testing.training_engine import ScriptedTraining, ScriptedTrainingEngine
from inglenook.wire.message import Message
from inglenook.wire.studio.spec import TrainSpec
from inglenook.wire.studio.training import Batch, Train, TrainStopped

MB = 10**6
RULES = Rules(patience_s=0.1, idle_unload_s=None, training_share=0.2, training_slice_s=0.2)

pytestmark = pytest.mark.slow


def run(main: Any) -> Any:
    return asyncio.run(asyncio.wait_for(main, 100))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


class Hearth:
    """A budget that holds either the training or the other model, and what parking leaves of the training."""

    def __init__(self, spool_root: Path, park_grace_s: float) -> None:
        probe = SystemProbe(sources=[Cpu()], budgets={"cpu": 1000 * MB}, reserve_bytes=0, only=["cpu"])
        engines = ScriptedTrainingEngine(spool_root=spool_root), ScriptedEngine(spool_root=spool_root)
        self.trainings = engines[0]
        self.scheduler = Scheduler(
            engines={engine.name: engine for engine in engines},
            ledger=Ledger(probe.devices()),
            rules=RULES,
            clock=SystemClock(),
            probe=probe,
            book=FakeBook(),
            stop_grace_s=0.5,
            park_grace_s=park_grace_s,
        )

    async def lease(self, model: str, work_class: WorkClass, plan: LoadPlan) -> Lease:
        request = self.scheduler.request(
            person=PersonId("ann"), work_class=work_class, plan=plan, label=model
        )
        return await self.scheduler.acquire(request, StopToken())

    async def train(self, behaviour: TrainBehaviour = TrainBehaviour.NORMAL) -> "Run":
        plan = LoadPlan(
            ModelId("run"),
            "training",
            {"cpu": 800 * MB},
            options={"behaviour": behaviour},
            parkable=True,
        )
        made = Run(await self.lease("training", WorkClass.TRAINING, plan))
        await until(lambda: made.losses)
        return made

    def chat(self) -> "asyncio.Task[Lease]":
        plan = LoadPlan(ModelId("chat"), "scripted", {"cpu": 500 * MB})
        return asyncio.create_task(self.lease("chat", WorkClass.INTERACTIVE, plan))

    def resident(self, model: str) -> dict[str, Any] | None:
        found = [it for it in self.scheduler.snapshot()["residents"] if it["model"] == model]
        return found[0] if found else None


class Run:
    def __init__(self, lease: Lease) -> None:
        assert isinstance(lease.child, ScriptedTraining)
        self.lease = lease
        self.stop = StopToken()
        self.losses: list[float] = []
        train = Train(job="j", task="classification", spec=TrainSpec(), classes=(), manifest="", folder="")
        self.work = asyncio.create_task(lease.child.train(train, stop=self.stop, tell=self._hear))

    async def _hear(self, message: Message) -> None:
        if isinstance(message, Batch) and message.loss is not None:
            self.losses.append(message.loss)

    def states(self) -> list[ResidentState]:
        found = []
        while not self.lease.changes.empty():
            found.append(self.lease.changes.get_nowait().state)
        return found


@asynccontextmanager
async def hearth(spool_root: Path, park_grace_s: float = 60.0) -> AsyncIterator[Hearth]:
    made = Hearth(spool_root, park_grace_s)
    loop = asyncio.create_task(made.scheduler.run())
    ticking = asyncio.create_task(_tick(made.scheduler))
    try:
        yield made
    finally:
        await made.scheduler.close()
        for task in (loop, ticking):
            task.cancel()
        await asyncio.gather(loop, ticking, return_exceptions=True)
    assert not list(spool_root.iterdir()), "something was left on the disk"


async def _tick(scheduler: Scheduler) -> None:
    while True:
        scheduler.tick()
        await asyncio.sleep(0.02)


def test_it_gives_way_comes_back_and_has_lost_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with hearth(tmp_path) as h:
            training = await h.train()
            chat = await h.chat()
            shown = h.resident("run")
            assert shown is not None
            assert shown["state"] == "parked"
            assert 0 < shown["reserved_bytes"] < 200 * MB, "the process itself is still there, and counts"
            assert shown["reserved_bytes"] >= shown["measured_bytes"]
            parked_at = len(training.losses)
            assert parked_at == shown["parking"]["receipt"]["batch"]
            chat.release()
            await until(lambda: len(training.losses) > parked_at)
            assert training.states() == [
                ResidentState.PARKING,
                ResidentState.PARKED,
                ResidentState.RESUMING,
                ResidentState.READY,
            ]
            training.stop.stop(StopReason.CANCELLED)
            assert isinstance(await training.work, TrainStopped)
            value = 1
            for loss in training.losses:
                value = next_value(value)
                assert loss == value / MODULUS
            training.lease.release()

    run(main())


def test_cancelling_it_while_it_is_parked_frees_all_of_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with hearth(tmp_path) as h:
            training = await h.train()
            chat = await h.chat()
            pids = training.lease.child.pids
            training.stop.stop(StopReason.CANCELLED)
            assert isinstance(await training.work, TrainStopped)
            training.lease.release()
            await until(lambda: h.resident("run") is None)
            assert all(is_gone(pid) for pid in pids)
            chat.release()

    run(main())


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (TrainBehaviour.NEVER_PARKS, "child.not_parked"),
        (TrainBehaviour.DIES_WHILE_PARKING, "child.killed"),
        (TrainBehaviour.DIES_WHEN_PARKED, "child.killed"),
        (TrainBehaviour.DIES_COMING_BACK, "child.killed"),
        (TrainBehaviour.NEVER_COMES_BACK, "child.not_parked"),
    ],
)
def test_one_that_fails_on_the_way_is_ended_with_the_reason_and_others_are_served(
    behaviour: TrainBehaviour, code: str, tmp_path: Path
) -> None:
    # Only where the limit is what is tested does it come soon: a death must be seen before it.
    park_grace_s = 1.0 if code == "child.not_parked" else 60.0

    async def main() -> None:
        async with hearth(tmp_path, park_grace_s) as h:
            training = await h.train(behaviour)
            chat = await h.chat()
            chat.release()
            with pytest.raises(ChildFailed):
                await training.work
            await until(lambda: h.resident("run") is None)
            failure = h.scheduler.failure(ModelId("run"))
            assert failure is not None
            assert failure.code == code
            training.lease.release()

    run(main())


def test_closing_the_server_ends_what_is_parked(tmp_path: Path) -> None:
    async def main() -> None:
        async with hearth(tmp_path) as h:
            training = await h.train()
            await h.chat()
            pids = training.lease.child.pids
            await h.scheduler.close()
            assert all(is_gone(pid) for pid in pids)
            with pytest.raises(ChildFailed):
                await training.work

    run(main())
