# SPDX-License-Identifier: Apache-2.0
"""How long a model stays: by request, option and pin, until somebody wants it gone; how many there may be."""

import math

import pytest
from tests.unit.runtime.machine import CRASHED, Machine, plan_of

from inglenook.base.ids import ModelId, RequestId
from inglenook.runtime.contracts import LoadPlan, ResidentState, WaitKind
from inglenook.runtime.scheduler.ledger import LedgerError
from inglenook.runtime.scheduler.policy import Evict, Rules, Start, comes_next
from inglenook.testing.devices import fake_device

A, B, C = plan_of("a", 6), plan_of("b", 6), plan_of("c", 3)
RULES = Rules(patience_s=5.0, idle_unload_s=300.0)


def one_gpu(budget: int = 10, rules: Rules = RULES) -> Machine:
    return Machine([fake_device("cuda:0", budget)], rules)


def used(machine: Machine, plan: LoadPlan, *, keep_s: float | None = None) -> None:
    """Load it where that has to be, serve one request and give back."""
    machine.ask(plan, keep_s=keep_s)
    for resident in list(machine.ledger.residents.values()):
        if resident.state is ResidentState.STARTING:
            machine.ready(resident.id)
    machine.release_all()


def in_steady_use(machine: Machine, plan: LoadPlan, *, devices: tuple[str, ...] = ()) -> None:
    """One second in which the model is never idle, unless it is withheld: the next lease begins before the
    last one ends. Children get on."""
    running = list(machine.ledger.leases)
    if not any(r.plan == plan and r.person == "eve" for r in machine.ledger.waiting.values()):
        machine.ask(plan, person="eve", devices=devices)
    for lease in running:
        machine.release(lease)
    machine.children_get_on()
    machine.advance(1.0)


def states(machine: Machine) -> dict[str, str]:
    return {str(r.plan.model): r.state.value for r in machine.ledger.residents.values()}


# -- keeping --------------------------------------------------------------------------------------------


def test_a_model_goes_when_it_was_idle_for_as_long_as_the_rules_say() -> None:
    machine = one_gpu()
    used(machine, A)
    machine.advance(299.0)
    assert states(machine) == {"a": "ready"}
    machine.advance(1.0)
    assert states(machine) == {"a": "draining"}


def test_what_a_plan_says_of_keeping_goes_before_the_rules() -> None:
    machine = one_gpu()
    used(machine, plan_of("a", 3, keep_s=10.0))
    used(machine, plan_of("b", 3, keep_s=math.inf))
    machine.advance(10.0)
    assert states(machine) == {"a": "draining", "b": "ready"}
    machine.advance(1e9)
    assert states(machine)["b"] == "ready"


def test_what_a_request_says_stays_until_another_says_something_else() -> None:
    machine = one_gpu()
    used(machine, A, keep_s=20.0)
    used(machine, A)  # says nothing
    machine.advance(19.0)
    assert states(machine) == {"a": "ready"}
    used(machine, A, keep_s=2.0)
    machine.advance(2.0)
    assert states(machine) == {"a": "draining"}


def test_a_request_that_keeps_nothing_lets_the_model_go_when_the_last_lease_is_back() -> None:
    machine = one_gpu()
    plan = plan_of("a", 6, capacity=2)
    machine.ask(plan, keep_s=0.0)
    machine.load("a")
    machine.ask(plan)
    first, second = machine.ledger.leases
    machine.release(first)
    assert states(machine) == {"a": "ready"}
    machine.release(second)
    assert states(machine) == {"a": "draining"}
    assert not any(isinstance(decision, Evict) and decision.request for decision in machine.decisions)


def test_who_waits_for_a_model_that_nobody_keeps_is_served_before_it_goes() -> None:
    machine = one_gpu()
    machine.ask(A, keep_s=0.0)
    machine.load("a")
    waiting = machine.ask(A)
    machine.release_all()
    assert machine.served[-1].id == waiting.id
    assert states(machine) == {"a": "ready"}


