# SPDX-License-Identifier: Apache-2.0
"""Unpacks an archive that somebody else made, trusting nothing in it but the bytes of its files.

Names must stay inside the folder; links must point at a neighbour that is there; nothing is owned, setuid or
special; and neither the number of files, nor their bytes, nor what unfolds on the way has no end.
"""

import gzip
import io
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from inglenook.base.units import GIB, format_bytes
from inglenook.engines.llamacpp.errors import ArchiveRefused
from inglenook.store.files import write_error

MAX_FILES: Final = 2000
MAX_BYTES: Final = 6 * GIB
"""Today's largest (CUDA's libraries) unpack to about one."""
_CHUNK: Final = 1024 * 1024
_TOP: Final = re.compile(r"llama-b\d+")
_PART: Final = re.compile(r"[A-Za-z0-9_+@=][A-Za-z0-9._+@=-]{0,127}")
"""Of a path in the archive: no hidden names, no white space, nothing that systems read differently."""


def unpack(archive: Path, folder: Path, *, name: str) -> None:
    """Unpack a `.tar.gz` or `.zip` into `folder`, without the `llama-b…/` that some archives begin with.

    Args:
        name: of the archive, for messages.

    Raises:
        ArchiveRefused: something in it is not as it should be. `folder` then holds a part of it.
        Failed, Unavailable: the disk; see `store.files`.
    """
    target = _Target(folder, name)
    try:
        if archive.name.endswith(".zip"):
            _unpack_zip(archive, target)
        else:
            _unpack_tar(archive, target)
    except (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ArchiveRefused(f"{name} is no sound archive: {str(error)[:200]}.") from error
    except (NotImplementedError, RuntimeError) as error:  # zipfile: another packing; a password
        raise ArchiveRefused(f"{name} cannot be unpacked: {str(error)[:200]}.") from error
    except OSError as error:
        raise write_error(error, folder) from error


@dataclass
class _Target:
    """Where files go, and what has gone there."""

    folder: Path
    archive: str
    taken_bytes: int = 0
    files: int = 0
    links: list[tuple[Path, str]] = field(default_factory=list)

    def place(self, name: str) -> Path | None:
        """Where an entry goes; None for the folder itself. Raises ArchiveRefused."""
        parts = [part for part in name.removesuffix("/").split("/") if part not in ("", ".")]
        if name.startswith("/") or any(not _PART.fullmatch(part) for part in parts):
            raise self.refused(f"the name {name[:120]!r} is not one of a file below it")
        self.files += 1
        if self.files > MAX_FILES:
            raise self.refused(f"it has more than {MAX_FILES} files")
        if parts and _TOP.fullmatch(parts[0]):
            parts = parts[1:]
        return self.folder.joinpath(*parts) if parts else None

    def write(self, path: Path, source: IO[bytes], size: int, *, executable: bool) -> None:
        if size > MAX_BYTES - self.taken_bytes:
            raise self.refused(f"it unpacks to more than {format_bytes(MAX_BYTES)}")
        self.taken_bytes += size
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        try:
            descriptor = os.open(path, flags, 0o755 if executable else 0o644)
        except FileExistsError:
            raise self.refused(f"it holds {path.name} twice") from None
        with os.fdopen(descriptor, "wb") as file:
            left = size
            while left and (chunk := source.read(min(left, _CHUNK))):
                file.write(chunk)
                left -= len(chunk)
        if left or source.read(1):
            raise self.refused(f"{path.name} has another size than the archive says")

    def link(self, path: Path, to: str) -> None:
        """Made when all files are there, so that nothing is ever written through a link."""
        if not _PART.fullmatch(to):
            raise self.refused(f"{path.name} is a link to {to[:120]!r}, which is not a neighbour")
        self.links.append((path, to))

    def make_links(self) -> None:
        """A chain of links (`libllama.so` → `libllama.so.0` → `libllama.so.0.0.1`) must end at a file."""
        for path, to in self.links:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                path.symlink_to(to)
            except FileExistsError:
                raise self.refused(f"it holds {path.name} twice") from None
        for path, to in self.links:
            if not path.is_file():
                raise self.refused(f"{path.name} is a link to {to!r}, which is not there")

    def refused(self, why: str) -> ArchiveRefused:
        return ArchiveRefused(f"{self.archive} is not unpacked: {why}.")


def _unpack_tar(archive: Path, target: _Target) -> None:
    with _tar(archive, target) as entries:
        for entry in entries:
            path = target.place(entry.name)
            if path is None or entry.isdir():
                continue
            if entry.issym():
                target.link(path, entry.linkname)
            elif entry.isreg():
                source = entries.extractfile(entry)
                assert source is not None
                with source:
                    target.write(path, source, entry.size, executable=bool(entry.mode & stat.S_IXUSR))
            else:
                raise target.refused(f"{entry.name[:120]!r} is neither a file nor a folder nor a link")
    target.make_links()


@contextmanager
def _tar(archive: Path, target: _Target) -> Iterator[tarfile.TarFile]:
    with (
        gzip.open(archive, "rb") as unfolded,
        tarfile.open(fileobj=_Counted(unfolded, target), mode="r|", errorlevel=2) as entries,
    ):
        yield entries


class _Counted(io.RawIOBase):
    """What comes out of a compressed archive, up to a limit: also headers may unfold without end."""

    def __init__(self, source: Any, target: _Target) -> None:
        self._source = source
        self._target = target
        self._left = MAX_BYTES + MAX_FILES * 4096

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self._left:
            raise self._target.refused(f"it unpacks to more than {format_bytes(MAX_BYTES)}")
        data: bytes = self._source.read(size)
        self._left -= len(data)
        return data


def _unpack_zip(archive: Path, target: _Target) -> None:
    with zipfile.ZipFile(archive) as entries:
        for entry in entries.infolist():
            path = target.place(entry.filename)
            if path is None or entry.is_dir():
                continue
            mode = entry.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise target.refused(f"{entry.filename[:120]!r} is not a file")
            with entries.open(entry) as source:
                target.write(path, source, entry.file_size, executable=bool(mode & stat.S_IXUSR))
