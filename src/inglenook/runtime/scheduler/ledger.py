# SPDX-License-Identifier: Apache-2.0
"""The book of one machine: what is reserved on which device, who holds leases, who waits.

Plain data with arithmetic: no clock, no I/O, no tasks. Exactly one owner changes it (`loop.py`); the
policy only reads it. Every method that changes something checks what must always hold and raises
`LedgerError` when a caller asks for something impossible: that is a bug, never a user's mistake.
"""

from collections.abc import Iterable, Iterator, Mapping

from inglenook.base.ids import DeviceId, LeaseId, ModelId, RequestId, ResidentId
from inglenook.runtime.contracts import (
    Device,
    Failure,
    FootprintKey,
    LoadPlan,
    Request,
    ResidentState,
)
from inglenook.runtime.scheduler.berths import Berths
from inglenook.runtime.scheduler.figures import smooth
from inglenook.runtime.scheduler.queue import LedgerError
from inglenook.runtime.scheduler.resident import (
    Backoff,
    Held,
    Keeping,
    Need,
    PlanKey,
    Resident,
    Wish,
    footprint_key,
    wish_of,
)

__all__ = [
    "Backoff",
    "Held",
    "Keeping",
    "Ledger",
    "LedgerError",
    "Need",
    "PlanKey",
    "Resident",
    "Wish",
    "footprint_key",
    "wish_of",
]

BACKOFF_FIRST_S = 1.0
BACKOFF_LONGEST_S = 60.0
OOM_RAISE = 1.25
"""By how much a footprint is raised after memory ran out below it and the allocator gave no number."""
FORGET = 0.9
"""What was learned falls by at most a tenth with each life that needed less: samples miss peaks."""


