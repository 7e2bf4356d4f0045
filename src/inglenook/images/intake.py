# SPDX-License-Identifier: Apache-2.0
"""What a person uploads, made safe: any picture in, plain 8-bit PNG out.

An upload is sniffed by content, bounded in bytes and, from its header, in pixels, before a decoder sees it;
only the decoder of the sniffed format is tried; of PNG, JPEG and WebP files only the parts that make up the
pixels reach it (packed text, EXIF and colour profiles, where bombs hide, do not). What comes out is written
anew by us: no metadata, no second picture, nothing of the original's bytes.
"""

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, WebPImagePlugin

from inglenook.base.errors import Invalid, TooLarge
from inglenook.base.units import format_bytes
from inglenook.images import exif, jpeg, png, webp
from inglenook.images.sniff import Format, declared_size, sniff

assert WebPImagePlugin.WebPImageFile.format == Format.WEBP  # importing it registers the decoder

_DECODER_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, AttributeError,
    OverflowError, ZeroDivisionError, MemoryError, NotImplementedError, struct.error, zlib.error,
)  # fmt: skip
"""What Pillow's decoders raise on files that were made to confuse them."""
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)

_PNG_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_JPEG_METADATA = (frozenset(range(0xE1, 0xF0)) - {jpeg.APP14}) | {jpeg.COMMENT}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What puts a picture upright, by its EXIF orientation."""

_DARK = 128
"""A mask's pixel counts as "redraw" from here up."""
_GREY_TOLERANCE = 32


@dataclass(frozen=True, slots=True)
class Intake:
    """An upload made safe.

    Attributes:
        png: RGB, 8 bit, without metadata; transparent parts lie on white.
        width, height: pixels, after it was turned upright.
        had_alpha: whether any pixel was not fully opaque.
        own_mask: where it was transparent, as a mask (L PNG, white = redraw), or None where it was opaque:
            what OpenAI's edits use when no mask is sent.
        notes: what was changed on the way, each a phrase for a person.
    """

    png: bytes
    width: int
    height: int
    had_alpha: bool
    own_mask: bytes | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mask:
    """`png`: L, 8 bit, without metadata; white where the picture is redrawn."""

    png: bytes
    width: int
    height: int


def intake(data: bytes, *, max_bytes: int, max_pixels: int, field: str = "image") -> Intake:
    """Decode an upload.

    Args:
        max_bytes, max_pixels: largest upload, and largest picture, that is decoded. Decoding takes up to
            about 12 bytes a pixel.
        field: the request's field, for errors.

    Raises:
        TooLarge: `picture.too_large`: more bytes, or, by its header, more pixels.
        Invalid: `picture.unsupported` (the message says what it is), `picture.truncated`, `picture.corrupt`.
    """
    image, notes = _decode(data, max_bytes=max_bytes, max_pixels=max_pixels, field=field)
    own_mask = None
    if image.mode == "RGBA":
        alpha = image.getchannel("A")
        if alpha.getextrema() != (255, 255):
            own_mask = to_png(alpha.point(lambda value: 255 - value))
            notes.append("transparent parts were put on white")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=alpha)
        image = white
    return Intake(
        png=to_png(image),
        width=image.width,
        height=image.height,
        had_alpha=own_mask is not None,
        own_mask=own_mask,
        notes=tuple(notes),
    )


def intake_rgba(data: bytes, *, max_bytes: int, max_pixels: int, field: str = "image") -> bytes:
    """As `intake`, but transparency is kept: RGBA PNG, 8 bit, without metadata.

    Raises:
        TooLarge, Invalid: as `intake`.
    """
    image, _ = _decode(data, max_bytes=max_bytes, max_pixels=max_pixels, field=field)
    return to_png(image.convert("RGBA"))


def overlaid(data: bytes, markup: bytes, *, max_bytes: int, max_pixels: int) -> bytes:
    """A picture with what a person scribbled over it laid on it: RGB PNG.

    Args:
        markup: of the picture's size once both are upright; what is drawn is opaque, the rest transparent.

    Raises:
        TooLarge, Invalid: as `intake`; the markup is of another size, or covers all or nothing.
    """
    below = intake(data, max_bytes=max_bytes, max_pixels=max_pixels)
    above, _ = _decode(markup, max_bytes=max_bytes, max_pixels=max_pixels, field="markup")
    if above.size != (below.width, below.height):
        raise Invalid(
            f"The markup is {above.width}x{above.height}, the picture {below.width}x{below.height}.",
            field="markup",
            hint="give a markup of the same size as the picture",
        )
    lowest, highest = above.getchannel("A").getextrema() if above.mode == "RGBA" else (255, 255)
    if lowest == 255 or highest == 0:
        what = "has no transparent pixel: it would hide the picture" if lowest == 255 else "is empty"
        raise Invalid(f"The markup {what}.", field="markup", hint="draw on a transparent background")
    with Image.open(BytesIO(below.png), formats=[Format.PNG]) as image:
        joined = image.convert("RGB")
    joined.paste(above.convert("RGB"), mask=above.getchannel("A"))
    return to_png(joined)


