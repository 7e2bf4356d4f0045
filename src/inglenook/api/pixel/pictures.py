# SPDX-License-Identifier: Apache-2.0
"""POST /v1/pixel/convert and /v1/pixel/export: sprites of pictures that exist, and files of sprites."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.bodies import Form, form, known_only
from inglenook.api.errors import json_response
from inglenook.api.paths import inside, renamed, told
from inglenook.api.pixel.answers import converted
from inglenook.api.pixel.description import CONVERT, EXPORT
from inglenook.api.pixel.fields import ExportFields, flag, json_text, read, whole
from inglenook.api.studio.pages import is_id
from inglenook.base.cancel import StopReason, StopToken
from inglenook.base.errors import Invalid, NotFound
from inglenook.base.ids import PersonId, PictureId
from inglenook.door.caller import FromCaller, caller
from inglenook.door.disconnect import while_connected
from inglenook.door.problem import shown
from inglenook.door.services import Palettes, Sprites
from inglenook.sprites.model import DEFAULT_FRAME_MS, MAX_FRAME_MS, MIN_FRAME_MS
from inglenook.sprites.service import KeptSprite

T = TypeVar("T")
CONVERT_FIELDS = ("image", "recipe", "picture_id", "source", "animation", "keep", "frame_ms")
SOURCES = ("drawing", "file")
"""Of a picture of the gallery: what was drawn before it became a sprite, or what lies there."""
IN_SPEC = inside("spec", ExportFields.model_fields)


def pictures_router(*, sprites: Sprites, palettes: Palettes) -> APIRouter:
    router = APIRouter(prefix="/v1/pixel", tags=["pixel art"], dependencies=[Depends(caller)])

    @router.post("/convert", **CONVERT)
    async def convert(request: Request, who: FromCaller) -> Response:
        sent = await form(request)
        known_only((*sent.texts, *sent.files), CONVERT_FIELDS)
        source = sent.texts.get("source", "drawing")
        if source not in SOURCES:
            raise Invalid(f"source must be {' or '.join(SOURCES)}; got {shown(source)}.", field="source")
        asked = json_text(sent.texts, "recipe")
        with told(inside("recipe")):
            recipe = await asyncio.to_thread(palettes.recipe, asked)
        animation, keeps = flag(sent.texts, "animation"), flag(sent.texts, "keep")
        frame_ms = whole(sent.texts, "frame_ms", DEFAULT_FRAME_MS, MIN_FRAME_MS, MAX_FRAME_MS)
        frames: Sequence[bytes] = sent.files.get("image", [])
        kept = await _kept(sprites, sent, who.person, "image")
        if kept is not None:
            frames = kept.drawings if source == "drawing" else kept.frames
        if keeps and len(frames) > 1 and not animation:
            raise Invalid(
                f"{len(frames)} pictures that are no animation are not kept as one sprite.",
                field="keep",
                hint="send animation=true, or each picture by itself",
            )
        stop = StopToken()

        async def work() -> dict[str, Any]:
            made = await sprites.convert(
                frames, recipe, person=who.person, stop=stop, whole_animation=animation
            )
            if not keeps:
                return converted(made)
            picture = await sprites.keep(
                made,
                frames,
                recipe,
                frame_ms=frame_ms,
                of=None if kept is None else PictureId(sent.texts["picture_id"]),
                person=who.person,
                stop=stop,
            )
            return converted(made) | {"picture_id": picture.id}

        with told(renamed({"frames": "image"} if kept is None else {"frames": "picture_id"})):
            return json_response(await _while_there(request, work(), stop))

    @router.post("/export", **EXPORT)
    async def export(request: Request, who: FromCaller) -> Response:
        sent = await form(request)
        known_only((*sent.texts, *sent.files), ("frames", "spec", "picture_id"))
        asked = json_text(sent.texts, "spec")
        with told(inside("spec")):
            fields = read(ExportFields, asked)
        frames: Sequence[bytes] = sent.files.get("frames", [])
        kept = await _kept(sprites, sent, who.person, "frames")
        if kept is not None:
            frames = kept.frames
        stop = StopToken()
        with told(IN_SPEC):
            order = fields.order(None if kept is None else kept.durations_ms or None)
            parameters = None if kept is None else kept.parameters
            work = sprites.export(frames, order, person=who.person, stop=stop, parameters=parameters)
            written = await _while_there(request, work, stop)
        name = quote(f"{fields.name}{written.suffix}")
        headers = {
            "cache-control": "no-store",
            "content-disposition": f"attachment; filename*=UTF-8''{name}",
        }
        return Response(written.data, media_type=written.media_type, headers=headers)

    return router


async def _kept(sprites: Sprites, sent: Form, person: PersonId, files: str) -> KeptSprite | None:
    """The picture of the gallery that a form names; None where it has files.

    Raises:
        Invalid: it has both, or neither. NotFound: there is no such picture.
    """
    picture = sent.texts.get("picture_id")
    given = bool(sent.files.get(files))
    if (picture is not None) == given:
        raise Invalid(
            f"{files} and picture_id exclude each other." if given else f"{files} is required.",
            field=files,
            code="request.invalid" if given else "request.missing_field",
            hint="send pictures as files, or the id of one of the gallery as picture_id",
        )
    if picture is None:
        return None
    if not is_id("pic", picture):
        raise NotFound(f"There is no picture {shown(picture)}.", code="picture.not_found")
    return await sprites.kept(PictureId(picture), person=person)


async def _while_there(request: Request, work: Coroutine[Any, Any, T], stop: StopToken) -> T:
    """The result of the work, which is stopped when its client goes."""

    async def gone() -> None:
        stop.stop(StopReason.CLIENT_GONE)

    return await while_connected(request.receive, work, on_gone=gone)
