# SPDX-License-Identifier: Apache-2.0
"""A reader that reads nothing, and remembers what it was asked for."""

import threading
from pathlib import Path

from inglenook.base.units import GIB


class FakeReader:
    """A `runtime.readahead.Reader`.

    Attributes:
        read_parts: path, offset, length, in order.
        gate: when it is there, each part is read only after it is set; `begun` tells that one waits for it.
    """

    def __init__(self, *, available_bytes: int = 64 * GIB, remote: bool = False) -> None:
        self._available_bytes = available_bytes
        self._remote = remote
        self.read_parts: list[tuple[Path, int, int]] = []
        self.gate: threading.Event | None = None
        self.begun = False

    def read(self, path: Path, offset: int, length: int) -> None:
        self.begun = True
        if self.gate is not None:
            self.gate.wait()
        self.read_parts.append((path, offset, length))

    def available_bytes(self) -> int:
        return self._available_bytes

    def is_remote(self, path: Path) -> bool:
        assert path.exists()
        return self._remote
