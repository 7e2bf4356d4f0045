# SPDX-License-Identifier: Apache-2.0
"""One picture: really decoded, within bounds, and what is kept of it."""

import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
import numpy.typing as npt

from inglenook.vision.formats.tables import iso_date
from inglenook.vision.pictures import dhash, signature, viewable
from inglenook.workers.dataset.errors import BadFile

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")

ENDINGS: Final = {
    "JPEG": ".jpg",
    "MPO": ".jpg",  # a JPEG with more pictures after it, as some telephones write
    "PNG": ".png",
    "WEBP": ".webp",
    "BMP": ".bmp",
    "TIFF": ".tif",
    "GIF": ".gif",
}
ALSO: Final = {".jpg": (".jpg", ".jpeg", ".jfif"), ".tif": (".tif", ".tiff")}
"""Endings that say the same."""
_READ: Final = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
_ORIENTATION: Final = 0x0112
_DATE: Final = 0x0132
_EXIF_IFD: Final = 0x8769
_DATE_TAKEN: Final = 0x9003
_BROKEN_EXIF: Final = (
    ValueError,
    SyntaxError,
    KeyError,
    IndexError,
    TypeError,
    OSError,
    struct.error,
    ZeroDivisionError,
)


@dataclass(frozen=True, slots=True)
class Seen:
    """`width`, `height` as the file has them; `ending` after its content; `animated`: it has more frames."""

    width: int
    height: int
    ending: str
    dhash: str | None
    taken_at: str | None
    animated: bool
    has_thumbnail: bool


def look(path: Path, *, pixels: int, thumbnail: Path | None, thumbnail_px: int) -> Seen:
    """Decode the picture in full.

    Args:
        pixels: a picture with more is refused by its header, before anything is decoded.
        thumbnail: where the small one is written, as WebP, upright; None for none. A picture that is small
            itself gets none: one is quickly made when somebody looks at it.

    Raises:
        BadFile: it is no picture, or none that can be taken.
        MemoryError
    """
    return _opened(path, pixels, lambda image: _look(image, thumbnail, thumbnail_px))


def looked_at(path: Path, *, pixels: int) -> "npt.NDArray[np.float32]":
    """The picture's `signature`, upright. Raises as `look`."""

    def sign(image: "Image") -> "npt.NDArray[np.float32]":
        turn, _ = _exif(image)
        return signature(viewable(image) if turn is None else viewable(image).transpose(turn))

    return _opened(path, pixels, sign)


def _opened(path: Path, pixels: int, use: "Callable[[Image], T]") -> T:
    """What `use` makes of the picture, which is whole in memory then. Raises BadFile, MemoryError."""
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    Pillow.MAX_IMAGE_PIXELS = None  # ours is checked instead
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Pillow.open(path, formats=_READ) as image:
                _require_size(image, pixels)
                image.load()
                return use(image)
        except (BadFile, MemoryError):
            raise
        except UnidentifiedImageError:
            raise BadFile("not_a_picture", _no_picture(path)) from None
        except Exception as error:  # noqa: BLE001 - decoders raise whatever a damaged file leads them to
            text = str(error).replace(str(path), "").strip() or type(error).__name__
            raise BadFile("corrupt", f"it is damaged and cannot be decoded: {text[:160]}") from None


def _require_size(image: "Image", pixels: int) -> None:
    width, height = image.size
    if width * height > pixels:
        raise BadFile("too_many_pixels", f"it has {width} × {height} pixels; {pixels} are allowed in all")
    if width < 1 or height < 1:
        raise BadFile("corrupt", "it has no pixels")


def _look(image: "Image", thumbnail: Path | None, thumbnail_px: int) -> Seen:
    width, height = image.size
    ending = ENDINGS[image.format or ""]
    turn, taken_at = _exif(image)
    seen = viewable(image)
    if turn is not None:
        seen = seen.transpose(turn)
    has_small = thumbnail is not None and max(image.size) > thumbnail_px
    if thumbnail is not None and has_small:
        clear = seen
        if image.has_transparency_data:
            clear = image.convert("RGBA") if turn is None else image.convert("RGBA").transpose(turn)
        _shrink(clear, thumbnail, thumbnail_px)
    animated = bool(getattr(image, "is_animated", False))
    return Seen(width, height, ending, dhash(seen), taken_at, animated, has_small)


def _exif(image: "Image") -> tuple["Image.Transpose | None", str | None]:  # type: ignore[name-defined]
    """How to turn the picture upright, and when it was taken. Damaged EXIF tells nothing."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    try:
        exif = image.getexif()
        if not exif:
            return None, None
        given = exif.get_ifd(_EXIF_IFD).get(_DATE_TAKEN) or exif.get(_DATE)
        taken_at = iso_date(given.strip("\0 ")) if isinstance(given, str) else None
        return turns.get(exif.get(_ORIENTATION, 1)), taken_at
    except _BROKEN_EXIF:
        return None, None


def _shrink(image: "Image", into: Path, side_px: int) -> None:
    small = image if image.mode in ("RGB", "RGBA") else image.convert("RGB")
    small = small.copy()
    small.thumbnail((side_px, side_px), reducing_gap=2.0)
    small.save(into, "WEBP", quality=80, method=2)


def _no_picture(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(12)
    if not start:
        return "the file is empty"
    if start[4:8] == b"ftyp":
        return "its content is HEIC or AVIF (or a video), which is not read; export it as JPEG or PNG"
    if start.startswith(b"%PDF"):
        return "its content is a PDF, not a picture"
    return "its content is no picture that is known (JPEG, PNG, WebP, BMP, TIFF, GIF)"
