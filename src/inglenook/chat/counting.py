# SPDX-License-Identifier: Apache-2.0
"""What each language model has done since the server started."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from inglenook.base.clock import Clock
from inglenook.base.ids import ModelId
from inglenook.chat.exchange import Usage
from inglenook.chat.model import Counters

SMOOTHING: Final = 0.3
"""Weight of the newest rate in the running mean."""
NOTHING: Final = Counters()


class Counting:
    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._counters: dict[ModelId, Counters] = {}

    def all(self) -> Mapping[ModelId, Counters]:
        return dict(self._counters)

    def began(self, model: ModelId) -> None:
        now = self._of(model)
        self._counters[model] = replace(now, requests=now.requests + 1)

    def failed(self, model: ModelId) -> None:
        now = self._of(model)
        self._counters[model] = replace(now, failures=now.failures + 1)

    def ended(self, model: ModelId) -> None:
        self._counters[model] = replace(self._of(model), last_used=self._clock.now())

    def used(self, model: ModelId, usage: Usage) -> None:
        now = self._of(model)
        rate = now.tokens_per_s
        if usage.seconds and usage.completion_tokens:
            newest = usage.completion_tokens / usage.seconds
            rate = newest if rate is None else (1 - SMOOTHING) * rate + SMOOTHING * newest
        self._counters[model] = replace(
            now,
            prompt_tokens=now.prompt_tokens + usage.prompt_tokens,
            completion_tokens=now.completion_tokens + usage.completion_tokens,
            tokens_per_s=rate,
        )

    def _of(self, model: ModelId) -> Counters:
        return self._counters.get(model, NOTHING)
