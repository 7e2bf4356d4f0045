# SPDX-License-Identifier: Apache-2.0
"""The accelerator as the page shows it: what is reserved, who holds it, who waits. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inglenook.base.ids import ModelId
from inglenook.base.units import format_bytes
from inglenook.web.models import Standing, Warmth

SHOWN_WAITING = 5
_HOLDS_MEMORY = frozenset({"starting", "ready", "parking", "parked", "resuming", "draining"})
_STATE_WORDS: Mapping[str, str] = {
    "starting": "being loaded",
    "ready": "idle",
    "parking": "being parked",
    "parked": "parked",
    "resuming": "coming back",
    "draining": "being unloaded",
}


def away_words(resident: Mapping[str, Any]) -> str | None:
    """What becomes of a training that does not have its device now; None where it has."""
    state = str(resident["state"])
    if state not in ("parking", "parked", "resuming"):
        return None
    parking = resident.get("parking") or {}
    aside = parking.get("host_bytes")
    kept = f" with {format_bytes(int(aside))} set aside" if aside else ""
    return f"{_STATE_WORDS[state]}{kept}"


@dataclass(frozen=True, slots=True)
class Holder:
    """A model that holds memory. `from_percent`, `percent`: its place in the device's budget, 0 to 100."""

    model: str
    words: str
    size: str
    from_percent: float
    percent: float


@dataclass(frozen=True, slots=True)
class DeviceView:
    name: str
    reserved: str
    budget: str
    holders: tuple[Holder, ...]


@dataclass(frozen=True, slots=True)
class Fire:
    """`queue`: the first of those that wait, one line each; `waiting`: how many there are in all."""

    devices: tuple[DeviceView, ...]
    queue: tuple[str, ...]
    waiting: int


def fire_of(snapshot: Mapping[str, Any]) -> Fire:
    """`snapshot`: the runtime as JSON."""
    queue = sorted(snapshot["queue"], key=lambda waiting: int(waiting["position"]))
    return Fire(
        devices=tuple(_device(device, snapshot["residents"]) for device in snapshot["devices"]),
        queue=tuple(_line(waiting) for waiting in queue[:SHOWN_WAITING]),
        waiting=len(queue),
    )


def warmth_of(snapshot: Mapping[str, Any]) -> dict[ModelId, Warmth]:
    """How soon each model that the runtime knows can draw; the soonest where it is on several devices."""
    found: dict[ModelId, Warmth] = {
        ModelId(model): Warmth(load_s=seconds) for model, seconds in snapshot.get("load_s", {}).items()
    }
    order = list(Standing)
    for resident in snapshot["residents"]:
        model = ModelId(resident["model"])
        fresh = Warmth(_standing(str(resident["state"])), resident["expected_load_s"])
        known = found.get(model)
        if known is None or order.index(fresh.standing) < order.index(known.standing):
            found[model] = fresh
    return found


def _standing(state: str) -> Standing:
    if state == "ready":
        return Standing.READY
    return Standing.STARTING if state == "starting" else Standing.COLD


def _device(device: Mapping[str, Any], residents: list[Mapping[str, Any]]) -> DeviceView:
    budget_bytes = int(device["budget_bytes"])
    here = [it for it in residents if it["device"] == device["id"] and it["state"] in _HOLDS_MEMORY]
    holders: list[Holder] = []
    from_percent = 0.0
    for resident in here:
        reserved_bytes = int(resident["reserved_bytes"])
        percent = min(100 - from_percent, 100 * reserved_bytes / max(1, budget_bytes))
        holders.append(
            Holder(
                model=str(resident["model"]),
                words=away_words(resident)
                or ("at work" if resident["leases"] else _STATE_WORDS[str(resident["state"])]),
                size=format_bytes(reserved_bytes),
                from_percent=from_percent,
                percent=percent,
            )
        )
        from_percent += percent
    return DeviceView(
        name=f"Processor: {device['name']}" if device["kind"] == "cpu" else str(device["name"]),
        reserved=format_bytes(int(device["reserved_bytes"])),
        budget=format_bytes(budget_bytes),
        holders=tuple(holders),
    )


def _line(waiting: Mapping[str, Any]) -> str:
    text = str(waiting["reason"]["text"]).rstrip(".")
    return f"{waiting['work']}: {text}"
