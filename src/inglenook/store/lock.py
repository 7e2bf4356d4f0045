# SPDX-License-Identifier: Apache-2.0
"""One server per data folder: a lock that the system releases when its holder dies, and who holds it."""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from inglenook.base.errors import Conflict, InglenookError
from inglenook.store.files import write_atomic, write_error

LOCK_NAME = "server.lock"
INFO_NAME = "server.json"

_PATIENCE_S = 0.5
"""Longer than `running` holds the lock, so that a look never makes a start fail."""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """The server that holds a data folder. `address`: where it listens, as a URL."""

    pid: int
    address: str
    started_at: datetime

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "started_at": self.started_at.isoformat()}


class DataLock:
    """Held while a server runs. Not re-entrant; to be used by one object in a process.

    Attributes:
        holder: what `update` wrote last; None before `acquire`.
    """

    def __init__(self, folder: Path, *, what: str = "the data folder") -> None:
        """Args:
        what: the folder is, for messages.
        """
        self._folder = folder
        self._what = what
        self._lock = _lock(folder)
        self.holder: ServerInfo | None = None

    def acquire(self, info: ServerInfo) -> None:
        """Take the folder and write who has it.

        Raises:
            Conflict: another server has it (`store.locked`); the message names its pid and address.
            Unavailable: the folder cannot be written to.
        """
        try:
            self._lock.acquire(timeout=_PATIENCE_S)
        except Timeout as error:
            raise _taken(self._folder, self._what) from error
        except OSError as error:
            raise write_error(error, self._folder / LOCK_NAME) from error
        try:
            self.update(info)
        except InglenookError:
            self._lock.release()
            raise

    def update(self, info: ServerInfo) -> None:
        """Write who holds the lock anew: the address is known for certain only after listening began."""
        write_atomic(self._folder / INFO_NAME, json.dumps(info.as_json(), indent=1).encode())
        self.holder = info

    def release(self) -> None:
        """Idempotent. The lock's file stays: removing it would let two processes hold two locks."""
        if self._lock.is_locked:
            with suppress(OSError):
                (self._folder / INFO_NAME).unlink(missing_ok=True)
            self._lock.release()


def running(folder: Path) -> ServerInfo | None:
    """The server that holds `folder` now, or None: what a killed one has left behind does not count."""
    if not (folder / LOCK_NAME).exists():
        return None
    lock = _lock(folder)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return _info(folder)
    except OSError:
        return None
    lock.release()
    return None


def _lock(folder: Path) -> FileLock:
    return FileLock(folder / LOCK_NAME, mode=0o600, thread_local=False)


def _info(folder: Path) -> ServerInfo | None:
    try:
        said = json.loads((folder / INFO_NAME).read_bytes())
        return ServerInfo(int(said["pid"]), str(said["address"]), datetime.fromisoformat(said["started_at"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _taken(folder: Path, what: str) -> Conflict:
    info = _info(folder)
    who = "Another program"
    if info is not None:
        who = f"A server at {info.address} (process {info.pid})" if info.address else f"Process {info.pid}"
    return Conflict(
        f"{who} already uses {what} {folder}.",
        code="store.locked",
        hint="use that one, stop it, or give this one another folder",
    )


def this_process(address: str, now: datetime) -> ServerInfo:
    return ServerInfo(os.getpid(), address, now)
