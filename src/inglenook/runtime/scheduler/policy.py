# SPDX-License-Identifier: Apache-2.0
"""What to do next. Pure: reads the ledger, returns a decision as a value, changes nothing.

The loop asks `decide` again after it has carried out each decision, until there is none. What somebody asked
to be unloaded goes first, as soon as it is idle. Then come parked trainings whose turn it is (`parking.py`):
`Resume` where their memory is free, else `Evict` what is idle, else they claim the device. Then a walk looks
at the waiting requests in the fair order, and for each:

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
 9. room can be made by parking trainings too, for
    work of a higher class                          → `Evict` and `Park`, or it waits for the end of a turn
10. what holds the memory is at work, or pinned     → it waits, and nobody behind it takes what is free

Where only so many models may be loaded, a place among them is had like memory: by making an idle one go (8),
by parking a training (9), by waiting for it (10), and nobody behind takes a place that somebody waits for.
Parked trainings hold no place. At last, where nobody of a higher class wants room, parked trainings come back
before their turn, and what was idle for too long is unloaded.

Fair order: by class (a waiting request rises one class every `aging_s`), then people in turn, then
each one's own order. Interactive before batch before training, and nothing waits for ever.
"""

import heapq
import math
from collections.abc import Iterator

from inglenook.base.ids import RequestId
from inglenook.base.units import format_seconds
from inglenook.runtime.contracts import Explanation, LoadPlan, Request, WaitKind
from inglenook.runtime.scheduler import words
from inglenook.runtime.scheduler.claims import RANK
from inglenook.runtime.scheduler.decisions import (
    Decision,
    Evict,
    Join,
    Park,
    Refuse,
    Resume,
    Rules,
    Serve,
    Start,
    Verdict,
    Wait,
)
from inglenook.runtime.scheduler.forecast import Forecast
from inglenook.runtime.scheduler.ledger import Ledger
from inglenook.runtime.scheduler.resident import Resident
from inglenook.runtime.scheduler.walk import Walk

__all__ = [
    "RANK",
    "Decision",
    "Evict",
    "Join",
    "Park",
    "Refuse",
    "Resume",
    "Rules",
    "Serve",
    "Start",
    "Verdict",
    "Wait",
    "comes_next",
    "decide",
    "explain_all",
    "fair_order",
    "keep_s",
]


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
    walk = Walk(ledger, now_s, rules)
    due = walk.resume_due()
    if due is not None:
        return due
    for request in fair_order(ledger, now_s, rules):
        verdict = walk.judge(request)
        if not isinstance(verdict, Join | Wait):
            return verdict
        if walk.nobody_left:
            break
    return walk.resume_calm() or _unload_idle(ledger, now_s, rules)


def explain_all(ledger: Ledger, now_s: float, rules: Rules) -> dict[RequestId, Explanation]:
    """Every waiting request with its place and its reason. O(waiting); for display, not for deciding."""
    walk = Walk(ledger, now_s, rules)
    walk.resume_due()
    explanations: dict[RequestId, Explanation] = {}
    forecast = Forecast(ledger, now_s)
    for position, request in enumerate(fair_order(ledger, now_s, rules), start=1):
        reason = words.reason(ledger, walk.judge(request), now_s)
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


AHEAD = (WaitKind.MEMORY, WaitKind.DRAINING, WaitKind.PARKING, WaitKind.LIMIT)
"""For what somebody waits whose model is loaded next."""


def comes_next(ledger: Ledger, now_s: float, rules: Rules) -> LoadPlan | None:
    """What is loaded as soon as there is room for it: the first in the fair order that waits for room. None
    where nobody does."""
    walk = Walk(ledger, now_s, rules)
    walk.resume_due()
    for request in fair_order(ledger, now_s, rules):
        verdict = walk.judge(request)
        if isinstance(verdict, Wait) and verdict.reason.kind in AHEAD:
            return request.plan
        if walk.nobody_left:
            break
    return None


def _unload_leaving(ledger: Ledger) -> Evict | None:
    for resident in ledger.residents.values():
        if resident.leaving and resident.is_idle:
            return Evict(resident.id, "somebody asked for it")
        if resident.is_left_parked:
            return Evict(resident.id, "its work was given up while it was parked")
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
