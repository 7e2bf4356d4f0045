# SPDX-License-Identifier: Apache-2.0
"""Taking pictures over, one by one: copied, hashed, decoded, and told of in batches."""

import errno
import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from inglenook.base.clock import Clock
from inglenook.base.units import KIB, format_bytes
from inglenook.vision.formats.boxes import in_pixels
from inglenook.vision.formats.model import Entry, Issue
from inglenook.wire.message import Message
from inglenook.wire.studio.dataset import (
    Issues,
    Picture,
    PictureBox,
    Pictures,
    Problem,
    Progress,
    ReadDataset,
)
from inglenook.workers.dataset.archive import UNPACKING
from inglenook.workers.dataset.errors import BadFile, Stopped, TooMuch
from inglenook.workers.dataset.pictures import ALSO, Seen, look
from inglenook.workers.telling import FULL, NoRoom

BATCH: Final = 200
EVERY_S: Final = 0.5
"""News go out at least so often, however few."""
CHUNK: Final = 256 * KIB
MAX_TEXT: Final = 400

Open = Callable[[], BinaryIO]


class Send(Protocol):
    def __call__(self, message: Message) -> None: ...


class Taking:
    """Args:
    work: what was asked for; pictures go into its folder.
    total: how many pictures there will be; 0 where unknown.
    known: SHA-256 of pictures that are left out.
    """

    def __init__(
        self,
        work: ReadDataset,
        *,
        total: int,
        known: frozenset[bytes],
        send: Send,
        should_stop: Callable[[], bool],
        clock: Clock,
    ) -> None:
        self._work = work
        self._folder = Path(work.folder)
        self._total = total
        self._known = known
        self._send = send
        self._should_stop = should_stop
        self._clock = clock
        self._pictures: list[Picture] = []
        self._issues: list[Problem] = []
        self._sent_s = clock.monotonic()
        self._done = 0
        self.taken = 0
        self.skipped = 0
        self.classes: dict[str, None] = {}

    def take(self, entry: Entry, original: str, open_: Open) -> None:
        """Take one picture over, or tell why not.

        Raises:
            NoRoom: the disk is full. TooMuch: there are more pictures than may be. Stopped.
        """
        if self._should_stop():
            raise Stopped
        if self.taken >= self._work.bounds.images:
            raise TooMuch(
                f"There are more than {self._work.bounds.images} pictures.",
                hint="import a part of them, or raise studio.max_images",
            )
        self._done += 1
        target = self._folder / f"p{self.taken + 1:07d}"
        try:
            self._keep(entry, original, self._copied(open_, target), target)
        except BadFile as error:
            self.leave_out(Issue(original, error.reason, error.message))
        finally:
            try:
                target.unlink(missing_ok=True)
            except OSError as error:
                raise _no_room(error) from error
        self._flush_if_due()

    def leave_out(self, issue: Issue) -> None:
        if issue.skipped:
            self.skipped += 1
        text = issue.message[:MAX_TEXT]
        path = issue.path[:MAX_TEXT].encode("utf-8", "replace").decode()
        self._issues.append(Problem(path=path, reason=issue.reason, message=text, skipped=issue.skipped))
        self._flush_if_due()

    def flush(self) -> None:
        """Send what has gathered."""
        job = self._work.job
        if self._pictures:
            self._send(Pictures(job=job, pictures=tuple(self._pictures)))
        if self._issues:
            self._send(Issues(job=job, issues=tuple(self._issues)))
        self._send(Progress(job=job, stage="read", done=self._done, total=self._total))
        self._pictures, self._issues = [], []
        self._sent_s = self._clock.monotonic()

    def _flush_if_due(self) -> None:
        waiting = len(self._pictures) + len(self._issues)
        if waiting >= BATCH or self._clock.monotonic() - self._sent_s >= EVERY_S:
            self.flush()

    def _copied(self, open_: Open, target: Path) -> tuple[int, bytes]:
        """Size and SHA-256 of the file, which lies at `target` then."""
        limit = self._work.bounds.file_bytes
        digest = hashlib.sha256()
        size = 0
        try:
            source = open_()
        except UNPACKING as error:
            raise BadFile("unreadable", f"it cannot be read: {_why(error)}") from None
        with source:
            try:
                out = target.open("wb")
            except OSError as error:
                raise _no_room(error) from error
            with out:
                while chunk := _read(source):
                    size += len(chunk)
                    if size > limit:
                        raise BadFile("too_large", f"it has more than {format_bytes(limit)}")
                    digest.update(chunk)
                    _write(out, chunk)
                try:
                    out.flush()
                except OSError as error:
                    raise _no_room(error) from error
        return size, digest.digest()

    def _keep(self, entry: Entry, original: str, copied: tuple[int, bytes], target: Path) -> None:
        size, sha256 = copied
        if sha256 in self._known:
            raise BadFile("duplicate", "the data set has the same file already")
        name = f"p{self.taken + 1:07d}"
        small = self._folder / f"{name}.small.webp" if self._work.thumbnail_px else None
        seen = self._look(target, small)
        file = name + seen.ending
        try:
            target.rename(self._folder / file)
        except OSError as error:
            raise _no_room(error) from error
        if entry.label is not None:
            self.classes.setdefault(entry.label)
        self.taken += 1
        self._pictures.append(
            Picture(
                file=file,
                original=_with_ending(original, seen.ending),
                width=seen.width,
                height=seen.height,
                size_bytes=size,
                sha256=sha256.hex(),
                dhash=seen.dhash,
                label=entry.label,
                boxes=self._boxes(entry, seen, original),
                anomalous=entry.anomalous,
                group=entry.group,
                taken_at=entry.taken_at or seen.taken_at,
                tags=tuple(sorted(set(entry.tags))),
                thumbnail=small.name if small is not None and seen.has_thumbnail else None,
            )
        )
        if seen.animated:
            self.leave_out(
                Issue(original, "animated", "it has several frames; the first one is used", skipped=False)
            )

    def _look(self, target: Path, small: Path | None) -> Seen:
        bounds = self._work.bounds
        try:
            return look(target, pixels=bounds.pixels, thumbnail=small, thumbnail_px=self._work.thumbnail_px)
        except MemoryError:
            raise BadFile("memory", "there was not enough memory to decode it") from None
        except BadFile:
            if small is not None:
                small.unlink(missing_ok=True)
            raise

    def _boxes(self, entry: Entry, seen: Seen, original: str) -> tuple[PictureBox, ...]:
        boxes = []
        for named in entry.boxes:
            box = in_pixels(named, seen.width, seen.height)
            if box is None:
                self.leave_out(
                    Issue(original, "box", f"a box of {named.class_name} lies outside of it", skipped=False)
                )
            else:
                boxes.append(PictureBox(class_name=named.class_name, box=box))
        return tuple(boxes)


