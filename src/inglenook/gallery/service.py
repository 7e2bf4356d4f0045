# SPDX-License-Identifier: Apache-2.0
"""Keep, find, mark, throw away and delete pictures. Everything here blocks."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from inglenook.base.clock import Clock
from inglenook.base.errors import Invalid, NotFound
from inglenook.base.ids import BlobId, JobId, ModelId, PersonId, PictureId, new_id
from inglenook.gallery.archive import archive
from inglenook.gallery.model import ANY, Filter, Picture, Source, tags_of
from inglenook.gallery.records import PictureRecords
from inglenook.store.blobs import BlobStore
from inglenook.store.text import storable

MAX_LISTED = 1000
MAX_AT_ONCE = 1000
"""Pictures that one call marks, throws away or restores."""
MAX_NAMED = 1000
"""Tags or models that are counted."""
KEEP_DELETED = timedelta(days=30)
_SWEPT_AT_ONCE = 500


class GalleryService:
    """The gallery of everybody; each person sees their own.

    Args:
        in_use: whether something outside the gallery (a job that waits) still needs a blob's bytes.
        keep_deleted: how long a picture lies in the trash before `sweep` deletes it for good.
        forget: told of each blob that is gone, for whoever has made something out of it.
    """

    def __init__(
        self,
        *,
        records: PictureRecords,
        blobs: BlobStore,
        clock: Clock,
        in_use: Callable[[BlobId], bool],
        keep_deleted: timedelta = KEEP_DELETED,
        forget: Callable[[BlobId], None] = lambda _blob: None,
    ) -> None:
        self._records = records
        self._blobs = blobs
        self._clock = clock
        self._in_use = in_use
        self._keep_deleted = keep_deleted
        self._forget = forget
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
        source: Source = Source.MADE,
        tags: Sequence[str] = (),
    ) -> Picture:
        """Keep a picture: its file first, then its record, so that no record ever lacks its file.

        Args:
            data: the finished file; `width` and `height` are its pixels.
            tags: as `tags_of` takes them.

        Raises:
            Invalid: a tag that is too long, or too many.
            Failed: no room on the disk (`store.disk_full`); nothing is kept then.
        """
        kept_tags = tags_of(tags)
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
                source=source,
                tags=kept_tags,
            )
            self._records.insert(picture)
        return picture

    # -- finding -----------------------------------------------------------------------------------------

    def get(self, picture: PictureId, *, caller: PersonId, trashed: bool = False) -> Picture:
        """Args:
            trashed: also one that lies in the trash.

        Raises:
            NotFound: (`picture.not_found`), also for another person's picture.
        """
        found = self._records.get(picture)
        if found is None or found.owner != caller or (found.deleted_at is not None and not trashed):
            raise NotFound(f"There is no picture {picture[:80]!r}.", code="picture.not_found")
        return found

    def list(
        self,
        caller: PersonId,
        *,
        limit: int,
        before: PictureId | None = None,
        after: PictureId | None = None,
        filter: Filter = ANY,  # noqa: A002 - what it is
        oldest_first: bool = False,
    ) -> list[Picture]:
        """The caller's pictures, the last made first.

        Args:
            limit: 1 to `MAX_LISTED`.
            before, after: only those made before, or after, this one: the last one of the page before.
            oldest_first: the other way round.

        Raises:
            Invalid: `limit` is out of bounds.
            NotFound: `before` or `after` is none of the caller's.
        """
        if not 1 <= limit <= MAX_LISTED:
            raise Invalid(f"limit is {limit}; it must be 1 to {MAX_LISTED}.", field="limit")
        for anchor in (before, after):
            if anchor is not None:
                self.get(anchor, caller=caller, trashed=True)
        return self._records.listing(
            caller,
            limit=limit,
            now=self._clock.now(),
            before=before,
            after=after,
            filter=filter,
            oldest_first=oldest_first,
        )

    def slice(
        self,
        caller: PersonId,
        *,
        offset: int,
        limit: int | None,
        filter: Filter = ANY,  # noqa: A002
    ) -> tuple[Sequence[Picture], int]:
        """Some of the caller's pictures that fit, the last made first, and how many fit in all.

        Args:
            offset: how many are passed over, from 0.
            limit: None for all.
        """
        return self._records.slice(caller, offset=offset, limit=limit, now=self._clock.now(), filter=filter)

    def count(self, caller: PersonId, *, trashed: bool = False) -> int:
        """How many the caller has, or has in the trash."""
        return self._records.count(caller, trashed=trashed)

    def counts(self, caller: PersonId) -> Mapping[str, int]:
        """The caller's: `total`, `public` now, and `expired`: public once, and private again."""
        return self._records.counts(caller, self._clock.now())

    def tags(self, caller: PersonId, *, limit: int = MAX_NAMED) -> Sequence[tuple[str, int]]:
        """The caller's tags with the number of pictures, those that are used most first."""
        return self._records.tags(caller, limit=limit)

    def models(self, caller: PersonId, *, limit: int = MAX_NAMED) -> Sequence[tuple[str, int]]:
        """The models of the caller's pictures with the number of pictures, by name."""
        return self._records.models(caller, limit=limit)

    def some(self, pictures: Sequence[PictureId], *, caller: PersonId) -> Sequence[Picture]:
        """These pictures, in the order given, each once.

        Raises:
            Invalid: none, or more than `MAX_AT_ONCE`.
            NotFound: one of them is none of the caller's, or lies in the trash.
        """
        wanted = _wanted(pictures)
        found = {one.id: one for one in self._records.of(caller, wanted) if one.deleted_at is None}
        for picture in wanted:
            if picture not in found:
                raise NotFound(f"There is no picture {picture[:80]!r}.", code="picture.not_found")
        return [found[picture] for picture in wanted]

    def kept(self, pictures: Sequence[PictureId], *, caller: PersonId) -> frozenset[PictureId]:
        """Those of them that are the caller's and were not thrown away since."""
        if not pictures:
            return frozenset()
        return frozenset(one.id for one in self._records.of(caller, pictures) if one.deleted_at is None)

    def file(
        self, picture: PictureId, *, caller: PersonId, trashed: bool = False
    ) -> tuple[Path | bytes, str]:
        """The picture's file, as a local path where there is one, and its media type.

        Raises:
            NotFound: no such picture (`picture.not_found`), or its file is gone (`blob.not_found`).
        """
        found = self.get(picture, caller=caller, trashed=trashed)
        path = self._blobs.path(found.blob)
        return (self._blobs.read(found.blob) if path is None else path), found.media_type

    def archive(self, pictures: Sequence[PictureId], *, caller: PersonId) -> Iterator[bytes]:
        """A zip file of these pictures and their parameters, piece by piece.

        Raises:
            Invalid, NotFound: as `some`; at once, before the first piece.
        """
        found = self.some(pictures, caller=caller)
        return archive(found, self._blobs.open)

    # -- marking -----------------------------------------------------------------------------------------

    def favour(self, pictures: Sequence[PictureId], favourite: bool, *, caller: PersonId) -> int:
        """Mark pictures as favourites, or no longer. How many; those that are not there are passed over.

        Raises:
            Invalid: none, or more than `MAX_AT_ONCE`.
        """
        return self._records.set(caller, _wanted(pictures), favourite=favourite)

    def tag(self, picture: PictureId, tags: Sequence[str], *, caller: PersonId) -> Picture:
        """Give a picture these tags in place of those it has.

        Raises:
            Invalid: a tag that is too long, or too many.
            NotFound: as `get`.
        """
        fresh = tags_of(tags)
        if self._records.retag(caller, [picture], lambda _: fresh) == 0:
            raise NotFound(f"There is no picture {picture[:80]!r}.", code="picture.not_found")
        return self.get(picture, caller=caller)

    def retag(
        self, pictures: Sequence[PictureId], *, add: Sequence[str], remove: Sequence[str], caller: PersonId
    ) -> int:
        """Add tags to pictures and take others away. How many; those that are not there are passed over.

        Raises:
            Invalid: a tag that is too long, or a picture would have too many; then none is changed.
        """
        added, removed = tags_of(add), frozenset(tags_of(remove))

        def change(tags: tuple[str, ...]) -> tuple[str, ...]:
            return tags_of([*(tag for tag in tags if tag not in removed), *added])

        return self._records.retag(caller, _wanted(pictures), change)

    def publish(
        self, picture: PictureId, public: bool, *, caller: PersonId, hours: int | None = None
    ) -> Picture:
        """Say whether others may see a picture once there are others, and for how many hours (None: until it
        is taken back). When the time is over it is private again; it is never deleted for that.

        Raises:
            Invalid: `hours` is not 1 to 8760, or is given for a private picture.
            NotFound: as `get`.
        """
        if hours is not None and not (public and 1 <= hours <= 8760):
            raise Invalid(
                f"{hours} hours cannot be set; a public picture can expire after 1 to 8760 hours.",
                field="expires_in_hours",
            )
        until = None if hours is None else self._clock.now() + timedelta(hours=hours)
        if self._records.set(caller, [picture], is_public=public, public_until=until) == 0:
            raise NotFound(f"There is no picture {picture[:80]!r}.", code="picture.not_found")
        return self.get(picture, caller=caller)

    # -- throwing away -----------------------------------------------------------------------------------

    def trash(self, pictures: Sequence[PictureId], *, caller: PersonId) -> Sequence[PictureId]:
        """Put pictures into the trash, where only `restore` finds them. Those that this call has put in."""
        return self._records.trash(caller, _wanted(pictures), self._clock.now())

    def restore(self, pictures: Sequence[PictureId], *, caller: PersonId) -> Sequence[PictureId]:
        """Take pictures out of the trash, as they were. Those that this call has taken out."""
        return self._records.restore(caller, _wanted(pictures))

    def linked(self, picture: PictureId) -> Picture:
        """The record of a picture, for whoever shows its signed address (`gallery.links`).

        Raises NotFound as `get`.
        """
        found = self._records.get(picture)
        if found is None:
            raise NotFound(f"There is no picture {picture[:80]!r}.", code="picture.not_found")
        return self.get(found.id, caller=found.owner)

    def delete(self, picture: PictureId, *, caller: PersonId) -> None:
        """Forget it for good, and its file unless something else needs that; also out of the trash.

        Raises:
            NotFound: as `get`.
        """
        self._delete(self.get(picture, caller=caller, trashed=True))

    def empty_trash(self, *, caller: PersonId) -> int:
        """Delete for good what the caller has thrown away; how many pictures."""
        return self._delete_all(lambda: self._records.in_trash(owner=caller, limit=_SWEPT_AT_ONCE))

    def sweep(self) -> int:
        """Delete for good what has lain in the trash for long enough, and end publicity that is over.

        Returns:
            How many pictures are gone.
        """
        now = self._clock.now()
        self._records.make_private(now)
        before = now - self._keep_deleted
        return self._delete_all(lambda: self._records.in_trash(before=before, limit=_SWEPT_AT_ONCE))

    def cleanup(self, *, caller: PersonId) -> int:  # noqa: ARG002 - everybody's, as long as there is one person
        """End publicity that is over; of how many pictures."""
        return self._records.make_private(self._clock.now())

    def _delete_all(self, some: Callable[[], Sequence[PictureId]]) -> int:
        deleted = 0
        while pictures := some():
            for picture in pictures:
                found = self._records.get(picture)
                if found is not None and found.deleted_at is not None:
                    self._delete(found)
                    deleted += 1
        return deleted

    def _delete(self, picture: Picture) -> None:
        with self._blob_turn:
            self._records.delete(picture.id)
            for blob in picture.beside:
                if self._records.twins(picture, blob) == 0:
                    self._drop(blob)
            self._drop(picture.blob)

    def _drop(self, blob: BlobId) -> None:
        """Forget a blob that was a deleted picture's, unless something else needs it."""
        if self._records.uses(blob) > 0:
            return
        self._forget(blob)
        if not self._in_use(blob):
            self._blobs.delete(blob)


def _wanted(pictures: Sequence[PictureId]) -> Sequence[PictureId]:
    """Each once. Raises Invalid: none, or more than `MAX_AT_ONCE`."""
    wanted = tuple(dict.fromkeys(pictures))
    if not 1 <= len(wanted) <= MAX_AT_ONCE:
        raise Invalid(
            f"{len(wanted)} pictures are named; 1 to {MAX_AT_ONCE} can be at once.",
            code="picture.ids",
            field="ids",
        )
    return wanted
