# SPDX-License-Identifier: Apache-2.0
"""GIF files as blocks: reading and writing what they say in words, without touching a pixel. Pure.

A file is `GIF89a`, the screen's 7 bytes, perhaps its colour table, then blocks up to `3B`: extensions (`21`,
a label, sub-blocks) and pictures (`2C` …). Sub-blocks are a length, from 1 to 255, and so many bytes; one of
length nought ends them. Only what stands before the first picture, and before the graphic control that
belongs to it, is looked at: there stands what is about the whole file.

A comment is the extension `FE`. An XMP packet is the application extension `XMP DataXMP`, whose packet is no
sub-blocks but bytes as they are, before 258 bytes that lead every reader of sub-blocks to the same end (XMP
Specification, part 3, 1.1.2).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from inglenook.base.errors import Invalid

SIGNATURES = (b"GIF87a", b"GIF89a")
MAX_BLOCKS = 100_000
"""Sub-blocks before the first picture; more are made to waste time."""
_EXTENSION, _PICTURE, _END = 0x21, 0x2C, 0x3B
_CONTROL, _COMMENT, _APPLICATION = 0xF9, 0xFE, 0xFF
_XMP = b"XMP DataXMP"
_XMP_TRAILER = b"\1" + bytes(range(255, -1, -1)) + b"\0"


@dataclass(frozen=True, slots=True)
class Extension:
    """`label`: what kind. `data`: of its sub-blocks, or the XMP packet. `start`, `end`: in the file."""

    label: int
    data: bytes
    start: int
    end: int
    is_xmp: bool = False


def extensions(data: bytes) -> Iterator[Extension]:
    """Those that are about the whole file.

    Raises:
        Invalid: `picture.corrupt` if it is no GIF, `picture.truncated` if it ends before its first picture.
    """
    at = _after_screen(data)
    left = MAX_BLOCKS
    while data[at : at + 1] == bytes([_EXTENSION]) and data[at + 1 : at + 2] != bytes([_CONTROL]):
        found, blocks = _extension(data, at, left)
        yield found
        at, left = found.end, left - blocks
    if data[at : at + 1] not in (bytes([_EXTENSION]), bytes([_PICTURE]), bytes([_END])):
        raise _cut(data)


def texts(data: bytes) -> tuple[str | None, bytes]:
    """(the comments, the XMP packets) of a file. Raises Invalid as `extensions`."""
    comments: list[str] = []
    packets: list[bytes] = []
    for one in extensions(data):
        if one.is_xmp:
            packets.append(one.data)
        elif one.label == _COMMENT:
            comments.append(one.data.decode("utf-8", "replace"))
    return "\n".join(comments) if comments else None, b"".join(packets)


def with_texts(data: bytes, *, comment: str, xmp: bytes) -> bytes:
    """The file with this comment and this packet in place of any that stood before its first picture.

    Args:
        comment: goes out as UTF-8; lone surrogates become "?".
        xmp: without zero bytes.

    Raises:
        Invalid: as `extensions`.
    """
    begin = _after_screen(data)
    found = list(extensions(data))
    kept = [data[one.start : one.end] for one in found if not one.is_xmp and one.label != _COMMENT]
    end = found[-1].end if found else begin
    # Version 89a is the first that knows extensions. What says how often it is played stays first.
    ours = [_comment(comment), _packet(xmp)]
    return b"".join([SIGNATURES[1], data[6:begin], *kept, *ours, data[end:]])


def _comment(text: str) -> bytes:
    body = text.encode("utf-8", "replace")
    blocks = [body[at : at + 255] for at in range(0, len(body), 255)]
    joined = b"".join(bytes([len(block)]) + block for block in blocks)
    return bytes([_EXTENSION, _COMMENT]) + joined + b"\0"


def _packet(xmp: bytes) -> bytes:
    return bytes([_EXTENSION, _APPLICATION, len(_XMP)]) + _XMP + xmp + _XMP_TRAILER


def _after_screen(data: bytes) -> int:
    if not data.startswith(SIGNATURES):
        raise Invalid("The picture does not begin as a GIF file does.", code="picture.corrupt")
    if len(data) < 13:
        raise _cut(data)
    packed = data[10]
    end = 13 + (3 << (packed & 7) + 1 if packed & 0x80 else 0)
    if end > len(data):
        raise _cut(data)
    return end


def _extension(data: bytes, start: int, most: int) -> tuple[Extension, int]:
    """An extension, and how many sub-blocks it has."""
    label = data[start + 1] if start + 1 < len(data) else -1
    blocks: list[bytes] = []
    at = start + 2
    while at < len(data) and data[at]:
        if len(blocks) >= most:
            raise Invalid(
                f"The GIF file has more than {MAX_BLOCKS} parts before its first picture.",
                code="picture.corrupt",
            )
        blocks.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    if at >= len(data):
        raise _cut(data)
    end = at + 1
    if label == _APPLICATION and blocks and blocks[0] == _XMP:
        packet = data[start + 3 + len(_XMP) : end].removesuffix(_XMP_TRAILER)
        return Extension(label, packet, start, end, is_xmp=True), len(blocks)
    return Extension(label, b"".join(blocks), start, end), len(blocks)


def _cut(data: bytes) -> Invalid:
    return Invalid(
        f"The GIF file is cut off after {len(data)} bytes.",
        code="picture.truncated",
        hint="send the whole file",
    )
