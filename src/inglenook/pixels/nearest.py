# SPDX-License-Identifier: Apache-2.0
"""Which palette entry is nearest to a colour, in OKLab."""

from typing import Final

import numpy as np
import numpy.typing as npt

from inglenook.pixels.histogram import counted
from inglenook.pixels.model import MAX_COLORS
from inglenook.pixels.oklab import Bytes, Floats, to_oklab

_CHUNK: Final = 8192  # colours whose distances fit the processor's nearest cache


def nearest(palette: Bytes, rgb: Bytes) -> Bytes:
    """The index of the entry nearest to each colour; of equally near ones the first.

    A colour that is in the palette gets the entry that is the same.

    Args:
        palette: uint8 (k, 3), 1 to 256 entries.
        rgb: uint8 (..., 3). The work is done once a colour, not once a pixel.

    Raises:
        ValueError: the palette is empty or too long.
    """
    check_length(palette)
    colours = counted(rgb)
    found, _ = nearest_points(to_oklab(palette), to_oklab(colours.rgb))
    indices: Bytes = found.astype(np.uint8)[colours.inverse]
    return indices


def check_length(palette: Bytes) -> None:
    if not 1 <= len(palette) <= MAX_COLORS:
        raise ValueError(f"a palette has 1 to {MAX_COLORS} colours, this one has {len(palette)}")


def nearest_points(centres: Floats, lab: Floats) -> tuple[npt.NDArray[np.intp], Floats]:
    """Index of the nearest of `centres` (k, 3) for each of `lab` (n, 3), and the squared distance to it.

    Differences are squared and added one by one: expanding the square would be a fast matrix product, but
    loses the digits that tell a colour from its neighbour.
    """
    index = np.zeros(len(lab), np.intp)
    best = np.full(len(lab), np.inf, np.float32)
    for start in range(0, len(lab), _CHUNK):
        part = slice(start, start + _CHUNK)
        _into(index[part], best[part], centres, np.ascontiguousarray(lab[part].T))
    return index, best


def _into(index: npt.NDArray[np.intp], best: Floats, centres: Floats, axes: Floats) -> None:
    """Overwrites `index` and `best` (n,) where a centre is nearer. `axes`: float32 (3, n)."""
    gap, square = np.empty_like(best), np.empty_like(best)
    nearer = np.empty(len(best), bool)
    for number, centre in enumerate(centres):
        np.subtract(axes[0], centre[0], out=square)
        np.multiply(square, square, out=square)
        for axis in (1, 2):
            np.subtract(axes[axis], centre[axis], out=gap)
            np.multiply(gap, gap, out=gap)
            np.add(square, gap, out=square)
        np.less(square, best, out=nearer)
        np.copyto(best, square, where=nearer)
        np.copyto(index, number, where=nearer)
