# SPDX-License-Identifier: Apache-2.0
"""PNG files as chunks: reading and writing them without touching a pixel. Pure.

After the 8 bytes of the signature a file is a row of chunks: length (4 bytes, big-endian), kind (4 letters),
data, and a CRC-32 over kind and data. `IHDR` is first, `IEND` last.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from inglenook.base.errors import Invalid

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 100_000
"""A file of 800 MB in the usual 8 KiB pieces; more are made to waste memory."""
MAX_TEXT_BYTES = 4 * 1024 * 1024
"""Longest text that is unpacked from a compressed chunk."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """`kind`: four letters. `data`: without length and CRC."""

    kind: bytes
    data: bytes


def chunks(data: bytes) -> Iterator[Chunk]:
    """The chunks of a file, up to and with `IEND`; CRCs are not looked at.

    Raises:
        Invalid: `picture.truncated` when it ends in the middle or without `IEND`, `picture.corrupt` when it
            does not begin as a PNG file.
    """
    if not data.startswith(SIGNATURE):
        raise Invalid("The picture does not begin as a PNG file does.", code="picture.corrupt")
    at = len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if at + 12 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            break
        yield Chunk(kind, data[at + 8 : end - 4])
        if kind == b"IEND":
            return
        at = end
    else:
        raise Invalid(f"The PNG file has more than {MAX_CHUNKS} chunks.", code="picture.corrupt")
    raise Invalid(
        f"The PNG file is cut off after {len(data)} bytes.",
        code="picture.truncated",
        hint="send the whole file",
    )


def join(parts: list[Chunk]) -> bytes:
    """A file of these chunks."""
    return SIGNATURE + b"".join(_bytes_of(part) for part in parts)


def _bytes_of(chunk: Chunk) -> bytes:
    body = chunk.kind + chunk.data
    return struct.pack(">I", len(chunk.data)) + body + struct.pack(">I", zlib.crc32(body))


def size(data: bytes) -> tuple[int, int]:
    """(width, height) in pixels, from the header alone.

    Raises:
        Invalid: there is no whole `IHDR` at the start.
    """
    if len(data) < 33:
        raise Invalid(f"The PNG file is cut off after {len(data)} bytes.", code="picture.truncated")
    if data[12:16] != b"IHDR":
        raise Invalid("The PNG file does not begin with its header.", code="picture.corrupt")
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def text_chunk(keyword: str, text: str) -> Chunk:
    """`tEXt` where the text is Latin-1, which every tool reads; `iTXt` (UTF-8) otherwise.

    `text` may not hold NUL, which neither kind can carry; lone surrogates become "?".
    """
    key = keyword.encode("latin-1") + b"\0"
    try:
        return Chunk(b"tEXt", key + text.encode("latin-1"))
    except UnicodeEncodeError:
        return Chunk(b"iTXt", key + b"\0\0\0\0" + text.encode("utf-8", "replace"))


def text_of(chunk: Chunk) -> tuple[str, str] | None:
    """(keyword, text) of a `tEXt`, `zTXt` or `iTXt` chunk; None for any other, and for one that is not sound
    or unpacks to more than `MAX_TEXT_BYTES`."""
    keyword, _, rest = chunk.data.partition(b"\0")
    key = keyword.decode("latin-1")
    try:
        if chunk.kind == b"tEXt":
            return key, rest.decode("latin-1")
        if chunk.kind == b"zTXt":
            return key, _unpack(rest[1:]).decode("latin-1")
        if chunk.kind == b"iTXt":
            return key, _international(rest)
    except (zlib.error, UnicodeDecodeError, ValueError):
        return None
    return None


def _international(rest: bytes) -> str:
    """`rest`: compression flag and method, language, NUL, translated keyword, NUL, text."""
    packed = rest[:1] == b"\1"
    _, _, after = rest[2:].partition(b"\0")
    _, _, body = after.partition(b"\0")
    return (_unpack(body) if packed else body).decode("utf-8")


def _unpack(data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(data, MAX_TEXT_BYTES + 1)
    if len(text) > MAX_TEXT_BYTES:
        raise ValueError("too long")
    return text
