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

from inglenook.pixels.histogram import counted
from inglenook.pixels.mixing import within_reach
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
"""Most error that a pixel takes, in linear light: more comes from nowhere but from colours out of reach."""


def diffused(rgba: Bytes, palette: Bytes, kernel: Kernel, strength: float) -> Bytes:
    """Palette indices, uint8 (h, w); see `dither.remap`.

    A colour that the palette cannot mix would pile up errors without end and smear them over what comes
    after: it is brought within the palette's reach first.
    """
    height, width = rgba.shape[:2]
    colours = counted(rgba[..., :3].reshape(-1, 3))
    light = within_reach(colours.rgb, palette)[colours.inverse]
    seen = (rgba[..., 3] > 0).reshape(-1)
    entries, near = to_linear(palette).astype(np.float64), to_oklab(palette)
    indices = np.zeros(height * width, np.uint8)
    pending = np.zeros((_WAVES, height + 2, 3))
    for wave in range(width + 2 * (height - 1)):
        top, bottom = max(0, (wave - width + 2) // 2), min(height, wave // 2 + 1)
        if top == bottom:  # in a picture of one column every second wave is empty
            continue
        rows = np.arange(top, bottom)
        at = rows * (width - 2) + wave
        errors = pending[wave % _WAVES]
        wanted = light[at] + np.clip(errors[rows], -_FARTHEST, _FARTHEST)
        errors[:] = 0
        chosen = _chosen(near, wanted)
        left = np.where(seen[at, None], wanted - entries[chosen], 0) * strength
        for right, down, share in kernel.shares:  # what leaves the picture below ends in two spare rows
            pending[(wave + right + 2 * down) % _WAVES, top + down : bottom + down] += left * share
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
