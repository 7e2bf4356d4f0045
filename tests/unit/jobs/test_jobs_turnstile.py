# SPDX-License-Identifier: Apache-2.0
"""One at a time, and people in turn."""

import asyncio

import pytest

from inglenook.base.cancel import StopReason, StopToken
from inglenook.base.errors import Cancelled, Unavailable
from inglenook.base.ids import PersonId
from inglenook.jobs.turnstile import Turnstile

pytestmark = pytest.mark.anyio

ANN, BEN = PersonId("ann"), PersonId("ben")


class Bench:
    def __init__(self) -> None:
        self.turnstile = Turnstile(what="The work", code="work")
        self.order: list[str] = []
        self.inside = 0
        self.gate = asyncio.Event()

    async def pass_through(self, name: str, person: PersonId, stop: StopToken) -> None:
        async with self.turnstile.turn(person, stop):
            self.inside += 1
            assert self.inside == 1
            self.order.append(name)
            try:
                await self.gate.wait()
            finally:
                self.inside -= 1

    def come(self, name: str, person: PersonId, stop: StopToken | None = None) -> "asyncio.Task[None]":
        return asyncio.create_task(self.pass_through(name, person, StopToken() if stop is None else stop))


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_people_take_turns_each_with_their_own_in_order() -> None:
    bench = Bench()
    tasks = [bench.come("first", ANN)]
    await settled()
    tasks += [bench.come(f"ann {n}", ANN) for n in (1, 2, 3)]
    tasks += [bench.come(f"ben {n}", BEN) for n in (1, 2)]
    await settled()
    assert len(bench.turnstile) == 5
    bench.gate.set()
    await asyncio.gather(*tasks)
    assert bench.order == ["first", "ann 1", "ben 1", "ann 2", "ben 2", "ann 3"]


async def test_who_stops_while_waiting_is_not_let_in_and_holds_up_nobody() -> None:
    bench, stop = Bench(), StopToken()
    first = bench.come("first", ANN)
    await settled()
    waiting, last = bench.come("waiting", ANN, stop), bench.come("last", BEN)
    await settled()
    stop.stop(StopReason.CANCELLED)
    with pytest.raises(Cancelled) as caught:
        await waiting
    assert caught.value.code == "work.cancelled"
    bench.gate.set()
    await asyncio.gather(first, last)
    assert bench.order == ["first", "last"]


async def test_a_token_that_is_set_already_lets_nobody_in() -> None:
    stop = StopToken()
    stop.stop(StopReason.CLIENT_GONE)
    with pytest.raises(Cancelled):
        await Bench().come("late", ANN, stop)


async def test_a_task_that_is_cancelled_in_the_moment_of_its_turn_passes_it_on() -> None:
    bench = Bench()
    first = bench.come("first", ANN)
    await settled()
    second, third = bench.come("second", ANN), bench.come("third", BEN)
    await settled()
    bench.gate.set()
    first.add_done_callback(lambda _: second.cancel())
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await asyncio.wait([second, third])
    assert bench.order[-1] == "third"
    assert len(bench.turnstile) == 0


async def test_an_error_behind_it_lets_the_next_one_through() -> None:
    turnstile = Turnstile(what="The work", code="work")
    with pytest.raises(ZeroDivisionError):
        async with turnstile.turn(ANN, StopToken()):
            raise ZeroDivisionError
    async with turnstile.turn(BEN, StopToken()):
        pass


async def test_closing_turns_away_who_waits_and_who_comes() -> None:
    bench = Bench()
    first = bench.come("first", ANN)
    await settled()
    waiting = bench.come("waiting", BEN)
    await settled()
    bench.turnstile.close()
    for task in (waiting, bench.come("late", BEN)):
        with pytest.raises(Unavailable) as caught:
            await task
        assert caught.value.code == "work.stopping"
    bench.gate.set()
    await first
