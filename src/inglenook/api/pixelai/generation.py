# SPDX-License-Identifier: Apache-2.0
"""POST /pixel/generate, GET /pixel/progress/{id}, POST /pixel/cancel/{id}, GET /pixel/result/{id}."""

import asyncio
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.bodies import decoded, json_object
from inglenook.api.errors import answer, json_response
from inglenook.api.pixelai.answers import answer_of, progress_of
from inglenook.api.pixelai.asked import Asked, read
from inglenook.api.pixelai.desk import Desk, Given, check_inputs
from inglenook.api.pixelai.keys import shown_key
from inglenook.api.pixelai.milestones import Status
from inglenook.api.pixelai.reading import uuid_of
from inglenook.api.pixelai.shapes import OBJECT, NotAnId, errors, failed_with
from inglenook.api.pixelai.tracks import Track
from inglenook.base.cancel import StopReason
from inglenook.base.errors import Conflict, InglenookError
from inglenook.door.caller import Caller, FromCaller, caller
from inglenook.door.disconnect import while_connected
from inglenook.door.problem import shown
from inglenook.door.services import SpriteMaking

_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["prompt"],
                    "properties": {
                        "prompt": {"type": "string"},
                        "negative_prompt": {"type": "string"},
                        "width": {"type": "integer", "default": 1024, "description": "as drawn"},
                        "height": {"type": "integer", "default": 1024, "description": "as drawn"},
                        "pixel_width": {"type": "integer", "default": 64, "minimum": 1, "maximum": 4096},
                        "pixel_height": {"type": "integer", "default": 64, "minimum": 1, "maximum": 4096},
                        "steps": {"type": "integer", "default": 30},
                        "guidance_scale": {"type": "number", "default": 7.5},
                        "seed": {"type": ["integer", "string"], "default": -1},
                        "colors": {"type": "integer", "default": 16, "maximum": 256},
                        "lora_model": {"type": ["string", "null"]},
                        "lora_strength": {"type": "number", "default": 1.0},
                        "remove_background": {"type": "boolean", "default": False},
                        "preserve_aspect": {"type": "boolean", "default": True},
                        "fit_mode": {"type": "string", "enum": ["contain", "cover", "stretch"]},
                        "generation_id": {"type": "string", "format": "uuid"},
                        "wait": {"type": "boolean", "default": True},
                        "single_flight": {"type": "boolean", "default": False},
                        "model": {"type": "string"},
                        "engine": {"type": "string", "enum": ["auto", "torch", "mlx", "sdcpp"]},
                        "n": {"type": "integer", "default": 1},
                        "frames": {"type": "integer", "default": 1},
                        "motion": {"type": "string", "description": "walk, idle, rotate, or words"},
                        "frame_strength": {"type": "number"},
                        "frame_ms": {"type": "integer"},
                        "palette": {"description": "a name, or a list of #rrggbb"},
                        "init_image": {"type": "string", "description": "base64 of a picture"},
                        "mask": {"type": "string", "description": "base64; white and opaque is redrawn"},
                        "strength": {"type": "number"},
                        "continue_tile": {"type": "string", "enum": ["left", "right", "up", "down"]},
                        "preset": {"type": "string"},
                        "style": {"type": "string"},
                        "previews": {"type": ["integer", "boolean"]},
                        "recipe": {"type": "object", "description": "as in POST /v1/pixel/convert"},
                    },
                }
            }
        },
    }
}


