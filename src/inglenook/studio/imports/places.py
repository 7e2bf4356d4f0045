# SPDX-License-Identifier: Apache-2.0
"""From where may be imported, and where uploads wait for their job. Everything here blocks."""

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from inglenook.base.clock import Clock
from inglenook.base.errors import Denied, Invalid, NotFound
from inglenook.store.files import write_error
from inglenook.wire.studio.dataset import Listed

MANIFEST: Final = "manifest.jsonl"
SENT: Final = "sent"
_UPLOAD: Final = re.compile(r"up-[0-9a-f]{16}")
_KEEP_S: Final = 24 * 3600.0
TABLES: Final = (".parquet", ".arrow")


@dataclass(frozen=True, slots=True)
class Roots:
    """Folders from which a person may import. `own`: the first of them, made when it is missing."""

    folders: tuple[Path, ...]

    def real(self) -> tuple[Path, ...]:
        return tuple(Path(os.path.realpath(folder)) for folder in self.folders)

    def allowed(self, given: str) -> Path:
        """The real path of what a person names; relative to the first root.

        Raises:
            Denied: it lies below no allowed root; whether it exists is not told.
            Invalid: there is no such folder or file, or it is something else.
        """
        if not given.strip() or "\0" in given:
            raise Invalid("source_path is empty.", field="source_path", hint="name a folder or a zip file")
        asked = Path(given.strip()).expanduser()
        path = Path(os.path.realpath(asked if asked.is_absolute() else self.folders[0] / asked))
        if not any(path.is_relative_to(root) for root in self.real()):
            allowed = ", ".join(str(folder) for folder in self.folders)
            raise Denied(
                f"{str(asked)[:200]} lies in no folder from which may be imported.",
                code="dataset.outside_roots",
                hint=f"allowed: {allowed}; studio.import_roots names more",
            )
        if not path.exists():
            raise Invalid(f"There is no {str(asked)[:200]}.", field="source_path", code="dataset.no_source")
        if not path.is_dir() and path.suffix.lower() not in (".zip", *TABLES):
            raise Invalid(
                f"{path.name[:100]} is no folder, zip, parquet or Arrow file.",
                field="source_path",
                hint="name the folder that holds the pictures",
            )
        return path

    def open(self) -> None:
        """Make the first root, so that a person finds a place for pictures."""
        try:
            self.folders[0].mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(error, self.folders[0]) from error


class Uploads:
    """Folders of what was sent, each until its job has ended.

    Args:
        root: made when the first upload comes.
    """

    def __init__(self, root: Path, clock: Clock) -> None:
        self._root = root
        self._clock = clock

    def new(self) -> Path:
        """An empty folder. Raises Failed, Unavailable."""
        folder = self._root / f"up-{secrets.token_hex(8)}"
        try:
            folder.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise write_error(error, folder) from error
        return folder

    def folder(self, name: str) -> Path:
        """Raises NotFound: it is gone, as after a job that has ended."""
        folder = self._root / name
        if not _UPLOAD.fullmatch(name) or not folder.is_dir():
            raise NotFound(
                "What was sent is no longer there.", code="dataset.no_source", hint="send it again"
            )
        return folder

    def remove(self, name: str) -> None:
        if _UPLOAD.fullmatch(name):
            shutil.rmtree(self._root / name, ignore_errors=True)

    def sweep(self, in_use: Callable[[str], bool]) -> None:
        """Remove what no unfinished job wants and nobody has sent in the last day."""
        if not self._root.is_dir():
            return
        now = self._clock.now().timestamp()
        for folder in self._root.iterdir():
            if now - folder.stat().st_mtime > _KEEP_S and not in_use(folder.name):
                shutil.rmtree(folder, ignore_errors=True)


def write_manifest(folder: Path, rows: Iterable[Listed]) -> int:
    """List the files of an upload; how many they are. Raises Failed, Unavailable."""
    count = 0
    path = folder / MANIFEST
    try:
        with path.open("wb") as file:
            for row in rows:
                file.write(msgspec.json.encode(row) + b"\n")
                count += 1
    except OSError as error:
        raise write_error(error, path) from error
    return count
