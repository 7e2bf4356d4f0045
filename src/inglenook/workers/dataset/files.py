# SPDX-License-Identifier: Apache-2.0
"""The files of a source: listed, and opened for reading, wherever they lie."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from inglenook.vision.formats.model import FormatError, Issue, Tree
from inglenook.workers.dataset.errors import BadFile, Stopped, TooMuch

JUNK: Final = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"})
"""What systems put into folders by themselves."""
MAX_DEPTH: Final = 64
LOOK_EVERY: Final = 500
"""After so many files it is looked whether to stop."""


class Files(Protocol):
    """`issues`: what the listing has left out, and why."""

    issues: list[Issue]

    def tree(self) -> Tree:
        """Raises TooMuch, Stopped, FormatError."""
        ...

    def open(self, path: str) -> BinaryIO:
        """Raises BadFile, OSError."""
        ...

    def local(self, path: str, spool: Path) -> Path:
        """A real file with the same bytes, perhaps made in `spool`. Raises BadFile."""
        ...

    def close(self) -> None: ...


def hidden(name: str) -> bool:
    """Whether a folder or file is one that nobody put there on purpose."""
    return name.startswith(".") or name.lower() in JUNK


def bounded_read(file: BinaryIO, path: str, limit: int) -> bytes:
    """Raises FormatError."""
    data = file.read(limit + 1)
    if len(data) > limit:
        raise FormatError(f"{path} has more than {limit} bytes.", hint="split the data set")
    return data


class FolderFiles:
    """A folder of this machine.

    Args:
        root: a real path. roots: real paths out of which no link may lead.
        most: files that there may be.
    """

    def __init__(
        self, root: Path, roots: tuple[Path, ...], *, most: int, should_stop: Callable[[], bool]
    ) -> None:
        self._root = root
        self._roots = roots
        self._most = most
        self._should_stop = should_stop
        self._count = 0
        self.issues: list[Issue] = []

    def tree(self) -> Tree:
        folders: list[str] = []
        return Tree(list(self._walk(folders)), folders, self._read)

    def _walk(self, folders: list[str]) -> Iterator[str]:
        waiting = [("", self._root)]
        been = {os.path.realpath(self._root)}
        while waiting:
            within, folder = waiting.pop()
            try:
                entries = os.scandir(folder)
            except OSError as error:
                self._leave_out(within or ".", "unreadable", f"the folder cannot be read: {error.strerror}")
                continue
            with entries:
                for entry in entries:
                    self._look()
                    if hidden(entry.name):
                        continue
                    path = f"{within}{entry.name}"
                    kind = self._kind(entry, path)
                    if kind == "file":
                        yield path
                    elif kind == "folder" and self._may_enter(entry, path, been):
                        folders.append(path)
                        waiting.append((path + "/", Path(entry.path)))

    def _look(self) -> None:
        self._count += 1
        if self._count > self._most:
            raise TooMuch(
                f"The folder has more than {self._most} files.",
                hint="import a part of it, or raise studio.max_images",
            )
        if self._count % LOOK_EVERY == 0 and self._should_stop():
            raise Stopped

    def _kind(self, entry: os.DirEntry[str], path: str) -> str | None:
        try:
            path.encode()
            if entry.is_symlink() and not self._inside(Path(os.path.realpath(entry.path))):
                self._leave_out(path, "link_outside", "it is a link that leads out of the folder")
                return None
            if entry.is_dir():
                return "folder"
            if entry.is_file():
                return "file"
            self._leave_out(path, "special_file", "it is no regular file (or a link to nothing)")
        except UnicodeEncodeError:
            shown = os.fsencode(path).decode("utf-8", "backslashreplace")
            self._leave_out(shown, "name", "its name is not UTF-8; rename it")
        except OSError as error:
            self._leave_out(path, "unreadable", f"it cannot be looked at: {error.strerror}")
        return None

    def _may_enter(self, entry: os.DirEntry[str], path: str, been: set[str]) -> bool:
        """Links may lead in circles."""
        real = os.path.realpath(entry.path)
        if path.count("/") >= MAX_DEPTH:
            self._leave_out(path, "too_deep", f"it lies more than {MAX_DEPTH} folders deep")
        elif real in been:
            self._leave_out(path, "link_again", "it is a link to a folder that was read already")
        else:
            been.add(real)
            return True
        return False

    def _inside(self, real: Path) -> bool:
        return any(real.is_relative_to(root) for root in self._roots)

    def _leave_out(self, path: str, reason: str, message: str) -> None:
        self.issues.append(Issue(path, reason, message))

    def _read(self, path: str, limit: int) -> bytes:
        try:
            with self.open(path) as file:
                return bounded_read(file, path, limit)
        except BadFile as error:
            raise FormatError(f"{path}: {error.message}.") from None
        except OSError as error:
            raise FormatError(f"{path} cannot be read: {error.strerror}.") from None

    def open(self, path: str) -> BinaryIO:
        return open_inside(self._root / path, self._roots)

    def local(self, path: str, spool: Path) -> Path:  # noqa: ARG002 - the protocol's signature
        with self.open(path):  # the checks that it makes
            return self._root / path

    def close(self) -> None:
        return


def open_inside(path: Path, roots: tuple[Path, ...]) -> BinaryIO:
    """A regular file, by the path that is really its own: what was swapped for a link since is refused.

    Raises BadFile, OSError.
    """
    real = Path(os.path.realpath(path))
    if not any(real.is_relative_to(root) for root in roots):
        raise BadFile("link_outside", "it is a link that leads out of the folder")
    flags = (
        os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    )
    descriptor = os.open(real, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BadFile("special_file", "it is no regular file")
    return os.fdopen(descriptor, "rb")
