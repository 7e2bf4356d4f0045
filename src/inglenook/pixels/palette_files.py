# SPDX-License-Identifier: Apache-2.0
"""Reading and writing palettes in the formats that paint programs have.

| format | of | told by |
| --- | --- | --- |
| gpl | GIMP, Inkscape, Krita, Aseprite | `GIMP Palette` |
| pal | Paint Shop Pro (JASC) | `JASC-PAL` |
| riff | Microsoft (also `.pal`) | `RIFF` … `PAL ` |
| hex | Lospec: a colour a line | six hexadecimal digits |
| act | Photoshop | 768 or 772 bytes, and `.act` |
| aseprite | Aseprite (`.ase` too) | its magic number |
| png | a row of colours, or any picture of few | PNG's signature |

A file may come from anybody. Nothing is believed before it is counted: 1 to 256 different colours, files of
at most `MAX_BYTES`. A colour that comes a second time, and one that is wholly transparent, is passed over.
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import PurePath
from typing import Final, Literal

from inglenook.base.errors import Invalid, TooLarge
from inglenook.pixels.model import MAX_COLORS
from inglenook.pixels.palettes import Color, NamedPalette

PaletteFormat = Literal["gpl", "pal", "riff", "hex", "act", "aseprite", "png"]

MAX_BYTES: Final = 4 << 20
_MAX_PICTURE_PX: Final = 1 << 20
_MAX_NAME_CHARS: Final = 64
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_DECODER_ERRORS: Final = (
    OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, AttributeError,
    OverflowError, ZeroDivisionError, MemoryError, NotImplementedError, struct.error, zlib.error,
)  # fmt: skip
"""What Pillow's decoder raises on files that were made to confuse it."""
_LEVELS: Final = re.compile(r"\s*(\d{1,3})\s+(\d{1,3})\s+(\d{1,3})(?:\s+(.*))?\s*")
_HEX: Final = re.compile(r"\s*#?([0-9a-fA-F]{6})\s*")


def read_palette(data: bytes, name: str) -> NamedPalette:
    """A palette out of a file; its format is told by what is in it.

    Args:
        name: of the file. It names the palette where the file itself does not.

    Raises:
        Invalid: `palette.unreadable` (damaged, or of no known format) or `palette.size` (no colour, or more
            than 256 different ones); `field` is "palette".
        TooLarge: `palette.too_large`, more bytes or pixels than a palette needs.
    """
    if len(data) > MAX_BYTES:
        words = f"{len(data)} bytes are no palette; {MAX_BYTES} is the most."
        raise TooLarge(words, code="palette.too_large", field="palette")
    title, colors = _reader_of(data, name)(data)
    found = _different(colors)
    title = _printable(title) or _printable(PurePath(name.replace("\\", "/")).stem) or "palette"
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "palette"
    return NamedPalette(slug, title, found)


_Read = tuple[str, Iterable[Color]]


def _reader_of(data: bytes, name: str) -> Callable[[bytes], _Read]:
    if data.startswith(_PNG):
        return _read_png
    if data[:4] == b"RIFF":
        return _read_riff
    if data[4:6] == b"\xe0\xa5" and len(data) >= 128:
        return _read_aseprite
    if name.lower().endswith(".act"):
        return _read_act
    start = data.removeprefix(b"\xef\xbb\xbf").lstrip()[:16]
    if start.startswith(b"GIMP Palette"):
        return _read_gpl
    if start.startswith(b"JASC-PAL"):
        return _read_jasc
    return _read_hex


def _different(colors: Iterable[Color]) -> tuple[Color, ...]:
    found: dict[Color, None] = {}
    for color in colors:
        found[color] = None
        if len(found) > MAX_COLORS:
            raise _sized(f"The file has more than {MAX_COLORS} different colours.")
    if not found:
        raise _sized("The file has no colour in it.")
    return tuple(found)


def _sized(fact: str) -> Invalid:
    return Invalid(
        fact, code="palette.size", field="palette", hint=f"a palette has 1 to {MAX_COLORS} colours"
    )


