# SPDX-License-Identifier: Apache-2.0
"""The decision tree of the policy, branch by branch, and what random walks only find by luck."""

from collections import Counter

import pytest
from tests.unit.runtime.machine import CRASHED, NO_MEMORY, NOT_LOADED, Machine, plan_of

from inglenook.base.ids import ModelId
from inglenook.base.work import WorkClass
from inglenook.runtime.contracts import FootprintKey, ResidentState, WaitKind
from inglenook.runtime.scheduler import eviction
from inglenook.runtime.scheduler.policy import Evict, Rules, Start
from inglenook.testing.devices import fake_device

BATCH, TRAINING = WorkClass.BATCH, WorkClass.TRAINING
A, B, C = plan_of("a", 6), plan_of("b", 6), plan_of("c", 3)


def one_gpu(budget: int = 10, rules: Rules | None = None) -> Machine:
    return Machine([fake_device("cuda:0", budget)], Rules() if rules is None else rules)


def loaded(machine: Machine, *models: str) -> None:
    """Load, serve and give back, one after the other."""
    for model in models:
        plan = {"a": A, "b": B, "c": C}[model]
        machine.ask(plan)
        machine.load(model)
        machine.release_all()


def key(model: str, scale: int = 0) -> FootprintKey:
    return FootprintKey("fake", ModelId(model), "cuda", scale)


# -- one child for many ---------------------------------------------------------------------------------


def test_fifty_first_requests_at_once_start_one_child() -> None:
    machine = one_gpu()
    requests = [machine.ask(A, person=f"person{n}", settle=False) for n in range(50)]
    machine.settle()
    assert [type(decision) for decision in machine.decisions] == [Start]
    machine.load("a")
    machine.rounds_until_served({r.id for r in requests}, most=60)
    assert sum(isinstance(d, Start) for d in machine.decisions) == 1
    assert [r.id for r in machine.served] == [r.id for r in requests]


def test_who_waits_for_a_load_is_told_how_long_it_lasts_and_when_that_is_longer_than_expected() -> None:
    machine = one_gpu()
    request = machine.ask(A)
    kind, text, _ = machine.reason_of(request)
    assert kind is WaitKind.LOADING
    assert "is being loaded, for 0.0 s of about " in text
    machine.advance(3600)
    assert "is being loaded, for 1 h 0 min, longer than the " in machine.reason_of(request)[1]


def test_a_model_with_room_for_three_serves_three_at_once() -> None:
    machine = one_gpu()
    for _ in range(5):
        machine.ask(plan_of("a", 6, capacity=3))
    machine.load("a")
    assert len(machine.served) == 3
    assert {machine.reason_of(r)[0] for r in machine.ledger.waiting.values()} == {WaitKind.TURN}


def test_a_request_for_one_device_does_not_wait_for_a_child_on_another() -> None:
    machine = Machine([fake_device("cuda:0", 10), fake_device("cuda:1", 10)])
    machine.ask(A)
    machine.ask(A, devices=("cuda:1",))
    assert {r.device for r in machine.ledger.residents.values()} == {"cuda:0", "cuda:1"}


# -- fairness -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("work_class", WorkClass)
def test_people_who_always_have_work_waiting_are_served_equally_often(work_class: WorkClass) -> None:
    machine = one_gpu()
    people = ("ann", "bob", "cem")
    for person in people:
        for _ in range({"ann": 40, "bob": 12, "cem": 12}[person]):
            machine.ask(A, person=person, work_class=work_class, settle=False)
    machine.settle()
    machine.load("a")
    counts: Counter[str] = Counter()
    for served in range(1, 37):
        counts[machine.served[served - 1].person] += 1
        assert max(counts[p] for p in people) - min(counts[p] for p in people) <= 1
        machine.release_all()


def test_one_persons_requests_keep_their_order() -> None:
    machine = one_gpu()
    asked = [machine.ask(A, settle=False).id for _ in range(10)]
    machine.settle()
    machine.rounds_until_served(set(asked), most=20)
    assert [r.id for r in machine.served] == asked


