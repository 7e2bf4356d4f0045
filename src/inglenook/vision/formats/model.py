# SPDX-License-Identifier: Apache-2.0
"""What reading a data set gives, whatever its format. Pure values."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from inglenook.base.errors import Invalid

PICTURE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".jfif")
MAX_DOCUMENT_BYTES: Final = 512 * 1024 * 1024
"""The largest file that describes a data set: COCO's own `instances_train2017.json` has 450 MB."""
MAX_SMALL_BYTES: Final = 4 * 1024 * 1024
"""The largest file that describes one picture, or names the classes."""
MAX_CLASS_CHARS: Final = 200
MAX_CLASSES: Final = 100_000

CLASSIFICATION: Final = "classification"
DETECTION: Final = "object_detection"
SEGMENTATION: Final = "segmentation"
ANOMALY: Final = "anomaly_detection"

TASK_WORDS: Final = {
    CLASSIFICATION: "classification",
    DETECTION: "object detection",
    SEGMENTATION: "segmentation",
    ANOMALY: "anomaly detection",
    "oriented_object_detection": "oriented object detection",
    "instance_segmentation": "instance segmentation",
    "regression": "regression",
}


class FormatError(Invalid):
    """The data set as a whole cannot be read: which file, and what is wrong with it."""

    default_code = "dataset.format"


class WrongTask(Invalid):
    """The data set is whole, but made for another task than the project's."""

    default_code = "dataset.task"


@dataclass(frozen=True, slots=True)
class NamedBox:
    """An object. `box`: x and y of the upper left corner, width, height, in pixels; with `relative` x and y
    of the centre, width and height as parts of the picture's, as YOLO writes them.
    """

    class_name: str
    box: tuple[float, float, float, float]
    relative: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture with what is said about it.

    Attributes:
        path: in the listing.
        label: its class; None where nothing says.
        boxes: objects in it. anomalous: of anomaly detection.
        group: pictures that belong together. taken_at: ISO 8601. tags: words of the source (its subset).
    """

    path: str
    label: str | None = None
    boxes: tuple[NamedBox, ...] = ()
    anomalous: bool | None = None
    group: str | None = None
    taken_at: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Issue:
    """Something that was left out (`skipped`), or taken with a remark.

    Attributes:
        path: of the file, or the place in a document: `labels.csv, row 12`.
        reason: stable; reports count by it. message: for people.
    """

    path: str
    reason: str
    message: str
    skipped: bool = True


Row = Entry | Issue


@dataclass(frozen=True, slots=True)
class Parsed:
    """Classes in the order of their numbers (empty ones too), and the pictures, to be read once.

    `about`: what a person should know of how the source was understood.
    """

    classes: tuple[str, ...]
    rows: Iterable[Row]
    about: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Format:
    """A format that can be recognised.

    Attributes:
        name: as requests give it. title: `a COCO data set with boxes`.
        tasks: what it can be read for; empty: it is recognised only.
        made_for: the task that it is usually made for.
        instead: what a person can do who wants another task.
        recognise: whether a listing is of this format; raises nothing.
        parse: reads a listing for a task. Raises FormatError, WrongTask.
    """

    name: str
    title: str
    tasks: tuple[str, ...]
    made_for: str
    instead: str
    recognise: "Callable[[Tree], bool]"
    parse: "Callable[[Tree, str], Parsed]"


def not_for(form: Format, task: str) -> WrongTask:
    """Why a data set of this format cannot go into a project of this task."""
    words = TASK_WORDS[form.made_for]
    if task == CLASSIFICATION:
        return WrongTask(
            f"This is {form.title} ({words}), which cannot be trained here yet.", hint=form.instead
        )
    wanted = TASK_WORDS.get(task, task)
    return WrongTask(
        f"This is {form.title} ({words}); the project's task is {wanted}.",
        hint=f"import it into a project for {words}",
    )


class Tree:
    """A listing of files: relative paths with `/`, and how to read one.

    Args:
        paths: of all files, without hidden ones.
        folders: all folders, those without files too.
        prefix: of a tree below another: what comes before its paths there, with its `/`.
        read: `read(path, limit)` gives the bytes of a file; raises FormatError when it has more than `limit`.
    """

    def __init__(
        self,
        paths: Iterable[str],
        folders: Iterable[str],
        read: Callable[[str, int], bytes],
        prefix: str = "",
    ) -> None:
        self.paths = sorted(paths, key=natural)
        self.folders = sorted(folders, key=natural)
        self.prefix = prefix
        self._read = read
        self._known: dict[str, str] | None = None

    def read(self, path: str, limit: int = MAX_SMALL_BYTES) -> bytes:
        return self._read(path, limit)

    def text(self, path: str, limit: int = MAX_SMALL_BYTES) -> str:
        """UTF-8, or what its byte order mark says. Raises FormatError."""
        return decoded(self._read(path, limit), path)

    def find(self, path: str) -> str | None:
        """The path of a file as it is listed: composed and decomposed letters are the same."""
        if self._known is None:
            self._known = {composed(known): known for known in self.paths}
        return self._known.get(composed(path))

    def root_files(self) -> list[str]:
        return [path for path in self.paths if "/" not in path]

    def top_folders(self) -> list[str]:
        return [folder for folder in self.folders if "/" not in folder]

    def below(self, folder: str) -> "Tree":
        """The tree of one folder; paths are relative to it."""
        start = folder + "/"
        cut = len(start)
        return Tree(
            (path[cut:] for path in self.paths if path.startswith(start)),
            (name[cut:] for name in self.folders if name.startswith(start)),
            lambda path, limit: self._read(start + path, limit),
            self.prefix + start,
        )


def natural(path: str) -> tuple[str, str]:
    """Sorts without case, and the same everywhere."""
    return (path.casefold(), path)


def composed(text: str) -> str:
    import unicodedata

    return text if text.isascii() else unicodedata.normalize("NFC", text)


def decoded(data: bytes, path: str) -> str:
    """Raises FormatError."""
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{path} is not UTF-8 at byte {error.start}.", hint="save it as UTF-8, then try again"
        ) from None


def is_picture(path: str) -> bool:
    """Whether it is called like a picture."""
    return path.lower().endswith(PICTURE_SUFFIXES)


def safe_path(given: str) -> str | None:
    """A path that a document names, relative and with `/`; None for absolute ones, and for any with `..`."""
    path = given.strip().replace("\\", "/")
    if not path or path.startswith("/") or "\0" in path or path[1:2] == ":" or "://" in path:
        return None
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return None if not parts or ".." in parts else "/".join(parts)


def class_name(given: str) -> str | None:
    """A class as it is kept: trimmed, inner white space as single blanks; None when it is none."""
    name = " ".join(composed(given).split())
    printable = all(character.isprintable() for character in name)
    return name if name and len(name) <= MAX_CLASS_CHARS and printable else None