def _unreadable(fact: str) -> Invalid:
    return Invalid(
        fact,
        code="palette.unreadable",
        field="palette",
        hint="palettes are read as .gpl, .pal, .hex, .act, .aseprite and .png",
    )


def _printable(text: str) -> str:
    return "".join(one for one in text if one.isprintable()).strip()[:_MAX_NAME_CHARS].strip()


def _lines(data: bytes) -> list[str]:
    """Text in UTF-8, or in Latin-1 as older programs write it."""
    if b"\0" in data:
        raise _unreadable("The file is no text, and of no kind of palette that is known.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return text.splitlines()


def _read_gpl(data: bytes) -> _Read:
    title, colors, alpha = "", [], False
    for number, line in enumerate(_lines(data)[1:], 2):
        head, _, tail = line.partition(":")
        if head in ("Name", "Columns", "Channels") and tail:
            title = tail if head == "Name" else title
            alpha = alpha or (head == "Channels" and tail.strip() == "RGBA")
        elif line.strip() and not line.lstrip().startswith("#"):
            color, rest = _levels(line, number)
            if not (alpha and re.match(r"0+(?:\s|$)", rest)):
                colors.append(color)
    return title, colors


def _levels(line: str, number: int) -> tuple[Color, str]:
    """Three levels at the start of a line, and what is behind them."""
    found = _LEVELS.fullmatch(line)
    if found is None or any(int(level) > 255 for level in found.groups()[:3]):
        raise _unreadable(f"Line {number} is no colour of three levels from 0 to 255: {line[:40]!r}.")
    return (int(found[1]), int(found[2]), int(found[3])), found[4] or ""


def _read_jasc(data: bytes) -> _Read:
    lines = [line for line in _lines(data) if line.strip()]
    if len(lines) < 3 or not re.fullmatch(r"\s*\d{1,5}\s*", lines[2]):
        raise _unreadable("The JASC palette does not say how many colours it has.")
    count = int(lines[2])
    if count > len(lines) - 3:
        raise _unreadable(f"The JASC palette promises {count} colours and has {len(lines) - 3}.")
    return "", [_levels(line, number)[0] for number, line in enumerate(lines[3 : 3 + count], 4)]


def _read_hex(data: bytes) -> _Read:
    colors = []
    for number, line in enumerate(_lines(data), 1):
        if line.strip():
            found = _HEX.fullmatch(line)
            if found is None:
                raise _unreadable(f"Line {number} is no colour of six hexadecimal digits: {line[:40]!r}.")
            colors.append(_color(bytes.fromhex(found[1])))
    return "", colors


def _color(levels: bytes) -> Color:
    return levels[0], levels[1], levels[2]


def _read_riff(data: bytes) -> _Read:
    """RIFF, size, `PAL `, then chunks; in `data` a version, a count, and red, green, blue, flags each."""
    if data[8:12] != b"PAL ":
        raise _unreadable("The RIFF file holds no palette.")
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"data":
            body = data[at + 8 : at + 8 + size]
            count = int.from_bytes(body[2:4], "little")
            if len(body) < 4 + 4 * count:
                raise _unreadable(
                    f"The palette promises {count} colours and has {max(0, len(body) - 4) // 4}."
                )
            return "", [_color(body[4 + 4 * one : 7 + 4 * one]) for one in range(count)]
        at += 8 + size + (size & 1)
    raise _unreadable("The RIFF file ends before its palette.")


def _read_act(data: bytes) -> _Read:
    """256 colours; at the end perhaps how many of them count, and which is transparent (0xFFFF: none)."""
    if len(data) not in (768, 772):
        raise _unreadable(f"A colour table of Photoshop has 768 or 772 bytes; this one has {len(data)}.")
    count, hole = struct.unpack(">HH", data[768:]) if len(data) == 772 else (256, 0xFFFF)
    if not 1 <= count <= 256:
        raise _sized(f"The colour table says that {count} of its colours count.")
    return "", [_color(data[3 * one : 3 * one + 3]) for one in range(count) if one != hole]


def _read_aseprite(data: bytes) -> _Read:
    from inglenook.pixels.files.aseprite_reader import read_aseprite

    try:
        document = read_aseprite(data, pictures=False)
    except (Invalid, TooLarge) as error:
        raise _unreadable(error.message) from error
    return "", [_color(bytes(entry)) for entry in document.palette if entry[3]]


def _read_png(data: bytes) -> _Read:
    """The colours of a picture in the order in which they first come, row by row."""
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    if width * height > _MAX_PICTURE_PX:
        words = f"A picture of {width} x {height} pixels is no row of colours."
        raise TooLarge(words, code="palette.too_large", field="palette")
    try:
        with Image.open(BytesIO(data), formats=["PNG"]) as image:
            pixels = np.asarray(image.convert("RGBA")).reshape(-1, 4)
    except UnidentifiedImageError as error:  # its words name an object in memory
        raise _unreadable("The PNG is damaged in its header.") from error
    except _DECODER_ERRORS as error:
        raise _unreadable(f"The PNG is damaged ({error}).") from error
    opaque = np.ascontiguousarray(pixels[pixels[:, 3] > 0])
    packed = opaque.view(np.uint32)[:, 0] if len(opaque) else np.zeros(0, np.uint32)
    _, first = np.unique(packed, return_index=True)
    if len(first) > MAX_COLORS:
        raise _sized(f"The picture has {len(first)} different colours.")
    return "", [_color(opaque[one].tobytes()) for one in np.sort(first)]


def write_palette(palette: NamedPalette, format: PaletteFormat) -> bytes:  # noqa: A002 - what a caller would say
    """The palette as a file. `read_palette` gives its colours back, in their order, from each format."""
    return _WRITERS[format](palette)


def _write_gpl(palette: NamedPalette) -> bytes:
    lines = ["GIMP Palette", f"Name: {_printable(palette.title)}", "Columns: 16", "#"]
    lines += ["{:3d} {:3d} {:3d}\t{:02x}{:02x}{:02x}".format(*color, *color) for color in palette.colors]
    return ("\n".join(lines) + "\n").encode()


def _write_jasc(palette: NamedPalette) -> bytes:
    lines = ["JASC-PAL", "0100", str(len(palette.colors))]
    lines += ["{} {} {}".format(*color) for color in palette.colors]
    return ("\r\n".join(lines) + "\r\n").encode()


def _write_riff(palette: NamedPalette) -> bytes:
    body = struct.pack("<HH", 0x0300, len(palette.colors))
    body += b"".join(bytes((*color, 0)) for color in palette.colors)
    chunk = b"PAL data" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(chunk)) + chunk


def _write_hex(palette: NamedPalette) -> bytes:
    return "".join("{:02x}{:02x}{:02x}\n".format(*color) for color in palette.colors).encode()


def _write_act(palette: NamedPalette) -> bytes:
    colors = b"".join(bytes(color) for color in palette.colors)
    return colors.ljust(768, b"\0") + struct.pack(">HH", len(palette.colors), 0xFFFF)


def _write_aseprite(palette: NamedPalette) -> bytes:
    from inglenook.pixels.files.aseprite import palette_document

    return palette_document(palette.colors)


def _write_png(palette: NamedPalette) -> bytes:
    """One pixel a colour, in one row."""
    import numpy as np

    from inglenook.pixels.files.png import png

    row = np.array([[(*color, 255) for color in palette.colors]], np.uint8)
    return png(row, palette.colors)


_WRITERS: Final[dict[PaletteFormat, Callable[[NamedPalette], bytes]]] = {
    "gpl": _write_gpl,
    "pal": _write_jasc,
    "riff": _write_riff,
    "hex": _write_hex,
    "act": _write_act,
    "aseprite": _write_aseprite,
    "png": _write_png,
}