def test_a_model_that_is_kept_for_ever_still_makes_room_for_others() -> None:
    machine = one_gpu()
    used(machine, A, keep_s=math.inf)
    machine.ask(B)
    assert states(machine) == {"a": "draining"}


def test_how_long_what_is_loaded_stays_can_be_said_without_a_request() -> None:
    machine = one_gpu()
    used(machine, A)
    machine.advance(30.0)
    machine.keep_loaded(ModelId("b"), 1.0)
    assert states(machine) == {"a": "ready"}
    machine.keep_loaded(ModelId("a"), 30.0)
    assert states(machine) == {"a": "draining"}


# -- pins -----------------------------------------------------------------------------------------------


def test_a_pin_set_while_the_model_is_loaded_keeps_it_from_others_and_from_idleness() -> None:
    machine = one_gpu()
    used(machine, A)
    machine.keep(ModelId("a"), pinned=True, keep_s=1.0)
    machine.advance(1e6)
    refused = machine.ask(B)
    assert states(machine) == {"a": "ready"}
    assert "pinned models hold 6 B" in machine.refused[refused.id].message


def test_a_pin_that_is_taken_away_gives_the_memory_to_who_wants_it() -> None:
    machine = one_gpu()
    used(machine, plan_of("a", 6, pinned=True))
    machine.keep(ModelId("a"), pinned=False, keep_s=None)
    machine.ask(B)
    assert states(machine) == {"a": "draining"}


def test_a_pin_that_was_set_while_a_request_waited_holds_for_what_it_starts() -> None:
    """The plan of the request was made before: what was said last is what counts."""
    machine = one_gpu()
    used(machine, A)
    machine.ask(A)
    waiting = machine.ask(B)
    machine.keep(ModelId("b"), pinned=True, keep_s=None)
    machine.rounds_until_served({waiting.id}, most=30)
    assert machine.resident("b").pinned


# -- unloading ------------------------------------------------------------------------------------------


def test_an_idle_model_that_is_to_go_goes_now() -> None:
    machine = one_gpu()
    used(machine, A)
    machine.leave(machine.resident("a").id)
    assert states(machine) == {"a": "draining"}
    assert machine.decisions[-1] == Evict(machine.resident("a").id, "somebody asked for it")


def test_unloading_never_cuts_work_off_and_lets_nothing_new_begin() -> None:
    machine = one_gpu()
    plan = plan_of("a", 6, capacity=4)
    machine.ask(plan)
    machine.load("a")
    machine.leave(machine.resident("a").id)
    later = machine.ask(plan, person="bob")
    kind, text, holders = machine.reason_of(later)
    assert kind is WaitKind.TURN
    assert text == (
        "a is unloaded when its work is done (work 1 for owner): somebody asked for that. "
        "It is loaded again then"
    )
    assert holders == ("work 1 for owner",)
    machine.advance(1000.0)
    assert len(machine.resident("a").leases) == 1
    machine.release_all()
    assert states(machine) == {"a": "draining"}
    machine.gone(machine.resident("a").id)
    assert states(machine) == {"a": "starting"}
    machine.load("a")
    assert machine.served[-1].id == later.id


def test_a_pinned_model_goes_too_when_somebody_asks_for_it() -> None:
    machine = one_gpu()
    used(machine, plan_of("a", 6, pinned=True))
    machine.leave(machine.resident("a").id)
    assert states(machine) == {"a": "draining"}


def test_what_is_to_go_is_no_reason_to_refuse_others() -> None:
    machine = one_gpu()
    machine.ask(plan_of("a", 6, pinned=True))
    machine.load("a")
    machine.leave(machine.resident("a").id)
    waiting = machine.ask(B)
    assert machine.reason_of(waiting)[0] is WaitKind.MEMORY
    machine.release_all()
    machine.rounds_until_served({waiting.id}, most=5)