def mask_from(data: bytes, *, max_bytes: int, max_pixels: int, field: str = "mask") -> Mask:
    """A mask as the worker reads it: PNG, L, `size`, white = redraw; greys in between are kept.

    Two habits are understood. OpenAI's: a picture with transparency; what is transparent is redrawn. A1111's:
    black and white without transparency; white is redrawn. A fully opaque picture that still carries an alpha
    channel is read the second way if it is black and white.

    Raises:
        Invalid: as `intake`; `picture.mask_empty` when nothing would be redrawn.
        TooLarge: as `intake`.
    """
    image, _ = _decode(data, max_bytes=max_bytes, max_pixels=max_pixels, field=field)
    mask = _mask_of(image, field)
    if not any(mask.histogram()[_DARK:]):  # nothing is light enough to count
        raise _empty_mask("is all black", field)
    return Mask(png=to_png(mask), width=mask.width, height=mask.height)


def _mask_of(image: Image.Image, field: str) -> Image.Image:
    """White where to redraw; `image` is RGB or RGBA."""
    if image.mode == "RGBA":
        alpha = image.getchannel("A")
        if alpha.getextrema() != (255, 255):
            return alpha.point(lambda value: 255 - value)
        if not _black_and_white(image):
            raise _empty_mask("has no transparent pixel", field)
    return image.convert("L")


def _black_and_white(image: Image.Image) -> bool:
    """Whether it has no colour, and both dark and light pixels: drawn as a mask, not a photograph's copy."""
    import numpy as np  # a tenth of a second: only when it is needed

    rgb = np.asarray(image.convert("RGB")).astype(np.int16)
    if int((rgb.max(axis=2) - rgb.min(axis=2)).max()) > _GREY_TOLERANCE:
        return False
    return bool(rgb.min() < _DARK <= rgb.max())


def _empty_mask(fact: str, field: str) -> Invalid:
    return Invalid(
        f"The mask {fact}: nothing would be redrawn.",
        code="picture.mask_empty",
        hint="make the part that should change transparent, or white on black",
        field=field,
    )


def upright_size(data: bytes, *, max_bytes: int, max_pixels: int, field: str = "image") -> tuple[int, int]:
    """(width, height) in pixels of a picture that could be decoded in full, as it is seen: turned upright.

    Raises:
        Invalid, TooLarge: as `intake`.
    """
    image, _ = _decode(data, max_bytes=max_bytes, max_pixels=max_pixels, field=field)
    return image.size


def thumbnail(data: bytes, *, side_px: int, max_pixels: int) -> bytes:
    """A small WebP picture, its longest side `side_px`; a smaller picture keeps its pixels, exactly.

    Raises:
        Invalid, TooLarge: as `intake`.
    """
    image, _ = _decode(data, max_bytes=len(data), max_pixels=max_pixels, field="image")
    small = max(image.size) <= side_px
    if not small:
        image.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    out = BytesIO()
    image.save(out, Format.WEBP, quality=80, method=4, lossless=small)
    return out.getvalue()


def fit_to(image: Image.Image, width: int, height: int) -> Image.Image:
    """`image` in exactly `width` × `height` pixels: scaled to cover them, the overhang cut off evenly.

    Keeps proportions; a picture of other proportions loses its edges, never its shape. Lanczos for colour,
    bilinear for masks (L), which may not ring. Picture and mask of one size stay aligned.
    """
    if image.size == (width, height):
        return image
    scale = max(width / image.width, height / image.height)
    part_w, part_h = min(image.width, width / scale), min(image.height, height / scale)
    left, top = (image.width - part_w) / 2, (image.height - part_h) / 2
    how = Image.Resampling.BILINEAR if image.mode == "L" else Image.Resampling.LANCZOS
    return image.resize((width, height), how, box=(left, top, left + part_w, top + part_h))


def fit_png(data: bytes, width: int, height: int) -> bytes:
    """`fit_to` on a PNG file that `intake` or `mask_from` made."""
    with Image.open(BytesIO(data), formats=[Format.PNG]) as image:
        return data if image.size == (width, height) else to_png(fit_to(image, width, height))


def to_png(image: Image.Image) -> bytes:
    """A plain PNG file of the pixels alone."""
    out = BytesIO()
    bare = Image.frombytes(image.mode, image.size, image.tobytes())
    bare.save(out, Format.PNG, compress_level=4)
    return out.getvalue()


# ── decoding ────────────────────────────────────────────────────────────────────────────────────────────


