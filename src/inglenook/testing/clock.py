# SPDX-License-Identifier: Apache-2.0
"""A clock that stands still until it is told to go."""

from datetime import UTC, datetime, timedelta


class FakeClock:
    """`advance` moves both times; `set_wall` moves only the wall clock, also backwards."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._wall = start
        self._monotonic = 0.0

    def now(self) -> datetime:
        return self._wall

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError(f"a clock does not go back by {-seconds} s: use set_wall for the wall clock")
        self._wall += timedelta(seconds=seconds)
        self._monotonic += seconds

    def set_wall(self, moment: datetime) -> None:
        self._wall = moment
