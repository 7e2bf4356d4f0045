# SPDX-License-Identifier: Apache-2.0
"""One pass over the queue and the parked trainings. Pure; `policy.py` says in which order."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from inglenook.base.ids import DeviceId, RequestId
from inglenook.base.units import format_bytes, format_seconds
from inglenook.base.work import WorkClass
from inglenook.runtime.contracts import Device, Request, ResidentState, WaitKind, WaitReason
from inglenook.runtime.scheduler import eviction, parking, words
from inglenook.runtime.scheduler.decisions import (
    Evict,
    Join,
    Park,
    Resume,
    Rules,
    Serve,
    Start,
    Verdict,
    Wait,
)
from inglenook.runtime.scheduler.ledger import Ledger
from inglenook.runtime.scheduler.resident import AWAY, Resident, Wish, wish_of

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
class Walk:
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

    @property
    def nobody_left(self) -> bool:
        """Whether all that is wished for is known to be blocked."""
        return len(self.blocked) == len(self.ledger.wishes)

    def judge(self, request: Request) -> Verdict:
        wish = wish_of(request)
        known = self.blocked.get(wish)
        if known is not None:
            return Wait(request.id, known)
        verdict = self._judge(request)
        if isinstance(verdict, Wait):
            self.blocked[wish] = verdict.reason
            self._note_wanted(request, verdict.reason)
        elif isinstance(verdict, Join):
            self.blocked[wish] = words.loading(self.ledger, verdict.resident, self.now_s)
        return verdict

    def _judge(self, request: Request) -> Verdict:
        here = [
            r
            for r in self.ledger.of_plan(request.plan.key)
            if (not request.devices or r.device in request.devices) and self._can_hold(r, request)
        ]
        if here:
            return self._at_resident(request, here)
        backoff = self.ledger.backoff.get(request.plan.key)
        if backoff is not None and backoff.until_s > self.now_s:  # 5
            left = format_seconds(backoff.until_s - self.now_s)
            times = "once" if backoff.failures == 1 else f"{backoff.failures} times"
            text = f"{request.plan.model} failed {times}, it is tried again in {left}"
            return Wait(request.id, WaitReason(WaitKind.BACKOFF, text, until_s=backoff.until_s))
        return self._at_devices(request)

    def _can_hold(self, resident: Resident, request: Request) -> bool:
        """Whether the resident could ever grow to what the request needs. One that could not is as good as
        none: another device may have the room."""
        device = self.ledger.devices[resident.device]
        need = self.ledger.need(request.plan, device, resident)
        room = device.budget_bytes - self.ledger.pinned_bytes(device.id, but=resident)
        return need is not None and (need.bytes <= resident.whole_bytes or need.bytes <= room)

    def _at_resident(self, request: Request, here: list[Resident]) -> Verdict:
        open_ones = [r for r in here if r.has_room]
        for resident in sorted(open_ones, key=lambda r: (len(r.leases), r.id)):  # 1
            if not self._kept_for_first(resident):
                return self._serve(request, resident)
        if open_ones:
            first = self._withholder(open_ones[0])
            assert first is not None
            text = f"{first.label} came first and waits for {request.plan.model} to be unloaded"
            return Wait(request.id, WaitReason(WaitKind.BEHIND, text, open_ones[0].device, (first.label,)))
        for resident in here:
            if resident.state is ResidentState.STARTING:  # 2
                return Join(request.id, resident.id)
        leaving = [r for r in here if r.state is ResidentState.READY and r.leaving]
        busy = [r for r in here if r.state is ResidentState.READY and not r.leaving]
        if leaving and not busy:  # 3
            holders = words.holders(self.ledger, leaving)
            text = (
                f"{request.plan.model} is unloaded when its work is done ({', '.join(holders)}): somebody "
                "asked for that. It is loaded again then"
            )
            return Wait(request.id, WaitReason(WaitKind.TURN, text, leaving[0].device, holders))
        if busy:  # 3
            self._claim_growth(request, busy[0])
            holders = words.holders(self.ledger, busy)
            text = f"{request.plan.model} is at work for {', '.join(holders)}"
            return Wait(request.id, WaitReason(WaitKind.TURN, text, busy[0].device, holders))
        away = [r for r in here if r.state in AWAY]
        if away:  # 3
            holders = words.who_holds(self.ledger, away)
            text = f"{request.plan.model} works for {', '.join(holders)} first"
            return Wait(request.id, WaitReason(WaitKind.TURN, text, away[0].device, holders))
        text = f"{request.plan.model} is being unloaded ({here[0].reason}) and is loaded again after that"
        return Wait(request.id, WaitReason(WaitKind.DRAINING, text, here[0].device))  # 4

    def _claim_growth(self, request: Request, resident: Resident) -> None:
        """Larger work that waits for its turn also needs room, and gets it only when both come together:
        so it lays claim to the room before its turn comes."""
        growth = self.ledger.growth_bytes(resident, request.plan)
        device = resident.device
        if not growth or device in self.claimed:
            return
        starve = growth > self._free(request, device) + self.ledger.draining_bytes(device)
        self._claim(request, self.ledger.devices[device], growth, starve=starve, own=resident)

    def _kept_for_first(self, resident: Resident) -> bool:
        """Whether somebody earlier in the order is out of patience with it, and could have its memory or its
        place."""
        return self._withholder(resident) is not None

    def _withholder(self, resident: Resident) -> Request | None:
        if resident.pinned:
            return None
        for first in (self.starved.get(resident.device), self.place_starved):
            if first is None or self._could_use(first, resident):
                continue
            if self._out_of_patience(first, resident):
                return first
        return None

    def _could_use(self, request: Request, resident: Resident) -> bool:
        """Whether the resident is one of those that might serve the request itself."""
        if request.plan.key != resident.plan.key:
            return False
        on_device = not request.devices or resident.device in request.devices
        return on_device and self._can_hold(resident, request)

    def _serve(self, request: Request, resident: Resident) -> Verdict:
        """1, for work larger than what was reserved: the room for it must be there first."""
        device = self.ledger.devices[resident.device]
        growth = self.ledger.growth_bytes(resident, request.plan)
        if growth <= max(0, self._free(request, device.id)):
            return Serve(request.id, resident.id)
        first = self._first_at(request, device, growth, own=resident)
        if first is not None:
            return self._behind(request, device, first)
        room = self._make_room(request, device, growth, own=resident)
        if room is None:
            room = self._park(request, device, growth, own=resident)
            if isinstance(room, Wait):
                self.claimed[device.id] = request
        return room or self._blocked(request, device, growth, more=" more", own=resident)

    def _behind(self, request: Request, device: Device, first: Request) -> Wait:
        what = "a place among the loaded models" if self.place_claimed is first else f"memory on {device.id}"
        if first.id in self.turns:
            text = f"{first.label} was parked for long enough: it has its turn, and waits for {what}"
            return Wait(request.id, WaitReason(WaitKind.SHARE, text, device.id, (first.label,)))
        text = f"{first.label} came first and waits for {what}"
        return Wait(request.id, WaitReason(WaitKind.BEHIND, text, device.id, (first.label,)))

    def _at_devices(self, request: Request) -> Verdict:
        fitting = self._fitting(request)
        if not fitting:  # 6
            return words.refusal(self.ledger, request)
        if self.rules.max_loaded is not None and len(self._staying()) >= self.rules.max_loaded:
            return words.refusal_of_place(request, self.rules.max_loaded, self._staying())
        open_ones = [pair for pair in fitting if self._first_at(request, *pair) is None]
        for device, need in open_ones:  # 7
            if need <= self._available(request, device):
                return self._start(request, device)
        for device, need in open_ones:  # 8
            verdict = self._make_room(request, device, need)
            if verdict is not None:
                return verdict
        parked = [
            (device, verdict) for device, need in open_ones if (verdict := self._park(request, device, need))
        ]
        for _, verdict in parked:  # 9
            if not isinstance(verdict, Wait):
                return verdict
        if parked:
            self.claimed[parked[0][0].id] = request
            return parked[0][1]
        for device, need in sorted(open_ones, key=lambda pair: self._is_late(request, *pair)):  # 10
            return self._blocked(request, device, need)
        device, need = fitting[0]
        first = self._first_at(request, device, need)
        assert first is not None
        return self._behind(request, device, first)

    def _start(self, request: Request, device: Device) -> Verdict:
        """7: there is memory for it, and a place or the wait for one. Whoever waits for a place keeps the
        memory: both are needed at once."""
        most = self.rules.max_loaded
        places = self._places(request)
        if most is None or len(places) < most:
            return Start(request.id, device.id)
        late = self._is_late_for_place(request, most)
        first = self.place_claimed or (self.place_late if late else None)
        if first is not None:
            return self._behind_place(request, device, first)
        if late:
            self.place_late = request
        else:
            self.claimed[device.id] = self.place_claimed = request
        limit = words.limit(most)
        going = [r for r in places if r.state in (ResidentState.DRAINING, ResidentState.PARKING)]
        if len(places) - len(going) < most:
            kind, text, who = words.making_room(going, self.ledger)
            return Wait(request.id, WaitReason(kind, f"{limit}; {text} to make place", device.id, who))
        victims = self._victims(request, places)
        if victims:
            return Evict(victims[0].id, f"{request.label} needs its place: {limit}", request.id)
        return self._park_for_place(request, device, limit) or self._wait_for_place(
            request, device, limit, late
        )

    def _behind_place(self, request: Request, device: Device, first: Request) -> Wait:
        kind = WaitKind.SHARE if first.id in self.turns else WaitKind.BEHIND
        text = f"{first.label} came first and waits for a place among the loaded models"
        return Wait(request.id, WaitReason(kind, text, device.id, (first.label,)))

    def _park_for_place(self, request: Request, device: Device, limit: str) -> Verdict | None:
        trainings = self._trainings(request, self.ledger.residents.values())
        for training in trainings:
            if self._gives_way_now(training):
                return Park(training.id, request.id, f"{request.label} needs its place: {limit}")
        return self._until_its_turn_is_over(request, device, trainings)

    def _wait_for_place(self, request: Request, device: Device, limit: str, late: bool) -> Wait:
        if not late:
            self.place_starved = request
        who = words.who_holds(self.ledger, self._places(request))
        text = f"{limit}; held by {', '.join(who)}"
        return Wait(request.id, WaitReason(WaitKind.LIMIT, text, device.id, who))

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

    def _make_room(
        self, request: Request, device: Device, need: int, own: Resident | None = None
    ) -> Verdict | None:
        """8: the next victim, or the wait for those that are leaving; None when idle ones are not enough."""
        missing = self._missing(request, device, need)
        everything = request.plan.key in self.ledger.oom
        victims = [r for r in self._victims_on(request, device) if r is not own]
        chosen = victims if everything else eviction.choose(victims, missing)
        if chosen is None or (everything and not victims and missing > 0):
            return None
        if chosen:
            return self._evict(request, device, need, chosen[0])
        self.claimed[device.id] = request
        kind, text, who = words.making_room(list(self.ledger.on_device(device.id)), self.ledger)
        text = f"{text} to make room"
        return Wait(request.id, self._memory(kind, text, request, device, need, who))

    def _evict(self, request: Request, device: Device, need: int, victim: Resident) -> Evict:
        reason = f"{request.label} needs {format_bytes(need)} on {device.id}"
        return Evict(victim.id, reason, request.id)

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

    def _park(
        self, request: Request, device: Device, need: int, own: Resident | None = None
    ) -> Verdict | None:
        """9: the idle resident or the training that gives way next, or the wait for the end of a turn; None
        when all of them are not enough."""
        trainings = [r for r in self._trainings(request, self.ledger.on_device(device.id)) if r is not own]
        if not trainings:
            return None
        missing = self._missing(request, device, need)
        idle = [r for r in self._victims_on(request, device) if r is not own]
        ready = [r for r in trainings if self._gives_way_now(r)]
        chosen = eviction.choose([*idle, *ready], missing, self._gain)
        if chosen and chosen[0].is_idle:
            return self._evict(request, device, need, chosen[0])
        if chosen:
            reason = f"{request.label} needs {format_bytes(need)} on {device.id}"
            return Park(chosen[0].id, request.id, reason)
        if eviction.choose([*idle, *trainings], missing, self._gain) is None:
            return None
        return self._until_its_turn_is_over(request, device, trainings)

    def _gives_way_now(self, training: Resident) -> bool:
        over_s = parking.parkable_from_s(training, self.rules)
        return training.state is ResidentState.READY and over_s <= self.now_s

    def _gain(self, resident: Resident) -> int:
        return resident.reserved_bytes if resident.is_idle else self.ledger.gain_bytes(resident)

    def _until_its_turn_is_over(
        self, request: Request, device: Device, trainings: list[Resident]
    ) -> Wait | None:
        having = [(until, r) for r in trainings if (until := self._turn_ends_s(r)) > self.now_s]
        if not having:
            return None
        until_s, training = max(having, key=lambda pair: (pair[0], pair[1].id))
        return Wait(request.id, words.its_turn(self.ledger, training, device, until_s, self.now_s))

    def _turn_ends_s(self, training: Resident) -> float:
        if training.state is ResidentState.READY:
            return parking.parkable_from_s(training, self.rules)
        back_s = (training.parking.asked_s or self.now_s) + (self.ledger.expected_resume_s(training) or 0.0)
        return max(back_s, self.now_s) + parking.turn_s(self.rules)

    def _blocked(
        self, request: Request, device: Device, need: int, more: str = "", own: Resident | None = None
    ) -> Wait:
        self._claim(request, device, need, starve=True, own=own)
        who = words.who_holds(self.ledger, list(self.ledger.on_device(device.id)))
        free = max(0, self._free(request, device.id))
        text = (
            f"{request.plan.model} needs {format_bytes(need)}{more} on {device.id}, "
            f"{format_bytes(free)} are free; held by {', '.join(who)}"
        )
        return Wait(request.id, self._memory(WaitKind.MEMORY, text, request, device, need, who))

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

    # -- trainings that come back ------------------------------------------------------------------

    def resume_due(self) -> Evict | Resume | None:
        """The parked trainings whose time has come, before everybody else; where the room for one is not
        there it claims the device."""
        waiting = [r for r in self.ledger.residents.values() if parking.is_parked(r)]
        due = sorted(
            ((parking.due_s(self.ledger, r, self.rules), r.id, r) for r in waiting), key=lambda it: it[:2]
        )
        for due_s, _, resident in due:
            if due_s > self.now_s:
                break
            asking = parking.asking(self.ledger, resident, due_s)
            self.turns[asking.id] = resident
            verdict = self._bring_back(resident, asking)
            if verdict is not None:
                return verdict
        return None

    def _bring_back(self, resident: Resident, asking: Request) -> Evict | Resume | None:
        device = self.ledger.devices[resident.device]
        if device.id in self.claimed or self._must_another_end_first(resident):
            return None
        reason = f"{asking.label} was parked for long enough: it has its turn on {device.id}"
        missing = resident.owed_bytes - self.ledger.free_bytes(device.id)
        most = self.rules.max_loaded
        places = self.ledger.places()
        if missing <= 0 and (most is None or len(places) < most):
            return Resume(resident.id, reason, asking.arrived_s)
        self.claimed[device.id] = asking
        if missing > 0:
            coming = self.ledger.draining_bytes(device.id) + self.ledger.parking_bytes(device.id)
            chosen = eviction.choose(self._victims_on(asking, device), missing - coming)
            if chosen is None:
                self.starved[device.id] = asking
            return Evict(chosen[0].id, reason, turn=resident.id) if chosen else None
        if self.place_claimed is not None:
            return None
        self.place_claimed = asking
        going = [r for r in places if r.state in (ResidentState.DRAINING, ResidentState.PARKING)]
        victims = [] if going else self._victims(asking, places)
        if not going and not victims:
            self.place_starved = asking
        return Evict(victims[0].id, reason, turn=resident.id) if victims else None

    def _must_another_end_first(self, resident: Resident) -> bool:
        """Whether other trainings hold the memory or the place that it needs, which may take hours: then it
        lays no claim. What is parked can keep too much for two to be there at once."""
        trainings = [r for r in self.ledger.residents.values() if r.is_training and r is not resident]
        most = self.rules.max_loaded
        taken = [r for r in self._staying() if not r.is_training]
        taken += [r for r in trainings if r.state in (ResidentState.READY, ResidentState.RESUMING)]
        if most is not None and len(taken) >= most:
            return True
        device = self.ledger.devices[resident.device]
        beside = [r for r in trainings if r.device == device.id and not r.stays]
        kept = sum(r.reserved_bytes for r in beside)
        kept -= sum(self.ledger.gain_bytes(r) for r in beside if r.state is ResidentState.PARKING)
        room = device.budget_bytes - self.ledger.pinned_bytes(device.id, but=resident)
        return resident.whole_bytes > room - kept

    def resume_calm(self) -> Evict | Resume | None:
        """Those that may come back because nobody of a higher class wants room. What is idle makes room for
        them when it was idle for a slice: whoever had it may go on with it."""
        slice_s = self.rules.training_slice_s
        for resident in sorted(
            self.ledger.residents.values(), key=lambda r: (r.parking.parked_s or 0.0, r.id)
        ):
            if not parking.is_parked(resident) or self.now_s - (resident.parking.parked_s or 0.0) < slice_s:
                continue
            if resident.device in self.wanted or resident.device in self.claimed:
                continue
            verdict = self._bring_back_calmly(resident, slice_s)
            if verdict is not None:
                return verdict
        return None

    def _bring_back_calmly(self, resident: Resident, slice_s: float) -> Evict | Resume | None:
        device = self.ledger.devices[resident.device]
        reason = f"nobody else needs the memory of {device.id}"
        most = self.rules.max_loaded
        places = self.ledger.places()
        full = most is not None and len(places) >= most
        missing = resident.owed_bytes - self.ledger.free_bytes(device.id)
        if full and (self.place_wanted or self.place_claimed is not None):
            return None
        if missing <= 0 and not full:
            return Resume(resident.id, reason)
        among = list(self.ledger.on_device(device.id)) if missing > 0 else places
        unused = [r for r in among if r.idle_since_s is not None and self.now_s - r.idle_since_s >= slice_s]
        victims = [r for r in self._in_order(unused) if r.plan.key not in self.ledger.wanted]
        if missing > 0:
            missing -= self.ledger.draining_bytes(device.id) + self.ledger.parking_bytes(device.id)
            victims = eviction.choose(victims, missing) or []
        elif any(r.state in (ResidentState.DRAINING, ResidentState.PARKING) for r in places):
            return None
        reason = f"unused while {parking.label_of(self.ledger, resident)} waits to go on"
        return Evict(victims[0].id, reason, turn=resident.id) if victims else None

    # -- what holds memory -------------------------------------------------------------------------

    def _memory(
        self,
        kind: WaitKind,
        text: str,
        request: Request,
        device: Device,
        need: int,
        holders: tuple[str, ...],
    ) -> WaitReason:
        free = max(0, self._free(request, device.id))
        return WaitReason(kind, text, device.id, holders, needed_bytes=need, free_bytes=free)

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
