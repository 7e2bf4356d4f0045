# SPDX-License-Identifier: Apache-2.0
"""Files that are either there in full or not at all. Everything here blocks."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from inglenook.base.errors import Failed, InglenookError, Unavailable
from inglenook.base.units import format_bytes

FREE: Final = (
    "free some room there, then try again: models, pictures of the gallery, old experiments with their"
    " checkpoints, exports, and earlier versions of data sets take most"
)
"""What to do about a full disk."""
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def write_atomic(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Put `data` at `path`, replacing what was there; after a crash either the old or the new is found.

    Raises:
        Failed: no room (`store.disk_full`); the old file is untouched and nothing half-written is left.
        Unavailable: the folder cannot be written to (`store.unwritable`).
    """
    with atomic_file(path, mode=mode) as file:
        file.write(data)


@contextmanager
def atomic_file(path: Path, *, mode: int = 0o600, beside: Path | None = None) -> Iterator[BinaryIO]:
    """A file to write to, which becomes `path` when the block ends and vanishes when it raises.

    Args:
        beside: the folder for the unfinished file, on the same file system; `path`'s own by default.

    Raises: as `write_atomic`.
    """
    folder = path.parent if beside is None else beside
    unfinished = folder / f".{path.name}.{secrets.token_hex(6)}.tmp"
    try:
        descriptor = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException as error:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise write_error(error, path) from error
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename or a new name in `folder` survive a power cut, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems know no fsync of a folder
            raise write_error(error, folder) from error
    finally:
        os.close(descriptor)


def _left_there(path: Path) -> str:
    """``: 12 KiB of 40 GiB are free``; empty where the system does not say."""
    folder = next((one for one in path.parents if one.is_dir()), None)
    if folder is None:
        return ""
    try:
        disk = shutil.disk_usage(folder)
    except OSError:
        return ""
    return f": {format_bytes(disk.free)} of {format_bytes(disk.total)} are free"


def write_error(error: OSError, path: Path) -> InglenookError:
    """What a person reads when a file could not be written."""
    if error.errno in _NO_ROOM:
        return Failed(
            f"There is no room on the disk for {path}{_left_there(path)}.", code="store.disk_full", hint=FREE
        )
    return Unavailable(
        f"{path} cannot be written: {error.strerror}.",
        code="store.unwritable",
        hint="check that the folder exists and belongs to you",
    )
