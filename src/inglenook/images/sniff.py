# SPDX-License-Identifier: Apache-2.0
"""What an upload is, by its content, and how large its picture says it is. Nothing is decoded. Pure."""

import struct
from collections.abc import Callable, Mapping
from enum import StrEnum

from inglenook.base.errors import Invalid
from inglenook.images import jpeg, png, webp


class Format(StrEnum):
    """The formats that are taken. The values are Pillow's names."""

    PNG = "PNG"
    JPEG = "JPEG"
    WEBP = "WEBP"
    GIF = "GIF"
    BMP = "BMP"


_TAKEN = "send PNG, JPEG, WebP, GIF or BMP"

_REFUSED: tuple[tuple[bytes, str], ...] = (
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"%PDF", "a PDF document"),
    (b"8BPS", "a Photoshop document"),
    (b"\0\0\1\0", "a Windows icon"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"#!AMR", "a sound"),
    (b"gimp xcf", "a GIMP document"),
    (b"OggS", "a sound or film"),
    (b"\x1aE\xdf\xa3", "a film"),
)
_BRANDS: Mapping[bytes, str] = {
    b"avif": "an AVIF picture",
    b"avis": "an AVIF picture",
    b"heic": "a HEIC picture",
    b"heix": "a HEIC picture",
    b"mif1": "a HEIF picture",
    b"msf1": "a HEIF picture",
}


def sniff(data: bytes, *, field: str = "image") -> Format:
    """The format of a picture that is taken.

    Raises:
        Invalid: `picture.unsupported`, naming what it is instead, as far as its first bytes tell.
    """
    if data.startswith(png.SIGNATURE):
        return Format.PNG
    if data.startswith(b"\xff\xd8\xff"):
        return Format.JPEG
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Format.WEBP
    if data.startswith((b"GIF87a", b"GIF89a")):
        return Format.GIF
    if data.startswith(b"BM") and len(data) >= 26 and data[14] in (12, 40, 52, 56, 64, 108, 124):
        return Format.BMP
    raise Invalid(f"The upload is {_what(data)}.", code="picture.unsupported", hint=_TAKEN, field=field)


def _what(data: bytes) -> str:
    if not data:
        return "empty (0 bytes)"
    for start, name in _REFUSED:
        if data.startswith(start):
            return f"{name}, which is not taken"
    if data[4:8] == b"ftyp":
        return f"{_BRANDS.get(data[8:12], 'a film')}, which is not taken"
    if data[:4] == b"RIFF":
        return "a sound or film, which is not taken"
    return _what_text(data)


def _what_text(data: bytes) -> str:
    start = data[:4096].removeprefix(b"\xef\xbb\xbf").replace(b"\0", b"").lstrip().lower()
    if b"<svg" in start:
        return "an SVG drawing, which is not taken: it is a program, not pixels"
    if start.startswith((b"<!doctype html", b"<html")) or b"<html" in start or b"<script" in start:
        return "an HTML page, not a picture"
    if start.startswith(b"<?xml"):
        return "an XML document, not a picture"
    if start.startswith((b"data:", b"ivborw0kggo", b"/9j/")):
        return "base64 text of a picture; decode it, or send it where base64 is asked for"
    if start.startswith((b"{", b"[")):
        return "JSON text, not a picture"
    return "of a format that is not known here"


def declared_size(data: bytes, kind: Format) -> tuple[int, int]:
    """(width, height) in pixels as the header says, both at least 1.

    Raises:
        Invalid: `picture.truncated` or `picture.corrupt`; there is no sound header.
    """
    width, height = _SIZES[kind](data)
    if width < 1 or height < 1:
        raise Invalid(f"The picture declares a size of {width} × {height} pixels.", code="picture.corrupt")
    return width, height


def _gif_size(data: bytes) -> tuple[int, int]:
    if len(data) < 13:
        raise Invalid(f"The GIF file is cut off after {len(data)} bytes.", code="picture.truncated")
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _bmp_size(data: bytes) -> tuple[int, int]:
    if data[14] == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return width, abs(height)  # a negative height is one that runs from the top


_SIZES: Mapping[Format, Callable[[bytes], tuple[int, int]]] = {
    Format.PNG: png.size,
    Format.JPEG: jpeg.size,
    Format.WEBP: webp.size,
    Format.GIF: _gif_size,
    Format.BMP: _bmp_size,
}
