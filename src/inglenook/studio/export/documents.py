# SPDX-License-Identifier: Apache-2.0
"""Exports on the disk. Everything here blocks. Whoever reads, decides and writes does it inside `change`,
which holds the project's lock.
"""

import re
import secrets
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from inglenook.base.clock import Clock
from inglenook.base.errors import InglenookError, NotFound
from inglenook.store.files import sync_folder, write_atomic, write_error
from inglenook.studio.documents import stamp
from inglenook.studio.export.errors import ExportNotFound
from inglenook.studio.export.model import ExportIndex, ExportRecord, summary_of
from inglenook.studio.projects.model import Project
from inglenook.studio.workspace import PROJECT, Workspace

DOCUMENT: Final = "export.json"
INDEX: Final = "exports_index.json"
_ID = re.compile(r"export-[0-9a-f]{8}")
Change = Callable[[ExportRecord], ExportRecord]


class ExportDocuments:
    def __init__(self, *, workspace: Workspace, clock: Clock) -> None:
        self.workspace = workspace
        self._clock = clock

    def now(self) -> str:
        return stamp(self._clock.now())

    def project_name(self, project_id: str) -> str:
        """Raises ProjectNotFound, CorruptDocument."""
        return self.workspace.read(self.workspace.project_folder(project_id) / PROJECT, Project).name

    def home(self, project_id: str) -> Path:
        """The folder of the project's exports. Raises ProjectNotFound."""
        return self.workspace.project_folder(project_id) / "exports"

    def folder(self, project_id: str, export_id: str) -> Path:
        """Raises ProjectNotFound, ExportNotFound."""
        folder = self.home(project_id) / export_id
        if not _ID.fullmatch(export_id) or not folder.is_dir():
            raise ExportNotFound(f"There is no export {export_id[:60]!r}.")
        return folder

    def read(self, project_id: str, export_id: str) -> ExportRecord:
        """Raises ProjectNotFound, ExportNotFound, CorruptDocument; Conflict: a newer program wrote it."""
        folder = self.folder(project_id, export_id)
        try:
            return self.workspace.read(folder / DOCUMENT, ExportRecord)
        except NotFound:
            raise ExportNotFound(f"There is no export {export_id!r}.") from None

    def index(self, project_id: str) -> ExportIndex:
        """What a list shows. Raises ProjectNotFound, CorruptDocument."""
        try:
            return self.workspace.read(self.home(project_id) / INDEX, ExportIndex)
        except NotFound:
            self.workspace.project_folder(project_id)
            return ExportIndex()

    def add(self, project_id: str, make: Callable[[str], ExportRecord]) -> ExportRecord:
        """Keep a new one. `make` gets its id."""
        with self.workspace.locked(project_id):
            home = self.home(project_id)
            record = make(f"export-{secrets.token_hex(4)}")
            unfinished = home / f".new-{record.id}"
            try:
                unfinished.mkdir(mode=0o700, parents=True)
                self.workspace.write(unfinished / DOCUMENT, record)
                unfinished.rename(home / record.id)
                sync_folder(home)
            except OSError as error:
                raise write_error(error, home) from error
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
            self._list(project_id, record)
            return record

    def change(self, project_id: str, export_id: str, change: Change) -> ExportRecord:
        """Read, change, write: nobody comes between. What `change` raises leaves everything as it was."""
        with self.workspace.locked(project_id):
            before = self.read(project_id, export_id)
            after = change(before)
            if after != before:
                self.workspace.write(self.folder(project_id, export_id) / DOCUMENT, after)
                self._list(project_id, after)
            return after

    def remove(self, project_id: str, export_id: str, allowed: Callable[[ExportRecord], None]) -> None:
        """Delete it with its files, unless `allowed` raises."""
        with self.workspace.locked(project_id):
            folder = self.folder(project_id, export_id)
            allowed(self.read(project_id, export_id))
            gone = folder.with_name(f".gone-{export_id}-{secrets.token_hex(4)}")
            try:
                folder.rename(gone)
                sync_folder(folder.parent)
            except OSError as error:
                raise write_error(error, folder) from error
            kept = tuple(one for one in self.index(project_id).exports if one.id != export_id)
            self._write_index(project_id, ExportIndex(exports=kept))
        shutil.rmtree(gone, ignore_errors=True)  # what stays is cleared when the workspace is opened

    def repair(self, project_id: str) -> Sequence[ExportRecord]:
        """All exports of a project as their documents have them, the list put right by them. One that cannot
        be read stays as it is and is not in the list."""
        with self.workspace.locked(project_id):
            home = self.home(project_id)
            found = []
            for folder in sorted(home.iterdir()) if home.is_dir() else ():
                if _ID.fullmatch(folder.name):
                    with suppress(InglenookError):
                        found.append(self.read(project_id, folder.name))
            found.sort(key=lambda one: (one.created_at, one.id))
            index = ExportIndex(exports=tuple(summary_of(one) for one in found))
            if home.is_dir() and index != self._readable_index(project_id):
                self._write_index(project_id, index)
            return found

    def clear(self, project_id: str, export_id: str) -> Path:
        """Remove everything but the document; the folder."""
        folder = self.folder(project_id, export_id)
        for path in folder.iterdir():
            if path.name == DOCUMENT:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        return folder

    def write_text(self, project_id: str, export_id: str, name: str, text: str) -> None:
        """Raises Failed, Unavailable: it cannot be written."""
        write_atomic(self.folder(project_id, export_id) / name, text.encode())

    def _readable_index(self, project_id: str) -> ExportIndex | None:
        with suppress(InglenookError):
            return self.index(project_id)
        return None

    def _list(self, project_id: str, record: ExportRecord) -> None:
        line = summary_of(record)
        others = self.index(project_id).exports
        if any(one.id == line.id for one in others):
            lines = tuple(line if one.id == line.id else one for one in others)
        else:
            lines = (*others, line)
        if lines != others:
            self._write_index(project_id, ExportIndex(exports=lines))

    def _write_index(self, project_id: str, index: ExportIndex) -> None:
        self.workspace.write(self.home(project_id) / INDEX, index)
