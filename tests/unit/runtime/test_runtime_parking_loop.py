# SPDX-License-Identifier: Apache-2.0
"""The loop parks trainings and brings them back: with fakes that do it when the test says so."""

import asyncio
from functools import partial
from typing import Any

from tests.unit.runtime.bench import Bench, bench, outcome, run, until
from tests.unit.runtime.machine import plan_of

from inglenook.base.ids import ModelId
from inglenook.base.work import WorkClass
from inglenook.runtime.contracts import (
    ChildFailed,
    Failure,
    Lease,
    LeaseChange,
    ResidentState,
)
from inglenook.runtime.scheduler.policy import Rules
from inglenook.testing.engines import FakeChild, FakeEngine, FakeTraining

RULES = Rules(training_slice_s=30.0, patience_s=5.0, idle_unload_s=None)
TRAINING = plan_of("run", 8, parkable=True)
CHAT = plan_of("chat", 5)


async def training(b: Bench) -> Lease:
    asking = b.ask(TRAINING, person="tess", work_class=WorkClass.TRAINING)
    await b.settled()
    b.engine.of("run").load()
    return await asking


def news(lease: Lease) -> list[LeaseChange]:
    found = []
    while not lease.changes.empty():
        found.append(lease.changes.get_nowait())
    return found


def resident(b: Bench, model: str) -> dict[str, Any]:
    return next(found for found in b.state()["residents"] if found["model"] == model)


def is_parked(b: Bench) -> bool:
    return b.models().get("run") == "parked"


def test_a_training_is_parked_and_comes_back_and_its_holder_is_told() -> None:
    async def main() -> None:
        async with bench(rules=RULES) as b:
            lease = await training(b)
            await b.advance(200.0)
            asking = b.ask(CHAT, person="ann")
            await b.settled()
            run_child = b.engine.training("run")
            assert run_child.told == ["park"]
            assert b.models() == {"run": "parking"}
            assert "is being parked" in b.queue()[0]["reason"]["text"]
            (change,) = news(lease)
            assert change.state is ResidentState.PARKING
            assert change.holders == ("work for ann",)
            run_child.free(after_bytes=1)
            await until(lambda: b.models().get("chat") == "starting")
            await b.settled()
            (change,) = news(lease)
            assert change.state is ResidentState.PARKED
            assert change.receipt is not None
            assert (change.receipt.epoch, change.receipt.batch, change.receipt.after_bytes) == (3, 41, 1)
            assert change.text.startswith("parked for work for ann")
            assert "at the latest" in change.text
            b.engine.of("chat").load()
            chat = await asking
            shown = resident(b, "run")
            assert shown["state"] == "parked"
            assert shown["reserved_bytes"] == 1
            assert shown["parking"]["host_bytes"] == 7
            assert shown["parking"]["whole_bytes"] == 8
            assert shown["parking"]["back_s"] == 120.0
            assert lease.id in shown["leases"]
            chat.release()
            await b.settled()
            await b.advance(30.0)
            assert run_child.told == ["park", "unpark"]
            assert b.state()["devices"][0]["reserved_bytes"] == 8, "in full before it is back"
            run_child.come_back()
            await until(lambda: b.models() == {"run": "ready"})
            assert [change.state for change in news(lease)] == [ResidentState.RESUMING, ResidentState.READY]
            what = [note["what"] for note in reversed(b.state()["recent"]) if note["model"] == "run"]
            assert what == ["loading", "ready", "parking", "parked", "resuming", "resumed"]
            lease.release()
            await b.settled()

    run(main())


def test_the_memory_that_counts_is_what_was_measured() -> None:
    async def main() -> None:
        async with bench(rules=RULES) as b:
            await training(b)
            child = b.engine.of("run")
            b.probe.held[child.pid] = 4
            b.ask(CHAT)
            await b.settled()
            b.engine.training("run").free(after_bytes=0)
            await until(lambda: b.models().get("chat") == "starting")
            assert resident(b, "run")["reserved_bytes"] == 4

    run(main())


def test_one_that_has_nothing_to_park_goes_on() -> None:
    async def main() -> None:
        async with bench(rules=RULES) as b:
            lease = await training(b)
            asking = b.ask(CHAT)
            await b.settled()
            b.engine.training("run").nothing()
            await until(lambda: b.models() == {"run": "ready"})
            assert [change.state for change in news(lease)][-1] is ResidentState.READY
            lease.release()  # it had just ended
            await b.settled()
            await until(lambda: "chat" in b.models())
            b.engine.of("chat").load()
            (await asking).release()

    run(main())


