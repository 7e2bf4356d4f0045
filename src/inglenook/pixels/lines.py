# SPDX-License-Identifier: Apache-2.0
"""Dark lines that are thinner than a cell, kept through a reduction.

A line is what a morphological closing fills: the brightest within a window as wide as a cell, then the darkest of
that (van Herk's running extremes by doubling). What is transparent counts as white, so the outline of a subject on
nothing is a line too.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from inglenook.pixels.cellwork import Places, Rgba, areas
from inglenook.pixels.oklab import to_oklab, to_srgb

Plane = npt.NDArray[np.float32]

_DARKER: Final = 0.15  # OKLab L: by so much is a line darker than both of its sides
_HALF_WAY: Final = 0.6  # of a cell must a line one pixel wide run through
_THINNEST_CELL: Final = 2.5  # pixels: in a smaller cell nothing is thinner than a cell
_ROWS_AT_ONCE: Final = 256


def with_lines(rgba: Rgba, x: Places, y: Places, reduced: Rgba) -> Rgba:
    """`reduced` with the colour of the line in each cell that a thin dark line crosses.

    Args:
        rgba: uint8 (h, w, 4), the picture.
        x, y: boundaries of its cells, (columns + 1,) and (rows + 1,).
        reduced: uint8 (rows, columns, 4).
    """
    side = min(float(np.diff(x).mean()), float(np.diff(y).mean()))
    if side < _THINNEST_CELL:
        return reduced
    lab = _lab(rgba)
    share = rgba[..., 3].astype(np.float32) / 255
    light = lab[..., 0] * share + (1 - share)
    line = (_closed(light, int(np.ceil(side)) | 1) - light > _DARKER) & (rgba[..., 3] >= 128)
    planes = np.concatenate([line[..., None], np.where(line[..., None], lab, 0)], axis=2).astype(np.float64)
    means = areas(areas(planes, y).transpose(1, 0, 2), x).transpose(1, 0, 2)
    crossed = means[..., 0] >= _HALF_WAY / side
    colour = means[..., 1:] / np.maximum(means[..., :1], 1e-9)
    found = reduced.copy()
    found[crossed, :3] = to_srgb(colour[crossed])
    found[crossed, 3] = 255
    return found


def _lab(rgba: Rgba) -> Plane:
    found = np.empty((*rgba.shape[:2], 3), np.float32)
    for first in range(0, len(rgba), _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        found[rows] = to_oklab(rgba[rows, :, :3])
    return found


def _closed(light: Plane, window: int) -> Plane:
    """Closing with a square of `window` (odd) pixels; outside of the picture is as its border."""
    brightest = _running(_running(light, window).T, window).T
    return -_running(_running(-brightest, window).T, window).T


def _running(plane: Plane, window: int) -> Plane:
    """The largest of each `window` pixels along the rows, the middle one being where it is told."""
    half = window // 2
    padded = np.pad(plane, ((0, 0), (half, half)), mode="edge")
    width = 1
    while 2 * width <= window:
        padded = np.maximum(padded[:, :-width], padded[:, width:])
        width *= 2
    rest = window - width
    return np.maximum(padded[:, : padded.shape[1] - rest], padded[:, rest:]) if rest else padded
