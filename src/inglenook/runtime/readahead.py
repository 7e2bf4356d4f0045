# SPDX-License-Identifier: Apache-2.0
"""The files of the model that is loaded next are brought into the page cache while it waits for its room."""

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from inglenook.base.units import GIB, MIB, format_bytes
from inglenook.runtime.contracts import LoadPlan

log = logging.getLogger(__name__)

WINDOW_BYTES: Final = 32 * MIB
"""Read at a time; between two windows the wish may go."""
SPARED_BYTES: Final = 1 * GIB
"""Of the memory that is available, what reading ahead never fills: what is cached for others stays."""
PAGE_BYTES: Final = 4096
MEMINFO: Final = Path("/proc/meminfo")
MOUNTS: Final = Path("/proc/self/mountinfo")
REMOTE: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "lustre", "afs", "davfs", "virtiofs"}
)


class Reader(Protocol):
    """Brings parts of files into the page cache. Blocks."""

    def read(self, path: Path, offset: int, length: int) -> None:
        """Raises OSError."""
        ...

    def available_bytes(self) -> int:
        """Memory that can be had without pushing anything out to the disk; 0 where nobody tells."""
        ...

    def is_remote(self, path: Path) -> bool:
        """Whether it lies on another machine, where reading costs the network."""
        ...


class SystemReader:
    def read(self, path: Path, offset: int, length: int) -> None:
        """Tell the kernel what is needed, and wait for the window's last page: nothing is copied. Where the
        system has no such call the window is read."""
        with path.open("rb", buffering=0) as file:
            if not hasattr(os, "posix_fadvise"):
                file.seek(offset)
                file.read(length)
                return
            os.posix_fadvise(file.fileno(), offset, length, os.POSIX_FADV_WILLNEED)
            os.pread(file.fileno(), PAGE_BYTES, max(offset, offset + length - PAGE_BYTES))

    def available_bytes(self) -> int:
        try:
            lines = MEMINFO.read_text().splitlines()
        except OSError:
            return _physical_bytes() // 4
        found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
        return int(found[0]) * 1024 if found else 0

    def is_remote(self, path: Path) -> bool:
        try:
            mounts = MOUNTS.read_text().splitlines()
        except OSError:
            return False
        kind, longest = "", -1
        for line in mounts:
            place, _, rest = line.partition(" - ")
            point = place.split()[4].encode().decode("unicode_escape")
            if len(point) > longest and path.resolve().is_relative_to(point):
                kind, longest = rest.split()[0], len(point)
        return kind in REMOTE or kind.startswith("fuse.")


def _physical_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class ReadAhead:
    """Reads for one plan at a time: the last that was wanted. Lives on the event loop; reads in threads.

    A model is read once for each time that it becomes the next one; from another machine once for as long as
    its file is the same.
    """

    def __init__(self, reader: Reader, *, finished: Callable[[LoadPlan, int], None] | None = None) -> None:
        """`finished`: told the plan and how many bytes were asked for."""
        self._reader = reader
        self._finished = finished
        self._plan: LoadPlan | None = None
        self._task: asyncio.Task[None] | None = None
        self._remote: set[tuple[Path, int, int]] = set()

    def want(self, plan: LoadPlan | None) -> None:
        """This is loaded next; None: nothing is known to be. What was wanted before is given up."""
        before = self._plan
        if before is not None and plan is not None and before.files == plan.files:
            return
        self._plan = plan
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if plan is not None and plan.files:
            self._task = asyncio.create_task(self._run(plan), name=f"read ahead {plan.model}")

    @property
    def idle(self) -> bool:
        """Whether nothing is being read."""
        return self._task is None or self._task.done()

    async def close(self) -> None:
        task, self._task, self._plan = self._task, None, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self, plan: LoadPlan) -> None:
        room = await asyncio.to_thread(self._reader.available_bytes) - SPARED_BYTES
        read = 0
        try:
            for path in plan.files:
                size = await asyncio.to_thread(self._size, path)
                for offset in range(0, size, WINDOW_BYTES):
                    length = min(WINDOW_BYTES, size - offset)
                    if read + length > room:
                        log.debug("reading ahead %s ends at %s: memory", plan.model, format_bytes(read))
                        return
                    await asyncio.to_thread(self._reader.read, path, offset, length)
                    read += length
        except OSError as error:  # the load itself will tell; this is only a favour
            log.debug("%s was not read ahead: %s", plan.model, error)
        else:
            log.debug("%s was read ahead: %s", plan.model, format_bytes(read))
            if self._finished is not None:
                self._finished(plan, read)

    def _size(self, path: Path) -> int:
        """Bytes to read; 0 of what lies on another machine and was read before. Blocks."""
        status = path.stat()
        mark = (path, status.st_mtime_ns, status.st_size)
        if self._reader.is_remote(path):
            if mark in self._remote:
                return 0
            self._remote.add(mark)
        return status.st_size
