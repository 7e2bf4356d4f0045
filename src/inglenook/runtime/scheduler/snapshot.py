# SPDX-License-Identifier: Apache-2.0
"""The runtime as JSON, for `GET /v1/runtime` and the page. Reads, never decides."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from inglenook.base.ids import DeviceId, ModelId, RequestId, ResidentId
from inglenook.base.units import format_bytes
from inglenook.runtime.contracts import DeviceUsage, Explanation
from inglenook.runtime.scheduler.ledger import Ledger, Resident

LOG_LINES = 20


def snapshot(
    ledger: Ledger,
    now_s: float,
    explained: Mapping[RequestId, Explanation],
    usage: Mapping[DeviceId, DeviceUsage],
    logs: Mapping[ResidentId, tuple[str, ...]],
) -> dict[str, Any]:
    return {
        "devices": [_device(ledger, device, usage) for device in ledger.devices],
        "residents": [_resident(ledger, resident, now_s, logs) for resident in ledger.residents],
        "leases": [
            {
                "id": held.id,
                "work": held.request.label,
                "person": held.request.person,
                "model": held.request.plan.model,
                "resident": held.resident,
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


def _resident(
    ledger: Ledger, resident_id: ResidentId, now_s: float, logs: Mapping[ResidentId, tuple[str, ...]]
) -> dict[str, Any]:
    resident = ledger.residents[resident_id]
    kind = ledger.devices[resident.device].kind
    return {
        "id": resident.id,
        "model": resident.plan.model,
        "engine": resident.plan.engine,
        "device": resident.device,
        "state": resident.state,
        "pinned": resident.plan.pinned,
        "reserved_bytes": resident.reserved_bytes,
        "saving": resident.saving or int(resident.plan.options.get("saving", 0)),
        "saving_reason": saving_reason(ledger, resident),
        "measured_bytes": resident.measured_bytes,
        "leases": sorted(resident.leases),
        "capacity": resident.plan.capacity,
        "idle_s": None if resident.idle_since_s is None else round(now_s - resident.idle_since_s, 3),
        "since_s": round(now_s - resident.started_s, 3),
        "expected_load_s": ledger.expected_load_s(resident.plan, kind),
        "asked_by": resident.asked_by,
        "reason": resident.reason or None,
        "log": list(logs.get(resident_id, ())[-LOG_LINES:]),
    }
