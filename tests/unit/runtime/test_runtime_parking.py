# SPDX-License-Identifier: Apache-2.0
"""Trainings step aside, and come back: each rule by hand, and what they come to in an hour."""

import math
from itertools import pairwise

import pytest
from tests.unit.runtime.machine import Machine, plan_of

from inglenook.base.ids import ModelId
from inglenook.base.work import WorkClass
from inglenook.runtime.contracts import LoadPlan, ParkReceipt, Request, ResidentState, WaitKind
from inglenook.runtime.scheduler import parking
from inglenook.runtime.scheduler.ledger import LedgerError, Resident
from inglenook.runtime.scheduler.policy import Evict, Park, Resume, Rules
from inglenook.testing.devices import fake_device

RULES = Rules(
    aging_s=600.0, patience_s=5.0, idle_unload_s=None, training_share=0.2, training_slice_s=30.0
)  # a training ages too slowly here to matter
TRAINING = plan_of("run", 8, parkable=True)


def one_gpu(rules: Rules = RULES, budget: int = 10) -> Machine:
    return Machine([fake_device("cuda:0", budget)], rules)


def at_work(machine: Machine, plan: LoadPlan = TRAINING, *, for_s: float = 1000.0) -> Resident:
    """A training that has had the device for a while."""
    machine.ask(plan, work_class=WorkClass.TRAINING, person="tess")
    training = machine.load(plan.model)
    assert training.leases
    machine.advance(for_s)
    return training


def parked(machine: Machine, by: LoadPlan, plan: LoadPlan = TRAINING) -> tuple[Resident, Request]:
    """A training that was parked for `by`, which is loaded and at work."""
    training = at_work(machine, plan)
    request = machine.ask(by)
    machine.parked(training.id)
    machine.load(by.model)
    assert request in machine.served
    assert state_of(training) is ResidentState.PARKED
    return training, request


def state_of(resident: Resident) -> ResidentState:
    """As it is now: a type checker believes that it stays as it was."""
    return resident.state


def done(machine: Machine, model: str) -> None:
    machine.release(min(machine.resident(model).leases))


@pytest.mark.parametrize("work_class", [WorkClass.INTERACTIVE, WorkClass.BATCH])
def test_a_training_is_parked_for_work_of_a_higher_class(work_class: WorkClass) -> None:
    machine = one_gpu()
    training = at_work(machine)
    lease = min(training.leases)
    request = machine.ask(plan_of("chat", 5), work_class=work_class)
    assert state_of(training) is ResidentState.PARKING
    assert machine.ledger.free_bytes(training.device) == 2, "its memory counts until it is free"
    kind, text, holders = machine.reason_of(request)
    assert kind is WaitKind.PARKING
    assert text == "work 1 for tess is being parked to make room"
    assert holders == ("work 1 for tess",)
    machine.parked(training.id)
    assert machine.ledger.reserved_bytes(training.device) == 5, "what waited has begun to load"
    machine.load("chat")
    assert request in machine.served
    assert training.leases == {lease}, "it keeps its lease"


def test_a_training_is_not_parked_for_another_training() -> None:
    machine = one_gpu()
    training = at_work(machine)
    other = machine.ask(plan_of("other", 5, parkable=True), work_class=WorkClass.TRAINING)
    machine.advance(10_000.0)  # however long it waits
    assert state_of(training) is ResidentState.READY
    assert machine.reason_of(other)[0] is WaitKind.MEMORY


def test_other_work_is_never_parked() -> None:
    machine = one_gpu()
    for plan, work_class in (
        (plan_of("picture", 8), WorkClass.TRAINING),  # it cannot be parked
        (TRAINING, WorkClass.BATCH),  # it could be, and it is no training
    ):
        machine.ask(plan, work_class=work_class)
        busy = machine.load(plan.model)
        waiting = machine.ask(plan_of("chat", 5))
        machine.advance(1000.0)
        assert state_of(busy) is ResidentState.READY
        assert machine.reason_of(waiting)[0] is WaitKind.MEMORY
        machine.withdraw(waiting.id)
        done(machine, plan.model)
        machine.unload(busy.id)
        machine.gone(busy.id)


