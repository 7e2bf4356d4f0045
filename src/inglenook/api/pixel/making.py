# SPDX-License-Identifier: Apache-2.0
"""POST /v1/pixel/sprites: sprites from words, over a canvas, inside a selection, beside a tile."""

import asyncio
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.bodies import json_object
from inglenook.api.errors import json_response
from inglenook.api.language.pictures import Asker, Pictures
from inglenook.api.openai.headers import idempotency_key, wants_later
from inglenook.api.paths import inside, renamed, told
from inglenook.api.pixel.answers import result
from inglenook.api.pixel.description import SPRITES
from inglenook.api.pixel.fields import SpriteFields, read
from inglenook.base.cancel import StopReason
from inglenook.base.errors import Conflict, Invalid
from inglenook.base.ids import BlobId
from inglenook.base.work import WorkClass
from inglenook.door.address import base_url
from inglenook.door.caller import FromCaller, caller
from inglenook.door.disconnect import while_connected
from inglenook.door.services import Jobs, Palettes, Sprites


def making_router(
    *, sprites: Sprites, jobs: Jobs, palettes: Palettes, pictures: Pictures, max_body_bytes: int
) -> APIRouter:
    router = APIRouter(prefix="/v1/pixel", tags=["pixel art"], dependencies=[Depends(caller)])

    async def kept(address: str | None, field: str, asker: Asker) -> BlobId | None:
        if address is None:
            return None
        data = await pictures.bytes_of(address, field, asker)
        return await (sprites.keep_input(data) if field == "image" else sprites.keep_mask(data))

    @router.post("/sprites", **SPRITES)
    async def make(
        request: Request,
        who: FromCaller,
        wait: Annotated[bool, Query(description="answer with the sprites instead of the job")] = False,
    ) -> Response:
        fields = read(SpriteFields, await json_object(request, limit_bytes=max_body_bytes))
        if wait and wants_later(request):
            raise Invalid("wait and Prefer: respond-async exclude each other.", field="wait")
        with told(inside("recipe")):
            recipe = await asyncio.to_thread(palettes.recipe, fields.recipe)
        asker = Asker(who.person, request.headers.get("host", ""), base_url(request))
        asked = fields.request(
            recipe,
            image=await kept(fields.image, "image", asker),
            mask=await kept(fields.mask, "mask", asker),
        )
        key = idempotency_key(request)
        with told(renamed({"size": "base_width"})):  # of the drawing, as its planner calls it
            job = await sprites.submit(
                asked, owner=who.person, work_class=WorkClass(fields.work_class), idempotency_key=key
            )
        if not wait:
            headers = {"location": f"/v1/jobs/{job.id}"}
            return json_response(jobs.describe(job), status_code=202, headers=headers)

        async def gone() -> None:
            """Nobody else waits for it; whoever sent a key means to ask again."""
            if key is None:
                with suppress(Conflict):  # it has just ended
                    await jobs.cancel(job.id, caller=who.person, reason=StopReason.CLIENT_GONE)

        done = await while_connected(request.receive, jobs.wait(job.id), on_gone=gone)
        return json_response(result(done, await sprites.frames(job.id, person=who.person)))

    return router
