# SPDX-License-Identifier: Apache-2.0
"""The scheduler alone, with fake engines: how many decisions a second while 1,000 requests wait.

`python -m benchmarks.scheduler` prints one JSON object. Two figures for each shape of the queue: the pure
policy (decide, and write it in the book), and the whole loop (submit, decide, grant, answer, release).
Medians over several runs, in CPU seconds, so that a busy machine does not blur them.
"""

import asyncio
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from inglenook.base.cancel import StopToken
from inglenook.base.ids import LeaseId, ModelId, PersonId, RequestId, ResidentId
from inglenook.base.work import WorkClass
from inglenook.runtime.contracts import LoadPlan, Request, ResidentState
from inglenook.runtime.scheduler.ledger import Ledger
from inglenook.runtime.scheduler.loop import Scheduler
from inglenook.runtime.scheduler.policy import Evict, Rules, Serve, Start, decide, explain_all
from inglenook.testing.clock import FakeClock
from inglenook.testing.devices import FakeBook, FakeProbe, fake_device
from inglenook.testing.engines import FakeEngine

WAITING = 1000
DECISIONS = 1000
RUNS = 5
DEVICES = (fake_device("cuda:0", 24), fake_device("cuda:1", 24))
RULES = Rules(patience_s=1.0)


@dataclass(frozen=True, slots=True)
class Shape:
    """Who waits for what. Each device holds three models."""

    people: int
    models: int

    def plan(self, number: int) -> LoadPlan:
        return LoadPlan(ModelId(f"model{number % self.models}"), "fake", {"cuda": 8}, load_s=0.5)

    def person(self, number: int) -> PersonId:
        return PersonId(f"person{number % self.people}")


SHAPES = {
    "one model, one person": Shape(people=1, models=1),
    "one model, 50 people": Shape(people=50, models=1),
    "20 models, 50 people": Shape(people=50, models=20),
    "20 models, 1,000 people": Shape(people=1000, models=20),
}


def main() -> None:
    print(json.dumps(measure(), indent=1))


def measure() -> dict[str, Any]:
    return {
        "waiting": WAITING,
        "runs": RUNS,
        "shapes": {
            name: {
                "policy_decisions_per_s": round(_median(_policy_rate, shape)),
                "loop_decisions_per_s": round(_median(lambda s: asyncio.run(_loop_rate(s)), shape)),
                "explain_all_ms": round(_median(_explain_ms, shape), 2),
            }
            for name, shape in SHAPES.items()
        },
    }


def _median(once: Callable[[Shape], float], shape: Shape) -> float:
    return statistics.median(once(shape) for _ in range(RUNS))


class _Bench:
    """The ledger and the policy, with a world in which loading takes no time and work takes one round."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._numbers = count()
        self.ledger = Ledger(DEVICES)
        self.now_s = 0.0
        self.decisions = 0
        self.fill()

    def fill(self) -> None:
        while len(self.ledger.waiting) < WAITING:
            number = next(self._numbers)
            self.ledger.submit(
                Request(
                    id=RequestId(f"req{number}"),
                    person=self._shape.person(number),
                    work_class=WorkClass.INTERACTIVE,
                    plan=self._shape.plan(number),
                    label="work",
                    order=number,
                    arrived_s=self.now_s,
                )
            )

    def settle(self) -> None:
        """Decide until there is nothing to decide, as the loop does."""
        while (decision := decide(self.ledger, self.now_s, RULES)) is not None:
            self.decisions += 1
            match decision:
                case Serve(request, resident):
                    lease = LeaseId(f"lease{next(self._numbers)}")
                    self.ledger.grant(request, resident, lease, self.now_s)
                case Start(request, device):
                    resident = ResidentId(f"res{next(self._numbers):09}")
                    self.ledger.begin(resident, self.ledger.waiting[request], device, self.now_s)
                case Evict(resident, reason, request):
                    self.ledger.drain(resident, reason, request)
                case _:
                    raise AssertionError(decision)

    def world(self) -> None:
        """What has been waited for happens."""
        self.now_s += 0.25
        for lease in list(self.ledger.leases):
            self.ledger.release(lease, self.now_s)
        for resident in list(self.ledger.residents.values()):
            if resident.state is ResidentState.STARTING:
                self.ledger.became_ready(resident.id, self.now_s)
            elif resident.state is ResidentState.DRAINING:
                self.ledger.gone(resident.id, self.now_s, None)


def _policy_rate(shape: Shape) -> float:
    """Decisions per CPU second, the 1,000 waiting kept full; the world's own time is not counted."""
    bench = _Bench(shape)
    spent_s = 0.0
    while bench.decisions < DECISIONS:
        began = time.process_time()
        bench.settle()
        spent_s += time.process_time() - began
        bench.world()
        bench.fill()
    return bench.decisions / spent_s


def _explain_ms(shape: Shape) -> float:
    """Explain all 1,000 once, as the queue page does."""
    bench = _Bench(shape)
    bench.settle()
    bench.world()
    bench.settle()
    began = time.process_time()
    explained = explain_all(bench.ledger, bench.now_s, RULES)
    spent_s = time.process_time() - began
    assert len(explained) == len(bench.ledger.waiting)
    return 1000 * spent_s


async def _loop_rate(shape: Shape) -> float:
    """The same through the whole loop: 1,000 tasks that acquire and release over and over."""
    engine, clock = FakeEngine(auto=True), FakeClock()
    scheduler = Scheduler(
        engines={engine.name: engine},
        ledger=Ledger(DEVICES),
        rules=RULES,
        clock=clock,
        probe=FakeProbe(DEVICES),
        book=FakeBook(),
        stop_grace_s=1.0,
    )
    loop = asyncio.create_task(scheduler.run())
    done = asyncio.Event()

    async def client(number: int) -> None:
        while not done.is_set():
            request = scheduler.request(
                person=shape.person(number),
                work_class=WorkClass.INTERACTIVE,
                plan=shape.plan(number),
                label="work",
            )
            lease = await scheduler.acquire(request, StopToken())
            clock.advance(0.001)
            lease.release()

    clients = [asyncio.create_task(client(number)) for number in range(WAITING)]
    await _carried_out(scheduler, DECISIONS // 10)  # by then all have come in
    before, began = scheduler.decisions, time.process_time()
    await _carried_out(scheduler, before + DECISIONS)
    rate = (scheduler.decisions - before) / (time.process_time() - began)
    done.set()
    for task in clients:
        task.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    await scheduler.close()
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    return rate


async def _carried_out(scheduler: Scheduler, decisions: int) -> None:
    while scheduler.decisions < decisions:  # noqa: ASYNC110 - the scheduler counts, it does not tell
        await asyncio.sleep(0)


if __name__ == "__main__":
    main()
