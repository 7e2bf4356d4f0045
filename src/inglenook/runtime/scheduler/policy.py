# SPDX-License-Identifier: Apache-2.0
"""What to do next. Pure: reads the ledger, returns a decision as a value, changes nothing.

The loop asks `decide` again after it has carried out each decision, until there is none. What somebody asked
to be unloaded goes first, as soon as it is idle. Then a walk looks at the waiting requests in the fair order,
and for each:

 1. a ready resident of it has room                 → `Serve`, unless somebody who came first is out of
                                                      patience with it and wants its memory
 2. a resident of it is being started               → `Join`: it is served when that is ready
 3. a ready resident of it is full, or is to go      → it waits for its turn, or for the end of that
 4. a resident of it is being ended                 → it waits until that is gone
 5. its model's child failed a moment ago           → it waits for the end of the back-off
 6. no device could ever hold it                    → `Refuse`, with both numbers
 7. there is room on a device, and fewer models
    are loaded than may be                          → `Start`, at the least saving level that fits the
                                                      device when nothing else is on it
 8. room can be made of idle residents that nobody
    as urgent waits for, or patience is over        → `Evict`, and it waits for the room
 9. what holds the memory is at work, or pinned     → it waits, and nobody behind it takes what is free

Where only so many models may be loaded, a place among them is had like memory: by making an idle one go (8),
by waiting for it (9), and nobody behind takes a place that somebody waits for.

Fair order: by class (a waiting request rises one class every `aging_s`), then people in turn, then
each one's own order. Interactive before batch before training, and nothing waits for ever.
"""

import heapq
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from inglenook.base.ids import DeviceId, RequestId, ResidentId
from inglenook.base.units import format_bytes, format_seconds
from inglenook.base.work import WorkClass
from inglenook.runtime.contracts import (
    Device,
    Explanation,
    LoadPlan,
    Request,
    ResidentState,
    WaitKind,
    WaitReason,
)
from inglenook.runtime.scheduler import eviction
from inglenook.runtime.scheduler.forecast import Forecast
from inglenook.runtime.scheduler.ledger import Ledger, Need, Resident, Wish, wish_of

RANK = {WorkClass.INTERACTIVE: 0, WorkClass.BATCH: 1, WorkClass.TRAINING: 2}


@dataclass(frozen=True, slots=True)
class Rules:
    """Settings of the policy.

    Attributes:
        aging_s: after each such time of waiting a request counts as one class more urgent.
        patience_s: how long others may go on using a ready model while an earlier request waits for its
            memory, counted from when it was ready; or the time to load the model that is waited for, where
            that is longer. It keeps two models that want the same memory from only being loaded.
        idle_unload_s: an idle resident is unloaded after this, where nobody has said otherwise for it; None
            keeps it until its memory is wanted.
        max_loaded: how many children there may be at once; those being loaded and unloaded count. None: as
            many as memory holds.
    """

    aging_s: float = 60.0
    patience_s: float = 5.0
    idle_unload_s: float | None = 300.0
    max_loaded: int | None = None


@dataclass(frozen=True, slots=True)
class Serve:
    """Grant a lease on a ready resident."""

    request: RequestId
    resident: ResidentId


@dataclass(frozen=True, slots=True)
class Start:
    """Start a child for the request's plan on the device; its footprint is reserved from now on."""

    request: RequestId
    device: DeviceId


@dataclass(frozen=True, slots=True)
class Evict:
    """End an idle resident. `request` is who needs the room, None when it was idle for too long."""

    resident: ResidentId
    reason: str
    request: RequestId | None = None


@dataclass(frozen=True, slots=True)
class Refuse:
    """No device could ever hold it, with everything else unloaded."""

    request: RequestId
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Park:
    """Move a training run's weights to host memory at its next batch boundary. A later issue decides it."""

    resident: ResidentId
    request: RequestId


@dataclass(frozen=True, slots=True)
class Resume:
    """Bring a parked run back. A later issue decides it."""

    resident: ResidentId


@dataclass(frozen=True, slots=True)
class Join:
    """It needs no child of its own: the one being started will serve it."""

    request: RequestId
    resident: ResidentId


@dataclass(frozen=True, slots=True)
class Wait:
    """It cannot be served now, for this reason."""

    request: RequestId
    reason: WaitReason


