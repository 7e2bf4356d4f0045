# SPDX-License-Identifier: Apache-2.0
"""One colour for the samples of a cell. All functions take every cell at once.

lab    float32 (rows, columns, samples, 3), OKLab
valid  bool (rows, columns, samples), at least one True in each cell
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from inglenook.pixels.cellwork import Labs, Mask, Rgba, mean
from inglenook.pixels.oklab import distances

_BIN: Final = 0.08  # OKLab; four times what is just noticeable
_NEAR: Final = 0.06  # from the centre of a cluster: noise and JPEG stay within it
_TELLS: Final = 0.25  # share of a cell from which its second colour may win
_STANDS_OUT: Final = 0.08  # OKLab: by so much more than the first must it differ from what is around
_ROUNDS: Final = 6  # of two-means; nearly all cells stand still after three
_AGREES: Final = 0.01  # OKLab; half of what is just noticeable. What is nearer does not pull harder
_STEPS: Final = 6  # of Weiszfeld's iteration; what moves after that is below a level of 255


def dominant(lab: Labs, valid: Mask) -> Labs:
    """float32 (rows, columns, 3): the mean of the most frequent colour cluster.

    The fullest bin of two histograms, the second shifted by half a bin so that no cluster lies on a border of
    both, then twice the mean of what is near the middle of that bin.
    """
    plain, plain_count = _fullest(lab, valid, 0.0)
    shifted, shifted_count = _fullest(lab, valid, 0.5)
    inside = np.where((shifted_count > plain_count)[..., None], shifted, plain)
    centre = mean(lab, inside)
    for _ in range(2):
        near = valid & (distances(lab, centre[..., None, :]) <= _NEAR)
        near = np.where(near.any(axis=-1, keepdims=True), near, inside)
        centre = mean(lab, near)
    return centre


def _fullest(lab: Labs, valid: Mask, shift: float) -> tuple[Mask, npt.NDArray[np.int64]]:
    """Which samples are in the cell's fullest bin, and how many."""
    bins = np.floor(lab / np.float32(_BIN) + np.float32(shift)).astype(np.int32) + 16
    keys = np.where(valid, (bins[..., 0] << 12) | (bins[..., 1] << 6) | bins[..., 2], -1)
    ordered = np.sort(keys, axis=-1)
    at = np.arange(ordered.shape[-1])
    begins = np.ones(ordered.shape, bool)
    begins[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    run = at - np.maximum.accumulate(np.where(begins, at, 0), axis=-1) + 1
    run[ordered < 0] = 0
    end = run.argmax(axis=-1)[..., None]
    key = np.take_along_axis(ordered, end, -1)
    return keys == key, np.take_along_axis(run, end, -1)[..., 0]


def central(lab: Labs, valid: Mask) -> Labs:
    """float32 (rows, columns, 3): the colour that all samples had before something spoiled them.

    Their geometric median (E. Weiszfeld, 1937): ringing and blocks pull at it from all sides and cancel out,
    as in a mean, and what strayed in from a neighbour moves it hardly, as with a median. Where more than half
    of the samples agree it is the one in their middle, to the bit.
    """
    ordered, count = np.sort(np.where(valid[..., None], lab, np.float32(np.inf)), axis=-2), valid.sum(axis=-1)
    low, high = (np.take_along_axis(ordered, (at // 2)[..., None, None], -2) for at in (count - 1, count))
    centre = ((low + high) / 2)[..., 0, :]
    for _ in range(_STEPS):
        away = np.maximum(distances(lab, centre[..., None, :]), np.float32(_AGREES))
        centre = mean(lab, valid / away)
    agree = valid & (distances(lab, centre[..., None, :]) <= _AGREES)
    most = (2 * agree.sum(axis=-1) > valid.sum(axis=-1))[..., None]
    return np.where(most, median(lab, np.where(most, agree, valid)), centre)


def median(lab: Labs, valid: Mask) -> Labs:
    """float32 (rows, columns, 3): the sample nearest to the median of each channel."""
    ordered = np.sort(np.where(valid[..., None], lab, np.float32(np.inf)), axis=-2)
    middle = ((valid.sum(axis=-1) - 1) // 2)[..., None, None]
    centre = np.take_along_axis(ordered, middle, -2)
    away = np.where(valid, distances(lab, centre), np.float32(np.inf))
    nearest = away.argmin(axis=-1)[..., None, None]
    return np.take_along_axis(lab, nearest, -2)[..., 0, :]


def k_centroid(lab: Labs, valid: Mask) -> Labs:
    """float32 (rows, columns, 3): the centre of the larger of two clusters."""
    return two_colours(lab, valid)[0]


def two_colours(lab: Labs, valid: Mask) -> tuple[Labs, Labs, npt.NDArray[np.float32]]:
    """The cell's two clusters by two-means, started from the two samples that lie farthest apart.

    Returns:
        float32 (rows, columns, 3) the centre of the larger one, of the smaller one (the same where all
        samples are alike), and float32 (rows, columns) the share of the smaller one, 0 to 0.5.
    """
    one = _farthest(lab, valid, mean(lab, valid))
    other = _farthest(lab, valid, one)
    for _ in range(_ROUNDS):
        first = valid & (distances(lab, one[..., None, :]) <= distances(lab, other[..., None, :]))
        second = valid & ~first
        one = np.where(first.any(axis=-1, keepdims=True), mean(lab, first), one)
        other = np.where(second.any(axis=-1, keepdims=True), mean(lab, second), one)
    share = second.sum(axis=-1) / valid.sum(axis=-1)
    swap = (share > 0.5)[..., None]
    smaller = np.minimum(share, 1 - share).astype(np.float32)
    return np.where(swap, other, one), np.where(swap, one, other), smaller


def _farthest(lab: Labs, valid: Mask, centre: Labs) -> Labs:
    away = np.where(valid, distances(lab, centre[..., None, :]), np.float32(-1))
    return np.take_along_axis(lab, away.argmax(axis=-1)[..., None, None], -2)[..., 0, :]


def standing_out(first: Labs, second: Labs, share: npt.NDArray[np.float32], alpha: Rgba) -> Labs:
    """The first colour of each cell, or the second where it is there enough and differs more from around.

    Args:
        first, second, share: as of `two_colours`, for a whole picture of cells (rows, columns, ...).
        alpha: uint8 (rows, columns): transparent cells are no surroundings.
    """
    around = _surroundings(first, alpha > 0)
    gain = distances(second, around) - distances(first, around)
    wins = (share >= _TELLS) & (gain > _STANDS_OUT)
    return np.where(wins[..., None], second, first)


def _surroundings(lab: Labs, counts: Mask) -> Labs:
    """float32 (rows, columns, 3): the mean of the cells around each; its own where none counts."""
    rows, columns = counts.shape
    value = np.pad(np.where(counts[..., None], lab, 0).astype(np.float64), ((1, 1), (1, 1), (0, 0)))
    number = np.pad(counts.astype(np.int64), 1)
    total, many = np.zeros((rows, columns, 3)), np.zeros((rows, columns), np.int64)
    for down in range(3):
        for right in range(3):
            if (down, right) != (1, 1):
                total += value[down : down + rows, right : right + columns]
                many += number[down : down + rows, right : right + columns]
    around = total / np.maximum(many, 1)[..., None]
    return np.where((many > 0)[..., None], around, lab).astype(np.float32)
