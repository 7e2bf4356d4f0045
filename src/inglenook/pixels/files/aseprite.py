# SPDX-License-Identifier: Apache-2.0
"""Writing `.aseprite` files: layers or frames, tags, durations, palette; indexed where that can be exact."""

import struct
import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from inglenook.pixels.files.aseprite_model import (
    CEL,
    COLOR_PROFILE,
    DIRECTIONS,
    FRAME_MAGIC,
    LAYER,
    MAGIC,
    OLD_PALETTE,
    PALETTE,
    TAGS,
)
from inglenook.pixels.files.indexed import Indexed, indexed
from inglenook.pixels.files.spec import Spec, Tag
from inglenook.pixels.oklab import Bytes
from inglenook.pixels.palettes import Color

_COMPRESSED: Final = 2
_TAG_COLORS: Final = ((254, 91, 89), (247, 165, 71), (106, 205, 91), (87, 185, 242), (209, 134, 223))


def aseprite(pictures: Sequence[Bytes], spec: Spec) -> bytes:
    """An Aseprite document of frames, or of layers in one frame.

    It is indexed where all pixels are in at most 255 colours and not partly transparent: entry 0 is the
    transparent one, as Aseprite makes it, and the palette follows from 1. Otherwise it is RGBA, with the
    palette beside it where one is given: in Aseprite entry `transparent` never shows, so that 256 colours
    cannot be indexed.

    Raises:
        Invalid: a pixel has a colour that is not in the palette.
    """
    height, width = pictures[0].shape[:2]
    found = indexed(pictures, spec.palette)
    if found is not None and len(found.palette) > 255:
        found = None
    layers = spec.layers or (spec.name,)
    first = [_profile(), *_palettes(found, spec.palette), *(_layer(name) for name in layers)]
    if spec.tags:
        first.append(_tags(spec.tags))
    frames = []
    for number, duration in enumerate(spec.durations(1 if spec.layers else len(pictures))):
        chunks = first if number == 0 else []
        shown = range(len(pictures)) if spec.layers else (number,)
        cels = [_cel(pictures, found, one, one if spec.layers else 0) for one in shown]
        frames.append(_frame(chunks + [cel for cel in cels if cel], duration))
    body = b"".join(frames)
    entries = len(spec.palette or ()) if found is None else len(found.palette) + 1
    return _header(len(frames), (width, height), 32 if found is None else 8, entries, len(body)) + body


def palette_document(colors: Sequence[Color]) -> bytes:
    """A document of one transparent pixel that carries a palette of 1 to 256 colours, in their order.

    It is RGBA, so that no entry stands for transparency.
    """
    body = _frame([_profile(), _new_palette(np.array(colors, np.uint8), hole=False), _layer("palette")], 100)
    return _header(1, (1, 1), 32, len(colors), len(body)) + body


def _header(frames: int, size: tuple[int, int], depth: int, entries: int, body: int) -> bytes:
    """128 bytes; 1: layers' opacity counts; 100 ms, as every frame says for itself; pixels are square."""
    head = struct.pack("<IHHHHHIHIIB3xH", 128 + body, MAGIC, frames, *size, depth, 1, 100, 0, 0, 0, entries)
    return (head + struct.pack("<BBhhHH", 1, 1, 0, 0, 16, 16)).ljust(128, b"\0")


def _frame(chunks: Sequence[bytes], duration: int) -> bytes:
    body = b"".join(chunks)
    old = min(len(chunks), 0xFFFF)
    return struct.pack("<IHHHxxI", 16 + len(body), FRAME_MAGIC, old, duration, len(chunks)) + body


def _chunk(kind: int, data: bytes) -> bytes:
    return struct.pack("<IH", 6 + len(data), kind) + data


def _text(words: str) -> bytes:
    data = words.encode()
    return struct.pack("<H", len(data)) + data


def _profile() -> bytes:
    return _chunk(COLOR_PROFILE, struct.pack("<HHI8x", 1, 0, 0))  # sRGB


def _palettes(found: Indexed | None, colors: tuple[Color, ...] | None) -> list[bytes]:
    if found is not None:
        return [_new_palette(found.palette, hole=True), _old_palette(found.palette)]
    return [] if colors is None else [_new_palette(np.array(colors, np.uint8), hole=False)]


def _new_palette(colors: Bytes, *, hole: bool) -> bytes:
    entries = [(0, 0, 0, 0)] * hole + [(*map(int, color), 255) for color in colors]
    head = struct.pack("<III8x", len(entries), 0, len(entries) - 1)
    return _chunk(PALETTE, head + b"".join(struct.pack("<HBBBB", 0, *entry) for entry in entries))


def _old_palette(colors: Bytes) -> bytes:
    """For readers older than 2016. A count of 0 stands for 256."""
    head = struct.pack("<HBB", 1, 0, (len(colors) + 1) & 255)
    return _chunk(OLD_PALETTE, head + b"\0\0\0" + colors.tobytes())


def _layer(name: str) -> bytes:
    visible_and_editable = 3
    return _chunk(LAYER, struct.pack("<HHHHHHB3x", visible_and_editable, 0, 0, 0, 0, 0, 255) + _text(name))


def _tags(tags: Sequence[Tag]) -> bytes:
    out = [struct.pack("<H8x", len(tags))]
    for number, tag in enumerate(tags):
        color = _TAG_COLORS[number % len(_TAG_COLORS)]
        out.append(struct.pack("<HHBH6x3Bx", tag.first, tag.last, DIRECTIONS.index(tag.direction), 0, *color))
        out.append(_text(tag.name))
    return _chunk(TAGS, b"".join(out))


def _cel(pictures: Sequence[Bytes], found: Indexed | None, number: int, layer: int) -> bytes | None:
    """The opaque part of a picture; None for an empty one, which has no cel in Aseprite either."""
    rows, columns = (np.flatnonzero(pictures[number][..., 3].any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    pixels = pictures[number] if found is None else _entries(found, number)
    part = np.ascontiguousarray(pixels[top:bottom, left:right])
    head = struct.pack("<HhhBHh5x", layer, left, top, 255, _COMPRESSED, 0)
    size = struct.pack("<HH", part.shape[1], part.shape[0])
    return _chunk(CEL, head + size + zlib.compress(part.tobytes(), 6))


def _entries(found: Indexed, number: int) -> npt.NDArray[np.uint8]:
    """Entry 0 is the transparent one, so that colours stand one higher."""
    frame = found.frames[number]
    return np.where(frame == len(found.palette), 0, frame + 1).astype(np.uint8)