Decision = Serve | Start | Evict | Refuse | Park | Resume
"""What the loop must carry out."""
Verdict = Decision | Join | Wait
"""What a walk finds for one request."""


def fair_order(ledger: Ledger, now_s: float, rules: Rules) -> Iterator[Request]:
    """Waiting requests, next one first. Lazy: the first costs O(people), each further one O(log people)."""
    heap: list[tuple[int, int, int, int, Request, Iterator[Request]]] = []

    def push(nth: int, rest: Iterator[Request]) -> None:
        request = next(rest, None)
        if request is None:
            return
        aged = int((now_s - request.arrived_s) / rules.aging_s)
        rank = max(0, RANK[request.work_class] - aged)
        heapq.heappush(heap, (rank, ledger.turns[request.person] + nth, request.order, nth, request, rest))

    for stream in ledger.streams().values():
        push(0, iter(stream.values()))
    while heap:
        _, _, _, nth, request, rest = heapq.heappop(heap)
        yield request
        push(nth + 1, rest)


def decide(ledger: Ledger, now_s: float, rules: Rules) -> Decision | None:
    """The next thing to do, or None when everybody who can be served is served."""
    leaving = _unload_leaving(ledger)
    if leaving is not None:
        return leaving
    walk = _Walk(ledger, now_s, rules)
    for request in fair_order(ledger, now_s, rules):
        verdict = walk.judge(request)
        if not isinstance(verdict, Join | Wait):
            return verdict
        if walk.nobody_left:
            break
    return _unload_idle(ledger, now_s, rules)


def explain_all(ledger: Ledger, now_s: float, rules: Rules) -> dict[RequestId, Explanation]:
    """Every waiting request with its place and its reason. O(waiting); for display, not for deciding."""
    walk = _Walk(ledger, now_s, rules)
    explanations: dict[RequestId, Explanation] = {}
    forecast = Forecast(ledger, now_s)
    for position, request in enumerate(fair_order(ledger, now_s, rules), start=1):
        reason = _reason(ledger, walk.judge(request), now_s)
        explanations[request.id] = Explanation(
            request=request.id,
            position=position,
            waiting=len(ledger.waiting),
            reason=reason,
            waited_s=now_s - request.arrived_s,
            evicted=ledger.evicted_for.get(request.id, ()),
            estimate_s=forecast.begin_of(request, reason),
            estimate_error_s=ledger.estimate_error_s,
        )
    return explanations


AHEAD = (WaitKind.MEMORY, WaitKind.DRAINING, WaitKind.LIMIT)
"""For what somebody waits whose model is loaded next."""


def comes_next(ledger: Ledger, now_s: float, rules: Rules) -> LoadPlan | None:
    """What is loaded as soon as there is room for it: the first in the fair order that waits for room. None
    where nobody does."""
    walk = _Walk(ledger, now_s, rules)
    for request in fair_order(ledger, now_s, rules):
        verdict = walk.judge(request)
        if isinstance(verdict, Wait) and verdict.reason.kind in AHEAD:
            return request.plan
        if walk.nobody_left:
            break
    return None