def test_a_model_that_is_being_loaded_goes_when_it_is_ready() -> None:
    machine = one_gpu()
    machine.withdraw(machine.ask(A).id)
    machine.leave(machine.resident("a").id)
    assert states(machine) == {"a": "starting"}
    machine.load("a")
    assert states(machine) == {"a": "draining"}


def test_a_model_that_is_being_loaded_stays_for_who_waits_for_it_then() -> None:
    machine = one_gpu()
    waiting = machine.ask(A)
    machine.leave(machine.resident("a").id)
    machine.load("a")
    assert [request.id for request in machine.served] == [waiting.id]
    machine.release_all()
    assert states(machine) == {"a": "ready"}


def test_what_goes_already_cannot_be_told_to_go() -> None:
    machine = one_gpu()
    used(machine, A)
    machine.unload(machine.resident("a").id)
    with pytest.raises(LedgerError, match="it goes already"):
        machine.leave(machine.resident("a").id)


def test_a_model_that_was_to_go_and_dies_first_is_loaded_again_for_who_waits() -> None:
    machine = one_gpu()
    machine.ask(A)
    machine.load("a")
    machine.leave(machine.resident("a").id)
    waiting = machine.ask(A, person="bob")
    machine.gone(machine.resident("a").id, CRASHED)
    assert machine.reason_of(waiting)[0] is WaitKind.BACKOFF
    machine.rounds_until_served({waiting.id}, most=5)


# -- the limit of loaded models -------------------------------------------------------------------------


def limited(most: int, budget: int = 100) -> Machine:
    return one_gpu(budget, Rules(patience_s=5.0, max_loaded=most))


def test_two_models_over_the_limit_asked_at_once_are_never_both_loaded() -> None:
    machine = limited(1)
    first, second = machine.ask(A, settle=False), machine.ask(B, person="bob", settle=False)
    machine.settle()
    assert states(machine) == {"a": "starting"}
    kind, text, holders = machine.reason_of(second)
    assert kind is WaitKind.LIMIT
    assert text == "1 model may be loaded at once (runtime.max_loaded); held by a (being loaded)"
    assert holders == ("a (being loaded)",)
    machine.rounds_until_served({first.id, second.id}, most=20)


def test_a_model_that_is_being_unloaded_still_takes_its_place() -> None:
    machine = limited(1)
    used(machine, A)
    waiting = machine.ask(B)
    assert states(machine) == {"a": "draining"}
    assert machine.reason_of(waiting)[:2] == (
        WaitKind.DRAINING,
        "1 model may be loaded at once (runtime.max_loaded); a is being unloaded to make place",
    )
    evicted = next(d for d in machine.decisions if isinstance(d, Evict))
    assert evicted.reason == (
        "work 4 for owner needs its place: 1 model may be loaded at once (runtime.max_loaded)"
    )
    machine.gone(machine.resident("a").id)
    assert states(machine) == {"b": "starting"}


def test_a_limit_of_one_holds_under_load_and_serves_everybody() -> None:
    """`Machine` checks after each act that there is never a second child, whatever its state."""
    machine = limited(1)
    plans = [plan_of(name, 5, capacity=2) for name in "abcd"]
    requests = [machine.ask(plans[n % 4], person=f"p{n % 3}", settle=False) for n in range(60)]
    machine.settle()
    machine.rounds_until_served({r.id for r in requests}, most=400)
    starts = sum(isinstance(decision, Start) for decision in machine.decisions)
    assert starts < 40, "it has swapped for nearly every request"


def test_a_place_on_another_device_counts_too() -> None:
    machine = Machine(
        [fake_device("cuda:0", 10), fake_device("cuda:1", 10)], Rules(patience_s=5.0, max_loaded=1)
    )
    machine.ask(A, devices=("cuda:0",))
    machine.load("a")
    waiting = machine.ask(B, devices=("cuda:1",), person="bob")
    assert machine.reason_of(waiting)[0] is WaitKind.LIMIT
    machine.release_all()
    assert states(machine) == {"a": "draining"}