def test_a_pinned_training_is_not_parked() -> None:
    machine = one_gpu()
    training = at_work(machine)
    machine.keep(ModelId("run"), pinned=True, keep_s=None)
    machine.ask(plan_of("chat", 5))
    assert state_of(training) is ResidentState.READY


def test_what_would_keep_the_memory_for_good_does_not_get_it_from_a_training() -> None:
    machine = one_gpu()
    training = at_work(machine)
    pinned = machine.ask(plan_of("chat", 5, pinned=True))
    assert state_of(training) is ResidentState.READY
    assert machine.reason_of(pinned)[0] is WaitKind.MEMORY


def test_idle_models_go_first_and_a_training_only_if_they_are_not_enough() -> None:
    machine = one_gpu()
    machine.ask(plan_of("old", 2))
    machine.load("old")
    done(machine, "old")
    training = at_work(machine)
    machine.ask(plan_of("small", 2))
    assert state_of(training) is ResidentState.READY
    assert machine.resident("old").state is ResidentState.DRAINING
    machine.gone(machine.resident("old").id)
    machine.load("small")
    done(machine, "small")
    machine.advance(10.0)
    machine.ask(plan_of("large", 10))
    assert machine.resident("small").state is ResidentState.DRAINING
    assert state_of(training) is ResidentState.PARKING
    last = [type(decision) for decision in machine.decisions[-2:]]
    assert last == [Evict, Park]


def test_an_idle_model_is_spared_when_parking_alone_makes_the_room() -> None:
    machine = one_gpu()
    machine.ask(plan_of("old", 2))
    machine.load("old")
    done(machine, "old")
    training = at_work(machine)
    machine.ask(plan_of("chat", 5))
    assert state_of(training) is ResidentState.PARKING
    assert machine.resident("old").state is ResidentState.READY


def test_a_second_request_does_not_park_a_second_training_for_the_same_room() -> None:
    machine = one_gpu()
    at_work(machine, plan_of("run1", 5, parkable=True))
    at_work(machine, plan_of("run2", 5, parkable=True))
    machine.ask(plan_of("chat", 4), person="ann")
    machine.ask(plan_of("draw", 4), person="bob")
    parks = [decision for decision in machine.decisions if isinstance(decision, Park)]
    assert len(parks) == 1


def test_what_it_still_holds_counts_by_measurement_and_by_its_own_word() -> None:
    machine = one_gpu(budget=100)
    training = at_work(machine, plan_of("run", 80, parkable=True))
    machine.ask(plan_of("chat", 50))
    receipt = ParkReceipt(1.0, 80, 5, epoch=2, batch=9)
    machine.ledger.parked(training.id, machine.now_s, receipt, measured_bytes=12)
    assert training.reserved_bytes == 12, "the device says more than the child"
    machine.ledger.measure(training.id, 3)
    assert training.reserved_bytes == 5, "it may be that the driver does not see the process"
    machine.ledger.measure(training.id, 95)
    assert training.reserved_bytes == 80, "never more than before"


def test_what_says_nothing_and_cannot_be_measured_has_freed_nothing() -> None:
    machine = one_gpu()
    training = at_work(machine)
    request = machine.ask(plan_of("chat", 5))
    machine.ledger.parked(training.id, machine.now_s, ParkReceipt(1.0), None)
    machine.settle()
    assert training.reserved_bytes == 8
    assert machine.reason_of(request)[0] is WaitKind.MEMORY


def test_a_training_that_frees_too_little_comes_back_and_is_not_parked_for_that_again() -> None:
    machine = one_gpu()
    machine.kept = {ModelId("run"): 0.75}  # 6 of 8
    training = at_work(machine)
    request = machine.ask(plan_of("chat", 5))
    machine.parked(training.id)
    assert machine.reason_of(request)[0] is WaitKind.MEMORY
    machine.advance(29.0)
    assert state_of(training) is ResidentState.PARKED
    machine.advance(1.0)
    assert state_of(training) is ResidentState.RESUMING
    machine.resumed(training.id)
    machine.advance(10_000.0)
    assert state_of(training) is ResidentState.READY
    small = machine.ask(plan_of("small", 3))
    assert state_of(training) is ResidentState.PARKING, "for what it does free it gives way"
    assert small.id in machine.ledger.waiting


