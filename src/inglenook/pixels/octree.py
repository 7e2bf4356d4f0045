# SPDX-License-Identifier: Apache-2.0
"""The octree quantiser (Gervautz and Purgathofer 1988), level by level instead of node by node."""

import numpy as np
import numpy.typing as npt

from inglenook.pixels.histogram import Points, merged
from inglenook.pixels.oklab import Bytes, to_oklab, to_srgb

Keys = npt.NDArray[np.int64]


def octree(rgb: Bytes, counts: npt.NDArray[np.int64], colors: int) -> Bytes:
    """`colors` colours, uint8 (k, 3), for more than so many different ones.

    The leaves of the full tree are the colours. Whole levels are folded into their parents while enough
    leaves remain; of the level where that would leave too few, the parents with the fewest pixels are folded,
    and of the last one only as many children as must go, so that not one colour less than asked comes out.
    """
    leaves = Points(to_oklab(rgb), counts.astype(np.float64))
    keys = _keys(rgb)
    while len(keys) > colors:
        parents, labels = np.unique(keys >> 3, return_inverse=True)
        if len(parents) < colors:
            labels = _fold_some(keys >> 3, leaves.weights, len(keys) - colors)
            return to_srgb(merged(leaves, labels, colors).lab)
        keys, leaves = parents, merged(leaves, labels, len(parents))
    return to_srgb(leaves.lab)


def _keys(rgb: Bytes) -> Keys:
    """The way from the root to each colour: three bits (red, green, blue) a level, 24 in all."""
    key = np.zeros(len(rgb), np.int64)
    for bit in range(7, -1, -1):
        digit = rgb >> bit & 1
        key = key << 3 | digit[:, 0].astype(np.int64) << 2 | digit[:, 1] << 1 | digit[:, 2]
    return key


def _fold_some(parent: Keys, weights: npt.NDArray[np.float64], surplus: int) -> npt.NDArray[np.intp]:
    """The group of each leaf, so that `surplus` leaves fewer remain."""
    group = np.arange(len(parent))
    nodes, inverse = np.unique(parent, return_inverse=True)
    for node in np.argsort(np.bincount(inverse, weights), kind="stable"):
        children = np.flatnonzero(inverse == node)
        fewest = children[np.argsort(weights[children], kind="stable")]
        folded = fewest[: surplus + 1]
        group[folded] = folded[0]
        surplus -= len(folded) - 1
        if not surplus:
            break
    assert not surplus, nodes
    return np.unique(group, return_inverse=True)[1]
