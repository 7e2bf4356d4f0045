# SPDX-License-Identifier: Apache-2.0
"""Sprites as files: exact pixels in whatever format is asked for."""

from collections.abc import Callable, Sequence
from typing import Final

from inglenook.base.errors import Invalid
from inglenook.pixels.files.animation import gif, webp
from inglenook.pixels.files.aseprite import aseprite
from inglenook.pixels.files.icons import ico, icon_set
from inglenook.pixels.files.png import png
from inglenook.pixels.files.sheet import sheet
from inglenook.pixels.files.spec import Format, Spec, Written, check, enlarged
from inglenook.pixels.oklab import Bytes

_Writer = Callable[[Sequence[Bytes], Spec], bytes]


def write(frames: Sequence[Bytes], spec: Spec) -> Written:
    """Frames, uint8 (h, w, 4) of one size, as one file.

    Formats of a single picture (`png`, `ico`, `icons`) take one frame.

    Raises:
        Invalid: what cannot be written as it is asked; `field` names which part of the order is at fault.
    """
    check(frames, spec)
    if spec.format in _SINGLE and len(frames) > 1:
        raise Invalid(
            f"A file of format {spec.format} holds one picture; {len(frames)} were given.",
            field="format",
            hint="choose gif, webp, aseprite or a sheet",
        )
    writer, media_type, suffix = _WRITERS[spec.format]
    return Written(writer(frames, spec), media_type, suffix)


def _raw(frames: Sequence[Bytes], spec: Spec) -> bytes:
    return b"".join(enlarged(frame, spec.scale).tobytes() for frame in frames)


_SINGLE: Final = ("png", "ico", "icons")
_WRITERS: Final[dict[Format, tuple[_Writer, str, str]]] = {
    "png": (lambda frames, spec: png(frames[0], spec.palette, spec.scale), "image/png", ".png"),
    "gif": (gif, "image/gif", ".gif"),
    "webp": (webp, "image/webp", ".webp"),
    "aseprite": (aseprite, "image/x-aseprite", ".aseprite"),
    "sheet-aseprite": (sheet, "application/zip", ".zip"),
    "sheet-texturepacker": (sheet, "application/zip", ".zip"),
    "ico": (lambda frames, _: ico(frames[0]), "image/vnd.microsoft.icon", ".ico"),
    "icons": (lambda frames, spec: icon_set(frames[0], spec.name), "application/zip", ".zip"),
    "rgba": (_raw, "application/octet-stream", ".rgba"),
}
