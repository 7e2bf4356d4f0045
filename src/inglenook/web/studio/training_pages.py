# SPDX-License-Identifier: Apache-2.0
"""Training: the project's experiments, the form of one, and what becomes of it while it is looked at."""

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from inglenook.base.errors import Invalid
from inglenook.base.ids import PersonId
from inglenook.door.caller import Caller, FromCaller
from inglenook.door.fragments import Fragments
from inglenook.studio.studio import WorkingStudio
from inglenook.web.studio.frame import frame_of, studio_page
from inglenook.web.studio.training import PRESETS, compared, has_pictures, list_of, split_names, workspace_of
from inglenook.web.templating import html
from inglenook.wire.studio.weights import WeightsHere


def training_pages(studio: WorkingStudio, fragments: Fragments, weights: WeightsHere) -> APIRouter:
    router = APIRouter(include_in_schema=False)
    _register(studio, fragments, weights)

    @router.get("/projects/{project_id}/training")
    async def training(
        request: Request,
        caller: FromCaller,
        project_id: str,
        experiment_id: str | None = None,
        compare: str | None = None,
    ) -> Response:
        context = await asyncio.to_thread(
            _page, studio, caller.person, project_id, experiment_id, compare, weights
        )
        return studio_page(request, "studio/training.html", context)

    return router


def _page(
    studio: WorkingStudio,
    person: PersonId,
    project_id: str,
    experiment_id: str | None,
    compare: str | None,
    weights: WeightsHere,
) -> dict[str, Any]:
    """Raises ProjectNotFound, ExperimentNotFound, CorruptDocument."""
    context: dict[str, Any] = {
        "project": frame_of(studio, person, project_id),
        **list_of(studio, person, project_id),
        "pictures": has_pictures(studio, project_id),
        "splits": split_names(studio, project_id),
        "presets": PRESETS,
        "chosen": experiment_id,
        "workspace": None,
        "comparison": None,
        "comparison_problem": None,
    }
    if compare is not None:
        ids = [it.strip() for it in compare.split(",") if it.strip()]
        try:
            context["comparison"] = compared(studio, person, project_id, ids)
        except Invalid as error:
            context["comparison_problem"] = error
    elif experiment_id is not None:
        context["workspace"] = workspace_of(studio, person, project_id, experiment_id, weights)
    return context


def _register(studio: WorkingStudio, fragments: Fragments, weights: WeightsHere) -> None:
    async def listing(request: Request, caller: Caller, data: Mapping[str, Any]) -> Response:  # noqa: ARG001
        project_id = request.path_params["project_id"]
        context = await asyncio.to_thread(list_of, studio, caller.person, project_id)
        chosen = request.query_params.get("selected_experiment_id")
        return html("studio/training_list.html", {**context, "chosen": chosen})

    async def one(request: Request, caller: Caller, data: Mapping[str, Any]) -> Response:
        project_id = request.path_params["project_id"]
        experiment_id = data.get("experiment_id") or data["id"]
        context = await asyncio.to_thread(
            workspace_of, studio, caller.person, project_id, experiment_id, weights
        )
        return html("studio/training_workspace.html", {"workspace": context})

    fragments.register("training.list", listing)
    for route in ("create", "get", "update", "duplicate", "train", "stop", "resume", "restart"):
        fragments.register(f"training.{route}", one)
