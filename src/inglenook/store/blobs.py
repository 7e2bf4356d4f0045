# SPDX-License-Identifier: Apache-2.0
"""Bytes under the name that their content gives them: pictures and uploads. Everything here blocks."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from inglenook.base.errors import Invalid, NotFound
from inglenook.base.ids import BlobId
from inglenook.store.files import atomic_file, sync_folder, write_error

_DIGEST = re.compile(r"[0-9a-f]{64}")
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Blob:
    """What was stored."""

    id: BlobId
    size_bytes: int


class BlobStore(Protocol):
    """Where blobs are kept. The same content is kept once; a blob never changes.

    Every method that takes an id raises `Invalid` (`blob.id`) when it is not 64 lower-case hexadecimal
    digits, and, unless it says otherwise, `NotFound` (`blob.not_found`) when there is no such blob.
    """

    def put(self, data: bytes) -> Blob:
        """Keep `data`. Raises `Failed` (`store.disk_full`) when there is no room; nothing is left then."""
        ...

    def put_file(self, path: Path) -> Blob:
        """Keep a copy of the file, read in pieces. Raises as `put`, and `NotFound` (`blob.no_file`)."""
        ...

    def open(self, blob: BlobId) -> BinaryIO:
        """For reading from the beginning; the caller closes it."""
        ...

    def read(self, blob: BlobId) -> bytes: ...

    def size_bytes(self, blob: BlobId) -> int: ...

    def path(self, blob: BlobId) -> Path | None:
        """A local file with the content, for reading only; None where the store has no local files."""
        ...

    def exists(self, blob: BlobId) -> bool: ...

    def delete(self, blob: BlobId) -> bool:
        """Return whether it was there. Whoever has it open keeps reading."""
        ...

    def ids(self) -> Iterator[BlobId]:
        """All blobs, in no order."""
        ...


def checked(blob: BlobId) -> BlobId:
    """Return `blob`, or raise `Invalid` when it is not the name of a blob. Keeps paths out of file names."""
    if _DIGEST.fullmatch(blob) is None:
        raise Invalid(
            f"{blob[:80]!r} is not the id of a blob.",
            code="blob.id",
            hint="an id is 64 hexadecimal digits in lower case",
        )
    return blob


def not_found(blob: BlobId) -> NotFound:
    return NotFound(f"There is no blob {blob}.", code="blob.not_found", hint="it may have been deleted")


class LocalBlobs:
    """Blobs as files in `folder`: the blob `abcd…` is `ab/abcd…`. One server at a time owns the folder.

    Args:
        folder: created when it is missing; readable for its owner only.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unfinished = folder / ".unfinished"
        self._unfinished.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in self._unfinished.iterdir():  # of a server that was killed while it wrote
            left.unlink(missing_ok=True)

    def put(self, data: bytes) -> Blob:
        blob = BlobId(hashlib.sha256(data).hexdigest())
        target = self._target(blob)
        if not self._has(target, len(data)):
            with atomic_file(self._prepared(target), beside=self._unfinished) as file:
                file.write(data)
        return Blob(blob, len(data))

    def put_file(self, path: Path) -> Blob:
        try:
            source = path.open("rb")
        except FileNotFoundError as error:
            raise NotFound(f"There is no file {path}.", code="blob.no_file") from error
        with source:
            digest = hashlib.file_digest(source, "sha256").hexdigest()
            source.seek(0)
            return self._copy(source, BlobId(digest))

    def _copy(self, source: BinaryIO, blob: BlobId) -> Blob:
        """Copy what was hashed. Raises Invalid (`blob.changed`) when the file has changed since."""
        target = self._target(blob)
        if self._has(target, os.fstat(source.fileno()).st_size):
            return Blob(blob, target.stat().st_size)
        seen = hashlib.sha256()
        size_bytes = 0
        with atomic_file(self._prepared(target), beside=self._unfinished) as file:
            while chunk := source.read(_CHUNK_BYTES):
                seen.update(chunk)
                size_bytes += len(chunk)
                file.write(chunk)
            if seen.hexdigest() != blob:
                raise Invalid(
                    "The file changed while it was read.", code="blob.changed", hint="send it again"
                )
        return Blob(blob, size_bytes)

    def open(self, blob: BlobId) -> BinaryIO:
        try:
            return self._target(blob).open("rb")
        except FileNotFoundError as error:
            raise not_found(blob) from error

    def read(self, blob: BlobId) -> bytes:
        with self.open(blob) as file:
            return file.read()

    def size_bytes(self, blob: BlobId) -> int:
        return self.path(blob).stat().st_size

    def path(self, blob: BlobId) -> Path:
        target = self._target(blob)
        if not target.is_file():
            raise not_found(blob)
        return target

    def exists(self, blob: BlobId) -> bool:
        return self._target(blob).is_file()

    def delete(self, blob: BlobId) -> bool:
        try:
            self._target(blob).unlink()
        except FileNotFoundError:
            return False
        return True

    def ids(self) -> Iterator[BlobId]:
        for shard in self._folder.iterdir():
            if len(shard.name) == 2:
                yield from (BlobId(file.name) for file in shard.iterdir() if _DIGEST.fullmatch(file.name))

    def _target(self, blob: BlobId) -> Path:
        return self._folder / checked(blob)[:2] / blob

    def _prepared(self, target: Path) -> Path:
        try:
            target.parent.mkdir(mode=0o700)
        except FileExistsError:
            return target
        except OSError as error:
            raise write_error(error, target) from error
        with suppress(OSError):
            sync_folder(self._folder)
        return target

    @staticmethod
    def _has(target: Path, size_bytes: int) -> bool:
        """Whether it is there in full; a file that a power cut has shortened is written again."""
        try:
            return target.stat().st_size == size_bytes
        except FileNotFoundError:
            return False