def test_who_was_away_neither_lost_nor_saved_turns() -> None:
    machine = one_gpu()
    machine.ask(A, person="ann")
    machine.load("a")
    for _ in range(20):
        machine.ask(A, person="ann")
        machine.release_all()
    for person in ("ann", "bob", "ann", "bob", "ann", "bob"):
        machine.ask(A, person=person)
    before = len(machine.served)
    for _ in range(6):
        machine.release_all()
    order = [r.person for r in machine.served[before:]]
    assert Counter(order[:4]) == {"ann": 2, "bob": 2}


def test_interactive_goes_before_batch_and_batch_before_training() -> None:
    machine = one_gpu()
    machine.ask(A)
    machine.load("a")
    asked = [machine.ask(A, work_class=c, person=c) for c in (TRAINING, BATCH, WorkClass.INTERACTIVE)]
    for _ in range(3):
        machine.release_all()
    assert [r.id for r in machine.served[1:]] == [r.id for r in reversed(asked)]


def test_waiting_ages_so_that_batch_is_served_under_an_endless_flood() -> None:
    machine = one_gpu(rules=Rules(aging_s=10.0))
    batch = machine.ask(A, person="bob", work_class=BATCH)
    training = machine.ask(A, person="cem", work_class=TRAINING)
    machine.load("a")
    waits = {}
    for second in range(60):
        machine.ask(A, person="ann", settle=False)
        machine.ask(A, person="ann", settle=False)
        machine.kind_round()
        for request in (batch, training):
            if request in machine.served:
                waits.setdefault(request.id, second)
    assert waits[batch.id] <= 12
    assert waits[training.id] <= 23


# -- memory ---------------------------------------------------------------------------------------------


def test_what_does_not_fit_beside_a_lease_waits_and_names_the_holder() -> None:
    machine = one_gpu()
    holder = machine.ask(A)
    machine.load("a")
    waiting = machine.ask(B, person="bob")
    kind, text, holders = machine.reason_of(waiting)
    assert kind is WaitKind.MEMORY
    assert holders == (holder.label,)
    assert "needs 6 B" in text
    assert "4 B are free" in text


def test_an_idle_model_is_evicted_for_one_that_is_wanted() -> None:
    machine = one_gpu()
    loaded(machine, "a")
    request = machine.ask(B)
    assert machine.resident("a").state is ResidentState.DRAINING
    assert machine.reason_of(request)[0] is WaitKind.DRAINING
    assert not any(r.plan.model == "b" for r in machine.ledger.residents.values())
    machine.gone(machine.resident("a").id)
    machine.load("b")
    assert machine.served[-1] is request


def test_what_was_evicted_for_a_request_stands_in_its_explanation() -> None:
    machine = one_gpu()
    loaded(machine, "a")
    request = machine.ask(B)
    (text,) = machine.ledger.evicted_for[request.id]
    assert text.startswith("a: ")
    assert request.label in text


def test_nothing_is_evicted_for_what_would_not_fit_even_then() -> None:
    machine = one_gpu()
    machine.ask(A)
    machine.load("a")
    machine.ask(C, person="bob")
    machine.load("c")
    machine.release(next(iter(machine.resident("c").leases)))
    machine.ask(plan_of("d", 7))
    assert machine.resident("c").state is ResidentState.READY


def test_a_pinned_model_is_never_evicted_and_what_cannot_fit_beside_it_is_refused() -> None:
    machine = one_gpu()
    machine.ask(plan_of("p", 5, pinned=True))
    machine.load("p")
    machine.release_all()
    request = machine.ask(A)
    assert machine.resident("p").state is ResidentState.READY
    refusal = machine.refused[request.id]
    assert "6 B" in refusal.message
    assert "10 B" in refusal.message
    assert "5 B" in refusal.message


def test_a_pinned_model_that_is_being_unloaded_refuses_nobody() -> None:
    machine = one_gpu()
    machine.ask(plan_of("p", 5, pinned=True))
    machine.load("p")
    machine.release_all()
    machine.unload(machine.resident("p").id)
    request = machine.ask(A)
    assert machine.reason_of(request)[0] is WaitKind.DRAINING


def test_a_pinned_model_serves_while_somebody_waits_for_other_memory() -> None:
    """Withholding it would give the one who waits nothing: it is never unloaded."""
    machine = one_gpu(budget=20)
    machine.ask(plan_of("p", 5, pinned=True))
    machine.load("p")
    machine.release_all()
    machine.ask(plan_of("y", 10), work_class=TRAINING)  # at work for hours
    machine.load("y")
    machine.ask(plan_of("x", 14), person="bob")
    machine.advance(1000)
    request = machine.ask(plan_of("p", 5, pinned=True), person="cem")
    assert request in machine.served


