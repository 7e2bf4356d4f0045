# SPDX-License-Identifier: Apache-2.0
"""How long a request will wait. Pure; for display, never for deciding."""

from inglenook.base.ids import DeviceId
from inglenook.runtime.contracts import Request, ResidentState, WaitReason
from inglenook.runtime.scheduler.ledger import Ledger, PlanKey

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
        for held in ledger.leases.values():
            device = ledger.residents[held.resident].device
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
        if begin is not None:
            begin += self._load_s(request, device)
            if reason.until_s is not None:
                begin = max(begin, reason.until_s - self._now_s)
        self._last[device] = request.plan.key
        expected = self._ledger.expected_held_s(request)
        self._free_at[device] = None if begin is None or expected is None else begin + expected
        return begin

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
