# SPDX-License-Identifier: Apache-2.0
"""Why something is refused or waits, in words. Pure."""

from inglenook.base.ids import ResidentId
from inglenook.base.units import format_bytes, format_seconds
from inglenook.runtime.contracts import Device, Request, ResidentState, WaitKind, WaitReason
from inglenook.runtime.scheduler.decisions import Join, Refuse, Rules, Verdict, Wait
from inglenook.runtime.scheduler.ledger import Ledger
from inglenook.runtime.scheduler.parking import due_s, label_of
from inglenook.runtime.scheduler.resident import AWAY, Need, Resident


def candidates(ledger: Ledger, request: Request) -> list[tuple[Device, Need]]:
    wanted = request.devices or tuple(ledger.devices)
    devices = [ledger.devices[d] for d in wanted if d in ledger.devices]
    sized = [(device, ledger.need(request.plan, device)) for device in devices]
    return [(device, need) for device, need in sized if need is not None]


def refusal(ledger: Ledger, request: Request) -> Refuse:
    possible = candidates(ledger, request)
    model = request.plan.model
    if not possible:
        known = ", ".join(ledger.devices) if ledger.devices else "none"
        return Refuse(
            request.id,
            f"{model} cannot be loaded on any device here (devices: {known}; "
            f"{request.plan.engine} supports {', '.join(request.plan.footprint_bytes)}).",
            "look at `inglenook doctor`",
        )
    device, need = max(possible, key=lambda pair: pair[0].budget_bytes)
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


def refusal_of_place(request: Request, most: int, staying: list[Resident]) -> Refuse:
    names = ", ".join(str(r.plan.model) for r in staying)
    return Refuse(
        request.id,
        f"{request.plan.model} cannot be loaded: {limit(most)}, and pinned ones take every place: {names}.",
        "unpin one of them, or raise runtime.max_loaded",
    )


def limit(most: int) -> str:
    return f"{most} {'model' if most == 1 else 'models'} may be loaded at once (runtime.max_loaded)"


def loading(ledger: Ledger, resident_id: ResidentId, now_s: float) -> WaitReason:
    resident = ledger.residents[resident_id]
    kind = ledger.devices[resident.device].kind
    since = now_s - resident.started_s
    expected = ledger.expected_load_s(resident.plan, kind)
    most = format_seconds(expected)
    spent = f" of about {most}" if since <= expected else f", longer than the {most} that were expected"
    text = f"{resident.plan.model} is being loaded, for {format_seconds(since)}{spent}"
    return WaitReason(WaitKind.LOADING, text, resident.device)


def reason(ledger: Ledger, verdict: Verdict, now_s: float) -> WaitReason:
    if isinstance(verdict, Wait):
        return verdict.reason
    if isinstance(verdict, Join):
        return loading(ledger, verdict.resident, now_s)
    # What the loop is about to do anyway: seen only by somebody who asks in between.
    return WaitReason(WaitKind.TURN, "it is next")


def holders(ledger: Ledger, residents: list[Resident]) -> tuple[str, ...]:
    """The work that is done with them."""
    leases = (ledger.leases[lease] for r in residents for lease in sorted(r.leases))
    return tuple(held.request.label for held in leases)


def who_holds(ledger: Ledger, residents: list[Resident]) -> tuple[str, ...]:
    """What work, and which models without any, in words."""
    at_work = holders(ledger, [r for r in residents if r.state not in AWAY])
    said = {
        ResidentState.PARKING: "being parked",
        ResidentState.PARKED: "parked",
        ResidentState.RESUMING: "coming back",
    }
    away = tuple(
        f"{label} ({said[r.state]})" for r in residents if r.state in AWAY for label in holders(ledger, [r])
    )
    starting = tuple(f"{r.plan.model} (being loaded)" for r in residents if r.state is ResidentState.STARTING)
    pinned = tuple(f"{r.plan.model} (pinned)" for r in residents if r.is_idle and r.pinned)
    wanted = tuple(f"{r.plan.model} (others wait for it)" for r in residents if r.is_idle and not r.pinned)
    leaving = tuple(
        f"{r.plan.model} (being unloaded)" for r in residents if r.state is ResidentState.DRAINING
    )
    left = tuple(
        f"{r.plan.model} (its work has ended)" for r in residents if r.state in AWAY and not r.leases
    )
    return (*at_work, *away, *starting, *pinned, *wanted, *leaving, *left)


def making_room(residents: list[Resident], ledger: Ledger) -> tuple[WaitKind, str, tuple[str, ...]]:
    """What goes, or is parked, at this moment."""
    leaving = tuple(str(r.plan.model) for r in residents if r.state is ResidentState.DRAINING)
    parking = [r for r in residents if r.state is ResidentState.PARKING]
    if not parking:
        return WaitKind.DRAINING, f"{', '.join(leaving)} is being unloaded", leaving
    names = tuple(label_of(ledger, r) for r in parking)
    takes = [s for r in parking if (s := ledger.expected_park_s(r)) is not None]
    about = f" (it takes about {format_seconds(max(takes))})" if takes else ""
    also = f", {', '.join(leaving)} is being unloaded" if leaving else ""
    return WaitKind.PARKING, f"{', '.join(names)} is being parked{about}{also}", (*names, *leaving)


def its_turn(ledger: Ledger, training: Resident, device: Device, until_s: float, now_s: float) -> WaitReason:
    name = label_of(ledger, training)
    left = format_seconds(max(0.0, until_s - now_s))
    text = f"{name} has its turn on {device.id} for another {left}, then it is parked"
    return WaitReason(WaitKind.SHARE, text, device.id, (name,), until_s=until_s)


def parked(ledger: Ledger, training: Resident, now_s: float, rules: Rules) -> str:
    """Why a training is parked, and when it comes back."""
    left_s = due_s(ledger, training, rules) - now_s
    others = who_holds(ledger, [r for r in ledger.on_device(training.device) if r is not training])
    has_it = f"; the device is with {', '.join(others)}" if others else ""
    when = f"in {format_seconds(left_s)} at the latest" if left_s > 0 else "as soon as its memory is free"
    return f"{training.parking.reason}{has_it}; it goes on {when}"
