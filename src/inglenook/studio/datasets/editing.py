# SPDX-License-Identifier: Apache-2.0
"""What people change about the pictures of a data set: each change is a version. Blocks."""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from inglenook.base.errors import Conflict, Invalid, NotFound
from inglenook.studio.datasets.book import DatasetBook
from inglenook.studio.datasets.model import Change, DatasetHead, ImageQuery, ImageRecord, VersionNote
from inglenook.studio.errors import ImageNotFound
from inglenook.vision.annotations import ANOMALOUS, NORMAL, Annotation, Anomaly, Label

MAX_CLASS_NAME: Final = 200
MAX_TAG: Final = 60
MAX_TAGS: Final = 50
_WITH_LABELS: Final = frozenset({"classification"})
_WITH_ANOMALIES: Final = frozenset({"anomaly_detection"})


def relabel(
    book: DatasetBook, project_id: str, ids: Sequence[str], class_name: str | None, *, by: str
) -> VersionNote:
    with book.workspace.locked(project_id):
        head = book.head(project_id)
        name = None if class_name is None else class_named(class_name)
        annotations, classes = _labelled(head, name)
        words = "without a class" if name is None else f"labelled {name}"
        return _edit(
            book,
            project_id,
            head,
            _wanted(book, project_id, ids),
            lambda record: msgspec.structs.replace(record, annotations=annotations),
            kind="relabel",
            by=by,
            words=words,
            classes=classes,
        )


def _labelled(head: DatasetHead, name: str | None) -> tuple[tuple[Annotation, ...], tuple[str, ...]]:
    """What a picture of that class is annotated with, and the classes then."""
    if head.task in _WITH_ANOMALIES:
        if name not in (NORMAL, ANOMALOUS, None):
            raise Invalid(
                f"A picture of this project is {NORMAL} or {ANOMALOUS}; got {name!r}.", field="class_name"
            )
        return (() if name is None else (Anomaly(is_anomalous=name == ANOMALOUS),)), head.classes
    if head.task not in _WITH_LABELS:
        raise Invalid(
            f"Pictures of a project for {head.task} have no class of their own.",
            code="dataset.no_class",
            field="class_name",
        )
    if name is None:
        return (), head.classes
    classes = head.classes if name in head.classes else (*head.classes, name)
    return (Label(class_id=classes.index(name), class_name=name),), classes


def tag(
    book: DatasetBook,
    project_id: str,
    ids: Sequence[str],
    *,
    add: Sequence[str],
    remove: Sequence[str],
    by: str,
) -> VersionNote:
    more, fewer = {_tag(it) for it in add}, {_tag(it) for it in remove}

    def retagged(record: ImageRecord) -> ImageRecord:
        tags = tuple(sorted((set(record.tags) - fewer) | more))
        if len(tags) > MAX_TAGS:
            raise Invalid(f"A picture may have {MAX_TAGS} tags at most.", field="add")
        return msgspec.structs.replace(record, tags=tags)

    with book.workspace.locked(project_id):
        head = book.head(project_id)
        words = " and ".join(
            f"{verb} {', '.join(sorted(some))}"
            for verb, some in (("tagged", more), ("no longer tagged", fewer))
            if some
        )
        records = _wanted(book, project_id, ids)
        return _edit(book, project_id, head, records, retagged, kind="tag", by=by, words=words)


def remove(book: DatasetBook, project_id: str, ids: Sequence[str], *, by: str) -> VersionNote:
    with book.workspace.locked(project_id):
        head = book.head(project_id)
        records = _wanted(book, project_id, ids)
        return _edit(book, project_id, head, records, lambda _: None, kind="remove", by=by, words="removed")


def rename_class(book: DatasetBook, project_id: str, old: str, new: str, *, by: str) -> VersionNote:
    with book.workspace.locked(project_id):
        head = book.head(project_id)
        name = class_named(new)
        _require_classes(head, [old])
        if name in head.classes and name != old:
            raise Conflict(
                f"There is a class {name!r} already.", code="dataset.class_exists", hint="merge the two"
            )
        return _reclass(book, project_id, head, {old: name}, by=by, summary=f"class {old} renamed to {name}")


def merge_classes(
    book: DatasetBook, project_id: str, names: Sequence[str], into: str, *, by: str
) -> VersionNote:
    with book.workspace.locked(project_id):
        head = book.head(project_id)
        name = class_named(into)
        _require_classes(head, names)
        if not names:
            raise Invalid("No class was named that is to be merged.", field="names")
        summary = f"classes {', '.join(names)} merged into {name}"
        return _reclass(book, project_id, head, dict.fromkeys(names, name), by=by, summary=summary)


def _reclass(
    book: DatasetBook, project_id: str, head: DatasetHead, names: dict[str, str], *, by: str, summary: str
) -> VersionNote:
    """Call classes otherwise, everywhere; numbers follow the list of classes, so others may move up."""
    if head.task in _WITH_ANOMALIES:
        raise Invalid(f"The classes of this project are always {NORMAL} and {ANOMALOUS}.", field="name")
    classes = tuple(dict.fromkeys(names.get(it, it) for it in head.classes))
    ids = {name: place for place, name in enumerate(classes)}

    def renamed(annotation: Annotation) -> Annotation:
        if isinstance(annotation, Anomaly):
            return annotation
        name = names.get(annotation.class_name, annotation.class_name)
        return msgspec.structs.replace(annotation, class_name=name, class_id=ids[name])

    def edited(record: ImageRecord) -> ImageRecord:
        return msgspec.structs.replace(record, annotations=tuple(map(renamed, record.annotations)))

    records: Iterable[ImageRecord] = book.index(project_id).iterate()
    if head.task in _WITH_LABELS and len(classes) == len(head.classes):
        # Numbers stay, so only pictures of these classes change.
        labels = tuple(names)
        records = book.index(project_id).by_id(book.index(project_id).ids(ImageQuery(labels=labels))).values()
    return _edit(
        book, project_id, head, records, edited, kind="classes", by=by, words=summary, classes=classes
    )


