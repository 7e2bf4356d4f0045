# SPDX-License-Identifier: Apache-2.0
"""GET /v1/runtime: who has the accelerator, who waits for it and why. GET /v1/schedulers, /v1/styles."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from inglenook.api.errors import answer, errors, json_response
from inglenook.base.errors import Conflict, NotFound
from inglenook.base.ids import ResidentId
from inglenook.door.administrator import administrator
from inglenook.door.caller import caller
from inglenook.door.problem import shown
from inglenook.door.services import Catalog, Runtime
from inglenook.images.styles import STYLES
from inglenook.wire.schedulers import (
    FLOW_SCHEDULERS,
    ONLY_FLOW,
    SCHEDULERS,
    SIGMAS,
    aliases,
    fitting,
    is_flow,
    sigmas_of,
)

_LIST: dict[str, Any] = {"type": "array", "items": {"type": "object"}}
_SNAPSHOT: dict[str, Any] = {
    "type": "object",
    "required": ["devices", "residents", "leases", "queue"],
    "properties": {"devices": _LIST, "residents": _LIST, "leases": _LIST, "queue": _LIST, "recent": _LIST},
}
_SCHEDULERS: dict[str, Any] = {
    "type": "object",
    "required": ["object", "data", "sigmas"],
    "properties": {"object": {"const": "list"}, "data": _LIST, "sigmas": _LIST},
}
_UNLOADED = {"type": "object", "properties": {"id": {"type": "string"}, "unloading": {"type": "boolean"}}}


def runtime_router(*, runtime: Runtime, catalog: Catalog) -> APIRouter:
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
        dependencies=[Depends(administrator)],
        responses={200: answer("It is being unloaded.", _UNLOADED), **errors(400, 401, 404, 409)},
    )
    async def unload(resident_id: str) -> Response:
        await unload_resident(runtime, resident_id)
        return json_response({"id": resident_id, "unloading": True})

    @router.get(
        "/v1/schedulers",
        summary="The schedulers and the sigma schedules by name",
        responses={200: answer("Those that fit.", _SCHEDULERS), **errors(400, 404)},
    )
    def schedulers(
        model: Annotated[
            str | None, Query(max_length=256, description="Only those that this model can be drawn with.")
        ] = None,
    ) -> Response:
        if model is None:
            return json_response(_listed(SCHEDULERS, flow=None))
        record = catalog.resolve(model)
        able = () if record.image is None else record.image.schedulers or fitting(flow=False)
        return json_response(_listed(able, flow=is_flow(able)))

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


def _listed(names: Iterable[str], *, flow: bool | None) -> dict[str, Any]:
    """Args:
    flow: whether the model that is asked for predicts a flow; None when none is asked for. There `sigmas`
        are those of all other models, and `sigmas_on_flow` those along a flow.
    """
    data: list[dict[str, Any]] = [
        {
            "id": name,
            "description": SCHEDULERS[name],
            "aliases": list(aliases(name)),
            "flow": name in FLOW_SCHEDULERS,
            "only_flow": name in ONLY_FLOW,
            "sigmas": list(sigmas_of(name, flow=bool(flow))),
            **({"sigmas_on_flow": list(sigmas_of(name, flow=True))} if flow is None else {}),
        }
        for name in names
    ]
    taken = {sigmas for each in data for key in ("sigmas", "sigmas_on_flow") for sigmas in each.get(key, ())}
    levels = [
        {"id": name, "description": description} for name, description in SIGMAS.items() if name in taken
    ]
    return {"object": "list", "data": data, "sigmas": levels}


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
