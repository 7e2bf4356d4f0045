# SPDX-License-Identifier: Apache-2.0
"""How far a run is."""

from dataclasses import dataclass


@dataclass(slots=True)
class Progress:
    """Attributes:
    epoch: the one in hand, from 1. batch: so many of its batches are done.
    seconds: of the epoch in hand, so far. total_s: of those before it.
    best, best_epoch: the monitored value at its best. waited: epochs since then.
    done: whether all epochs are over.
    """

    epoch: int = 1
    batch: int = 0
    seconds: float = 0.0
    total_s: float = 0.0
    best: float | None = None
    best_epoch: int | None = None
    waited: int = 0
    done: bool = False
