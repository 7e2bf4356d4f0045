# SPDX-License-Identifier: Apache-2.0
"""A machine that tries to break what the scheduler promises, with random devices, models, people and luck.

`Machine` checks the promises after each act. Here are the acts, and liveness: from wherever the machine has
got to, a kind world serves or refuses everybody within a bounded number of rounds, also under a flood.
"""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.unit.runtime.machine import CRASHED, NO_MEMORY, NOT_LOADED, Machine, plan_of

from inglenook.base.ids import LeaseId, ModelId, RequestId, ResidentId
from inglenook.base.work import WorkClass
from inglenook.runtime.contracts import LoadPlan, ResidentState
from inglenook.runtime.scheduler.parking import is_parked
from inglenook.runtime.scheduler.policy import Rules
from inglenook.runtime.scheduler.resident import Resident
from inglenook.testing.devices import fake_device

PEOPLE = ("ann", "bob", "cem", "dee")
RULES = Rules(aging_s=20.0, patience_s=3.0, idle_unload_s=50.0)
SETTINGS = settings(
    deadline=None,
    stateful_step_count=30,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)

devices = st.lists(st.sampled_from(["cuda:0", "cuda:1", "cpu"]), min_size=1, max_size=3, unique=True).flatmap(
    lambda names: st.tuples(*[st.builds(fake_device, st.just(n), st.integers(2, 20)) for n in names])
)
"""Budgets in bytes, so small that everything collides."""

models = st.fixed_dictionaries(
    {
        "sizes": st.dictionaries(st.sampled_from(["cuda", "cpu"]), st.integers(1, 14), min_size=1),
        "growth": st.integers(0, 4),
        "load_s": st.sampled_from([0.1, 1.0, 8.0]),
        "weight": st.sampled_from([0.5, 1.0, 4.0]),
        "pinned": st.sampled_from([False, False, False, True]),
        "capacity": st.sampled_from([1, 1, 1, 3]),
        "sparing": st.sampled_from([(), (), (0.75,), (0.75, 0.5, 0.25)]),
        "fixed": st.sampled_from([False, False, True]),
        "keep_s": st.sampled_from([None, None, 0.0, 10.0, math.inf]),
        "parkable": st.sampled_from([False, True]),
        "kept": st.sampled_from([0.0, 0.0, 0.3, 1.0]),
    }
)


def plan(model: int, facts: dict[str, Any], scale: int) -> LoadPlan:
    sizes = {kind: size + scale * facts["growth"] for kind, size in facts["sizes"].items()}
    return plan_of(
        f"model{model}",
        sizes,
        scale=scale,
        load_s=facts["load_s"],
        weight=facts["weight"],
        pinned=facts["pinned"],
        capacity=facts["capacity"],
        sparing=facts["sparing"],
        fixed=facts["fixed"],
        form=f"of {scale}" if facts["fixed"] else "",
        keep_s=facts["keep_s"],
        parkable=facts["parkable"],
    )