def generation_routes(desk: Desk, *, sprites: SpriteMaking, max_body_bytes: int) -> APIRouter:
    """Args: max_body_bytes: of a request, which may hold input pictures."""
    router = APIRouter(tags=["pixelai"], dependencies=[Depends(caller), Depends(shown_key)])

    @router.post(
        "/pixel/generate",
        summary="A sprite as raw RGBA (PixelAI)",
        openapi_extra=_BODY,
        responses={
            200: answer("`image.base64` is width x height x 4 bytes.", OBJECT),
            202: answer("With `wait` false: the id to ask for.", OBJECT),
            **errors(400, 404, 409, 413, 429, 499, 503),
        },
    )
    async def generate(request: Request, who: FromCaller) -> Response:
        asked = read(await json_object(request, limit_bytes=max_body_bytes))
        check_inputs(asked)
        track = desk.begin(asked, lambda: _kept(asked, sprites), person=who.person)
        if asked.wait:
            return await _waited(desk, track, request)
        track.detached = True
        try:
            await desk.begun(track)
        except InglenookError as error:
            return _failed(error, track)
        return _accepted(track)

    @router.get(
        "/pixel/progress/{generation_id}",
        summary="How far a generation is (PixelAI)",
        responses={
            200: answer("0 to 100, never back.", OBJECT),
            410: answer("Its time to be asked about is over.", OBJECT),
            **errors(400, 404),
        },
    )
    async def progress(generation_id: str, who: FromCaller) -> Response:
        track = _known(desk, generation_id, who)
        gone = track.is_expired
        return json_response(progress_of(track), status_code=HTTPStatus.GONE if gone else HTTPStatus.OK)

    @router.post(
        "/pixel/cancel/{generation_id}",
        summary="Stop a generation (PixelAI)",
        responses={202: answer("It is being stopped.", OBJECT), **errors(400, 404, 409)},
    )
    async def cancel(generation_id: str, who: FromCaller) -> Response:
        track = _known(desk, generation_id, who)
        if not desk.cancel(track):
            status = "canceling" if not track.ended.is_set() else track.status.value
            raise Conflict(f"already {status}", code="job.final")
        said = {"success": True, "generation_id": track.id, "status": "canceling"}
        return json_response(said, status_code=HTTPStatus.ACCEPTED)

    @router.get(
        "/pixel/result/{generation_id}",
        summary="The sprite of a generation that nobody waited for",
        responses={
            200: answer("As POST /pixel/generate answers.", OBJECT),
            202: answer("It is not done yet.", OBJECT),
            **errors(400, 404, 499),
        },
    )
    async def result(generation_id: str, request: Request, who: FromCaller) -> Response:
        track = _known(desk, generation_id, who)
        return await _waited(desk, track, request) if track.ended.is_set() else _accepted(track)

    return router


def _known(desk: Desk, generation_id: str, who: Caller) -> Track:
    """Raises NotAnId, NotFound."""
    found = uuid_of(generation_id)
    if found is None:
        raise NotAnId(f"A generation's id is a UUID; got {shown(generation_id)}.", field="generation_id")
    return desk.tracks.get(found, person=who.person)


async def _kept(asked: Asked, sprites: SpriteMaking) -> Given:
    """The input pictures, decoded and kept. Raises Invalid, TooLarge."""
    kept = {}
    for name, text, keep in (
        ("image", asked.init_image, sprites.keep_input),
        ("mask", asked.mask, sprites.keep_mask),
    ):
        if text is not None:
            kept[name] = await keep(await asyncio.to_thread(decoded, text))
    return Given(**kept)


def _accepted(track: Track) -> Response:
    said = {
        "success": True,
        "generation_id": track.id,
        "status": Status.GENERATING.value,
        "progress_url": f"/pixel/progress/{track.id}",
        "result_url": f"/pixel/result/{track.id}",
    }
    return json_response(said, status_code=HTTPStatus.ACCEPTED)


def _failed(error: InglenookError, track: Track) -> Response:
    return failed_with(error, engine=track.engine, generation_id=track.id)


async def _waited(desk: Desk, track: Track, request: Request) -> Response:
    """The picture. A client that hangs up calls its generation off, for nobody else waits for it."""

    async def gone() -> None:
        if track.waiters == 1 and not track.detached:
            desk.cancel(track, StopReason.CLIENT_GONE)

    track.waiters += 1
    try:
        made = await while_connected(request.receive, desk.made(track), on_gone=gone)
    except InglenookError as error:
        return _failed(error, track)
    finally:
        track.waiters -= 1
    return json_response(await asyncio.to_thread(answer_of, made))
