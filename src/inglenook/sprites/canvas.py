# SPDX-License-Identifier: Apache-2.0
"""From a sprite's canvas to a picture that a model can draw on, and back. Pure; everything here blocks.

A canvas has few pixels, and a model wants many: each pixel of the canvas becomes a square of equal ones, as
large as fits (`used`), and the rest of what is drawn (`base`) is filled by stretching the edges.
"""

from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any, Final

from PIL import Image, ImageChops

from inglenook.images.intake import to_png
from inglenook.sprites.errors import BadSprite

Size = tuple[int, int]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom."""
WHOLE_PX: Final = 256
"""A canvas no larger than this is drawn as a whole: what surrounds a selection tells what belongs there."""
_LEAST_MARGIN_PX: Final = 4
_MOST_NATIVE: Final = 2
"""So many times its native side is the longest that a model is made to draw; larger canvases are shrunk."""


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a canvas that is drawn on.

    Attributes:
        box: in pixels of the canvas.
        used: width and height that the box has in the drawing, from its upper left corner.
        base: width and height of the drawing.
    """

    box: Box
    used: Size
    base: Size

    @property
    def size(self) -> Size:
        return self.box[2] - self.box[0], self.box[3] - self.box[1]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> "Window":
        left, top, right, bottom = kept["box"]
        return cls((left, top, right, bottom), _size(kept["used"]), _size(kept["base"]))


