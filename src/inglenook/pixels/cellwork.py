# SPDX-License-Identifier: Apache-2.0
"""Pictures cut into cells with fractional boundaries, and what is counted in each cell.

A pixel belongs to the cell that holds its middle. All cells are laid side by side as one array (cells,
samples) with a mask, so that every method is a few NumPy calls over all of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from inglenook.pixels.oklab import to_oklab

Rgba = npt.NDArray[np.uint8]
Labs = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.float64]

MOST_SAMPLES: Final = 24
"""Along each side of a cell; of a larger one evenly spaced pixels stand for all."""
_AT_ONCE: Final = 1 << 20  # samples worked on at a time: bounds the memory
_CORE: Final = 0.3  # of a cell's side, left out at each end: blur and JPEG mix neighbours there
_LEAST_CORE: Final = 0.3  # pixels: one whose middle is on the boundary may be of either cell


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Some rows of cells.

    Attributes:
        first: the first row of cells.
        rgba: uint8 (rows, columns, samples, 4).
        lab: float32 (rows, columns, samples, 3).
        inside: bool (rows, columns, samples): samples of the cell; the others are padding.
        valid: bool, as `inside`: those whose colour counts, at least one in each cell.
    """

    first: int
    rgba: Rgba
    lab: Labs
    inside: Mask
    valid: Mask


def even(length: int, count: int) -> Places:
    """Boundaries of `count` even cells over `length` pixels: float64 (count + 1,)."""
    return np.arange(count + 1, dtype=np.float64) * (length / count)


def middles(boundaries: Places, length: int) -> npt.NDArray[np.int64]:
    """The pixel in the middle of each cell, int64 (cells,)."""
    return np.clip(np.floor((boundaries[:-1] + boundaries[1:]) / 2), 0, length - 1).astype(np.int64)


def blocks(rgba: Rgba, x: Places, y: Places, *, core: bool) -> Iterator[Block]:
    """The picture's cells, from the top.

    Args:
        rgba: uint8 (h, w, 4).
        x, y: boundaries of the cells.
        core: leave out what is near a cell's boundary.
    """
    columns, inside_x = _samples(x, rgba.shape[1], core=core)
    rows, inside_y = _samples(y, rgba.shape[0], core=core)
    in_a_row = columns.size * rows.shape[1]
    height = max(1, _AT_ONCE // in_a_row)
    for first in range(0, len(rows), height):
        yield _block(
            rgba, first, rows[first : first + height], inside_y[first : first + height], columns, inside_x
        )


def _samples(boundaries: Places, length: int, *, core: bool) -> tuple[npt.NDArray[np.int64], Mask]:
    """Pixels of each cell along one axis: int64 (cells, most samples) and which of them are its own."""
    sides = np.diff(boundaries)
    inset = (
        np.maximum(np.where(sides >= 3, sides * _CORE, 0.0), _LEAST_CORE) if core else np.zeros_like(sides)
    )
    begin = np.ceil(boundaries[:-1] + inset - 0.5 - 1e-9)
    end = np.ceil(boundaries[1:] - inset - 0.5 - 1e-9)
    alone = end <= begin  # a cell that holds no pixel's middle takes the pixel it lies in
    begin = np.where(alone, middles(boundaries, length), begin).astype(np.int64)
    counts = np.where(alone, 1, end - begin).astype(np.int64)
    taken = np.minimum(counts, MOST_SAMPLES)
    step = np.arange(taken.max())
    # Of many pixels evenly spaced ones, in whole numbers.
    at = begin[:, None] + (2 * step + 1) * counts[:, None] // (2 * taken[:, None])
    return np.clip(at, 0, length - 1), step < taken[:, None]


def _block(
    rgba: Rgba,
    first: int,
    rows: npt.NDArray[np.int64],
    inside_y: Mask,
    columns: npt.NDArray[np.int64],
    inside_x: Mask,
) -> Block:
    shape = (len(rows), len(columns), rows.shape[1] * columns.shape[1])
    taken = rgba[rows[:, None, :, None], columns[None, :, None, :]].reshape(*shape, 4)
    inside = (inside_y[:, None, :, None] & inside_x[None, :, None, :]).reshape(shape)
    alpha = np.where(inside, taken[..., 3], 0)
    # The colour of a cell is that of what covers it: a transparent pixel has none, and what is at an edge
    # half transparent is mixed.
    valid = inside & (alpha >= np.maximum(alpha.max(axis=2, keepdims=True) // 2, 1))
    valid[~valid.any(axis=2)] = inside[~valid.any(axis=2)]
    return Block(first, taken, to_oklab(taken[..., :3]), inside, valid)


def mean(lab: Labs, chosen: Mask | npt.NDArray[np.float64]) -> Labs:
    """float32 (..., 3): the mean of the chosen samples of each cell, or weighted; 0 where none is."""
    weight = chosen.astype(np.float64)
    total = np.einsum("...s,...sc->...c", weight, lab.astype(np.float64))
    whole = weight.sum(axis=-1)
    found: Labs = (total / np.where(whole > 0, whole, 1.0)[..., None]).astype(np.float32)
    return found


def coverage(block: Block) -> Rgba:
    """uint8 (rows, columns): mean alpha of each cell."""
    total = np.where(block.inside, block.rgba[..., 3], 0).sum(axis=2, dtype=np.int64)
    count = block.inside.sum(axis=2)
    found: Rgba = ((2 * total + count) // (2 * count)).astype(np.uint8)
    return found


def areas(plane: npt.NDArray[np.float64], boundaries: Places) -> npt.NDArray[np.float64]:
    """Means over the cells along the first axis, exact for fractional boundaries.

    Args:
        plane: float64 (length, ...).
        boundaries: float64 (cells + 1,), within 0 to length, ascending.

    Returns:
        float64 (cells, ...).
    """
    total = np.concatenate([np.zeros((1, *plane.shape[1:])), np.cumsum(plane, axis=0)])
    whole = np.minimum(np.floor(boundaries), len(plane) - 1).astype(np.int64)
    part = (boundaries - whole).reshape(-1, *(1,) * (plane.ndim - 1))
    up_to = total[whole] + part * plane[whole]
    sides = np.diff(boundaries).reshape(-1, *(1,) * (plane.ndim - 1))
    return np.diff(up_to, axis=0) / sides
