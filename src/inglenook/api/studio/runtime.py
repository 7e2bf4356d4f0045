# SPDX-License-Identifier: Apache-2.0
"""GET /v1/runtime: who has the accelerator, who waits for it and why. GET /v1/schedulers, /v1/styles."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Depends
from starlette.responses import Response

from inglenook.api.errors import answer, errors, json_response
from inglenook.base.errors import Conflict, NotFound
from inglenook.base.ids import ResidentId
from inglenook.door.caller import caller
from inglenook.door.problem import shown
from inglenook.door.services import Runtime
from inglenook.images.styles import STYLES
from inglenook.wire.schedulers import SCHEDULERS

_LIST: dict[str, Any] = {"type": "array", "items": {"type": "object"}}
_SNAPSHOT: dict[str, Any] = {
    "type": "object",
    "required": ["devices", "residents", "leases", "queue"],
    "properties": {"devices": _LIST, "residents": _LIST, "leases": _LIST, "queue": _LIST, "recent": _LIST},
}
_UNLOADED = {"type": "object", "properties": {"id": {"type": "string"}, "unloading": {"type": "boolean"}}}


def runtime_router(*, runtime: Runtime) -> APIRouter:
    router = APIRouter(tags=["runtime"], dependencies=[Depends(caller)])

    @router.get(
        "/v1/runtime",
        summary="Devices, residents, leases, the queue with reasons, and what was decided lately",
        responses={200: answer("As it is now.", _SNAPSHOT), **errors()},
    )
    async def snapshot() -> Response:
        return json_response(runtime.snapshot())

    @router.post(
        "/v1/runtime/residents/{resident_id}/unload",
        summary="Unload a model that nobody uses now",
        responses={200: answer("It is being unloaded.", _UNLOADED), **errors(400, 404, 409)},
    )
    async def unload(resident_id: str) -> Response:
        await unload_resident(runtime, resident_id)
        return json_response({"id": resident_id, "unloading": True})

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


async def unload_resident(runtime: Runtime, resident_id: str) -> None:
    """Ask for a resident's end.

    Raises:
        NotFound: there is none of this id (`resident.not_found`).
        Conflict: it is at work, or is being loaded or unloaded (`resident.busy`).
    """
    if await runtime.unload(ResidentId(resident_id)):
        return
    for resident in runtime.snapshot()["residents"]:
        if resident["id"] == resident_id:
            at_work = bool(resident.get("leases"))
            raise Conflict(
                f"{resident['model']} is {'at work' if at_work else resident['state']} and stays.",
                code="resident.busy",
                hint="wait until it is idle, or cancel the work that uses it" if at_work else None,
            )
    raise NotFound(f"There is no resident {shown(resident_id)}.", code="resident.not_found")