def test_who_waits_for_the_end_of_a_training_stops_nobody_whom_it_gives_way_to() -> None:
    machine = one_gpu()
    training = at_work(machine)
    machine.ask(plan_of("other", 5, parkable=True), work_class=WorkClass.TRAINING, person="uma")
    machine.advance(2000.0)  # it is now as urgent as anybody
    request = machine.ask(plan_of("chat", 5))
    assert state_of(training) is ResidentState.PARKING
    machine.parked(training.id)
    machine.load("chat")
    assert request in machine.served


def test_a_training_that_waits_does_not_take_what_a_parked_one_needs() -> None:
    machine = one_gpu()
    training, _ = parked(machine, plan_of("chat", 3))
    machine.ask(plan_of("other", 5, parkable=True), work_class=WorkClass.TRAINING)
    assert machine.ledger.free_bytes(training.device) == 7
    assert [r.plan.model for r in machine.ledger.residents.values()] == ["run", "chat"]


def test_it_comes_back_when_nobody_wants_room_and_what_is_idle_was_unused_for_a_slice() -> None:
    machine = one_gpu()
    training, _ = parked(machine, plan_of("chat", 5))
    machine.advance(40.0)
    done(machine, "chat")
    machine.advance(29.0)
    assert state_of(training) is ResidentState.PARKED, "whoever had the model may go on with it"
    machine.advance(1.0)
    assert machine.resident("chat").state is ResidentState.DRAINING
    machine.gone(machine.resident("chat").id)
    assert state_of(training) is ResidentState.RESUMING
    assert machine.ledger.reserved_bytes(training.device) == 8, "its memory counts before it is told"
    machine.resumed(training.id)
    assert state_of(training) is ResidentState.READY
    assert training.leases


def test_it_comes_back_beside_a_small_model_and_leaves_that_alone() -> None:
    machine = one_gpu()
    machine.ask(plan_of("first", 5))
    machine.load("first")
    done(machine, "first")
    training = at_work(machine, plan_of("run", 5, parkable=True))
    machine.ask(plan_of("chat", 4))
    assert machine.resident("first").state is ResidentState.DRAINING
    assert state_of(training) is ResidentState.READY


def test_a_request_that_goes_away_brings_it_back_after_a_slice() -> None:
    machine = one_gpu()
    training = at_work(machine)
    request = machine.ask(plan_of("chat", 5))
    machine.withdraw(request.id)
    machine.parked(training.id)
    machine.advance(29.0)
    assert state_of(training) is ResidentState.PARKED
    machine.advance(1.0)
    assert state_of(training) is ResidentState.RESUMING


def test_work_that_never_ends_gives_way_when_the_share_demands_it() -> None:
    """Turn 30 s, rest 120 s: it worked until it was parked, so it is due 120 s later."""
    machine = one_gpu()
    training, _ = parked(machine, plan_of("chat", 5))
    since_s = machine.now_s
    assert parking.due_s(machine.ledger, training, machine.rules) == since_s + 120
    next_one = machine.ask(plan_of("chat", 5), person="bob")
    machine.advance(119.0)
    done(machine, "chat")  # bob is served by the same model
    assert next_one in machine.served
    third = machine.ask(plan_of("chat", 5), person="cem")
    machine.advance(1.0)
    done(machine, "chat")
    assert third in machine.served, "it is due, and others have the patience that everybody has"
    fourth = machine.ask(plan_of("chat", 5), person="dee")
    machine.advance(5.0)
    assert machine.reason_of(fourth)[0] is WaitKind.TURN
    done(machine, "chat")
    assert machine.resident("chat").state is ResidentState.DRAINING, "patience is over"
    machine.gone(machine.resident("chat").id)
    assert state_of(training) is ResidentState.RESUMING
    machine.resumed(training.id)
    kind, text, holders = machine.reason_of(fourth)
    assert kind is WaitKind.SHARE
    assert text == "work 1 for tess has its turn on cuda:0 for another 30 s, then it is parked"
    assert holders == ("work 1 for tess",)
    machine.advance(29.0)
    assert state_of(training) is ResidentState.READY
    machine.advance(1.0)
    assert state_of(training) is ResidentState.PARKING


