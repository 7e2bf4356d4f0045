# SPDX-License-Identifier: Apache-2.0
"""What the scheduler relies on in every child that can be parked: the fake, and real processes."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest

from inglenook.base.cancel import StopReason, StopToken
from inglenook.base.ids import ModelId
from inglenook.runtime.contracts import Child, ChildFailed, Failure, LoadPlan, NothingToPark, Parkable
from inglenook.testing.devices import fake_device
from inglenook.testing.engines import FakeEngine, FakeTraining
from inglenook.testing.training import BLOCK_BYTES, MODULUS, TrainBehaviour, next_value
from inglenook.testing.training_engine import ScriptedTraining, ScriptedTrainingEngine
from inglenook.wire.message import Message
from inglenook.wire.studio.spec import TrainSpec
from inglenook.wire.studio.training import Batch, Train, Trained, TrainStopped

CPU = fake_device("cpu", 10**9)
WAIT_S = 60.0
GRACE_S = 0.5


class Training(Protocol):
    """A child that can be parked, and its work."""

    @property
    def child(self) -> Child: ...

    @property
    def parkable(self) -> Parkable: ...

    async def begin(self) -> None:
        """It is at work when this returns."""
        ...

    async def give_up(self) -> None:
        """Its work is cancelled, and has stopped when this returns."""
        ...

    async def crash(self) -> None: ...


@dataclass
class FakeWork:
    child: FakeTraining
    working: bool = False
    driving: set["asyncio.Task[None]"] = field(default_factory=set)

    @property
    def parkable(self) -> Parkable:
        return self

    async def begin(self) -> None:
        self.working = True

    async def give_up(self) -> None:
        self.working = False

    async def crash(self) -> None:
        self.child.crash(Failure("child.killed", "it was ended by signal 9"))

    async def park(self) -> Any:
        return await self._driven(self.child.park(), self._free)

    async def unpark(self) -> Any:
        return await self._driven(self.child.unpark(), self.child.come_back)

    def _free(self) -> None:
        if self.working:
            self.child.free()
        else:
            self.child.nothing()

    @staticmethod
    async def _driven(asked: Awaitable[Any], then: Callable[[], None]) -> Any:
        answer = asyncio.ensure_future(asked)
        await asyncio.sleep(0)
        if not answer.done():
            then()
        return await answer


@dataclass
class ScriptedWork:
    child: ScriptedTraining
    stop: StopToken = field(default_factory=StopToken)
    said: list[Message] = field(default_factory=list)
    working: "asyncio.Task[Any] | None" = None
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def parkable(self) -> Parkable:
        return self.child

    async def tell(self, message: Message) -> None:
        self.said.append(message)
        if isinstance(message, Batch):
            self.heard.set()

    async def begin(self) -> None:
        train = Train(job="j", task="classification", spec=TrainSpec(), classes=(), manifest="", folder="")
        self.working = asyncio.create_task(self.child.train(train, stop=self.stop, tell=self.tell))
        await self.more()

    async def more(self) -> None:
        """It has said something more about its batches."""
        self.heard.clear()
        await self.heard.wait()

    async def give_up(self) -> None:
        assert self.working is not None
        self.stop.stop(StopReason.CANCELLED)
        assert isinstance(await self.working, TrainStopped)

    async def crash(self) -> None:
        (pid,) = self.child.pids
        os.kill(pid, signal.SIGKILL)

    def losses(self) -> list[float]:
        return [said.loss for said in self.said if isinstance(said, Batch) and said.loss is not None]


def plan(behaviour: TrainBehaviour = TrainBehaviour.NORMAL) -> LoadPlan:
    options = {"behaviour": behaviour}
    return LoadPlan(ModelId("run"), "any", {"cpu": 10**8}, options=options, parkable=True)


async def fake(_: Path) -> FakeWork:
    child = await FakeEngine(auto=True).start(plan(), CPU)
    assert isinstance(child, FakeTraining)
    return FakeWork(child)


async def scripted(spool_root: Path, behaviour: TrainBehaviour = TrainBehaviour.NORMAL) -> ScriptedWork:
    child = await ScriptedTrainingEngine(spool_root=spool_root).start(plan(behaviour), CPU)
    await child.ready()
    return ScriptedWork(child)


Open = Callable[[Path], Awaitable[Training]]


@pytest.fixture(params=[fake, scripted])
def opened(request: pytest.FixtureRequest) -> Open:
    made: Open = request.param
    return made


def run(main: Any) -> Any:
    return asyncio.run(asyncio.wait_for(main, 3 * WAIT_S))


async def end(training: Training) -> None:
    await training.child.stop(GRACE_S)
    working = getattr(training, "working", None)
    if isinstance(working, asyncio.Task):
        with contextlib.suppress(ChildFailed):
            await working
    await training.child.discard()


def test_it_is_parked_with_a_receipt_and_comes_back(opened: Open, tmp_path: Path) -> None:
    async def main() -> None:
        training = await opened(tmp_path)
        await training.begin()
        for _ in range(2):
            receipt = await training.parkable.park()
            assert receipt.seconds >= 0
            assert receipt.before_bytes is not None
            assert receipt.after_bytes is not None
            assert receipt.after_bytes < receipt.before_bytes
            assert receipt.epoch >= 1
            assert receipt.batch >= 1
            back = await training.parkable.unpark()
            assert back.seconds >= 0
        assert training.child.alive
        await end(training)

    run(main())


def test_what_is_parked_already_says_so_again(opened: Open, tmp_path: Path) -> None:
    async def main() -> None:
        training = await opened(tmp_path)
        await training.begin()
        assert await training.parkable.park() == await training.parkable.park()
        await training.parkable.unpark()
        await end(training)

    run(main())


def test_where_no_work_runs_there_is_nothing_to_park(opened: Open, tmp_path: Path) -> None:
    async def main() -> None:
        training = await opened(tmp_path)
        with pytest.raises(NothingToPark):
            await training.parkable.park()
        assert training.child.alive
        await training.begin()
        await training.parkable.park()
        await training.give_up()
        await end(training)

    run(main())


def test_work_that_is_given_up_while_it_is_parked_is_no_work_to_bring_back(
    opened: Open, tmp_path: Path
) -> None:
    async def main() -> None:
        training = await opened(tmp_path)
        await training.begin()
        await training.parkable.park()
        await training.give_up()
        assert (await training.parkable.unpark()).seconds >= 0
        assert training.child.alive
        await end(training)

    run(main())


def test_a_stop_while_it_is_parked_ends_it(opened: Open, tmp_path: Path) -> None:
    async def main() -> None:
        training = await opened(tmp_path)
        await training.begin()
        await training.parkable.park()
        receipt = await training.child.stop(GRACE_S)
        assert receipt.how in ("terminated", "killed")
        assert await training.child.exited() is None
        assert not training.child.alive
        await end(training)

    run(main())


def test_a_death_while_it_is_parked_is_told(opened: Open, tmp_path: Path) -> None:
    async def main() -> None:
        training = await opened(tmp_path)
        await training.begin()
        await training.parkable.park()
        await training.crash()
        failure = await training.child.exited()
        assert failure is not None
        assert failure.code == "child.killed"
        await end(training)

    run(main())


# -- over the wire ---------------------------------------------------------------------------------------


def test_no_batch_is_lost_or_done_twice_by_parking(tmp_path: Path) -> None:
    async def main() -> None:
        training = await scripted(tmp_path)
        await training.begin()
        for _ in range(3):
            receipt = await training.child.park()
            assert receipt.before_bytes == BLOCK_BYTES
            said = len(training.losses())
            assert said == receipt.batch, "all that was done was told before"
            await training.child.unpark()
            await training.more()
        await training.give_up()
        value, expected = 1, []
        for _ in training.losses():
            value = next_value(value)
            expected.append(value / MODULUS)
        assert training.losses() == expected
        await end(training)

    run(main())


def test_work_that_ends_instead_of_being_parked_has_nothing_to_park(tmp_path: Path) -> None:
    async def main() -> None:
        training = await scripted(tmp_path, TrainBehaviour.ENDS_INSTEAD)
        await training.begin()
        with pytest.raises(NothingToPark, match="ended before it was parked"):
            await training.child.park()
        assert training.working is not None
        assert isinstance(await training.working, Trained)
        await end(training)

    run(main())


@pytest.mark.parametrize(
    ("behaviour", "parks"),
    [(TrainBehaviour.DIES_WHILE_PARKING, False), (TrainBehaviour.DIES_COMING_BACK, True)],
)
def test_a_death_on_the_way_is_told_to_whoever_asked_and_to_whoever_works(
    behaviour: TrainBehaviour, parks: bool, tmp_path: Path
) -> None:
    async def main() -> None:
        training = await scripted(tmp_path, behaviour)
        await training.begin()
        if parks:
            await training.child.park()
        with pytest.raises(ChildFailed) as failed:
            await (training.child.unpark() if parks else training.child.park())
        assert failed.value.code == "child.killed"
        assert "while it trained" in failed.value.message
        assert training.working is not None
        with pytest.raises(ChildFailed) as at_work:
            await training.working
        assert at_work.value.failure == failed.value.failure
        await end(training)

    run(main())