def from_bytes(data: bytes) -> Open:
    return lambda: io.BytesIO(data)


def _read(source: BinaryIO) -> bytes:
    try:
        return source.read(CHUNK)
    except UNPACKING as error:
        raise BadFile("unreadable", f"it cannot be read to its end: {_why(error)}") from None


def _write(out: BinaryIO, chunk: bytes) -> None:
    try:
        out.write(chunk)
    except OSError as error:
        raise _no_room(error) from error


def _no_room(error: OSError) -> NoRoom:
    message = f"The pictures could not be written: {error.strerror}."
    kept = "then import again; the old data set is untouched"
    if error.errno in FULL | {errno.EFBIG}:
        return NoRoom(message, hint=f"free some room on the data folder's disk, {kept}")
    return NoRoom(
        message,
        code="store.unwritable",
        hint=f"check that the data folder is there and belongs to you, {kept}",
    )


def _why(error: Exception) -> str:
    reason = getattr(error, "strerror", None)
    return str(reason or error)[:160]


def _with_ending(original: str, ending: str) -> str:
    """The name with the ending that its content has; `.jpeg` may stay for `.jpg`."""
    head, dot, given = original.rpartition(".")
    if dot and "/" not in given:
        given = f".{given.lower()}"
        if given in ALSO.get(ending, (ending,)):
            return original
        if given in (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"):
            return head + ending
    return original + ending
