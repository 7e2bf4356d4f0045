# SPDX-License-Identifier: Apache-2.0
"""POST /v1/images/{generations,edits,variations}."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.bodies import Form, form, json_object
from inglenook.api.errors import json_response
from inglenook.api.openai import requests
from inglenook.api.openai.animations import check_still, moving
from inglenook.api.openai.answers import Reply, stream, whole
from inglenook.api.openai.description import EDITS, GENERATIONS, VARIATIONS
from inglenook.api.openai.fields import (
    EditFields,
    GenerationFields,
    PictureFields,
    StreamFields,
    VariationFields,
    check_name,
    read,
)
from inglenook.api.openai.headers import idempotency_key, wants_later
from inglenook.base.cancel import StopReason
from inglenook.base.clock import Clock
from inglenook.base.errors import Conflict, Invalid
from inglenook.base.ids import BlobId
from inglenook.base.work import WorkClass
from inglenook.catalog.model import ModelRecord
from inglenook.door.caller import Caller, FromCaller, caller
from inglenook.door.disconnect import while_connected
from inglenook.door.services import Catalog, Gallery, Images, Jobs, Palettes, Sprites
from inglenook.door.sse import EventStream
from inglenook.images.model import MAX_INPUT_PICTURES, ImageRequest
from inglenook.jobs.model import Job
from inglenook.sprites.model import SpriteRequest
from inglenook.wire.families import INPAINT


def pictures_router(
    *,
    images: Images,
    jobs: Jobs,
    gallery: Gallery,
    catalog: Catalog,
    clock: Clock,
    sprites: Sprites,
    palettes: Palettes,
) -> APIRouter:
    router = APIRouter(tags=["pictures"], dependencies=[Depends(caller)])
    desk = _Desk(images=images, sprites=sprites, jobs=jobs, gallery=gallery, catalog=catalog, clock=clock)

    @router.post("/v1/images/generations", **GENERATIONS)
    async def generate(request: Request, who: FromCaller) -> Response:
        fields = read(GenerationFields, await json_object(request), from_form=False)
        revised = None if fields.style is None else requests.styled_prompt(fields)
        model = await desk.model(fields)
        asked: ImageRequest | SpriteRequest
        if fields.output_format == "gif":
            requests.check(fields)
            asked = await asyncio.to_thread(moving, fields, model, read_recipe=palettes.recipe)
        else:
            check_still(fields)
            asked = requests.generation(fields, model)
        return await desk.serve(request, who, fields, asked, revised_prompt=revised)

    @router.post("/v1/images/edits", **EDITS)
    async def edit(request: Request, who: FromCaller) -> Response:
        sent = await form(request)
        fields = read(EditFields, sent.texts, from_form=True)
        model = await desk.model(fields)
        requests.check(fields)
        given = _pictures(sent, EditFields)
        mask, markup = _file(sent, "mask"), _file(sent, "markup")
        if fields.output_format == "gif":
            for name, data in (("mask", mask), ("markup", markup)):
                if data is not None:
                    raise Invalid(f"{name} is not taken for a GIF.", field=name, hint=f"leave {name} out")
            image = await sprites.keep_input(_one(given))
            frames = await asyncio.to_thread(
                moving, fields, model, read_recipe=palettes.recipe, image=image, strength=fields.strength
            )
            return await desk.serve(request, who, fields, frames)
        check_still(fields)
        if mask is not None and markup is not None:
            raise Invalid("mask and markup exclude each other.", field="markup", hint="send one of the two")
        asked = requests.edit(
            fields,
            model,
            images=[await _kept(images, given[0], markup)]
            + [await images.keep_input(data) for data in given[1:]],
            mask=await _mask(images, model, given, mask) if markup is None else None,
        )
        return await desk.serve(request, who, fields, asked)

    @router.post("/v1/images/variations", **VARIATIONS)
    async def vary(request: Request, who: FromCaller) -> Response:
        sent = await form(request)
        fields = read(VariationFields, sent.texts, from_form=True)
        model = await desk.model(fields)
        requests.check(fields)
        given = _pictures(sent, VariationFields)
        asked = requests.variation(fields, model, image=await images.keep_input(_one(given)))
        return await desk.serve(request, who, fields, asked)

    return router


def _pictures(sent: Form, fields: type[PictureFields]) -> list[bytes]:
    """The pictures that are changed, at least one. Raises Invalid, also for files that nobody asked for."""
    for other in sent.files:
        if other != "image" and not (other in ("mask", "markup") and other not in fields.elsewhere):
            check_name(other, fields)
            raise Invalid(f"{other} must be a text, not a file.", field=other)
    files = sent.files.get("image", [])
    if not files:
        raise Invalid(
            "image is required.", field="image", code="request.missing_field", hint="send it as a file"
        )
    if len(files) > MAX_INPUT_PICTURES:
        raise Invalid(
            f"{len(files)} files are given as image; at most {MAX_INPUT_PICTURES} are taken.",
            field="image",
            code="request.too_many_files",
        )
    return files


def _one(given: list[bytes]) -> bytes:
    """Raises Invalid where there are several."""
    if len(given) > 1:
        raise Invalid(
            f"{len(given)} files are given as image; this is made of one.",
            field="image",
            code="request.too_many_files",
        )
    return given[0]


async def _kept(images: Images, data: bytes, markup: bytes | None) -> BlobId:
    return await (images.keep_input(data) if markup is None else images.keep_marked(data, markup))


async def _mask(images: Images, model: ModelRecord, given: list[bytes], mask: bytes | None) -> BlobId | None:
    """The mask that was sent; else the transparent part of the one picture, where the model can fill it."""
    if mask is not None:
        return await images.keep_mask(mask)
    fills = model.image is not None and INPAINT in model.image.modes
    return await images.keep_own_mask(given[0]) if fills and len(given) == 1 else None


def _file(sent: Form, name: str) -> bytes | None:
    files = sent.files.get(name, [])
    if len(files) > 1:
        raise Invalid(
            f"{len(files)} files are given as {name}; there is one.",
            field=name,
            code="request.too_many_files",
        )
    return files[0] if files else None


class _Desk:
    """What the three routes do alike once they know what is asked."""

    def __init__(
        self,
        *,
        images: Images,
        sprites: Sprites,
        jobs: Jobs,
        gallery: Gallery,
        catalog: Catalog,
        clock: Clock,
    ) -> None:
        self._images = images
        self._sprites = sprites
        self._jobs = jobs
        self._gallery = gallery
        self._catalog = catalog
        self._clock = clock

    async def model(self, fields: PictureFields) -> ModelRecord:
        """Raises NotFound (`model.not_found`) before anything that a client has uploaded is looked at."""
        return await asyncio.to_thread(self._catalog.resolve, fields.model)

    async def serve(
        self,
        request: Request,
        who: Caller,
        fields: PictureFields,
        asked: ImageRequest | SpriteRequest,
        *,
        revised_prompt: str | None = None,
    ) -> Response:
        """Submit, then answer with the job, with a stream, or with the pictures when they are there."""
        streamed = isinstance(fields, StreamFields) and fields.stream
        later = wants_later(request)
        if streamed and later:
            raise Invalid("stream=true and Prefer: respond-async exclude each other.", field="stream")
        key = idempotency_key(request)
        work_class = WorkClass(fields.work_class)
        if isinstance(asked, ImageRequest):
            job = await self._images.submit(
                asked, owner=who.person, work_class=work_class, idempotency_key=key
            )
        else:
            job = await self._sprites.submit(
                asked, owner=who.person, work_class=work_class, idempotency_key=key
            )
        if later:
            return self._later(job)
        gone = _HungUp(job=job, who=who, jobs=self._jobs, comes_back=key is not None)
        reply = self._reply(request, who, fields, asked, revised_prompt)
        if streamed:
            events = self._jobs.subscribe(job.id, job.event_seq)
            return EventStream(stream(events, reply, gallery=self._gallery), on_gone=gone.cancel)
        done = await while_connected(request.receive, self._jobs.wait(job.id), on_gone=gone.cancel)
        return json_response(await whole(done, reply, gallery=self._gallery))

    def _later(self, job: Job) -> Response:
        headers = {"location": f"/v1/jobs/{job.id}", "preference-applied": "respond-async"}
        return json_response(self._jobs.describe(job), status_code=202, headers=headers)

    def _reply(
        self,
        request: Request,
        who: Caller,
        fields: PictureFields,
        asked: ImageRequest | SpriteRequest,
        revised: str | None,
    ) -> Reply:
        return Reply(
            subject="image_generation" if isinstance(fields, GenerationFields) else "image_edit",
            person=who.person,
            base_url=str(request.base_url),
            urls=fields.response_format == "url",
            quality=requests.answered_quality(fields.quality),
            output_format=fields.output_format,
            background="transparent" if fields.background == "transparent" else "opaque",
            clock=self._clock,
            revised_prompt=revised,
            safety_identifier=fields.safety_identifier or fields.user,
            partial_images=asked.previews,
        )


@dataclass(frozen=True, slots=True)
class _HungUp:
    """What becomes of the job when its client goes: nobody else waits for it, so it is cancelled. A client
    that sent an `Idempotency-Key` means to ask again after a broken connection; for it the job goes on."""

    job: Job
    who: Caller
    jobs: Jobs
    comes_back: bool

    async def cancel(self) -> None:
        if not self.comes_back:
            with suppress(Conflict):  # it has just ended
                await self.jobs.cancel(self.job.id, caller=self.who.person, reason=StopReason.CLIENT_GONE)
