# SPDX-License-Identifier: Apache-2.0
"""/v1/presets: system prompts under a name."""

import asyncio
from typing import Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.bodies import json_object, known_only
from inglenook.api.conversations.fields import text
from inglenook.api.conversations.shapes import DELETED, PRESET, preset_json
from inglenook.api.errors import answer, errors, json_response
from inglenook.api.studio.pages import is_id
from inglenook.base.errors import NotFound
from inglenook.base.ids import PresetId
from inglenook.door.caller import FromCaller, caller
from inglenook.door.problem import shown
from inglenook.door.services import Conversations

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["name", "text"],
                    "properties": {"name": {"type": "string"}, "text": {"type": "string"}},
                }
            }
        },
    }
}
_PRESETS = {"type": "object", "properties": {"data": {"type": "array", "items": PRESET}}}


def presets_router(*, conversations: Conversations) -> APIRouter:
    router = APIRouter(prefix="/v1/presets", tags=["conversations"], dependencies=[Depends(caller)])

    @router.get(
        "",
        summary="The caller's system prompts, by name",
        responses={200: answer("All of them.", _PRESETS), **errors()},
    )
    def listing(who: FromCaller) -> Response:
        found = conversations.presets(caller=who.person)
        return json_response({"object": "list", "data": [preset_json(one) for one in found]})

    @router.post(
        "",
        summary="Keep a system prompt under a name; the same name again changes it",
        openapi_extra=_BODY,
        responses={200: answer("It.", PRESET), **errors(400, 413)},
    )
    async def keep(who: FromCaller, request: Request) -> Response:
        body = await json_object(request)
        known_only(body, ("name", "text"))
        name, words = text(body, "name"), text(body, "text")
        kept = await asyncio.to_thread(conversations.keep_preset, name, words, caller=who.person)
        return json_response(preset_json(kept))

    @router.delete(
        "/{preset_id}",
        summary="Forget a system prompt",
        responses={200: answer("It is gone.", DELETED), **errors(400, 404)},
    )
    def delete(who: FromCaller, preset_id: str) -> Response:
        if not is_id("pre", preset_id):
            raise NotFound(f"There is no preset {shown(preset_id)}.", code="preset.not_found")
        conversations.delete_preset(PresetId(preset_id), caller=who.person)
        return json_response({"id": preset_id, "deleted": True, "restorable": False})

    return router
