# SPDX-License-Identifier: Apache-2.0
"""How an import becomes the next version of a data set. Blocks."""

import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from inglenook.base.errors import Invalid
from inglenook.store.files import sync_folder, write_error
from inglenook.studio.datasets.book import DatasetBook
from inglenook.studio.datasets.model import (
    Change,
    DatasetHead,
    ImageRecord,
    ImageStats,
    NewImage,
    VersionNote,
)
from inglenook.studio.datasets.names import fold, free_name
from inglenook.studio.datasets.staging import Staging
from inglenook.studio.errors import DatasetNotImported
from inglenook.studio.projects.model import Project
from inglenook.studio.workspace import PROJECT
from inglenook.vision.annotations import Annotation, Anomaly

_SYNC_EACH_UP_TO: Final = 200
"""So many files are brought to the disk one by one; more, all at once."""


@dataclass(frozen=True, slots=True)
class Source:
    mode: Literal["add", "replace"]
    by: str
    format: str
    path: str


class Classes:
    """A list of classes that grows as annotations come in."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(dict.fromkeys(names))
        self._ids = {name: place for place, name in enumerate(self.names)}

    def placed(self, annotation: Annotation) -> Annotation:
        """The annotation with its class's number in this list."""
        if isinstance(annotation, Anomaly):
            return annotation
        number = self._ids.setdefault(annotation.class_name, len(self.names))
        if number == len(self.names):
            self.names.append(annotation.class_name)
        return msgspec.structs.replace(annotation, class_id=number)


def finish(
    book: DatasetBook,
    project_id: str,
    staging: Staging,
    source: Source,
    summary: str,
    classes: Sequence[str],
) -> VersionNote:
    """Raises:
    Invalid: nothing was added. ProjectNotFound: the project was deleted meanwhile.
    Failed, Unavailable: something could not be written; the data set is as it was.
    """
    if staging.added == 0:
        raise Invalid("The import holds no picture.", code="dataset.empty")
    with book.workspace.locked(project_id):
        try:
            head = book.head(project_id)
        except DatasetNotImported:
            head = None
        if head is not None and source.mode == "add":
            return _add(book, project_id, head, staging, source, summary, classes)
        return _replace(book, project_id, head, staging, source, summary, classes)


def _add(
    book: DatasetBook,
    project_id: str,
    head: DatasetHead,
    staging: Staging,
    source: Source,
    summary: str,
    classes: Sequence[str],
) -> VersionNote:
    if head.image_stats.num_images + staging.added > staging.most:
        raise staging.too_many()
    known = Classes([*head.classes, *classes])
    place = _Place(book.folder(project_id), staging.folder, book.now())
    changes = [
        Change(id=record.id, before=None, after=record)
        for record in (place.settle(image, known) for image in staging.images())
    ]
    place.sync(len(changes))
    note = VersionNote(
        number=head.current + 1,
        created_at=place.now,
        by=source.by,
        kind="import",
        summary=summary,
        added=len(changes),
        images=head.image_stats.num_images + len(changes),
    )
    return book.keep(project_id, head, note, classes=known.names, changes=changes)


def _replace(
    book: DatasetBook,
    project_id: str,
    head: DatasetHead | None,
    staging: Staging,
    source: Source,
    summary: str,
    classes: Sequence[str],
) -> VersionNote:
    known = Classes(classes)
    before = {} if head is None else {it.id: it for it in book.index(project_id).iterate()}
    place = _Place(book.folder(project_id), staging.folder, book.now())
    again = {(it.sha256, it.original): it for it in before.values()}
    number = 1 if head is None else head.current + 1
    counts = {"added": 0, "changed": 0, "kept": 0}

    def records() -> Iterator[ImageRecord]:
        for image in staging.images():
            old = again.pop((image.sha256, image.original), None)
            if old is None:
                counts["added"] += 1
                yield place.settle(image, known)
            else:
                kept = place.kept(image, old, known)
                counts["kept"] += 1
                counts["changed"] += kept != old
                yield kept

    book.history(project_id).write_whole(number, records())
    place.sync(counts["added"])
    note = VersionNote(
        number=number,
        created_at=place.now,
        by=source.by,
        kind="import",
        summary=summary,
        added=counts["added"],
        changed=counts["changed"],
        removed=len(before) - counts["kept"],
        images=counts["added"] + counts["kept"],
    )
    project = book.workspace.read(book.workspace.project_folder(project_id) / PROJECT, Project)
    newer = DatasetHead(
        id=f"dataset-{secrets.token_hex(4)}" if head is None else head.id,
        task=project.task,
        source_format=source.format,
        source_path=source.path,
        imported_at=place.now,
        classes=tuple(known.names),
        image_stats=ImageStats(),
        current=number,
        updated_at=place.now,
    )
    return book.keep_whole(project_id, newer, note)


class _Place:
    """Where imported files go: `images`, under names that nothing else in any version has."""

    def __init__(self, dataset: Path, staging: Path, now: str) -> None:
        self._images = dataset / "images"
        self._thumbs = dataset / ".thumbs" / "256"
        self._staging = staging
        self._ids: set[str] = set()
        self._moved: list[Path] = []
        self.now = now
        try:
            for folder in (self._images, self._thumbs):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._taken = {fold(it.name) for it in os.scandir(self._images)}
        except OSError as error:
            raise write_error(error, self._images) from error

    def settle(self, image: NewImage, classes: Classes) -> ImageRecord:
        """Move the file to its place."""
        name = free_name(image.original, self._taken)
        record = _record(image, classes, image_id=self._new_id(), filename=name, added_at=self.now)
        target = self._images / name
        try:
            (self._staging / image.file).rename(target)
            if image.thumbnail is not None:
                (self._staging / image.thumbnail).rename(self._thumbs / f"{record.id}.webp")
        except OSError as error:
            raise write_error(error, target) from error
        self._moved.append(target)
        return record

    def kept(self, image: NewImage, old: ImageRecord, classes: Classes) -> ImageRecord:
        """A picture that is there already: its file stays, its annotations are the new ones."""
        return _record(image, classes, image_id=old.id, filename=old.filename, added_at=old.added_at)

    def sync(self, count: int) -> None:
        """Bring what was moved to the disk, before a document speaks of it."""
        if count > _SYNC_EACH_UP_TO and hasattr(os, "sync"):
            os.sync()
            return
        for path in self._moved:
            with path.open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(self._images)

    def _new_id(self) -> str:
        while (found := f"img-{secrets.token_hex(6)}") in self._ids:
            pass
        self._ids.add(found)
        return found


def _record(image: NewImage, classes: Classes, *, image_id: str, filename: str, added_at: str) -> ImageRecord:
    return ImageRecord(
        id=image_id,
        filename=filename,
        original=image.original,
        width=image.width,
        height=image.height,
        size_bytes=image.size_bytes,
        sha256=image.sha256,
        dhash=image.dhash,
        annotations=tuple(classes.placed(it) for it in image.annotations),
        group=image.group,
        taken_at=image.taken_at,
        tags=tuple(sorted(set(image.tags))),
        added_at=added_at,
    )
