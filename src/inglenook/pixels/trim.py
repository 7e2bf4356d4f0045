# SPDX-License-Identifier: Apache-2.0
"""Cutting away what is empty, and the point that a sprite stands on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from inglenook.pixels.regions import CLEAR, Indices


class Box(NamedTuple):
    """Pixels; `right` and `bottom` are not in it."""

    left: int
    top: int
    right: int
    bottom: int


def box_of(frames: Sequence[Indices]) -> Box | None:
    """The smallest box that holds every opaque pixel of every frame; None where there is none."""
    solid = np.logical_or.reduce([one != CLEAR for one in frames])
    rows, columns = np.nonzero(solid.any(axis=1))[0], np.nonzero(solid.any(axis=0))[0]
    if len(rows) == 0:
        return None
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def pivot_of(indices: Indices) -> tuple[int, int]:
    """x, y: the middle of the lowest opaque row; the middle of the canvas where nothing is opaque."""
    solid = indices != CLEAR
    rows = np.nonzero(solid.any(axis=1))[0]
    if len(rows) == 0:
        return indices.shape[1] // 2, indices.shape[0] // 2
    columns = np.nonzero(solid[rows[-1]])[0]
    return int(columns[0] + columns[-1]) // 2, int(rows[-1])
