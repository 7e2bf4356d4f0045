# SPDX-License-Identifier: Apache-2.0
"""/api/projects: who has which, their names, whom they are shared with."""

import asyncio
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.projects.envelope import REFUSALS, EnvelopeRoute, answer, invalid_field, parsed
from inglenook.base.errors import Invalid
from inglenook.door.caller import FromCaller, caller
from inglenook.studio.foreign.contents import contents_of
from inglenook.studio.projects.model import Project, Share
from inglenook.studio.studio import Studio

Text = Annotated[str, msgspec.Meta(max_length=2000)]


class NewProject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Text
    task: Text
    description: Text | None = None


class ProjectChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Text | None = None
    description: Text | msgspec.UnsetType | None = msgspec.UNSET


class Shares(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    people: tuple[Share, ...]


def projects_router(studio: Studio) -> APIRouter:
    router = APIRouter(
        prefix="/api/projects",
        tags=["projects"],
        dependencies=[Depends(caller)],
        route_class=EnvelopeRoute,
        responses=REFUSALS,
    )
    _reading_routes(router, studio)
    _changing_routes(router, studio)
    return router


def _reading_routes(router: APIRouter, studio: Studio) -> None:
    projects = studio.projects

    @router.get("", summary="The caller's projects, in the order in which they were made")
    async def listing(request: Request, who: FromCaller) -> Response:
        found = await asyncio.to_thread(projects.list, who.person)
        data: dict[str, Any] = {"projects": [as_json(it) for it in found.projects]}
        if found.problems:
            data["problems"] = list(found.problems)
        return await answer(request, who, "projects.list", data)

    @router.get("/{project_id}", summary="One project")
    async def one(request: Request, who: FromCaller, project_id: str) -> Response:
        found = await asyncio.to_thread(projects.get, who.person, project_id)
        return await answer(request, who, "projects.get", as_json(found))

    @router.get("/{project_id}/counts", summary="How much the project holds: pictures, splits, experiments …")
    async def counts(request: Request, who: FromCaller, project_id: str) -> Response:
        await asyncio.to_thread(projects.get, who.person, project_id)
        found = await asyncio.to_thread(projects.counts, project_id)
        return await answer(request, who, "projects.counts", dict(found))

    @router.get("/{project_id}/ai-studio", summary="What was copied from an AI Studio beside the pictures")
    async def archive(request: Request, who: FromCaller, project_id: str) -> Response:
        def found() -> dict[str, Any]:
            projects.require(who.person, project_id, write=False)
            said: dict[str, Any] = msgspec.to_builtins(contents_of(studio, project_id))
            return said

        return await answer(request, who, "projects.ai-studio", await asyncio.to_thread(found))


def _changing_routes(router: APIRouter, studio: Studio) -> None:
    projects = studio.projects

    @router.post("", summary="Make a project")
    async def create(request: Request, who: FromCaller) -> Response:
        body = await parsed(request, NewProject)
        try:
            made = await asyncio.to_thread(
                projects.create, who.person, body.name, body.task, body.description
            )
        except Invalid as error:
            raise invalid_field(error) from None
        headers = {"HX-Redirect": f"/projects/{made.id}/dataset"}
        return await answer(request, who, "projects.create", as_json(made), fragment_headers=headers)

    @router.patch("/{project_id}", summary="Call it otherwise, describe it otherwise")
    async def update(request: Request, who: FromCaller, project_id: str) -> Response:
        body = await parsed(request, ProjectChange)
        try:
            changed = await asyncio.to_thread(
                lambda: projects.update(who.person, project_id, name=body.name, description=body.description)
            )
        except Invalid as error:
            raise invalid_field(error) from None
        return await answer(request, who, "projects.update", as_json(changed))

    @router.put("/{project_id}/sharing", summary="Share it with these people and nobody else")
    async def share(request: Request, who: FromCaller, project_id: str) -> Response:
        body = await parsed(request, Shares)
        try:
            changed = await asyncio.to_thread(projects.share, who.person, project_id, body.people)
        except Invalid as error:
            raise invalid_field(error) from None
        return await answer(request, who, "projects.share", as_json(changed))

    @router.delete("/{project_id}", summary="Delete it with all that is in it")
    async def delete(request: Request, who: FromCaller, project_id: str) -> Response:
        await asyncio.to_thread(projects.delete, who.person, project_id)
        data = {"project_id": project_id, "deleted": True}
        return await answer(request, who, "projects.delete", data)


def as_json(project: Project) -> dict[str, Any]:
    said: dict[str, Any] = msgspec.to_builtins(project)
    return said
