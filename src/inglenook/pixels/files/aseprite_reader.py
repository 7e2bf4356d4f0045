# SPDX-License-Identifier: Apache-2.0
"""Reading `.aseprite` files that anybody may have made: every count is checked against what is there.

Not read: tilemaps (such cels are left out), slices, user data. A document is flattened with normal blending.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Final

import numpy as np

from inglenook.base.errors import Invalid, TooLarge
from inglenook.pixels.files.aseprite_model import (
    CEL,
    DIRECTIONS,
    FRAME_MAGIC,
    LAYER,
    MAGIC,
    OLD_PALETTE,
    PALETTE,
    TAGS,
    Cel,
    Document,
    Frame,
    Layer,
    Rgba,
)
from inglenook.pixels.files.spec import Tag
from inglenook.pixels.oklab import Bytes, Floats

MAX_PIXELS: Final = 1 << 24
MAX_FRAMES: Final = 4096
MAX_LAYERS: Final = 1024
_RAW, _LINKED, _COMPRESSED = 0, 1, 2
_MAX_NAME_BYTES: Final = 256


class _Cursor:
    """Goes over bytes and refuses to go past their end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise _damaged(f"{count} bytes were announced and {self.left} are there")
        self._at += count
        return self._data[self._at - count : self._at]

    def fields(self, layout: str) -> tuple[int, ...]:
        return struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)))

    def text(self) -> str:
        (count,) = self.fields("H")
        return self.take(count)[:_MAX_NAME_BYTES].decode("utf-8", "replace")


def _damaged(what: str) -> Invalid:
    return Invalid(
        f"This is not a whole Aseprite file: {what}.",
        code="pixels.unreadable",
        hint="open it in Aseprite and save it again",
    )


