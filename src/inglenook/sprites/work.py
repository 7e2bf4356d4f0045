# SPDX-License-Identifier: Apache-2.0
"""A sprite job while it runs: lease → drawings → mattes → pixels → gallery. No finished variant is lost."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from inglenook.base.clock import Clock
from inglenook.base.ids import BlobId, JobId
from inglenook.engines.pixels import MadePicture
from inglenook.gallery.model import Picture
from inglenook.gallery.service import GalleryService
from inglenook.images.cutout import Matting
from inglenook.images.work import ImageWork, parameters_of
from inglenook.jobs.model import Job, Receipt
from inglenook.jobs.work import Report, Stopped
from inglenook.pixels.model import MAX_COLORS, Background, Recipe
from inglenook.sprites.canvas import colors_of, composed
from inglenook.sprites.collaborators import Pixels
from inglenook.sprites.film import DRAWN, Film, Variant
from inglenook.sprites.keeping import PNG, About, keep, shown_file
from inglenook.sprites.model import KIND, SpritePart, SpriteResult, Stage
from inglenook.sprites.plan import Order, final_recipe
from inglenook.store.blobs import BlobStore

_BEFORE: Final = {Stage.MATTE: "matte", Stage.PIXELS: "reduction", Stage.KEEP: "keeping"}
_COUNTED: Final = "The number of colours holds for the redrawn part; the canvas keeps its own beside them."


class SpriteWork:
    """Carries out jobs of kind `sprite`. See `jobs.work.Work`.

    Args:
        matting: None where nothing tells a subject from its background but the plain colour of the border.
    """

    kind = KIND
    restarts = False  # half a sprite is worth nothing, and a person may no longer want it

    def __init__(
        self,
        *,
        drawing: ImageWork,
        pixels: Pixels,
        matting: Matting | None,
        gallery: GalleryService,
        blobs: BlobStore,
        clock: Clock,
    ) -> None:
        self._drawing = drawing
        self._pixels = pixels
        self._matting = matting
        self._gallery = gallery
        self._blobs = blobs
        self._clock = clock

    def explain(self, job: JobId) -> Mapping[str, Any] | None:
        return self._drawing.explain(job)

    async def run(self, job: Job, report: Report) -> Mapping[str, Any]:
        order = Order.from_json(job.payload)
        for note in order.notes:
            await report.notice(note)
        easel = self._drawing.easel(job, order.drawing, report, pictures=order.pictures)
        async with easel as leased:
            began_s = self._clock.monotonic()
            device = leased.lease.device.kind
            film = Film(order=order, report=report, blobs=self._blobs, clock=self._clock)
            variants = await film.shoot(leased)
        # The lease is given back: what follows may need another model, and room for it.
        parts = []
        for place, variant in enumerate(variants):
            finishing = _Finishing(self, job, order, report, place, variant)
            parts.append(await finishing.carry_out())
        return SpriteResult(
            engine=order.engine.value,
            model=order.drawing.model,
            device=device,
            seconds=round(self._clock.monotonic() - began_s, 3),
            palette=parts[0].palette,
            proof=parts[0].proofs[0],
            notes=tuple(dict.fromkeys([*order.notes, *(note for part in parts for note in part.notes)])),
            durations_ms=parts[0].durations_ms,
            tags=_tags(order),
            seeds=tuple(part.seed for part in parts),
        ).as_json()


@dataclass
class _Finishing:
    """One variant after it was drawn."""

    work: SpriteWork
    job: Job
    order: Order
    report: Report
    place: int
    variant: Variant
    matted_by: str | None = None

    async def carry_out(self) -> SpritePart:
        await self._say(Stage.MATTE, 0.0)
        mattes = await self._mattes()
        await self._say(Stage.PIXELS, 0.4)
        made = await self._pixelate(mattes)
        for frame, one in enumerate(made):
            number = self.place * len(made) + frame
            await self.report.preview(picture=number, step=0, media_type=PNG, data=one.png)
        await self._say(Stage.KEEP, 0.8)
        part = await self._keep(made)
        await self.report.result(part.as_json())
        return part

    async def _say(self, stage: Stage, done: float) -> None:
        """Tell the progress; where a stop is wished, end here.

        Raises Stopped.
        """
        if self.report.stop.is_set:
            how = f"stopped before the {_BEFORE[stage]} of variant {self.place + 1} of {self._count}"
            raise Stopped(Receipt(how, self.work._clock.now(), 0.0))
        each = (1 - DRAWN) / self._count
        detail = {
            "picture": self.place,
            "pictures": self._count,
            "step": 0,
            "steps": 1,
            "variant": self.place,
            "frame": 0,
        }
        await self.report.progress(DRAWN + (self.place + done) * each, stage=stage.value, detail=detail)

    @property
    def _count(self) -> int:
        return len(self.order.drawing.seeds)

    async def _mattes(self) -> list[bytes | None]:
        """One a frame; None where the background is kept, or is told by the border alone."""
        matting = self.work._matting
        if self.order.recipe.background is not Background.MATTE or matting is None:
            return [None] * len(self.variant.sources)
        mattes: list[bytes | None] = []
        for source in self.variant.sources:
            matte = await matting.matte(
                source, person=self.job.owner, stop=self.report.stop, work_class=self.job.work_class
            )
            mattes.append(matte.png)
            self.matted_by = matte.by
            done = 0.4 * len(mattes) / len(self.variant.sources)
            await self._say(Stage.MATTE, done)
        return mattes

    async def _pixelate(self, mattes: Sequence[bytes | None]) -> list[MadePicture]:
        order = self.order
        made = await self._workshop(self.variant.sources, mattes, order.recipe)
        ground = order.ground
        if ground is None or ground.mask is None:
            return made
        whole, colors = await asyncio.to_thread(self._compose, [one.png for one in made])
        final = await self._workshop(whole, [None] * len(whole), final_recipe(order.recipe, colors))
        counted = () if order.recipe.palette is not None or not order.recipe.colors else (_COUNTED,)
        return [
            replace(one, notes=tuple(dict.fromkeys((*part.notes, *one.notes, *counted))))
            for one, part in zip(final, made, strict=True)
        ]

    async def _workshop(
        self, frames: Sequence[bytes], mattes: Sequence[bytes | None], recipe: Recipe
    ) -> list[MadePicture]:
        return await self.work._pixels.pixelate(
            frames,
            mattes,
            recipe,
            person=self.job.owner,
            stop=self.report.stop,
            whole_animation=self.order.frames > 1,
        )

    def _compose(
        self, sprites: Sequence[bytes]
    ) -> tuple[list[bytes], tuple[tuple[int, int, int], ...] | None]:
        """The whole canvas of each frame, and the colours of all together, where a palette can hold them.
        Blocks."""
        ground = self.order.ground
        assert ground is not None
        assert ground.mask is not None
        canvas, mask = self.work._blobs.read(ground.canvas), self.work._blobs.read(ground.mask)
        whole = [composed(canvas, mask, sprite, ground.place) for sprite in sprites]
        found = [colors_of(one, MAX_COLORS) for one in whole]
        every = {color for colors in found if colors is not None for color in colors}
        return whole, None if None in found or len(every) > MAX_COLORS else tuple(sorted(every))

    async def _keep(self, made: Sequence[MadePicture]) -> SpritePart:
        durations = (self.order.request.frame_ms,) * len(made)
        shown = await shown_file(
            self.work._pixels, made, durations, person=self.job.owner, stop=self.report.stop
        )
        kept = await asyncio.to_thread(
            keep,
            self._about(),
            made,
            shown,
            self._drawings(),
            durations,
            gallery=self.work._gallery,
            blobs=self.work._blobs,
        )
        return self._part(kept.picture, made, kept.frames, kept.drawings, durations)

    def _drawings(self) -> Sequence[bytes] | None:
        """What it was made of; None where a part of a canvas was redrawn, of which the rest is not."""
        ground = self.order.ground
        return None if ground is not None and ground.mask is not None else self.variant.sources

    def _about(self) -> About:
        """As of a picture, and what made a sprite of it."""
        order = self.order
        return About(
            owner=self.job.owner,
            job=self.job.id,
            model=order.drawing.model,
            prompt=order.drawing.prompt,
            seed=self.variant.made.seed,
            recipe=order.recipe,
            parameters=parameters_of(order.drawing, self.variant.made),
            sprite={
                "engine": order.engine.value,
                "motion": order.request.motion,
                "prompts": list(order.prompts),
            },
        )

    def _part(
        self,
        picture: Picture,
        made: Sequence[MadePicture],
        frames: tuple[BlobId, ...],
        drawings: tuple[BlobId, ...],
        durations: tuple[int, ...],
    ) -> SpritePart:
        first = made[0]
        return SpritePart(
            picture_id=picture.id,
            index=self.place,
            seed=picture.seed,
            width=picture.width,
            height=picture.height,
            media_type=picture.media_type,
            size_bytes=picture.size_bytes,
            url=f"/v1/pictures/{picture.id}/file",
            frames=frames,
            durations_ms=durations,
            drawings=drawings,
            palette=first.palette,
            proofs=tuple(one.proof.as_json() for one in made),
            grid=None if first.grid is None else asdict(first.grid),
            offset=first.offset,
            pivot=first.pivot,
            notes=tuple(dict.fromkeys(note for one in made for note in one.notes)),
            matted_by=self.matted_by,
        )


def _tags(order: Order) -> tuple[dict[str, Any], ...]:
    if order.frames == 1:
        return ()
    name = (order.request.motion or "frames")[:40]
    return ({"name": name, "first": 0, "last": order.frames - 1},)
