# SPDX-License-Identifier: Apache-2.0
"""A manifest's pictures through a network, batch by batch, as validation sees them."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from inglenook.wire.studio.evaluation import Predicted, Unreadable
from inglenook.wire.studio.spec import Example
from inglenook.workers.studio.context import Context
from inglenook.workers.studio.data.dataset import Collate, Examples, PictureBatch
from inglenook.workers.studio.data.loading import Batches
from inglenook.workers.studio.data.sampling import Key
from inglenook.workers.studio.data.transforms import Pipeline
from inglenook.workers.studio.errors import NoData

LOADERS = 4
"""Processes that read pictures for a GPU, where there are processors for them."""
NOT_FINITE = "the network's answer is not a finite number"


class Halted(Exception):
    """Somebody asked for it to stop; `done` pictures were looked at."""

    def __init__(self, done: int) -> None:
        super().__init__(f"stopped after {done} pictures")
        self.done = done


@dataclass(frozen=True, slots=True)
class Looked:
    """Attributes:
    rows: float32 [N, D], one for each example in its order; NaN where there is no answer.
    unreadable: which those are, and why.
    """

    rows: np.ndarray
    unreadable: tuple[Unreadable, ...]


def read_examples(manifest: Path) -> tuple[Example, ...]:
    """Raises NoData: it cannot be read, or names no picture."""
    decoder = msgspec.json.Decoder(Example)
    try:
        with manifest.open("rb") as lines:
            found = tuple(decoder.decode(line) for line in lines if line.strip())
    except (OSError, msgspec.MsgspecError) as error:
        raise NoData(f"The manifest {manifest.name} cannot be read: {str(error)[:200]}") from error
    if not found:
        raise NoData(f"The manifest {manifest.name} names no picture.")
    return found


def look(
    examples: Sequence[Example],
    pipeline: Pipeline,
    see: Callable[[torch.Tensor], torch.Tensor],
    *,
    job: str,
    batch_size: int,
    context: Context,
) -> Looked:
    """Args:
        see: float32 (n, channels, height, width) on the device to (n, D).

    Raises:
        Halted: at the boundary of a batch. LoaderDied.
    """
    batches = Batches(
        Examples(examples, transform=pipeline, target=_nothing, seed=0),
        Collate(_stacked),
        workers=_loaders(context, len(examples), batch_size),
        pin=context.device.torch.type == "cuda",
    )
    watch = _Watch(job, len(examples), context)
    rows: np.ndarray | None = None
    unreadable: dict[int, str] = {}
    try:
        with torch.inference_mode():
            for batch in batches.over(_planned(len(examples), batch_size)):
                rows = _kept(rows, batch, see, len(examples), context)
                unreadable |= {one.key.index: one.why for one in batch.unread}
                watch.tell(len(batch.keys) + len(batch.unread))
    finally:
        batches.close()
    if rows is None:
        first = next(iter(unreadable.values()), "")
        raise NoData(f"Not one of {len(examples)} pictures can be read: {first}")
    strange = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    unreadable |= {int(row): NOT_FINITE for row in strange if int(row) not in unreadable}
    rows[list(unreadable)] = np.nan
    return Looked(
        rows, tuple(Unreadable(id=examples[row].id, reason=why) for row, why in sorted(unreadable.items()))
    )


def _kept(
    rows: np.ndarray | None,
    batch: PictureBatch,
    see: Callable[[torch.Tensor], torch.Tensor],
    count: int,
    context: Context,
) -> np.ndarray | None:
    """`rows` with those of this batch; made when it is known how wide they are."""
    if batch.pixels is None:
        return rows
    pixels = batch.pixels.to(context.device.torch, non_blocking=True)
    found = see(pixels).float().cpu().numpy()
    if rows is None:
        rows = np.full((count, found.shape[1]), np.nan, np.float32)
    rows[[key.index for key in batch.keys]] = found
    return rows


def _planned(count: int, size: int) -> list[list[Key]]:
    return [
        [Key(0, index) for index in range(start, min(start + size, count))] for start in range(0, count, size)
    ]


def _loaders(context: Context, count: int, batch_size: int) -> int:
    """None where the processor computes, or where few pictures are not worth the start of processes."""
    if context.device.on_host or count < 8 * batch_size:
        return 0
    return min(LOADERS, max(0, (os.cpu_count() or 1) - 1))


class _Watch:
    """Tells how far it is, not too often; and stops it."""

    def __init__(self, job: str, whole: int, context: Context) -> None:
        self._job = job
        self._whole = whole
        self._context = context
        self._done = 0
        self._told_at = -context.report_every_s

    def tell(self, more: int) -> None:
        """Raises Halted."""
        self._done += more
        now = self._context.clock.monotonic()
        if now - self._told_at >= self._context.report_every_s or self._done == self._whole:
            self._told_at = now
            self._context.send(Predicted(job=self._job, done=self._done, whole=self._whole))
        if self._context.should_stop() and self._done < self._whole:
            raise Halted(self._done)


def _nothing(_: Any) -> int:
    """A target that nobody asks for: predictions do without."""
    return 0


def _stacked(targets: list[int]) -> torch.Tensor:
    return torch.tensor(targets)