class _Reader:
    """State of one reading."""

    def __init__(self, data: bytes, max_pixels: int, pictures: bool) -> None:
        self.cursor = _Cursor(data)
        (
            _, magic, self.count, self.width, self.height, self.depth, self.flags, _, transparent,
        ) = self.cursor.fields("IHHHHHIH8xB")  # fmt: skip
        self.cursor.take(128 - 29)
        if magic != MAGIC:
            raise _damaged(f"it begins with {magic:#06x} instead of {MAGIC:#06x}")
        if self.depth not in (8, 16, 32):
            raise _damaged(f"a pixel of {self.depth} bits")
        if not self.width or not self.height or not 1 <= self.count <= MAX_FRAMES:
            raise _damaged(f"{self.count} frames of {self.width} x {self.height} pixels")
        self.pixels_left = max_pixels
        self.max_pixels = max_pixels
        self.pictures = pictures
        self.transparent = transparent if self.depth == 8 else None
        self.palette: list[Rgba] = []
        self.old_palette: list[Rgba] = []
        self.layers: list[Layer] = []
        self.levels: list[bool] = []
        self.backgrounds: set[int] = set()
        self.tags: list[Tag] = []
        self.frames: list[Frame] = []

    def document(self) -> Document:
        if self.pictures:
            self.spend(self.width * self.height)
        for _ in range(self.count):
            self.frame()
        return Document(
            width=self.width,
            height=self.height,
            depth=self.depth,
            palette=tuple(self.palette or self.old_palette),
            transparent=self.transparent,
            layers=tuple(self.layers),
            frames=tuple(self.frames),
            tags=tuple(tag for tag in self.tags if tag.first <= tag.last < self.count),
        )

    def spend(self, pixels: int) -> None:
        """Counts pixels before they are made."""
        self.pixels_left -= pixels
        if self.pixels_left < 0:
            raise TooLarge(
                f"The pictures in the file have more than {self.max_pixels} pixels.", code="pixels.too_large"
            )

    def frame(self) -> None:
        size, magic, _, duration, _ = self.cursor.fields("IHHHxxI")
        if magic != FRAME_MAGIC or size < 16:
            raise _damaged(f"frame {len(self.frames)} begins with {magic:#06x}")
        body = _Cursor(self.cursor.take(size - 16))
        cels: dict[int, Cel] = {}
        for kind, chunk in _chunks(body):
            if kind == CEL and self.pictures:
                cel = self.cel(chunk)
                if cel is not None and cels.setdefault(cel.layer, cel) is not cel:
                    raise _damaged(f"frame {len(self.frames)} has two pictures in layer {cel.layer}")
            elif kind == LAYER:
                self.layer(chunk)
            elif kind == PALETTE:
                self.new_palette(chunk)
            elif kind == OLD_PALETTE:
                self.read_old_palette(chunk)
            elif kind == TAGS:
                self.read_tags(chunk)
        self.frames.append(Frame(duration, tuple(cels.values())))

    def layer(self, chunk: _Cursor) -> None:
        flags, kind, level, blend, opacity = chunk.fields("HHH4xHB3x")
        if len(self.layers) >= MAX_LAYERS:
            raise TooLarge(f"The file has more than {MAX_LAYERS} layers.", code="pixels.too_large")
        del self.levels[level:]
        visible = bool(flags & 1) and all(self.levels)
        self.levels.append(bool(flags & 1))
        background, reference = flags & 8, flags & 64
        if background:
            self.backgrounds.add(len(self.layers))
        known = opacity if self.flags & 1 and not background else 255
        visible = visible and not reference  # a picture to draw after, not one of the sprite
        self.layers.append(Layer(chunk.text(), visible, known, blend, group=kind == 1))

    def new_palette(self, chunk: _Cursor) -> None:
        size, first, last = chunk.fields("III8x")
        if not size:  # as some writers leave an RGBA document without a palette
            return
        if size > 256 or not first <= last < size:
            raise _damaged(f"a palette of {size} entries, {first} to {last}")
        del self.palette[size:]
        self.palette += [(0, 0, 0, 255)] * (size - len(self.palette))
        for number in range(first, last + 1):
            named, red, green, blue, alpha = chunk.fields("HBBBB")
            self.palette[number] = (red, green, blue, alpha)
            if named & 1:
                chunk.text()

    def read_old_palette(self, chunk: _Cursor) -> None:
        (packets,) = chunk.fields("H")
        at = 0
        for _ in range(packets):
            skip, count = chunk.fields("BB")
            at += skip
            for red, green, blue in struct.iter_unpack("BBB", chunk.take(3 * (count or 256))):
                if at > 255:
                    raise _damaged("an old palette of more than 256 entries")
                self.old_palette += [(0, 0, 0, 255)] * (at + 1 - len(self.old_palette))
                self.old_palette[at] = (red, green, blue, 255)
                at += 1

    def read_tags(self, chunk: _Cursor) -> None:
        (count,) = chunk.fields("H8x")
        for _ in range(count):
            first, last, direction = chunk.fields("HHB12x")
            # Aseprite's fourth direction runs like the third, from the other end.
            self.tags.append(Tag(chunk.text(), first, last, DIRECTIONS[min(direction, 2)]))

    def cel(self, chunk: _Cursor) -> Cel | None:
        layer, x, y, opacity, kind, order = chunk.fields("HhhBHh5x")
        if layer >= len(self.layers):
            raise _damaged(f"a picture in layer {layer} of {len(self.layers)}")
        if kind == _LINKED:
            (number,) = chunk.fields("H")
            before = self.frames[number].cels if number < len(self.frames) else ()
            same = next((one for one in before if one.layer == layer), None)
            return same and Cel(layer, same.x, same.y, same.pixels, same.opacity, order)
        if kind not in (_RAW, _COMPRESSED):
            return None
        width, height = chunk.fields("HH")
        self.spend(width * height)
        size = width * height * self.depth // 8
        data = chunk.take(size) if kind == _RAW else _inflated(chunk.take(chunk.left), size)
        return Cel(layer, x, y, self.rgba(data, width, height, layer in self.backgrounds), opacity, order)

    def rgba(self, data: bytes, width: int, height: int, background: bool) -> Bytes:
        if self.depth == 32:
            pixels = np.frombuffer(data, np.uint8).reshape(height, width, 4).copy()
        elif self.depth == 16:
            grey = np.frombuffer(data, np.uint8).reshape(height, width, 2)
            pixels = grey[..., [0, 0, 0, 1]]
        else:
            table = np.zeros((256, 4), np.uint8)
            known = self.palette or self.old_palette
            table[: len(known)] = known
            if self.transparent is not None and not background:
                table[self.transparent] = 0
            pixels = table[np.frombuffer(data, np.uint8).reshape(height, width)]
        pixels[pixels[..., 3] == 0] = 0
        return pixels


