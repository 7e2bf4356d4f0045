# SPDX-License-Identifier: Apache-2.0
"""What a door calls: keep an input picture, ask for pictures."""

import asyncio
import io
import secrets
from dataclasses import replace

from PIL import Image

from inglenook.base.ids import BlobId, ModelId, PersonId
from inglenook.base.work import WorkClass
from inglenook.catalog.model import ModelKind, ModelRecord
from inglenook.catalog.service import CatalogService
from inglenook.images import prompt as prompts
from inglenook.images.canvas import Extended, Margins, Rectangle, extended, rectangle_mask
from inglenook.images.decency import indecent_word
from inglenook.images.engines import Engines
from inglenook.images.errors import BadRequest
from inglenook.images.intake import intake, mask_from, overlaid, to_png
from inglenook.images.model import MAX_LORAS, ImageRequest
from inglenook.images.request import Drawing, Found, Limits, plan
from inglenook.images.styles import styled
from inglenook.images.work import KIND
from inglenook.jobs.model import Job
from inglenook.jobs.service import JobsService
from inglenook.store.blobs import BlobStore

TITLE_CHARS = 80
MAX_EMBEDDINGS = 32
SEED_BITS = 32
"""Of a seed drawn at random: short enough for people, and what other tools accept."""


class ImagesService:
    """Args:
    engines: that can draw.
    max_upload_bytes, max_input_pixels: bounds of an input picture.
    block_nsfw: refuse prompts with words of `images.decency`.
    """

    def __init__(
        self,
        *,
        catalog: CatalogService,
        engines: Engines,
        jobs: JobsService,
        blobs: BlobStore,
        limits: Limits,
        max_upload_bytes: int,
        max_input_pixels: int,
        block_nsfw: bool = False,
    ) -> None:
        self._catalog = catalog
        self._engines = engines
        self._jobs = jobs
        self._blobs = blobs
        self._max_upload_bytes = max_upload_bytes
        self._max_input_pixels = max_input_pixels
        self._block_nsfw = block_nsfw
        self.limits = limits

    async def submit(
        self,
        request: ImageRequest,
        *,
        owner: PersonId,
        work_class: WorkClass = WorkClass.INTERACTIVE,
        idempotency_key: str | None = None,
    ) -> Job:
        """Check a request and put it into the queue.

        Raises:
            NotFound: no such model (`model.not_found`).
            Invalid: a value that cannot be drawn, a model that cannot be used, one that the engine wants
                converted (`model.not_converted`), LoRAs for which the engine has no use
                (`lora.unsupported_engine`); `field` names it.
            Unavailable: the engine is not here (`engine.not_installed`).
            Busy: the queue is full.
            Conflict: the idempotency key was used for something else.
        """
        drawing = await self.planned(request, idempotency_key=idempotency_key)
        payload = drawing.as_json()
        return await self._jobs.submit(
            kind=KIND,
            owner=owner,
            work_class=work_class,
            title=" ".join(request.prompt.split())[:TITLE_CHARS],
            payload=payload,
            idempotency_key=idempotency_key,
        )

    async def planned(self, request: ImageRequest, *, idempotency_key: str | None = None) -> Drawing:
        """What `submit` would have drawn, without a job: for jobs of other kinds that draw.

        Raises NotFound and Invalid as `submit`.
        """
        drawing = await asyncio.to_thread(self._plan, request)
        if request.seed is None and idempotency_key is not None:
            # The same key must find the same job, whatever seed chance would choose this time.
            return replace(drawing, seeds=_seeds_of_key(idempotency_key, request.n))
        return drawing

    async def keep_input(self, data: bytes) -> BlobId:
        """Keep an input picture: decoded, bounded, as RGB PNG.

        Raises:
            Invalid, TooLarge: not a picture that we read, or too large a one.
        """
        return await asyncio.to_thread(self._keep_input, data)

    async def keep_marked(self, data: bytes, markup: bytes) -> BlobId:
        """Keep an input picture with what was scribbled over it laid on it.

        Raises:
            Invalid, TooLarge: as `keep_input`; the markup does not fit the picture.
        """
        return await asyncio.to_thread(self._keep_marked, data, markup)

    async def keep_mask(self, data: bytes) -> BlobId:
        """Keep a mask as L PNG, white where the picture is redrawn.

        Transparent pixels are what is redrawn; in a picture without transparency, white ones.
        """
        return await asyncio.to_thread(self._keep_mask, data)

    async def keep_own_mask(self, data: bytes) -> BlobId | None:
        """The transparent part of a picture as a mask; None where the picture is opaque."""
        return await asyncio.to_thread(self._keep_own_mask, data)

    async def extend(self, picture: BlobId, margins: Margins, mask: BlobId | None = None) -> Extended:
        """A kept picture with room around it, and the mask of what is new (`images.canvas.extended`).

        Args:
            mask: a kept mask of the picture: what is drawn anew inside it as well.

        Raises:
            Invalid, TooLarge: no such picture; margins that cannot be.
        """
        return await asyncio.to_thread(self._extend, picture, margins, mask)

    async def rectangle(self, picture: BlobId, part: Rectangle) -> BlobId:
        """A mask that opens a rectangle of a kept picture. Raises Invalid where it lies outside."""
        return await asyncio.to_thread(self._rectangle, picture, part)

    async def input(self, blob: BlobId) -> bytes:
        """An input picture or a mask as it was kept: PNG.

        Raises:
            BadRequest: there is none of that name.
        """
        return await asyncio.to_thread(self._read, blob, "image")

    def _extend(self, picture: BlobId, margins: Margins, mask: BlobId | None) -> Extended:
        canvas, new = extended(
            self._opened(picture, "image"),
            margins,
            None if mask is None else self._opened(mask, "mask"),
            max_pixels=self._max_input_pixels,
        )
        image, opened = self._blobs.put(to_png(canvas)), self._blobs.put(to_png(new))
        return Extended(image.id, opened.id, canvas.width, canvas.height)

    def _rectangle(self, picture: BlobId, part: Rectangle) -> BlobId:
        mask = rectangle_mask(self._size_of(picture, "image"), part)
        return self._blobs.put(to_png(mask)).id

    def _opened(self, blob: BlobId, field: str) -> Image.Image:
        with Image.open(io.BytesIO(self._read(blob, field))) as picture:
            picture.load()
            return picture

    def _keep_input(self, data: bytes) -> BlobId:
        picture = intake(data, max_bytes=self._max_upload_bytes, max_pixels=self._max_input_pixels)
        return self._blobs.put(picture.png).id

    def _keep_marked(self, data: bytes, markup: bytes) -> BlobId:
        bounds = {"max_bytes": self._max_upload_bytes, "max_pixels": self._max_input_pixels}
        return self._blobs.put(overlaid(data, markup, **bounds)).id

    def _keep_mask(self, data: bytes) -> BlobId:
        mask = mask_from(data, max_bytes=self._max_upload_bytes, max_pixels=self._max_input_pixels)
        return self._blobs.put(mask.png).id

    def _keep_own_mask(self, data: bytes) -> BlobId | None:
        picture = intake(data, max_bytes=self._max_upload_bytes, max_pixels=self._max_input_pixels)
        return None if picture.own_mask is None else self._blobs.put(picture.own_mask).id

    def _plan(self, request: ImageRequest) -> Drawing:
        record = self._catalog.resolve(request.model)
        size = None if request.image is None else self._size_of(request.image, "image")
        for more in request.more_images:
            self._size_of(more, "image")
        mask_size = None if request.mask is None else self._size_of(request.mask, "mask")
        if mask_size is not None and size is not None and mask_size != size:
            raise BadRequest(
                f"The mask is {_text(mask_size)}, the picture {_text(size)}.",
                field="mask",
                hint="give a mask of the same size as the picture",
            )
        found = self._find(request)
        if self._block_nsfw:
            _require_decent(found.prompt)
        if record.image is not None and record.problem is None:  # of any other the plan tells what it is
            record = self._drawn_by(request, record, found)
        drawing = plan(
            request,
            record,
            limits=self.limits,
            seed=secrets.randbits(SEED_BITS),
            image_size=size,
            found=found,
        )
        return replace(drawing, engine=record.engine)

    def _drawn_by(self, request: ImageRequest, record: ModelRecord, found: Found) -> ModelRecord:
        """The model as its engine draws with it: itself, or its conversion."""
        asked = {"vae": found.vae, "embeddings": found.embeddings, "hires": request.hires}
        needs = frozenset(name for name, value in asked.items() if value)
        return self._engines.choose(request.engine, record, loras=bool(found.loras), needs=needs)[1]

    def _find(self, request: ImageRequest) -> Found:
        """Look up what the request names besides its model. Raises NotFound for a name nobody knows."""
        words = styled(request.style, request.prompt, request.negative_prompt)
        prompt = prompts.parse(words[0])
        negative = prompts.parse(words[1], field="negative_prompt")
        if negative.loras:
            raise BadRequest(
                f"The negative prompt names the LoRA {negative.loras[0].name!r}, which has no negative side.",
                field="negative_prompt",
                hint="give it a negative weight in the prompt",
            )
        named = [(choice.model, choice.weight) for choice in request.loras]
        named += [(ModelId(tag.name), tag.weight) for tag in prompt.loras]
        if len(named) > MAX_LORAS:
            count = len(named)
            raise BadRequest(f"{count} LoRAs are named; at most {MAX_LORAS} are applied.", field="loras")
        learned = dict.fromkeys((*prompt.embeddings, *negative.embeddings))
        if len(learned) > MAX_EMBEDDINGS:
            raise BadRequest(
                f"{len(learned)} embeddings are named; at most {MAX_EMBEDDINGS} are read.", field="prompt"
            )
        return Found(
            prompt.text,
            negative.text,
            tuple((self._catalog.resolve_part(name, ModelKind.LORA), weight) for name, weight in named),
            tuple((word, self._catalog.resolve_part(word, ModelKind.EMBEDDING)) for word in learned),
            None if request.vae is None else self._catalog.resolve_part(request.vae, ModelKind.VAE),
            *(prompts.parse(own).text for own in (request.prompt, request.negative_prompt)),
        )

    def _size_of(self, blob: BlobId, field: str) -> tuple[int, int]:
        with Image.open(io.BytesIO(self._read(blob, field))) as picture:
            return picture.size

    def _read(self, blob: BlobId, field: str) -> bytes:
        if not self._blobs.exists(blob):
            raise BadRequest(f"There is no input picture {blob[:12]}….", field=field, hint="upload it again")
        return self._blobs.read(blob)


def _require_decent(prompt: str) -> None:
    word = indecent_word(prompt)
    if word is not None:
        raise BadRequest(
            f"The prompt holds {word!r}, and this server draws no pornography (images.block_nsfw).",
            code="image.nsfw",
            field="prompt",
            hint="leave it out; what a negative prompt says is never blocked",
        )


def _seeds_of_key(key: str, n: int) -> tuple[int, ...]:
    import hashlib

    first = int.from_bytes(hashlib.sha256(key.encode()).digest()[: SEED_BITS // 8])
    return tuple(first + i for i in range(n))


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
