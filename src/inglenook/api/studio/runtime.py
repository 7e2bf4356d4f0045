# SPDX-License-Identifier: Apache-2.0
"""GET /v1/runtime: who has the accelerator, who waits for it and why. GET /v1/schedulers, /v1/styles."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Depends
from starlette.responses import Response

from inglenook.api.errors import answer, errors, json_response
from inglenook.door.caller import caller
from inglenook.door.services import Runtime
from inglenook.images.styles import STYLES
from inglenook.wire.schedulers import SCHEDULERS

_LIST: dict[str, Any] = {"type": "array", "items": {"type": "object"}}
_SNAPSHOT: dict[str, Any] = {
    "type": "object",
    "required": ["devices", "residents", "leases", "queue"],
    "properties": {"devices": _LIST, "residents": _LIST, "leases": _LIST, "queue": _LIST},
}


def runtime_router(*, runtime: Runtime) -> APIRouter:
    router = APIRouter(tags=["runtime"], dependencies=[Depends(caller)])

    @router.get(
        "/v1/runtime",
        summary="Devices, residents, leases and the queue, with reasons",
        responses={200: answer("As it is now.", _SNAPSHOT), **errors()},
    )
    async def snapshot() -> Response:
        return json_response(runtime.snapshot())

    @router.get(
        "/v1/schedulers",
        summary="The schedulers by name",
        responses={
            200: answer("All of them.", {"type": "object", "properties": {"data": _LIST}}),
            **errors(),
        },
    )
    async def schedulers() -> Response:
        data = [{"id": name, "description": description} for name, description in SCHEDULERS.items()]
        return json_response({"object": "list", "data": data})

    @router.get(
        "/v1/styles",
        summary="The styles by name",
        responses={
            200: answer("All of them.", {"type": "object", "properties": {"data": _LIST}}),
            **errors(),
        },
    )
    def styles() -> Response:
        data = [{"id": name, **asdict(style)} for name, style in STYLES.items()]
        return json_response({"object": "list", "data": data})

    return router