def _chunks(body: _Cursor) -> Iterator[tuple[int, _Cursor]]:
    while body.left >= 6:
        size, kind = body.fields("IH")
        if size < 6:
            raise _damaged(f"a part of {size} bytes")
        yield kind, _Cursor(body.take(size - 6))


def _inflated(data: bytes, size: int) -> bytes:
    """Exactly `size` bytes; never makes more, whatever the data unpack to."""
    unpacker = zlib.decompressobj()
    try:
        found = unpacker.decompress(data, size + 1) if size else b""
    except zlib.error as error:
        raise _damaged(f"a picture does not unpack ({error})") from error
    if len(found) != size:
        raise _damaged(f"a picture unpacks to {len(found)} bytes instead of {size}")
    return found


def read_aseprite(data: bytes, max_pixels: int = MAX_PIXELS, *, pictures: bool = True) -> Document:
    """
    Args:
        max_pixels: of the canvas and all pictures in the file together.
        pictures: False passes over them, for whoever wants the palette, layers or tags; then `max_pixels`
            does not matter.

    Raises:
        Invalid: `pixels.unreadable`, not an Aseprite file or a damaged one.
        TooLarge: `pixels.too_large`, more pixels or layers than allowed.
    """
    return _Reader(data, max_pixels, pictures).document()


def flattened(document: Document, max_pixels: int = MAX_PIXELS) -> list[Bytes]:
    """Each frame as it shows, uint8 (h, w, 4): the visible layers over one another, blended as normal.

    Raises:
        TooLarge: more than `max_pixels` pixels in all frames, or eight times as many in all their layers: a
            small file can show one large picture in very many places.
    """
    frames = len(document.frames) * document.width * document.height
    laid = sum(cel.pixels.shape[0] * cel.pixels.shape[1] for frame in document.frames for cel in frame.cels)
    if frames > max_pixels or laid > 8 * max_pixels:
        raise TooLarge(
            f"The frames have {frames} pixels together and their layers {laid}; {max_pixels} and "
            f"{8 * max_pixels} are the most.",
            code="pixels.too_large",
        )
    return [_flat(document, frame) for frame in document.frames]


def _flat(document: Document, frame: Frame) -> Bytes:
    canvas = np.zeros((document.height, document.width, 4), np.float32)
    for cel in sorted(frame.cels, key=lambda one: (one.layer + one.order, one.order)):
        layer = document.layers[cel.layer]
        if layer.visible and not layer.group:
            _lay(canvas, cel, cel.opacity / 255 * layer.opacity / 255)
    canvas[..., 3] *= 255
    out: Bytes = canvas.round().astype(np.uint8)
    out[out[..., 3] == 0] = 0
    return out


def _lay(canvas: Floats, cel: Cel, opacity: float) -> None:
    """Over `canvas`: straight alpha of 0 to 1, colours of 0 to 255."""
    height, width = cel.pixels.shape[:2]
    left, top = max(0, cel.x), max(0, cel.y)
    right, bottom = min(canvas.shape[1], cel.x + width), min(canvas.shape[0], cel.y + height)
    if left >= right or top >= bottom:
        return
    over = cel.pixels[top - cel.y : bottom - cel.y, left - cel.x : right - cel.x].astype(np.float32)
    under = canvas[top:bottom, left:right]
    share = over[..., 3:] / 255 * opacity
    alpha = share + under[..., 3:] * (1 - share)
    mixed = over[..., :3] * share + under[..., :3] * under[..., 3:] * (1 - share)
    under[..., :3] = np.divide(mixed, alpha, out=np.zeros_like(mixed), where=alpha > 0)
    under[..., 3:] = alpha
