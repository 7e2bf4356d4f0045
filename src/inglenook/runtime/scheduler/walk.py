# SPDX-License-Identifier: Apache-2.0
"""One pass over the queue and the parked trainings. Pure; `policy.py` says in which order."""

from inglenook.base.units import format_bytes, format_seconds
from inglenook.runtime.contracts import Device, Request, ResidentState, WaitKind, WaitReason
from inglenook.runtime.scheduler import eviction, words
from inglenook.runtime.scheduler.comeback import Comeback
from inglenook.runtime.scheduler.decisions import (
    Evict,
    Join,
    Park,
    Serve,
    Start,
    Verdict,
    Wait,
)
from inglenook.runtime.scheduler.resident import AWAY, Resident, wish_of


class Walk(Comeback):
    """Judges the requests, one after the other, in the fair order."""

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

    def _until_its_turn_is_over(
        self, request: Request, device: Device, trainings: list[Resident]
    ) -> Wait | None:
        having = [(until, r) for r in trainings if (until := self._turn_ends_s(r)) > self.now_s]
        if not having:
            return None
        until_s, training = max(having, key=lambda pair: (pair[0], pair[1].id))
        return Wait(request.id, words.its_turn(self.ledger, training, device, until_s, self.now_s))

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