def test_who_waits_for_a_place_is_not_overtaken_by_who_would_fit_elsewhere() -> None:
    machine = limited(2)
    machine.ask(A)
    machine.load("a")
    machine.ask(B)
    machine.load("b")
    waiting = machine.ask(C, person="cem")
    behind = machine.ask(plan_of("d", 1), person="dee")
    assert machine.reason_of(waiting)[0] is WaitKind.LIMIT
    assert machine.reason_of(behind)[:2] == (
        WaitKind.BEHIND,
        f"{waiting.label} came first and waits for a place among the loaded models",
    )


def test_a_model_in_steady_use_gives_its_place_when_patience_is_over() -> None:
    """Its leases overlap, so that it would never be idle by itself."""
    machine = limited(1)
    plan = plan_of("a", 5, capacity=2)
    machine.ask(plan, person="eve")
    machine.load("a")
    waiting = machine.ask(B, person="bob")
    for _ in range(20):
        in_steady_use(machine, plan)
    assert waiting.id not in machine.ledger.waiting, machine.reason_of(waiting)


def test_the_same_model_in_use_on_another_device_does_not_starve_who_wants_it_here() -> None:
    machine = Machine(
        [fake_device("cuda:0", 10), fake_device("cuda:1", 10)], Rules(patience_s=5.0, max_loaded=1)
    )
    plan = plan_of("a", 5, capacity=2)
    machine.ask(plan, person="eve", devices=("cuda:0",))
    machine.load("a")
    waiting = machine.ask(plan, person="bob", devices=("cuda:1",))
    for _ in range(20):
        in_steady_use(machine, plan, devices=("cuda:0",))
    assert waiting.id not in machine.ledger.waiting, machine.reason_of(waiting)


def test_pinned_models_that_take_every_place_are_named_to_who_is_refused() -> None:
    machine = limited(1)
    used(machine, plan_of("a", 6, pinned=True))
    refused = machine.ask(B)
    assert machine.refused[refused.id].message == (
        "b cannot be loaded: 1 model may be loaded at once (runtime.max_loaded), and pinned ones take every "
        "place: a."
    )


# -- what is fixed at load, and variants ----------------------------------------------------------------


def test_work_never_makes_a_model_grow_whose_memory_is_fixed_at_load() -> None:
    machine = one_gpu()
    machine.ask(plan_of("a", 4, fixed=True, form="small", capacity=2))
    machine.load("a")
    larger = machine.ask(plan_of("a", 9, fixed=True, form="large", capacity=2))
    assert machine.served[-1].id == larger.id
    assert machine.resident("a").reserved_bytes == 4


def test_what_was_learned_of_one_form_says_nothing_of_another() -> None:
    machine = one_gpu(100)
    machine.ask(plan_of("a", 10, fixed=True, form="f16"))
    machine.load("a")
    machine.measure(machine.resident("a").id, 20)
    device = next(iter(machine.ledger.devices.values()))
    sizes = [
        machine.ledger.footprint_bytes(plan_of("a", 10, fixed=True, form=f), device) for f in ("f16", "q8")
    ]
    assert sizes == [20, 10]


def test_a_verdict_about_one_form_is_not_that_of_another() -> None:
    """The first is too large for what is free; the second, which is smaller, must not inherit its wait."""
    machine = Machine([fake_device("cuda:0", 10), fake_device("cuda:1", 3)], RULES)
    machine.ask(B)
    large = machine.ask(plan_of("a", 9, fixed=True, form="large"), person="bob")
    small = machine.ask(plan_of("a", 3, fixed=True, form="small"), person="cem")
    assert large.id in machine.ledger.waiting
    assert machine.resident("a").asked_by == small.label


