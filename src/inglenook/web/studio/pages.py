# SPDX-License-Identifier: Apache-2.0
"""All pages of the studio, put together."""

import asyncio

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from inglenook.door.caller import FromCaller
from inglenook.door.fragments import Fragments
from inglenook.door.routes import add_routes
from inglenook.door.services import Gallery, Jobs
from inglenook.studio.studio import WorkingStudio
from inglenook.web.studio.dataset_pages import dataset_pages
from inglenook.web.studio.evaluation_pages import evaluation_pages
from inglenook.web.studio.export_pages import export_pages
from inglenook.web.studio.frame import frame_of
from inglenook.web.studio.project_pages import project_pages
from inglenook.web.studio.split_pages import split_pages
from inglenook.web.studio.training_pages import training_pages
from inglenook.web.templating import HEADERS
from inglenook.wire.studio.weights import WeightsHere


def studio_pages(
    studio: WorkingStudio, *, jobs: Jobs, gallery: Gallery, fragments: Fragments, weights: WeightsHere
) -> APIRouter:
    """`fragments`: where the pages put the pieces that the API answers with when HTMX asks.
    `weights`: tells which trained ones are here.
    """
    router = APIRouter(include_in_schema=False)
    add_routes(
        router,
        project_pages(studio, fragments),
        _entrance(studio),
        dataset_pages(studio, jobs=jobs, gallery=gallery, fragments=fragments),
        split_pages(studio, fragments),
        training_pages(studio, fragments, weights),
        evaluation_pages(studio, fragments),
        export_pages(studio, fragments),
    )
    return router


def _entrance(studio: WorkingStudio) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/projects/{project_id}")
    async def project(request: Request, caller: FromCaller, project_id: str) -> Response:  # noqa: ARG001
        found = await asyncio.to_thread(frame_of, studio, caller.person, project_id)
        return RedirectResponse(f"{found.place}/dataset", status_code=303, headers=HEADERS)

    return router
