# SPDX-License-Identifier: Apache-2.0
"""The loop: requests, leases, children and their ends, with a clock that stands still and no processes."""

import asyncio
import logging

import pytest
from tests.unit.runtime.bench import Bench, bench, outcome, run, until
from tests.unit.runtime.machine import CRASHED, plan_of

from inglenook.base.cancel import StopReason, StopToken
from inglenook.base.errors import Invalid, Unavailable
from inglenook.base.ids import ModelId, ResidentId
from inglenook.base.work import WorkClass
from inglenook.runtime.contracts import ChildFailed, FootprintKey, LoadPlan
from inglenook.runtime.scheduler.loop import LeaseStopped
from inglenook.runtime.scheduler.policy import Rules
from inglenook.testing.devices import FakeBook, fake_device
from inglenook.testing.engines import FakeEngine, failed_to_load, out_of_memory

A, B, C = plan_of("a", 6), plan_of("b", 6), plan_of("c", 3)


# -- leases ---------------------------------------------------------------------------------------------


def test_a_lease_names_the_child_the_device_and_what_is_reserved() -> None:
    async def main() -> None:
        async with bench() as b:
            asking = b.ask(A)
            await b.settled()
            b.clock.advance(3.0)
            b.engine.of("a").load()
            lease = await asking
            assert lease.child is b.engine.of("a")
            assert lease.device.id == "cuda:0"
            assert lease.reserved_bytes == 6
            assert lease.waited_s == 3.0
            assert b.state()["leases"][0]["work"] == "work for owner"
            lease.release()
            lease.release()
            await b.settled()
            assert b.state()["leases"] == []
            assert b.models() == {"a": "ready"}

    run(main())


def test_fifty_first_requests_at_once_start_one_child() -> None:
    async def main() -> None:
        async with bench() as b:
            asking = [b.ask(A, person=f"person{n}") for n in range(50)]
            await b.settled()
            b.engine.of("a").load()
            for waiting in asking:
                (await waiting).release()
            assert b.engine.started() == ["a"]

    run(main())


def test_an_engine_that_is_not_here_is_named() -> None:
    async def main() -> None:
        async with bench() as b:
            with pytest.raises(Invalid, match="'llamacpp' is not installed; there are: fake"):
                b.request(plan_of("a", 1, engine="llamacpp"))

    run(main())


def test_what_can_never_fit_is_refused_with_both_numbers() -> None:
    async def main() -> None:
        async with bench() as b:
            with pytest.raises(Invalid) as refused:
                await b.ask(plan_of("huge", 11))
            assert refused.value.code == "model.too_large"
            assert "11 B" in refused.value.message
            assert "10 B" in refused.value.message

    run(main())


def test_two_engines_share_one_device() -> None:
    async def main() -> None:
        chat, pictures = FakeEngine(name="chat"), FakeEngine(name="pictures", auto=True)
        async with bench(engines={"chat": chat, "pictures": pictures}) as b:
            first = b.ask(plan_of("a", 6, engine="chat"))
            await b.settled()
            chat.of("a").load()
            lease = await first
            second = b.ask(plan_of("a", 6, engine="pictures"))
            await b.settled()
            assert b.queue()[0]["reason"]["kind"] == "memory"
            lease.release()
            await second
            assert chat.living == []
            assert len(pictures.living) == 1

    run(main())


# -- leaving the queue ----------------------------------------------------------------------------------


def test_a_caller_that_is_cancelled_before_the_loop_has_seen_it_leaves_no_trace() -> None:
    """Deterministic because the loop does not run yet: the request lies in its inbox."""

    async def main() -> None:
        made = Bench([fake_device("cuda:0", 10)], rules=Rules(), engines=None, book=None)
        asking = made.ask(A)
        await made.settled()
        asking.cancel()
        await outcome(asking)
        loop = asyncio.create_task(made.scheduler.run())
        await made.settled()
        assert made.engine.started() == []
        assert made.queue() == []
        await made.scheduler.close()
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)

    run(main())


def test_a_caller_that_is_cancelled_while_the_model_loads_leaves_at_once() -> None:
    async def main() -> None:
        async with bench() as b:
            asking = b.ask(A)
            await b.settled()
            asking.cancel()
            await b.settled()
            assert b.queue() == []
            b.engine.of("a").load()
            await b.settled()
            assert b.models() == {"a": "ready"}
            assert b.state()["leases"] == []

    run(main())