def window(
    canvas: Size, part: Box | None, *, native_px: int, multiple: int, min_px: int, fixed: Size | None
) -> Window:
    """Which part of a canvas is drawn, and how large.

    Args:
        part: that is redrawn; None for all of it.
        native_px: about as many pixels a side are drawn. multiple, min_px: of a side that can be drawn.
        fixed: the only size that can be drawn, or None.
    """
    if fixed is not None:
        box = (0, 0, *canvas) if part is None else _around(canvas, part, fixed)
        return Window(box, _used(_extent(box), fixed), fixed)
    box = (0, 0, *canvas)
    if part is not None and max(canvas) > WHOLE_PX:
        margin = max(_LEAST_MARGIN_PX, max(_extent(part)) // 2)
        wanted = _extent(part)[0] + 2 * margin, _extent(part)[1] + 2 * margin
        box = _around(canvas, part, wanted)
    width, height = _extent(box)
    factor = max(1, round(native_px / max(width, height)))
    used = width * factor, height * factor
    if max(used) > _MOST_NATIVE * native_px:
        used = _used(used, (_MOST_NATIVE * native_px, _MOST_NATIVE * native_px))
    base = _up(used[0], multiple, min_px), _up(used[1], multiple, min_px)
    return Window(box, used, base)


def laid(canvas: bytes, place: Window, background: tuple[int, int, int]) -> bytes:
    """The window's part of a canvas (RGBA PNG), as the RGB PNG that is drawn on.

    Args:
        background: under what is transparent.
    """
    with Image.open(BytesIO(canvas), formats=["PNG"]) as opened:
        part = opened.convert("RGBA").crop(place.box)
    ground = Image.new("RGB", part.size, background)
    ground.paste(part, mask=part.getchannel("A"))
    return to_png(padded(_scaled(ground, place.used), place.base))


def laid_mask(mask: bytes, place: Window) -> bytes:
    """The window's part of a mask (L PNG) at the size of the drawing; what is beyond the canvas stays."""
    with Image.open(BytesIO(mask), formats=["PNG"]) as opened:
        part = opened.convert("L").crop(place.box)
    out = Image.new("L", place.base, 0)
    # Once a pixel is asked for, all that it is drawn from may change.
    small = part.width > place.used[0] or part.height > place.used[1]
    how = Image.Resampling.BOX if small else Image.Resampling.NEAREST
    out.paste(part.resize(place.used, how).point(lambda level: 255 if level else 0), (0, 0))
    return to_png(out)


def taken(drawn: bytes, place: Window) -> bytes:
    """What was drawn of the window: the drawing without what stands over."""
    with Image.open(BytesIO(drawn), formats=["PNG"]) as opened:
        if opened.size == place.used:
            return drawn
        return to_png(opened.convert("RGB").crop((0, 0, *place.used)))


def composed(canvas: bytes, mask: bytes, sprite: bytes, place: Window) -> bytes:
    """The canvas with the sprite of the window where the mask is white: RGBA PNG. Elsewhere every pixel is
    that of the canvas.

    Args:
        sprite: of the window's size in the canvas.
    """
    with Image.open(BytesIO(canvas), formats=["PNG"]) as opened:
        result = opened.convert("RGBA")
    with Image.open(BytesIO(mask), formats=["PNG"]) as opened:
        within = opened.convert("L").crop(place.box).point(lambda level: 255 if level >= 128 else 0)
    with Image.open(BytesIO(sprite), formats=["PNG"]) as opened:
        part = opened.convert("RGBA")
    if part.size != place.size:
        raise ValueError(f"a sprite of {part.size} for a window of {place.size}")
    result.paste(part, (place.box[0], place.box[1]), within)
    return to_png(result)


def selected(mask: bytes) -> Box | None:
    """The smallest box that holds all that a mask (L PNG) opens; None for nothing."""
    with Image.open(BytesIO(mask), formats=["PNG"]) as opened:
        return opened.convert("L").point(lambda level: 255 if level >= 128 else 0).getbbox()


def colors_of(canvas: bytes, most: int) -> tuple[tuple[int, int, int], ...] | None:
    """The colours of a canvas' visible pixels, sorted; None where there are more than `most`."""
    with Image.open(BytesIO(canvas), formats=["PNG"]) as opened:
        pixels = opened.convert("RGBA")
    visible = pixels.getchannel("A").point(lambda level: 255 if level >= 128 else 0)
    flat = Image.new("RGBA", pixels.size)
    flat.paste(pixels, mask=visible)
    found = flat.getcolors(most + 1)  # one more: what is transparent
    if found is None:
        return None
    colors = {
        (color[0], color[1], color[2]) for _, color in found if isinstance(color, tuple) and color[3] >= 128
    }
    return None if len(colors) > most else tuple(sorted(colors))


def is_free_standing(canvas: bytes) -> bool:
    """Whether most of the border of a canvas is transparent: its subject stands free."""
    with Image.open(BytesIO(canvas), formats=["PNG"]) as opened:
        if opened.mode != "RGBA":
            return False
        alpha = opened.getchannel("A").point(lambda level: 1 if level < 128 else 0)
    width, height = alpha.size
    edges = (0, 0, width, 1), (0, height - 1, width, height), (0, 0, 1, height), (width - 1, 0, width, height)
    clear = [level for box in edges for level in alpha.crop(box).tobytes()]
    return sum(clear) * 2 > len(clear)


# -- moving ------------------------------------------------------------------------------------------------


def moved(picture: bytes, right: int, down: int) -> tuple[bytes, bytes]:
    """An RGB PNG moved by so many pixels, its edges stretched over what is bare; and the mask of that."""
    with Image.open(BytesIO(picture), formats=["PNG"]) as opened:
        image = opened.convert("RGB")
    bare = Image.new("L", image.size, 255)
    bare.paste(0, (right, down, right + image.width, down + image.height))
    return to_png(_spread(image, right, down, image.size)), to_png(bare)


def beside(drawn: bytes, place: Window, side: str) -> tuple[bytes, bytes]:
    """A drawn tile moved so that half of it is left beside what comes next on that side, at the size of a
    drawing; and the mask of what comes next."""
    picture, bare = moved(taken(drawn, place), *step_of(place.used, side))
    return _filled(picture, place.base), _filled(bare, place.base)


def joined(first: bytes, second: bytes, side: str, step: Size) -> bytes:
    """The tile that lies on a side of another, out of two drawings: each was made by moving the one before
    by `step` (see `step_of`) to the other side and filling what was bare."""
    with Image.open(BytesIO(first), formats=["PNG"]) as opened:
        near = opened.convert("RGB")
    with Image.open(BytesIO(second), formats=["PNG"]) as opened:
        far = opened.convert("RGB")
    across, along = (near.width, 0) if side in ("left", "right") else (0, near.height)
    sign = 1 if side in ("right", "down") else -1
    tile = Image.new("RGB", near.size)
    for count, drawing in ((2, far), (1, near)):
        tile.paste(drawing, (sign * (count * abs(step[0]) - across), sign * (count * abs(step[1]) - along)))
    return to_png(tile)


def step_of(size: Size, side: str) -> Size:
    """How far (right, down) a tile is moved so that half of it is left beside what is drawn on that side."""
    across, along = size[0] - size[0] // 2, size[1] - size[1] // 2
    return {"right": (-across, 0), "left": (across, 0), "down": (0, -along), "up": (0, along)}[side]


def _filled(png: bytes, size: Size) -> bytes:
    with Image.open(BytesIO(png), formats=["PNG"]) as opened:
        opened.load()
        return png if opened.size == size else to_png(padded(opened, size))


def padded(image: Image.Image, size: Size) -> Image.Image:
    """The picture in the upper left of a larger one; its last column and row fill the rest."""
    return image if image.size == size else _spread(image, 0, 0, size)


def _spread(image: Image.Image, right: int, down: int, size: Size) -> Image.Image:
    """The picture at that place of one of `size`, its edges stretched over what it does not cover."""
    left, top = max(0, right), max(0, down)
    edge = min(size[0], right + image.width), min(size[1], down + image.height)
    out = Image.new(image.mode, size)
    out.paste(image, (right, down))
    if left >= edge[0] or top >= edge[1]:
        return out
    for at, span in ((left, (0, left)), (edge[0] - 1, (edge[0], size[0]))):
        if span[0] < span[1]:
            column = out.crop((at, top, at + 1, edge[1]))
            out.paste(column.resize((span[1] - span[0], edge[1] - top)), (span[0], top))
    for at, span in ((top, (0, top)), (edge[1] - 1, (edge[1], size[1]))):
        if span[0] < span[1]:
            row = out.crop((0, at, size[0], at + 1))
            out.paste(row.resize((size[0], span[1] - span[0])), (0, span[0]))
    return out


# -- sizes -------------------------------------------------------------------------------------------------


def _around(canvas: Size, part: Box, wanted: Size) -> Box:
    """A box of about `wanted` size in the canvas that holds the part, in its middle where it can be."""
    spans = []
    for axis in (0, 1):
        low, high = part[axis], part[axis + 2]
        length = min(canvas[axis], max(wanted[axis], high - low))
        start = min(max(0, (low + high - length) // 2), canvas[axis] - length)
        spans.append((start, start + length))
    return spans[0][0], spans[1][0], spans[0][1], spans[1][1]


def _used(size: Size, base: Size) -> Size:
    """As large as fits: a whole multiple where it is smaller, its shape where it is larger."""
    factor = min(base[0] // size[0], base[1] // size[1])
    if factor >= 1:
        return size[0] * factor, size[1] * factor
    scale = min(base[0] / size[0], base[1] / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _scaled(image: Image.Image, size: Size) -> Image.Image:
    whole = size[0] % image.width == 0 and size[1] % image.height == 0
    return image.resize(size, Image.Resampling.NEAREST if whole else Image.Resampling.BOX)


def _extent(box: Box) -> Size:
    return box[2] - box[0], box[3] - box[1]


def _up(side: int, multiple: int, least: int) -> int:
    return -(-max(side, least) // multiple) * multiple


def _size(pair: Any) -> Size:
    return int(pair[0]), int(pair[1])


def selection(png: bytes) -> bytes:
    """A mask as a selection is painted: L PNG, white where the picture (RGBA PNG) is opaque and light."""
    with Image.open(BytesIO(png), formats=["PNG"]) as opened:
        pixels = opened.convert("RGBA")
    strong = pixels.getchannel("A").point(lambda level: 255 if level >= 128 else 0)
    red, green, blue = (pixels.getchannel(name) for name in "RGB")
    light = Image.merge("RGB", (red, green, blue)).convert("L", _MEAN).point(lambda v: 255 if v >= 128 else 0)
    return to_png(ImageChops.multiply(strong, light))


_MEAN: Final = (1 / 3, 1 / 3, 1 / 3, 0.5)


def require_same_size(canvas: bytes, mask: bytes) -> Size:
    """The size of both. Raises BadSprite where they differ."""
    with Image.open(BytesIO(canvas)) as one, Image.open(BytesIO(mask)) as other:
        if one.size != other.size:
            raise BadSprite(
                f"The mask is {other.size[0]}x{other.size[1]}, the picture {one.size[0]}x{one.size[1]}.",
                field="mask",
                hint="send a mask of the same size as the picture",
            )
        return one.size


def size_of(png: bytes) -> Size:
    with Image.open(BytesIO(png)) as opened:
        return opened.size
