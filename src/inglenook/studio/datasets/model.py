# SPDX-License-Identifier: Apache-2.0
"""Pictures of a data set as values: what is kept of each, what can change, what can be asked for. Pure.

What there are very many of is left alone by Python's collector (`gc=False`), as `vision.annotations` are.
"""

from typing import Annotated, Literal

import msgspec

from inglenook.studio.documents import Document
from inglenook.vision.annotations import Annotation

Subset = Literal["train", "val", "test", "none"]


class ImageRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One picture.

    Attributes:
        id: `img-` and 12 hexadecimal digits; never used again.
        filename: in the data set's folder of pictures; unique in it, safe as a file's name everywhere.
        original: as it was called where it came from, with its folders (`cats/1.png`).
        width, height: in pixels, as the file has them (before EXIF's rotation is applied).
        size_bytes, sha256: of the file.
        dhash: 64-bit difference hash, 16 hexadecimal digits, for near-duplicates; None before it is known.
        annotations: what a person says about it.
        group: pictures with the same group belong together (a folder, a column, a session); None for alone.
        taken_at: ISO 8601, of EXIF or of a column; None where nothing tells.
        tags: a person's own words, sorted.
        added_at: ISO 8601, UTC.
    """

    id: str
    filename: str
    original: str
    width: int
    height: int
    size_bytes: int
    sha256: str
    dhash: str | None = None
    annotations: tuple[Annotation, ...] = ()
    group: str | None = None
    taken_at: str | None = None
    tags: tuple[str, ...] = ()
    added_at: str


class NewImage(msgspec.Struct, frozen=True, kw_only=True):
    """A picture that is being imported: an `ImageRecord` without what the data set gives it.

    Attributes:
        file: where it lies in the staging folder, with `/`.
        thumbnail: where a small one of at most 256 pixels lies there, as WebP; None lets one be made later.
    """

    file: str
    original: str
    width: int
    height: int
    size_bytes: int
    sha256: str
    dhash: str | None = None
    annotations: tuple[Annotation, ...] = ()
    group: str | None = None
    taken_at: str | None = None
    tags: tuple[str, ...] = ()
    thumbnail: str | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A picture before and after; None for not there."""

    id: str
    before: ImageRecord | None
    after: ImageRecord | None


class ImageStats(msgspec.Struct, frozen=True, kw_only=True):
    """Sides in pixels, 0 without pictures; `formats`: endings of the files, sorted."""

    num_images: int = 0
    min_width: int = 0
    max_width: int = 0
    min_height: int = 0
    max_height: int = 0
    formats: tuple[str, ...] = ()


class DatasetHead(Document, frozen=True, kw_only=True):
    """`dataset.json`: what is true of the data set now.

    Attributes:
        current: number of the newest version, which is the one that is shown.
        classes: a label's `class_id` counts in this list.
        source_format, source_path: of the last import that replaced everything.
    """

    id: str
    task: str
    source_format: str
    source_path: str
    imported_at: str
    classes: tuple[str, ...]
    image_stats: ImageStats
    current: int
    updated_at: str


class VersionNote(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a data set: what changed, when, by whom. Versions count from 1 and are never rewritten.

    Attributes:
        kind: `import`, `relabel`, `tag`, `remove`, `classes`, `return` (to an earlier one).
        summary: for people: `12 pictures relabelled from cat to dog`.
        images: how many the data set holds in this version.
    """

    number: int
    created_at: str
    by: str
    kind: str
    summary: str
    added: int = 0
    changed: int = 0
    removed: int = 0
    images: int = 0


class ImageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What to list. All given conditions hold together.

    Attributes:
        labels: primary classes, compared without case; "" stands for pictures without one.
        search: in the file's name, without case.
        split, subset: pictures of this part of that split (`none` with a split: in no part of it).
        ids: only these. min_side: both sides have at least so many pixels.
        sort: ties by filename.
    """

    labels: tuple[str, ...] = ()
    search: str = ""
    tags: tuple[str, ...] = ()
    group: str | None = None
    split: str | None = None
    subset: Subset | None = None
    ids: tuple[str, ...] | None = None
    min_side: int | None = None
    sort: Literal["filename", "class", "size", "added"] = "filename"
    descending: bool = False


ANY_IMAGE = ImageQuery()


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """`after`: what asks for the next page; None for the last one."""

    images: tuple[ImageRecord, ...]
    after: str | None = None


PageLimit = Annotated[int, msgspec.Meta(ge=1, le=500)]
