# SPDX-License-Identifier: Apache-2.0
"""One `WriteSprites`: frames out of the spool folder become one file in it."""

from collections.abc import Callable
from pathlib import Path

from inglenook.pixels.files import write
from inglenook.pixels.files.spec import Spec, Tag
from inglenook.wire.pixels import SpritesWritten, WriteSprites
from inglenook.workers.pixels.pictures import Pictures
from inglenook.workers.telling import room_for


def written(work: WriteSprites, spool: Path, *, look: Callable[[], None]) -> SpritesWritten:
    """Raises Invalid (the order), BadPicture, NoRoom, and whatever `look` raises between two frames."""
    frames = []
    for frame in Pictures(spool, work.files, max_pixels=work.max_pixels):
        look()
        frames.append(frame)
    spec = Spec(
        format=work.format,
        durations_ms=work.durations_ms,
        tags=tuple(Tag(one.name, one.first, one.last, one.direction) for one in work.tags),
        layers=work.layers,
        palette=work.palette,
        loop=work.loop,
        scale=work.scale,
        columns=work.columns,
        padding=work.padding,
        name=work.name,
    )
    file = write(frames, spec)
    look()
    name = f"{work.job}-written{file.suffix}"
    with room_for("sprite", spool):
        (spool / name).write_bytes(file.data)
    return SpritesWritten(
        job=work.job,
        file=name,
        media_type=file.media_type,
        suffix=file.suffix,
        size_bytes=len(file.data),
    )
