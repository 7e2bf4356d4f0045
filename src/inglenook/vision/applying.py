# SPDX-License-Identifier: Apache-2.0
"""Preprocessing carried out with Pillow and numpy: bit for bit what torchvision's transforms v2 make of a
Pillow picture (`tests/unit/vision/test_vision_preprocessing.py` compares).
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from inglenook.base.errors import Invalid
from inglenook.vision.pictures import viewable
from inglenook.vision.preprocessing import (
    CenterCrop,
    Grayscale,
    Interpolation,
    Preprocessing,
    Resize,
    resized,
)

_FILTERS: Final[Mapping[Interpolation, Image.Resampling]] = {
    "nearest": Image.Resampling.NEAREST,
    "nearest-exact": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}

MAX_RESIZED_PX: Final = 64_000_000
"""A strip of 1 x 30,000 pixels whose shorter side becomes 256 would have two billion."""


_ORIENTATION: Final = 0x0112
_AS_IT_IS: Final = 1


def upright(picture: Image.Image) -> Image.Image:
    """RGB, turned as its EXIF says; what is transparent and what has more than eight bits as
    `vision.pictures.viewable` shows it.

    Raises OSError, ValueError, SyntaxError: as Pillow, where the file is cut off or damaged.
    """
    if picture.getexif().get(_ORIENTATION, _AS_IT_IS) != _AS_IT_IS:  # or it would be copied once more
        picture = ImageOps.exif_transpose(picture)
    return viewable(picture).convert("RGB")


def pixels(picture: Image.Image, wanted: Preprocessing) -> npt.NDArray[np.uint8]:
    """The picture after every step on pixels: uint8 (H, W, C).

    Raises Invalid (`picture.too_long`): resizing the shorter side would make it enormous.
    """
    for step in wanted.geometry:
        if isinstance(step, Resize):
            picture = _resize(picture, step)
        elif isinstance(step, CenterCrop):
            picture = _crop(picture, *step.size)
        else:
            picture = _gray(picture, step)
    found = np.asarray(picture)
    return found[:, :, None] if found.ndim == 2 else found


def numbers(found: npt.NDArray[np.uint8], wanted: Preprocessing) -> npt.NDArray[np.float32]:
    """Pixels (…, H, W, C) as the model takes them, in the same order: 0..255 where `raw`, else 0..1 or
    normalised."""
    values = found.astype(np.float32)
    if wanted.raw:
        return values
    values *= np.float32(1 / 255)  # as torchvision does: a division rounds otherwise
    normal = wanted.normalize
    if normal is not None:
        values -= np.asarray(normal.mean, np.float32)
        values /= np.asarray(normal.std, np.float32)
    return values


def prepared(picture: Image.Image, wanted: Preprocessing) -> npt.NDArray[np.float32]:
    """An upright RGB picture as float32 (C, H, W)."""
    return np.ascontiguousarray(numbers(pixels(picture, wanted), wanted).transpose(2, 0, 1))


def _resize(picture: Image.Image, step: Resize) -> Image.Image:
    width, height = picture.size
    new_height, new_width = resized(step.size, height, width, step.max_size)
    if (new_width, new_height) == (width, height):
        return picture
    if new_width * new_height > MAX_RESIZED_PX:
        raise Invalid(
            f"A picture of {width} x {height} pixels would be enlarged to {new_width} x {new_height}.",
            code="picture.too_long",
            hint="cut it to a shape nearer to a square",
        )
    return picture.resize((max(new_width, 1), max(new_height, 1)), _FILTERS[step.interpolation])


def _crop(picture: Image.Image, height: int, width: int) -> Image.Image:
    have_width, have_height = picture.size
    if height > have_height or width > have_width:
        across, down = max(width - have_width, 0), max(height - have_height, 0)
        larger = Image.new(picture.mode, (have_width + across, have_height + down))
        larger.paste(picture, (across // 2, down // 2))
        picture, (have_width, have_height) = larger, larger.size
    # Halves are rounded to the even number, as torchvision's `round` does.
    top, left = round((have_height - height) / 2.0), round((have_width - width) / 2.0)
    return picture.crop((left, top, left + width, top + height))


def _gray(picture: Image.Image, step: Grayscale) -> Image.Image:
    gray: Any = picture.convert("L")
    return gray if step.channels == 1 else Image.merge("RGB", (gray, gray, gray))
