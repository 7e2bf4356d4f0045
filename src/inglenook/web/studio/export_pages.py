# SPDX-License-Identifier: Apache-2.0
"""Export: files of what was trained, their place in the library, and a place to try them."""

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from inglenook.base.ids import PersonId
from inglenook.door.administrator import is_administrator
from inglenook.door.caller import Caller, FromCaller
from inglenook.door.fragments import Fragments
from inglenook.studio.studio import WorkingStudio
from inglenook.web.studio.exports import exportable, form_of, list_of, record_of
from inglenook.web.studio.frame import frame_of, studio_page
from inglenook.web.templating import html


def export_pages(studio: WorkingStudio, fragments: Fragments) -> APIRouter:
    router = APIRouter(include_in_schema=False)
    _register(studio, fragments)

    @router.get("/projects/{project_id}/export")
    async def export(
        request: Request,
        caller: FromCaller,
        project_id: str,
        export_id: str | None = None,
        experiment_id: str | None = None,
    ) -> Response:
        context = await asyncio.to_thread(
            _page, studio, caller.person, project_id, export_id, is_administrator(request)
        )
        asked = "new_export" in request.query_params or (experiment_id is not None and export_id is None)
        return studio_page(
            request, "studio/export.html", {**context, "asked": asked, "asked_for": experiment_id}
        )

    return router


def _page(
    studio: WorkingStudio, person: PersonId, project_id: str, export_id: str | None, administrator: bool
) -> dict[str, Any]:
    """Raises ProjectNotFound, ExportNotFound, CorruptDocument."""
    return {
        "project": frame_of(studio, person, project_id),
        **list_of(studio, person, project_id),
        "experiments": exportable(studio, person, project_id),
        "form": form_of(),
        "chosen": export_id,
        "record": None
        if export_id is None
        else record_of(studio, person, project_id, export_id, administrator=administrator),
    }


def _register(studio: WorkingStudio, fragments: Fragments) -> None:
    async def listing(request: Request, caller: Caller, data: Mapping[str, Any]) -> Response:
        context = await asyncio.to_thread(list_of, studio, caller.person, data["project_id"])
        return html("studio/export_list.html", {**context, "chosen": request.query_params.get("export_id")})

    async def one(request: Request, caller: Caller, data: Mapping[str, Any]) -> Response:
        project_id = request.path_params["project_id"]
        context = await asyncio.to_thread(
            record_of,
            studio,
            caller.person,
            project_id,
            data["id"],
            administrator=is_administrator(request),
        )
        return html("studio/export_record.html", {"record": context})

    fragments.register("exports.list", listing)
    fragments.register("exports.get", one)
