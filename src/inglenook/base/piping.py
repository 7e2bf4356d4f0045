# SPDX-License-Identifier: Apache-2.0
"""A file that is written at one end while its bytes are taken out at the other."""

import io
from typing import Any


class Pipe(io.RawIOBase):
    """A file to write to whose bytes are taken out at the other end; it cannot go back."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken
