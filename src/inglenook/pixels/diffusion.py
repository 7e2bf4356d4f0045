# SPDX-License-Identifier: Apache-2.0
"""Error diffusion, many pixels at a time.

A pixel needs the errors of its left neighbours and of the rows above, up to one column to the right. So all
pixels with the same x + 2 y can be decided at once: a wave of them runs over the picture from the upper left
to the lower right, w + 2 h steps instead of w * h. What comes out is what going row by row gives.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from inglenook.pixels.oklab import Bytes, Floats, oklab_of_light, to_linear, to_oklab

Light = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Kernel:
    """Where a pixel's error goes: (columns to the right, rows down, share); at most 4 waves ahead."""

    shares: tuple[tuple[int, int, float], ...]


FLOYD_STEINBERG: Final = Kernel(((1, 0, 7 / 16), (-1, 1, 3 / 16), (0, 1, 5 / 16), (1, 1, 1 / 16)))
"""Floyd and Steinberg 1976."""
ATKINSON: Final = Kernel(
    ((1, 0, 1 / 8), (2, 0, 1 / 8), (-1, 1, 1 / 8), (0, 1, 1 / 8), (1, 1, 1 / 8), (0, 2, 1 / 8))
)
"""Bill Atkinson's, of the early Macintosh: a quarter of the error is dropped, so light areas stay clean."""

_WAVES: Final = 5
_FARTHEST: Final = 1.0
"""Most error that a pixel takes, in linear light. A colour outside of what the palette can mix would pile up
errors without end, and smear them over what comes after."""


def diffused(rgba: Bytes, palette: Bytes, kernel: Kernel, strength: float) -> Bytes:
    """Palette indices, uint8 (h, w); see `dither.remap`."""
    height, width = rgba.shape[:2]
    light = to_linear(rgba[..., :3]).reshape(-1, 3)
    seen = (rgba[..., 3] > 0).reshape(-1)
    entries, near = to_linear(palette).astype(np.float64), to_oklab(palette)
    indices = np.zeros(height * width, np.uint8)
    pending = np.zeros((_WAVES, height + 2, 3))
    for wave in range(width + 2 * (height - 1)):
        rows = np.arange(max(0, (wave - width + 2) // 2), min(height, wave // 2 + 1))
        at = rows * (width - 2) + wave
        errors = pending[wave % _WAVES]
        wanted = light[at] + np.clip(errors[rows], -_FARTHEST, _FARTHEST)
        errors[:] = 0
        chosen = _chosen(near, wanted)
        left = np.where(seen[at, None], wanted - entries[chosen], 0) * strength
        _pass_on(pending, kernel, wave, rows, left)
        indices[at] = np.where(seen[at], chosen, 0)
    return indices.reshape(height, width)


def _chosen(near: Floats, wanted: Light) -> npt.NDArray[np.intp]:
    """The entry nearest to each of `wanted` (n, 3), as `nearest` judges it."""
    lab = oklab_of_light(wanted)
    square = np.zeros((len(lab), len(near)), np.float32)
    for axis in range(3):
        gap = lab[:, axis, None] - near[None, :, axis]
        np.multiply(gap, gap, out=gap)
        np.add(square, gap, out=square)
    best: npt.NDArray[np.intp] = square.argmin(axis=1)
    return best


def _pass_on(pending: Light, kernel: Kernel, wave: int, rows: npt.NDArray[np.intp], left: Light) -> None:
    """Adds to the waves ahead. Errors that leave the picture below end in the two spare rows."""
    for right, down, share in kernel.shares:
        ahead = pending[(wave + right + 2 * down) % _WAVES]
        ahead[rows[0] + down : rows[-1] + 1 + down] += left * share
