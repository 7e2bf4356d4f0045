# SPDX-License-Identifier: Apache-2.0
"""From a picture to indices into a palette, with or without dithering.

Dithering mixes palette colours side by side, and side by side they mix as light does: shares and errors are
counted in linear light, what is near is judged in OKLab.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from inglenook.pixels.diffusion import ATKINSON, FLOYD_STEINBERG, diffused
from inglenook.pixels.histogram import counted
from inglenook.pixels.mixing import pairs
from inglenook.pixels.model import Dither
from inglenook.pixels.nearest import check_length, nearest
from inglenook.pixels.oklab import Bytes

_SIDES: Final = {Dither.BAYER_2: 2, Dither.BAYER_4: 4, Dither.BAYER_8: 8}
_KERNELS: Final = {Dither.FLOYD_STEINBERG: FLOYD_STEINBERG, Dither.ATKINSON: ATKINSON}


def remap(rgba: Bytes, palette: Bytes, dither: Dither = Dither.NONE, strength: float = 1.0) -> Bytes:
    """The palette index of each pixel, uint8 (h, w).

    Args:
        rgba: uint8 (h, w, 4). Pixels of alpha 0 get index 0, and no error passes through them.
        palette: uint8 (k, 3), 1 to 256 entries.
        strength: 0 (as without dithering) to 1. With ordered dithering the share of the second colour, with
            diffusion the share of the error that is passed on.

    Raises:
        ValueError: the palette is empty or too long, or `strength` is out of range.
    """
    check_length(palette)
    if not 0 <= strength <= 1:
        raise ValueError(f"strength is 0 to 1, not {strength}")
    seen = rgba[..., 3] > 0
    if dither is Dither.NONE or strength == 0 or not seen.any():
        return np.where(seen, nearest(palette, rgba[..., :3]), 0).astype(np.uint8)
    if dither in _KERNELS:
        return diffused(rgba, palette, _KERNELS[dither], strength)
    return np.where(seen, _ordered(rgba[..., :3], palette, _SIDES[dither], strength), 0).astype(np.uint8)


def bayer(side: int) -> npt.NDArray[np.float64]:
    """Bayer's threshold matrix (1973), (side, side) in the open interval 0 to 1. `side`: a power of two."""
    matrix = np.zeros((1, 1))
    while len(matrix) < side:
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    return (matrix + 0.5) / side**2


def _ordered(rgb: Bytes, palette: Bytes, side: int, strength: float) -> Bytes:
    """Each colour is made of two entries; the matrix says where the second one shows."""
    colours = counted(rgb)
    first, second, share = pairs(colours.rgb, palette)
    height, width = rgb.shape[:2]
    matrix = np.tile(bayer(side), (-(-height // side), -(-width // side)))[:height, :width]
    takes_second = share[colours.inverse] * strength > matrix
    return np.where(takes_second, second[colours.inverse], first[colours.inverse]).astype(np.uint8)
