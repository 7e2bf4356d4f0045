# SPDX-License-Identifier: Apache-2.0
"""Versions of a data set as files: whole lists of pictures, and what changed from one to the next.

`versions/000001.jsonl` is a whole version, one picture a line; `000002.changes.jsonl` says what version 2
changed. `notes.jsonl` has one line a version: when, by whom, what, and the classes from then on. A file that
is newer than `dataset.json` says is of a change that was never finished, and counts for nothing.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from inglenook.base.errors import NotFound
from inglenook.store.files import atomic_file, write_atomic, write_error
from inglenook.studio.datasets.model import Change, ImageRecord, VersionNote
from inglenook.studio.errors import CorruptDocument

NOTES: Final = "notes.jsonl"
T = TypeVar("T")

_encode = msgspec.json.Encoder().encode
_record = msgspec.json.Decoder(ImageRecord)
_change = msgspec.json.Decoder(Change)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A version as `notes.jsonl` keeps it."""

    note: VersionNote
    classes: tuple[str, ...]


_entry = msgspec.json.Decoder(Entry)


class History:
    """Args:
    folder: `versions`, made when it is first written to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    # -- writing -----------------------------------------------------------------------------------------

    def write_whole(self, number: int, records: Iterable[ImageRecord]) -> None:
        self._write(self._whole(number), records)

    def write_changes(self, number: int, changes: Iterable[Change]) -> None:
        self._write(self._changes(number), changes)

    def _write(self, path: Path, items: Iterable[msgspec.Struct]) -> None:
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise write_error(error, self._folder) from error
        with atomic_file(path) as file:
            for item in items:
                file.write(_encode(item) + b"\n")

    def add(self, entry: Entry) -> None:
        """Append a line. One that a killed server has left half written is cut off first."""
        path = self._folder / NOTES
        try:
            with path.open("a+b") as file:
                file.seek(0, os.SEEK_END)
                if end := file.tell():
                    file.seek(max(0, end - 1))
                    if file.read(1) != b"\n":
                        file.truncate(_last_line_end(path))
                file.write(_encode(entry) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise write_error(error, path) from error

    # -- reading -----------------------------------------------------------------------------------------

    def entries(self, current: int) -> list[Entry]:
        """Every version up to the current one, oldest first; of a number that stands there twice, the last.

        Raises CorruptDocument.
        """
        path = self._folder / NOTES
        try:
            lines = path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        found: dict[int, Entry] = {}
        for place, line in enumerate(lines, 1):
            if not line:
                continue
            try:
                entry = _entry.decode(line)
            except ValueError as error:
                if place == len(lines):
                    break  # half a line, of a server that was killed
                raise _corrupt(path, place, error) from error
            found[entry.note.number] = entry
        return [found[number] for number in sorted(found) if number <= current]

    def changes(self, number: int) -> Iterator[Change] | None:
        """What the version changed; None where it is kept as a whole."""
        path = self._changes(number)
        return _lines(path, _change.decode) if path.exists() else None

    def changes_between(
        self, number: int, current: int
    ) -> dict[str, tuple[ImageRecord | None, ImageRecord | None]] | None:
        """By each picture that changed after `number`: what it was then, and what it is in `current`. None
        where a version after `number` is kept as a whole only.
        """
        found: dict[str, tuple[ImageRecord | None, ImageRecord | None]] = {}
        for step in range(number + 1, current + 1):
            changes = self.changes(step)
            if changes is None:
                return None
            for change in changes:
                then, _ = found.get(change.id, (change.before, None))
                found[change.id] = (then, change.after)
        return found

    def records(self, number: int) -> dict[str, ImageRecord]:
        """Every picture of a version by its id.

        Raises:
            NotFound: it was purged (`dataset.no_version`). CorruptDocument.
        """
        start = next((it for it in range(number, 0, -1) if self._whole(it).exists()), None)
        if start is None:
            raise _no_version(number)
        found = {record.id: record for record in _lines(self._whole(start), _record.decode)}
        for step in range(start + 1, number + 1):
            if not self._changes(step).exists():
                raise _no_version(number)
            for change in _lines(self._changes(step), _change.decode):
                if change.after is None:
                    found.pop(change.id, None)
                else:
                    found[change.id] = change.after
        return found

    def whole(self, number: int) -> Iterator[ImageRecord]:
        """The pictures of a version that is kept as a whole, in the order in which they were written."""
        return _lines(self._whole(number), _record.decode)

    def distance(self, number: int) -> int:
        """How many change logs lie between the version and the whole one before it."""
        return next((number - it for it in range(number, 0, -1) if self._whole(it).exists()), 0)

    def forget_before(self, number: int, entries: Iterable[Entry]) -> None:
        """Keep only this version, which is whole, and what follows it."""
        kept = b"".join(_encode(it) + b"\n" for it in entries if it.note.number >= number)
        write_atomic(self._folder / NOTES, kept)
        for path in self._folder.glob("*.jsonl"):
            head = path.name.partition(".")[0]
            if (head.isdigit() and int(head) < number) or path == self._changes(number):
                path.unlink(missing_ok=True)

    def filenames(self, current: int) -> set[str]:
        """Of every picture in any version up to the current one."""
        found: set[str] = set()
        for number in range(1, current + 1):
            if self._whole(number).exists():
                found.update(it.filename for it in _lines(self._whole(number), _record.decode))
            if self._changes(number).exists():
                for change in _lines(self._changes(number), _change.decode):
                    found.update(it.filename for it in (change.before, change.after) if it is not None)
        return found

    def _whole(self, number: int) -> Path:
        return self._folder / f"{number:06}.jsonl"

    def _changes(self, number: int) -> Path:
        return self._folder / f"{number:06}.changes.jsonl"


def _lines(path: Path, decode: Callable[[bytes], T]) -> Iterator[T]:
    with path.open("rb") as file:
        for place, line in enumerate(file, 1):
            try:
                yield decode(line)
            except ValueError as error:
                raise _corrupt(path, place, error) from error


def _last_line_end(path: Path) -> int:
    return path.read_bytes().rfind(b"\n") + 1


def _corrupt(path: Path, place: int, error: Exception) -> CorruptDocument:
    return CorruptDocument(
        f"{path} cannot be read: line {place}: {str(error)[:200]}.", hint="put back a copy of it"
    )


def _no_version(number: int) -> NotFound:
    return NotFound(f"Version {number} of the data set is not kept.", code="dataset.no_version")
