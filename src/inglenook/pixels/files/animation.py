# SPDX-License-Identifier: Apache-2.0
"""GIF and WebP animations whose every frame has exactly the colours that it was given.

The containers are written here and each picture is compressed by Pillow, because an animation that Pillow
writes as a whole loses frames: two alike ones become one.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from typing import Final

import numpy as np
from PIL import Image

from inglenook.base.errors import Failed, Invalid
from inglenook.pixels.files.indexed import Indexed, indexed
from inglenook.pixels.files.spec import Spec, enlarged
from inglenook.pixels.oklab import Bytes

_LEAST_GIF_DURATION: Final = 2  # hundredths of a second: browsers show what is shorter for a tenth


def gif(frames: Sequence[Bytes], spec: Spec) -> bytes:
    """A GIF (89a) with whole frames, one palette for all where it has room, else one a frame.

    Durations are hundredths of a second, 2 at least; what rounding takes from a frame the next one gets, so
    that the whole lasts as long as asked.

    Raises:
        Invalid: more than 256 colours in a frame (255 beside transparency), or partly transparent pixels.
    """
    whole = indexed(frames, spec.palette)
    shared = whole is not None and 1 <= whole.entries <= 256
    height, width = (side * spec.scale for side in frames[0].shape[:2])
    holes = any((frame[..., 3] == 0).any() for frame in frames)
    out = [b"GIF89a", struct.pack("<HH", width, height)]
    out.append(_screen(whole) if shared and whole is not None else b"\x70\0\0")
    if spec.loop and len(frames) > 1:
        out.append(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0")
    for number, duration in enumerate(_hundredths(spec.durations(len(frames)))):
        found = whole if shared and whole is not None else _own(frames[number], number, holes)
        out.append(_gif_frame(found, number if shared else 0, duration, spec.scale, shared))
    out.append(b"\x3b")
    return b"".join(out)


def _own(frame: Bytes, number: int, holes: bool) -> Indexed:
    """A frame with a palette of its own.

    `holes`: whether any frame has some. A frame without then says nevertheless which entry is transparent,
    where it has one to spare: readers take the first frame's word for all of them.
    """
    found = indexed([frame], None)
    if found is not None and found.entries <= 256:
        return replace(found, holes=found.holes or (holes and len(found.palette) < 256))
    partly = int(((frame[..., 3] != 0) & (frame[..., 3] != 255)).sum())
    fact = (
        f"{partly} partly transparent pixels" if partly else "more colours than a GIF's palette has room for"
    )
    raise Invalid(
        f"Frame {number} has {fact}.",
        field="frames",
        hint="reduce the colours to 255 with binary alpha, or choose webp",
    )


def _hundredths(durations_ms: Sequence[int]) -> Iterator[int]:
    ends = [0]
    for duration in durations_ms:
        ends.append(ends[-1] + duration)
    for start, end in pairwise(ends):
        yield max(_LEAST_GIF_DURATION, round(end / 10) - round(start / 10))


def _bits(found: Indexed) -> int:
    """Of a colour table: 1 to 8."""
    return max(1, (found.entries - 1).bit_length())


def _screen(found: Indexed) -> bytes:
    return bytes((0xF0 | _bits(found) - 1, len(found.palette) if found.holes else 0, 0)) + _table(found)


def _table(found: Indexed) -> bytes:
    return found.palette.tobytes().ljust(3 << _bits(found), b"\0")


def _gif_frame(found: Indexed, number: int, duration: int, scale: int, shared: bool) -> bytes:
    """Graphic control, image descriptor, own colour table where none is shared, compressed indices."""
    pixels = enlarged(found.frames[number].astype(np.uint8), scale)
    hole = len(found.palette) if found.holes else 0
    # Disposal 2: the next frame begins on an empty canvas, or its holes would show this one.
    control = struct.pack("<BBBBHBB", 0x21, 0xF9, 4, 2 << 2 | found.holes, duration, hole, 0)
    local = 0 if shared else 0x80 | _bits(found) - 1
    descriptor = struct.pack("<BHHHHB", 0x2C, 0, 0, pixels.shape[1], pixels.shape[0], local)
    return control + descriptor + (b"" if shared else _table(found)) + _lzw(pixels, 1 << _bits(found))


def _lzw(pixels: Bytes, colors: int) -> bytes:
    """The image data of a GIF: code size, sub-blocks, terminator."""
    image = Image.fromarray(pixels, "P")
    image.putpalette(bytes(3 * colors))
    whole = BytesIO()
    image.save(whole, "GIF", optimize=False, interlace=0)
    data = whole.getvalue()
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    while data[at] == 0x21:  # extensions: a label, then sub-blocks
        at = _after_blocks(data, at + 2)
    if data[at] != 0x2C or data[at + 9] & 0x80:
        raise Failed("Pillow wrote a GIF of another shape than this program reads.", code="pixels.failed")
    end = _after_blocks(data, at + 11)
    return data[at + 10 : end]


def _after_blocks(data: bytes, at: int) -> int:
    while data[at]:
        at += data[at] + 1
    return at + 1


def webp(frames: Sequence[Bytes], spec: Spec) -> bytes:
    """A lossless WebP; an animation for more than one frame. Any colours, any alpha, durations in ms."""
    pictures = [_vp8l(enlarged(frame, spec.scale)) for frame in frames]
    if len(frames) == 1:
        return _riff(b"WEBP" + _chunk(b"VP8L", pictures[0]))
    height, width = (side * spec.scale for side in frames[0].shape[:2])
    canvas = _u24(width - 1) + _u24(height - 1)
    out = [b"WEBP", _chunk(b"VP8X", bytes((0x12, 0, 0, 0)) + canvas)]  # 0x12: animation, alpha
    out.append(_chunk(b"ANIM", struct.pack("<IH", 0, 0 if spec.loop else 1)))
    for picture, duration in zip(pictures, spec.durations(len(frames)), strict=True):
        # 0x03: drawn over nothing instead of blended, and cleared before the next
        frame = _u24(0) + _u24(0) + canvas + _u24(duration) + b"\x03" + _chunk(b"VP8L", picture)
        out.append(_chunk(b"ANMF", frame))
    return _riff(b"".join(out))


def _vp8l(rgba: Bytes) -> bytes:
    """The lossless bit stream of one picture."""
    whole = BytesIO()
    # exact: colours under transparency stay; without it the encoder may choose others there
    Image.fromarray(rgba).save(whole, "WEBP", lossless=True, exact=True, quality=60, method=4)
    data = whole.getvalue()
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if name == b"VP8L":
            return data[at + 8 : at + 8 + size]
        at += 8 + size + (size & 1)
    raise Failed("Pillow wrote a WebP without a lossless picture.", code="pixels.failed")


def _u24(value: int) -> bytes:
    return value.to_bytes(3, "little")


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) & 1)


def _riff(data: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(data)) + data
