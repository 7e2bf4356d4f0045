# SPDX-License-Identifier: Apache-2.0
"""When a training is parked and when it comes back. Pure: reads the book, changes nothing.

A training whose memory others want has the device in turns. A *turn* lasts as long as the share asks for, and
a slice at least; a *rest* the same from the other side; both together are the *window*:

    share 0.2, slice 30 s:   turn 30 s, rest 120 s, window 150 s
    share 0.5, slice 30 s:   turn 30 s, rest  30 s, window  60 s
    share 0.8, slice 30 s:   turn 120 s, rest 30 s, window 150 s

It is parked at once when it was never parked, else when its turn is over. It is *due* when its time at work
falls below a turn in the window that ends when it would be back, or when it has aged: parked for so long that
a request which waited as long would count as interactive. Nothing changes twice within a slice.
"""

import math
from dataclasses import replace

from inglenook.base.work import WorkClass
from inglenook.runtime.contracts import Request, ResidentState
from inglenook.runtime.scheduler.decisions import Rules
from inglenook.runtime.scheduler.ledger import Ledger
from inglenook.runtime.scheduler.resident import Resident

CLASSES_TO_THE_TOP = 2
"""How many classes a training is below the most urgent one."""


def turn_s(rules: Rules) -> float:
    """How long a training has the device when others want it; `math.inf` at a share of 1."""
    share = rules.training_share
    return math.inf if share >= 1 else rules.training_slice_s * max(1.0, share / (1 - share))


def window_s(rules: Rules) -> float:
    """In how long it gets one turn; `math.inf` at a share of 0 or 1."""
    share = rules.training_share
    if share <= 0:
        return math.inf
    return turn_s(rules) + rules.training_slice_s * max(1.0, (1 - share) / share)


def parkable_from_s(resident: Resident, rules: Rules) -> float:
    """From when on a training that works may be parked; `math.inf` for never."""
    parking = resident.parking
    if rules.training_share >= 1:
        return math.inf
    over_s = -math.inf if parking.resumed_s is None else parking.resumed_s + turn_s(rules)
    return max(over_s, parking.not_before_s)


def due_s(ledger: Ledger, resident: Resident, rules: Rules) -> float:
    """When a parked training is to have the device again whoever else wants it."""
    parking = resident.parking
    parked_s = parking.parked_s if parking.parked_s is not None else 0.0
    aged_s = parked_s + CLASSES_TO_THE_TOP * rules.aging_s
    back_s = ledger.expected_return_s(resident)
    window = window_s(rules)
    short_s = math.inf if window == math.inf else _share_from_s(resident, turn_s(rules)) + window - back_s
    return max(parked_s + rules.training_slice_s, min(aged_s, short_s))


def _share_from_s(resident: Resident, wanted_s: float) -> float:
    """The latest time since which it was at work for `wanted_s`; minus infinity if it never was so long."""
    for began_s, ended_s in reversed(resident.parking.ran):
        if ended_s - began_s >= wanted_s:
            return ended_s - wanted_s
        wanted_s -= ended_s - began_s
    return -math.inf


def is_parked(resident: Resident) -> bool:
    """Parked in the middle of its work."""
    return resident.state is ResidentState.PARKED and bool(resident.leases)


def asking(ledger: Ledger, resident: Resident, due: float) -> Request:
    """A parked training as a request that waits since it was due: for what else compares requests."""
    held = ledger.leases[min(resident.leases)]
    return replace(held.request, arrived_s=due)


def may_park_for(request: Request, ledger: Ledger) -> bool:
    """Whether trainings give way to the request: it is of a higher class, and will not hold the memory for
    good."""
    return request.work_class is not WorkClass.TRAINING and not is_pinned(request, ledger)


def is_pinned(request: Request, ledger: Ledger) -> bool:
    """Whether what is loaded for it will stay whatever others need."""
    said = ledger.keeping.get(request.plan.model)
    return request.plan.pinned if said is None else said.pinned


def label_of(ledger: Ledger, resident: Resident) -> str:
    """What the training is, for people."""
    held = [ledger.leases[lease].request.label for lease in sorted(resident.leases)]
    return held[0] if held else str(resident.plan.model)