def test_a_caller_that_is_cancelled_in_the_very_tick_of_the_grant_gives_the_lease_back() -> None:
    """The grant is made deterministic: the caller is cancelled as soon as the book shows the lease, before
    its task has run again."""

    async def main() -> None:
        async with bench() as b:
            asking = b.ask(A)
            await b.settled()
            b.engine.of("a").load()
            while not b.state()["leases"]:
                await asyncio.sleep(0)
            assert not asking.done()
            asking.cancel()
            assert isinstance(await outcome(asking), asyncio.CancelledError)
            await b.settled()
            assert b.state()["leases"] == []
            (await b.ask(A)).release()

    run(main())


def test_a_stop_in_the_very_tick_of_the_grant_gives_the_lease_back() -> None:
    async def main() -> None:
        async with bench() as b:
            asking = b.ask(A)
            await b.settled()
            b.engine.of("a").load()
            while not b.state()["leases"]:
                await asyncio.sleep(0)
            b.stops[asking.get_name()].stop(StopReason.CANCELLED)
            assert isinstance(await outcome(asking), LeaseStopped)
            await b.settled()
            assert b.state()["leases"] == []

    run(main())


def test_a_stop_token_ends_the_wait_with_its_reason() -> None:
    async def main() -> None:
        async with bench() as b:
            asking = b.ask(A)
            await b.settled()
            b.stops[asking.get_name()].stop(StopReason.CLIENT_GONE)
            with pytest.raises(LeaseStopped) as stopped:
                await asking
            assert stopped.value.reason is StopReason.CLIENT_GONE
            await b.settled()
            assert b.queue() == []

    run(main())


def test_a_token_that_was_set_before_is_never_served() -> None:
    async def main() -> None:
        async with bench() as b:
            stop = StopToken()
            stop.stop(StopReason.CANCELLED)
            with pytest.raises(LeaseStopped):
                await b.scheduler.acquire(b.request(A), stop)
            await b.settled()
            assert b.queue() == []

    run(main())


def test_a_thousand_waiting_clients_that_leave_are_gone_and_the_others_are_served() -> None:
    async def main() -> None:
        async with bench() as b:
            asking = [b.ask(A, person=f"person{n % 50}") for n in range(1000)]
            await b.settled()
            assert len(b.queue()) == 1000
            for waiting in asking[::2]:
                waiting.cancel()
            await b.settled()
            assert len(b.queue()) == 500
            b.engine.of("a").load()
            for waiting in asking[1::2][:40]:
                (await waiting).release()

    run(main())


# -- children that end ----------------------------------------------------------------------------------


def test_a_crash_while_leased_frees_the_model_and_the_next_request_is_served_after_the_pause() -> None:
    async def main() -> None:
        async with bench() as b:
            lease = await b.leased(A)
            waiting = b.ask(A, person="bob")
            await b.settled()
            b.engine.of("a").crash(CRASHED)
            await b.settled()
            lease.release()
            assert b.queue()[0]["reason"]["kind"] == "backoff"
            await b.advance(1.0)
            b.engine.of("a").load()
            assert (await waiting).child is b.engine.children[1]

    run(main())


def test_a_lease_that_comes_back_from_a_dying_child_is_not_given_to_the_next() -> None:
    """Whoever works with a child sees its end first. Between the release of that lease and the news of the
    end, the child is in the book as ready: it must not be handed out."""

    async def main() -> None:
        async with bench() as b:
            lease = await b.leased(A)
            waiting = b.ask(A, person="bob")
            await b.settled()
            dying = b.engine.of("a")
            dying.begin_to_die(CRASHED)
            lease.release()
            await b.settled()
            assert not waiting.done()
            assert b.models() == {"a": "draining"}
            dying.let_go()
            await b.settled()
            await b.advance(1.0)
            b.engine.of("a").load()
            assert (await waiting).child is not dying

    run(main())


def test_what_a_dead_child_has_left_is_kept_until_its_last_lease_is_back() -> None:
    async def main() -> None:
        async with bench() as b:
            plan = plan_of("a", 6, capacity=2)
            first, second = await b.leased(plan), await b.leased(plan)
            child = b.engine.of("a")
            child.crash(CRASHED)
            await b.settled()
            assert child.discarded == 0
            first.release()
            await b.settled()
            assert child.discarded == 0
            second.release()
            await b.settled()
            assert child.discarded == 1

    run(main())


