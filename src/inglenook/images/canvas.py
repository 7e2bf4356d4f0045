# SPDX-License-Identifier: Apache-2.0
"""Pictures to draw into: a picture with room around it, and masks that are given by numbers. Pure.

All pictures are RGB, all masks L; white is what is drawn anew.
"""

from dataclasses import dataclass

from PIL import Image

from inglenook.base.errors import TooLarge
from inglenook.base.ids import BlobId
from inglenook.images.errors import BadRequest

BLEND_PX = 8
"""How far the new part reaches into the old one, so that no seam shows. Less in small pictures."""


@dataclass(frozen=True, slots=True)
class Margins:
    """Pixels that a picture grows by on each side, 0 or more."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0

    def __bool__(self) -> bool:
        return any((self.left, self.top, self.right, self.bottom))


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A part of a picture in pixels: its upper left corner, its width and height."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Extended:
    """A picture with room around it as it was kept, the mask of what is new, and the pixels of both."""

    image: BlobId
    mask: BlobId
    width: int
    height: int


def extended(
    picture: Image.Image, margins: Margins, mask: Image.Image | None, *, max_pixels: int
) -> tuple[Image.Image, Image.Image]:
    """A picture with room around it, and the mask of what is new.

    Under the mask lie the picture's edges, stretched outwards, so that what is drawn there begins with
    their colours.

    Args:
        picture: RGB. mask: L, of the same size: what is drawn anew inside it as well.
        max_pixels: of the result.

    Raises:
        BadRequest: no margin at all, or one below 0.
        TooLarge: the result would have more pixels.
    """
    _check(margins)
    width = picture.width + margins.left + margins.right
    height = picture.height + margins.top + margins.bottom
    if width * height > max_pixels:
        raise TooLarge(
            f"With these margins the picture is {width}x{height}; at most {max_pixels} pixels are read here.",
            code="picture.too_large",
            field="extend",
            hint="extend it by less",
        )
    new = Image.new("L", (width, height), 255)
    kept = Image.new("L", picture.size, 0) if mask is None else mask.copy()
    _open_edges(kept, margins)
    new.paste(kept, (margins.left, margins.top))
    return _stretched(picture, margins, (width, height)), new


def _check(margins: Margins) -> None:
    if not margins:
        raise BadRequest("The picture is extended by nothing.", field="extend", hint="give a margin above 0")
    for side in ("left", "top", "right", "bottom"):
        pixels = getattr(margins, side)
        if pixels < 0:
            raise BadRequest(
                f"The picture is extended by {pixels} pixels on the {side}; it can only grow.", field="extend"
            )


def _open_edges(mask: Image.Image, margins: Margins) -> None:
    """A thin strip along each side that grows is drawn anew too."""
    width, height = mask.size
    strip = min(BLEND_PX, width // 8, height // 8)
    if strip == 0:
        return
    for grows, box in (
        (margins.left, (0, 0, strip, height)),
        (margins.top, (0, 0, width, strip)),
        (margins.right, (width - strip, 0, width, height)),
        (margins.bottom, (0, height - strip, width, height)),
    ):
        if grows:
            mask.paste(255, box)


def _stretched(picture: Image.Image, margins: Margins, size: tuple[int, int]) -> Image.Image:
    """First to the sides, then, corners included, up and down."""
    width, height = size
    canvas = Image.new("RGB", size)
    canvas.paste(picture, (margins.left, margins.top))
    inner = margins.top, margins.top + picture.height
    right, bottom = margins.left + picture.width, margins.top + picture.height
    for at, span in ((margins.left, (0, margins.left)), (right - 1, (right, width))):
        _spread(canvas, (at, inner[0], at + 1, inner[1]), (span[0], inner[0], span[1], inner[1]))
    for at, span in ((margins.top, (0, margins.top)), (bottom - 1, (bottom, height))):
        _spread(canvas, (0, at, width, at + 1), (0, span[0], width, span[1]))
    return canvas


def _spread(canvas: Image.Image, edge: tuple[int, int, int, int], over: tuple[int, int, int, int]) -> None:
    size = over[2] - over[0], over[3] - over[1]
    if min(size) > 0:
        canvas.paste(canvas.crop(edge).resize(size, Image.Resampling.NEAREST), over)


def rectangle_mask(size: tuple[int, int], part: Rectangle) -> Image.Image:
    """A mask that opens a rectangle of a picture of that size.

    Raises:
        BadRequest: it has no pixel inside the picture.
    """
    left, top = max(0, part.left), max(0, part.top)
    right, bottom = min(size[0], part.left + part.width), min(size[1], part.top + part.height)
    if left >= right or top >= bottom:
        raise BadRequest(
            f"The rectangle {part.width}x{part.height} at {part.left}, {part.top} lies outside the picture, "
            f"which is {size[0]}x{size[1]}.",
            field="mask",
            hint="give its upper left corner, its width and its height in pixels",
        )
    mask = Image.new("L", size, 0)
    mask.paste(255, (left, top, right, bottom))
    return mask
