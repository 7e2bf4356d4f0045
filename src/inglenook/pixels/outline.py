# SPDX-License-Identifier: Apache-2.0
"""A one pixel wide line where opaque and transparent pixels meet."""

import numpy as np

from inglenook.pixels.model import Outline
from inglenook.pixels.regions import CLEAR, Indices, Mask, neighbours


def outlined(
    indices: Indices, color: int, which: Outline, *, wrap_x: bool = False, wrap_y: bool = False
) -> Indices:
    """Draw it. Pixels meet along a side; at corners the line is as thin as it can be.

    Beyond the canvas all is transparent, unless the sprite is a tile: then its other side lies there.

    Args:
        color: index of the line's colour.
    """
    if which is Outline.NONE:
        return indices
    solid = indices != CLEAR
    looked_for = CLEAR if which is Outline.INSIDE else 1
    meets = np.zeros(indices.shape, bool)
    marks = np.where(solid, np.int32(1), np.int32(CLEAR))
    for (down, right), beside in neighbours(marks, CLEAR, wrap_x=wrap_x, wrap_y=wrap_y):
        if down == 0 or right == 0:
            meets |= beside == looked_for
    found = indices.copy()
    found[(solid if which is Outline.INSIDE else ~solid) & meets] = color
    return found


def touches_border(indices: Indices, *, wrap_x: bool = False, wrap_y: bool = False) -> bool:
    """Whether an opaque pixel lies at a border that does not wrap: no line fits around it there."""
    solid: Mask = indices != CLEAR
    beside = solid[:, [0, -1]].any() and not wrap_x
    above = solid[[0, -1]].any() and not wrap_y
    return bool(beside or above)
