# SPDX-License-Identifier: Apache-2.0
"""PNG: indexed where the colours fit a palette, else RGBA."""

from io import BytesIO

import numpy as np
from PIL import Image

from inglenook.pixels.files.indexed import Indexed, indexed
from inglenook.pixels.files.spec import enlarged
from inglenook.pixels.oklab import Bytes
from inglenook.pixels.palettes import Color


def png(rgba: Bytes, palette: tuple[Color, ...] | None = None, scale: int = 1) -> bytes:
    """One picture. Entries keep the order of `palette`; transparency is one more behind them.

    A palette of 256 colours leaves no room for that one, and partly transparent pixels cannot be indexed:
    such pictures are written as RGBA.

    Raises:
        Invalid: a pixel has a colour that is not in `palette`.
    """
    found = indexed([rgba], palette)
    if found is None or not 1 <= found.entries <= 256:
        return rgba_png(enlarged(rgba, scale))
    return indexed_png(found, 0, scale)


def indexed_png(found: Indexed, number: int, scale: int = 1) -> bytes:
    """Frame `number` of `found`, which has at most 256 entries."""
    image = Image.fromarray(enlarged(found.frames[number].astype(np.uint8), scale), "P")
    black = b"\0\0\0" if found.holes else b""
    image.putpalette(found.palette.tobytes() + black)
    out = BytesIO()
    if found.holes:
        image.save(out, "PNG", transparency=b"\xff" * len(found.palette) + b"\0")
    else:
        image.save(out, "PNG")
    return out.getvalue()


def rgba_png(rgba: Bytes) -> bytes:
    out = BytesIO()
    Image.fromarray(rgba).save(out, "PNG")
    return out.getvalue()
