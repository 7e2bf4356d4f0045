# SPDX-License-Identifier: Apache-2.0
"""How long a request will wait. Pure; for display, never for deciding.

A training that gives way is not waited for to its end: what it costs is the rest of its turn, and parking it.
"""

from inglenook.base.ids import DeviceId
from inglenook.base.work import WorkClass
from inglenook.runtime.contracts import Request, ResidentState, WaitKind, WaitReason
from inglenook.runtime.scheduler.ledger import Ledger, PlanKey
from inglenook.runtime.scheduler.resident import Resident

OVERRUN = 0.25
"""Of the time that a lease was held, what is expected to follow when it was held longer than expected."""


class Forecast:
    """Adds up, in the fair order, what is ahead: the rest of the present leases, then each request's
    expected time, and a load wherever the model changes. Knows nothing about a model that never ran."""

    def __init__(self, ledger: Ledger, now_s: float) -> None:
        self._ledger = ledger
        self._now_s = now_s
        self._free_at: dict[DeviceId, float | None] = dict.fromkeys(ledger.devices, 0.0)
        self._last: dict[DeviceId, PlanKey] = {}
        self._trained_at: dict[DeviceId, float | None] = dict.fromkeys(ledger.devices, 0.0)
        """When the trainings on a device will have ended; None where that is not known."""
        self._parking: dict[DeviceId, Resident] = {}
        for held in ledger.leases.values():
            resident = ledger.residents[held.resident]
            device = resident.device
            if resident.is_training:
                expected = ledger.expected_held_s(held.request)
                rest = None if expected is None else max(0.0, expected - (now_s - held.granted_s))
                self._trained_at[device] = _later(self._trained_at[device], rest)
                self._parking[device] = resident
                continue
            expected = ledger.expected_held_s(held.request)
            self._last[device] = held.request.plan.key
            spent = now_s - held.granted_s
            # What has overrun its time is not about to end: it takes some of what it took so far.
            rest = None if expected is None else max(expected - spent, OVERRUN * spent)
            self._free_at[device] = _later(self._free_at[device], rest)

    def begin_of(self, request: Request, reason: WaitReason) -> float | None:
        """Seconds from now until `request` is served, or None when something ahead is of unknown length."""
        device = reason.device if reason.device is not None else next(iter(self._ledger.devices), None)
        if device is None:
            return None
        begin = self._free_at[device]
        if request.work_class is WorkClass.TRAINING:
            begin = _later(begin, self._trained_at[device])
        if begin is not None:
            if reason.kind in (WaitKind.PARKING, WaitKind.SHARE):
                begin = max(begin, self._until_parked_s(device, reason))
            begin += self._load_s(request, device)
            if reason.until_s is not None and reason.kind is WaitKind.BACKOFF:
                begin = max(begin, reason.until_s - self._now_s)
        self._last[device] = request.plan.key
        expected = self._ledger.expected_held_s(request)
        self._free_at[device] = None if begin is None or expected is None else begin + expected
        return begin

    def _until_parked_s(self, device: DeviceId, reason: WaitReason) -> float:
        """The rest of a training's turn, and what parking it takes."""
        training = self._parking.get(device)
        if training is None:
            return 0.0
        takes_s = self._ledger.expected_park_s(training) or 0.0
        if training.state is ResidentState.PARKING and training.parking.asked_s is not None:
            spent = self._now_s - training.parking.asked_s
            return max(takes_s - spent, OVERRUN * spent)
        turn_s = 0.0 if reason.until_s is None else max(0.0, reason.until_s - self._now_s)
        return turn_s + takes_s

    def _load_s(self, request: Request, device: DeviceId) -> float:
        kind = self._ledger.devices[device].kind
        full = self._ledger.expected_load_s(request.plan, kind)
        if device in self._last:
            return 0.0 if self._last[device] == request.plan.key else full
        for resident in self._ledger.of_plan(request.plan.key):
            if resident.state is ResidentState.STARTING:
                spent = self._now_s - resident.started_s
                return max(full - spent, OVERRUN * spent)
            if resident.state is ResidentState.READY:
                return 0.0
        return full


def _later(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else max(a, b)