def return_to(book: DatasetBook, project_id: str, number: int, *, by: str) -> VersionNote:
    with book.workspace.locked(project_id):
        head = book.head(project_id)
        history = book.history(project_id)
        entry = next((it for it in history.entries(head.current) if it.note.number == number), None)
        if entry is None or number == head.current:
            raise NotFound(
                f"There is no earlier version {number} of the data set.", code="dataset.no_version"
            )
        changes = _way_back(book, project_id, head, number)
        return _keep(
            book,
            project_id,
            head,
            changes,
            kind="return",
            by=by,
            summary=f"back to version {number}",
            classes=entry.classes,
        )


def _way_back(book: DatasetBook, project_id: str, head: DatasetHead, number: int) -> list[Change]:
    """What makes the data set like an earlier version, by filename: by the logs of what changed since, where
    all of them are kept, else by both versions as wholes.

    Raises NotFound: the version is not kept.
    """
    history = book.history(project_id)
    since = history.changes_between(number, head.current)
    if since is None:
        then = history.records(number)
        now = {it.id: it for it in book.index(project_id).iterate()}
        since = {image: (then.get(image), now.get(image)) for image in then.keys() | now.keys()}
    changes = [
        Change(id=image, before=now_, after=then_) for image, (then_, now_) in since.items() if then_ != now_
    ]
    # The order in which the index lies: in another one, writing it takes twice as long.
    changes.sort(key=lambda it: (it.after or it.before).filename)  # type: ignore[union-attr]  # one is there
    return changes


def purge(book: DatasetBook, project_id: str, needed: Iterable[str]) -> int:
    with book.workspace.locked(project_id):
        head = book.head(project_id)
        history, index = book.history(project_id), book.index(project_id)
        entries = history.entries(head.current)
        history.write_whole(head.current, index.iterate())
        history.forget_before(head.current, entries)
        keep = index.names() | set(needed)
        gone = [it for it in (book.folder(project_id) / "images").iterdir() if it.name not in keep]
        for path in gone:
            path.unlink(missing_ok=True)
        _purge_thumbnails(book, project_id)
        return len(gone)


def _purge_thumbnails(book: DatasetBook, project_id: str) -> None:
    there = set(book.index(project_id).ids(ImageQuery()))
    for path in (book.folder(project_id) / ".thumbs").glob("*/*.webp"):
        if path.stem not in there:
            path.unlink(missing_ok=True)


# -- what they share -------------------------------------------------------------------------------------


def _edit(
    book: DatasetBook,
    project_id: str,
    head: DatasetHead,
    records: Iterable[ImageRecord],
    edited: Callable[[ImageRecord], ImageRecord | None],
    *,
    kind: str,
    by: str,
    words: str,
    classes: Sequence[str] | None = None,
) -> VersionNote:
    changes = [
        Change(id=before.id, before=before, after=after)
        for before, after in ((record, edited(record)) for record in records)
        if before != after
    ]
    count = f"{len(changes)} picture{'' if len(changes) == 1 else 's'}"
    summary = words if kind == "classes" else f"{count} {words}"
    names = head.classes if classes is None else classes
    return _keep(book, project_id, head, changes, kind=kind, by=by, summary=summary, classes=names)


def _keep(
    book: DatasetBook,
    project_id: str,
    head: DatasetHead,
    changes: Sequence[Change],
    *,
    kind: str,
    by: str,
    summary: str,
    classes: Sequence[str],
) -> VersionNote:
    """A version of the changes; without any, the current one stays."""
    if not changes and tuple(classes) == head.classes:
        return book.history(project_id).entries(head.current)[-1].note
    added = sum(it.before is None for it in changes)
    removed = sum(it.after is None for it in changes)
    note = VersionNote(
        number=head.current + 1,
        created_at=book.now(),
        by=by,
        kind=kind,
        summary=summary,
        added=added,
        changed=len(changes) - added - removed,
        removed=removed,
        images=head.image_stats.num_images + added - removed,
    )
    return book.keep(project_id, head, note, classes=classes, changes=changes)


def _wanted(book: DatasetBook, project_id: str, ids: Sequence[str]) -> list[ImageRecord]:
    """Raises ImageNotFound: one of them is not there. Invalid: none is named."""
    if not ids:
        raise Invalid("No picture is named.", field="ids")
    found = book.index(project_id).by_id(ids)
    missing = next((it for it in ids if it not in found), None)
    if missing is not None:
        raise ImageNotFound(f"The data set has no picture {missing[:60]!r}.")
    return list(found.values())


def _require_classes(head: DatasetHead, names: Iterable[str]) -> None:
    missing = next((it for it in names if it not in head.classes), None)
    if missing is not None:
        raise NotFound(f"There is no class {missing[:60]!r}.", code="dataset.no_such_class")


def class_named(text: str) -> str:
    """A class's name as it is kept. Raises Invalid."""
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if not name or len(name) > MAX_CLASS_NAME or any(unicodedata.category(it) in {"Cc", "Cs"} for it in name):
        raise Invalid(
            f"The name of a class has 1 to {MAX_CLASS_NAME} characters; got {name[:60]!r}.",
            field="class_name",
        )
    return name


def _tag(text: str) -> str:
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if not name or len(name) > MAX_TAG or any(unicodedata.category(it) in {"Cc", "Cs"} for it in name):
        raise Invalid(f"A tag has 1 to {MAX_TAG} characters; got {name[:60]!r}.", field="add")
    return name