def test_refused_only_when_it_fits_on_no_device() -> None:
    machine = Machine([fake_device("cuda:0", 4), fake_device("cuda:1", 8)])
    assert machine.ask(plan_of("a", 8)).id not in machine.refused
    too_large = machine.ask(plan_of("b", 9))
    assert "9 B" in machine.refused[too_large.id].message
    assert "8 B" in machine.refused[too_large.id].message


def test_a_kind_of_device_that_the_engine_does_not_know_is_named_in_the_refusal() -> None:
    machine = one_gpu()
    request = machine.ask(plan_of("a", {"mps": 1}))
    assert "mps" in machine.refused[request.id].message
    assert "cuda:0" in machine.refused[request.id].message


def test_work_that_its_models_own_device_can_never_hold_goes_to_a_larger_one() -> None:
    machine = Machine([fake_device("cuda:0", 8), fake_device("cuda:1", 16)])
    machine.ask(plan_of("a", 6))
    machine.load("a")
    machine.release_all()
    machine.ask(plan_of("a", 12, scale=3))
    assert machine.resident("a", "cuda:1").state is ResidentState.STARTING


def test_larger_work_waits_until_the_reservation_of_its_model_can_grow() -> None:
    machine = one_gpu()
    loaded(machine, "a")
    machine.ask(C, person="bob")
    machine.load("c")
    larger = machine.ask(plan_of("a", 9, scale=1))
    kind, text, holders = machine.reason_of(larger)
    assert kind is WaitKind.MEMORY
    assert "3 B more" in text
    assert holders[0].endswith("for bob")
    machine.release_all()
    assert machine.resident("c").state is ResidentState.DRAINING
    machine.gone(machine.resident("c").id)
    assert larger in machine.served
    assert machine.resident("a").reserved_bytes == 9


def test_larger_work_that_waits_for_memory_does_not_hold_up_ordinary_work_of_the_same_model() -> None:
    machine = one_gpu()
    loaded(machine, "a")
    machine.ask(C, person="bob", work_class=TRAINING)
    machine.load("c")
    larger = machine.ask(plan_of("a", 9, scale=1), person="ann")
    machine.advance(100)
    ordinary = machine.ask(A, person="cem")
    assert ordinary in machine.served
    machine.release(next(iter(machine.resident("a").leases)))
    assert larger not in machine.served
    machine.release_all()
    machine.gone(machine.resident("c").id)
    assert larger in machine.served


def test_larger_work_gets_its_turn_and_its_room_together_under_a_flood_of_both() -> None:
    """The model is never free by itself, and the one beside it never idle: found by the random walks."""
    machine = one_gpu(budget=6, rules=Rules(patience_s=3.0))
    small, beside = plan_of("a", 2), plan_of("b", 1, capacity=3)
    machine.ask(small)
    larger = machine.ask(plan_of("a", 6, scale=1))
    for _ in range(60):
        for person in ("eve", "fay"):
            for wanted in (small, beside):
                if not any(r.person == person and r.plan == wanted for r in machine.ledger.waiting.values()):
                    machine.ask(wanted, person=person, settle=False)
        machine.kind_round(lease_s=(0.0, 2.0, 1.0))
    assert larger in machine.served


def test_who_came_first_gets_the_memory_before_smaller_work_behind_it() -> None:
    machine = one_gpu()
    machine.ask(A)
    machine.load("a")
    machine.ask(B, person="bob")
    behind = machine.ask(C, person="cem")
    kind, text, _ = machine.reason_of(behind)
    assert kind is WaitKind.BEHIND
    assert "bob" in text


def test_what_grows_evicts_nobody_for_itself_while_somebody_earlier_waits_for_memory() -> None:
    machine = one_gpu()
    machine.ask(plan_of("y", 4), work_class=TRAINING)
    machine.load("y")
    for model, size in (("v", 3), ("m", 2)):
        machine.ask(plan_of(model, size))
        machine.load(model)
        machine.release(next(iter(machine.resident(model).leases)))
    first = machine.ask(plan_of("x", 8), person="cem")
    larger = machine.ask(plan_of("m", 5, scale=1), person="dee")
    assert machine.resident("v").state is ResidentState.READY
    assert machine.reason_of(first)[0] is WaitKind.MEMORY
    assert machine.reason_of(larger)[0] is WaitKind.BEHIND


