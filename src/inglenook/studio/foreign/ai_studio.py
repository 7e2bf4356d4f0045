# SPDX-License-Identifier: Apache-2.0
"""A workspace of AI Studio, as it lies on the disk. Only reads; what cannot be read is said, and skipped."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from inglenook.base.errors import Invalid, NotFound
from inglenook.vision.annotations import Annotation

WORKSPACE: Final = "workspace.json"
MAX_DOCUMENT_BYTES: Final = 512 * 1024 * 1024
_SUBSETS: Final = frozenset({"train", "val", "test", "none"})
_ID = re.compile(r"[a-z0-9_-]{1,80}")

T = TypeVar("T")


class ForeignProject(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    task: str
    description: str | None = None


class ForeignImage(msgspec.Struct, frozen=True, kw_only=True):
    """`split`: the part in each of the data set's splits, in their order."""

    filename: str
    split: tuple[str, ...] = ()
    annotations: tuple[Annotation, ...] = ()


class ForeignDataset(msgspec.Struct, frozen=True, kw_only=True):
    """`images` as they stand there; each is read by itself."""

    classes: tuple[str, ...] = ()
    split_names: tuple[str, ...] = ()
    source_format: str = ""
    source_path: str = ""
    images: list[Any] = []


@dataclass(slots=True)
class Reader:
    """Args:
    folder: the workspace. left: what could not be read and why, a sentence each.

    Raises:
        NotFound: there is no workspace of AI Studio in the folder.
    """

    folder: Path
    left: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not (self.folder / WORKSPACE).is_file() and not (self.folder / "projects").is_dir():
            raise NotFound(
                f"There is no workspace of AI Studio in {self.folder}.",
                code="import.no_workspace",
                hint=f"name the folder that holds its {WORKSPACE}",
            )

    def projects(self) -> Iterator[tuple[Path, ForeignProject]]:
        """In the order of its list; then those that are not on it (its list can lose some)."""
        for folder in self._folders():
            project = self.document(folder / "project.json", ForeignProject)
            if project is not None:
                yield folder, project

    def _folders(self) -> Sequence[Path]:
        listed: list[str] = []
        document = self.plain(self.folder / WORKSPACE)
        if isinstance(document, dict) and isinstance(document.get("projects"), list):
            listed = [it for it in document["projects"] if isinstance(it, str) and _ID.fullmatch(it)]
        root = self.folder / "projects"
        there = sorted(it.name for it in root.iterdir() if it.is_dir()) if root.is_dir() else []
        missing = [it for it in listed if it not in there]
        self.left += [f"The project {it} is in its list, but it has no folder." for it in missing]
        order = dict.fromkeys([*(it for it in listed if it in there), *there])
        return [root / it for it in order if _ID.fullmatch(it)]

    def dataset(self, project: Path) -> ForeignDataset | None:
        """None where there is none, or none that can be read."""
        path = project / "dataset" / "dataset.json"
        return self.document(path, ForeignDataset) if path.exists() else None

    def images(self, dataset: ForeignDataset, where: str) -> Iterator[ForeignImage]:
        """Those that can be read and whose name is that of a file."""
        for place, raw in enumerate(dataset.images, 1):
            try:
                image = msgspec.convert(raw, ForeignImage)
            except msgspec.ValidationError as error:
                self.left.append(f"{where}: picture {place} of the list: {error}.")
                continue
            if not _is_name(image.filename):
                self.left.append(f"{where}: {image.filename[:100]!r} is not the name of a file.")
            elif not set(image.split) <= _SUBSETS:
                self.left.append(f"{where}: {image.filename}: a part that does not exist.")
            else:
                yield image

    def below(self, folder: Path, document: str) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Folders in `folder` with a document of that name, and its fields."""
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if not path.is_dir() or path.is_symlink() or not _ID.fullmatch(path.name):
                continue
            fields = self.plain(path / document)
            if isinstance(fields, dict):
                yield path, fields
            elif fields is not None:
                self.left.append(f"{path / document} is no object.")

    def document(self, path: Path, kind: type[T]) -> T | None:
        fields = self.plain(path)
        if fields is None:
            return None
        try:
            return msgspec.convert(fields, kind)
        except msgspec.ValidationError as error:
            self.left.append(f"{path} cannot be used: {error}.")
            return None

    def plain(self, path: Path) -> Any:
        """JSON, also with the bare NaN that it writes. None, and a line in `left`: it cannot be read."""
        try:
            if path.stat().st_size > MAX_DOCUMENT_BYTES:
                raise Invalid("it is too large")
            return json.loads(path.read_bytes())
        except FileNotFoundError:
            self.left.append(f"{path} is not there.")
        except (OSError, ValueError, RecursionError, Invalid) as error:
            self.left.append(f"{path} cannot be read: {str(error)[:200]}.")
        return None


def _is_name(name: str) -> bool:
    return bool(name) and name not in (".", "..") and not set(name) & {"/", "\\", "\0"}
