# SPDX-License-Identifier: Apache-2.0
"""k-means on weighted points, begun the same way each time."""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from inglenook.pixels.histogram import Points, merged
from inglenook.pixels.nearest import nearest_points
from inglenook.pixels.oklab import Floats

_ROUNDS: Final = 24
"""At most; what changes after that is below a level of 255."""


def k_means(cloud: Points, count: int, seed: int) -> Floats:
    """Centres float32 (k, 3), k = `count` unless the cloud has fewer points.

    Seeds by k-means++ (Arthur and Vassilvitskii 2007), its greedy variant that draws several candidates for
    each centre and keeps the best; then Lloyd's iteration until no point changes its centre.
    """
    centres = _seeds(cloud, min(count, len(cloud.lab)), seed)
    labels, squares = nearest_points(centres, cloud.lab)
    for _ in range(_ROUNDS):
        groups = merged(cloud, labels, len(centres))
        centres = _filled(groups, cloud, squares)
        before = labels
        labels, squares = nearest_points(centres, cloud.lab)
        if (labels == before).all():
            break
    return centres


def _filled(groups: Points, cloud: Points, squares: Floats) -> Floats:
    """The groups' means; a group that lost all its points gets one of those that are worst off."""
    empty = np.flatnonzero(groups.weights == 0)
    if len(empty):
        worst = np.argsort(-(cloud.weights * squares), kind="stable")
        groups.lab[empty] = cloud.lab[worst[: len(empty)]]
    return groups.lab


def _seeds(cloud: Points, count: int, seed: int) -> Floats:
    """`count` of the points, float32 (count, 3)."""
    tries = 2 + int(math.log(count))
    draws = _draws(seed, count * tries).reshape(count, tries)
    centres = np.empty((count, 3), np.float32)
    squares = np.full(len(cloud.lab), np.inf, np.float32)
    chance = np.cumsum(cloud.weights)
    for number in range(count):
        at = np.searchsorted(chance, draws[number] * chance[-1], side="right")
        candidates = cloud.lab[np.minimum(at, len(cloud.lab) - 1)]
        after = [np.minimum(squares, nearest_points(one[None], cloud.lab)[1]) for one in candidates]
        chances = [np.cumsum(cloud.weights * one) for one in after]
        best = min(range(tries), key=lambda one: float(chances[one][-1]))
        centres[number], squares, chance = candidates[best], after[best], chances[best]
    return centres


def _draws(seed: int, count: int) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1), from the generator's raw bits: those are promised to stay as they are."""
    raw = np.random.PCG64(seed).random_raw(count)
    return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