def test_a_model_that_is_never_idle_by_itself_is_withheld_for_who_waits_for_its_memory() -> None:
    """It serves three at once and the leases overlap; patience is what makes it idle one day."""
    machine = one_gpu(rules=Rules(patience_s=5.0))
    busy = plan_of("busy", 6, capacity=3)
    machine.ask(busy)
    machine.load("busy")
    waiting = machine.ask(B, person="bob")
    for _ in range(20):
        for _ in range(3):
            machine.ask(busy, person="ann", settle=False)
        machine.kind_round(lease_s=(0.0, 1.0, 2.0))
    assert waiting in machine.served


def test_two_models_that_want_the_same_memory_are_used_before_they_are_swapped() -> None:
    """With patience, each load serves several requests; nobody waits for ever all the same."""
    machine = one_gpu(rules=Rules(patience_s=5.0))
    for second in range(60):
        machine.ask(A, person="ann", settle=False)
        machine.ask(B, person="bob", settle=False)
        machine.kind_round(step_s=1.0)
        del second
    starts = Counter(d.device for d in machine.decisions if isinstance(d, Start))["cuda:0"]
    served = Counter(r.plan.model for r in machine.served)
    assert served["a"] > 12
    assert served["b"] > 12
    assert starts <= 14


def test_an_idle_model_is_unloaded_after_a_while_unless_it_is_pinned_or_wanted() -> None:
    machine = one_gpu(rules=Rules(idle_unload_s=100.0))
    loaded(machine, "c")
    machine.ask(plan_of("p", 3, pinned=True))
    machine.load("p")
    machine.release_all()
    machine.advance(99.0)
    assert machine.resident("c").state is ResidentState.READY
    machine.advance(2.0)
    assert machine.resident("c").state is ResidentState.DRAINING
    assert machine.resident("p").state is ResidentState.READY


def test_a_setting_of_never_keeps_an_idle_model() -> None:
    machine = one_gpu(rules=Rules(idle_unload_s=None))
    loaded(machine, "a")
    machine.advance(10**6)
    assert machine.resident("a").state is ResidentState.READY


# -- the order of eviction ------------------------------------------------------------------------------


def test_idle_longest_and_cheapest_to_load_goes_first() -> None:
    """The score is `idle seconds / (seconds to load x weight)`."""
    machine = one_gpu(budget=12)
    facts = {"slow": (20.0, 1.0), "quick": (1.0, 1.0), "dear": (1.0, 30.0), "fresh": (1.0, 1.0)}
    for model, (load_s, weight) in facts.items():
        machine.ask(plan_of(model, 3, load_s=load_s, weight=weight))
        machine.ledger.became_ready(machine.resident(model).id, machine.now_s)
        machine.ledger.load_s.clear()
        machine.settle()
        machine.release_all()
        machine.advance(10.0)
    residents = list(machine.ledger.residents.values())
    load_s = {r.id: r.plan.load_s for r in residents}
    order = [r.plan.model for r in eviction.candidates(residents, machine.now_s, load_s)]
    # idle for 40, 30, 20 and 10 s: 40/20, 30/1, 20/30, 10/1
    assert order == ["quick", "fresh", "slow", "dear"]
    machine.ask(plan_of("new", 5))
    evicted = [d.resident for d in machine.decisions if isinstance(d, Evict)]
    assert evicted == [machine.resident("quick").id, machine.resident("fresh").id]


def test_a_victim_whose_memory_is_not_needed_is_spared() -> None:
    machine = one_gpu(budget=10)
    for model, size in (("small", 2), ("large", 6)):
        machine.ask(plan_of(model, size))
        machine.load(model)
        machine.release_all()
        machine.advance(1.0)
    machine.ask(plan_of("new", 8))
    assert machine.resident("large").state is ResidentState.DRAINING
    assert machine.resident("small").state is ResidentState.READY


# -- bad luck -------------------------------------------------------------------------------------------


