# SPDX-License-Identifier: Apache-2.0
"""The subject of a picture without its background, where the background is plain.

No model is asked. The background is what is reached from the border over pixels that look like the border:

1. every opaque border pixel votes for a colour; the largest group of alike ones is the background's colour;
2. from the border inwards, all pixels within `TOLERANCE` of that colour belong to the background, so that a
   white eye in a white room stays, unless it touches the wall; what is transparent belongs to it as well;
3. the one pixel wide seam between the two is mixed colour: how much of it is background tells its alpha, and
   the background's share is taken out of its colour.

A busy background has no colour that the border agrees on. Then nothing is cut, and the caller is told.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Rgba = npt.NDArray[np.uint8]
Grey = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

TOLERANCE: Final = 28.0
"""Largest distance (Euclid, in levels of 255 a channel) at which a pixel still looks like the background:
noise and soft gradients stay within it, neighbouring colours of a drawing do not."""
AGREEMENT: Final = 0.55
"""Share of the border that has to look like one colour."""


def border_matte(rgba: Rgba) -> Grey | None:
    """How much of each pixel is subject, or None where the border has no colour of its own.

    Args:
        rgba: uint8 (h, w, 4), straight alpha.

    Returns:
        uint8 (h, w), 255 is the subject; never above the picture's alpha.
    """
    cut = border_cut(rgba)
    return None if cut is None else cut[..., 3]


def border_cut(rgba: Rgba) -> Rgba | None:
    """The picture with its background transparent and out of the seam; None as in `border_matte`."""
    pixels = rgba[..., :3].astype(np.float32)
    solid = rgba[..., 3] > 0
    colour = _border_colour(_border(pixels)[_border(solid)], len(_border(solid)))
    if colour is None:
        return None
    distance = np.sqrt(((pixels - colour) ** 2).sum(axis=2))
    background = _reached_from_border((distance <= TOLERANCE) | ~solid)
    return _with_seam(pixels, colour, distance, background, rgba[..., 3])


def _border(plane: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """The outermost pixels, each once."""
    if min(plane.shape[:2]) < 2:
        return plane.reshape(-1, *plane.shape[2:])
    return np.concatenate([plane[0], plane[-1], plane[1:-1, 0], plane[1:-1, -1]])


def _border_colour(opaque: Floats, border: int) -> Floats | None:
    """float32 (3,): the mean of the border pixels around the colour that most of them are near.

    Args:
        opaque: float32 (n, 3), those of the border's pixels that are not transparent.
        border: how many pixels it has. The transparent ones agree with any colour; where all are
            transparent the background is gone already, and any colour will do.
    """
    if not len(opaque):
        return np.full(3, -1e6, np.float32)
    coarse = (opaque // 16).astype(np.int32)
    keys, counts = np.unique(coarse @ np.array([256, 16, 1]), return_counts=True)
    key = int(keys[counts.argmax()])
    centre = np.array([key // 256, key // 16 % 16, key % 16], np.float32) * 16 + 8
    near = np.sqrt(((opaque - centre) ** 2).sum(axis=1)) <= TOLERANCE
    if (near.sum() + border - len(opaque)) / border < AGREEMENT:
        return None
    if not near.any():
        return np.full(3, -1e6, np.float32)
    mean: Floats = opaque[near].mean(axis=0)
    return mean


def _reached_from_border(passable: Mask) -> Mask:
    """bool (height, width): the passable pixels that touch the border through passable ones (4 neighbours).

    Whole runs of a row, then of a column, are filled at a time: a handful of sweeps, whatever the size.
    """
    reached = np.zeros_like(passable)
    reached[0], reached[-1] = passable[0], passable[-1]
    reached[:, 0] |= passable[:, 0]
    reached[:, -1] |= passable[:, -1]
    count = -1
    while count != (count := int(reached.sum())):
        reached = _fill_runs(passable, reached)
        reached = _fill_runs(passable.T, reached.T).T
    return reached


def _fill_runs(passable: Mask, reached: Mask) -> Mask:
    """Every run of passable pixels in a row that holds a reached one becomes reached."""
    walls = np.cumsum(~passable, axis=1)
    runs = walls + np.arange(len(passable))[:, None] * (passable.shape[1] + 1)
    hit = np.zeros(int(runs.max()) + 1, bool)
    hit[runs[reached]] = True
    filled: Mask = passable & hit[runs]
    return filled


def _with_seam(pixels: Floats, colour: Floats, distance: Floats, background: Mask, solid: Grey) -> Rgba:
    """uint8 (height, width, 4), straight alpha."""
    beside = np.zeros_like(background)
    beside[1:] |= background[:-1]
    beside[:-1] |= background[1:]
    beside[:, 1:] |= background[:, :-1]
    beside[:, :-1] |= background[:, 1:]
    seam = beside & ~background
    # A seam pixel holds as much of the subject as it is far from the background, compared with the subject
    # right behind it: the farthest pixel within two steps.
    behind = _farthest(_farthest(distance))
    share = np.where(seam, np.clip(distance / np.maximum(behind, 1.0), 0.0, 1.0), ~background)
    freed = (pixels - (1 - share[..., None]) * colour) / np.maximum(share, 1e-3)[..., None]
    rgb = np.where(seam[..., None], freed, np.where(background[..., None], 0.0, pixels))
    rgba = np.concatenate([rgb, (share * solid)[..., None]], axis=2)
    return rgba.clip(0, 255).round().astype(np.uint8)


def _farthest(distance: Floats) -> Floats:
    """The largest value among each pixel and its four neighbours."""
    largest = distance.copy()
    np.maximum(largest[1:], distance[:-1], out=largest[1:])
    np.maximum(largest[:-1], distance[1:], out=largest[:-1])
    np.maximum(largest[:, 1:], distance[:, :-1], out=largest[:, 1:])
    np.maximum(largest[:, :-1], distance[:, 1:], out=largest[:, :-1])
    return largest
