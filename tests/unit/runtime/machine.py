# SPDX-License-Identifier: Apache-2.0
"""The ledger and the policy without a loop: what `loop.py` does with decisions, in a few lines, and every
promise checked after every act. Used by the Hypothesis machine and by hand-written cases."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from inglenook.base.ids import OWNER, DeviceId, LeaseId, ModelId, PersonId, RequestId, ResidentId
from inglenook.base.work import WorkClass
from inglenook.runtime.contracts import (
    Device,
    Failure,
    FootprintKey,
    LoadPlan,
    OutOfMemoryEvidence,
    ParkReceipt,
    Request,
    ResidentState,
    WaitKind,
)
from inglenook.runtime.scheduler.ledger import Keeping, Ledger, Resident
from inglenook.runtime.scheduler.parking import turn_s
from inglenook.runtime.scheduler.policy import (
    Decision,
    Evict,
    Park,
    Refuse,
    Resume,
    Rules,
    Serve,
    Start,
    decide,
    explain_all,
    fair_order,
)
from inglenook.runtime.scheduler.resident import AWAY

CRASHED = Failure("child.killed", "it was ended by signal 11 (SIGSEGV)")
NOT_LOADED = Failure("child.exited", "it ended with status 3")
NO_MEMORY = Failure("load.out_of_memory", "memory ran out", None, OutOfMemoryEvidence("the test"))


@dataclass
class Machine:
    """Attributes:
    careful: every promise is checked after every act; costs more with every request there ever was.
    served: requests that got a lease, in that order.
    refused, failed: requests that ended without one.
    """

    devices: Iterable[Device]
    rules: Rules = field(default_factory=Rules)
    learned: Mapping[FootprintKey, tuple[int, float]] = field(default_factory=dict)
    careful: bool = True

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.devices, self.learned)
        self.now_s = 0.0
        self.numbers = count(1)
        self.submitted: dict[RequestId, Request] = {}
        self.served: list[Request] = []
        self.refused: dict[RequestId, Refuse] = {}
        self.failed: dict[RequestId, Failure] = {}
        self.withdrawn: set[RequestId] = set()
        self.decisions: list[Decision] = []
        self.kept: dict[ModelId, float] = {}
        """The share of its memory that a training keeps when it is parked; nothing, where nobody says."""

    # -- events, as the loop hands them on -------------------------------------------------------------

    def ask(
        self,
        plan: LoadPlan,
        *,
        person: str = OWNER,
        work_class: WorkClass = WorkClass.INTERACTIVE,
        devices: tuple[str, ...] = (),
        keep_s: float | None = None,
        settle: bool = True,
    ) -> Request:
        number = next(self.numbers)
        request = Request(
            id=RequestId(f"req{number:04}"),
            person=PersonId(person),
            work_class=work_class,
            plan=plan,
            label=f"work {number} for {person}",
            order=number,
            arrived_s=self.now_s,
            devices=tuple(DeviceId(device) for device in devices),
            keep_s=keep_s,
        )
        self.submitted[request.id] = request
        self.ledger.submit(request)
        if settle:
            self.settle()
        return request

    def withdraw(self, request: RequestId) -> None:
        if self.ledger.withdraw(request) is not None:
            self.withdrawn.add(request)
        self.settle()

    def release(self, lease: LeaseId) -> None:
        self.ledger.release(lease, self.now_s)
        self.settle()

    def release_all(self, *, settle: bool = True) -> None:
        for lease in list(self.ledger.leases):
            self.ledger.release(lease, self.now_s)
        if settle:
            self.settle()

    def ready(self, resident: ResidentId) -> None:
        self.ledger.became_ready(resident, self.now_s)
        self.settle()

    def gone(self, resident: ResidentId, failure: Failure | None = None) -> None:
        assert failure is None or isinstance(failure, Failure)
        for request in self.ledger.gone(resident, self.now_s, failure):
            assert failure is not None, "nobody fails with a child that was asked to go"
            self.failed[request.id] = failure
        self.settle()

    def parked(self, resident: ResidentId, measured_bytes: int | None = None, *, settle: bool = True) -> None:
        """It has freed the device, but for what it keeps."""
        found = self.ledger.residents[resident]
        kept = int(found.reserved_bytes * self.kept.get(found.plan.model, 0.0))
        receipt = ParkReceipt(0.5, found.reserved_bytes, kept, epoch=1, batch=7)
        self.ledger.parked(resident, self.now_s, receipt, measured_bytes)
        if settle:
            self.settle()

    def stayed(self, resident: ResidentId) -> None:
        self.ledger.stayed(resident, self.now_s, self.now_s + self.rules.patience_s)
        self.settle()

    def resumed(self, resident: ResidentId) -> None:
        self.ledger.resumed(resident, self.now_s)
        self.settle()

    def lost(self, resident: ResidentId) -> None:
        self.ledger.lost(resident)
        self.settle()

    def measure(self, resident: ResidentId, used_bytes: int) -> None:
        self.ledger.measure(resident, used_bytes)
        self.settle()

    def unload(self, resident: ResidentId) -> None:
        self.ledger.drain(resident, "somebody asked for it")
        self.settle()

    def leave(self, resident: ResidentId) -> None:
        self.ledger.leave(resident)
        self.settle()

    def keep(self, model: ModelId, *, pinned: bool, keep_s: float | None) -> None:
        self.ledger.keep(model, Keeping(pinned, keep_s))
        self.settle()

    def keep_loaded(self, model: ModelId, keep_s: float) -> None:
        self.ledger.keep_loaded(model, keep_s)
        self.settle()

    def advance(self, seconds: float) -> None:
        self.now_s += seconds
        self.settle()

    # -- what the loop does with decisions ---------------------------------------------------------------

    def settle(self) -> None:
        """Carry decisions out until there is none. Bounded: each either serves, refuses, starts or evicts."""
        most = 10 + 3 * len(self.ledger.waiting) + 3 * len(self.ledger.residents)
        for _ in range(most):
            decision = self._decided_twice()
            if decision is None:
                self.check()
                return
            self.decisions.append(decision)
            self._carry_out(decision)
            if self.careful:
                self._check_book()
        raise AssertionError(f"no end after {most} decisions: {self.decisions[-6:]}")

    def _decided_twice(self) -> Decision | None:
        if not self.careful:
            return decide(self.ledger, self.now_s, self.rules)
        before = frozen(self.ledger)
        decision = decide(self.ledger, self.now_s, self.rules)
        assert decide(self.ledger, self.now_s, self.rules) == decision, "the same book, another decision"
        assert frozen(self.ledger) == before, "the policy has written in the book"
        return decision

    def _carry_out(self, decision: Decision) -> None:
        match decision:
            case Serve(request_id, resident_id):
                self._serve(self.ledger.waiting[request_id], self.ledger.residents[resident_id])
            case Start(request_id, device_id):
                request = self.ledger.waiting[request_id]
                backoff = self.ledger.backoff.get(request.plan.key)
                assert backoff is None or backoff.until_s <= self.now_s, "started during its back-off"
                resident_id = ResidentId(f"res{next(self.numbers):04}")
                resident = self.ledger.begin(resident_id, request, device_id, self.now_s)
                said = self.ledger.keeping.get(request.plan.model)
                assert resident.pinned == (request.plan.pinned if said is None else said.pinned)
            case Park(resident_id, request_id, reason):
                assert reason
                self._check_park(self.ledger.residents[resident_id], self.ledger.waiting[request_id])
                self.ledger.park(resident_id, reason, self.now_s, request_id)
            case Resume(resident_id, reason, due_s):
                assert reason
                training = self.ledger.residents[resident_id]
                assert training.parking.parked_s is not None
                rested_s = self.now_s - training.parking.parked_s
                assert rested_s >= self.rules.training_slice_s, "it comes back within a slice"
                self.ledger.resume(resident_id, self.now_s, due_s)
            case Evict(resident_id, reason, request_id, turn):
                victim = self.ledger.residents[resident_id]
                assert victim.is_idle or victim.is_left_parked, "only what is idle is evicted"
                asked_for = victim.leaving or victim.is_left_parked
                assert asked_for or not victim.pinned, "pinned ones never, unless somebody asked for it"
                if request_id is None and turn is None and not asked_for:
                    assert victim.idle_since_s is not None
                    most_s = self.rules.idle_unload_s if victim.keep_s is None else victim.keep_s
                    assert most_s is not None, "nobody wanted it to go"
                    assert self.now_s - victim.idle_since_s >= most_s, "it was to be kept for longer"
                assert reason
                self.ledger.drain(resident_id, reason, request_id)
            case Refuse(request_id, message, _):
                assert message
                self._check_refusal(self.ledger.waiting[request_id])
                self.ledger.withdraw(request_id)
                self.refused[request_id] = decision

    def _check_park(self, training: Resident, request: Request) -> None:
        leases = [self.ledger.leases[lease] for lease in training.leases]
        assert leases, "what is idle is not parked but evicted"
        assert all(held.request.work_class is WorkClass.TRAINING for held in leases), "other work is cut off"
        assert training.plan.parkable
        assert not training.pinned
        assert training.state is ResidentState.READY
        assert request.work_class is not WorkClass.TRAINING, "it gives way to work of its own class"
        assert self.rules.training_share < 1, "its share is all"
        since_s = training.parking.resumed_s
        assert since_s is None or self.now_s - since_s >= turn_s(self.rules), "its turn is not over"

    def _serve(self, request: Request, resident: Resident) -> None:
        assert resident.state is ResidentState.READY, "only a child that is ready serves"
        assert not resident.leaving, "what is to go gets no more work"
        assert resident.plan.key == request.plan.key
        assert not request.devices or resident.device in request.devices
        assert request.id in self.submitted
        assert request.id not in self.withdrawn
        lease = LeaseId(f"lease{next(self.numbers):04}")
        reserved = resident.reserved_bytes
        self.ledger.grant(request.id, resident.id, lease, self.now_s)
        self.served.append(request)
        device = self.ledger.devices[resident.device]
        if request.plan.fixed:
            assert resident.reserved_bytes == reserved, "what is fixed at load has grown with work"
            return
        need = self.ledger.footprint_bytes(
            request.plan, device, min(resident.saving, len(request.plan.saving_bytes))
        )
        assert need is not None
        assert need <= resident.reserved_bytes, "it works with less than it needs"

    def _check_refusal(self, request: Request) -> None:
        """By an arithmetic of its own: with everything unloaded that may be, it fits nowhere, or there is no
        place for one model more."""
        staying = [r for r in self.ledger.residents.values() if self._stays(r)]
        if self.rules.max_loaded is not None and len(staying) >= self.rules.max_loaded:
            return
        for device in self.ledger.devices.values():
            if request.devices and device.id not in request.devices:
                continue
            needs = [
                self.ledger.footprint_bytes(request.plan, device, saving)
                for saving in range(len(request.plan.saving_bytes) + 1)
            ]
            held = sum(
                r.reserved_bytes
                for r in self.ledger.residents.values()
                if r.device == device.id and self._stays(r) and r.plan.key != request.plan.key
            )
            for need in needs:
                assert need is None or need + held > device.budget_bytes, f"it would fit on {device.id}"

    @staticmethod
    def _stays(resident: Resident) -> bool:
        return resident.pinned and not resident.leaving and resident.state is not ResidentState.DRAINING

    # -- promises ----------------------------------------------------------------------------------------

    def check(self) -> None:
        if self.careful:
            self._check_book()
            self._check_explanations()

    def _check_book(self) -> None:
        ledger = self.ledger
        assert self.rules.max_loaded is None or len(ledger.places()) <= self.rules.max_loaded, "too many"
        places = [(r.plan.key, r.device) for r in ledger.residents.values()]
        assert len(places) == len(set(places)), "two children of one model on one device"
        for device in ledger.devices.values():
            held = sum(r.reserved_bytes for r in ledger.residents.values() if r.device == device.id)
            assert held == ledger.reserved_bytes(device.id), "the book does not add up"
            assert held <= device.budget_bytes, "more is reserved than there is"
        for resident in ledger.residents.values():
            assert resident.reserved_bytes >= 0
            assert len(resident.leases) <= resident.plan.capacity
            assert all(ledger.leases[lease].resident == resident.id for lease in resident.leases)
            if resident.state is ResidentState.STARTING:
                assert not resident.leases
            classes = sorted(ledger.leases[lease].request.work_class for lease in resident.leases)
            assert sorted(resident.classes) == classes
            if resident.state in AWAY:
                assert set(classes) <= {WorkClass.TRAINING}, "other work than training is interrupted"
            assert (resident.idle_since_s is None) == (
                bool(resident.leases) or resident.ready_s is None
            ) or resident.state is ResidentState.DRAINING
        for lease, held_lease in ledger.leases.items():
            assert lease in ledger.residents[held_lease.resident].leases
        streams = [request for stream in ledger.streams().values() for request in stream]
        assert sorted(streams) == sorted(ledger.waiting), "a request is in no stream, or in two"
        assert sum(c.total() for c in ledger.wanted.values()) == len(ledger.waiting)
        assert ledger.wishes.total() == len(ledger.waiting)
        ended = {r.id for r in self.served} | set(self.refused) | set(self.failed) | self.withdrawn
        assert ended.isdisjoint(ledger.waiting), "who was served still waits"
        assert ended | set(ledger.waiting) == set(self.submitted), "a request was lost"
        assert len({r.id for r in self.served}) == len(self.served), "somebody was served twice"

    def _check_explanations(self) -> None:
        explained = explain_all(self.ledger, self.now_s, self.rules)
        assert explained.keys() == self.ledger.waiting.keys()
        order = [request.id for request in fair_order(self.ledger, self.now_s, self.rules)]
        assert [e.request for e in sorted(explained.values(), key=lambda e: e.position)] == order
        assert sorted(e.position for e in explained.values()) == list(range(1, len(explained) + 1))
        for explanation in explained.values():
            reason = explanation.reason
            assert explanation.waiting == len(explained)
            assert reason.text.strip()
            assert explanation.estimate_s is None or explanation.estimate_s >= 0
            if reason.kind is WaitKind.MEMORY:
                assert reason.holders, f"nobody holds the memory: {reason.text}"
                assert reason.device is not None
                assert reason.needed_bytes is not None
                assert reason.free_bytes is not None
                assert reason.needed_bytes > reason.free_bytes, reason.text
            if reason.kind is WaitKind.LIMIT:
                assert reason.holders, f"nobody holds the places: {reason.text}"
                assert self.rules.max_loaded is not None
                assert len(self.ledger.residents) >= self.rules.max_loaded, reason.text
            if reason.kind is WaitKind.PARKING:
                assert any(r.state is ResidentState.PARKING for r in self.ledger.residents.values())
            if reason.kind is WaitKind.BACKOFF:
                assert reason.until_s is not None
                assert reason.until_s > self.now_s
            if reason.kind in (WaitKind.BEHIND, WaitKind.TURN, WaitKind.PARKING, WaitKind.SHARE):
                assert reason.holders, reason.text

    # -- a kind world --------------------------------------------------------------------------------------

    def kind_round(self, step_s: float = 1.0, lease_s: tuple[float, ...] = (0.0,)) -> None:
        """Everything goes well: leases come back, children get ready, who was asked to go is gone.

        Args:
            lease_s: leases are held so long, in turn; with more than one they overlap.
        """
        for held in list(self.ledger.leases.values()):
            if self.ledger.residents[held.resident].state in AWAY:
                continue  # what is parked does not get done
            if self.now_s - held.granted_s >= lease_s[held.request.order % len(lease_s)]:
                self.ledger.release(held.id, self.now_s)
        self.children_get_on()
        for held in list(self.ledger.leases.values()):
            if self.ledger.residents[held.resident].parking.resumed_s == self.now_s:
                self.ledger.release(held.id, self.now_s)  # a training gets done in its turn
        self.now_s += step_s
        self.settle()

    def children_get_on(self) -> None:
        """What is being loaded gets ready, what is being ended is gone."""
        for resident in list(self.ledger.residents.values()):
            if resident.state is ResidentState.STARTING:
                self.ledger.became_ready(resident.id, self.now_s)
            elif resident.state is ResidentState.DRAINING:
                self.ledger.gone(resident.id, self.now_s, None)
            elif resident.state is ResidentState.PARKING:
                self.parked(resident.id, settle=False)
            elif resident.state is ResidentState.RESUMING:
                self.ledger.resumed(resident.id, self.now_s)

    def rounds_until_served(self, wanted: set[RequestId], most: int) -> int:
        """How many kind rounds until nobody of `wanted` waits; fails after `most`."""
        for number in range(most):
            if wanted.isdisjoint(self.ledger.waiting):
                return number
            self.kind_round()
        left = wanted.intersection(self.ledger.waiting)
        explained = explain_all(self.ledger, self.now_s, self.rules)
        raise AssertionError(f"after {most} rounds still waiting: {[explained[r] for r in left]}")

    def copy(self) -> "Machine":
        return copy.deepcopy(self)

    # -- shorter to write ------------------------------------------------------------------------------------

    def resident(self, model: str, device: str | None = None) -> Resident:
        found = [
            r
            for r in self.ledger.residents.values()
            if r.plan.model == model and (device is None or r.device == device)
        ]
        assert len(found) == 1, f"{len(found)} residents of {model}"
        return found[0]

    def load(self, model: str, device: str | None = None) -> Resident:
        """The child that was started for the model gets ready."""
        resident = self.resident(model, device)
        self.ready(resident.id)
        return resident

    def estimates(self) -> dict[RequestId, float | None]:
        explained = explain_all(self.ledger, self.now_s, self.rules)
        return {request: explanation.estimate_s for request, explanation in explained.items()}

    def reason_of(self, request: Request) -> tuple[WaitKind, str, tuple[str, ...]]:
        reason = explain_all(self.ledger, self.now_s, self.rules)[request.id].reason
        return reason.kind, reason.text, reason.holders


def frozen(ledger: Ledger) -> str:
    """All that the book says, as text."""
    return repr(
        {
            name: ({k: repr(v) for k, v in value.items()} if isinstance(value, dict) else repr(value))
            for name, value in vars(ledger).items()
        }
    )


def plan_of(
    model: str,
    size: int | Mapping[str, int],
    *,
    scale: int = 0,
    load_s: float = 1.0,
    weight: float = 1.0,
    pinned: bool = False,
    capacity: int = 1,
    engine: str = "fake",
    sparing: Sequence[float] = (),
    variant: str = "",
    form: str = "",
    fixed: bool = False,
    keep_s: float | None = None,
    parkable: bool = False,
) -> LoadPlan:
    """`size` on a GPU of the `cuda` kind, or by kind of device. `sparing`: shares of it, at saving levels."""
    sizes = {"cuda": size} if isinstance(size, int) else dict(size)
    return LoadPlan(
        model=ModelId(model),
        engine=engine,
        footprint_bytes=sizes,
        saving_bytes=tuple({kind: int(share * size) for kind, size in sizes.items()} for share in sparing),
        load_s=load_s,
        weight=weight,
        pinned=pinned,
        capacity=capacity,
        scale=scale,
        variant=variant,
        form=form,
        fixed=fixed,
        keep_s=keep_s,
        parkable=parkable,
    )
