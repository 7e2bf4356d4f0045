# SPDX-License-Identifier: Apache-2.0
"""An import under way: files and their records in a private folder, until all of it becomes a version.

Until `commit` returns nothing of the data set has changed; a server that is killed before leaves the old
one, and the folder, which the next start clears away.
"""

import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from inglenook.base.errors import Conflict, Invalid
from inglenook.studio.datasets.model import NewImage, VersionNote

_RECORDS: Final = ".records.jsonl"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(NewImage).decode


class Staging:
    """Made by `DatasetsService.begin`; used by one thread at a time.

    Attributes:
        folder: where the files go, in whatever order and folders; on the same file system as the data set.
        added: pictures so far.
        source_format: as it was found out meanwhile; None leaves what `begin` was told.
        most: pictures that one data set may have.
    """

    def __init__(
        self,
        folder: Path,
        *,
        most: int,
        finish: Callable[["Staging", str, Sequence[str]], VersionNote],
    ) -> None:
        """Args:
        finish: makes the version.
        """
        self.folder = folder
        self.added = 0
        self.source_format: str | None = None
        self.most = most
        self._finish = finish
        self._file = (folder / _RECORDS).open("wb")
        self._over = False
        self._turn = threading.Lock()

    def add(self, image: NewImage) -> None:
        """Raises:
        Invalid: its file is not in the folder, or there are more pictures than a data set may have.
        """
        part = PurePosixPath(image.file)
        if part.is_absolute() or ".." in part.parts or not (self.folder / part).is_file():
            raise Invalid(f"{image.file[:100]!r} is no file of the folder of this import.")
        if self.added >= self.most:
            raise self.too_many()
        self._file.write(_encode(image) + b"\n")
        self.added += 1

    def too_many(self) -> Invalid:
        return Invalid(
            f"A data set may have {self.most} pictures (studio.max_images).", code="dataset.too_many"
        )

    def images(self) -> Iterator[NewImage]:
        """What was added, in that order."""
        self._file.flush()
        with (self.folder / _RECORDS).open("rb") as file:
            for line in file:
                yield _decode(line)

    def commit(self, summary: str, classes: Sequence[str] = ()) -> VersionNote:
        """Make all of it the data set's next version. Once.

        Args:
            summary: for people: `120 pictures imported from cats.zip`.
            classes: in their order, also those without a picture; others follow as they are met.

        Raises:
            Conflict: it is over already, or the project is gone. Failed: no room on the disk.
        """
        with self._turn:
            if self._over:
                raise Conflict("This import is over already.", code="dataset.import_over")
            self._over = True
            try:
                return self._finish(self, summary, classes)
            finally:
                self._clear()

    def abandon(self) -> None:
        """Leave everything as it was. Idempotent, and without effect after `commit`."""
        with self._turn:
            self._over = True
            self._clear()

    def _clear(self) -> None:
        self._file.close()
        shutil.rmtree(self.folder, ignore_errors=True)
