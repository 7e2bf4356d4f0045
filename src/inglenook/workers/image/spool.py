# SPDX-License-Identifier: Apache-2.0
"""Pictures in and out of the worker: PNG files in one folder that server and worker share."""

import itertools
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from inglenook.workers.image.errors import DrawInvalid
from inglenook.workers.telling import room_for


class Spool:
    """Args:
    folder: an existing folder, private to this worker.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)

    def read_rgb(self, name: str, *, width: int | None = None, height: int | None = None) -> np.ndarray:
        """uint8 (height, width, 3), of any size where none is given. Raises `DrawInvalid` when it is no such
        picture."""
        return self._read(name, "RGB", width, height)

    def read_mask(self, name: str, *, width: int, height: int) -> np.ndarray:
        """uint8 (height, width), 255 where to paint. Raises `DrawInvalid` when it is no such picture."""
        return self._read(name, "L", width, height)

    def write(self, stem: str, pixels: np.ndarray) -> str:
        """Write uint8 (height, width, 3) as `<stem>-<number>.png`, all of it or nothing; returns the name.

        Raises:
            NoRoom: the disk is full.
        """
        name = f"{stem}-{next(self._numbers):06d}.png"
        unfinished = self._folder / f".{name}.part"
        with room_for(stem, self._folder):
            try:
                Image.fromarray(pixels).save(unfinished, "PNG", compress_level=1)
                unfinished.replace(self._folder / name)
            except OSError:
                unfinished.unlink(missing_ok=True)
                raise
        return name

    def _read(self, name: str, mode: str, width: int | None, height: int | None) -> np.ndarray:
        if name != Path(name).name or name in {"", ".", ".."}:
            raise DrawInvalid(f"{name!r} is not the name of a file in the spool folder.")
        try:
            with Image.open(self._folder / name, formats=("PNG",)) as picture:
                if width is not None and picture.size != (width, height):
                    raise DrawInvalid(
                        f"The picture {name} is {picture.width} x {picture.height} pixels; "
                        f"{width} x {height} were announced."
                    )
                return np.asarray(picture.convert(mode))
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as error:
            raise DrawInvalid(f"The picture {name} cannot be read: {error}") from error