def test_a_parked_training_ages() -> None:
    machine = one_gpu(Rules(aging_s=20.0, training_share=0.0, training_slice_s=10.0, idle_unload_s=None))
    training, _ = parked(machine, plan_of("chat", 5))
    assert parking.due_s(machine.ledger, training, machine.rules) == machine.now_s + 40


def test_a_share_of_all_is_never_parked() -> None:
    machine = one_gpu(Rules(training_share=1.0))
    training = at_work(machine)
    request = machine.ask(plan_of("chat", 5))
    machine.advance(10_000.0)
    assert state_of(training) is ResidentState.READY
    assert machine.reason_of(request)[0] is WaitKind.MEMORY


@pytest.mark.parametrize(
    ("share", "turn", "window"),
    [(0.0, 30, math.inf), (0.2, 30, 150), (0.5, 30, 60), (0.8, 120, 150), (1.0, math.inf, math.inf)],
)
def test_a_turn_and_the_window_follow_from_the_share(share: float, turn: float, window: float) -> None:
    rules = Rules(training_share=share, training_slice_s=30.0)
    assert parking.turn_s(rules) == pytest.approx(turn)
    assert parking.window_s(rules) == pytest.approx(window)


def test_a_place_among_the_loaded_models_is_had_by_parking() -> None:
    machine = one_gpu(Rules(max_loaded=1, training_slice_s=30.0, idle_unload_s=None))
    training = at_work(machine, plan_of("run", 2, parkable=True))
    request = machine.ask(plan_of("chat", 5))
    assert state_of(training) is ResidentState.PARKING
    assert machine.reason_of(request)[0] is WaitKind.PARKING
    machine.parked(training.id)
    machine.load("chat")
    assert request in machine.served
    machine.advance(35.0)
    assert state_of(training) is ResidentState.PARKED, "there is memory for it, and no place"
    done(machine, "chat")
    machine.advance(30.0)
    machine.gone(machine.resident("chat").id)
    assert state_of(training) is ResidentState.RESUMING


def test_work_that_is_given_up_while_it_is_parked_leaves_nothing_behind() -> None:
    machine = one_gpu()
    training, _ = parked(machine, plan_of("chat", 5))
    machine.release(min(training.leases))
    assert state_of(training) is ResidentState.DRAINING


def test_one_that_had_nothing_to_park_is_asked_again_when_patience_is_over() -> None:
    machine = one_gpu()
    training = at_work(machine)
    machine.ask(plan_of("chat", 5))
    machine.stayed(training.id)
    assert state_of(training) is ResidentState.READY
    machine.advance(4.0)
    assert state_of(training) is ResidentState.READY
    machine.advance(1.0)
    assert state_of(training) is ResidentState.PARKING


def test_an_estimate_knows_how_long_parking_took() -> None:
    machine = one_gpu()
    training = at_work(machine)
    request = machine.ask(plan_of("chat", 5, load_s=7.0))
    machine.advance(3.0)
    machine.withdraw(request.id)
    machine.parked(training.id)
    machine.advance(30.0)
    machine.resumed(training.id)
    machine.advance(10.0)
    again = machine.ask(plan_of("chat", 5, load_s=7.0))
    assert machine.reason_of(again)[0] is WaitKind.SHARE
    assert machine.estimates()[again.id] == pytest.approx(20 + 3 + 7)


def test_the_book_refuses_what_cannot_be() -> None:
    machine = one_gpu()
    training, _ = parked(machine, plan_of("chat", 5))
    with pytest.raises(LedgerError, match="not free"):
        machine.ledger.resume(training.id, machine.now_s)
    with pytest.raises(LedgerError, match="not interrupted"):
        machine.ledger.park(machine.resident("chat").id, "no", machine.now_s)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 0.7])