def test_a_child_that_dies_at_work_is_started_again_after_a_pause() -> None:
    machine = one_gpu()
    machine.ask(A)
    machine.load("a")
    waiting = machine.ask(A, person="bob")
    machine.gone(machine.resident("a").id, CRASHED)
    assert machine.reason_of(waiting)[:2] == (WaitKind.BACKOFF, "a failed once, it is tried again in 1.0 s")
    machine.advance(1.0)
    machine.load("a")
    assert machine.served[-1] is waiting


def test_the_pause_doubles_with_each_failure_up_to_a_minute_and_ends_with_a_success() -> None:
    machine = one_gpu()
    pauses = []
    for _ in range(9):
        machine.ask(A)
        machine.gone(machine.resident("a").id, NOT_LOADED)
        pauses.append(machine.ledger.backoff[A.key].until_s - machine.now_s)
        machine.advance(pauses[-1])
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    machine.ask(A)
    machine.load("a")
    assert A.key not in machine.ledger.backoff


def test_who_waits_for_a_child_that_cannot_be_started_fails_with_its_reason() -> None:
    machine = one_gpu()
    requests = [machine.ask(A, person=p) for p in ("ann", "bob")]
    other = machine.ask(C)
    machine.gone(machine.resident("a").id, NOT_LOADED)
    assert machine.failed == {r.id: NOT_LOADED for r in requests}
    assert other.id in machine.ledger.waiting


def test_a_failure_on_one_device_fails_nobody_who_waits_for_another() -> None:
    machine = Machine([fake_device("cuda:0", 10), fake_device("cuda:1", 10)])
    machine.ask(A, devices=("cuda:0",))
    machine.load("a")
    waiting = machine.ask(A, person="bob", devices=("cuda:0",))
    anywhere = machine.ask(A, person="cem")
    doomed = machine.ask(A, person="dee", devices=("cuda:1",))
    machine.gone(machine.resident("a", "cuda:1").id, NOT_LOADED)
    assert set(machine.failed) == {doomed.id}
    machine.release_all()
    machine.release_all()
    assert {waiting.id, anywhere.id} <= {r.id for r in machine.served}


def test_a_model_that_failed_elsewhere_is_used_where_it_is_ready() -> None:
    machine = Machine([fake_device("cuda:0", 10), fake_device("cuda:1", 10)])
    machine.ask(A, devices=("cuda:0",))
    machine.load("a")
    machine.release_all()
    machine.ask(A, devices=("cuda:1",))
    machine.gone(machine.resident("a", "cuda:1").id, NOT_LOADED)
    request = machine.ask(A)
    assert request in machine.served


def test_out_of_memory_at_load_evicts_everything_idle_and_tries_once_more_with_more() -> None:
    machine = one_gpu(budget=20)
    loaded(machine, "c")
    machine.ask(plan_of("d", 2))
    machine.load("d")
    machine.release_all()
    request = machine.ask(plan_of("big", 8))
    machine.gone(machine.resident("big").id, NO_MEMORY)
    assert request.id in machine.ledger.waiting, "it was to be tried once more"
    assert {machine.resident(m).state for m in ("c", "d")} == {ResidentState.DRAINING}
    for model in ("c", "d"):
        machine.gone(machine.resident(model).id)
    assert machine.resident("big").reserved_bytes == 10
    machine.load("big")
    assert machine.served[-1] is request


def test_out_of_memory_twice_fails_everybody_who_waits_and_the_raise_is_taken_back() -> None:
    machine = one_gpu(budget=20)
    requests = [machine.ask(A, person=p) for p in ("ann", "bob")]
    machine.gone(machine.resident("a").id, NO_MEMORY)
    assert machine.resident("a").reserved_bytes == 7
    machine.gone(machine.resident("a").id, NO_MEMORY)
    assert set(machine.failed) == {r.id for r in requests}
    assert machine.ledger.learned == {}
    assert machine.ledger.oom == {}
    machine.advance(5.0)
    machine.ask(A)
    assert machine.resident("a").reserved_bytes == 6


def test_the_second_try_asks_for_no_more_than_there_can_be() -> None:
    machine = one_gpu(budget=10)
    machine.ask(plan_of("p", 2, pinned=True))
    machine.load("p")
    machine.release_all()
    request = machine.ask(plan_of("big", 8))
    machine.gone(machine.resident("big").id, NO_MEMORY)
    assert request.id not in machine.refused
    assert machine.resident("big").reserved_bytes == 8


