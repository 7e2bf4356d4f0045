# SPDX-License-Identifier: Apache-2.0
"""/api/datasets/…/map: the whole data set on a plane."""

import asyncio
from typing import Any

import msgspec
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.errors import json_response
from inglenook.api.projects.envelope import REFUSALS, EnvelopeRoute, answer, parsed
from inglenook.api.projects.imports import require_succeeded
from inglenook.base.work import WorkClass
from inglenook.door.caller import Caller, FromCaller, caller
from inglenook.jobs.service import JobsService
from inglenook.studio.maps.model import MapRequest
from inglenook.studio.maps.work import KIND
from inglenook.studio.studio import WorkingStudio


def maps_router(studio: WorkingStudio, *, jobs: JobsService) -> APIRouter:
    router = APIRouter(
        prefix="/api/datasets/{project_id}/map",
        tags=["data sets"],
        dependencies=[Depends(caller)],
        route_class=EnvelopeRoute,
        responses=REFUSALS,
    )

    @router.get("", summary="The map: a point a picture; null before one was made")
    async def one(request: Request, who: FromCaller, project_id: str) -> Response:
        return await answer(request, who, "datasets.map", await _read(studio, who, project_id))

    @router.post("", summary="Make the map anew; a job")
    async def create(request: Request, who: FromCaller, project_id: str, wait: bool = False) -> Response:
        asked = await parsed(request, MapRequest)
        order = await asyncio.to_thread(studio.maps.order, who.person, project_id, asked)
        job = await jobs.submit(
            kind=KIND,
            owner=who.person,
            work_class=WorkClass.BATCH,
            title="Map of a data set",
            payload=msgspec.to_builtins(order),
        )
        if not wait:
            return json_response({"status": "ok", "data": jobs.describe(job)}, status_code=202)
        require_succeeded(await jobs.wait(job.id))
        return await answer(request, who, "datasets.map", await _read(studio, who, project_id))

    return router


async def _read(studio: WorkingStudio, who: Caller, project_id: str) -> dict[str, Any]:
    def read() -> dict[str, Any]:
        document, stale, points = studio.maps.get(who.person, project_id)
        return {
            "map": None if document is None else msgspec.to_builtins(document),
            "stale": stale,
            "job": studio.map_jobs.get(project_id),
            "points": [one.as_json() for one in points],
        }

    return await asyncio.to_thread(read)