@dataclass(slots=True)
class _Walk:
    """One pass over the queue: remembers what earlier requests in the order lay claim to."""

    ledger: Ledger
    now_s: float
    rules: Rules
    blocked: dict[Wish, WaitReason] = field(default_factory=dict)
    claimed: dict[DeviceId, Request] = field(default_factory=dict)
    starved: dict[DeviceId, Request] = field(default_factory=dict)
    place_claimed: Request | None = None
    place_starved: Request | None = None

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
        elif isinstance(verdict, Join):
            self.blocked[wish] = _loading(self.ledger, verdict.resident, self.now_s)
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
        return need is not None and (need.bytes <= resident.reserved_bytes or need.bytes <= room)

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
            holders = self._holders(leaving)
            text = (
                f"{request.plan.model} is unloaded when its work is done ({', '.join(holders)}): somebody "
                "asked for that. It is loaded again then"
            )
            return Wait(request.id, WaitReason(WaitKind.TURN, text, leaving[0].device, holders))
        if busy:  # 3
            self._claim_growth(request, busy[0])
            holders = self._holders(busy)
            text = f"{request.plan.model} is at work for {', '.join(holders)}"
            return Wait(request.id, WaitReason(WaitKind.TURN, text, busy[0].device, holders))
        text = f"{request.plan.model} is being unloaded ({here[0].reason}) and is loaded again after that"
        return Wait(request.id, WaitReason(WaitKind.DRAINING, text, here[0].device))  # 4

    def _claim_growth(self, request: Request, resident: Resident) -> None:
        """Larger work that waits for its turn also needs room, and gets it only when both come together:
        so it lays claim to the room before its turn comes."""
        growth = self.ledger.growth_bytes(resident, request.plan)
        device = resident.device
        if not growth or device in self.claimed:
            return
        self.claimed[device] = request
        if growth > self.ledger.free_bytes(device) + self.ledger.draining_bytes(device):
            self.starved[device] = request

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
        if growth <= max(0, self.ledger.free_bytes(device.id)):
            return Serve(request.id, resident.id)
        if device.id in self.claimed:
            return self._behind(request, device)
        room = self._make_room(request, device, growth, spared=resident)
        return self._blocked(request, device, growth, more=" more") if room is None else room

    def _behind(self, request: Request, device: Device) -> Wait:
        first = self.claimed[device.id]
        what = "a place among the loaded models" if self.place_claimed is first else f"memory on {device.id}"
        text = f"{first.label} came first and waits for {what}"
        return Wait(request.id, WaitReason(WaitKind.BEHIND, text, device.id, (first.label,)))

    def _at_devices(self, request: Request) -> Verdict:
        fitting = self._fitting(request)
        if not fitting:  # 6
            return _refusal(self.ledger, request)
        if self.rules.max_loaded is not None and len(self._staying()) >= self.rules.max_loaded:
            return _refusal_of_place(request, self.rules.max_loaded, self._staying())
        for device, need in fitting:  # 7
            if device.id not in self.claimed and need <= self._available(request, device):
                return self._start(request, device)
        for device, need in fitting:  # 8
            if device.id in self.claimed:
                continue
            verdict = self._make_room(request, device, need)
            if verdict is not None:
                return verdict
        for device, need in fitting:  # 9
            if device.id not in self.claimed:
                return self._blocked(request, device, need)
        return self._behind(request, fitting[0][0])

    def _start(self, request: Request, device: Device) -> Verdict:
        """7: there is memory for it, and a place or the wait for one. Whoever waits for a place keeps the
        memory: both are needed at once."""
        most = self.rules.max_loaded
        residents = list(self.ledger.residents.values())
        if most is None or len(residents) < most:
            return Start(request.id, device.id)
        first = self.place_claimed
        if first is not None:
            text = f"{first.label} came first and waits for a place among the loaded models"
            return Wait(request.id, WaitReason(WaitKind.BEHIND, text, device.id, (first.label,)))
        self.claimed[device.id] = self.place_claimed = request
        leaving = tuple(str(r.plan.model) for r in residents if r.state is ResidentState.DRAINING)
        limit = _limit(most)
        if len(residents) - len(leaving) < most:
            text = f"{limit}; {', '.join(leaving)} is being unloaded to make place"
            return Wait(request.id, WaitReason(WaitKind.DRAINING, text, device.id, leaving))
        victims = self._victims(request, residents)
        if victims:
            return Evict(victims[0].id, f"{request.label} needs its place: {limit}", request.id)
        self.place_starved = request
        who = self._who_holds(residents)
        return Wait(
            request.id, WaitReason(WaitKind.LIMIT, f"{limit}; held by {', '.join(who)}", device.id, who)
        )

    def _staying(self) -> list[Resident]:
        return [r for r in self.ledger.residents.values() if r.stays]

    def _available(self, request: Request, device: Device) -> int:
        """Free bytes; none while a second try after memory ran out still finds idle residents beside it."""
        if request.plan.key in self.ledger.oom and self._victims_on(request, device):
            return -1
        return self.ledger.free_bytes(device.id)

    def _victims_on(self, request: Request, device: Device) -> list[Resident]:
        return self._victims(request, self.ledger.on_device(device.id))

    def _victims(self, request: Request, among: Iterable[Resident]) -> list[Resident]:
        residents = [
            r for r in among if self._out_of_patience(request, r) or not self._wanted_as_much(r, request)
        ]
        load_s = {
            r.id: self.ledger.expected_load_s(r.plan, self.ledger.devices[r.device].kind) for r in residents
        }
        return eviction.candidates(residents, self.now_s, load_s)

    def _make_room(
        self, request: Request, device: Device, need: int, spared: Resident | None = None
    ) -> Verdict | None:
        """8: the next victim, or the wait for those that are leaving; None when idle ones are not enough."""
        missing = need - self.ledger.free_bytes(device.id) - self.ledger.draining_bytes(device.id)
        everything = request.plan.key in self.ledger.oom
        victims = [r for r in self._victims_on(request, device) if r is not spared]
        chosen = victims if everything else eviction.choose(victims, missing)
        if chosen is None or (everything and not victims and missing > 0):
            return None
        if chosen:
            reason = f"{request.label} needs {format_bytes(need)} on {device.id}"
            return Evict(chosen[0].id, reason, request.id)
        self.claimed[device.id] = request
        leaving = tuple(
            str(r.plan.model) for r in self.ledger.on_device(device.id) if r.state is ResidentState.DRAINING
        )
        text = f"{', '.join(leaving)} is being unloaded to make room"
        return Wait(request.id, self._memory(WaitKind.DRAINING, text, device, need, leaving))

    def _blocked(self, request: Request, device: Device, need: int, more: str = "") -> Wait:
        self.claimed[device.id] = request
        self.starved[device.id] = request
        who = self._who_holds(list(self.ledger.on_device(device.id)))
        text = (
            f"{request.plan.model} needs {format_bytes(need)}{more} on {device.id}, "
            f"{format_bytes(self.ledger.free_bytes(device.id))} are free; held by {', '.join(who)}"
        )
        return Wait(request.id, self._memory(WaitKind.MEMORY, text, device, need, who))

    def _who_holds(self, residents: list[Resident]) -> tuple[str, ...]:
        """What work, and which models without any, in words."""
        starting = tuple(
            f"{r.plan.model} (being loaded)" for r in residents if r.state is ResidentState.STARTING
        )
        pinned = tuple(f"{r.plan.model} (pinned)" for r in residents if r.is_idle and r.pinned)
        wanted = tuple(
            f"{r.plan.model} (others wait for it)" for r in residents if r.is_idle and not r.pinned
        )
        leaving = tuple(
            f"{r.plan.model} (being unloaded)" for r in residents if r.state is ResidentState.DRAINING
        )
        return (*self._holders(residents), *starting, *pinned, *wanted, *leaving)

    def _memory(
        self, kind: WaitKind, text: str, device: Device, need: int, holders: tuple[str, ...]
    ) -> WaitReason:
        free = self.ledger.free_bytes(device.id)
        return WaitReason(kind, text, device.id, holders, needed_bytes=need, free_bytes=free)

    def _out_of_patience(self, request: Request, resident: Resident) -> bool:
        """Whether `request` has waited long enough for the memory of `resident`, counted from when that
        was ready: what was loaded is also used for a while."""
        kind = self.ledger.devices[resident.device].kind
        patience_s = max(self.rules.patience_s, self.ledger.expected_load_s(request.plan, kind))
        ready_s = self.now_s if resident.ready_s is None else resident.ready_s
        return self.now_s - max(request.arrived_s, ready_s) >= patience_s

    def _wanted_as_much(self, resident: Resident, request: Request) -> bool:
        """Whether somebody at least as urgent waits for the resident's model."""
        counts = self.ledger.wanted.get(resident.plan.key)
        if counts is None:
            return False
        return any(RANK[work_class] <= RANK[request.work_class] for work_class, n in counts.items() if n)

    def _holders(self, residents: list[Resident]) -> tuple[str, ...]:
        leases = (self.ledger.leases[lease] for r in residents for lease in sorted(r.leases))
        return tuple(held.request.label for held in leases)

    def _fitting(self, request: Request) -> list[tuple[Device, int]]:
        """Devices that could hold it if they were empty, only of the best kind among them, and what it
        needs there; first those where least has to be spared. A busy GPU is waited for: the CPU beside it
        would take many times longer."""
        possible = [
            (device, need)
            for device, need in _candidates(self.ledger, request)
            if need.bytes <= device.budget_bytes - self.ledger.pinned_bytes(device.id)
        ]
        best = possible[0][0].kind if possible else None
        possible.sort(key=lambda pair: pair[1].saving)
        return [(device, need.bytes) for device, need in possible if device.kind == best]


