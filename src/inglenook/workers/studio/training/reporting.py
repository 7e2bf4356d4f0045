# SPDX-License-Identifier: Apache-2.0
"""Progress a few times a second, and losses that are no numbers.

Losses stay on the device until a report is due: asking a GPU for each one would hold it up at each step.
None is
lost: a loss that is not finite is found at the next report, with the batch it came from.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch

from inglenook.base.clock import Clock
from inglenook.wire.message import Message
from inglenook.wire.studio.training import Batch
from inglenook.workers.studio.device import StudioDevice
from inglenook.workers.studio.errors import Diverged


class Reporter:
    """Args:
    every_s: how often a `Batch` is sent, and memory looked at, at most.
    """

    def __init__(
        self,
        *,
        send: Callable[[Message], None],
        job: str,
        clock: Clock,
        every_s: float,
        device: StudioDevice,
    ) -> None:
        self._send = send
        self._job = job
        self._clock = clock
        self._every_s = every_s
        self._device = device
        self._pending: list[tuple[int, torch.Tensor]] = []
        self._examples = 0
        self._last = clock.monotonic()
        self.peak_bytes: int | None = None
        self._epoch_bytes: int | None = None

    def train(
        self, *, epoch: int, batch: int, batches: int, loss: torch.Tensor | None, examples: int, rate: float
    ) -> None:
        """After `batch` batches. Raises `Diverged`."""
        self._examples += examples
        if loss is not None:
            self._pending.append((batch, loss))
        if self._due():
            newest = self.flush(epoch)
            self._report("train", epoch, batch, batches, newest, rate)

    def validate(self, *, epoch: int, batch: int, batches: int, examples: int) -> None:
        self._examples += examples
        if self._due():
            self._report("val", epoch, batch, batches, None, None)

    def flush(self, epoch: int) -> float | None:
        """Look at the losses since the last time. Returns the newest. Raises `Diverged` for the first that
        is not finite."""
        if not self._pending:
            return None
        values = torch.stack([loss for _, loss in self._pending]).tolist()
        for (batch, _), value in zip(self._pending, values, strict=True):
            if not math.isfinite(value):
                raise Diverged(
                    f"The loss of batch {batch} in epoch {epoch} is {value}, not a number to learn from.",
                    hint="lower learning_rate, set gradient_clip to 1, or use precision 32",
                )
        self._pending.clear()
        return float(values[-1])

    def paused(self) -> None:
        """Time that passed is not to count as slowness."""
        self._examples = 0
        self._last = self._clock.monotonic()

    def epoch_memory(self) -> dict[str, float]:
        """The most that was seen since the last time, by the name that an epoch's record has for it."""
        self._measure()
        most, self._epoch_bytes = self._epoch_bytes, None
        return {} if most is None else {"memory_bytes": float(most)}

    def _measure(self) -> int | None:
        memory = self._device.memory_bytes()
        if memory is not None:
            self.peak_bytes = max(memory, self.peak_bytes or 0)
            self._epoch_bytes = max(memory, self._epoch_bytes or 0)
        return memory

    def _due(self) -> bool:
        return self._clock.monotonic() - self._last >= self._every_s

    def _report(
        self,
        stage: Literal["train", "val"],
        epoch: int,
        batch: int,
        batches: int,
        loss: float | None,
        rate: float | None,
    ) -> None:
        now = self._clock.monotonic()
        passed = now - self._last
        memory = self._measure()
        self._send(
            Batch(
                job=self._job,
                epoch=epoch,
                batch=batch,
                batches=batches,
                stage=stage,
                loss=loss,
                learning_rate=rate,
                examples_per_s=self._examples / passed if passed > 0 else None,
                memory_bytes=memory,
            )
        )
        self._examples = 0
        self._last = now
