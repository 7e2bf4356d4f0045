# SPDX-License-Identifier: Apache-2.0
"""A blob store without a disk."""

import hashlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from inglenook.base.errors import NotFound
from inglenook.base.ids import BlobId
from inglenook.store.blobs import Blob, checked, not_found


class MemoryBlobs:
    """Passes the contract suite of `inglenook.store.blobs.BlobStore`; has no local files."""

    def __init__(self) -> None:
        self._blobs: dict[BlobId, bytes] = {}

    def put(self, data: bytes) -> Blob:
        blob = BlobId(hashlib.sha256(data).hexdigest())
        self._blobs[blob] = bytes(data)
        return Blob(blob, len(data))

    def put_file(self, path: Path) -> Blob:
        try:
            return self.put(path.read_bytes())
        except FileNotFoundError as error:
            raise NotFound(f"There is no file {path}.", code="blob.no_file") from error

    def open(self, blob: BlobId) -> BinaryIO:
        return BytesIO(self.read(blob))

    def read(self, blob: BlobId) -> bytes:
        try:
            return self._blobs[checked(blob)]
        except KeyError as error:
            raise not_found(blob) from error

    def size_bytes(self, blob: BlobId) -> int:
        return len(self.read(blob))

    def path(self, blob: BlobId) -> Path | None:
        self.read(blob)
        return None

    def exists(self, blob: BlobId) -> bool:
        return checked(blob) in self._blobs

    def delete(self, blob: BlobId) -> bool:
        return self._blobs.pop(checked(blob), None) is not None

    def ids(self) -> Iterator[BlobId]:
        yield from tuple(self._blobs)
