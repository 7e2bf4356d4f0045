# SPDX-License-Identifier: Apache-2.0
"""One file to pixels, as every part of the program sees it."""

from pathlib import Path

from PIL import Image

from inglenook.vision.applying import upright

UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
"""What Pillow raises for files that are missing, cut short, broken, of no known kind, or too large."""


def read_picture(path: Path | str) -> Image.Image:
    """RGB, upright (`vision.applying.upright`). Raises one of `UNREADABLE`."""
    with Image.open(path) as picture:
        return upright(picture)
