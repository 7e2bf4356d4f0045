# SPDX-License-Identifier: Apache-2.0
"""Median cut (Heckbert 1982), in OKLab."""

import numpy as np
import numpy.typing as npt

from inglenook.pixels.histogram import Points, merged
from inglenook.pixels.oklab import Floats

Members = npt.NDArray[np.intp]


def median_cut(cloud: Points, count: int) -> Floats:
    """The mean of each of `count` boxes (fewer where the points run out), float32 (k, 3).

    Always the box with the largest weight times squared length is cut, across its longest side, where half of
    its weight lies on either side.
    """
    boxes: list[Members] = [np.arange(len(cloud.lab))]
    worth = [_worth(cloud, boxes[0])]
    while len(boxes) < count and max(worth) > 0:
        at = worth.index(max(worth))
        low, high = _cut(cloud, boxes[at])
        boxes[at], worth[at] = low, _worth(cloud, low)
        boxes.append(high)
        worth.append(_worth(cloud, high))
    labels = np.empty(len(cloud.lab), np.intp)
    for number, members in enumerate(boxes):
        labels[members] = number
    return merged(cloud, labels, len(boxes)).lab


def _worth(cloud: Points, members: Members) -> float:
    length = float(np.ptp(cloud.lab[members], axis=0).max())
    return float(cloud.weights[members].cumsum()[-1]) * length * length


def _cut(cloud: Points, members: Members) -> tuple[Members, Members]:
    """Both halves have a member. `members`: at least two, not all alike."""
    lab = cloud.lab[members]
    along = lab[:, int(np.ptp(lab, axis=0).argmax())]
    order = np.argsort(along, kind="stable")
    weight = np.cumsum(cloud.weights[members][order])
    half = int(np.searchsorted(weight, weight[-1] / 2)) + 1
    return members[order[: min(half, len(order) - 1)]], members[order[min(half, len(order) - 1) :]]