def _decode(data: bytes, *, max_bytes: int, max_pixels: int, field: str) -> tuple[Image.Image, list[str]]:
    """RGB or RGBA, upright, 8 bit, and what was changed."""
    if len(data) > max_bytes:
        raise TooLarge(
            f"The upload has {format_bytes(len(data))}; at most {format_bytes(max_bytes)} are taken.",
            code="picture.too_large",
            field=field,
        )
    kind = sniff(data, field=field)
    try:
        _check_pixels(declared_size(data, kind), max_pixels, field)
        data, block = _pixels_only(data, kind)
    except Invalid as error:
        raise Invalid(error.message, code=error.code, hint=error.hint, field=field) from None
    notes: list[str] = []
    try:
        with Image.open(BytesIO(data), formats=[kind]) as image:
            _check_pixels(image.size, max_pixels, field)  # a GIF's frame may be larger than its screen
            if getattr(image, "is_animated", False):
                image.seek(0)
                notes.append("only the first of its pictures was used")
            image.load()
            return _upright(_to_rgb(image, notes), block, notes), notes
    except _BOMBS as error:
        raise _too_many_pixels(str(error), max_pixels, field) from None
    except _DECODER_ERRORS as error:
        raise _undecodable(error, kind, field) from error


def _check_pixels(size: tuple[int, int], max_pixels: int, field: str) -> None:
    if size[0] * size[1] > max_pixels:
        raise _too_many_pixels(f"The picture has {size[0]} × {size[1]} pixels", max_pixels, field)


def _too_many_pixels(fact: str, max_pixels: int, field: str) -> TooLarge:
    return TooLarge(
        f"{fact}; at most {max_pixels} pixels are taken.",
        code="picture.too_large",
        hint="scale it down before sending it",
        field=field,
    )


def _undecodable(error: Exception, kind: Format, field: str) -> Invalid:
    reason = str(error)[:200]
    if "truncated" in reason.lower() or isinstance(error, EOFError):
        return Invalid(
            f"The {kind} file is cut off: {reason}.",
            code="picture.truncated",
            hint="send the whole file",
            field=field,
        )
    return Invalid(f"The {kind} file cannot be decoded: {reason}.", code="picture.corrupt", field=field)


def _pixels_only(data: bytes, kind: Format) -> tuple[bytes, bytes]:
    """The file without anything that its pixels do not need, and its EXIF block, which is ours to read.

    Raises:
        Invalid: `picture.truncated`, `picture.corrupt`.
    """
    if kind is Format.PNG:
        return _png_pixels(data)
    if kind is Format.JPEG:
        return _jpeg_pixels(data)
    if kind is Format.WEBP:
        blocks = [chunk.data for chunk in webp.chunks(data) if chunk.kind == b"EXIF"]
        return webp.pixels_only(data), blocks[0].removeprefix(exif.JPEG_PREFIX) if blocks else b""
    return data, b""


def _png_pixels(data: bytes) -> tuple[bytes, bytes]:
    """The one transparent colour of a 16-bit RGB picture goes: the decoder compares it with 8-bit pixels."""
    kept, block = [], b""
    deep_rgb = data[24:26] == b"\x10\x02"
    for chunk in png.chunks(data):
        if chunk.kind in _PNG_PIXELS and not (chunk.kind == b"tRNS" and deep_rgb):
            kept.append(chunk)
        elif chunk.kind == b"eXIf":
            block = chunk.data
    return png.join(kept), block


def _jpeg_pixels(data: bytes) -> tuple[bytes, bytes]:
    """Of the application segments JFIF's and Adobe's stay: they tell how colours are coded."""
    *before, scan = jpeg.segments(data)
    kept = [one for one in before if one.marker not in _JPEG_METADATA]
    blocks = [one.data for one in before if one.marker == jpeg.APP1 and one.data.startswith(exif.JPEG_PREFIX)]
    block = blocks[0].removeprefix(exif.JPEG_PREFIX) if blocks else b""
    return jpeg.join(kept, data[scan.start :]), block


def _to_rgb(image: Image.Image, notes: list[str]) -> Image.Image:
    """RGB, or RGBA where there is transparency."""
    if image.mode.startswith("I"):
        notes.append("16 bits a pixel became 8")
        return _from_deep_grey(image)
    if image.mode == "CMYK":
        notes.append("its printing colours (CMYK) became RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return image.convert("RGBA")
    return image.convert("RGB")


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 bit (65535 becomes 255; Pillow's own conversion would cut off at 255)."""
    import numpy as np  # a tenth of a second: only when it is needed

    deep = np.asarray(image).astype(np.uint32)
    grey = Image.fromarray(((np.minimum(deep, 65535) * 255 + 32767) // 65535).astype(np.uint8))
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return grey.convert("RGB")
    rgba = grey.convert("RGBA")
    rgba.putalpha(Image.fromarray(np.where(deep == transparent, 0, 255).astype(np.uint8)))
    return rgba


def _upright(image: Image.Image, block: bytes, notes: list[str]) -> Image.Image:
    """Turned as the orientation in the EXIF block says; a broken block turns nothing."""
    turn = _TURNS.get(exif.orientation(block))
    if turn is None:
        return image
    notes.append("it was turned upright")
    return image.transpose(turn)
