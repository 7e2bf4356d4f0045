# SPDX-License-Identifier: Apache-2.0
"""Reading a binary header forwards, through a window that is as large as one read and no larger.

Nothing here believes a length: before bytes are taken, the window knows that the file has them and that the
caller's own limit allows them. So a header that claims terabytes costs one comparison.
"""

import hashlib
import struct
import zlib
from typing import BinaryIO, Final

from inglenook.catalog.errors import CorruptModel

CHUNK_BYTES: Final = 256 * 1024
MAX_HEADER_BYTES: Final = 256 * 1024 * 1024
"""Where reading stops, whatever is announced: five times the longest header that is known, of a model with
half a million tokens."""

_U64: Final = struct.Struct("<Q")


class Window:
    """Args:
        file: open for reading at its beginning.
        size: of the file in bytes.
        name: for messages.
        chunk_bytes: read at once; few, where much is leapt over.

    Every method raises `CorruptModel` when the file ends before what is asked for, or `MAX_HEADER_BYTES` do.
    """

    def __init__(self, file: BinaryIO, size: int, name: str, *, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._file = file
        self._size = size
        self._name = name
        self._chunk_bytes = chunk_bytes
        self._leapt = 0
        self._buffer = b""
        self._place = 0  # in the buffer
        self._start = 0  # of the buffer, in the file
        self._counted = 0  # bytes of the buffer that are in the sums
        self._sha = hashlib.sha256()
        self._crc = 0

    @property
    def place(self) -> int:
        """Bytes from the file's beginning."""
        return self._start + self._place

    @property
    def left(self) -> int:
        """Bytes from here to the file's end."""
        return self._size - self.place

    def take(self, count: int) -> bytes:
        """The next bytes; callers have bounded `count`."""
        self._need(count)
        begin = self._place
        self._place += count
        return self._buffer[begin : self._place]

    def unpack(self, form: struct.Struct) -> tuple[int, ...]:
        self._need(form.size)
        found = form.unpack_from(self._buffer, self._place)
        self._place += form.size
        return found

    def skip(self, count: int) -> None:
        self._refuse_beyond(count)
        while count > 0:
            here = min(count, CHUNK_BYTES)
            self._need(here)
            self._place += here
            count -= here

    def leap(self, count: int) -> None:
        """Pass over bytes that are no part of the header, unread: they are in no sum."""
        if count > self.left:
            raise self._ended(count)
        self._count()
        self._leapt += count
        if self._place + count <= len(self._buffer):
            self._place += count
        else:
            self._start, self._buffer, self._place = self.place + count, b"", 0
            self._file.seek(self._start)
        self._counted = self._place

    def skip_texts(self, count: int) -> None:
        """Pass over texts that each stand after their length (u64), without keeping any."""
        unpack = _U64.unpack_from
        while count > 0:
            buffer, place = self._buffer, self._place
            last, end = len(buffer) - 8, len(buffer)
            while count > 0 and place <= last:
                after = place + 8 + unpack(buffer, place)[0]
                if after > end:
                    break
                place, count = after, count - 1
            self._place = place
            if count > 0:
                (length,) = self.unpack(_U64)
                self.skip(length)
                count -= 1

    def mark(self) -> int:
        """CRC-32 of the bytes since the last mark."""
        self._count()
        found, self._crc = self._crc, 0
        return found

    def digest(self) -> str:
        """SHA-256 of everything up to here."""
        self._count()
        return self._sha.hexdigest()

    def refuse(self, text: str, hint: str | None = None) -> CorruptModel:
        return CorruptModel(f"{self._name} {text}", hint=hint)

    def _need(self, count: int) -> None:
        if self._place + count <= len(self._buffer):
            return
        self._refuse_beyond(count)
        self._count()
        rest = self._buffer[self._place :]
        self._start, self._place, self._counted = self.place, 0, 0
        self._buffer = rest + self._file.read(max(self._chunk_bytes, count - len(rest)))
        if len(self._buffer) < count:  # somebody shortens it at this moment
            raise self._ended(count)

    def _refuse_beyond(self, count: int) -> None:
        if count > self.left:
            raise self._ended(count)
        if self.place - self._leapt + count > MAX_HEADER_BYTES:
            raise self.refuse(
                f"has a header of more than {MAX_HEADER_BYTES} bytes, which is not read.", "fetch it again"
            )

    def _ended(self, count: int) -> CorruptModel:
        return self.refuse(
            f"ends inside its header: at byte {self.place} it should have {count} more, "
            f"but it has {self._size} in all.",
            "the download or copy did not finish, or the file is damaged; fetch it again",
        )

    def _count(self) -> None:
        part = self._buffer[self._counted : self._place]
        self._counted = self._place
        self._sha.update(part)
        self._crc = zlib.crc32(part, self._crc)
