# SPDX-License-Identifier: Apache-2.0
"""A model that does not fit whole is loaded at the least saving level at which it does."""

from tests.unit.runtime.machine import NO_MEMORY, Machine, plan_of

from inglenook.runtime.contracts import FootprintKey, ResidentState
from inglenook.runtime.scheduler.policy import Rules
from inglenook.runtime.scheduler.snapshot import saving_reason, snapshot
from inglenook.testing.devices import fake_device

RULES = Rules(aging_s=20.0, patience_s=3.0, idle_unload_s=None)
LADDER = (0.75, 0.5, 0.25)


def machine(*budgets: int) -> Machine:
    return Machine(tuple(fake_device(f"cuda:{n}", budget) for n, budget in enumerate(budgets)), RULES)


def test_what_fits_spares_nothing() -> None:
    one = machine(100)
    one.ask(plan_of("a", 100, sparing=LADDER))
    resident = one.load("a")
    assert (resident.saving, resident.reserved_bytes) == (0, 100)
    assert saving_reason(one.ledger, resident) is None


def test_the_least_level_that_fits_is_chosen_and_says_why() -> None:
    one = machine(60)
    one.ask(plan_of("a", 100, sparing=LADDER))
    resident = one.load("a")
    assert (resident.saving, resident.reserved_bytes) == (2, 50)
    (shown,) = snapshot(one.ledger, one.now_s, {}, {}, {}, {}, RULES)["residents"]
    assert shown["saving"] == 2
    assert shown["saving_reason"] == (
        "memory is spared at level 2, which is slower: with nothing spared a needs 100 B, "
        "and the budget of cuda:0 is 60 B"
    )


def test_room_is_made_before_memory_is_spared() -> None:
    one = machine(100)
    one.ask(plan_of("idle", 40))
    one.load("idle")
    one.kind_round()
    one.ask(plan_of("a", 100, sparing=LADDER))
    one.kind_round()
    one.kind_round()
    assert (one.resident("a").saving, one.resident("a").reserved_bytes) == (0, 100)


def test_what_pinned_models_hold_is_not_there() -> None:
    one = machine(100)
    one.ask(plan_of("pinned", 40, pinned=True))
    one.load("pinned")
    one.ask(plan_of("a", 100, sparing=LADDER))
    assert one.resident("a").saving == 2
    assert "of which pinned models hold 40 B" in str(saving_reason(one.ledger, one.resident("a")))


def test_larger_work_raises_the_level_of_a_model_that_is_loaded_and_smaller_does_not_lower_it() -> None:
    one = machine(100)
    one.ask(plan_of("a", 90, sparing=LADDER))
    resident = one.load("a")
    one.kind_round()
    one.ask(plan_of("a", 160, sparing=LADDER, scale=1))
    assert (resident.saving, resident.reserved_bytes, len(resident.leases)) == (2, 90, 1)
    one.kind_round()
    one.ask(plan_of("a", 90, sparing=LADDER))
    assert resident.saving == 2
    assert [r for r in one.ledger.residents.values() if r.state is not ResidentState.DRAINING] == [resident]


def test_of_two_empty_devices_the_one_is_taken_where_less_has_to_be_spared() -> None:
    one = machine(60, 100)
    one.ask(plan_of("a", 100, sparing=LADDER))
    assert (one.resident("a").device, one.resident("a").saving) == ("cuda:1", 0)


def test_a_device_that_is_at_work_is_not_waited_for_where_sparing_helps() -> None:
    one = machine(60, 100)
    one.ask(plan_of("busy", 90))
    one.load("busy")
    one.ask(plan_of("a", 100, sparing=LADDER))
    assert (one.resident("a").device, one.resident("a").saving) == ("cuda:0", 2)


def test_what_fits_at_no_level_is_refused_and_says_so() -> None:
    one = machine(20)
    request = one.ask(plan_of("a", 100, sparing=LADDER))
    assert "a needs 25 B, also when as much memory as possible is spared" in one.refused[request.id].message


def test_footprints_are_learned_for_each_level_apart() -> None:
    one = machine(60)
    one.ask(plan_of("a", 100, sparing=LADDER))
    resident = one.load("a")
    one.measure(resident.id, 58)
    assert one.ledger.learned == {FootprintKey("fake", resident.plan.model, "cuda", 0, saving=2): 58}
    assert resident.reserved_bytes == 58


def test_a_level_whose_measured_need_is_too_large_is_passed_over() -> None:
    one = machine(60)
    plan = plan_of("a", 100, sparing=LADDER)
    one.ledger.learned[FootprintKey("fake", plan.model, "cuda", 0, saving=2)] = 61
    one.ask(plan)
    assert one.resident("a").saving == 3


def test_memory_that_runs_out_at_load_is_tried_once_more_at_the_same_level_with_all_there_is() -> None:
    one = machine(60)
    one.ask(plan_of("a", 100, sparing=LADDER))
    one.gone(one.resident("a").id, NO_MEMORY)
    assert (one.resident("a").saving, one.resident("a").reserved_bytes) == (2, 60)
