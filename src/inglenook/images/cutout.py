# SPDX-License-Identifier: Apache-2.0
"""The subject of a picture without its background, where the background is plain.

No model is asked. The background is what is reached from the border over pixels that look like the border:

1. every border pixel votes for a colour; the largest group of alike ones is the background's colour;
2. from the border inwards, all pixels within `TOLERANCE` of that colour belong to the background, so that a
   white eye in a white room stays, unless it touches the wall;
3. the one pixel wide seam between the two is mixed colour: how much of it is background tells its alpha, and
   the background's share is taken out of its colour.

A busy background has no colour that the border agrees on. Then nothing is cut, and the caller is told.
"""

from io import BytesIO
from typing import TYPE_CHECKING, Final

from PIL import Image

if TYPE_CHECKING:
    import numpy as np

TOLERANCE: Final = 28.0
"""Largest distance (Euclid, in levels of 255 a channel) at which a pixel still looks like the background:
noise and soft gradients stay within it, neighbouring colours of a drawing do not."""
AGREEMENT: Final = 0.55
"""Share of the border that has to look like one colour."""


def cut_out(png: bytes) -> bytes | None:
    """An RGBA PNG with a transparent background, or None where the border has no colour of its own.

    Args:
        png: RGB, 8 bit.
    """
    import numpy as np  # a tenth of a second: only when it is needed

    with Image.open(BytesIO(png), formats=["PNG"]) as image:
        pixels = np.asarray(image.convert("RGB")).astype(np.float32)
    colour = _border_colour(pixels)
    if colour is None:
        return None
    distance = np.sqrt(((pixels - colour) ** 2).sum(axis=2))
    background = _reached_from_border(distance <= TOLERANCE)
    rgba = _with_seam(pixels, colour, distance, background)
    out = BytesIO()
    Image.fromarray(rgba).save(out, "PNG", compress_level=4)
    return out.getvalue()


def _border_colour(pixels: "np.ndarray") -> "np.ndarray | None":
    """float32 (3,): the mean of the border pixels around the colour that most of them are near."""
    import numpy as np

    border = np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])
    coarse = (border // 16).astype(np.int32)
    keys, counts = np.unique(coarse @ np.array([256, 16, 1]), return_counts=True)
    key = int(keys[counts.argmax()])
    centre = np.array([key // 256, key // 16 % 16, key % 16], np.float32) * 16 + 8
    near = np.sqrt(((border - centre) ** 2).sum(axis=1)) <= TOLERANCE
    if near.mean() < AGREEMENT:
        return None
    mean: np.ndarray = border[near].mean(axis=0)
    return mean


def _reached_from_border(passable: "np.ndarray") -> "np.ndarray":
    """bool (height, width): the passable pixels that touch the border through passable ones (4 neighbours).

    Whole runs of a row, then of a column, are filled at a time: a handful of sweeps, whatever the size.
    """
    import numpy as np

    reached = np.zeros_like(passable)
    reached[0], reached[-1] = passable[0], passable[-1]
    reached[:, 0] |= passable[:, 0]
    reached[:, -1] |= passable[:, -1]
    count = -1
    while count != (count := int(reached.sum())):
        reached = _fill_runs(passable, reached)
        reached = _fill_runs(passable.T, reached.T).T
    return reached


def _fill_runs(passable: "np.ndarray", reached: "np.ndarray") -> "np.ndarray":
    """Every run of passable pixels in a row that holds a reached one becomes reached."""
    import numpy as np

    walls = np.cumsum(~passable, axis=1)
    runs = walls + np.arange(len(passable))[:, None] * (passable.shape[1] + 1)
    hit = np.zeros(int(runs.max()) + 1, bool)
    hit[runs[reached]] = True
    filled: np.ndarray = passable & hit[runs]
    return filled


def _with_seam(
    pixels: "np.ndarray", colour: "np.ndarray", distance: "np.ndarray", background: "np.ndarray"
) -> "np.ndarray":
    """uint8 (height, width, 4), straight alpha."""
    import numpy as np

    beside = np.zeros_like(background)
    beside[1:] |= background[:-1]
    beside[:-1] |= background[1:]
    beside[:, 1:] |= background[:, :-1]
    beside[:, :-1] |= background[:, 1:]
    seam = beside & ~background
    # A seam pixel holds as much of the subject as it is far from the background, compared with the subject
    # right behind it: the farthest pixel within two steps.
    behind = _farthest(_farthest(distance))
    alpha = np.where(
        background, 0.0, np.where(seam, np.clip(distance / np.maximum(behind, 1.0), 0.0, 1.0), 1.0)
    )
    share = np.maximum(alpha, 1e-3)[..., None]
    freed = np.where(seam[..., None], (pixels - (1 - alpha[..., None]) * colour) / share, pixels)
    rgb = np.where(background[..., None], 0.0, freed)
    return np.concatenate([rgb, alpha[..., None] * 255], axis=2).clip(0, 255).round().astype(np.uint8)


def _farthest(distance: "np.ndarray") -> "np.ndarray":
    """The largest value among each pixel and its four neighbours."""
    import numpy as np

    largest = distance.copy()
    np.maximum(largest[1:], distance[:-1], out=largest[1:])
    np.maximum(largest[:-1], distance[1:], out=largest[:-1])
    np.maximum(largest[:, 1:], distance[:, :-1], out=largest[:, 1:])
    np.maximum(largest[:, :-1], distance[:, 1:], out=largest[:, :-1])
    return largest
