# SPDX-License-Identifier: Apache-2.0
"""What is reserved on which device, and what becomes of that when a training is parked and comes back. Plain
data; a part of the ledger."""

from collections.abc import Iterable, Iterator, Mapping

from inglenook.base.ids import DeviceId, RequestId, ResidentId
from inglenook.runtime.contracts import RESIDENT_NEXT, Device, FootprintKey, ParkReceipt, ResidentState
from inglenook.runtime.scheduler.figures import Figures
from inglenook.runtime.scheduler.queue import LedgerError, Queue
from inglenook.runtime.scheduler.resident import Resident


class Berths(Queue, Figures):
    def __init__(
        self, devices: Iterable[Device], learned: Mapping[FootprintKey, tuple[int, float]] | None
    ) -> None:
        Queue.__init__(self)
        Figures.__init__(self, devices, learned)
        self.residents: dict[ResidentId, Resident] = {}
        self._reserved: dict[DeviceId, int] = dict.fromkeys(self.devices, 0)

    def reserved_bytes(self, device: DeviceId) -> int:
        return self._reserved[device]

    def free_bytes(self, device: DeviceId) -> int:
        """Budget less what is reserved; starting and draining children count."""
        return self.devices[device].budget_bytes - self._reserved[device]

    def on_device(self, device: DeviceId) -> Iterator[Resident]:
        return (r for r in self.residents.values() if r.device == device)

    def _move(self, resident: Resident, to: ResidentState) -> None:
        if to not in RESIDENT_NEXT[resident.state]:
            raise LedgerError(f"{resident.id} cannot go from {resident.state} to {to}")
        resident.state = to

    def _reserve(self, resident: Resident, more_bytes: int) -> None:
        resident.reserved_bytes += more_bytes
        self._reserved[resident.device] += more_bytes

    def parking_bytes(self, device: DeviceId) -> int:
        """What will be free when the trainings that are being parked have freed the device."""
        return sum(self.gain_bytes(r) for r in self.on_device(device) if r.state is ResidentState.PARKING)

    def owed_bytes(self, device: DeviceId) -> int:
        """What parked trainings need to come back."""
        return sum(r.owed_bytes for r in self.on_device(device))

    def gain_bytes(self, resident: Resident) -> int:
        """What parking it would free, or will."""
        return max(0, resident.reserved_bytes - self.expected_kept_bytes(resident))

    def places(self) -> list[Resident]:
        """The residents that count as loaded: all but those whose work is set aside."""
        return [r for r in self.residents.values() if r.state is not ResidentState.PARKED]

    def park(
        self, resident_id: ResidentId, reason: str, now_s: float, for_request: RequestId | None = None
    ) -> Resident:
        """A training is asked to free the device. Its memory counts until it has."""
        resident = self.residents[resident_id]
        if not resident.is_training or resident.pinned:
            raise LedgerError(f"{resident_id} does no training, or is pinned: its work is not interrupted")
        self._move(resident, ResidentState.PARKING)
        parking = resident.parking
        if parking.working_since_s is not None:
            parking.ran.append((parking.working_since_s, now_s))
        parking.working_since_s, parking.asked_s, parking.reason = None, now_s, reason
        if for_request is not None:
            self.note_cleared(for_request, f"{resident.plan.model}: {reason}")
        return resident

    def parked(
        self, resident_id: ResidentId, now_s: float, receipt: ParkReceipt, measured_bytes: int | None
    ) -> Resident:
        """It has freed the device. What counts from now on is what it still holds there: the larger of what
        it says and what was measured; all of it where neither is known."""
        resident = self.residents[resident_id]
        self._move(resident, ResidentState.PARKED)
        parking = resident.parking
        parking.whole_bytes = resident.reserved_bytes
        parking.parked_s, parking.receipt = now_s, receipt
        parking.times += 1
        resident.measured_bytes = 0 if measured_bytes is None else measured_bytes
        known = not (receipt.after_bytes is None and not measured_bytes)
        parking.kept_bytes = receipt.after_bytes or 0 if known else resident.reserved_bytes
        self._keep_parked(resident)
        asked_s = now_s if parking.asked_s is None else parking.asked_s
        self.learn_park(resident, now_s - asked_s, resident.reserved_bytes)
        return resident

    def stayed(self, resident_id: ResidentId, now_s: float, again_s: float) -> Resident:
        """It had nothing to park. It is not asked again before `again_s`."""
        resident = self.residents[resident_id]
        self._move(resident, ResidentState.READY)
        resident.parking.not_before_s = again_s
        if resident.leases:
            resident.parking.working_since_s = now_s
        return resident

    def resume(self, resident_id: ResidentId, now_s: float, due_s: float | None = None) -> Resident:
        """A parked training is to come back: its memory counts in full from now on."""
        resident = self.residents[resident_id]
        growth = resident.owed_bytes
        if not resident.leases:
            raise LedgerError(f"{resident_id} has no work to come back to")
        if growth > max(0, self.free_bytes(resident.device)):
            raise LedgerError(f"{resident_id} needs {growth} more: that is not free on {resident.device}")
        self._move(resident, ResidentState.RESUMING)
        self._reserve(resident, growth)
        resident.parking.asked_s, resident.parking.due_s = now_s, due_s
        return resident

    def resumed(self, resident_id: ResidentId, now_s: float) -> Resident:
        """It has the device again, and goes on."""
        resident = self.residents[resident_id]
        self._move(resident, ResidentState.READY)
        parking = resident.parking
        asked_s = now_s if parking.asked_s is None else parking.asked_s
        since_due_s = None if parking.due_s is None else now_s - parking.due_s
        self.learn_resume(resident, now_s - asked_s, since_due_s)
        parking.resumed_s = now_s
        if resident.leases:
            parking.working_since_s = now_s
        return resident

    def _keep_parked(self, resident: Resident) -> None:
        """Count what a parked training really holds; never more than the device has to give."""
        parking = resident.parking
        kept = max(resident.measured_bytes, parking.kept_bytes or 0)
        most = resident.reserved_bytes + max(0, self.free_bytes(resident.device))
        self._reserve(resident, min(kept, parking.whole_bytes, most) - resident.reserved_bytes)
