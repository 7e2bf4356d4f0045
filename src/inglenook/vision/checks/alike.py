# SPDX-License-Identifier: Apache-2.0
"""Pictures that are the same, or look the same, as groups of indices."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from inglenook.vision.checks.model import MAX_DISTANCE

Indices = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
Signatures = npt.NDArray[np.float32]

BITS: Final = 64
LIKENESS: Final = 0.985
"""Correlation of 16 x 16 greys from which on two pictures look the same. Copies that were halved and saved as
JPEG of quality 20 have 0.998; of 1.6 million pairs of scikit-learn's digits 200 have more, all of one digit.
"""
_PAIRS_AT_ONCE: Final = 4_000_000
_EDGES_AT_ONCE: Final = 1_000_000


def groups_of(keys: Sequence[object]) -> list[list[int]]:
    """Indices with the same key, groups of two or more, in the order of their first."""
    found: dict[object, list[int]] = {}
    for index, key in enumerate(keys):
        found.setdefault(key, []).append(index)
    return [group for group in found.values() if len(group) > 1]


def near_groups(hashes: Hashes, distance: int, *, look: Callable[[], None] = lambda: None) -> list[list[int]]:
    """Indices whose hashes are connected by steps of at most `distance` bits, groups of two or more.

    Of `distance` + 1 bands of bits, two such hashes have one in common (the pigeonhole principle); so only
    hashes that share a band are compared. Equal hashes are compared once.

    Args:
        hashes: (n,). distance: 0 to `MAX_DISTANCE`. look: called now and then; may raise.
    """
    if not 0 <= distance <= MAX_DISTANCE:
        raise ValueError(f"a distance of {distance} bits is not in 0 to {MAX_DISTANCE}")
    unique, inverse = np.unique(hashes, return_inverse=True)
    parent = np.arange(len(unique), dtype=np.int64)
    edges: list[tuple[Indices, Indices]] = []
    waiting = 0
    for first, second in _near_pairs(unique, distance, look):
        edges.append((first, second))
        waiting += len(first)
        if waiting >= _EDGES_AT_ONCE:
            _join(parent, edges)
            edges, waiting = [], 0
    _join(parent, edges)
    return groups_of(parent[inverse].tolist())


def confirmed(
    hashes: Hashes, signatures: Signatures, distance: int, *, look: Callable[[], None] = lambda: None
) -> list[list[int]]:
    """The groups of a group that a second look leaves: pictures are connected where their hashes are near and
    their signatures correlate by `LIKENESS` at least.

    Args:
        hashes: (n,). signatures: (n, 256), unit vectors; zero where a picture could not be looked at.
    """
    parent = np.arange(len(hashes), dtype=np.int64)
    rows = max(1, _PAIRS_AT_ONCE // max(1, len(hashes)))
    for start in range(0, len(hashes), rows):
        look()
        some = slice(start, start + rows)
        differ: Any = np.bitwise_count(hashes[some, None] ^ hashes[None, :])
        alike = (differ <= distance) & (signatures[some] @ signatures.T >= LIKENESS)
        first, second = np.nonzero(alike)
        ahead = second > first + start
        _join(parent, [(first[ahead] + start, second[ahead])])
    return groups_of(parent.tolist())


def _near_pairs(unique: Hashes, distance: int, look: Callable[[], None]) -> Iterator[tuple[Indices, Indices]]:
    if distance == 0:
        return
    for low, high in _bands(distance + 1):
        keys = (unique >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        order = np.argsort(keys, kind="stable").astype(np.int64)
        cuts = np.flatnonzero(np.diff(keys[order])) + 1
        for start, end in zip([0, *cuts.tolist()], [*cuts.tolist(), len(order)], strict=True):
            if end - start > 1:
                look()
                yield from _pairs_within(unique, order[start:end], distance, look)


def _bands(count: int) -> Iterator[tuple[int, int]]:
    for band in range(count):
        yield band * BITS // count, (band + 1) * BITS // count


def _pairs_within(
    unique: Hashes, bucket: Indices, distance: int, look: Callable[[], None]
) -> Iterator[tuple[Indices, Indices]]:
    """All near pairs of one bucket, some rows of the table of distances at a time."""
    values = unique[bucket]
    rows = max(1, _PAIRS_AT_ONCE // len(bucket))
    for start in range(0, len(bucket), rows):
        look()
        differ: Any = np.bitwise_count(values[start : start + rows, None] ^ values[None, :])
        first, second = np.nonzero(differ <= distance)
        ahead = second > first + start
        if ahead.any():
            yield bucket[first[ahead] + start], bucket[second[ahead]]


def _join(parent: Indices, edges: list[tuple[Indices, Indices]]) -> None:
    """Give connected indices the same parent: the least of them. `parent` is changed in place."""
    if not edges:
        return
    first = np.concatenate([one for one, _ in edges])
    second = np.concatenate([two for _, two in edges])
    while len(first):
        _flatten(parent)
        first, second = parent[first], parent[second]
        apart = first != second
        first, second = first[apart], second[apart]
        np.minimum.at(parent, np.maximum(first, second), np.minimum(first, second))
    _flatten(parent)


def _flatten(parent: Indices) -> None:
    while True:
        above = parent[parent]
        if np.array_equal(above, parent):
            return
        parent[:] = above