def test_one_model_in_two_variants_is_two_residents() -> None:
    machine = one_gpu()
    machine.ask(plan_of("a", 4))
    machine.ask(plan_of("a", 4, variant="embedding"))
    assert [r.plan.key for r in machine.ledger.residents.values()] == [("fake", "a"), ("fake/embedding", "a")]


# -- what comes next ------------------------------------------------------------------------------------


def test_what_waits_for_memory_comes_next() -> None:
    machine = one_gpu()
    machine.ask(A)
    machine.load("a")
    assert comes_next(machine.ledger, machine.now_s, machine.rules) is None
    machine.ask(A, person="bob")  # waits for its turn: nothing is loaded for that
    assert comes_next(machine.ledger, machine.now_s, machine.rules) is None
    waiting = machine.ask(B, person="cem")
    assert comes_next(machine.ledger, machine.now_s, machine.rules) == B
    machine.withdraw(waiting.id)
    assert comes_next(machine.ledger, machine.now_s, machine.rules) is None


# -- pictures and language in one queue -----------------------------------------------------------------


def test_pictures_and_conversations_share_a_device_that_holds_one_of_them() -> None:
    """Four people chat all the time (leases of 2 and 3 s that overlap, a load of 1 s), two draw (10 s each,
    a load of 8 s). For ten minutes nobody waits for longer than the others' turns take, and every wait is
    explained (`Machine` checks that after each act)."""
    machine = one_gpu(10, Rules(aging_s=60.0, patience_s=5.0, idle_unload_s=300.0))
    chat = plan_of("chat", 6, capacity=4, load_s=1.0, engine="llama.cpp", fixed=True)
    draw = plan_of("draw", 8, load_s=8.0, engine="diffusers")
    held_s = {"chat": (2.0, 3.0), "draw": (10.0, 10.0)}
    arrived: dict[RequestId, float] = {}
    waits: dict[str, list[float]] = {"chat": [], "draw": []}
    people = [("chat", chat, f"chat{n}") for n in range(4)] + [("draw", draw, f"draw{n}") for n in range(2)]
    served = 0
    for _ in range(600):
        for _kind, plan, person in people:
            busy = any(r.person == person for r in machine.ledger.waiting.values()) or any(
                held.request.person == person for held in machine.ledger.leases.values()
            )
            if not busy:
                request = machine.ask(plan, person=person, settle=False)
                arrived[request.id] = machine.now_s
        machine.settle()
        for request in machine.served[served:]:
            waits[str(request.plan.model)].append(machine.now_s - arrived[request.id])
        served = len(machine.served)
        for held in list(machine.ledger.leases.values()):
            if machine.now_s - held.granted_s >= held_s[str(held.request.plan.model)][held.request.order % 2]:
                machine.ledger.release(held.id, machine.now_s)
        for resident in list(machine.ledger.residents.values()):
            kind_load_s = 1.0 if resident.plan.model == "chat" else 8.0
            if resident.state is ResidentState.STARTING and machine.now_s - resident.started_s >= kind_load_s:
                machine.ledger.became_ready(resident.id, machine.now_s)
            elif resident.state is ResidentState.DRAINING:
                machine.ledger.gone(resident.id, machine.now_s, None)
        machine.now_s += 1.0
        machine.settle()
    assert max(waits["draw"]) <= 60.0, "somebody who draws has waited for longer than a minute"
    assert max(waits["chat"]) <= 60.0, "somebody who chats has waited for longer than a minute"
    assert len(waits["draw"]) >= 12, f"{len(waits['draw'])} pictures in ten minutes"
    assert len(waits["chat"]) >= 60, f"{len(waits['chat'])} answers in ten minutes"
    starts = sum(isinstance(decision, Start) for decision in machine.decisions)
    assert starts <= 600 / 10, f"{starts} loads in ten minutes: it does little else"
