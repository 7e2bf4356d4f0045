# SPDX-License-Identifier: Apache-2.0
"""Reading data sets over the wire: hostile files are opened in a child, never in the server.

    server                          worker
      │  ◄──────── Hello ─────────────│   after connecting
      │ ────────── OpenDataset ─────► │
      │  ◄──────── Loaded / LoadFailed
      │ ────────── ReadDataset ─────► │
      │  ◄──────── DatasetFound       │   its format and classes
      │  ◄──────── Pictures …         │   files that lie in the folder now, in batches
      │  ◄──────── Issues …           │   what was left out, or taken with a remark
      │  ◄──────── Progress …
      │ ────────── CheckDataset ────► │   (instead of ReadDataset)
      │ ────────── Cancel ──────────► │   before the next picture
      │  ◄──────── DatasetRead / DatasetChecked / DatasetFailed / DatasetStopped   exactly one, last
      │ ────────── Shutdown ────────► │

One piece of work at a time. Pictures travel as files: the worker writes into the folder that the work names.
"""

from typing import Literal

import msgspec

from inglenook.wire.message import Cancel, Hello, Loaded, LoadFailed, Message, OutOfMemory, Shutdown


class OpenDataset(Message, frozen=True, kw_only=True, tag="open_dataset"):
    """Make ready. `memory_bytes`: so much address space may the worker take; None for no bound."""

    memory_bytes: int | None = None


class FolderSource(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="folder"):
    """A folder of this machine. Links that lead out of `roots` are not followed; all are real paths."""

    path: str
    roots: tuple[str, ...]


class ArchiveSource(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="archive"):
    """A zip file."""

    path: str


class TableSource(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="table"):
    """One parquet or Arrow file."""

    path: str


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a `ListedSource`. `file`: where it lies now, absolute. The rest as in `Picture`."""

    file: str
    original: str
    label: str | None = None
    group: str | None = None
    taken_at: str | None = None
    tags: tuple[str, ...] = ()


class ListedSource(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="listed"):
    """Files that the server has listed, one `Listed` a line (JSON).

    `labelled`: labels are as the lines say; else a format is looked for over the originals' paths.
    """

    manifest: str
    labelled: bool


Source = FolderSource | ArchiveSource | TableSource | ListedSource


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What a source may have.

    Attributes:
        images: pictures. files: entries of any kind.
        pixels: of one picture. file_bytes: of one picture's file.
        unpacked_bytes: of an archive's entries together. ratio: of an archive, unpacked to packed.
    """

    images: int
    files: int
    pixels: int
    file_bytes: int
    unpacked_bytes: int
    ratio: float = 200.0


class DatasetWork(Message, frozen=True, kw_only=True):
    """What asks for work. `job`: the server's id for it, echoed in every answer."""

    job: str


class ReadDataset(DatasetWork, frozen=True, kw_only=True, tag="read_dataset"):
    """Read a source and put its pictures into a folder.

    Attributes:
        format: as a person has named it; None finds it out.
        folder: an existing, empty folder. thumbnail_px: longest side of the small pictures; 0 for none.
        known: a file with one SHA-256 a line; pictures with one of them are left out. None: all are taken.
    """

    task: str
    source: Source
    format: str | None = None
    folder: str
    known: str | None = None
    bounds: Bounds
    thumbnail_px: int = 0


class DatasetFound(Message, frozen=True, kw_only=True, tag="dataset_found"):
    """What the source is. `title`: for people. `files`: about how many pictures it has, 0 where unknown."""

    job: str
    format: str
    title: str
    classes: tuple[str, ...]
    files: int
    about: tuple[str, ...] = ()


class PictureBox(msgspec.Struct, frozen=True, kw_only=True):
    """`box`: x, y of the upper left corner, width, height, in pixels."""

    class_name: str
    box: tuple[float, float, float, float]


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """One picture that lies in the folder, whole, and was decoded.

    Attributes:
        file: its name in the folder; the ending says what it really is. thumbnail: the small one's name.
        original: as it was called in the source, with folders and its real ending.
        width, height: in pixels, as the file has them. dhash: None where the picture is too flat for one.
        label, boxes, anomalous: what the source says about it.
    """

    file: str
    original: str
    width: int
    height: int
    size_bytes: int
    sha256: str
    dhash: str | None = None
    label: str | None = None
    boxes: tuple[PictureBox, ...] = ()
    anomalous: bool | None = None
    group: str | None = None
    taken_at: str | None = None
    tags: tuple[str, ...] = ()
    thumbnail: str | None = None


class Pictures(Message, frozen=True, kw_only=True, tag="dataset_pictures"):
    job: str
    pictures: tuple[Picture, ...]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """`path`: of a file, or the place in a document. `reason`: stable. `skipped`: False is a remark."""

    path: str
    reason: str
    message: str
    skipped: bool = True


class Issues(Message, frozen=True, kw_only=True, tag="dataset_issues"):
    job: str
    issues: tuple[Problem, ...]


class Progress(Message, frozen=True, kw_only=True, tag="dataset_progress"):
    """`total` is 0 where it is not known."""

    job: str
    stage: Literal["list", "read", "files", "compare"]
    done: int
    total: int


class DatasetRead(Message, frozen=True, kw_only=True, tag="dataset_read"):
    """All was read. `classes`: also those that were only met on the way, at the end."""

    job: str
    classes: tuple[str, ...]
    pictures: int
    skipped: int


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the list that `CheckDataset` names. `label` is the primary class; None for none."""

    id: str
    file: str
    sha256: str
    dhash: str | None
    width: int
    height: int
    size_bytes: int
    label: str | None


class CheckDataset(DatasetWork, frozen=True, kw_only=True, tag="check_dataset"):
    """Look for what is wrong with a data set.

    Attributes:
        manifest: a file with one `Checked` a line (JSON). images: the folder of the pictures.
        thumbnails: a folder of small ones, `<id>.webp`, as far as there are some.
        into: the file that the findings are written to (JSON, `vision.checks.model.Findings`).
        distance: pictures whose hashes differ in at most so many of 64 bits look alike.
        read_files: also read every file again, to find those that are damaged or gone.
    """

    manifest: str
    images: str
    thumbnails: str
    into: str
    classes: tuple[str, ...]
    distance: int
    tiny_px: int
    aspect: float
    imbalance: float
    read_files: bool
    pixels: int


class DatasetChecked(Message, frozen=True, kw_only=True, tag="dataset_checked"):
    """The findings are written."""

    job: str
    pictures: int
    findings: int


class DatasetFailed(Message, frozen=True, kw_only=True, tag="dataset_failed"):
    """It failed; the worker is still alive. `error` is the kind, `code` the code of `base.errors`."""

    job: str
    error: str
    code: str
    message: str
    hint: str | None = None
    out_of_memory: OutOfMemory | None = None


class DatasetStopped(Message, frozen=True, kw_only=True, tag="dataset_stopped"):
    """It stopped on request, after so many pictures; -1 where nobody could tell."""

    job: str
    done: int


ToDatasetWorker = OpenDataset | ReadDataset | CheckDataset | Cancel | Shutdown
LastWord = DatasetRead | DatasetChecked | DatasetFailed | DatasetStopped
FromDatasetWorker = (
    Hello
    | Loaded
    | LoadFailed
    | DatasetFound
    | Pictures
    | Issues
    | Progress
    | DatasetRead
    | DatasetChecked
    | DatasetFailed
    | DatasetStopped
)
