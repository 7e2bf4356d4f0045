# SPDX-License-Identifier: Apache-2.0
"""Parking trainings and bringing them back: carries the decisions out, and hears what came of them. A part
of the loop, which alone calls it."""

import asyncio
import logging

from inglenook.base.clock import Clock
from inglenook.base.ids import LeaseId, ResidentId
from inglenook.runtime.contracts import Failure, LeaseChange, ResidentState
from inglenook.runtime.scheduler import words
from inglenook.runtime.scheduler.decisions import Park, Resume, Rules
from inglenook.runtime.scheduler.events import Parked, Resumed, Stayed, Unfit
from inglenook.runtime.scheduler.history import History, What
from inglenook.runtime.scheduler.ledger import Ledger
from inglenook.runtime.scheduler.lives import Lives
from inglenook.runtime.scheduler.resident import Resident
from inglenook.runtime.scheduler.snapshot import parked_in_words

log = logging.getLogger(__name__)


class Trainings:
    def __init__(self, *, ledger: Ledger, lives: Lives, rules: Rules, clock: Clock, history: History) -> None:
        self._ledger = ledger
        self._lives = lives
        self._rules = rules
        self._clock = clock
        self._history = history
        self._news: dict[LeaseId, asyncio.Queue[LeaseChange]] = {}
        self._unfit: dict[ResidentId, Failure] = {}

    def listen(self, lease_id: LeaseId) -> "asyncio.Queue[LeaseChange]":
        """Where the lease's holder hears what happens to it."""
        news: asyncio.Queue[LeaseChange] = asyncio.Queue()
        self._news[lease_id] = news
        return news

    def forget(self, lease_id: LeaseId) -> None:
        self._news.pop(lease_id, None)

    def why_ended(self, resident_id: ResidentId) -> Failure | None:
        """Why we ended it, where it could not park or come back. Said once."""
        return self._unfit.pop(resident_id, None)

    def park(self, decision: Park) -> None:
        now_s = self._clock.monotonic()
        who = self._ledger.waiting[decision.request].label
        resident = self._ledger.park(decision.resident, f"parked for {who}", now_s, decision.request)
        log.info("parking %s on %s: %s", resident.plan.model, resident.device, decision.reason)
        self._note("parking", resident, decision.reason)
        self._tell(resident, LeaseChange(ResidentState.PARKING, decision.reason, (who,)))
        self._lives.park(resident.id, resident.plan, resident.device)

    def resume(self, decision: Resume) -> None:
        resident = self._ledger.resume(decision.resident, self._clock.monotonic(), decision.due_s)
        log.info("bringing %s back to %s: %s", resident.plan.model, resident.device, decision.reason)
        self._note("resuming", resident, decision.reason)
        self._tell(resident, LeaseChange(ResidentState.RESUMING, decision.reason))
        self._lives.unpark(resident.id, resident.plan, resident.device)

    def turned(self, event: Parked | Stayed | Resumed | Unfit, now_s: float) -> None:
        """What came of parking a training, or of bringing it back. It may have gone meanwhile."""
        resident = self._ledger.residents.get(event.resident)
        if resident is None or resident.state not in (ResidentState.PARKING, ResidentState.RESUMING):
            return
        match event:
            case Parked(_, receipt, measured_bytes):
                self._ledger.parked(resident.id, now_s, receipt, measured_bytes)
                text = parked_in_words(resident)
                self._note("parked", resident, text)
                reason = words.parked(self._ledger, resident, now_s, self._rules)
                others = [r for r in self._ledger.on_device(resident.device) if r is not resident]
                who = words.who_holds(self._ledger, others)
                self._tell(resident, LeaseChange(ResidentState.PARKED, reason, who, receipt))
            case Stayed(_, reason, ever):
                again_s = now_s + self._rules.patience_s if ever else float("inf")
                self._ledger.stayed(resident.id, now_s, again_s)
                self._note("ready", resident, f"not parked: {reason}")
                self._tell(resident, LeaseChange(ResidentState.READY, reason))
            case Resumed(_, receipt):
                self._ledger.resumed(resident.id, now_s)
                self._note("resumed", resident, f"back in {receipt.seconds:.1f} s")
                self._tell(resident, LeaseChange(ResidentState.READY, "it has the device again"))
            case Unfit(_, failure):
                self._ledger.lost(resident.id)
                self._unfit[resident.id] = failure
                self._tell(resident, LeaseChange(ResidentState.FAILED, failure.message, failure=failure))
                self._lives.stop(resident.id)

    def _tell(self, resident: Resident, change: LeaseChange) -> None:
        for lease_id in resident.leases:
            if lease_id in self._news:
                self._news[lease_id].put_nowait(change)

    def _note(self, what: What, resident: Resident, reason: str) -> None:
        self._history.note(self._clock.now(), what, resident.plan.model, resident.device, reason)
