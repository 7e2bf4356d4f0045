# SPDX-License-Identifier: Apache-2.0
"""Colours that hardly occur join the nearest one that stays."""

from typing import Final

import numpy as np
import numpy.typing as npt

from inglenook.pixels.histogram import BIN_SIDE, bins
from inglenook.pixels.oklab import Bytes, Floats, to_oklab

_MOST_ONE_BY_ONE: Final = 2048
"""More colours than that are thinned out in bins first: going over pairs takes the square of their number."""


def merge_rare(rgb: Bytes, counts: npt.NDArray[np.int64], share: float) -> npt.NDArray[np.intp]:
    """What each colour becomes, so that each that remains covers at least `share` of the pixels.

    The rarest goes first and takes its pixels along to its nearest colour: of many shades that are rare one
    by one but not together, one remains. At least one colour always does.

    Args:
        rgb: uint8 (n, 3), each once: of a picture, or the entries of its palette.
        counts: int64 (n,); a colour that does not occur joins its nearest too.
        share: 0 to 1; 0 merges nothing.

    Returns:
        intp (n,): indices into `rgb`; a colour that remains has its own.
    """
    target = np.arange(len(rgb))
    least = share * float(counts.sum())
    if least <= 0:
        return target
    lab, weights = to_oklab(rgb), counts.astype(np.float64)
    _thin_out(target, lab, weights, least)
    _join_rarest(target, lab, weights, least)
    while (target != target[target]).any():
        target = target[target]
    return target


def _thin_out(
    target: npt.NDArray[np.intp], lab: Floats, weights: npt.NDArray[np.float64], least: float
) -> None:
    """Rare colours join the most frequent one of their bin, in larger and larger bins."""
    side = BIN_SIDE
    while (target == np.arange(len(target))).sum() > _MOST_ONE_BY_ONE and side < 1:
        alive = np.flatnonzero(target == np.arange(len(target)))
        order = alive[np.argsort(-weights[alive], kind="stable")]
        _, first, inverse = np.unique(bins(lab[order], side), return_index=True, return_inverse=True)
        into = order[first[inverse]]
        joins = (weights[order] < least) & (into != order)
        target[order[joins]] = into[joins]
        np.add.at(weights, into[joins], weights[order[joins]])
        weights[order[joins]] = 0
        side *= 2


def _join_rarest(
    target: npt.NDArray[np.intp], lab: Floats, weights: npt.NDArray[np.float64], least: float
) -> None:
    alive = np.flatnonzero(target == np.arange(len(target)))
    left, colours = weights[alive], lab[alive]
    while len(alive) > 1 and left.min() < least:
        rarest = int(left.argmin())
        gap = colours - colours[rarest]
        square = gap[:, 0] * gap[:, 0] + gap[:, 1] * gap[:, 1] + gap[:, 2] * gap[:, 2]
        square[rarest] = np.inf
        into = int(square.argmin())
        target[alive[rarest]] = alive[into]
        left[into] += left[rarest]
        keep = np.arange(len(alive)) != rarest
        alive, left, colours = alive[keep], left[keep], colours[keep]
