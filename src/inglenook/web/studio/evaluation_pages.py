# SPDX-License-Identifier: Apache-2.0
"""Evaluation: what a checkpoint is worth, in figures and picture by picture."""

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from inglenook.base.ids import PersonId
from inglenook.door.caller import Caller, FromCaller
from inglenook.door.fragments import Fragments
from inglenook.studio.studio import WorkingStudio
from inglenook.web.studio.evaluations import chosen_of, list_of, report_of
from inglenook.web.studio.frame import frame_of, studio_page
from inglenook.web.templating import html


def evaluation_pages(studio: WorkingStudio, fragments: Fragments) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/projects/{project_id}/evaluation")
    async def evaluation(
        request: Request,
        caller: FromCaller,
        project_id: str,
        experiment_id: str | None = None,
        evaluation: str | None = None,
    ) -> Response:
        context = await asyncio.to_thread(
            _page, studio, caller.person, project_id, experiment_id, evaluation or None
        )
        return studio_page(request, "studio/evaluation.html", context)

    async def report(request: Request, caller: Caller, data: Mapping[str, Any]) -> Response:
        place = request.path_params
        record = data.get("evaluation")
        context = await asyncio.to_thread(
            report_of,
            studio,
            caller.person,
            place["project_id"],
            place["experiment_id"],
            None if record is None else record["id"],
        )
        return html("studio/evaluation_report.html", {"report": context})

    for route in ("evaluation.get", "evaluation.create"):
        fragments.register(route, report)
    return router


def _page(
    studio: WorkingStudio,
    person: PersonId,
    project_id: str,
    experiment_id: str | None,
    evaluation: str | None,
) -> dict[str, Any]:
    """Raises ProjectNotFound, ExperimentNotFound, EvaluationNotFound, CorruptDocument."""
    return {
        "project": frame_of(studio, person, project_id),
        **list_of(studio, person, project_id),
        "chosen": experiment_id,
        "subject": None
        if experiment_id is None
        else chosen_of(studio, person, project_id, experiment_id, evaluation),
    }
