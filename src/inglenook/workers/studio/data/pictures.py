# SPDX-License-Identifier: Apache-2.0
"""One file to pixels, the same way wherever the studio looks at a picture: upright, 8 bits, RGB."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
"""What Pillow raises for files that are missing, cut short, broken, of no known kind, or too large."""


def read_picture(path: Path | str) -> Image.Image:
    """RGB, rotated as its EXIF says. Sixteen bits a channel become their upper eight; what is transparent
    shows the colour that lies under it. Raises one of `UNREADABLE`."""
    with Image.open(path) as picture:
        upright = ImageOps.exif_transpose(picture)
        if upright.mode.startswith("I"):
            upright = _eight_bits(upright)
        elif upright.mode == "P" and "transparency" in upright.info:
            upright = upright.convert("RGBA")  # Pillow's own advice, or it warns
        return upright.convert("RGB")


def _eight_bits(picture: Image.Image) -> Image.Image:
    return Image.fromarray(np.clip(np.asarray(picture) >> 8, 0, 255).astype(np.uint8))
