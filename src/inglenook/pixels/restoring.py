# SPDX-License-Identifier: Apache-2.0
"""The colours that a spoiled sprite had.

Where a picture's grid was found its cells were of one colour each, out of few, before blur, ringing or JPEG
moved them apart. So its palette is not the one that misses the cells least, which is drawn towards the worst
of them, but the one that most of them scatter around.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from inglenook.pixels.histogram import Points, merged
from inglenook.pixels.nearest import nearest_points
from inglenook.pixels.oklab import Floats, distances, to_oklab

Rgba = npt.NDArray[np.uint8]
Weights = npt.NDArray[np.int64]

_ALIKE: Final = 0.03  # OKLab; neighbours that near have one colour
_GAIN: Final = 8  # for each neighbour: two that agree count more than a dozen that do not
_ROUNDS: Final = 4  # what moves after them is below a level of 255
_REACH: Final = 2.0  # times the median distance; what is beyond has no say
_LEAST_REACH: Final = 0.01  # OKLab: a level or two of 255 is no reason to leave a cell out
_MANY: Final = 0.25  # of the pixels that a colour stands for, alike to the bit: that is the colour itself


def agreement(rgba: Rgba) -> Weights:
    """How much each pixel's word counts where colours are chosen, int64 (h, w), at least 1.

    A cell beside one of its own colour has been spoiled least: nothing else shines in from there.
    """
    lab, solid = to_oklab(rgba[..., :3]), rgba[..., 3] > 0
    found = np.ones(solid.shape, np.int64)
    for axis in (0, 1):
        first, second = (slice(None),) * axis + (slice(1, None),), (slice(None),) * axis + (slice(-1),)
        alike = (distances(lab[first], lab[second]) <= _ALIKE) & solid[first] & solid[second]
        found[first] += _GAIN * alike
        found[second] += _GAIN * alike
    return found


def restored(cloud: Points, centres: Floats) -> Floats:
    """The centres, each moved to where its colours are dense: float32 (k, 3).

    The mean with the biweight of A. Beaton and J. Tukey (1974), of which what lies more than `_REACH` median
    distances away is left out; then, where many pixels have one very colour, that.
    """
    for _ in range(_ROUNDS):
        labels, squares = nearest_points(centres, cloud.lab)
        reach = _reaches(cloud, labels, squares, len(centres))
        share = np.maximum(0.0, 1 - squares / reach[labels]) ** 2
        groups = merged(Points(cloud.lab, cloud.weights * share), labels, len(centres))
        centres = np.where((groups.weights > 0)[:, None], groups.lab, centres)
    return _to_the_bit(cloud, centres)


def _reaches(
    cloud: Points, labels: npt.NDArray[np.intp], squares: Floats, count: int
) -> npt.NDArray[np.float64]:
    """The squared distance beyond which a colour has no say for its centre, float64 (count,)."""
    found = np.full(count, _LEAST_REACH**2)
    for number in np.unique(labels):
        mine = labels == number
        order = np.argsort(squares[mine], kind="stable")
        total = np.cumsum(cloud.weights[mine][order])
        median = float(squares[mine][order][np.searchsorted(total, total[-1] / 2)])
        found[number] = max(found[number], _REACH**2 * median)
    return found


def _to_the_bit(cloud: Points, centres: Floats) -> Floats:
    labels, _ = nearest_points(centres, cloud.lab)
    whole = np.bincount(labels, cloud.weights, len(centres))
    order = np.argsort(cloud.weights, kind="stable")
    heaviest = np.zeros(len(centres), np.intp)
    heaviest[labels[order]] = order  # the last one written is the heaviest
    many = (whole > 0) & (cloud.weights[heaviest] >= _MANY * whole)
    return np.where(many[:, None], cloud.lab[heaviest], centres)
