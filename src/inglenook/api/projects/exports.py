# SPDX-License-Identifier: Apache-2.0
"""/api/export: files of checkpoints that run elsewhere, and their place in the library."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from inglenook.api.deleting import Deleting
from inglenook.api.errors import json_response
from inglenook.api.projects.envelope import REFUSALS, EnvelopeRoute, answer, converted, fields, parsed
from inglenook.api.projects.imports import require_succeeded
from inglenook.base.errors import InglenookError
from inglenook.base.work import WorkClass
from inglenook.door.administrator import administrator
from inglenook.door.caller import FromCaller, caller
from inglenook.jobs.model import Job, JobState
from inglenook.jobs.service import JobsService
from inglenook.studio.export import card, script
from inglenook.studio.export.errors import ExportRefused
from inglenook.studio.export.model import ExportOrder, ExportRecord
from inglenook.studio.export.service import FORMATS, ExportsService
from inglenook.studio.export.work import KIND

_TYPES: Final[Mapping[str, str]] = {card.NAME: "text/markdown", script.NAME: "text/x-python"}
_ON: Final = frozenset({"on", "true", "1", "yes"})


class RegisterOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`name`: of the model in the library."""

    name: str


def exports_router(*, exports: ExportsService, jobs: JobsService, deleting: Deleting) -> APIRouter:
    router = APIRouter(
        prefix="/api/export",
        tags=["exports"],
        dependencies=[Depends(caller)],
        route_class=EnvelopeRoute,
        responses=REFUSALS,
    )

    @router.get("/formats", summary="The formats that there are, and which can be made here")
    async def formats(request: Request, who: FromCaller) -> Response:
        listed = [
            {"name": name, "display_name": title, "available": available}
            for name, title, available in FORMATS
        ]
        return await answer(request, who, "exports.formats", {"formats": listed})

    @router.get("/{project_id}", summary="The exports of a project")
    async def listing(request: Request, who: FromCaller, project_id: str) -> Response:
        found = await asyncio.to_thread(exports.list, who.person, project_id)
        data = {"project_id": project_id, "exports": msgspec.to_builtins(found)}
        headers = {"HX-Push-Url": _address(request, project_id)}
        return await answer(request, who, "exports.list", data, fragment_headers=headers)

    @router.post(
        "/{project_id}", summary="Export a checkpoint; answers when it is done, or at once with wait=false"
    )
    async def create(request: Request, who: FromCaller, project_id: str, wait: bool = True) -> Response:
        given, is_form = await fields(request)
        asked = converted(_spelled(given, is_form=is_form), ExportOrder, is_form=is_form)
        record = await asyncio.to_thread(exports.order, who.person, project_id, asked)
        try:
            job = await jobs.submit(
                kind=KIND,
                owner=who.person,
                work_class=WorkClass.BATCH,
                title=f"Export of {record.experiment_name}",
                payload={"project": project_id, "export": record.id},
            )
        except InglenookError as error:
            await asyncio.to_thread(exports.refused, project_id, record.id, error.message)
            raise
        record = await asyncio.to_thread(exports.given_to, project_id, record.id, str(job.id))
        if not wait:
            described = {**jobs.describe(job), "export": msgspec.to_builtins(record)}
            return json_response({"status": "ok", "data": described}, status_code=202)
        _require_made(await jobs.wait(job.id))
        done = await asyncio.to_thread(exports.get, who.person, project_id, record.id)
        headers = {"HX-Push-Url": f"/projects/{project_id}/export?export_id={record.id}"}
        return await answer(request, who, "exports.get", as_json(done), fragment_headers=headers)

    @router.get("/{project_id}/{export_id}", summary="An export")
    async def one(request: Request, who: FromCaller, project_id: str, export_id: str) -> Response:
        record = await asyncio.to_thread(exports.get, who.person, project_id, export_id)
        return await answer(request, who, "exports.get", as_json(record))

    @router.delete("/{project_id}/{export_id}", summary="Delete an export; a copy in the library stays")
    async def delete(request: Request, who: FromCaller, project_id: str, export_id: str) -> Response:
        await asyncio.to_thread(exports.delete, who.person, project_id, export_id)
        data = {"project_id": project_id, "export_id": export_id, "deleted": True}
        return await answer(request, who, "exports.delete", data)

    @router.get("/{project_id}/{export_id}/download", summary="The model's file")
    async def download(who: FromCaller, project_id: str, export_id: str) -> Response:
        path, record = await asyncio.to_thread(exports.file, who.person, project_id, export_id)
        return FileResponse(path, media_type="application/octet-stream", filename=record.output_file)

    @router.get(
        "/{project_id}/{export_id}/files/{name}", summary="The model, its card, or the script that runs it"
    )
    async def file(who: FromCaller, project_id: str, export_id: str, name: str) -> Response:
        path, _ = await asyncio.to_thread(exports.file, who.person, project_id, export_id, name)
        return FileResponse(path, media_type=_TYPES.get(name, "application/octet-stream"), filename=name)

    _library_routes(router, exports, deleting)
    return router


