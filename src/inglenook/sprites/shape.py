# SPDX-License-Identifier: Apache-2.0
"""A drawing in the shape that was asked for, where its model draws other shapes only. Blocks."""

import io
import math
from typing import Final

from PIL import Image

ALIKE: Final = 1.1
"""Proportions no further apart than this are the same: sides are rounded to what a model can draw."""


def shaped(png: bytes, base: tuple[int, int] | None) -> bytes:
    """The drawing, with its outermost rows or columns repeated on both sides until it has the proportions of
    `base`: a subject before a plain ground is neither cut nor pressed. As it is where it has them, or where
    nothing was asked for.

    Args:
        base: (width, height) that were asked for, in pixels.
    """
    if base is None:
        return png
    with Image.open(io.BytesIO(png)) as opened:
        opened.load()
    size = _size(opened.size, base)
    if size == opened.size:
        return png
    out = io.BytesIO()
    _extended(opened, size).save(out, "PNG", compress_level=1)
    return out.getvalue()


def _size(drawn: tuple[int, int], base: tuple[int, int]) -> tuple[int, int]:
    """The least size that holds the drawing in the proportions of `base`."""
    wanted = base[0] / base[1]
    if abs(math.log(drawn[0] / drawn[1] / wanted)) <= math.log(ALIKE):
        return drawn
    return max(drawn[0], round(drawn[1] * wanted)), max(drawn[1], round(drawn[0] / wanted))


def _extended(drawn: Image.Image, size: tuple[int, int]) -> Image.Image:
    left, top = (size[0] - drawn.width) // 2, (size[1] - drawn.height) // 2
    canvas = Image.new(drawn.mode, size)
    canvas.paste(drawn, (left, top))
    right, bottom = left + drawn.width, top + drawn.height
    for strip, place in (
        ((left, 0, left + 1, size[1]), (0, 0, left, size[1])),
        ((right - 1, 0, right, size[1]), (right, 0, size[0], size[1])),
        ((0, top, size[0], top + 1), (0, 0, size[0], top)),
        ((0, bottom - 1, size[0], bottom), (0, bottom, size[0], size[1])),
    ):
        room = place[2] - place[0], place[3] - place[1]
        if min(room) > 0:
            canvas.paste(canvas.crop(strip).resize(room, Image.Resampling.NEAREST), place[:2])
    return canvas
