# SPDX-License-Identifier: Apache-2.0
"""What sprites can be made with: palettes, presets, engines."""

import asyncio

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.bodies import form, known_only
from inglenook.api.errors import json_response
from inglenook.api.pixel.description import ENGINES, PALETTES, PRESETS, READ_PALETTE
from inglenook.base.errors import Invalid
from inglenook.door.caller import caller
from inglenook.door.services import Palettes, Sprites


def lists_router(*, sprites: Sprites, palettes: Palettes) -> APIRouter:
    router = APIRouter(prefix="/v1/pixel", tags=["pixel art"], dependencies=[Depends(caller)])

    @router.get("/palettes", **PALETTES)
    def listing() -> Response:
        return json_response({"data": [one.as_json() for one in palettes.palettes().values()]})

    @router.post("/palettes/read", **READ_PALETTE)
    async def read(request: Request) -> Response:
        sent = await form(request)
        known_only((*sent.texts, *sent.files), ("file", "name"))
        files = sent.files.get("file", [])
        if len(files) != 1:
            raise Invalid(
                f"{len(files)} files are given as file; there must be one.",
                field="file",
                code="request.too_many_files" if files else "request.missing_field",
            )
        name = sent.texts.get("name", "palette")[:200]
        return json_response((await asyncio.to_thread(palettes.read, files[0], name)).as_json())

    @router.get("/presets", **PRESETS)
    def presets() -> Response:
        return json_response(sprites.presets())

    @router.get("/engines", **ENGINES)
    async def engines() -> Response:
        return json_response({"data": [one.as_json() for one in await sprites.engines()]})

    return router
