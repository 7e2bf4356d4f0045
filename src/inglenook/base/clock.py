# SPDX-License-Identifier: Apache-2.0
"""Time as a dependency. Only `app.py` writes `SystemClock()`; tests pass `inglenook.testing.FakeClock`."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The wall clock, aware, in UTC. May jump, also backwards: use it for records, never for waiting."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()
