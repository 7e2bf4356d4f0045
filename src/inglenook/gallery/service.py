# SPDX-License-Identifier: Apache-2.0
"""Keep, find and delete pictures. Everything here blocks."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inglenook.base.clock import Clock
from inglenook.base.errors import Invalid, NotFound
from inglenook.base.ids import BlobId, JobId, ModelId, PersonId, PictureId, new_id
from inglenook.gallery.model import Picture
from inglenook.gallery.records import PictureRecords
from inglenook.store.blobs import BlobStore
from inglenook.store.text import storable

MAX_LISTED = 1000


class GalleryService:
    """The gallery of everybody; each person sees their own.

    Args:
        in_use: whether something outside the gallery (a job that waits) still needs a blob's bytes.
    """

    def __init__(
        self, *, records: PictureRecords, blobs: BlobStore, clock: Clock, in_use: Callable[[BlobId], bool]
    ) -> None:
        self._records = records
        self._blobs = blobs
        self._clock = clock
        self._in_use = in_use
        self._blob_turn = (
            threading.Lock()
        )  # else a blob could vanish between `put` and the record that needs it

    def add(
        self,
        *,
        owner: PersonId,
        job: JobId | None,
        data: bytes,
        media_type: str,
        width: int,
        height: int,
        model: ModelId,
        prompt: str,
        seed: int,
        parameters: dict[str, Any],
    ) -> Picture:
        """Keep a picture: its file first, then its record, so that no record ever lacks its file.

        Args:
            data: the finished file; `width` and `height` are its pixels.

        Raises:
            Failed: no room on the disk (`store.disk_full`); nothing is kept then.
        """
        now = self._clock.now()
        with self._blob_turn:
            blob = self._blobs.put(data)
            picture = Picture(
                id=PictureId(new_id("pic", now)),
                owner=owner,
                job=job,
                blob=blob.id,
                media_type=media_type,
                width=width,
                height=height,
                size_bytes=blob.size_bytes,
                model=model,
                prompt=storable(prompt),
                seed=seed,
                parameters=parameters,
                created_at=now,
            )
            self._records.insert(picture)
        return picture

    def get(self, picture: PictureId, *, caller: PersonId) -> Picture:
        """Raises NotFound (`picture.not_found`), also for another person's picture."""
        found = self._records.get(picture)
        if found is None or found.owner != caller:
            raise NotFound(f"There is no picture {picture[:80]!r}.", code="picture.not_found")
        return found

    def list(self, caller: PersonId, *, limit: int, before: PictureId | None = None) -> list[Picture]:
        """The caller's pictures, the last made first.

        Args:
            limit: 1 to `MAX_LISTED`.
            before: the last one of the page before.

        Raises:
            Invalid: `limit` is out of bounds.
            NotFound: `before` is none of the caller's.
        """
        if not 1 <= limit <= MAX_LISTED:
            raise Invalid(f"limit is {limit}; it must be 1 to {MAX_LISTED}.", field="limit")
        if before is not None:
            self.get(before, caller=caller)
        return self._records.listing(caller, limit=limit, before=before)

    def count(self, caller: PersonId) -> int:
        return self._records.count(caller)

    def file(self, picture: PictureId, *, caller: PersonId) -> tuple[Path | bytes, str]:
        """The picture's file, as a local path where there is one, and its media type.

        Raises:
            NotFound: no such picture (`picture.not_found`), or its file is gone (`blob.not_found`).
        """
        found = self.get(picture, caller=caller)
        path = self._blobs.path(found.blob)
        return (self._blobs.read(found.blob) if path is None else path), found.media_type

    def linked(self, picture: PictureId) -> Picture:
        """The record of a picture, for whoever shows its signed address (`gallery.links`).

        Raises NotFound as `get`.
        """
        found = self._records.get(picture)
        if found is None:
            raise NotFound(f"There is no picture {picture[:80]!r}.", code="picture.not_found")
        return self.get(found.id, caller=found.owner)

    def delete(self, picture: PictureId, *, caller: PersonId) -> None:
        """Forget it, and its file unless something else needs that. Raises NotFound as `get`."""
        found = self.get(picture, caller=caller)
        with self._blob_turn:
            self._records.delete(found.id)
            if self._records.uses(found.blob) == 0 and not self._in_use(found.blob):
                self._blobs.delete(found.blob)
