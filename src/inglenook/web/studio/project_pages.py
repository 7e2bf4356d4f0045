# SPDX-License-Identifier: Apache-2.0
"""The list of projects: make one, call it otherwise, share it, delete it."""

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from inglenook.base.errors import Invalid
from inglenook.base.ids import PersonId
from inglenook.door.caller import Caller, FromCaller
from inglenook.door.fragments import Fragments
from inglenook.studio.studio import Studio
from inglenook.studio.tasks.registry import require_available
from inglenook.web import csrf
from inglenook.web.sending import read_form
from inglenook.web.studio.frame import studio_page
from inglenook.web.studio.projects import card_of, cards_of, task_choices
from inglenook.web.templating import HEADERS, html

UNPROCESSABLE = 422


def project_pages(studio: Studio, fragments: Fragments) -> APIRouter:
    router = APIRouter(prefix="/projects", include_in_schema=False)
    _register(studio, fragments)

    @router.get("")
    async def projects(request: Request, caller: FromCaller) -> Response:
        asked = "new" in request.query_params
        context = await asyncio.to_thread(_list, studio, caller.person)
        return studio_page(request, "studio/projects.html", {**context, "new": _form({}, asked=asked)})

    @router.post("")
    async def create(request: Request, caller: FromCaller) -> Response:
        sent = await read_form(request)
        csrf.check(request, sent.texts)
        try:
            made = await asyncio.to_thread(_create, studio, caller.person, sent.texts)
        except Invalid as error:
            context = await asyncio.to_thread(_list, studio, caller.person)
            context["new"] = _form(sent.texts, asked=True, problem=error)
            return studio_page(request, "studio/projects.html", context, status=UNPROCESSABLE)
        return RedirectResponse(f"/projects/{made}/dataset", status_code=303, headers=HEADERS)

    return router


def _create(studio: Studio, person: PersonId, texts: Mapping[str, str]) -> str:
    """The new project's id. Raises Invalid."""
    task = require_available(texts.get("task", ""))
    made = studio.projects.create(person, texts.get("name", ""), task.name, texts.get("description"))
    return made.id


def _list(studio: Studio, person: PersonId) -> dict[str, Any]:
    cards, problems = cards_of(studio, person)
    return {"cards": cards, "problems": problems, "tasks": task_choices()}


def _form(texts: Mapping[str, str], *, asked: bool, problem: Invalid | None = None) -> dict[str, Any]:
    """What stands in the form of a new project. `asked`: it is open."""
    return {
        "open": asked,
        "name": texts.get("name", ""),
        "description": texts.get("description", ""),
        "problem": problem,
        "field": None if problem is None else problem.field or "name",
    }


def _register(studio: Studio, fragments: Fragments) -> None:
    async def listing(request: Request, caller: Caller, data: Mapping[str, Any]) -> Response:  # noqa: ARG001
        cards, problems = await asyncio.to_thread(cards_of, studio, caller.person)
        return html("studio/project_grid.html", {"cards": cards, "problems": problems})

    async def one(request: Request, caller: Caller, data: Mapping[str, Any]) -> Response:  # noqa: ARG001
        def made() -> dict[str, Any]:
            project = studio.projects.get(caller.person, data["id"])
            return {"card": card_of(studio, project, caller.person)}

        return html("studio/project_card.html", await asyncio.to_thread(made))

    async def gone(request: Request, caller: Caller, data: Mapping[str, Any]) -> Response:  # noqa: ARG001
        return html("studio/nothing.html", {})

    fragments.register("projects.list", listing)
    for route in ("projects.create", "projects.get", "projects.update", "projects.share"):
        fragments.register(route, one)
    fragments.register("projects.delete", gone)
