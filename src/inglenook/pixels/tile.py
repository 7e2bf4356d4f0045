# SPDX-License-Identifier: Apache-2.0
"""A sprite that can be laid beside itself, made of its own pixels: no colour is mixed.

Along one axis (across, say):

1. The sprite is moved by about half, so that the seam lies in the middle, and its new left and right ends are
   what were neighbours before: a border that has no step of its own. By how far exactly is chosen so that
   those two columns are as alike as can be found near the middle.
2. A patch of the unmoved sprite, which has no seam there, is laid over the seam. It is cut out along the two
   paths, left and right of the seam, on which both pictures differ least (A. Efros and W. Freeman, "Image
   Quilting", 2001; the cost of a step is that of V. Kwatra and others, "Graphcut Textures", 2003).
3. It is moved back, so that the middle is where it was.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from inglenook.pixels.regions import Indices

Floats = npt.NDArray[np.float64]

TILES: Final = 1.25
"""A seam (see `proof.seams`) of at most this is said to tile: the steps inside a sprite vary by more."""
STRIP_PX: Final = 500_000


def tiled(frames: Sequence[Indices], vectors: npt.NDArray[np.float32], *, closed: bool) -> list[Indices]:
    """The frames with their left and right ends fitted to each other, cut alike in all of them.

    Unchanged where they fit already, and where the patch would not make the seam less sharp. For the other
    axis hand in the transposed frames.

    Args:
        frames: int32 (h, w) each, all of one size.
        vectors: float32 (k + 1, 4): entry i + 1 is what `proof.weighted` gives for index i, and 0 is clear.
        closed: the other axis wraps too: a cut ends in the column in which it begins.
    """
    stack = np.stack(frames)
    before = _sharpness(stack, vectors)
    if stack.shape[2] < 3 or before <= 1:
        return list(frames)
    found = _patched(stack, vectors, closed=closed)
    return list(found) if _sharpness(found, vectors) < before else list(frames)


def _patched(stack: Indices, vectors: npt.NDArray[np.float32], *, closed: bool) -> Indices:
    width = stack.shape[2]
    middle = _smoothest(stack, vectors)
    moved = np.roll(stack, middle, axis=2)
    reach = max(1, min(width // 4, middle, width - middle - 1))
    cost = _mismatch(stack, moved, vectors)
    left = _path(cost[:, np.arange(middle - reach, middle) % width], closed=closed) + middle - reach
    right = _path(cost[:, np.arange(middle + 1, middle + reach + 1) % width], closed=closed) + middle + 1
    column = np.arange(width)
    patch = (column >= left[:, None]) & (column < right[:, None])
    return np.roll(np.where(patch, stack, moved), -middle, axis=2)


def _smoothest(stack: Indices, vectors: npt.NDArray[np.float32]) -> int:
    """Near the middle, the column that differs least from the one before it."""
    width = stack.shape[2]
    spread = width // 8
    candidates = np.arange(width // 2 - spread, width // 2 + spread + 1)
    candidates = candidates[(candidates >= 1) & (candidates < width)]
    steps = [_step(stack[:, :, one - 1], stack[:, :, one], vectors).mean() for one in candidates]
    far = np.abs(candidates - width // 2)
    return int(candidates[np.lexsort((far, np.round(steps, 9)))[0]])


def _mismatch(one: Indices, other: Indices, vectors: npt.NDArray[np.float32]) -> Floats:
    """What a cut before each column would cost, in each row, over all frames. float64 (h, w)."""
    apart = np.zeros(one.shape[1:])
    for ours, theirs in zip(one, other, strict=True):
        apart += _step(ours, theirs, vectors)
    return apart + np.roll(apart, 1, axis=1)


def _step(one: Indices, other: Indices, vectors: npt.NDArray[np.float32]) -> Floats:
    """How far apart each two pixels are. In strips, so that a large sprite needs no large memory."""
    found = np.empty(one.shape)
    strip = max(1, STRIP_PX * len(one) // max(1, one.size))
    for start in range(0, len(one), strip):
        rows = slice(start, start + strip)
        gap = vectors[one[rows] + 1] - vectors[other[rows] + 1]
        found[rows] = np.sqrt((gap.astype(np.float64) ** 2).sum(axis=-1))
    return found


def _sharpness(stack: Indices, vectors: npt.NDArray[np.float32]) -> float:
    """The step over the wrapped border over those inside, the mean of all frames."""
    ends = _step(stack[:, :, -1], stack[:, :, 0], vectors).mean()
    if ends == 0 or stack.shape[2] < 2:
        return 0.0
    inside = np.mean([_step(one[:, 1:], one[:, :-1], vectors).mean() for one in stack])
    return float(ends / inside) if inside > 0 else float("inf")


def _path(cost: Floats, *, closed: bool) -> npt.NDArray[np.intp]:
    """The cheapest way from the first row to the last, one column to a side each row at most. (h,)."""
    if not closed:
        return _cheapest(cost)
    # Where the way passes the middle is a good place to begin and to end: nothing drew it to a border there.
    half = len(cost) // 2
    start = int(_cheapest(np.roll(cost, half, axis=0))[half])
    bound = cost.copy()
    everywhere = np.arange(cost.shape[1]) != start
    bound[0, everywhere] = np.inf
    if len(cost) > 2:
        bound[-1, np.abs(np.arange(cost.shape[1]) - start) > 1] = np.inf
    return _cheapest(bound)


def _cheapest(cost: Floats) -> npt.NDArray[np.intp]:
    """By dynamic programming; of equally cheap ways the leftmost."""
    height, width = cost.shape
    total, came = cost[0], np.zeros((height, width), np.intp)
    for row in range(1, height):
        wide = np.pad(total, 1, constant_values=np.inf)
        ways = np.stack([wide[:-2], wide[1:-1], wide[2:]])
        best = ways.argmin(axis=0)
        came[row] = np.arange(width) + best - 1
        total = cost[row] + ways[best, np.arange(width)]
    found = np.zeros(height, np.intp)
    found[-1] = int(total.argmin())
    for row in range(height - 1, 0, -1):
        found[row - 1] = came[row, found[row]]
    return found
