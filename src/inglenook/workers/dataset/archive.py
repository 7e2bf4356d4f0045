# SPDX-License-Identifier: Apache-2.0
"""The files of a zip archive, read where they lie: nothing is unpacked by the names that it gives.

What an archive claims is checked before the first byte of it is unpacked, and the claim bounds what is read.
"""

import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from inglenook.base.units import MIB, format_bytes
from inglenook.vision.formats.model import FormatError, Issue, Tree, safe_path
from inglenook.wire.studio.dataset import Bounds
from inglenook.workers.dataset.errors import BadFile, Stopped, TooMuch
from inglenook.workers.dataset.files import LOOK_EVERY, bounded_read, hidden

ENCRYPTED: Final = 0x1
UTF8: Final = 0x800
RATIO_COUNTS_FROM: Final = 64 * MIB
"""Small archives of flat pictures pack as well as any bomb, and do no harm."""
ENTRY_BYTES: Final = 46
LONGEST_NAME: Final = 1024
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")


def directory_size(path: Path) -> tuple[int, int]:
    """Entries and bytes of the archive's directory, as its end record says, without reading it.

    Raises FormatError: it is no zip file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 65_557))
        tail = file.read()
        at = tail.rfind(b"PK\5\6")
        if at < 0 or len(tail) - at < _END.size:
            raise FormatError("The file is no zip archive, or it is cut off.")
        _, _, _, _, count, length, _, _ = _END.unpack_from(tail, at)
        if at >= _LOCATOR.size and tail[at - _LOCATOR.size :].startswith(b"PK\6\7"):
            _, _, where, _ = _LOCATOR.unpack_from(tail, at - _LOCATOR.size)
            file.seek(min(where, size))
            record = file.read(_END64.size)
            if len(record) == _END64.size and record.startswith(b"PK\6\6"):
                _, _, _, _, _, _, _, count, length, _ = _END64.unpack(record)
    return count, length


class ArchiveFiles:
    """Raises FormatError, TooMuch when it is opened."""

    def __init__(self, path: Path, bounds: Bounds, *, should_stop: Callable[[], bool]) -> None:
        self._bounds = bounds
        self._should_stop = should_stop
        self._size = path.stat().st_size
        self.issues: list[Issue] = []
        count, length = directory_size(path)
        self._require(count, length)
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, OSError) as error:
            raise FormatError(f"The zip archive cannot be read: {error}.") from None
        self._entries: dict[str, zipfile.ZipInfo] = {}

    def _require(self, count: int, length: int) -> None:
        """A directory is held in memory whole, so its size is looked at before it is read."""
        most = self._bounds.files
        if count > most or length > most * (ENTRY_BYTES + 256) or length > self._size:
            raise TooMuch(
                f"The archive says that it has {max(count, length // (ENTRY_BYTES + LONGEST_NAME))} entries;"
                f" {most} are allowed.",
                hint="import it in parts, or raise studio.max_images",
            )

    def tree(self) -> Tree:
        infos = self._zip.infolist()
        self._require(len(infos), 0)
        self._require_no_bomb(infos)
        folders: set[str] = set()
        for number, info in enumerate(infos):
            if number % LOOK_EVERY == 0 and self._should_stop():
                raise Stopped
            self._take(info, folders)
        for path in self._entries:
            parts = path.split("/")[:-1]
            folders.update("/".join(parts[: depth + 1]) for depth in range(len(parts)))
        return Tree(self._entries, folders, self._read)

    def _require_no_bomb(self, infos: list[zipfile.ZipInfo]) -> None:
        unpacked = sum(info.file_size for info in infos)
        if unpacked > self._bounds.unpacked_bytes:
            raise TooMuch(
                f"The archive unpacks to {format_bytes(unpacked)};"
                f" {format_bytes(self._bounds.unpacked_bytes)} are allowed.",
                code="dataset.bomb",
                hint="import it in parts",
            )
        if sum(info.compress_size for info in infos) > self._size:
            raise TooMuch(
                "The archive's entries overlap: together they are larger than it.", code="dataset.bomb"
            )
        if unpacked > RATIO_COUNTS_FROM and unpacked > self._bounds.ratio * self._size:
            raise TooMuch(
                f"The archive unpacks to {unpacked / max(1, self._size):.0f} times its size; no pictures do.",
                code="dataset.bomb",
            )

    def _take(self, info: zipfile.ZipInfo, folders: set[str]) -> None:
        name = _name(info)
        path = safe_path(name)
        shown = name[:200]
        if path is None:
            self._leave_out(shown, "path_outside", "its name leads out of the archive (absolute, or with ..)")
        elif any(hidden(part) for part in path.split("/")):
            return
        elif info.is_dir() or name.endswith(("/", "\\")):
            parts = path.split("/")
            folders.update("/".join(parts[: depth + 1]) for depth in range(len(parts)))
        elif stat.S_ISLNK(info.external_attr >> 16):
            self._leave_out(shown, "link", "it is a symbolic link")
        elif info.flag_bits & ENCRYPTED:
            self._leave_out(shown, "encrypted", "it is encrypted; make the archive without a password")
        elif path in self._entries:
            self._leave_out(shown, "given_twice", "the archive has two entries of this name")
        else:
            self._entries[path] = info

    def _leave_out(self, path: str, reason: str, message: str) -> None:
        self.issues.append(Issue(path, reason, message))

    def _read(self, path: str, limit: int) -> bytes:
        try:
            with self.open(path) as file:
                return bounded_read(file, path, limit)
        except BadFile as error:
            raise FormatError(f"{path}: {error.message}.") from None
        except UNPACKING as error:
            raise FormatError(f"{path} cannot be unpacked: {error}.") from None

    def open(self, path: str) -> BinaryIO:
        info = self._entries[path]
        if info.file_size > self._bounds.file_bytes:
            raise BadFile("too_large", f"it has {format_bytes(info.file_size)}")
        try:
            return self._zip.open(info)  # type: ignore[return-value]  # reads at most what the entry claims
        except UNPACKING as error:
            raise BadFile("unpacking", f"it cannot be unpacked: {error}") from None

    def local(self, path: str, spool: Path) -> Path:
        into = spool / f"table-{len(list(spool.glob('table-*')))}"
        with self.open(path) as source, into.open("wb") as target:
            try:
                shutil.copyfileobj(source, target, MIB)
            except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                raise BadFile("unpacking", f"it cannot be unpacked: {error}") from None
        return into

    def close(self) -> None:
        self._zip.close()


UNPACKING: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OSError,
    ValueError,
)
"""What reading an entry raises: damage, another compression, a password, the disk."""


def _name(info: zipfile.ZipInfo) -> str:
    """Some programs write UTF-8 without saying so; Python then takes it for code page 437."""
    name = info.filename
    if not info.flag_bits & UTF8 and not name.isascii():
        try:
            return name.encode("cp437").decode("utf-8")
        except UnicodeError:
            return name
    return name
