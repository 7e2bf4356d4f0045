# SPDX-License-Identifier: Apache-2.0
"""Which example comes when. A function of (seed, epoch) alone, so a run can go on in the middle of an
epoch."""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True, slots=True)
class Key:
    """One showing of one example: its `index` in the part, in `epoch`, for the `repeat`-th time in it
    (balanced sampling shows some more than once)."""

    epoch: int
    index: int
    repeat: int = 0


def seed_of(seed: int, key: Key) -> int:
    """64 bits for what is drawn at random for this showing; neighbours share nothing."""
    words = struct.pack("<4Q", seed, key.epoch, key.index, key.repeat)
    return int.from_bytes(hashlib.blake2b(words, digest_size=8, person=b"augment").digest(), "little")


def order(
    labels: Sequence[int] | None,
    count: int,
    *,
    seed: int,
    epoch: int,
    sampling: Literal["shuffle", "balanced"],
) -> list[Key]:
    """The showings of one epoch, in their order; as many as there are examples.

    Args:
        labels: each example's class, for `balanced`; None where the task has none.
        sampling: `shuffle`: each example once. `balanced`: each class that is there equally often (to
        within one),
            its examples in turn, again in another order when they are used up.
    """
    draw = np.random.default_rng([seed, epoch])
    if sampling == "shuffle" or labels is None:
        return [Key(epoch, int(index)) for index in draw.permutation(count)]
    keys = []
    by_class = np.asarray(labels)
    present = draw.permutation(np.unique(by_class))  # who gets one more is drawn too
    for place, label in enumerate(present):
        members = np.flatnonzero(by_class == label)
        wanted = count // len(present) + (place < count % len(present))
        rounds = -(-wanted // len(members))
        drawn = [(int(index), repeat) for repeat in range(rounds) for index in draw.permutation(members)]
        keys += [Key(epoch, index, repeat) for index, repeat in drawn[:wanted]]
    return [keys[place] for place in draw.permutation(len(keys))]


def batched(keys: Sequence[Key], size: int) -> list[list[Key]]:
    """In batches of `size`. A single one that is left over joins the batch before it: batch normalisation
    cannot learn from one."""
    batches = [list(keys[start : start + size]) for start in range(0, len(keys), size)]
    if len(batches) > 1 and len(batches[-1]) == 1 < size:
        left_over = batches.pop()
        batches[-1] += left_over
    return batches