def _candidates(ledger: Ledger, request: Request) -> list[tuple[Device, Need]]:
    wanted = request.devices or tuple(ledger.devices)
    devices = [ledger.devices[d] for d in wanted if d in ledger.devices]
    sized = [(device, ledger.need(request.plan, device)) for device in devices]
    return [(device, need) for device, need in sized if need is not None]


def _refusal(ledger: Ledger, request: Request) -> Refuse:
    candidates = _candidates(ledger, request)
    model = request.plan.model
    if not candidates:
        known = ", ".join(ledger.devices) if ledger.devices else "none"
        return Refuse(
            request.id,
            f"{model} cannot be loaded on any device here (devices: {known}; "
            f"{request.plan.engine} supports {', '.join(request.plan.footprint_bytes)}).",
            "look at `inglenook doctor`",
        )
    device, need = max(candidates, key=lambda pair: pair[0].budget_bytes)
    own = next((r for r in ledger.of_plan(request.plan.key) if r.device == device.id), None)
    pinned = ledger.pinned_bytes(device.id, but=own)
    room = f"the budget of {device.id} is {format_bytes(device.budget_bytes)}"
    if pinned:
        room += f", of which pinned models hold {format_bytes(pinned)}"
    sparing = ", also when as much memory as possible is spared" if request.plan.saving_bytes else ""
    return Refuse(
        request.id,
        f"{model} needs {format_bytes(need.bytes)}{sparing}; {room}.",
        f"use a smaller model or size, or raise runtime.budgets for {device.id}",
    )