def _library_routes(router: APIRouter, exports: ExportsService, deleting: Deleting) -> None:
    @router.post(
        "/{project_id}/{export_id}/register",
        summary="Put the file into the library, where /v1/vision/predict serves it at once",
        dependencies=[Depends(administrator)],
    )
    async def register(request: Request, who: FromCaller, project_id: str, export_id: str) -> Response:
        body = await parsed(request, RegisterOrder)
        record = await asyncio.to_thread(exports.register, who.person, project_id, export_id, body.name)
        return await answer(request, who, "exports.get", as_json(record))

    @router.delete(
        "/{project_id}/{export_id}/register",
        summary="Take the file out of the library again",
        dependencies=[Depends(administrator)],
    )
    async def unregister(request: Request, who: FromCaller, project_id: str, export_id: str) -> Response:
        model = await asyncio.to_thread(exports.registered, who.person, project_id, export_id)
        if model is not None:
            await deleting.delete(model)
        record = await asyncio.to_thread(exports.unregistered, who.person, project_id, export_id)
        return await answer(request, who, "exports.get", as_json(record))


def as_json(record: ExportRecord) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(record)
    return found


def _address(request: Request, project_id: str) -> str:
    """Of the page that shows what was asked for."""
    known = ("experiment_id", "export_id", "new_export")
    chosen = [f"{name}={request.query_params[name]}" for name in known if request.query_params.get(name)]
    return f"/projects/{project_id}/export" + ("?" + "&".join(chosen) if chosen else "")


def _spelled(given: Mapping[str, Any], *, is_form: bool) -> dict[str, Any]:
    """A form's own fields of AI Studio's (`input_height`, `input_width`, `dynamic_batch`) as options."""
    options = given.get("options")
    if not is_form or not (options is None or isinstance(options, dict)):
        return dict(given)
    rest = {name: value for name, value in given.items() if name not in _ALIASES}
    aliases = {name: given[name] for name in _ALIASES if name in given}
    made = dict(options or {})
    for name in _ALIASES:
        if name in made:
            aliases[name] = made.pop(name)
    height, width = aliases.get("input_height"), aliases.get("input_width")
    if height is not None and width is not None:
        made.setdefault("input_shape", [1, 3, height, width])
    if "dynamic_batch" in aliases and str(aliases["dynamic_batch"]).lower() not in _ON:
        made.setdefault("dynamic_axes", None)
    for name in ("simplify", "baked_preprocessing"):
        if isinstance(made.get(name), str):
            made[name] = made[name].lower() in _ON
    return {**rest, **({"options": made} if made else {})}


_ALIASES: Final = ("input_height", "input_width", "dynamic_batch")


def _require_made(job: Job) -> None:
    """Raises the error that the job ended with. What a worker could not make is the order's fault for AI
    Studio's clients, who read 422."""
    error = job.error
    if job.state is not JobState.SUCCEEDED and error is not None and error.kind == "failed":
        raise ExportRefused(error.message, code=error.code, hint=error.hint)
    require_succeeded(job)
