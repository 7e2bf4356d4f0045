# SPDX-License-Identifier: Apache-2.0
"""Pixel work over the wire: pictures are decoded and worked on in a child, never in the server's process.

    server                          worker
      │  ◄──────── Hello ─────────────│   after connecting
      │ ────────── OpenPixels ──────► │
      │  ◄──────── Loaded / LoadFailed
      │ ────────── Pixelate ────────► │   or WriteSprites
      │ ────────── Cancel ──────────► │   between two frames
      │  ◄──────── Pixelated / SpritesWritten / PixelsFailed / PixelsStopped   exactly one, last
      │ ────────── Shutdown ────────► │

One piece of work at a time. Pictures travel as files in the child's spool folder.
"""

from typing import Any, Literal

import msgspec

from inglenook.wire.message import Cancel, Hello, Loaded, LoadFailed, Message, Shutdown


class OpenPixels(Message, frozen=True, kw_only=True, tag="open_pixels"):
    """Make ready. `memory_bytes`: so much address space may the worker take; None for no bound."""

    memory_bytes: int | None = None


class Pixelate(Message, frozen=True, kw_only=True, tag="pixelate"):
    """Make sprites of pictures, with one palette for all of them where the recipe has no fixed one.

    Attributes:
        files: pictures in the spool, in the order of the frames, 1 to 256.
        mattes: for each a grey picture of the same size in the spool (255 is the subject), or None.
        recipe: `pixels.model.Recipe.as_json()`.
        max_pixels: of a picture.
        whole_animation: one size, crop and palette for all (frames); False: each for itself (variants).
    """

    job: str
    files: tuple[str, ...]
    mattes: tuple[str | None, ...]
    recipe: dict[str, Any]
    max_pixels: int
    whole_animation: bool = False


class MadeSprite(msgspec.Struct, frozen=True, kw_only=True):
    """`file`: a PNG in the spool, indexed where there is a palette. The rest as in `pixels.model.Sprite`."""

    file: str
    width: int
    height: int
    palette: tuple[tuple[int, int, int], ...] | None
    proof: dict[str, Any]
    grid: dict[str, float] | None
    offset: tuple[int, int]
    pivot: tuple[int, int]
    notes: tuple[str, ...]


class Pixelated(Message, frozen=True, kw_only=True, tag="pixelated"):
    job: str
    sprites: tuple[MadeSprite, ...]
    seconds: float


SpriteFormat = Literal[
    "png", "gif", "webp", "aseprite", "sheet-aseprite", "sheet-texturepacker", "ico", "icons", "rgba"
]


class FrameTag(msgspec.Struct, frozen=True, kw_only=True):
    """A named run of frames. `first`, `last`: 0-based, both included."""

    name: str
    first: int
    last: int
    direction: Literal["forward", "reverse", "ping-pong"] = "forward"


class WriteSprites(Message, frozen=True, kw_only=True, tag="write_sprites"):
    """Write frames as one file.

    Attributes:
        files: PNGs in the spool, one a frame (or one a layer where `layers` is given), 1 to 256.
        format: `sheet-*` and `icons` are zip archives; `rgba` is raw bytes, row by row, frame by frame.
        durations_ms: one a frame, 1 to 65535; None for 100 each.
        layers: names, one a file: the files are layers of one frame instead of frames. Only for `aseprite`.
        palette: of the file; None takes those of the frames.
        scale: whole factor by which each pixel is enlarged, 1 to 64; not for `aseprite`.
        columns: of a sheet; None for about a square. padding: pixels between cells of a sheet.
        name: the stem for names inside archives and in sheets.
    """

    job: str
    files: tuple[str, ...]
    format: SpriteFormat
    max_pixels: int
    durations_ms: tuple[int, ...] | None = None
    tags: tuple[FrameTag, ...] = ()
    layers: tuple[str, ...] | None = None
    palette: tuple[tuple[int, int, int], ...] | None = None
    loop: bool = True
    scale: int = 1
    columns: int | None = None
    padding: int = 0
    name: str = "sprite"


class SpritesWritten(Message, frozen=True, kw_only=True, tag="sprites_written"):
    """`file`: in the spool."""

    job: str
    file: str
    media_type: str
    suffix: str
    size_bytes: int


class PixelsFailed(Message, frozen=True, kw_only=True, tag="pixels_failed"):
    """`code`: `pixels.invalid` (the request is at fault, `field` names what), `pixels.unreadable`,
    `pixels.too_large`, `pixels.out_of_memory`, `store.disk_full`, `pixels.failed`. `picture`: 0-based, the
    file at fault."""

    job: str
    code: str
    message: str
    hint: str | None = None
    field: str | None = None
    picture: int | None = None


class PixelsStopped(Message, frozen=True, kw_only=True, tag="pixels_stopped"):
    """`done`: frames that were finished; -1: the process was ended."""

    job: str
    done: int


LastWord = Pixelated | SpritesWritten | PixelsFailed | PixelsStopped
ToPixelsWorker = OpenPixels | Pixelate | WriteSprites | Cancel | Shutdown
FromPixelsWorker = Hello | Loaded | LoadFailed | Pixelated | SpritesWritten | PixelsFailed | PixelsStopped
