# SPDX-License-Identifier: Apache-2.0
"""Batches, from wherever a run goes on, past the gate."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from inglenook.workers.studio.data.dataset import Collate, Examples, PictureBatch
from inglenook.workers.studio.data.sampling import Key
from inglenook.workers.studio.errors import LoaderDied


def tells_of_a_dead_loader(error: Exception) -> bool:
    """Whether torch raised this for a loader process that has ended. It does so in its handler of SIGCHLD,
    so it may come out of any line that the main thread is at, not of the loader alone."""
    return isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker (pid")


def loader_died(error: Exception) -> LoaderDied:
    return LoaderDied(
        f"One of the processes that read pictures has ended: {error}",
        hint="its memory may have run out, or the shared memory (/dev/shm): try hardware.workers = 0",
    )


class _Planned:
    """A batch sampler that is told before each pass what comes."""

    def __init__(self) -> None:
        self.batches: list[list[Key]] = []

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class Batches:
    """Batches of one part, in an order that the caller plans; loader processes live from pass to pass.

    Args:
        workers: loader processes; 0 reads here.
        pin: whether batches lie in pinned memory, from which a GPU copies while it computes.
    """

    def __init__(self, examples: Examples, collate: Collate, *, workers: int, pin: bool) -> None:
        self._plan = _Planned()
        self._make: Callable[[], DataLoader[Any]] = lambda: DataLoader(
            examples,
            batch_sampler=self._plan,
            collate_fn=collate,
            num_workers=workers,
            pin_memory=pin,
            persistent_workers=workers > 0,
            generator=torch.Generator(),  # or each pass would draw from the generator of the training
        )
        self._loader: DataLoader[Any] | None = None
        self._workers = workers

    def over(self, batches: list[list[Key]]) -> Iterator[PictureBatch]:
        """Raises `LoaderDied`."""
        self._plan.batches = batches
        if self._loader is None:
            self._loader = self._make()
        try:
            yield from self._loader
        except (RuntimeError, OSError, EOFError) as error:
            if not self._is_of_a_dead_process(error):
                raise
            self._loader = None
            raise loader_died(error) from error

    def _is_of_a_dead_process(self, error: Exception) -> bool:
        """What a transform raises in a loader process comes with `Caught …` before it. The rest is torch's
        own word for a process that has gone, or a connection to it that broke while a batch came."""
        if self._workers == 0 or str(error).startswith("Caught "):
            return False
        return not isinstance(error, RuntimeError) or tells_of_a_dead_loader(error)

    def close(self) -> None:
        """End the loader processes; the next pass starts new ones."""
        self._loader = None
