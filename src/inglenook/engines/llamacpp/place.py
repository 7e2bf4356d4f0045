# SPDX-License-Identifier: Apache-2.0
"""Where a child lives: its folders, its socket, what it sees of the machine."""

import os
import secrets
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from inglenook.runtime import cgroup
from inglenook.runtime.contracts import Device
from inglenook.runtime.visibility import NONE, only

SOCKET: Final = "llama.sock"
SOCKET_PATH_BYTES: Final = 100
"""A system's limit is 104 or 108 with the zero at its end."""
SHORT_ROOTS: Final = (None, "/tmp")  # noqa: S108 - a folder of mode 0700 is made in it


@dataclass(frozen=True, slots=True)
class Place:
    """Attributes:
    spool: the child's working folder.
    folders: all that were made for it.
    socket: the Unix socket on which it will answer, in a folder of mode 0700; None where there is none: then
        `port` on 127.0.0.1, with `key`.
    """

    spool: Path
    folders: tuple[Path, ...]
    socket: str | None
    port: int | None = None
    key: str | None = None

    @classmethod
    def make(cls, root: Path) -> "Place":
        """Blocks. Raises `OSError`."""
        root.mkdir(parents=True, exist_ok=True)
        spool = Path(tempfile.mkdtemp(prefix="llama-", dir=root))
        for short in SHORT_ROOTS if hasattr(socket, "AF_UNIX") else ():
            parent = tempfile.gettempdir() if short is None else short
            if _fits(Path(parent) / "inglenook-12345678" / SOCKET):
                folder = Path(tempfile.mkdtemp(prefix="inglenook-", dir=parent))
                return cls(spool, (folder, spool), str(folder / SOCKET))
        return cls(spool, (spool,), None, _free_port(), secrets.token_urlsafe(32))


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= SOCKET_PATH_BYTES


def _free_port() -> int:
    """Another program may take it before the child does: then the child ends, and is started again."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        port: int = made.getsockname()[1]
        return port


def device_environment(device: Device) -> dict[str, str]:
    """Only the child's own device is visible to it, and waiting threads let others work.

    A child on the CPU sees no accelerator; Metal cannot be hidden, there `gpu_layers` is 0.
    """
    return {"OMP_WAIT_POLICY": "PASSIVE", **NONE, **only(device)}


def default_threads() -> int:
    """One less than the physical cores that this process may use, at least one: the last is for the server
    and for the pictures that are drawn beside it."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = min(psutil.cpu_count(logical=False) or usable, usable, cgroup.processors() or usable)
    return max(1, cores - 1)
