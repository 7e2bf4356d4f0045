# SPDX-License-Identifier: Apache-2.0
"""WebP files as chunks: reading and writing them without touching a pixel. Pure.

A file is `RIFF`, its length, `WEBP`, then chunks: four letters, length (little-endian), data, and a byte of
padding where the length is odd. A simple file is one chunk of pixels (`VP8 ` or `VP8L`); one with metadata
begins with `VP8X`, which says what else there is.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from inglenook.base.errors import Invalid

EXIF_FLAG, XMP_FLAG, ALPHA_FLAG, PROFILE_FLAG = 0x08, 0x04, 0x10, 0x20
MAX_CHUNKS = 100_000
"""More are made to waste memory."""
_PIXELS = frozenset({b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"})


@dataclass(frozen=True, slots=True)
class Chunk:
    kind: bytes
    data: bytes


def chunks(data: bytes) -> Iterator[Chunk]:
    """The chunks of a file.

    Raises:
        Invalid: `picture.truncated` when it ends in the middle, `picture.corrupt` when it is no WebP file.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise Invalid("The picture does not begin as a WebP file does.", code="picture.corrupt")
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise Invalid(
            f"The WebP file declares {end} bytes and holds {len(data)}.",
            code="picture.truncated",
            hint="send the whole file",
        )
    at = 12
    for _ in range(MAX_CHUNKS):
        if at + 8 > end:
            return
        kind, length = struct.unpack_from("<4sI", data, at)
        if at + 8 + length > end:
            raise Invalid(
                f"A chunk of the WebP file declares {length} bytes and holds {end - at - 8}.",
                code="picture.truncated",
            )
        yield Chunk(kind, data[at + 8 : at + 8 + length])
        at += 8 + length + length % 2
    raise Invalid(f"The WebP file has more than {MAX_CHUNKS} chunks.", code="picture.corrupt")


def join(parts: list[Chunk]) -> bytes:
    """A file of these chunks."""
    body = b"WEBP" + b"".join(
        struct.pack("<4sI", part.kind, len(part.data)) + part.data + b"\0" * (len(part.data) % 2)
        for part in parts
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def size(data: bytes) -> tuple[int, int]:
    """(width, height) in pixels, from the first chunk alone.

    Raises:
        Invalid: the first chunk is no header that is known.
    """
    first = next(chunks(data), Chunk(b"", b""))
    found = _size_of(first)
    if found is None:
        raise Invalid("The WebP file does not begin with a header.", code="picture.corrupt")
    return found


def _size_of(chunk: Chunk) -> tuple[int, int] | None:
    data = chunk.data
    if chunk.kind == b"VP8X" and len(data) >= 10:
        return int.from_bytes(data[4:7], "little") + 1, int.from_bytes(data[7:10], "little") + 1
    if chunk.kind == b"VP8L" and len(data) >= 5 and data[0] == 0x2F:
        bits = int.from_bytes(data[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk.kind == b"VP8 " and len(data) >= 10 and data[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 6)
        return width & 0x3FFF, height & 0x3FFF
    return None


def pixels_only(data: bytes) -> bytes:
    """The file without metadata, colour profile and chunks that are not known.

    Raises:
        Invalid: as `chunks`.
    """
    parts = [chunk for chunk in chunks(data) if chunk.kind in _PIXELS]
    if parts and parts[0].kind == b"VP8X" and parts[0].data:
        flags = parts[0].data[0] & ~(EXIF_FLAG | XMP_FLAG | PROFILE_FLAG)
        parts[0] = Chunk(b"VP8X", bytes([flags]) + parts[0].data[1:])
    return join(parts)


def with_metadata(data: bytes, *, exif: bytes, xmp: bytes) -> bytes:
    """The file with these two chunks in place of any that it had; a simple file becomes an extended one.

    Raises:
        Invalid: as `chunks` and `size`.
    """
    width, height = size(data)
    parts = [chunk for chunk in chunks(data) if chunk.kind not in (b"EXIF", b"XMP ")]
    if parts[0].kind == b"VP8X":
        flags, rest = parts[0].data[0], parts.pop(0).data[1:]
    else:
        flags = ALPHA_FLAG if _has_alpha(parts[0]) else 0
        rest = b"\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    head = Chunk(b"VP8X", bytes([flags | EXIF_FLAG | XMP_FLAG]) + rest)
    return join([head, *parts, Chunk(b"EXIF", exif), Chunk(b"XMP ", xmp)])


def _has_alpha(chunk: Chunk) -> bool:
    """Only a lossless simple file can have transparency; bit 28 of its header says so."""
    return chunk.kind == b"VP8L" and bool(int.from_bytes(chunk.data[1:5], "little") >> 28 & 1)