def test_a_child_that_cannot_be_started_fails_those_who_wait_and_leaves_nothing() -> None:
    async def main() -> None:
        async with bench() as b:
            asking = [b.ask(A, person=p) for p in ("ann", "bob")]
            await b.settled()
            b.engine.of("a").fail(failed_to_load("it ended with status 3"))
            for waiting in asking:
                with pytest.raises(ChildFailed, match="status 3"):
                    await waiting
            await b.settled()
            assert b.engine.of("a").discarded == 1
            assert b.models() == {}

    run(main())


def test_an_engine_that_cannot_even_begin_fails_the_request_and_not_the_scheduler() -> None:
    async def main() -> None:
        async with bench() as b:
            b.engine.broken = ChildFailed(failed_to_load("the program is missing"))
            with pytest.raises(ChildFailed, match="program is missing"):
                await b.ask(A)
            await b.advance(1.0)
            (await b.leased(A)).release()

    run(main())


@pytest.mark.parametrize("error", [KeyError("path"), OSError("disk full"), RuntimeError("a mistake")])
def test_a_mistake_in_an_engine_fails_the_request_and_gives_its_memory_back(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with bench() as b:
            b.engine.broken = error
            with pytest.raises(ChildFailed, match=type(error).__name__):
                await b.ask(A)
            await b.settled()
            assert b.state()["devices"][0]["reserved_bytes"] == 0
            assert b.models() == {}

    with caplog.at_level(logging.ERROR):
        run(main())
    assert "has a mistake" in caplog.text


def test_a_mistake_while_a_child_gets_ready_ends_that_child() -> None:
    async def main() -> None:
        async with bench() as b:
            asking = b.ask(A)
            await b.settled()
            child = b.engine.of("a")
            child.mistake(ValueError("nobody foresaw it"))
            with pytest.raises(ChildFailed, match="nobody foresaw it"):
                await asking
            await b.settled()
            assert child.is_gone

    run(main())


def test_out_of_memory_at_load_evicts_the_idle_tries_again_and_then_fails_with_both_numbers() -> None:
    async def main() -> None:
        async with bench(fake_device("cuda:0", 20, total_bytes=24)) as b:
            (await b.leased(C)).release()
            asking = b.ask(plan_of("big", 8))
            await b.settled()
            b.engine.of("big").fail(out_of_memory())
            await b.settled()
            assert b.engine.of("c").is_gone, "everything idle was to be unloaded first"
            assert b.engine.started() == ["c", "big", "big"]
            assert b.state()["devices"][0]["reserved_bytes"] == 10
            b.engine.of("big").fail(out_of_memory())
            with pytest.raises(ChildFailed) as failed:
                await asking
            assert failed.value.code == "model.too_large"
            for number in ("10 B reserved", "24 B", "20 B"):
                assert number in failed.value.message
            assert failed.value.failure.out_of_memory is not None

    run(main())


def test_a_death_while_draining_counts_and_the_next_is_started() -> None:
    async def main() -> None:
        async with bench() as b:
            (await b.leased(A)).release()
            child = b.engine.of("a")
            child.stubborn = True
            asking = b.ask(B)
            await b.settled()
            assert b.models() == {"a": "draining"}
            assert b.engine.started() == ["a"], "its memory counts until it is gone"
            child.let_go()
            await b.settled()
            b.engine.of("b").load()
            await asking

    run(main())


# -- eviction and unloading -----------------------------------------------------------------------------


def test_a_model_that_is_being_loaded_is_not_evicted_for_another() -> None:
    async def main() -> None:
        async with bench() as b:
            first = b.ask(A)
            await b.settled()
            second = b.ask(B, person="bob")
            await b.advance(60.0)
            assert b.engine.started() == ["a"]
            assert not b.engine.of("a").asked_to_stop
            reason = b.queue()[1]["reason"]
            assert reason["kind"] == "memory"
            assert reason["holders"] == ("a (being loaded)",)
            b.engine.of("a").load()
            (await first).release()
            await b.settled()
            b.engine.of("b").load()
            await second

    run(main())


def test_an_idle_model_is_unloaded_on_request_and_one_at_work_is_not() -> None:
    async def main() -> None:
        async with bench() as b:
            lease = await b.leased(A)
            assert not await b.scheduler.unload(lease.resident)
            lease.release()
            assert await b.scheduler.unload(lease.resident)
            await b.settled()
            assert b.models() == {}
            assert not await b.scheduler.unload(ResidentId("nobody"))

    run(main())


def test_somebody_who_asks_to_unload_and_goes_away_does_no_harm() -> None:
    async def main() -> None:
        async with bench() as b:
            lease = await b.leased(A)
            lease.release()
            await b.settled()
            asking = asyncio.create_task(b.scheduler.unload(lease.resident))
            await asyncio.sleep(0)
            asking.cancel()
            await b.settled()
            assert b.scheduler.alive
            (await b.leased(A)).release()

    run(main())


def test_an_idle_model_goes_after_its_time() -> None:
    async def main() -> None:
        async with bench(rules=Rules(idle_unload_s=100.0)) as b:
            (await b.leased(A)).release()
            await b.settled()
            await b.advance(99.0)
            assert b.models() == {"a": "ready"}
            await b.advance(1.0)
            assert b.models() == {}

    run(main())


# -- closing --------------------------------------------------------------------------------------------


def test_closing_refuses_what_waits_and_what_comes_and_ends_every_child() -> None:
    async def main() -> None:
        async with bench() as b:
            await b.leased(C)
            loading = b.ask(A)
            waiting = b.ask(B, person="bob")
            await b.settled()
            await b.scheduler.close()
            for refused in (loading, waiting, b.ask(A)):
                with pytest.raises(Unavailable, match="stopping"):
                    await refused
            assert b.engine.living == []
            assert not await b.scheduler.unload(ResidentId("nobody"))

    run(main())


def test_a_request_that_nobody_has_looked_at_when_the_server_closes_is_refused() -> None:
    async def main() -> None:
        async with bench() as b:
            asking = b.ask(A)
            await asyncio.sleep(0)
            await b.scheduler.close()
            with pytest.raises(Unavailable):
                await asking
            assert b.engine.started() == []

    run(main())


def test_closing_while_a_child_is_being_started_waits_for_it_and_ends_it() -> None:
    async def main() -> None:
        async with bench() as b:
            b.engine.gate = asyncio.Event()
            asking = b.ask(A)
            await b.settled()
            closing = asyncio.create_task(b.scheduler.close())
            await b.settled()
            assert not closing.done()
            b.engine.gate.set()
            await asyncio.wait_for(closing, 10.0)  # it is not left to the last time limit of `close`
            assert b.engine.started() == ["a"]
            assert b.engine.living == []
            assert isinstance(await outcome(asking), Unavailable)

    run(main())


def test_closing_works_also_after_the_loop_has_ended() -> None:
    async def main() -> None:
        made = Bench([fake_device("cuda:0", 10)], rules=Rules(), engines=None, book=None)
        loop = asyncio.create_task(made.scheduler.run())
        await made.leased(C)
        late = made.ask(A)
        await asyncio.sleep(0)
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
        await made.scheduler.close()
        assert isinstance(await outcome(late), Unavailable)
        assert made.engine.living == []

    run(main())


# -- what is learned ------------------------------------------------------------------------------------


def key(model: str) -> FootprintKey:
    return FootprintKey("fake", ModelId(model), "cuda", 0)


def test_a_measurement_makes_the_reservation_grow_and_is_kept_when_the_server_closes() -> None:
    async def main() -> FakeBook:
        book = FakeBook()
        async with bench(book=book) as b:
            asking = b.ask(A)
            await b.settled()
            b.clock.advance(2.5)
            b.engine.of("a").load()
            lease = await asking
            b.probe.held[b.engine.of("a").pid] = 8
            b.clock.advance(1.0)
            b.scheduler.tick()
            await until(lambda: b.state()["devices"][0]["reserved_bytes"] == 8)
            assert await b.scheduler.used_bytes(lease) == 8
        return book

    book = run(main())
    assert book.rows == {key("a"): (8, 2.5)}


def test_what_was_learned_in_an_earlier_run_is_reserved_and_expected() -> None:
    async def main() -> None:
        async with bench(book=FakeBook({key("a"): (9, 7.0)})) as b:
            b.ask(A)
            await b.settled()
            resident = b.state()["residents"][0]
            assert resident["reserved_bytes"] == 9
            assert resident["expected_load_s"] == 7.0

    run(main())


def test_the_book_forgets_slowly_too() -> None:
    async def main() -> FakeBook:
        book = FakeBook({key("a"): (10, 1.0)})
        async with bench(book=book) as b:
            lease = await b.leased(A)
            b.probe.held[b.engine.of("a").pid] = 2
            b.clock.advance(1.0)
            b.scheduler.tick()
            await until(lambda: b.state()["residents"][0]["measured_bytes"] == 2)
            lease.release()
        return book

    assert run(main()).rows[key("a")][0] == 9


def test_a_probe_that_fails_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with bench() as b:
            b.probe.broken = OSError("the driver is gone")
            (await b.leased(A)).release()
            await b.advance(5.0)
            await until(lambda: "the driver is gone" in caplog.text)
            (await b.leased(A)).release()

    with caplog.at_level(logging.ERROR):
        run(main())


# -- explanations ---------------------------------------------------------------------------------------


def test_everybody_who_waits_is_told_a_place_a_reason_and_an_estimate_with_its_error() -> None:
    async def main() -> None:
        async with bench() as b:
            lease = await b.leased(A)
            await b.advance(10.0)
            lease.release()
            lease = await b.leased(A)
            waiting = [b.ask(A, person=p) for p in ("ann", "bob")]
            await b.settled()
            estimates = [entry["estimate_s"] for entry in b.queue()]
            assert estimates == [10.0, 20.0]
            await b.advance(14.0)
            lease.release()
            (await waiting[0]).release()
            last = await waiting[1]
            b.ask(A)
            await b.settled()
            # Told 1 s to load and it took none; told 10 s, waited 14; told 20 s, waited 14. Who was served at
            # once was told nothing.
            expected = 1.0
            for error in (4.0, 6.0):
                expected = 0.7 * expected + 0.3 * error
            assert b.queue()[0]["estimate_error_s"] == pytest.approx(expected)
            last.release()
            await b.settled()

    run(main())


def test_who_does_not_wait_has_no_explanation() -> None:
    async def main() -> None:
        async with bench() as b:
            lease = await b.leased(A)
            assert b.scheduler.explain(lease.request.id) is None

    run(main())


def test_the_snapshot_tells_who_has_what_and_who_waits_for_it() -> None:
    async def main() -> None:
        async with bench() as b:
            await b.leased(A, person="ann")
            b.engine.of("a").print("loaded")
            b.ask(B, person="bob", work_class=WorkClass.BATCH)
            await b.settled()
            state = b.state()
            (resident,) = state["residents"]
            assert (resident["model"], resident["state"], resident["log"]) == ("a", "ready", ["loaded"])
            assert resident["leases"] == [state["leases"][0]["id"]]
            (waiting,) = state["queue"]
            assert (waiting["person"], waiting["class"], waiting["position"]) == ("bob", "batch", 1)
            assert waiting["reason"]["holders"] == ("work for ann",)
            assert waiting["reason"]["needed_bytes"] == 6
            assert waiting["reason"]["free_bytes"] == 4

    run(main())


def test_the_same_plan_with_other_options_shares_a_child() -> None:
    """Model and engine name a resident; the rest of a plan says how large the work is."""

    async def main() -> None:
        async with bench() as b:
            (await b.leased(A)).release()
            other = LoadPlan(model=A.model, engine=A.engine, footprint_bytes={"cuda": 5})
            (await b.ask(other)).release()
            assert b.engine.started() == ["a"]

    run(main())


def test_what_was_decided_lately_is_told_with_its_reason_the_newest_first() -> None:
    async def main() -> None:
        async with bench() as b:
            lease = await b.leased(A)
            lease.release()
            await b.settled()
            assert await b.scheduler.unload(lease.resident)
            await b.settled()
            told = b.scheduler.snapshot()["recent"]
            assert [(note["what"], note["model"]) for note in told] == [
                ("unloading", "a"),
                ("ready", "a"),
                ("loading", "a"),
            ]
            assert told[0]["reason"] == "somebody asked for it"
            assert told[2]["reason"].startswith("asked for by ")

    run(main())