def test_a_raise_is_forgotten_when_nobody_waits_for_the_second_try() -> None:
    machine = one_gpu(budget=20)
    loaded(machine, "c")
    machine.ask(C)  # at work, so that the second try has to wait
    request = machine.ask(plan_of("big", 16))
    machine.gone(machine.resident("big").id, NO_MEMORY)
    assert machine.ledger.learned[key("big")] == 20
    machine.withdraw(request.id)
    assert key("big") not in machine.ledger.learned
    assert machine.ledger.oom == {}


def test_a_child_that_is_ending_gets_no_more_work_although_its_lease_has_come_back() -> None:
    machine = one_gpu()
    machine.ask(A)
    machine.load("a")
    waiting = machine.ask(A, person="bob")
    machine.lost(machine.resident("a").id)
    machine.release_all()
    assert waiting not in machine.served
    assert machine.reason_of(waiting)[0] is WaitKind.DRAINING
    machine.gone(machine.resident("a").id, CRASHED)
    machine.advance(1.0)
    machine.load("a")
    assert machine.served[-1] is waiting


# -- what is learned ------------------------------------------------------------------------------------


def test_a_measurement_above_the_reservation_makes_it_grow_as_far_as_the_budget_goes() -> None:
    machine = one_gpu(budget=10)
    machine.ask(A)
    machine.load("a")
    machine.measure(machine.resident("a").id, 8)
    assert machine.resident("a").reserved_bytes == 8
    machine.measure(machine.resident("a").id, 50)
    assert machine.resident("a").reserved_bytes == 10
    assert machine.ledger.learned[key("a")] == 50


def test_nothing_is_learned_from_a_model_that_has_not_worked_yet() -> None:
    machine = one_gpu()
    request = machine.ask(A)
    machine.withdraw(request.id)
    machine.load("a")
    machine.measure(machine.resident("a").id, 1)
    assert machine.ledger.learned == {}


def test_what_was_learned_falls_by_at_most_a_tenth_with_a_life() -> None:
    machine = Machine([fake_device("cuda:0", 200)], learned={key("a"): (100, 0.0)})
    machine.ask(plan_of("a", 60))
    assert machine.resident("a").reserved_bytes == 100
    machine.load("a")
    machine.measure(machine.resident("a").id, 20)
    machine.gone(machine.resident("a").id)
    assert machine.ledger.learned[key("a")] == 90


def test_what_was_learned_at_a_smaller_size_is_a_lower_bound_for_a_larger() -> None:
    machine = Machine([fake_device("cuda:0", 200)], learned={key("a", 1): (100, 0.0), key("a", 3): (5, 0.0)})
    ledger = machine.ledger
    device = ledger.devices[next(iter(ledger.devices))]
    sizes = [ledger.footprint_bytes(plan_of("a", 60, scale=scale), device) for scale in range(5)]
    assert sizes == [60, 100, 100, 5, 100]


def test_the_seconds_to_load_are_learned() -> None:
    machine = one_gpu()
    machine.ask(plan_of("a", 6, load_s=30.0))
    machine.advance(4.0)
    machine.load("a")
    assert machine.ledger.expected_load_s(A, "cuda") == 4.0


# -- estimates ------------------------------------------------------------------------------------------


def test_an_estimate_adds_up_what_is_ahead() -> None:
    machine = one_gpu()
    machine.ask(A)
    machine.load("a")
    machine.now_s += 10.0
    machine.release_all()  # held for 10 s: so long a lease is expected to be
    first = machine.ask(A)
    machine.now_s += 4.0
    second, third = machine.ask(A), machine.ask(A)
    estimates = machine.estimates()
    assert first.id not in estimates
    assert estimates[second.id] == pytest.approx(6.0)
    assert estimates[third.id] == pytest.approx(16.0)


def test_a_load_that_lies_between_is_part_of_the_estimate() -> None:
    machine = one_gpu()
    machine.ask(A)
    machine.load("a")
    machine.now_s += 10.0
    machine.release_all()
    machine.ask(A)
    waiting = machine.ask(plan_of("b", 6, load_s=7.0), person="bob")
    assert machine.estimates()[waiting.id] == pytest.approx(17.0)


def test_nothing_is_estimated_about_a_model_that_never_ran() -> None:
    machine = one_gpu()
    machine.ask(A)
    machine.load("a")
    waiting = machine.ask(A)
    assert machine.estimates()[waiting.id] is None
