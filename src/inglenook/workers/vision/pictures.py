# SPDX-License-Identifier: Apache-2.0
"""A picture of the spool folder as the pixels that a model takes. What a file claims is looked at before
anything is decoded."""

import warnings
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from inglenook.base.errors import Invalid
from inglenook.vision.applying import pixels, upright
from inglenook.vision.preprocessing import Preprocessing
from inglenook.workers.vision.errors import BadPicture

FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP")


def read(
    file: Path, place: int, wanted: Preprocessing, *, max_pixels: int
) -> tuple[npt.NDArray[np.uint8], tuple[int, int]]:
    """The pixels (H, W, C), and the size (width, height) of the whole picture, upright.

    Raises:
        BadPicture: it is none of the formats, damaged, or larger than `max_pixels`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own bound, which is not ours
            with Image.open(file, formats=FORMATS) as opened:
                width, height = opened.size
                if width * height > max_pixels:
                    raise BadPicture(
                        f"Picture {place + 1} has {width} x {height} pixels; {max_pixels} are allowed.",
                        place=place,
                        code="picture.too_large",
                        hint="make it smaller; images.max_input_pixels sets the limit",
                    )
                picture = upright(opened)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise BadPicture(
            f"Picture {place + 1} cannot be read: {str(error)[:200] or type(error).__name__}.",
            place=place,
            hint="send PNG, JPEG, WebP, GIF or BMP",
        ) from error
    try:
        return pixels(picture, wanted), picture.size
    except Invalid as error:
        raise BadPicture(error.message, place=place, code=error.code, hint=error.hint) from error


def save_matte(matte: npt.NDArray[np.float32], size: tuple[int, int], file: Path) -> None:
    """A grey PNG of `size` (width, height). `matte`: float32 (h, w) in [0, 1]."""
    grey = Image.fromarray(np.rint(matte * 255).astype(np.uint8))
    grey.resize(size, Image.Resampling.LANCZOS).save(file, "PNG", compress_level=1)
