# SPDX-License-Identifier: Apache-2.0
"""The runtime as JSON, for `GET /v1/runtime` and the page. Reads, never decides."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from inglenook.base.ids import DeviceId, LeaseId, ModelId, RequestId, ResidentId
from inglenook.base.units import format_bytes
from inglenook.runtime.contracts import DeviceUsage, Explanation, LoadPlan, ResidentState
from inglenook.runtime.scheduler import words
from inglenook.runtime.scheduler.decisions import Rules
from inglenook.runtime.scheduler.ledger import Ledger
from inglenook.runtime.scheduler.parking import due_s, is_parked
from inglenook.runtime.scheduler.policy import keep_s
from inglenook.runtime.scheduler.resident import AWAY, Resident

LOG_LINES = 20


@dataclass(frozen=True, slots=True)
class ResidentNow:
    """One resident as it is at a moment.

    Attributes:
        keep_s: seconds that it stays loaded unused; `math.inf` for ever.
        since_s: seconds since it was started. idle_s: since its last lease came back; None at work.
        expected_load_s: that loading takes.
        saving: the saving level at which it works.
    """

    id: ResidentId
    plan: LoadPlan
    device: DeviceId
    state: ResidentState
    pinned: bool
    keep_s: float
    leaving: bool
    leases: int
    since_s: float
    idle_s: float | None
    expected_load_s: float
    reserved_bytes: int
    measured_bytes: int
    saving: int = 0


def residents_now(ledger: Ledger, now_s: float, rules: Rules, model: ModelId | None) -> list[ResidentNow]:
    return [
        ResidentNow(
            id=r.id,
            plan=r.plan,
            device=r.device,
            state=r.state,
            pinned=r.pinned,
            keep_s=keep_s(r, rules),
            leaving=r.leaving,
            leases=len(r.leases),
            since_s=now_s - r.started_s,
            idle_s=None if r.idle_since_s is None else now_s - r.idle_since_s,
            expected_load_s=ledger.expected_load_s(r.plan, ledger.devices[r.device].kind),
            reserved_bytes=r.reserved_bytes,
            measured_bytes=r.measured_bytes,
            saving=r.saving,
        )
        for r in ledger.residents.values()
        if model is None or r.plan.model == model
    ]


def snapshot(
    ledger: Ledger,
    now_s: float,
    explained: Mapping[RequestId, Explanation],
    usage: Mapping[DeviceId, DeviceUsage],
    logs: Mapping[ResidentId, tuple[str, ...]],
    notes: Mapping[LeaseId, str],
    rules: Rules,
) -> dict[str, Any]:
    """Args:
    notes: how far the work with a lease is, where its holder has said so.
    """
    return {
        "devices": [_device(ledger, device, usage) for device in ledger.devices],
        "residents": [
            _resident(ledger, resident, now_s, logs, notes, rules) for resident in ledger.residents
        ],
        "leases": [
            {
                "id": held.id,
                "work": held.request.label,
                "person": held.request.person,
                "model": held.request.plan.model,
                "resident": held.resident,
                "progress": notes.get(held.id),
                "held_s": round(now_s - held.granted_s, 3),
                "expected_s": ledger.expected_held_s(held.request),
            }
            for held in ledger.leases.values()
        ],
        "queue": [
            {
                "request": explanation.request,
                "work": ledger.waiting[explanation.request].label,
                "person": ledger.waiting[explanation.request].person,
                "model": ledger.waiting[explanation.request].plan.model,
                "class": ledger.waiting[explanation.request].work_class,
                **explanation_json(explanation),
            }
            for explanation in explained.values()
        ],
        # Measured here, by model; where engines or kinds of device differ, the shortest.
        "load_s": _load_s(ledger),
    }


def _load_s(ledger: Ledger) -> dict[ModelId, float]:
    found: dict[ModelId, float] = {}
    for ((_, model), _), seconds in ledger.load_s.items():
        found[model] = min(seconds, found.get(model, seconds))
    return found


def explanation_json(explanation: Explanation) -> dict[str, Any]:
    """Position, reason, who holds what, the estimate and its error."""
    reason = asdict(explanation.reason)
    reason.pop("until_s")
    return {
        "position": explanation.position,
        "waiting": explanation.waiting,
        "reason": reason,
        "waited_s": round(explanation.waited_s, 3),
        "evicted": list(explanation.evicted),
        "estimate_s": explanation.estimate_s,
        "estimate_error_s": explanation.estimate_error_s,
    }


def saving_reason(ledger: Ledger, resident: Resident) -> str | None:
    """Why a resident spares memory; None where it does not have to."""
    if not resident.saving:
        return None
    device = ledger.devices[resident.device]
    pinned = ledger.pinned_bytes(device.id, but=resident)
    beside = f", of which pinned models hold {format_bytes(pinned)}" if pinned else ""
    return (
        f"memory is spared at level {resident.saving}, which is slower: with nothing spared "
        f"{resident.plan.model} needs {format_bytes(resident.unspared_bytes)}, and the budget of {device.id} "
        f"is {format_bytes(device.budget_bytes)}{beside}"
    )


def parked_in_words(resident: Resident) -> str:
    """What parking it did."""
    receipt = resident.parking.receipt
    if receipt is None:
        return "parked"
    freed = resident.parking.whole_bytes - resident.reserved_bytes
    where = f" after batch {receipt.batch} of epoch {receipt.epoch}" if receipt.epoch else ""
    kept = format_bytes(resident.reserved_bytes)
    return f"parked in {receipt.seconds:.1f} s{where}; {format_bytes(freed)} are free, {kept} are kept"


def _parking(ledger: Ledger, resident: Resident, now_s: float, rules: Rules) -> dict[str, Any] | None:
    """Of a training that was parked at least once, or is about to be; None for all others.

    `host_bytes`: what it has set aside (in host memory; on a CPU in a file). `back_s`: seconds until it comes
    back at the latest, as far as others give the device back by then.
    """
    parking, receipt = resident.parking, resident.parking.receipt
    away = resident.state in AWAY
    if not away and not parking.times:
        return None
    parked = is_parked(resident)
    host_bytes = resident.whole_bytes - resident.reserved_bytes if parked else None
    if parked and receipt is not None and receipt.before_bytes is not None:
        host_bytes = max(0, receipt.before_bytes - (receipt.after_bytes or 0))
    return {
        "times": parking.times,
        "reason": words.parked(ledger, resident, now_s, rules)
        if parked
        else parking.reason
        if away
        else None,
        "since_s": None if not away or parking.asked_s is None else round(now_s - parking.asked_s, 3),
        "back_s": round(max(0.0, due_s(ledger, resident, rules) - now_s), 3) if parked else None,
        "whole_bytes": resident.whole_bytes,
        "host_bytes": host_bytes,
        "receipt": None if receipt is None else asdict(receipt),
        "expected_park_s": ledger.expected_park_s(resident),
        "expected_resume_s": ledger.expected_resume_s(resident),
    }


def _device(ledger: Ledger, device_id: DeviceId, usage: Mapping[DeviceId, DeviceUsage]) -> dict[str, Any]:
    device = ledger.devices[device_id]
    reading = usage.get(device_id)
    return {
        "id": device.id,
        "kind": device.kind,
        "name": device.name,
        "total_bytes": device.total_bytes,
        "budget_bytes": device.budget_bytes,
        "reserved_bytes": ledger.reserved_bytes(device_id),
        "used_bytes": None if reading is None else reading.used_bytes,
    }


def _finite(keep_s: float | None) -> float | None:
    """As settings and requests write it: -1 for ever."""
    return -1.0 if keep_s == math.inf else keep_s


def _resident(
    ledger: Ledger,
    resident_id: ResidentId,
    now_s: float,
    logs: Mapping[ResidentId, tuple[str, ...]],
    notes: Mapping[LeaseId, str],
    rules: Rules,
) -> dict[str, Any]:
    resident = ledger.residents[resident_id]
    kind = ledger.devices[resident.device].kind
    return {
        "id": resident.id,
        "model": resident.plan.model,
        "engine": resident.plan.engine,
        "device": resident.device,
        "state": resident.state,
        "pinned": resident.pinned,
        "leaving": resident.leaving,
        "keep_s": _finite(resident.keep_s),
        "variant": resident.plan.variant,
        "reserved_bytes": resident.reserved_bytes,
        "saving": resident.saving or int(resident.plan.options.get("saving", 0)),
        "saving_reason": saving_reason(ledger, resident),
        "measured_bytes": resident.measured_bytes,
        "leases": sorted(resident.leases),
        "progress": [notes[lease] for lease in sorted(resident.leases) if lease in notes],
        "capacity": resident.plan.capacity,
        "idle_s": None if resident.idle_since_s is None else round(now_s - resident.idle_since_s, 3),
        "since_s": round(now_s - resident.started_s, 3),
        "expected_load_s": ledger.expected_load_s(resident.plan, kind),
        "asked_by": resident.asked_by,
        "reason": resident.reason or None,
        "parkable": resident.plan.parkable,
        "parking": _parking(ledger, resident, now_s, rules),
        "log": list(logs.get(resident_id, ())[-LOG_LINES:]),
    }
