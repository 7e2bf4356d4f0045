# SPDX-License-Identifier: Apache-2.0
"""One `Pixelate`: read the pictures, make the sprites, write them into the spool folder."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from inglenook.base.clock import Clock
from inglenook.pixels.checking import read_recipe
from inglenook.pixels.files.png import png
from inglenook.pixels.model import MAX_COLORS, Sprite
from inglenook.pixels.pipeline import pixelate
from inglenook.wire.pixels import MadeSprite, Pixelate, Pixelated
from inglenook.workers.pixels.pictures import Mattes, Pictures
from inglenook.workers.telling import room_for


class Making:
    """Args:
    look: called between two steps; raises to end the work.
    """

    def __init__(self, work: Pixelate, spool: Path, *, look: Callable[[], None], clock: Clock) -> None:
        self._work = work
        self._spool = spool
        self._look = look
        self._clock = clock
        self._pictures = Pictures(spool, work.files, max_pixels=work.max_pixels)

    @property
    def done(self) -> int:
        """How many pictures were taken in hand."""
        return len(self._pictures.shapes)

    def run(self) -> Pixelated:
        """Raises Invalid (the recipe), BadPicture, NoRoom, and whatever `look` raises."""
        began = self._clock.monotonic()
        recipe = read_recipe(self._work.recipe, palettes={})
        sprites = pixelate(
            self._pictures,
            Mattes(self._spool, self._work.mattes, self._pictures),
            recipe,
            whole_animation=self._work.whole_animation,
            look=self._look,
        )
        made = tuple(self._kept(place, one) for place, one in enumerate(sprites))
        return Pixelated(job=self._work.job, sprites=made, seconds=self._clock.monotonic() - began)

    def _kept(self, place: int, sprite: Sprite) -> MadeSprite:
        self._look()
        name = f"{self._work.job}-{place}-sprite.png"
        with room_for("sprite", self._spool):
            (self._spool / name).write_bytes(png(sprite.pixels, sprite.palette or None))
        said = [self._pictures.notes[place]] if place in self._pictures.notes else []
        if sprite.palette is not None and len(sprite.palette) == MAX_COLORS and 0 in sprite.proof.alphas:
            said.append("256 colours and transparency do not fit an indexed PNG: it is written as RGBA")
        return MadeSprite(
            file=name,
            width=sprite.proof.width,
            height=sprite.proof.height,
            palette=sprite.palette,
            proof=sprite.proof.as_json(),
            grid=None if sprite.grid is None else asdict(sprite.grid),
            offset=sprite.offset,
            pivot=sprite.pivot,
            notes=(*said, *sprite.notes),
        )
