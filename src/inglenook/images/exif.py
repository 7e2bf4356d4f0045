# SPDX-License-Identifier: Apache-2.0
"""Two fields of an EXIF block: `UserComment`, where A1111's tools keep the parameters of a JPEG or WebP, and
`Orientation`, which says how a camera was held. Pure.

A block is a small TIFF file: byte order, the offset of a first directory, which points to a second one, the
EXIF directory. Orientation stands in the first, UserComment in the second; its value begins with eight bytes
that name the coding of the text.
"""

import struct

JPEG_PREFIX = b"Exif\0\0"
"""What a JPEG file writes before a block."""
UNICODE = b"UNICODE\0"
ASCII = b"ASCII\0\0\0"
_EXIF_DIRECTORY = 0x8769
_USER_COMMENT = 0x9286
_ORIENTATION = 0x0112
_ASCII, _LONG, _UNDEFINED = 2, 4, 7
_MAX_ENTRIES = 1000
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}


def user_comment_block(text: str) -> bytes:
    """A block that holds `text` alone, as UTF-16, big-endian; lone surrogates become "?"."""
    value = UNICODE + text.encode("utf-16-be", "replace")
    first = struct.pack(">H HHII I", 1, _EXIF_DIRECTORY, _LONG, 1, 26, 0)
    second = struct.pack(">H HHII I", 1, _USER_COMMENT, _UNDEFINED, len(value), 44, 0)
    return b"MM\0*" + struct.pack(">I", 8) + first + second + value


def orientation(block: bytes) -> int:
    """1 to 8 as the block says, and 1, upright, where it says nothing sound."""
    order = _ORDERS.get(block[:4])
    if order is None:
        return 1
    try:
        (first,) = struct.unpack_from(f"{order}I", block, 4)
        found = _entry(block, order, first, _ORIENTATION)
    except struct.error:
        return 1
    if found is None:
        return 1
    value = (
        found[1] >> 16 if order == ">" else found[1] & 0xFFFF
    )  # a short stands at the left of its four bytes
    return value if 1 <= value <= 8 else 1


def user_comment(block: bytes) -> str | None:
    """The text of the field, or None where there is none, or the block is not sound."""
    order = _ORDERS.get(block[:4])
    if order is None:
        return None
    try:
        (first,) = struct.unpack_from(f"{order}I", block, 4)
        directory = _entry(block, order, first, _EXIF_DIRECTORY)
        comment = None if directory is None else _entry(block, order, directory[1], _USER_COMMENT)
    except struct.error:
        return None
    if comment is None or comment[0] < 8 or comment[1] + comment[0] > len(block):
        return None
    return _text(block[comment[1] : comment[1] + comment[0]])


def texts(block: bytes) -> list[str]:
    """The texts of the first directory (description, make, model …), as far as the block is sound."""
    order = _ORDERS.get(block[:4])
    if order is None:
        return []
    found = []
    try:
        (first,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, first)
        for number in range(min(count, _MAX_ENTRIES)):
            _, kind, length, value = struct.unpack_from(f"{order}HHII", block, first + 2 + 12 * number)
            if kind == _ASCII and 4 < length <= len(block) - value:
                found.append(block[value : value + length].rstrip(b"\0").decode("utf-8", "replace"))
    except struct.error:
        pass  # what stood before the end counts
    return found


def _entry(block: bytes, order: str, at: int, tag: int) -> tuple[int, int] | None:
    """(count, value or offset) of an entry of the directory at `at`. Raises `struct.error` beyond the end."""
    (count,) = struct.unpack_from(f"{order}H", block, at)
    for number in range(min(count, _MAX_ENTRIES)):
        found, _, length, value = struct.unpack_from(f"{order}HHII", block, at + 2 + 12 * number)
        if found == tag:
            return length, value
    return None


def _text(value: bytes) -> str | None:
    coding, body = value[:8], value[8:]
    if coding == ASCII:
        return body.decode("ascii", "replace")
    if coding != UNICODE:
        return None
    # Writers do not agree on the byte order; in ordinary text one half of the bytes is mostly zero.
    little = body[1::2].count(0) > body[0::2].count(0)
    return body.decode("utf-16-le" if little else "utf-16-be", "replace")
