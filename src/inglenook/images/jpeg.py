# SPDX-License-Identifier: Apache-2.0
"""JPEG files as segments: reading and writing them without touching a pixel. Pure.

A file is `FF D8`, then segments (`FF`, marker, length with its own two bytes, data), up to the start of the
scan (`FF DA`), after which come the pixels.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from inglenook.base.errors import Invalid

START = b"\xff\xd8"
MAX_SEGMENT_BYTES = 65_533
MAX_STEPS = 100_000
"""Segments, paddings and bare markers before the scan; more are made to waste time."""
APP0, APP1, APP14 = 0xE0, 0xE1, 0xEE
COMMENT = 0xFE
_SCAN = 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})


@dataclass(frozen=True, slots=True)
class Segment:
    """`marker`: the byte after `FF`. `data`: without marker and length. `start`: of the `FF` in the file."""

    marker: int
    data: bytes
    start: int


def segments(data: bytes) -> Iterator[Segment]:
    """The segments before the first scan, then that of the scan itself (the rest begins at its `start`).

    Raises:
        Invalid: `picture.truncated` when it ends before the scan, `picture.corrupt` if not a JPEG.
    """
    if not data.startswith(START):
        raise Invalid("The picture does not begin as a JPEG file does.", code="picture.corrupt")
    at = len(START)
    for _ in range(MAX_STEPS):
        if at + 4 > len(data):
            break
        if data[at] != 0xFF:  # stray bytes before a marker, which decoders skip as well
            at = max(data.find(b"\xff", at), 0) or len(data)
            continue
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
            continue
        if marker in _WITHOUT_LENGTH:
            at += 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if length < 2 or at + 2 + length > len(data):
            break
        yield Segment(marker, data[at + 4 : at + 2 + length], at)
        if marker == _SCAN:
            return
        at += 2 + length
    else:
        raise Invalid(f"The JPEG file has no scan among its first {MAX_STEPS} parts.", code="picture.corrupt")
    raise Invalid(
        f"The JPEG file is cut off after {len(data)} bytes.",
        code="picture.truncated",
        hint="send the whole file",
    )


def join(parts: list[Segment], rest: bytes) -> bytes:
    """A file of these segments and what follows them (the scan and all after it)."""
    body = b"".join(struct.pack(">BBH", 0xFF, part.marker, len(part.data) + 2) + part.data for part in parts)
    return START + body + rest


def size(data: bytes) -> tuple[int, int]:
    """(width, height) in pixels, from the frame's header alone.

    Raises:
        Invalid: there is none.
    """
    for segment in segments(data):
        if segment.marker in _FRAMES and len(segment.data) >= 5:
            height, width = struct.unpack_from(">HH", segment.data, 1)
            return width, height
    raise Invalid("The JPEG file has no frame.", code="picture.corrupt")
