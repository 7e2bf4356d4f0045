# SPDX-License-Identifier: Apache-2.0
"""What one pass over the queue knows of rooms and places: who claims them, what is free, what could be made
free. Pure; the ground of `walk.py`."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from inglenook.base.ids import DeviceId, RequestId
from inglenook.base.work import WorkClass
from inglenook.runtime.contracts import Device, Request, ResidentState, WaitKind, WaitReason
from inglenook.runtime.scheduler import eviction, parking, words
from inglenook.runtime.scheduler.decisions import (
    Rules,
)
from inglenook.runtime.scheduler.ledger import Ledger
from inglenook.runtime.scheduler.resident import Resident, Wish

RANK: Final = {WorkClass.INTERACTIVE: 0, WorkClass.BATCH: 1, WorkClass.TRAINING: 2}
WANTS_ROOM: Final = frozenset(
    {
        WaitKind.MEMORY,
        WaitKind.DRAINING,
        WaitKind.PARKING,
        WaitKind.SHARE,
        WaitKind.BACKOFF,
        WaitKind.BEHIND,
        WaitKind.LIMIT,
    }
)
"""Whoever waits so wants memory or a place soon: no parked training comes back into that before it is due."""


@dataclass(slots=True)
class Claims:
    """Remembers what those earlier in the order lay claim to.

    Attributes:
        claimed: the first that waits for memory on a device; nobody behind takes what is free there.
        starved: of those, whom idle residents cannot help.
        late: the first that can have its memory only when a training has ended. That may be hours, so it
            binds only others of whom that is true.
        wanted: devices where somebody of a higher class than training waits for room.
        turns: the parked training for which a claim is laid, by the claim's request.
    """

    ledger: Ledger
    now_s: float
    rules: Rules
    blocked: dict[Wish, WaitReason] = field(default_factory=dict)
    claimed: dict[DeviceId, Request] = field(default_factory=dict)
    starved: dict[DeviceId, Request] = field(default_factory=dict)
    late: dict[DeviceId, Request] = field(default_factory=dict)
    place_claimed: Request | None = None
    place_starved: Request | None = None
    place_late: Request | None = None
    wanted: set[DeviceId] = field(default_factory=set)
    place_wanted: bool = False
    turns: dict[RequestId, Resident] = field(default_factory=dict)

    def _can_hold(self, resident: Resident, request: Request) -> bool:
        """Whether the resident could ever grow to what the request needs. One that could not is as good as
        none: another device may have the room."""
        device = self.ledger.devices[resident.device]
        need = self.ledger.need(request.plan, device, resident)
        room = device.budget_bytes - self.ledger.pinned_bytes(device.id, but=resident)
        return need is not None and (need.bytes <= resident.whole_bytes or need.bytes <= room)

    def _places(self, request: Request) -> list[Resident]:
        """What counts as loaded; for whom no training gives way, also those that will come back."""
        places = self.ledger.places()
        if parking.may_park_for(request, self.ledger):
            return places
        return [*places, *(r for r in self.ledger.residents.values() if parking.is_parked(r))]

    def _staying(self) -> list[Resident]:
        return [r for r in self.ledger.residents.values() if r.stays and r.state is not ResidentState.PARKED]

    def _free(self, request: Request, device: DeviceId) -> int:
        """Free bytes; for whom no training gives way, less what parked ones need to come back."""
        free = self.ledger.free_bytes(device)
        if parking.may_park_for(request, self.ledger):
            return free
        return free - self.ledger.owed_bytes(device)

    def _available(self, request: Request, device: Device) -> int:
        """`_free`; none while a second try after memory ran out still finds idle residents beside it."""
        if request.plan.key in self.ledger.oom and self._victims_on(request, device):
            return -1
        return self._free(request, device.id)

    def _missing(self, request: Request, device: Device, need: int) -> int:
        """Bytes beyond what is free, or will be when what ends and what is being parked is gone."""
        missing = need - self._free(request, device.id) - self.ledger.draining_bytes(device.id)
        if parking.may_park_for(request, self.ledger):
            missing -= self.ledger.parking_bytes(device.id)
        return missing

    def _victims_on(self, request: Request, device: Device) -> list[Resident]:
        return self._victims(request, self.ledger.on_device(device.id))

    def _victims(self, request: Request, among: Iterable[Resident]) -> list[Resident]:
        residents = [
            r for r in among if self._out_of_patience(request, r) or not self._wanted_as_much(r, request)
        ]
        return self._in_order(residents)

    def _in_order(self, residents: list[Resident]) -> list[Resident]:
        load_s = {
            r.id: self.ledger.expected_load_s(r.plan, self.ledger.devices[r.device].kind) for r in residents
        }
        return eviction.candidates(residents, self.now_s, load_s)

    def _out_of_patience(self, request: Request, resident: Resident) -> bool:
        """Whether `request` has waited long enough for the memory of `resident`, counted from when that
        was ready: what was loaded is also used for a while."""
        kind = self.ledger.devices[resident.device].kind
        turn = self.turns.get(request.id)
        if turn is None:
            needs_s = self.ledger.expected_load_s(request.plan, kind)
        else:
            needs_s = self.ledger.expected_resume_s(turn) or 0.0
        patience_s = max(self.rules.patience_s, needs_s)
        ready_s = self.now_s if resident.ready_s is None else resident.ready_s
        return self.now_s - max(request.arrived_s, ready_s) >= patience_s

    def _wanted_as_much(self, resident: Resident, request: Request) -> bool:
        """Whether somebody at least as urgent waits for the resident's model."""
        counts = self.ledger.wanted.get(resident.plan.key)
        if counts is None:
            return False
        return any(RANK[work_class] <= RANK[request.work_class] for work_class, n in counts.items() if n)

    def _trainings(self, request: Request, among: Iterable[Resident]) -> list[Resident]:
        """Those that give way to the request, now or when their turn is over; the longest at work first."""
        if self.rules.training_share >= 1 or not parking.may_park_for(request, self.ledger):
            return []
        states = (ResidentState.READY, ResidentState.RESUMING)
        found = [
            r
            for r in among
            if r.is_training
            and not r.pinned
            and r.state in states
            and r.parking.not_before_s != float("inf")
            and r.plan.key != request.plan.key
        ]
        return sorted(found, key=lambda r: (r.parking.working_since_s or self.now_s, r.id))

    def _gives_way_now(self, training: Resident) -> bool:
        over_s = parking.parkable_from_s(training, self.rules)
        return training.state is ResidentState.READY and over_s <= self.now_s

    def _gain(self, resident: Resident) -> int:
        return resident.reserved_bytes if resident.is_idle else self.ledger.gain_bytes(resident)

    def _turn_ends_s(self, training: Resident) -> float:
        if training.state is ResidentState.READY:
            return parking.parkable_from_s(training, self.rules)
        back_s = (training.parking.asked_s or self.now_s) + (self.ledger.expected_resume_s(training) or 0.0)
        return max(back_s, self.now_s) + parking.turn_s(self.rules)

    def _claim(
        self, request: Request, device: Device, need: int, *, starve: bool, own: Resident | None = None
    ) -> None:
        if self._is_late(request, device, need, own):
            self.late.setdefault(device.id, request)
            return
        self.claimed[device.id] = request
        if starve:
            self.starved[device.id] = request

    def _first_at(
        self, request: Request, device: Device, need: int, own: Resident | None = None
    ) -> Request | None:
        """Who came first and waits for the same memory."""
        first = self.claimed.get(device.id)
        if first is None and device.id in self.late and self._is_late(request, device, need, own):
            return self.late[device.id]
        return first

    def _is_late(self, request: Request, device: Device, need: int, own: Resident | None = None) -> bool:
        """Whether it can have its memory only when a training there has ended."""
        trainings = [r for r in self.ledger.on_device(device.id) if r.is_training and r is not own]
        if not trainings:
            return False
        room = device.budget_bytes - self.ledger.pinned_bytes(device.id, but=own)
        if own is not None:
            room -= own.reserved_bytes
        return need > room - sum(self._left_bytes(request, r) for r in trainings if not r.stays)

    def _left_bytes(self, request: Request, training: Resident) -> int:
        """What a training holds at least while it lasts, as far as the request can bring it about."""
        gives_way = training in self._trainings(request, [training])
        if training.state in (ResidentState.PARKING, ResidentState.PARKED):
            gives_way = parking.may_park_for(request, self.ledger)
        if not gives_way:
            return training.whole_bytes
        if training.state is ResidentState.PARKED:
            return training.reserved_bytes
        return training.reserved_bytes - self.ledger.gain_bytes(training)

    def _is_late_for_place(self, request: Request, most: int) -> bool:
        """The same for a place among those that may be loaded."""
        taken = [
            r
            for r in self._places(request)
            if r.stays or (r.is_training and r not in self._trainings(request, [r]))
        ]
        going = [r for r in taken if r.state is ResidentState.PARKING]
        return len(taken) - len(going) >= most and any(r.is_training for r in taken)

    def _note_wanted(self, request: Request, reason: WaitReason) -> None:
        """Somebody of a higher class than training wants room that a parked training would take."""
        if request.work_class is WorkClass.TRAINING or reason.kind not in WANTS_ROOM:
            return
        fitting = self._fitting(request)
        self.wanted.update(device.id for device, need in fitting if not self._is_late(request, device, need))
        self.place_wanted = True

    def _fitting(self, request: Request) -> list[tuple[Device, int]]:
        """Devices that could hold it if they were empty, only of the best kind among them, and what it
        needs there; first those where least has to be spared. A busy GPU is waited for: the CPU beside it
        would take many times longer."""
        possible = [
            (device, need)
            for device, need in words.candidates(self.ledger, request)
            if need.bytes <= device.budget_bytes - self.ledger.pinned_bytes(device.id)
        ]
        best = possible[0][0].kind if possible else None
        possible.sort(key=lambda pair: pair[1].saving)
        return [(device, need.bytes) for device, need in possible if device.kind == best]
