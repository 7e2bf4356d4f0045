# SPDX-License-Identifier: Apache-2.0
"""Connected regions of equal values, and what lies around a pixel. For sprites as indices:

int32 (h, w), a palette's entry each, `CLEAR` where it is transparent.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
Whole = npt.NDArray[np.int64]

CLEAR: Final = -1
AROUND: Final = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
"""Steps (down, right) to the eight neighbours."""


def regions(values: npt.NDArray[np.int32], *, diagonal: bool) -> tuple[Whole, Whole]:
    """Number the regions of equal values, in the order of their first pixel.

    Rows are cut into runs, and runs that touch are united: their roots point at ever smaller ones (hooking
    and pointer jumping, Shiloach and Vishkin, 1982), so the time goes with the number of runs.

    Args:
        values: (h, w).
        diagonal: pixels that touch at a corner are connected too.

    Returns:
        labels int64 (h, w) from 0, and how many pixels each region has.
    """
    begins = np.ones(values.shape, bool)
    begins[:, 1:] = values[:, 1:] != values[:, :-1]
    runs = np.cumsum(begins, dtype=np.int64).reshape(values.shape) - 1
    pairs = [_touching(values, begins, runs, step) for step in ((-1, 0, 1) if diagonal else (0,))]
    upper, lower = np.concatenate([one for one, _ in pairs]), np.concatenate([two for _, two in pairs])
    roots = _roots(int(runs[-1, -1]) + 1, upper, lower)
    _, numbers = np.unique(roots, return_inverse=True)
    labels = numbers.reshape(-1)[runs]
    return labels, np.bincount(labels.reshape(-1))


def _touching(values: npt.NDArray[np.int32], begins: Mask, runs: Whole, step: int) -> tuple[Whole, Whole]:
    """Runs of equal value, one in each of two neighbouring rows, the lower one `step` pixels to the right."""
    width = values.shape[1]
    above = slice(max(0, -step), width - max(0, step))
    below = slice(max(0, step), width - max(0, -step))
    same = values[:-1, above] == values[1:, below]
    if same.size:
        fresh = begins[:-1, above] | begins[1:, below]
        fresh[:, 0] = True
        same &= fresh  # once for each pair of runs, not for each pixel
    return runs[:-1, above][same], runs[1:, below][same]


def _roots(count: int, one: Whole, other: Whole) -> Whole:
    """The smallest member of each one's set, where `one[i]` and `other[i]` belong together."""
    parent = np.arange(count, dtype=np.int64)
    while True:
        low, high = np.minimum(one, other), np.maximum(one, other)
        apart = low != high
        if not apart.any():
            return parent
        low, high = low[apart], high[apart]
        np.minimum.at(parent, high, low)
        parent = pointed_through(parent)
        one, other = parent[low], parent[high]


def pointed_through(pointers: Whole) -> Whole:
    """Where each chain of pointers ends; an end points at itself, and there is no circle."""
    while True:
        further = pointers[pointers]
        if np.array_equal(further, pointers):
            return further
        pointers = further


def neighbours(
    array: npt.NDArray[np.int32], fill: int, *, wrap_x: bool = False, wrap_y: bool = False
) -> Iterator[tuple[tuple[int, int], npt.NDArray[np.int32]]]:
    """For each step of `AROUND` what lies there, shape (h, w): `fill` beyond the border, or, where it wraps,
    what lies on the other side."""
    height, width = array.shape
    wide = _padded(_padded(array, ((1, 1), (0, 0)), fill, wrap=wrap_y), ((0, 0), (1, 1)), fill, wrap=wrap_x)
    for down, right in AROUND:
        yield (down, right), wide[1 + down : 1 + down + height, 1 + right : 1 + right + width]


def _padded(
    array: npt.NDArray[np.int32], by: tuple[tuple[int, int], tuple[int, int]], fill: int, *, wrap: bool
) -> npt.NDArray[np.int32]:
    return np.pad(array, by, "wrap") if wrap else np.pad(array, by, "constant", constant_values=fill)
