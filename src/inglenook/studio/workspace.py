# SPDX-License-Identifier: Apache-2.0
"""The folder in which the studio keeps everything, and who may write to it. Everything here blocks."""

import logging
import re
import secrets
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from inglenook.base.clock import Clock
from inglenook.base.errors import Conflict, NotFound
from inglenook.store.files import sync_folder, write_error
from inglenook.store.lock import DataLock, ServerInfo
from inglenook.studio.documents import D, Document, read_document, stamp, write_document
from inglenook.studio.errors import CorruptDocument, ProjectNotFound

log = logging.getLogger(__name__)

NAME: Final = "workspace.json"
PROJECT: Final = "project.json"
_ID = re.compile(r"proj-[0-9a-f]{8}")
_PARTS = (".", "dataset", "dataset/versions", "splits", "experiments", "exports")
"""Folders of a project in which documents lie."""
_LEFT_OVER = (".new-*", ".gone-*", ".*.tmp")
"""What a server that was killed may have left: never part of the truth."""


class WorkspaceDocument(Document, frozen=True, kw_only=True):
    """`projects`: ids in the order in which they were made."""

    created_at: str
    projects: tuple[str, ...] = ()


class Workspace:
    """Args:
    root: made when it is missing.
    """

    def __init__(self, root: Path, clock: Clock) -> None:
        self.root = root
        self._clock = clock
        self._lock = DataLock(root, what="the studio's workspace")
        self._index = threading.RLock()
        self._projects: dict[str, threading.RLock] = {}
        self._projects_guard = threading.Lock()

    # -- opening -----------------------------------------------------------------------------------------

    def open(self, info: ServerInfo) -> None:
        """Take the workspace for this process and clear away what a killed one has left half done.

        Args:
            info: who takes it, for whoever finds it taken.

        Raises:
            Conflict: another server has it, and the message says which; or a newer program has written it.
            Unavailable, Failed: the folder cannot be written to.
        """
        try:
            (self.root / "projects").mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(error, self.root) from error
        self._lock.acquire(info)
        try:
            self._repair()
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Idempotent."""
        self._lock.release()

    def _repair(self) -> None:
        """List what is there. A project's folder gets its name only when it is whole, and loses it before it
        is deleted; so every folder with such a name is a project, listed or not.
        """
        for folder in (self.root, self.root / "projects"):
            _clear(folder)
        try:
            document = self.read(self.root / NAME, WorkspaceDocument)
        except NotFound:
            document = self._begun()
        except CorruptDocument as error:
            # All that it says can be found out again but the order, so nobody has to wait for it.
            aside = self.root / f"{NAME}.corrupt-{secrets.token_hex(4)}"
            (self.root / NAME).rename(aside)
            log.warning("%s It was put aside as %s, and the projects are listed anew.", error.message, aside)
            document = self._begun()
        there = sorted(it.name for it in (self.root / "projects").iterdir() if _ID.fullmatch(it.name))
        listed = [it for it in document.projects if it in there]
        projects = (*listed, *(it for it in there if it not in listed))
        for project in projects:
            for part in _PARTS:
                _clear(self.root / "projects" / project / part)
            for found in (self.root / "projects" / project).glob("e*/e*-*/"):  # experiments and exports
                _clear(found)
                for evaluation in found.glob("evaluations/*/"):
                    _clear(evaluation)
        if projects != document.projects:
            self.write(self.root / NAME, _with(document, projects))

    def _begun(self) -> WorkspaceDocument:
        document = WorkspaceDocument(created_at=stamp(self._clock.now()))
        self.write(self.root / NAME, document)
        return document

    # -- documents ---------------------------------------------------------------------------------------

    def read(self, path: Path, kind: type[D]) -> D:
        """As `documents.read_document`."""
        return read_document(path, kind)

    def write(self, path: Path, document: Document) -> None:
        """As `documents.write_document`."""
        write_document(path, document)

    # -- projects ----------------------------------------------------------------------------------------

    def projects(self) -> Sequence[str]:
        """Ids in the order in which they were made. Raises CorruptDocument."""
        return self.read(self.root / NAME, WorkspaceDocument).projects

    def project_folder(self, project_id: str) -> Path:
        """Raises ProjectNotFound."""
        folder = self.root / "projects" / project_id
        if not _ID.fullmatch(project_id) or not folder.is_dir():
            raise ProjectNotFound(f"There is no project {project_id[:60]!r}.")
        return folder

    @contextmanager
    def locked(self, project_id: str) -> Iterator[Path]:
        """The project's folder, for one thread at a time; the same thread may come in again.

        Raises:
            ProjectNotFound: it is not there, or no longer.
        """
        self.project_folder(project_id)  # or every id that was ever asked for would keep a lock
        with self._projects_guard:
            lock = self._projects.setdefault(project_id, threading.RLock())
        with lock:
            yield self.project_folder(project_id)

    def new_project_id(self) -> str:
        return f"proj-{secrets.token_hex(4)}"

    def add(self, project_id: str, document: Document) -> None:
        """Make a project: its folder with its document, then its place in the list.

        Raises:
            Conflict: there is one with that id.
            Failed, Unavailable: it cannot be written; nothing is left of it.
        """
        target = self.root / "projects" / project_id
        with self._index:
            if target.exists():
                raise Conflict(f"There is a project {project_id} already.", code="project.exists")
            unfinished = target.with_name(f".new-{project_id}")
            try:
                unfinished.mkdir(mode=0o700)
                self.write(unfinished / PROJECT, document)
                unfinished.rename(target)
                sync_folder(target.parent)
            except OSError as error:
                raise write_error(error, target) from error
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
            listed = self.read(self.root / NAME, WorkspaceDocument)
            self.write(self.root / NAME, _with(listed, (*listed.projects, project_id)))

    def remove(self, project_id: str) -> None:
        """Take a project out of the list and delete its folder. Raises ProjectNotFound, Failed,
        Unavailable.
        """
        with self.locked(project_id) as folder, self._index:
            gone = folder.with_name(f".gone-{project_id}-{secrets.token_hex(4)}")
            try:
                folder.rename(gone)
                sync_folder(folder.parent)
            except OSError as error:
                raise write_error(error, folder) from error
            listed = self.read(self.root / NAME, WorkspaceDocument)
            self.write(self.root / NAME, _with(listed, [it for it in listed.projects if it != project_id]))
        with self._projects_guard:
            self._projects.pop(project_id, None)
        shutil.rmtree(gone, ignore_errors=True)  # what stays is cleared when the workspace is opened


def _with(document: WorkspaceDocument, projects: Sequence[str]) -> WorkspaceDocument:
    return WorkspaceDocument(created_at=document.created_at, projects=tuple(projects))


def _clear(folder: Path) -> None:
    for pattern in _LEFT_OVER:
        for found in folder.glob(pattern):
            if found.is_dir() and not found.is_symlink():
                shutil.rmtree(found, ignore_errors=True)
            else:
                found.unlink(missing_ok=True)
