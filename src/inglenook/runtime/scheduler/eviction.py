# SPDX-License-Identifier: Apache-2.0
"""Whom to unload. Pure; must not log."""

from collections.abc import Callable, Iterable, Mapping

from inglenook.base.ids import ResidentId
from inglenook.runtime.scheduler.ledger import Resident

_SHORTEST_LOAD_S = 0.1


def score(resident: Resident, now_s: float, load_s: float) -> float:
    """`idle seconds / (seconds to load x weight)`: who was idle long and comes back cheaply goes first."""
    idle_s = 0.0 if resident.idle_since_s is None else now_s - resident.idle_since_s
    return idle_s / (max(load_s, _SHORTEST_LOAD_S) * resident.plan.weight)


def candidates(
    residents: Iterable[Resident], now_s: float, load_s: Mapping[ResidentId, float]
) -> list[Resident]:
    """Idle residents that may be evicted, best victim first. Pinned and working ones are never among them.

    Args:
        load_s: seconds to load, by resident id.
    """
    idle = [r for r in residents if r.is_idle and not r.pinned]
    return sorted(idle, key=lambda r: (-score(r, now_s, load_s[r.id]), r.id))


def all_of_it(resident: Resident) -> int:
    """What ending it frees."""
    return resident.reserved_bytes


def choose(
    victims: list[Resident], missing_bytes: int, gain: Callable[[Resident], int] = all_of_it
) -> list[Resident] | None:
    """The fewest of `victims`, taken in their order, that free `missing_bytes`; None if all are not enough.

    A victim whose memory turns out not to be needed, because a later one is large, is spared.

    Args:
        gain: bytes that one of them frees.
    """
    taken: list[Resident] = []
    freed = 0
    for victim in victims:
        if freed >= missing_bytes:
            break
        taken.append(victim)
        freed += gain(victim)
    if freed < missing_bytes:
        return None
    for victim in list(taken):
        if freed - gain(victim) >= missing_bytes:
            taken.remove(victim)
            freed -= gain(victim)
    return taken
