# SPDX-License-Identifier: Apache-2.0
"""Small pictures for lists: made once, when somebody looks, and kept as files beside the blobs."""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from inglenook.base.ids import BlobId
from inglenook.gallery.model import Picture
from inglenook.images.intake import thumbnail
from inglenook.store.files import write_atomic

MEDIA_TYPE = "image/webp"
_AT_ONCE = 2
"""Pictures that are decoded at the same time: a large one takes hundreds of megabytes."""


class Thumbnails:
    """Args:
    folder: made when it is missing; everything in it can be made again.
    read: the bytes of a blob.
    side_px: of the longest side.
    max_pixels: of a picture that is decoded.
    """

    def __init__(
        self, folder: Path, *, read: Callable[[BlobId], bytes], side_px: int, max_pixels: int
    ) -> None:
        self._folder = folder
        self._read = read
        self._side_px = side_px
        self._max_pixels = max_pixels
        self._turns = threading.Semaphore(_AT_ONCE)

    def path(self, picture: Picture) -> Path:
        """The thumbnail's file, a WebP. Blocks, and the first time works.

        Raises:
            NotFound: the picture's file is gone (`blob.not_found`).
            Invalid, TooLarge: the file cannot be decoded.
            Failed: no room on the disk.
        """
        target = self._target(picture.blob)
        if target.is_file():
            return target
        with self._turns:
            if target.is_file():  # somebody else has made it meanwhile
                return target
            made = thumbnail(self._read(picture.blob), side_px=self._side_px, max_pixels=self._max_pixels)
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomic(target, made)
        return target

    def forget(self, blob: BlobId) -> None:
        """The picture is gone, and so is this."""
        with suppress(OSError):  # what is left over does no harm
            self._target(blob).unlink(missing_ok=True)

    def _target(self, blob: BlobId) -> Path:
        return self._folder / blob[:2] / f"{blob}-{self._side_px}.webp"