def _refusal_of_place(request: Request, most: int, staying: list[Resident]) -> Refuse:
    names = ", ".join(str(r.plan.model) for r in staying)
    return Refuse(
        request.id,
        f"{request.plan.model} cannot be loaded: {_limit(most)}, and pinned ones take every place: {names}.",
        "unpin one of them, or raise runtime.max_loaded",
    )


def _limit(most: int) -> str:
    return f"{most} {'model' if most == 1 else 'models'} may be loaded at once (runtime.max_loaded)"


def _unload_leaving(ledger: Ledger) -> Evict | None:
    for resident in ledger.residents.values():
        if resident.leaving and resident.is_idle:
            return Evict(resident.id, "somebody asked for it")
    return None


def keep_s(resident: Resident, rules: Rules) -> float:
    """Seconds that the resident stays loaded unused; `math.inf` for ever, which is not to say that its memory
    is not taken for others. Of a pinned one it is always that."""
    if resident.pinned:
        return math.inf
    if resident.keep_s is not None:
        return resident.keep_s
    return math.inf if rules.idle_unload_s is None else rules.idle_unload_s


def _unload_idle(ledger: Ledger, now_s: float, rules: Rules) -> Evict | None:
    for resident in ledger.residents.values():
        if not resident.is_idle or resident.idle_since_s is None:
            continue
        idle_s = now_s - resident.idle_since_s
        if idle_s >= keep_s(resident, rules) and resident.plan.key not in ledger.wanted:
            return Evict(resident.id, f"idle for {format_seconds(idle_s)}")
    return None


def _loading(ledger: Ledger, resident_id: ResidentId, now_s: float) -> WaitReason:
    resident = ledger.residents[resident_id]
    kind = ledger.devices[resident.device].kind
    since = now_s - resident.started_s
    expected = ledger.expected_load_s(resident.plan, kind)
    spent = f"for {format_seconds(since)} of about {format_seconds(expected)}"
    text = f"{resident.plan.model} is being loaded, {spent}"
    return WaitReason(WaitKind.LOADING, text, resident.device)


def _reason(ledger: Ledger, verdict: Verdict, now_s: float) -> WaitReason:
    if isinstance(verdict, Wait):
        return verdict.reason
    if isinstance(verdict, Join):
        return _loading(ledger, verdict.resident, now_s)
    # What the loop is about to do anyway: seen only by somebody who asks in between.
    return WaitReason(WaitKind.TURN, "it is next")
