# SPDX-License-Identifier: Apache-2.0
"""What others may read of the scheduler. Reads the book, changes nothing."""

from typing import Any

from inglenook.base.clock import Clock
from inglenook.base.ids import DeviceId, LeaseId, ModelId, RequestId
from inglenook.runtime.contracts import DeviceUsage, Explanation, Failure
from inglenook.runtime.scheduler import policy
from inglenook.runtime.scheduler.decisions import Rules
from inglenook.runtime.scheduler.history import History
from inglenook.runtime.scheduler.ledger import Ledger
from inglenook.runtime.scheduler.lives import Lives
from inglenook.runtime.scheduler.snapshot import ResidentNow, residents_now, snapshot

EXPLAIN_EVERY_S = 0.25


class Readings:
    def __init__(self, *, ledger: Ledger, lives: Lives, rules: Rules, clock: Clock, history: History) -> None:
        self._ledger = ledger
        self._lives = lives
        self._rules = rules
        self._clock = clock
        self._history = history
        self._children = lives.children
        self._notes: dict[LeaseId, str] = {}
        self._usage: dict[DeviceId, DeviceUsage] = {}
        self._explained: tuple[float, dict[RequestId, Explanation]] = (float("-inf"), {})

    def explain(self, request: RequestId) -> Explanation | None:
        """Why it waits, at most a quarter of a second old; None when it does not wait."""
        if request not in self._ledger.waiting:
            return None
        now_s = self._clock.monotonic()
        if now_s - self._explained[0] >= EXPLAIN_EVERY_S or request not in self._explained[1]:
            self._explained = (now_s, policy.explain_all(self._ledger, now_s, self._rules))
        return self._explained[1].get(request)

    def snapshot(self) -> dict[str, Any]:
        """Devices, residents, leases, the queue with reasons, and what was decided lately, as JSON."""
        now_s = self._clock.monotonic()
        explained = policy.explain_all(self._ledger, now_s, self._rules)
        logs = {resident: child.log() for resident, child in self._children.items()}
        found = snapshot(self._ledger, now_s, explained, self._usage, logs, self._notes, self._rules)
        return found | {"recent": self._history.as_json()}

    def residents(self, model: ModelId | None = None) -> list[ResidentNow]:
        """What is loaded, being loaded or being unloaded; of one model, or all."""
        return residents_now(self._ledger, self._clock.monotonic(), self._rules, model)

    def failure(self, model: ModelId) -> Failure | None:
        """Why the model's last child is gone, where it was not asked to go and none was ready since."""
        found = [backoff for key, backoff in self._ledger.backoff.items() if key[1] == model]
        return max(found, key=lambda backoff: backoff.until_s).failure if found else None

    def load_seconds(self, model: ModelId) -> float | None:
        """How long it took to load the model lately; None where it never was."""
        found = [seconds for (key, _), seconds in self._ledger.load_s.items() if key[1] == model]
        return min(found) if found else None

    def waiting(self, model: ModelId) -> int:
        """How many requests wait for the model."""
        return sum(counts.total() for key, counts in self._ledger.wanted.items() if key[1] == model)