class Promises(RuleBasedStateMachine):
    machine: Machine

    @initialize(
        devices=devices,
        models=st.lists(models, min_size=1, max_size=4),
        most=st.sampled_from([None, None, 1, 2, 3]),
        share=st.sampled_from([0.0, 0.2, 0.2, 0.5, 0.8, 1.0]),
        slice_s=st.sampled_from([1.0, 5.0, 15.0]),
    )
    def begin(
        self,
        devices: tuple[Any, ...],
        models: list[dict[str, Any]],
        most: int | None,
        share: float,
        slice_s: float,
    ) -> None:
        rules = replace(RULES, max_loaded=most, training_share=share, training_slice_s=slice_s)
        self.machine = Machine(devices, rules)
        self.machine.kept = {ModelId(f"model{n}"): facts["kept"] for n, facts in enumerate(models)}
        self.models = models

    # -- people ------------------------------------------------------------------------------------------

    @rule(
        model=st.integers(0, 3),
        scale=st.integers(0, 2),
        person=st.sampled_from(PEOPLE),
        work_class=st.sampled_from(WorkClass),
        device=st.none() | st.integers(0, 2),
        count=st.sampled_from([1, 1, 2, 5]),
        keep_s=st.sampled_from([None, None, None, 0.0, 5.0, math.inf]),
    )
    def arrive(
        self,
        model: int,
        scale: int,
        person: str,
        work_class: WorkClass,
        device: int | None,
        count: int,
        keep_s: float | None,
    ) -> None:
        names = list(self.machine.ledger.devices)
        only = () if device is None else (names[device % len(names)],)
        number = model % len(self.models)
        for _ in range(count):
            self.machine.ask(
                plan(number, self.models[number], scale),
                person=person,
                work_class=work_class,
                devices=only,
                keep_s=keep_s,
                settle=False,
            )
        self.machine.settle()

    @precondition(lambda self: self.machine.ledger.waiting)
    @rule(data=st.data())
    def go_away(self, data: st.DataObject) -> None:
        self.machine.withdraw(data.draw(st.sampled_from(sorted(self.machine.ledger.waiting))))

    @precondition(lambda self: self.machine.ledger.leases)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        lease = data.draw(st.sampled_from(sorted(self.machine.ledger.leases)))
        self.machine.release(lease)
        self.machine.release(lease)  # giving back twice is giving back once

    @rule()
    def leave_and_give_back_what_one_has_not(self) -> None:
        self.machine.withdraw(RequestId("req0000"))
        self.machine.release(LeaseId("lease0000"))

    # -- children ----------------------------------------------------------------------------------------

    def _in(self, *states: ResidentState) -> list[ResidentId]:
        return [r.id for r in self.machine.ledger.residents.values() if r.state in states]

    @rule()
    def all_children_get_on(self) -> None:
        self.machine.children_get_on()
        self.machine.settle()

    @precondition(lambda self: self._in(ResidentState.STARTING))
    @rule(data=st.data(), luck=st.sampled_from([None, None, None, NOT_LOADED, NO_MEMORY]))
    def loading_ends(self, data: st.DataObject, luck: Any) -> None:
        resident = data.draw(st.sampled_from(self._in(ResidentState.STARTING)))
        if luck is None:
            self.machine.ready(resident)
        else:
            self.machine.gone(resident, luck)

    @precondition(lambda self: self._in(ResidentState.READY))
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        self.machine.gone(data.draw(st.sampled_from(self._in(ResidentState.READY))), CRASHED)

    @precondition(lambda self: self._in(ResidentState.READY))
    @rule(data=st.data())
    def begin_to_die(self, data: st.DataObject) -> None:
        self.machine.lost(data.draw(st.sampled_from(self._in(ResidentState.READY))))

    @precondition(lambda self: self._in(ResidentState.PARKING))
    @rule(data=st.data(), luck=st.sampled_from(["parked", "parked", "measured", "nothing", "ill", "dead"]))
    def parking_ends(self, data: st.DataObject, luck: str) -> None:
        resident = data.draw(st.sampled_from(self._in(ResidentState.PARKING)))
        reserved = self.machine.ledger.residents[resident].reserved_bytes
        match luck:
            case "parked":
                self.machine.parked(resident)
            case "measured":
                self.machine.parked(resident, int(reserved * data.draw(st.sampled_from([0.1, 0.8, 2.0]))))
            case "nothing":
                self.machine.stayed(resident)
            case "ill":
                self.machine.lost(resident)
            case "dead":
                self.machine.gone(resident, CRASHED)

    @precondition(lambda self: self._in(ResidentState.PARKED))
    @rule(data=st.data(), share=st.sampled_from([0.0, 0.5, 1.0, 3.0]))
    def a_parked_one_is_measured(self, data: st.DataObject, share: float) -> None:
        resident = data.draw(st.sampled_from(self._in(ResidentState.PARKED)))
        whole = self.machine.ledger.residents[resident].whole_bytes
        self.machine.measure(resident, int(whole * share))

    @precondition(lambda self: self._in(ResidentState.PARKED))
    @rule(data=st.data())
    def it_dies_while_it_is_parked(self, data: st.DataObject) -> None:
        self.machine.gone(data.draw(st.sampled_from(self._in(ResidentState.PARKED))), CRASHED)

    @precondition(lambda self: self._in(ResidentState.RESUMING))
    @rule(data=st.data(), luck=st.sampled_from(["back", "back", "ill", "dead"]))
    def coming_back_ends(self, data: st.DataObject, luck: str) -> None:
        resident = data.draw(st.sampled_from(self._in(ResidentState.RESUMING)))
        match luck:
            case "back":
                self.machine.resumed(resident)
            case "ill":
                self.machine.lost(resident)
            case "dead":
                self.machine.gone(resident, CRASHED)

    @precondition(lambda self: self._in(ResidentState.DRAINING))
    @rule(data=st.data(), luck=st.sampled_from([None, None, CRASHED]))
    def drained(self, data: st.DataObject, luck: Any) -> None:
        self.machine.gone(data.draw(st.sampled_from(self._in(ResidentState.DRAINING))), luck)

    @precondition(lambda self: self._in(ResidentState.READY))
    @rule(data=st.data(), share=st.sampled_from([0.1, 0.9, 1.0, 1.3, 3.0]))
    def measured(self, data: st.DataObject, share: float) -> None:
        resident = data.draw(st.sampled_from(self._in(ResidentState.READY)))
        self.machine.measure(resident, int(self.machine.ledger.residents[resident].reserved_bytes * share))

    @precondition(lambda self: any(r.is_idle for r in self.machine.ledger.residents.values()))
    @rule(data=st.data())
    def somebody_unloads(self, data: st.DataObject) -> None:
        idle = [r.id for r in self.machine.ledger.residents.values() if r.is_idle]
        self.machine.unload(data.draw(st.sampled_from(idle)))

    @precondition(lambda self: self._in(ResidentState.STARTING, ResidentState.READY))
    @rule(data=st.data())
    def somebody_wants_it_unloaded_when_its_work_is_done(self, data: st.DataObject) -> None:
        able = self._in(ResidentState.STARTING, ResidentState.READY)
        resident = data.draw(st.sampled_from(able))
        leases = set(self.machine.ledger.residents[resident].leases)
        self.machine.leave(resident)
        still = self.machine.ledger.residents.get(resident)
        assert not leases or (still is not None and still.leases == leases), "its work was cut off"

    @rule(
        model=st.integers(0, 3),
        pinned=st.sampled_from([False, False, True]),
        keep_s=st.sampled_from([None, 0.0, 5.0, math.inf]),
    )
    def somebody_says_how_a_model_is_kept(self, model: int, pinned: bool, keep_s: float | None) -> None:
        name = ModelId(f"model{model % len(self.models)}")
        self.machine.keep(name, pinned=pinned, keep_s=keep_s)
        kept = [r for r in self.machine.ledger.residents.values() if r.plan.model == name]
        assert all((r.pinned, r.keep_s) == (pinned, keep_s) for r in kept)

    @rule(model=st.integers(0, 3), keep_s=st.sampled_from([0.0, 5.0, math.inf]))
    def somebody_keeps_what_is_loaded(self, model: int, keep_s: float) -> None:
        self.machine.keep_loaded(ModelId(f"model{model % len(self.models)}"), keep_s)

    @rule(seconds=st.sampled_from([0.1, 1.0, 2.0, 5.0, 25.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.machine.advance(seconds)

    # -- liveness ----------------------------------------------------------------------------------------

    @precondition(lambda self: self.machine.ledger.waiting)
    @rule()
    def a_kind_world_serves_everybody(self) -> None:
        world = self.machine.copy()
        waiting = set(world.ledger.waiting)
        world.rounds_until_served(waiting, most=120 + 15 * len(waiting))

    @precondition(lambda self: any(is_parked(r) for r in self.machine.ledger.residents.values()))
    @rule(model=st.integers(0, 3), flood=st.booleans())
    def every_training_comes_back(self, model: int, flood: bool) -> None:
        """Also when urgent work never ends; unless pinned models hold its memory or its place."""
        world = self.machine.copy()
        parked = {r.id: set(r.leases) for r in world.ledger.residents.values() if is_parked(r)}
        wanted = plan(model % len(self.models), self.models[model % len(self.models)], 0)
        for _ in range(300):
            left = [r for r in world.ledger.residents.values() if r.leases & parked.get(r.id, set())]
            if not any(is_parked(r) and not self._is_kept_out(world, r) for r in left):
                return
            if flood and not any(r.plan == wanted for r in world.ledger.waiting.values()):
                world.ask(wanted, person="eve", settle=False)
            world.kind_round(lease_s=(2.0, 3.0))
        raise AssertionError(f"never came back: {[(r.id, r.parking) for r in left]}")

    @staticmethod
    def _is_kept_out(world: Machine, training: Resident) -> bool:
        device = world.ledger.devices[training.device]
        staying = [r for r in world.ledger.residents.values() if r.stays and r is not training]
        most = world.rules.max_loaded
        if most is not None and len(staying) >= most:
            return True
        pinned = world.ledger.pinned_bytes(device.id, but=training)
        others = [r for r in world.ledger.on_device(device.id) if is_parked(r) and r is not training]
        kept = sum(r.reserved_bytes for r in others if not r.stays)
        return training.whole_bytes > device.budget_bytes - pinned - kept

    @precondition(lambda self: self.machine.ledger.waiting)
    @rule(model=st.integers(0, 3), others=st.booleans(), overlap=st.booleans())
    def a_flood_of_urgent_work_starves_nobody(self, model: int, others: bool, overlap: bool) -> None:
        """Two people always have something urgent waiting for one model, or for every model; with leases
        that overlap, a model that serves three at once is never idle by itself."""
        world = self.machine.copy()
        waiting = set(world.ledger.waiting)
        numbers = range(len(self.models)) if others else [model % len(self.models)]
        flood = [plan(number, self.models[number], 0) for number in numbers]
        for _ in range(200 + 40 * len(waiting)):
            if waiting.isdisjoint(world.ledger.waiting):
                return
            for person in ("eve", "fay"):
                for wanted in flood:
                    if not any(
                        r.person == person and r.plan == wanted for r in world.ledger.waiting.values()
                    ):
                        world.ask(wanted, person=person, settle=False)
            world.kind_round(lease_s=(0.0, 2.0, 1.0) if overlap else (0.0,))
        left = waiting.intersection(world.ledger.waiting)
        raise AssertionError(f"starved: {[world.submitted[request] for request in left]}")

    @invariant()
    def promises_hold(self) -> None:
        if hasattr(self, "machine"):
            self.machine.check()


def facts(size: int, *, parkable: bool, capacity: int = 1, kept: float = 0.0) -> dict[str, Any]:
    """A model of which nothing else matters here."""
    return {
        "sizes": {"cuda": size},
        "growth": 0,
        "load_s": 1.0,
        "weight": 1.0,
        "pinned": False,
        "capacity": capacity,
        "sparing": (),
        "fixed": False,
        "keep_s": None,
        "parkable": parkable,
        "kept": kept,
    }


class TrainingsStepAside(Promises):
    """One device, a training or two on it, and others who want its memory: parking all the time."""

    @initialize(
        sizes=st.tuples(st.integers(4, 9), st.integers(3, 9), st.integers(2, 9), st.integers(2, 6)),
        kept=st.sampled_from([0.0, 0.0, 0.3, 0.7]),
        most=st.sampled_from([None, None, 1, 2]),
        share=st.sampled_from([0.0, 0.2, 0.5, 0.8]),
        slice_s=st.sampled_from([1.0, 5.0, 15.0]),
    )
    def begin(
        self,
        sizes: tuple[int, int, int, int],
        kept: float,
        most: int | None,
        share: float,
        slice_s: float,
    ) -> None:
        rules = replace(RULES, max_loaded=most, training_share=share, training_slice_s=slice_s)
        self.machine = Machine([fake_device("cuda:0", 10)], rules)
        self.models = [
            facts(sizes[0], parkable=True, kept=kept),
            facts(sizes[1], parkable=True),
            facts(sizes[2], parkable=False),
            facts(sizes[3], parkable=False, capacity=3),
        ]
        self.machine.kept = {ModelId("model0"): kept}
        self.train(0)

    @rule(model=st.sampled_from([0, 1]))
    def train(self, model: int) -> None:
        wanted = plan(model, self.models[model], 0)
        self.machine.ask(wanted, person="tess", work_class=WorkClass.TRAINING)
        self.machine.children_get_on()
        self.machine.settle()

    @rule(model=st.sampled_from([2, 3]), work_class=st.sampled_from(["interactive", "batch"]))
    def others_want_memory(self, model: int, work_class: str) -> None:
        wanted = plan(model, self.models[model], 0)
        self.machine.ask(wanted, person="ann", work_class=WorkClass(work_class))
        self.machine.children_get_on()
        self.machine.settle()


TestTrainingsStepAside = TrainingsStepAside.TestCase
TestTrainingsStepAside.settings = settings(SETTINGS, max_examples=20)


class LongTrainingsStepAside(TrainingsStepAside):
    pass


TestLongTrainingsStepAside = pytest.mark.slow(LongTrainingsStepAside.TestCase)
TestLongTrainingsStepAside.settings = settings(SETTINGS, max_examples=150, stateful_step_count=50)
TestLongTrainingsStepAside = pytest.mark.timeout(1200)(TestLongTrainingsStepAside)

TestPromises = Promises.TestCase
TestPromises.settings = settings(SETTINGS, max_examples=40)


class LongPromises(Promises):
    pass


TestLongPromises = pytest.mark.slow(LongPromises.TestCase)
TestLongPromises.settings = settings(SETTINGS, max_examples=500, stateful_step_count=60)
TestLongPromises = pytest.mark.timeout(1200)(TestLongPromises)
