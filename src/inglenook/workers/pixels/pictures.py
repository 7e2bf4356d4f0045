# SPDX-License-Identifier: Apache-2.0
"""Files of the spool folder as pixels. What a file claims is looked at before anything is decoded."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, overload

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from inglenook.vision.pictures import viewable
from inglenook.workers.pixels.errors import BadPicture

FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
_WITH_ALPHA: Final = frozenset({"RGBA", "LA", "PA", "La", "RGBa"})
_UNREADABLE: Final = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)

Pixels = npt.NDArray[np.uint8]


class Pictures(Sequence[Pixels]):
    """The pictures of one piece of work, uint8 (h, w, 4), each read when it is asked for.

    Raises BadPicture.
    """

    def __init__(self, folder: Path, names: Sequence[str], *, max_pixels: int) -> None:
        self._folder = folder
        self._names = names
        self.max_pixels = max_pixels
        self.shapes: dict[int, tuple[int, int]] = {}
        """Height and width of each picture that was read, by its place."""
        self.notes: dict[int, str] = {}
        """What is to be said of a picture, by its place."""

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, place: int) -> Pixels: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Pixels]: ...

    def __getitem__(self, place: int | slice) -> Pixels | Sequence[Pixels]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        if place >= len(self):
            raise IndexError(place)
        file = in_folder(self._folder, self._names[place], place)
        pixels, frames = read(file, place, max_pixels=self.max_pixels)
        self.shapes[place] = pixels.shape[:2]
        if frames > 1:
            self.notes[place] = f"the picture is an animation of {frames} frames; its first was taken"
        return pixels


class Mattes(Sequence[Pixels | None]):
    """The mattes of the pictures, uint8 (h, w), each read when it is asked for, after its picture.

    Raises BadPicture, also where one has not its picture's size.
    """

    def __init__(self, folder: Path, names: Sequence[str | None], pictures: Pictures) -> None:
        self._folder = folder
        self._names = names
        self._pictures = pictures

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, place: int) -> Pixels | None: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Pixels | None]: ...

    def __getitem__(self, place: int | slice) -> Pixels | Sequence[Pixels | None] | None:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        name = self._names[place]
        if name is None:
            return None
        file = in_folder(self._folder, name, place)
        found = read_grey(file, place, max_pixels=self._pictures.max_pixels)
        height, width = self._pictures.shapes[place]
        if found.shape != (height, width):
            raise BadPicture(
                f"The matte of picture {place + 1} is {found.shape[1]} x {found.shape[0]}, the picture"
                f" {width} x {height}.",
                place=place,
                code="pixels.invalid",
                hint="send a matte of the picture's size",
            )
        return found


def in_folder(folder: Path, name: str, place: int) -> Path:
    """Raises BadPicture: it is no name of a file in the folder."""
    if name != Path(name).name or name in {"", ".", ".."}:
        raise BadPicture(f"{name!r} is not the name of a file in the spool folder.", place=place)
    return folder / name


def read(file: Path, place: int, *, max_pixels: int) -> tuple[Pixels, int]:
    """The first frame, upright, uint8 (h, w, 4), and how many frames there are.

    Raises BadPicture: it is none of the formats, damaged, or larger than `max_pixels`.
    """
    try:
        with Image.open(file, formats=FORMATS) as opened:
            _require_small(opened, place, max_pixels)
            frames = getattr(opened, "n_frames", 1)
            picture = ImageOps.exif_transpose(opened)
            return np.array(_with_alpha(picture), np.uint8), frames
    except _UNREADABLE as error:
        raise _unreadable("Picture", place, error) from error


def read_grey(file: Path, place: int, *, max_pixels: int) -> Pixels:
    """uint8 (h, w). Raises BadPicture."""
    try:
        with Image.open(file, formats=("PNG",)) as opened:
            _require_small(opened, place, max_pixels)
            return np.array(viewable(opened).convert("L"), np.uint8)
    except _UNREADABLE as error:
        raise _unreadable("The matte of picture", place, error) from error


def _require_small(opened: Image.Image, place: int, max_pixels: int) -> None:
    width, height = opened.size
    if width * height > max_pixels:
        raise BadPicture(
            f"Picture {place + 1} has {width} x {height} pixels; {max_pixels} are allowed.",
            place=place,
            code="pixels.too_large",
            hint="make it smaller; images.max_input_pixels sets the limit",
        )


def _with_alpha(picture: Image.Image) -> Image.Image:
    if picture.mode in _WITH_ALPHA or "transparency" in picture.info:
        return picture.convert("RGBA")
    return viewable(picture).convert("RGB").convert("RGBA")


def _unreadable(what: str, place: int, error: BaseException) -> BadPicture:
    words = str(error)[:200] or type(error).__name__
    if isinstance(error, UnidentifiedImageError):  # its words name our own file
        words = "it is of no kind that is known"
    return BadPicture(
        f"{what} {place + 1} cannot be read: {words}.",
        place=place,
        hint="send a whole PNG, JPEG, WebP, GIF or BMP file",
    )
