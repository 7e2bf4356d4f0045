# SPDX-License-Identifier: Apache-2.0
"""What file is asked for, and what comes out. The checks that hold for every format."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from inglenook.base.errors import Invalid
from inglenook.pixels.model import MAX_COLORS, MAX_SIDE_PX
from inglenook.pixels.oklab import Bytes
from inglenook.pixels.palettes import Color
from inglenook.pixels.places import require_places

MAX_FRAMES: Final = 256
MAX_SCALE: Final = 64
MAX_PADDING_PX: Final = 64
MAX_DURATION_MS: Final = 65_535
MAX_PIXELS_WRITTEN: Final = 1 << 26
"""Of all frames together, enlarged: a quarter of a gigabyte while they are written."""
MAX_SIDE_WRITTEN_PX: Final = 16_383
"""Of an enlarged frame: what WebP can hold."""
MAX_NAME_CHARS: Final = 64
DEFAULT_DURATION_MS: Final = 100

Format = Literal[
    "png", "gif", "webp", "aseprite", "sheet-aseprite", "sheet-texturepacker", "ico", "icons", "rgba"
]
Direction = Literal["forward", "reverse", "ping-pong"]


@dataclass(frozen=True, slots=True)
class Tag:
    """A named run of frames, `first` to `last`, 0-based, both included."""

    name: str
    first: int
    last: int
    direction: Direction = "forward"


@dataclass(frozen=True, slots=True)
class Spec:
    """How frames become a file.

    Attributes:
        durations_ms: one a frame, 1 to 65535; None for 100 each.
        layers: names, one a picture: the pictures are layers of one frame, from the lowest up. Only for
            `aseprite`.
        palette: colours of the file, 1 to 256; None takes those that occur.
        loop: whether an animation begins again at its end.
        scale: whole factor by which each pixel is enlarged, 1 to 64; not for `aseprite`, `ico` and `icons`.
        columns: of a sheet; None for about a square.
        padding: transparent pixels between the cells of a sheet, not enlarged.
        name: the stem of names inside archives and sheets.
    """

    format: Format
    durations_ms: tuple[int, ...] | None = None
    tags: tuple[Tag, ...] = ()
    layers: tuple[str, ...] | None = None
    palette: tuple[Color, ...] | None = None
    loop: bool = True
    scale: int = 1
    columns: int | None = None
    padding: int = 0
    name: str = "sprite"

    @property
    def asked(self) -> tuple[str, ...]:
        """The fields that ask for something of their own, in words of `pixels.places`."""
        given = {
            "durations_ms": self.durations_ms is not None,
            "tags": bool(self.tags),
            "layers": self.layers is not None,
            "palette": self.palette is not None,
            "loop": not self.loop,
            "scale": self.scale != 1,
            "columns": self.columns is not None,
            "padding": self.padding != 0,
        }
        return tuple(name for name, is_given in given.items() if is_given)

    def durations(self, frames: int) -> tuple[int, ...]:
        return self.durations_ms or (DEFAULT_DURATION_MS,) * frames


@dataclass(frozen=True, slots=True)
class Written:
    """A file. `suffix` begins with a dot."""

    data: bytes
    media_type: str
    suffix: str


def check(frames: Sequence[Bytes], spec: Spec) -> None:
    """
    Raises:
        Invalid: what cannot be written as it is asked; `field` names which part of the order is at fault.
    """
    require_places(spec.format, spec.asked)
    _check_frames(frames)
    _check_counts(len(frames), spec)
    if spec.palette is not None and not 1 <= len(spec.palette) <= MAX_COLORS:
        raise Invalid(
            f"A palette has 1 to {MAX_COLORS} colours; this one has {len(spec.palette)}.", field="palette"
        )
    _within("scale", spec.scale, 1, MAX_SCALE)
    _within("padding", spec.padding, 0, MAX_PADDING_PX)
    if spec.columns is not None:
        _within("columns", spec.columns, 1, MAX_FRAMES)
    _check_names(spec)
    _check_size(frames, spec)


def _check_names(spec: Spec) -> None:
    _check_name("name", spec.name)
    for tag in spec.tags:
        _check_name("tags", tag.name)
    for layer in spec.layers or ():
        _check_name("layers", layer)
    if set(spec.name) & set('/\\:*?"<>|') or spec.name.strip(". ") != spec.name:
        raise Invalid(f"The name becomes one of a file, and {spec.name!r} cannot.", field="name")


def _check_name(field: str, name: str) -> None:
    if not 1 <= len(name) <= MAX_NAME_CHARS or not name.isprintable():
        shown = name[:MAX_NAME_CHARS]
        raise Invalid(
            f"A name has 1 to {MAX_NAME_CHARS} printable characters, unlike {shown!r}.", field=field
        )


def _check_size(frames: Sequence[Bytes], spec: Spec) -> None:
    side = max(frames[0].shape[:2]) * spec.scale
    if side > MAX_SIDE_WRITTEN_PX:
        raise Invalid(
            f"A side would be {side} pixels; {MAX_SIDE_WRITTEN_PX} is the most.",
            field="scale",
            hint="choose a smaller scale",
        )
    pixels = sum(frame.shape[0] * frame.shape[1] for frame in frames) * spec.scale**2
    if pixels > MAX_PIXELS_WRITTEN:
        raise Invalid(
            f"{pixels} pixels would be written; {MAX_PIXELS_WRITTEN} is the most.",
            field="scale",
            hint="choose a smaller scale or fewer frames",
        )


def _check_frames(frames: Sequence[Bytes]) -> None:
    _within("frames", len(frames), 1, MAX_FRAMES, "pictures")
    for frame in frames:
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 4:
            raise ValueError(f"frames are uint8 (h, w, 4), not {frame.dtype} {frame.shape}")
        height, width = frame.shape[:2]
        if not (1 <= width <= MAX_SIDE_PX and 1 <= height <= MAX_SIDE_PX):
            raise Invalid(
                f"A frame is 1 to {MAX_SIDE_PX} pixels a side; this one is {width} x {height}.",
                field="frames",
            )
    sizes = {f"{frame.shape[1]} x {frame.shape[0]}" for frame in frames}
    if len(sizes) > 1:
        raise Invalid(f"All frames have one size; these are {', '.join(sorted(sizes))}.", field="frames")


def _check_counts(count: int, spec: Spec) -> None:
    if spec.layers is not None:
        if len(spec.layers) != count:
            raise Invalid(f"{len(spec.layers)} layers were named for {count} pictures.", field="layers")
        count = 1
    if spec.durations_ms is not None:
        if len(spec.durations_ms) != count:
            raise Invalid(f"{len(spec.durations_ms)} durations for {count} frames.", field="durations_ms")
        for duration in spec.durations_ms:
            _within("durations_ms", duration, 1, MAX_DURATION_MS, "ms")
    for tag in spec.tags:
        if not 0 <= tag.first <= tag.last < count:
            raise Invalid(
                f"Tag {tag.name!r} goes from frame {tag.first} to {tag.last}; there are 0 to {count - 1}.",
                field="tags",
            )


def _within(field: str, value: int, least: int, most: int, unit: str = "") -> None:
    if not least <= value <= most:
        words = f"{field} is {least} to {most}{' ' + unit if unit else ''}; {value} was given."
        raise Invalid(words, field=field)


def enlarged(picture: Bytes, scale: int) -> Bytes:
    """Each pixel `scale` times as wide and as high. (h, w) or (h, w, 4)."""
    return picture if scale == 1 else picture.repeat(scale, 0).repeat(scale, 1)
