# SPDX-License-Identifier: Apache-2.0
"""Specks and holes: what is too small to be meant. Indices as in `regions`."""

import numpy as np
import numpy.typing as npt

from inglenook.pixels.regions import CLEAR, Indices, Mask, Whole, neighbours, pointed_through, regions


def without_specks(solid: Mask, most: int) -> Mask:
    """The opaque pixels without islands (8-connected) of at most `most` pixels. bool (h, w)."""
    labels, sizes = regions(solid.astype(np.int32), diagonal=True)
    return np.asarray(solid & (sizes > most)[labels])


def with_holes_filled(indices: Indices, most: int) -> Indices:
    """Transparent holes of at most `most` pixels take the colours around them, from their rim inwards.

    A hole is 4-connected, since what is opaque is 8-connected, and does not touch the canvas's border.
    """
    found = indices.copy()
    hole = _holes(indices, most)
    while hole.any():
        rows, columns = np.nonzero(hole)
        around = np.stack([one[rows, columns] for _, one in neighbours(found, CLEAR)], axis=1)
        value, votes = _most_frequent(around)
        reached = votes > 0  # never none: a hole has a rim
        found[rows[reached], columns[reached]] = value[reached]
        hole[rows[reached], columns[reached]] = False
    return found


def _holes(indices: Indices, most: int) -> Mask:
    clear = indices == CLEAR
    labels, sizes = regions(clear.astype(np.int32), diagonal=False)
    small = sizes <= most
    for border in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        small[border] = False
    return np.asarray(clear & small[labels])


def _most_frequent(values: Indices) -> tuple[Indices, Whole]:
    """Of each row (n, 8) the value that occurs most often, the smallest of equals, and how often; `CLEAR`
    does not count."""
    votes = (values[:, :, None] == values[:, None, :]).sum(axis=2, dtype=np.int64)
    votes[values == CLEAR] = 0
    best = np.lexsort((values, -votes), axis=1)[:, :1]
    return np.take_along_axis(values, best, 1)[:, 0], np.take_along_axis(votes, best, 1)[:, 0]


def with_islands_joined(indices: Indices, most: int) -> Indices:
    """Islands of one colour (8-connected) of at most `most` pixels take a neighbouring island's colour.

    Afterwards every island that touches another colour is larger than `most`. An island joins that larger
    one with which it shares most of its rim; of two equal ones the later counts as smaller. Islands may join
    one that itself joins a third; then all take the third's colour. Transparent pixels stay as they are.
    """
    found = indices.copy()
    while True:
        labels, sizes = regions(found, diagonal=True)
        colors = np.empty(len(sizes), np.int32)
        colors[labels.reshape(-1)] = found.reshape(-1)
        small = (sizes <= most) & (colors != CLEAR)
        if not small.any():
            return found
        joined = pointed_through(_chosen(labels, sizes, colors, small))
        if np.array_equal(joined, np.arange(len(sizes))):
            return found  # what is small lies alone
        found = colors[joined][labels]


def _chosen(labels: Whole, sizes: Whole, colors: Indices, small: Mask) -> Whole:
    """The island that each island joins; itself where it stays."""
    count = len(sizes)
    mine, theirs = _rims(labels, small[labels], colors)
    pairs, shared = np.unique(mine * count + theirs, return_counts=True)
    mine, theirs = np.divmod(pairs, count)
    larger = (sizes[theirs] > sizes[mine]) | ((sizes[theirs] == sizes[mine]) & (theirs < mine))
    mine, theirs, shared = mine[larger], theirs[larger], shared[larger]
    order = np.lexsort((theirs, -sizes[theirs], -shared, mine))
    islands, first = np.unique(mine[order], return_index=True)
    chosen = np.arange(count, dtype=np.int64)
    chosen[islands] = theirs[order][first]
    return chosen


def _rims(labels: Whole, small: Mask, colors: Indices) -> tuple[Whole, Whole]:
    """For each pixel of a small island and each of its opaque neighbours in another island: both labels."""
    ours: list[npt.NDArray[np.int64]] = []
    others: list[npt.NDArray[np.int64]] = []
    for _, beside in neighbours(labels.astype(np.int32), CLEAR):
        meet = small & (beside != CLEAR) & (beside != labels)
        one, other = labels[meet], beside[meet].astype(np.int64)
        opaque = colors[other] != CLEAR
        ours.append(one[opaque])
        others.append(other[opaque])
    return np.concatenate(ours), np.concatenate(others)
