# SPDX-License-Identifier: Apache-2.0
"""From a picture to indices into a palette, with or without dithering.

Dithering mixes palette colours side by side, and side by side they mix as light does: shares and errors are
counted in linear light, what is near is judged in OKLab.
"""

from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from inglenook.pixels.diffusion import ATKINSON, FLOYD_STEINBERG, diffused
from inglenook.pixels.histogram import counted
from inglenook.pixels.model import Dither
from inglenook.pixels.nearest import check_length, nearest, nearest_points
from inglenook.pixels.oklab import Bytes, Floats, to_linear, to_oklab

Indices = npt.NDArray[np.intp]

_ROUGHNESS: Final = 0.05
"""How much of the squared distance between two mixed colours counts against mixing them. Without it, colours
far apart that happen to lie on either side win over a single near one, and the result is noise."""
_CHUNK: Final = 256  # colours whose table of mixtures fits the processor's second cache
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
    first, second, share = _pairs(colours.rgb, palette)
    height, width = rgb.shape[:2]
    matrix = np.tile(bayer(side), (-(-height // side), -(-width // side)))[:height, :width]
    takes_second = share[colours.inverse] * strength > matrix
    return np.where(takes_second, second[colours.inverse], first[colours.inverse]).astype(np.uint8)


def _pairs(rgb: Bytes, palette: Bytes) -> tuple[Indices, Indices, Floats]:
    """For each colour (n, 3): its nearest entry, the entry that completes it best, and that one's share."""
    lab, entries = to_oklab(rgb), to_oklab(palette)
    first, _ = nearest_points(entries, lab)
    second = first.copy()
    by_entry = np.argsort(first, kind="stable")
    ends = np.searchsorted(first[by_entry], np.arange(len(entries) + 1))
    for number, (start, end) in enumerate(pairwise(ends)):
        for begin in range(start, end, _CHUNK):
            part = by_entry[begin : min(begin + _CHUNK, end)]
            second[part] = _completing(lab[part] - entries[number], entries - entries[number], number)
    return first, second, _share_of_light(to_linear(rgb), to_linear(palette), first, second)


def _completing(gaps: Floats, spans: Floats, base: int) -> Indices:
    """Which of `spans` (k, 3), all from entry `base`, goes nearest to each of `gaps` (n, 3); `base` if none.

    The squared distance of the gap g from the foot s on the span d is g² - 2 s (g·d) + s² d².
    """
    along = _outer(gaps, spans)
    length = _dot(spans, spans)
    share = np.clip(along / np.maximum(length, np.float32(1e-12)), 0, 1)
    cost = share * ((_ROUGHNESS * length - 2 * along) + share * ((1 - _ROUGHNESS) * length))
    found = cost.argmin(axis=1)
    return np.where(np.take_along_axis(cost, found[:, None], 1)[:, 0] < 0, found, base)


def _outer(one: Floats, other: Floats) -> Floats:
    product: Floats = one[:, None, 0] * other[None, :, 0]
    for axis in (1, 2):
        product += one[:, None, axis] * other[None, :, axis]
    return product


def _dot(one: Floats, other: Floats) -> Floats:
    product: Floats = one[:, 0] * other[:, 0] + one[:, 1] * other[:, 1] + one[:, 2] * other[:, 2]
    return product


def _share_of_light(light: Floats, entries: Floats, first: Indices, second: Indices) -> Floats:
    """How much of `second` mixes with `first` to come nearest to `light`, 0 to 1; 0 where both are one."""
    span = entries[second] - entries[first]
    along = _dot(light - entries[first], span)
    return np.clip(along / np.maximum(_dot(span, span), np.float32(1e-12)), 0, 1)