class Ledger(Berths):
    """Args:
    learned: footprints and seconds to load, from earlier runs.
    """

    def __init__(
        self,
        devices: Iterable[Device],
        learned: Mapping[FootprintKey, tuple[int, float]] | None = None,
    ) -> None:
        super().__init__(devices, learned)
        self.leases: dict[LeaseId, Held] = {}
        self.backoff: dict[PlanKey, Backoff] = {}
        self.oom: dict[PlanKey, tuple[FootprintKey, int | None]] = {}
        """Plans whose next start is the second try after memory ran out: the footprint that was raised for
        it, and what was known before."""
        self.keeping: dict[ModelId, Keeping] = {}

    # -- reading ---------------------------------------------------------------------------------

    def pinned_bytes(self, device: DeviceId, but: Resident | None = None) -> int:
        """What no other model can ever have: held by pinned residents that are not leaving."""
        return sum(r.reserved_bytes for r in self.on_device(device) if r.stays and r is not but)

    def draining_bytes(self, device: DeviceId) -> int:
        """What will be free when the children now ending are gone."""
        return sum(r.reserved_bytes for r in self.on_device(device) if r.state is ResidentState.DRAINING)

    def of_plan(self, key: PlanKey) -> Iterator[Resident]:
        return (r for r in self.residents.values() if r.plan.key == key)

    def need(self, plan: LoadPlan, device: Device, resident: Resident | None = None) -> Need | None:
        """What the plan's work needs on the device, at the least saving level at which it fits the budget
        beside what is pinned; at the last level where it fits at none. None where it cannot be loaded.

        Args:
            resident: that would do it; its level is the least, and what it has reserved is its own. What is
                fixed at load never needs more.
        """
        room = device.budget_bytes - self.pinned_bytes(device.id, but=resident)
        if resident is not None and plan.fixed:
            return Need(resident.whole_bytes, resident.saving)
        least = 0
        if resident is not None:
            least, room = min(resident.saving, len(plan.saving_bytes)), max(room, resident.whole_bytes)
        need = None
        for saving in range(least, len(plan.saving_bytes) + 1):
            found = self.footprint_bytes(plan, device, saving)
            if found is None:
                break
            need = Need(found, saving)
            if found <= room:
                break
        return need

    def growth_bytes(self, resident: Resident, plan: LoadPlan) -> int:
        """By how much the reservation of `resident` must grow before it may do the plan's work."""
        need = self.need(plan, self.devices[resident.device], resident)
        return 0 if need is None else max(0, need.bytes - resident.reserved_bytes)

    # -- leases ----------------------------------------------------------------------------------

    def grant(self, request_id: RequestId, resident_id: ResidentId, lease_id: LeaseId, now_s: float) -> Held:
        resident = self.residents[resident_id]
        if not resident.has_room:
            raise LedgerError(
                f"{resident_id} is {resident.state} with {len(resident.leases)} leases: no room"
            )
        request = self.waiting.get(request_id)
        if request is None or request.plan.key != resident.plan.key:
            raise LedgerError(f"{request_id} does not wait for {resident.plan.model}")
        growth = self.growth_bytes(resident, request.plan)
        if growth > max(0, self.free_bytes(resident.device)):
            raise LedgerError(f"{resident_id} must grow by {growth}: that is not free on {resident.device}")
        self._spare(resident, request.plan)
        self._reserve(resident, growth)
        if not request.plan.fixed:
            resident.scale = max(resident.scale, request.plan.scale)
        if request.keep_s is not None:
            resident.keep_s = request.keep_s
        self.withdraw(request_id)
        self.took_turn(request.person)
        resident.leases.add(lease_id)
        resident.classes.append(request.work_class)
        if resident.is_training and resident.parking.working_since_s is None:
            resident.parking.working_since_s = now_s
        resident.served += 1
        resident.idle_since_s = None
        held = Held(lease_id, request, resident_id, now_s)
        self.leases[lease_id] = held
        return held

    def release(self, lease_id: LeaseId, now_s: float) -> Held | None:
        """Give a lease back; None when it was given back before or its resident is gone."""
        held = self.leases.pop(lease_id, None)
        if held is None:
            return None
        resident = self.residents.get(held.resident)
        if resident is not None:
            resident.leases.discard(lease_id)
            resident.classes.remove(held.request.work_class)
            if not resident.leases:
                resident.idle_since_s = now_s
                resident.parking.working_since_s = None
        key = held.request.plan.key
        self.held_s[key] = smooth(self.held_s.get(key), now_s - held.granted_s)
        return held

    # -- residents -------------------------------------------------------------------------------

    def begin(self, resident_id: ResidentId, request: Request, device_id: DeviceId, now_s: float) -> Resident:
        device = self.devices[device_id]
        need = self.need(request.plan, device)
        if need is None or need.bytes > self.free_bytes(device_id):
            raise LedgerError(
                f"{request.plan.model} needs {need}, {device_id} has {self.free_bytes(device_id)}"
            )
        if any(r.device == device_id for r in self.of_plan(request.plan.key)):
            raise LedgerError(f"{request.plan.model} is on {device_id} already")
        resident = Resident(
            id=resident_id,
            plan=request.plan,
            device=device_id,
            state=ResidentState.STARTING,
            reserved_bytes=need.bytes,
            started_s=now_s,
            asked_by=request.label,
            scale=request.plan.scale,
        )
        kept = self.keeping.get(request.plan.model, Keeping(request.plan.pinned, request.plan.keep_s))
        resident.pinned, resident.keep_s = kept.pinned, kept.keep_s
        self._spare(resident, request.plan)
        self.residents[resident_id] = resident
        self._reserved[device_id] += need.bytes
        return resident

    def became_ready(self, resident_id: ResidentId, now_s: float) -> Resident:
        resident = self.residents[resident_id]
        self._move(resident, ResidentState.READY)
        resident.ready_s = now_s
        resident.idle_since_s = now_s
        kind = self.devices[resident.device].kind
        where = (resident.plan.key, kind)
        self.load_s[where] = smooth(self.load_s.get(where), now_s - resident.started_s)
        self.backoff.pop(resident.plan.key, None)
        self.oom.pop(resident.plan.key, None)  # what it was raised to has proved right
        if resident.plan.key in self.wanted:
            resident.leaving = False  # whoever waited for it is served by it
        return resident

    def keep(self, model: ModelId, keeping: Keeping) -> None:
        """From now on, for what is loaded of the model and for what will be."""
        self.keeping[model] = keeping
        for resident in self.residents.values():
            if resident.plan.model == model:
                resident.pinned, resident.keep_s = keeping.pinned, keeping.keep_s

    def keep_loaded(self, model: ModelId, keep_s: float) -> None:
        """For what is loaded of the model, until a request says something else."""
        for resident in self.residents.values():
            if resident.plan.model == model:
                resident.keep_s = keep_s

    def leave(self, resident_id: ResidentId) -> Resident:
        """The resident is to go when it is idle: what it does is done to the end, and nothing more begins.
        One that is being loaded goes when it is ready, unless somebody waits for it then."""
        resident = self.residents[resident_id]
        if resident.state is ResidentState.DRAINING:
            raise LedgerError(f"{resident_id} is {resident.state}: it goes already")
        resident.leaving = True
        return resident

    def drain(self, resident_id: ResidentId, reason: str, for_request: RequestId | None = None) -> Resident:
        """The resident is to be ended. Its memory counts until it is gone."""
        resident = self.residents[resident_id]
        if resident.leases:
            raise LedgerError(
                f"{resident_id} holds {len(resident.leases)} leases: it is not stopped for others"
            )
        self._move(resident, ResidentState.DRAINING)
        resident.reason = reason
        if for_request is not None:
            self.note_cleared(for_request, f"{resident.plan.model}: {reason}")
        return resident

    def lost(self, resident_id: ResidentId) -> Resident:
        """Its child has ended, or is ending by itself: it gets no more work. Its memory counts until it is
        gone, and its leases stay in the book until then: their holders see the end themselves."""
        resident = self.residents[resident_id]
        self._move(resident, ResidentState.DRAINING)
        resident.reason = "its process is ending"
        return resident

    def measure(self, resident_id: ResidentId, used_bytes: int) -> None:
        """A reading of what its processes use. The footprint learns from it once the resident has been at
        work; the reservation grows with it as far as the budget allows, so that the sum of reservations
        never passes the budget."""
        resident = self.residents.get(resident_id)
        if resident is not None and resident.state is ResidentState.PARKED:
            resident.measured_bytes = used_bytes
            self._keep_parked(resident)
            return
        if resident is None or resident.state is not ResidentState.READY:
            return
        resident.measured_bytes = used_bytes
        if used_bytes <= resident.peak_bytes or not resident.served:
            return
        resident.peak_bytes = used_bytes
        where = self.key_of(resident)
        self.learned[where] = max(used_bytes, self.learned.get(where, 0))
        grow = used_bytes - resident.reserved_bytes
        if grow > 0:
            self._reserve(resident, min(grow, max(0, self.free_bytes(resident.device))))

    def gone(self, resident_id: ResidentId, now_s: float, failure: Failure | None) -> list[Request]:
        """The resident has ended. Returns the waiting requests that fail with it.

        - Asked to go (`failure` None): nobody fails.
        - Died at work: its leases' holders see it themselves; who waits goes on waiting, behind a back-off.
        - Could not be started: whoever waits for that model fails with the reason; but when memory ran out
          for the first time they wait for one more try, with the footprint raised and every idle
          resident evicted.
        """
        resident = self.residents.pop(resident_id)
        self._reserved[resident.device] -= resident.reserved_bytes
        for lease_id in resident.leases:
            self.leases.pop(lease_id, None)
        key = resident.plan.key
        if resident.peak_bytes:
            where = self.key_of(resident)
            self.learned[where] = max(resident.peak_bytes, int(FORGET * self.learned.get(where, 0)))
        if failure is None:
            return []
        was_starting = resident.state is ResidentState.STARTING
        if was_starting and failure.out_of_memory is not None and self._tries_again(resident):
            return []
        failures = self.backoff[key].failures + 1 if key in self.backoff else 1
        pause_s = min(BACKOFF_LONGEST_S, BACKOFF_FIRST_S * 2 ** (failures - 1))
        self.backoff[key] = Backoff(failures, now_s + pause_s, failure)
        return self._withdraw_hopeless(resident) if was_starting else []

    def _tries_again(self, resident: Resident) -> bool:
        """After memory ran out: the first time the footprint is raised for one more try, the second time it
        is put back, because the reason may have been a program that is none of ours."""
        key = resident.plan.key
        if key in self.oom:
            self._lower(key)
            return False
        device = self.devices[resident.device]
        where = self.key_of(resident)
        self.oom[key] = (where, self.learned.get(where))
        # Never beyond what there can be: the second try is made with all of it, if need be.
        most = device.budget_bytes - self.pinned_bytes(device.id)
        self.learned[where] = max(
            resident.reserved_bytes, min(int(resident.reserved_bytes * OOM_RAISE), most)
        )
        return True

    def key_of(self, resident: Resident) -> FootprintKey:
        """Under which what is measured of it now is learned."""
        kind = self.devices[resident.device].kind
        return footprint_key(resident.plan, kind, resident.scale, saving=resident.saving)

    def _spare(self, resident: Resident, plan: LoadPlan) -> None:
        """Raise the resident's saving level to that at which the plan's work fits."""
        device = self.devices[resident.device]
        need = self.need(plan, device, resident)
        if need is not None and need.saving > resident.saving:
            resident.saving = need.saving
            resident.unspared_bytes = self.footprint_bytes(plan, device) or 0

    def nobody_wants(self, key: PlanKey) -> None:
        self._lower(key)  # nobody is left for whom there could be a second try

    def _lower(self, key: PlanKey) -> None:
        """Put a footprint that was raised for a second try back to what was known before."""
        where, before = self.oom.pop(key, (None, None))
        if where is not None and before is None:
            self.learned.pop(where, None)
        elif where is not None and before is not None:
            self.learned[where] = before

    def _withdraw_hopeless(self, lost: Resident) -> list[Request]:
        """Who waited for the resident that could not be started, and has no other to wait for."""
        key = lost.plan.key
        elsewhere = {r.device for r in self.of_plan(key) if r.state is not ResidentState.DRAINING}
        failed = [
            request
            for request in self.waiting.values()
            if request.plan.key == key
            and (lost.device in request.devices if request.devices else True)
            and not (elsewhere.intersection(request.devices) if request.devices else elsewhere)
        ]
        for request in failed:
            self.withdraw(request.id)
        return failed
