# SPDX-License-Identifier: Apache-2.0
"""What a door calls: make sprites, make a sprite of a picture, write sprites as a file."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from inglenook.base.cancel import StopToken
from inglenook.base.errors import InglenookError
from inglenook.base.ids import BlobId, JobId, ModelId, PersonId, PictureId
from inglenook.base.work import WorkClass
from inglenook.catalog.model import ModelKind, ModelRecord
from inglenook.catalog.service import CatalogService
from inglenook.engines.pixels import MadePicture, WriteOrder, WrittenFile
from inglenook.gallery.model import UNKNOWN_SEED, Picture, Source
from inglenook.gallery.service import GalleryService
from inglenook.images import metadata
from inglenook.images import prompt as prompts
from inglenook.images.cutout import BORDER, BY_BORDER, Matting
from inglenook.images.engines import Engines, EngineStatus
from inglenook.images.intake import intake_rgba
from inglenook.images.model import Engine
from inglenook.images.preloading import PicturePreloader
from inglenook.images.service import TITLE_CHARS, ImagesService
from inglenook.images.work import SOFTWARE
from inglenook.jobs.model import Job
from inglenook.jobs.service import JobsService
from inglenook.pixels.model import MAX_COLORS, Background, Recipe
from inglenook.sprites import canvas as canvases
from inglenook.sprites import keeping, plan, presets
from inglenook.sprites.canvas import Size, Window
from inglenook.sprites.collaborators import Pixels
from inglenook.sprites.errors import BadSprite
from inglenook.sprites.model import ANY_MODEL, KIND, SpriteRequest
from inglenook.sprites.plan import Ground, Order
from inglenook.store.blobs import BlobStore

_CARRYING: Final = ("image/png", "image/gif", "image/webp")
"""Media types of files of sprites in which parameters can stand."""


@dataclass(frozen=True, slots=True)
class KeptSprite:
    """A picture of the gallery as PNGs.

    Attributes:
        frames: in their order, one for a still sprite.
        durations_ms: one a frame; empty for a picture that was made as none.
        drawings: what the sprite was made of, as drawn.
        parameters: with which this program made it; None for a picture from elsewhere.
    """

    frames: tuple[bytes, ...]
    durations_ms: tuple[int, ...]
    drawings: tuple[bytes, ...]
    parameters: Mapping[str, Any] | None = None


class SpritesService:
    """Args:
    model: what "auto" means for sprites: a name that the catalogue knows, or "auto" for its default.
    max_frames: of an animation.
    max_upload_bytes, max_input_pixels: bounds of an input picture.
    matting: None where nothing tells a subject from its background but the border.
    """

    def __init__(
        self,
        *,
        catalog: CatalogService,
        images: ImagesService,
        jobs: JobsService,
        gallery: GalleryService,
        blobs: BlobStore,
        pixels: Pixels,
        matting: Matting | None,
        engines: Engines,
        preloader: PicturePreloader,
        model: str,
        max_frames: int,
        max_upload_bytes: int,
        max_input_pixels: int,
    ) -> None:
        self._catalog = catalog
        self._images = images
        self._jobs = jobs
        self._gallery = gallery
        self._blobs = blobs
        self._pixels = pixels
        self._matting = matting
        self._engines = engines
        self._preloader = preloader
        self._model = model
        self._max_frames = max_frames
        self._max_upload_bytes = max_upload_bytes
        self._max_input_pixels = max_input_pixels

    # -- making ------------------------------------------------------------------------------------------

    async def submit(
        self,
        request: SpriteRequest,
        *,
        owner: PersonId,
        work_class: WorkClass = WorkClass.INTERACTIVE,
        idempotency_key: str | None = None,
    ) -> Job:
        """Check a request and put it into the queue. Follow it with `JobsService.subscribe`.

        Its `result["parts"]` are `SpritePart.as_json()`, in the order in which they are finished; what stands
        beside them at the end is `SpriteResult.as_json()`. Progress events have the stages of the image
        worker (`encode`, `denoise`, `decode`) and then those of `Stage`; their detail is `picture`,
        `pictures`, `step`, `steps`, and `variant`, `frame`. Previews are PNGs: of what is being drawn, then
        of each finished sprite (their `step` is 0).

        Raises:
            NotFound: no such model or LoRA (`model.not_found`).
            Invalid: a value that cannot be drawn (`sprite.invalid`, `image.invalid`), a model that cannot be
                used (`model.unusable`), one that the engine wants converted (`model.not_converted`), a LoRA
                that does not fit the model (`lora.incompatible`) or for which the engine has no use
                (`lora.unsupported_engine`); `field` names it.
            Unavailable: the engine is not here (`engine.not_installed`).
            Busy, Conflict: as `JobsService.submit`.
        """
        plan.check(request, max_frames=self._max_frames)
        engine, record = await asyncio.to_thread(self._choose, request)
        plan.require_modes(request, record)
        ordered = await self._ordered(request, engine, record, idempotency_key)
        title = " ".join((request.prompt.strip() or request.preset or "sprite").split())
        return await self._jobs.submit(
            kind=KIND,
            owner=owner,
            work_class=work_class,
            title=title[:TITLE_CHARS],
            payload=ordered.as_json(),
            idempotency_key=idempotency_key,
        )

    async def keep_input(self, png: bytes) -> BlobId:
        """Keep a canvas, a selection or a tile to draw from: decoded, bounded, transparency kept.

        Raises:
            Invalid, TooLarge: not a picture that we read, or too large a one (`picture.*`).
        """
        return await asyncio.to_thread(self._keep, png, "image")

    async def keep_mask(self, png: bytes) -> BlobId:
        """Keep a mask as L PNG, white where the picture is redrawn: where the upload is opaque and light
        (both from 128 up), as a selection is painted. Raises as `keep_input`.
        """
        return await asyncio.to_thread(self._keep, png, "mask")

    async def frames(self, job: JobId, *, person: PersonId) -> Sequence[bytes]:
        """PNGs of every finished frame: variant by variant, frame by frame.

        Raises:
            NotFound: no such job, or what it made has been deleted since.
        """
        found = await self._jobs.get(job, person)
        parts = sorted(found.result.get("parts", []), key=lambda part: part["index"])
        blobs = [BlobId(frame) for part in parts for frame in part.get("frames", [])]
        return await asyncio.to_thread(lambda: [self._blobs.read(blob) for blob in blobs])

    async def preload(
        self, model: ModelId, engine: Engine = Engine.AUTO, *, person: PersonId, stop: StopToken
    ) -> ModelId:
        """Load the model with that engine; the model's id when it is ready, at once when it is.

        Raises:
            NotFound, Invalid, Unavailable: as `submit`. ChildFailed, LeaseStopped: as `Scheduler.acquire`.
        """
        request = SpriteRequest(prompt="a sprite", model=model, engine=engine)
        chosen, record = await asyncio.to_thread(self._choose, request)
        await self._preloader.preload(record, person=person, stop=stop, engine=chosen)
        return record.id

    async def engines(self) -> Sequence[EngineStatus]:
        """The capability matrix: every engine, whether it is here, why not, what it can do."""
        return await asyncio.to_thread(self._statuses)

    async def kept(self, picture: PictureId, *, person: PersonId) -> KeptSprite:
        """A picture of the gallery as frames: those of a sprite that was made here; of any other, itself.

        Raises:
            NotFound: no such picture (`picture.not_found`), or its file is gone (`blob.not_found`).
            Invalid, TooLarge: its file cannot be read.
        """
        return await asyncio.to_thread(self._kept, picture, person)

    # -- from pictures that exist ------------------------------------------------------------------------

    async def convert(
        self,
        pictures: Sequence[bytes],
        recipe: Recipe,
        *,
        person: PersonId,
        stop: StopToken,
        whole_animation: bool = False,
        work_class: WorkClass = WorkClass.INTERACTIVE,
    ) -> Sequence[MadePicture]:
        """Make sprites of pictures that exist, without drawing; matting first where the recipe wants it.

        Args:
            pictures: files of any format that we read, 1 to 256.
            whole_animation: they are frames: one size, crop and palette for all.

        Raises:
            Invalid, TooLarge: not a picture, or a recipe that cannot be followed (`pixels.*`, `picture.*`).
            Cancelled: `stop` was set. Failed, Unavailable: the pixel worker could not do it.
        """
        mattes: list[bytes | None] = [None] * len(pictures)
        by: list[str | None] = [None] * len(pictures)
        if recipe.background is Background.MATTE and self._matting is not None:
            pictures = [await asyncio.to_thread(self._safe, one, at) for at, one in enumerate(pictures)]
            for at, one in enumerate(pictures):
                matte = await self._matting.matte(one, person=person, stop=stop, work_class=work_class)
                mattes[at], by[at] = matte.png, matte.by
        made = await self._pixels.pixelate(
            pictures, mattes, recipe, person=person, stop=stop, whole_animation=whole_animation
        )
        return [
            replace(one, notes=(*one.notes, BY_BORDER)) if how == BORDER else one
            for one, how in zip(made, by, strict=True)
        ]

    async def export(
        self,
        frames: Sequence[bytes],
        order: WriteOrder,
        *,
        person: PersonId,
        stop: StopToken,
        parameters: Mapping[str, Any] | None = None,
    ) -> WrittenFile:
        """Write frames, or layers of one frame, as one file.

        Args:
            frames: PNGs, 1 to 256.
            parameters: with which they were made: PNG, GIF and WebP carry them, as a picture of the gallery
                does; no other format has a place for them.

        Raises as `convert`.
        """
        written = await self._pixels.write(frames, order, person=person, stop=stop)
        if parameters is None or written.media_type not in _CARRYING:
            return written
        return await asyncio.to_thread(_carrying, written, parameters, order.scale)

    def presets(self) -> dict[str, Any]:
        """Presets, styles, motions, sizes and base sizes, as JSON for a form."""
        return presets.as_json()

    async def keep(
        self,
        made: Sequence[MadePicture],
        pictures: Sequence[bytes],
        recipe: Recipe,
        *,
        frame_ms: int,
        of: PictureId | None,
        person: PersonId,
        stop: StopToken,
    ) -> Picture:
        """Put what `convert` has made into the gallery, as drawn sprites are kept: a still one as its PNG, an
        animation as a GIF (a WebP where its colours do not fit into one), its frames and pictures beside it.

        Args:
            made, pictures: what came out of `convert`, and what went in.
            of: the picture of the gallery that it was made of; its prompt, model and seed are kept too.

        Raises:
            NotFound: no such picture. Invalid, TooLarge: `pictures` cannot be read. Failed: no room.
            Cancelled: `stop` was set.
        """
        durations = (frame_ms,) * len(made)
        shown = await keeping.shown_file(self._pixels, made, durations, person=person, stop=stop)

        def put() -> Picture:
            about = self._about(of, recipe, person)
            drawings = pictures  # those of the gallery were looked at when they came
            if of is None:
                drawings = [self._safe(one, at) for at, one in enumerate(pictures)]
            return keeping.keep(
                about, made, shown, drawings, durations, gallery=self._gallery, blobs=self._blobs
            ).picture

        return await asyncio.to_thread(put)

    def default_model(self) -> ModelId | None:
        """What "auto" draws with; None where nothing can. Blocks."""
        with suppress(InglenookError):
            return self._catalog.resolve(self._model).id
        return None

    # -- planning ----------------------------------------------------------------------------------------

    def _about(self, of: PictureId | None, recipe: Recipe, person: PersonId) -> keeping.About:
        """Blocks."""
        found = None if of is None else self._gallery.get(of, caller=person)
        return keeping.About(
            owner=person,
            job=None,
            model=ModelId("") if found is None else found.model,
            prompt="" if found is None else found.prompt,
            seed=UNKNOWN_SEED if found is None else found.seed,
            recipe=recipe,
            parameters={"software": SOFTWARE} if found is None else found.parameters,
            sprite={},
        )

    def _choose(self, request: SpriteRequest) -> tuple[Engine, ModelRecord]:
        """Blocks."""
        name = self._model if request.model == ANY_MODEL else request.model
        record = self._catalog.resolve(name)
        loras = bool(request.loras or prompts.parse(request.prompt).loras)
        return self._engines.choose(request.engine, record, loras=loras)

    async def _ordered(
        self, request: SpriteRequest, engine: Engine, record: ModelRecord, key: str | None
    ) -> Order:
        if request.image is None:
            recipe, notes = plan.sprite_recipe(request, record, None, ground=None)
            size = plan.base_size(request, record, recipe, most_px=self._images.limits.max_side_px)
            asked = plan.image_request(request, record, engine=engine, size=size)
            ground = None
        else:
            ground, image, mask, recipe, notes = await asyncio.to_thread(self._grounded, request, record)
            size = ground.place.base
            asked = plan.image_request(request, record, engine=engine, size=size, ground=image, mask=mask)
        drawing = await self._images.planned(asked, idempotency_key=key)
        if ground is not None and (drawing.width, drawing.height) != ground.place.base:
            raise BadSprite(
                f"The canvas would be drawn at {size}, which {record.id} cannot.",  # its bounds say otherwise
                field="image",
                hint="send a smaller canvas",
            )
        return plan.order(request, record, drawing, engine=engine, recipe=recipe, ground=ground, notes=notes)

    def _grounded(
        self, request: SpriteRequest, record: ModelRecord
    ) -> tuple[Ground, BlobId, BlobId | None, Recipe, tuple[str, ...]]:
        """The canvas as it is drawn on, its mask, and the recipe. Blocks."""
        assert request.image is not None
        canvas = self._read(request.image, "image")
        mask, part = None, None
        if request.mask is not None:
            mask = self._read(request.mask, "mask")
            canvases.require_same_size(canvas, mask)
            part = canvases.selected(mask)
            if part is None:
                raise BadSprite(
                    "The mask opens no pixel, so nothing would be redrawn.",
                    field="mask",
                    hint="paint what is to be redrawn white",
                )
        size = canvases.size_of(canvas)
        place = self._window(request, record, size, part)
        laid = canvases.laid(canvas, place, request.recipe.background_color)
        opened = None if mask is None else canvases.laid_mask(mask, place)
        side, colors = request.continue_tile, None
        if side is not None:
            laid, opened = canvases.beside(laid, place, side)
            colors = canvases.colors_of(canvas, MAX_COLORS)
        recipe, notes = plan.sprite_recipe(
            request,
            record,
            size,
            ground=place if mask is not None or side is not None else None,
            free=canvases.is_free_standing(canvas),
            colors=colors,
        )
        image = self._blobs.put(laid).id
        ground = Ground(request.image, request.mask, place, side)
        return ground, image, None if opened is None else self._blobs.put(opened).id, recipe, notes

    def _window(
        self, request: SpriteRequest, record: ModelRecord, size: Size, part: canvases.Box | None
    ) -> Window:
        """Raises ModelUnusable (by the plan) later where the model cannot draw at all."""
        defaults = record.image
        if defaults is None:
            raise BadSprite(f"{record.id} does not draw.", field="model", hint="choose another model")
        native = max(defaults.width, defaults.height)
        if request.base_width is not None and request.base_height is not None:
            native = max(request.base_width, request.base_height)
        return canvases.window(
            size,
            part,
            native_px=min(native, self._images.limits.max_side_px),
            multiple=defaults.multiple,
            min_px=defaults.min_px,
            fixed=defaults.fixed[0] if defaults.fixed else None,
        )

    def _keep(self, data: bytes, field: str) -> BlobId:
        png = intake_rgba(
            data, max_bytes=self._max_upload_bytes, max_pixels=self._max_input_pixels, field=field
        )
        return self._blobs.put(png if field == "image" else canvases.selection(png)).id

    def _kept(self, picture: PictureId, person: PersonId) -> KeptSprite:
        found = self._gallery.get(picture, caller=person)
        if found.beside and all(map(self._blobs.exists, found.beside)):
            told = found.parameters["sprite"]
            frames, drawings = (tuple(map(self._blobs.read, told[name])) for name in ("frames", "drawings"))
            return KeptSprite(frames, tuple(told["durations_ms"]), drawings, found.parameters)
        data = self._blobs.read(found.blob)
        png = intake_rgba(data, max_bytes=len(data), max_pixels=self._max_input_pixels)
        return KeptSprite((png,), (), (png,), found.parameters if found.source is Source.MADE else None)

    def _safe(self, data: bytes, place: int) -> bytes:
        return intake_rgba(
            data,
            max_bytes=self._max_upload_bytes,
            max_pixels=self._max_input_pixels,
            field=f"frames.{place}",
        )

    def _read(self, blob: BlobId, field: str) -> bytes:
        """Raises BadSprite where there is none."""
        if not self._blobs.exists(blob):
            raise BadSprite(f"There is no input picture {blob[:12]}….", field=field, hint="upload it again")
        return self._blobs.read(blob)

    def _statuses(self) -> Sequence[EngineStatus]:
        known = self._catalog.list(ModelKind.IMAGE)
        return self._engines.statuses([record for record in known if record.problem is None])


def _carrying(written: WrittenFile, parameters: Mapping[str, Any], scale: int) -> WrittenFile:
    """The file with what it was made with; its size is that of the enlarged sprite."""
    sides = {name: parameters[name] * scale for name in ("width", "height") if name in parameters}
    told = {**parameters, **sides}
    return replace(written, data=metadata.embed(written.data, written.media_type, told))
