# SPDX-License-Identifier: Apache-2.0
"""What was learned: footprints, seconds to load, to park and to come back, how long leases last. Plain data;
a part of the ledger."""

from collections.abc import Iterable, Mapping

from inglenook.base.ids import DeviceId
from inglenook.runtime.contracts import Device, FootprintKey, LoadPlan, Request
from inglenook.runtime.scheduler.resident import PlanKey, Resident, footprint_key

SMOOTHING = 0.3
"""Weight of the newest value in running means of durations and errors."""


class Figures:
    def __init__(
        self, devices: Iterable[Device], learned: Mapping[FootprintKey, tuple[int, float]] | None
    ) -> None:
        self.devices: dict[DeviceId, Device] = {device.id: device for device in devices}
        self.learned: dict[FootprintKey, int] = {}
        self.load_s: dict[tuple[PlanKey, str], float] = {}
        for key, (peak_bytes, load_s) in (learned or {}).items():
            if peak_bytes:
                self.learned[key] = peak_bytes
            if load_s:
                self.load_s[(key.engine, key.model), key.device_kind] = load_s
        self.held_s: dict[PlanKey, float] = {}
        self.park_s: dict[tuple[str, str], float] = {}
        """Seconds to free the device, by engine and kind of device."""
        self.resume_s: dict[tuple[str, str], float] = {}
        """Seconds to have it again."""
        self.return_s: dict[tuple[str, str], float] = {}
        """The same from the moment at which it was due: others end their work first."""
        self.kept_bytes: dict[tuple[PlanKey, str], int] = {}
        """What a training still holds on a kind of device when it is parked."""
        self.estimate_error_s: float | None = None

    def footprint_bytes(self, plan: LoadPlan, device: Device, saving: int = 0) -> int | None:
        """Learned if it was ever measured, else estimated; None where the engine cannot load it.

        What was learned for smaller work is a lower bound for larger. Each saving level has its own.
        """
        estimates = plan.footprint_bytes if saving == 0 else plan.saving_bytes[saving - 1]
        estimate = estimates.get(device.kind)
        if estimate is None:
            return None
        exact = self.learned.get(footprint_key(plan, device.kind, saving=saving))
        if exact is not None:
            return exact
        smaller = (
            self.learned.get(footprint_key(plan, device.kind, scale, saving=saving), 0)
            for scale in range(plan.scale)
        )
        return max(estimate, *smaller, 0)

    def expected_load_s(self, plan: LoadPlan, device_kind: str) -> float:
        return self.load_s.get((plan.key, device_kind), plan.load_s)

    def expected_held_s(self, request: Request) -> float | None:
        if request.expected_s is not None:
            return request.expected_s
        return self.held_s.get(request.plan.key)

    def expected_park_s(self, resident: Resident) -> float | None:
        """None where none of its engine was ever parked on such a device."""
        return self.park_s.get(self._engine_on(resident))

    def expected_resume_s(self, resident: Resident) -> float | None:
        return self.resume_s.get(self._engine_on(resident))

    def expected_return_s(self, resident: Resident) -> float:
        """Seconds from being due to being back."""
        return self.return_s.get(self._engine_on(resident), self.expected_resume_s(resident) or 0.0)

    def expected_kept_bytes(self, resident: Resident) -> int:
        """What it will still hold when it is parked: as it was the last time, else nothing."""
        return self.kept_bytes.get((resident.plan.key, self.devices[resident.device].kind), 0)

    def learn_park(self, resident: Resident, seconds: float, kept_bytes: int) -> None:
        where = self._engine_on(resident)
        self.park_s[where] = smooth(self.park_s.get(where), seconds)
        self.kept_bytes[resident.plan.key, where[1]] = kept_bytes

    def learn_resume(self, resident: Resident, seconds: float, since_due_s: float | None) -> None:
        where = self._engine_on(resident)
        self.resume_s[where] = smooth(self.resume_s.get(where), seconds)
        if since_due_s is not None:
            self.return_s[where] = smooth(self.return_s.get(where), since_due_s)

    def _engine_on(self, resident: Resident) -> tuple[str, str]:
        return (resident.plan.key[0], self.devices[resident.device].kind)

    def note_estimate(self, *, estimated_s: float, actual_s: float) -> None:
        """How far off an estimate of a wait was."""
        self.estimate_error_s = smooth(self.estimate_error_s, abs(estimated_s - actual_s))


def smooth(old: float | None, new: float) -> float:
    return new if old is None else (1 - SMOOTHING) * old + SMOOTHING * new