@pytest.mark.parametrize("people", [1, 3])
def test_an_hour_of_work_that_never_ends_leaves_a_training_its_share(share: float, people: int) -> None:
    """In every window, but for what it takes to give the device back; and nobody waits longer than a turn
    and the changes on both sides of it."""
    rules = Rules(
        aging_s=10_000.0, patience_s=5.0, idle_unload_s=None, training_share=share, training_slice_s=20.0
    )
    machine = Machine([fake_device("cuda:0", 10)], rules, careful=False)
    training = at_work(machine, for_s=600.0)
    begin_s, ran, longest_s = machine.now_s, [], 0.0
    for _ in range(3600):
        for person in range(people):
            if not any(r.person == f"p{person}" for r in machine.ledger.waiting.values()):
                machine.ask(plan_of(f"m{person % 2}", 6), person=f"p{person}", settle=False)
        hold_all_but(machine, training)
        machine.children_get_on()
        machine.now_s += 1.0
        machine.settle()
        ran.append(state_of(training) is ResidentState.READY)
        waits = [machine.now_s - r.arrived_s for r in machine.ledger.waiting.values()]
        longest_s = max([longest_s, *waits])
    turn, window = parking.turn_s(rules), parking.window_s(rules)
    slack_s = 15  # a lease in flight, patience, unloading, coming back
    least = min(sum(ran[at : at + int(window) + slack_s]) for at in range(len(ran) - int(window) - slack_s))
    assert least >= turn - 1
    less = 0.03 if share < 0.5 else 0.12  # from one half on, the way back comes on top of a rest of one slice
    assert share - less <= sum(ran) / len(ran) <= share + 0.05, "the rest is for the others"
    assert longest_s <= turn + people * 15 + slack_s
    changes = [at for at in range(1, len(ran)) if ran[at] != ran[at - 1]]
    apart = [later - earlier for earlier, later in pairwise(changes)]
    assert min(apart) >= rules.training_slice_s - 1
    assert machine.now_s - begin_s == pytest.approx(3600)


def hold_all_but(machine: Machine, training: Resident) -> None:
    """Other work takes three seconds."""
    for held in list(machine.ledger.leases.values()):
        if held.id not in training.leases and machine.now_s - held.granted_s >= 3.0:
            machine.ledger.release(held.id, machine.now_s)


def test_every_coming_back_has_its_reason() -> None:
    machine = one_gpu()
    training, _ = parked(machine, plan_of("chat", 5))
    done(machine, "chat")
    machine.unload(machine.resident("chat").id)
    machine.advance(30.0)
    machine.gone(machine.resident("chat").id)
    assert machine.decisions[-1] == Resume(training.id, "nobody else needs the memory of cuda:0")


def test_two_that_keep_too_much_to_be_there_at_once_come_back_one_after_the_other() -> None:
    """A walk found it: the first was due, waited for what the second keeps when it is parked, and so the
    second waited too."""
    machine = one_gpu()
    machine.kept = {ModelId("second"): 0.7}
    first, _ = parked(machine, plan_of("chat", 8), plan_of("first", 6, parkable=True))
    done(machine, "chat")
    machine.ask(plan_of("second", 8, parkable=True))  # loaded for other work, which parks nobody
    machine.gone(machine.resident("chat").id)
    second = machine.load("second")
    machine.ask(plan_of("second", 8, parkable=True), work_class=WorkClass.TRAINING)
    done(machine, "second")
    assert second.is_training
    machine.advance(50.0)
    machine.ask(plan_of("chat", 4))
    machine.parked(second.id)
    machine.load("chat")
    assert second.reserved_bytes == 5
    machine.advance(200.0)
    done(machine, "chat")
    machine.gone(machine.resident("chat").id)
    assert (state_of(first), state_of(second)) == (ResidentState.PARKED, ResidentState.RESUMING)