def test_one_that_does_not_park_in_time_is_ended_and_the_reason_is_told() -> None:
    async def main() -> None:
        async with bench(rules=RULES, park_grace_s=0.01) as b:
            lease = await training(b)
            asking = b.ask(CHAT)
            await until(lambda: b.engine.of("run").is_gone)
            await until(lambda: b.engine.started() == ["run", "chat"])
            failed = news(lease)[-1]
            assert failed.state is ResidentState.FAILED
            assert failed.failure is not None
            assert failed.failure.code == "child.not_parked"
            assert "run did not free cuda:0 within" in failed.failure.message
            assert b.scheduler.failure(ModelId("run")) == failed.failure
            b.engine.of("chat").load()
            (await asking).release()
            lease.release()

    run(main())


def test_one_that_fails_to_come_back_is_ended_and_the_reason_is_told() -> None:
    async def main() -> None:
        async with bench(rules=RULES) as b:
            lease = await training(b)
            asking = b.ask(CHAT)
            await b.settled()
            child = b.engine.training("run")
            child.free()
            await b.settled()
            await until(lambda: b.engine.started() == ["run", "chat"])
            b.engine.of("chat").load()
            (await asking).release()
            await b.settled()
            await b.advance(30.0)
            await until(lambda: child.told[-1] == "unpark")
            child.cannot(ChildFailed(Failure("train.out_of_memory", "there was no room any more")))
            await until(lambda: child.is_gone)
            await until(lambda: "run" not in b.models())
            assert news(lease)[-1].failure == Failure("train.out_of_memory", "there was no room any more")
            lease.release()

    run(main())


def test_a_mistake_while_parking_ends_the_child_and_gives_the_memory_back() -> None:
    async def main() -> None:
        async with bench(rules=RULES) as b:
            lease = await training(b)
            b.ask(CHAT)
            await b.settled()
            b.engine.training("run").cannot(ValueError("what?"))
            await until(lambda: b.models().get("chat") == "starting")
            failure = news(lease)[-1].failure
            assert failure is not None
            assert "ValueError: what?" in failure.message
            lease.release()

    run(main())


def test_one_that_dies_while_it_is_parked_gives_back_what_it_held() -> None:
    async def main() -> None:
        async with bench(rules=RULES) as b:
            lease = await training(b)
            b.ask(CHAT)
            await b.settled()
            child = b.engine.training("run")
            child.free(after_bytes=2)
            await until(lambda: b.models().get("run") == "parked")
            child.crash(Failure("child.killed", "it was ended by signal 9"))
            await until(lambda: "run" not in b.models())
            assert b.state()["devices"][0]["reserved_bytes"] == 5
            assert child.discarded == 0, "its holder may still want what it wrote"
            lease.release()
            await until(lambda: child.discarded == 1)

    run(main())


def test_giving_the_lease_back_while_it_is_parked_ends_the_child() -> None:
    async def main() -> None:
        async with bench(rules=RULES) as b:
            lease = await training(b)
            b.ask(CHAT)
            await b.settled()
            child = b.engine.training("run")
            child.free()
            await until(lambda: b.models().get("run") == "parked")
            lease.release()
            await until(lambda: child.is_gone)

    run(main())


def test_giving_the_lease_back_while_it_is_being_parked_is_heard_after_that() -> None:
    async def main() -> None:
        async with bench(rules=RULES) as b:
            lease = await training(b)
            b.ask(CHAT)
            await b.settled()
            lease.release()
            await b.settled()
            assert b.models()["run"] == "parking"
            b.engine.training("run").free()
            await until(lambda: b.engine.of("run").is_gone)

    run(main())


def test_closing_ends_what_is_parked_and_what_is_being_parked() -> None:
    async def main() -> None:
        for freed in (True, False):
            async with bench(rules=RULES) as b:
                await training(b)
                asking = b.ask(CHAT)
                await b.settled()
                if freed:
                    b.engine.training("run").free()
                    await b.settled()
                    await until(partial(is_parked, b))
                await b.scheduler.close()
                assert isinstance(await outcome(asking), Exception)

    run(main())


def test_a_child_that_cannot_park_is_left_alone_whatever_its_plan_says() -> None:
    class Stubborn(FakeChild):
        """It has no `park`."""

    async def main() -> None:
        engine = FakeEngine(child=Stubborn)
        async with bench(rules=RULES, engines={"fake": engine}) as b:
            b.engine = engine
            lease = await training(b)
            b.ask(CHAT)
            await b.settled()
            await b.advance(100.0)
            assert b.models() == {"run": "ready"}
            assert not isinstance(b.engine.of("run"), FakeTraining)
            assert "cannot park" in news(lease)[-1].text
            assert b.queue()[0]["reason"]["kind"] == "memory"

    run(main())


def test_work_that_is_no_training_is_never_told_anything() -> None:
    async def main() -> None:
        async with bench(rules=RULES) as b:
            lease = await b.leased(plan_of("picture", 8, parkable=True))
            b.ask(CHAT)
            await b.advance(100.0)
            assert lease.changes.empty()
            assert b.models() == {"picture": "ready"}
            lease.release()
            await asyncio.sleep(0)

    run(main())
