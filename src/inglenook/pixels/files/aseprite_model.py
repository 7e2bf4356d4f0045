# SPDX-License-Identifier: Apache-2.0
"""An Aseprite document as it is in memory, and the numbers of the file format.

The format: docs/ase-file-specs.md in Aseprite's repository.
"""

from dataclasses import dataclass
from typing import Final

from inglenook.pixels.files.spec import Tag
from inglenook.pixels.oklab import Bytes

MAGIC: Final = 0xA5E0
FRAME_MAGIC: Final = 0xF1FA
OLD_PALETTE: Final = 0x0004
LAYER: Final = 0x2004
CEL: Final = 0x2005
COLOR_PROFILE: Final = 0x2007
TAGS: Final = 0x2018
PALETTE: Final = 0x2019

DIRECTIONS: Final = ("forward", "reverse", "ping-pong")

Rgba = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Layer:
    """`visible`: also that all groups around it are. `opacity`: 0 to 255. `blend`: 0 is normal."""

    name: str
    visible: bool = True
    opacity: int = 255
    blend: int = 0
    group: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Cel:
    """A layer's picture in one frame.

    Attributes:
        layer: index into the document's layers.
        x, y: of its upper left pixel on the canvas; may lie outside.
        pixels: uint8 (h, w, 4), straight alpha, transparent pixels all zero.
        order: moves it up (or down) that many layers in this frame.
    """

    layer: int
    x: int
    y: int
    pixels: Bytes
    opacity: int = 255
    order: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    duration_ms: int
    cels: tuple[Cel, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """
    Attributes:
        depth: bits a pixel: 32 RGBA, 16 grey and alpha, 8 indexed.
        palette: (r, g, b, a), at most 256; of an indexed document also the transparent entry.
        transparent: its index; None where the document is not indexed.
        layers: from the lowest up.
    """

    width: int
    height: int
    depth: int
    palette: tuple[Rgba, ...]
    transparent: int | None
    layers: tuple[Layer, ...]
    frames: tuple[Frame, ...]
    tags: tuple[Tag, ...]
