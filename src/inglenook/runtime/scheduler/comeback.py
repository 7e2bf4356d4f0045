# SPDX-License-Identifier: Apache-2.0
"""Parked trainings that come back: in their turn, or when nobody else wants room. Pure; part of `walk.py`."""

from inglenook.runtime.contracts import Request, ResidentState
from inglenook.runtime.scheduler import eviction, parking
from inglenook.runtime.scheduler.claims import Claims
from inglenook.runtime.scheduler.decisions import (
    Evict,
    Resume,
)
from inglenook.runtime.scheduler.resident import Resident


class Comeback(Claims):
    def resume_due(self) -> Evict | Resume | None:
        """The parked trainings whose time has come, before everybody else; where the room for one is not
        there it claims the device."""
        waiting = [r for r in self.ledger.residents.values() if parking.is_parked(r)]
        due = sorted(
            ((parking.due_s(self.ledger, r, self.rules), r.id, r) for r in waiting), key=lambda it: it[:2]
        )
        for due_s, _, resident in due:
            if due_s > self.now_s:
                break
            asking = parking.asking(self.ledger, resident, due_s)
            self.turns[asking.id] = resident
            verdict = self._bring_back(resident, asking)
            if verdict is not None:
                return verdict
        return None

    def _bring_back(self, resident: Resident, asking: Request) -> Evict | Resume | None:
        device = self.ledger.devices[resident.device]
        if device.id in self.claimed or self._must_another_end_first(resident):
            return None
        reason = f"{asking.label} was parked for long enough: it has its turn on {device.id}"
        missing = resident.owed_bytes - self.ledger.free_bytes(device.id)
        most = self.rules.max_loaded
        places = self.ledger.places()
        if missing <= 0 and (most is None or len(places) < most):
            return Resume(resident.id, reason, asking.arrived_s)
        self.claimed[device.id] = asking
        if missing > 0:
            coming = self.ledger.draining_bytes(device.id) + self.ledger.parking_bytes(device.id)
            chosen = eviction.choose(self._victims_on(asking, device), missing - coming)
            if chosen is None:
                self.starved[device.id] = asking
            return Evict(chosen[0].id, reason, turn=resident.id) if chosen else None
        if self.place_claimed is not None:
            return None
        self.place_claimed = asking
        going = [r for r in places if r.state in (ResidentState.DRAINING, ResidentState.PARKING)]
        victims = [] if going else self._victims(asking, places)
        if not going and not victims:
            self.place_starved = asking
        return Evict(victims[0].id, reason, turn=resident.id) if victims else None

    def _must_another_end_first(self, resident: Resident) -> bool:
        """Whether other trainings hold the memory or the place that it needs, which may take hours: then it
        lays no claim. What is parked can keep too much for two to be there at once."""
        trainings = [r for r in self.ledger.residents.values() if r.is_training and r is not resident]
        most = self.rules.max_loaded
        taken = [r for r in self._staying() if not r.is_training]
        taken += [r for r in trainings if r.state in (ResidentState.READY, ResidentState.RESUMING)]
        if most is not None and len(taken) >= most:
            return True
        device = self.ledger.devices[resident.device]
        beside = [r for r in trainings if r.device == device.id and not r.stays]
        kept = sum(r.reserved_bytes for r in beside)
        kept -= sum(self.ledger.gain_bytes(r) for r in beside if r.state is ResidentState.PARKING)
        room = device.budget_bytes - self.ledger.pinned_bytes(device.id, but=resident)
        return resident.whole_bytes > room - kept

    def resume_calm(self) -> Evict | Resume | None:
        """Those that may come back because nobody of a higher class wants room. What is idle makes room for
        them when it was idle for a slice: whoever had it may go on with it."""
        slice_s = self.rules.training_slice_s
        for resident in sorted(
            self.ledger.residents.values(), key=lambda r: (r.parking.parked_s or 0.0, r.id)
        ):
            if not parking.is_parked(resident) or self.now_s - (resident.parking.parked_s or 0.0) < slice_s:
                continue
            if resident.device in self.wanted or resident.device in self.claimed:
                continue
            verdict = self._bring_back_calmly(resident, slice_s)
            if verdict is not None:
                return verdict
        return None

    def _bring_back_calmly(self, resident: Resident, slice_s: float) -> Evict | Resume | None:
        device = self.ledger.devices[resident.device]
        reason = f"nobody else needs the memory of {device.id}"
        most = self.rules.max_loaded
        places = self.ledger.places()
        full = most is not None and len(places) >= most
        missing = resident.owed_bytes - self.ledger.free_bytes(device.id)
        if full and (self.place_wanted or self.place_claimed is not None):
            return None
        if missing <= 0 and not full:
            return Resume(resident.id, reason)
        among = list(self.ledger.on_device(device.id)) if missing > 0 else places
        unused = [r for r in among if r.idle_since_s is not None and self.now_s - r.idle_since_s >= slice_s]
        victims = [r for r in self._in_order(unused) if r.plan.key not in self.ledger.wanted]
        if missing > 0:
            missing -= self.ledger.draining_bytes(device.id) + self.ledger.parking_bytes(device.id)
            victims = eviction.choose(victims, missing) or []
        elif any(r.state in (ResidentState.DRAINING, ResidentState.PARKING) for r in places):
            return None
        reason = f"unused while {parking.label_of(self.ledger, resident)} waits to go on"
        return Evict(victims[0].id, reason, turn=resident.id) if victims else None
