# SPDX-License-Identifier: Apache-2.0
"""Drawing what a sprite is made of: its variants, their frames one over the other, the halves of a tile."""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from inglenook.base.clock import Clock
from inglenook.base.ids import BlobId
from inglenook.images.easel import Easel
from inglenook.images.request import Drawing
from inglenook.jobs.work import Report
from inglenook.sprites.canvas import beside, joined, moved, step_of, taken
from inglenook.sprites.plan import Order
from inglenook.sprites.shape import shaped
from inglenook.sprites.share import Share
from inglenook.store.blobs import BlobStore
from inglenook.wire.image import PictureMade

DRAWN: Final = 0.85
"""How much of a job's work drawing is taken to be."""


@dataclass
class Variant:
    """What was drawn of one variant.

    Attributes:
        made: what the worker said of the first frame.
        drawn: PNGs as drawn, one a frame; for a tile, those of its two halves.
        sources: what sprites are made of, one a frame: without what stood over the canvas.
    """

    made: PictureMade
    drawn: list[bytes]
    sources: list[bytes] = field(default_factory=list)


class Film:
    """One job's drawings on its easel."""

    def __init__(self, *, order: Order, report: Report, blobs: BlobStore, clock: Clock) -> None:
        self._order = order
        self._report = report
        self._blobs = blobs
        self._clock = clock
        self._began_s = clock.monotonic()

    async def shoot(self, easel: Easel) -> list[Variant]:
        """Every variant with all its frames.

        Raises as `Easel.draw`.
        """
        variants = await self._first(easel)
        count = len(variants)
        for place, variant in enumerate(variants):
            for frame in range(1, self._order.pictures // count):
                done = count + place * (self._order.pictures // count - 1) + frame - 1
                await self._next(easel, variant, place, frame, done)
            variant.sources = await asyncio.to_thread(self._sources, variant)
        return variants

    async def _first(self, easel: Easel) -> list[Variant]:
        variants: list[Variant] = []

        async def keep(made: PictureMade, png: bytes) -> None:
            variants.append(Variant(made, [png]))

        count = len(self._order.drawing.seeds)
        await easel.draw(self._order.drawing, report=self._share(0, count), keep=keep)
        return variants

    async def _next(self, easel: Easel, variant: Variant, place: int, frame: int, done: int) -> None:
        async def keep(_: PictureMade, png: bytes) -> None:
            variant.drawn.append(png)

        drawing = await asyncio.to_thread(self._over, variant, frame)
        await easel.draw(drawing, report=self._share(done, 1, {"variant": place, "frame": frame}), keep=keep)

    def _over(self, variant: Variant, frame: int) -> Drawing:
        """The drawing that goes over the frame before. Blocks."""
        order, before = self._order, variant.drawn[-1]
        ground = order.ground
        if ground is not None and ground.side is not None:
            picture, bare = beside(before, ground.place, ground.side)
            return order.follow(0, variant.made.seed, self._put(picture), self._put(bare))
        right, down = order.moves[frame]
        if right or down:
            before, _ = moved(before, right, down)
        mask = order.drawing.mask
        return order.follow(frame, variant.made.seed, self._put(before), mask)

    def _put(self, png: bytes) -> BlobId:
        return self._blobs.put(png).id

    def _sources(self, variant: Variant) -> list[bytes]:
        ground = self._order.ground
        if ground is None:
            return [shaped(png, self._order.base) for png in variant.drawn]
        if ground.side is None:
            return [taken(png, ground.place) for png in variant.drawn]
        used = ground.place.used
        halves = [taken(png, ground.place) for png in variant.drawn]
        return [joined(halves[0], halves[1], ground.side, step_of(used, ground.side))]

    def _share(self, done: int, count: int, detail: dict[str, int] | None = None) -> Share:
        each = DRAWN / self._order.pictures
        return Share(
            self._report,
            done * each,
            (done + count) * each,
            clock=self._clock,
            began_s=self._began_s,
            picture=done,
            pictures=self._order.pictures,
            detail=detail,
        )
