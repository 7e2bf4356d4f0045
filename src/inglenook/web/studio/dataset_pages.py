# SPDX-License-Identifier: Apache-2.0
"""The data of a project: bring pictures in, look at them, give them classes, mend what is wrong with them.

A page reads through the services; what changes something goes through the API, which the pages' scripts call.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from inglenook.base.ids import PersonId
from inglenook.door.caller import Caller, FromCaller
from inglenook.door.fragments import Fragments
from inglenook.door.services import Gallery, Jobs
from inglenook.jobs.model import FINAL, JobState
from inglenook.studio.checks.model import KIND as CHECK
from inglenook.studio.errors import DatasetNotImported
from inglenook.studio.imports.model import KIND as IMPORT
from inglenook.studio.studio import Studio
from inglenook.studio.tasks.registry import require_task
from inglenook.studio.training.model import Status
from inglenook.web.studio import dataset_room as room
from inglenook.web.studio.frame import Frame, frame_of, studio_page
from inglenook.web.studio.query import DataQuery
from inglenook.web.templating import HEADERS, html, is_htmx

_UNFINISHED: Final = frozenset(JobState) - FINAL
_JOBS: Final = 50
_MOST_PAGES: Final = 1_000_000
VERSIONS: Final = 100
"""Rows of versions on a page."""
Reader = Callable[[Frame], dict[str, Any]]


def dataset_pages(studio: Studio, *, jobs: Jobs, gallery: Gallery, fragments: Fragments) -> APIRouter:
    router = APIRouter(prefix="/projects/{project_id}/dataset", include_in_schema=False)
    pages = _Pages(studio, jobs, gallery)
    _register(studio, fragments)
    _looking(router, pages)
    _bringing(router, pages)
    _mending(router, pages)
    return router


class _Pages:
    """How a page of a project is made: its frame and what it shows are read in one thread."""

    def __init__(self, studio: Studio, jobs: Jobs, gallery: Gallery) -> None:
        self.studio = studio
        self._jobs = jobs
        self._gallery = gallery

    async def page(
        self, request: Request, caller: Caller, project_id: str, template: str, read: Reader
    ) -> Response:
        """The page; without a data set, the way to the place where pictures come in."""
        try:
            context = await asyncio.to_thread(self._read, caller.person, project_id, read)
        except DatasetNotImported:
            return RedirectResponse(f"/projects/{project_id}/dataset", status_code=303, headers=HEADERS)
        return studio_page(request, f"studio/{template}", context)

    async def part(self, caller: Caller, project_id: str, template: str, read: Reader) -> Response:
        """A piece of a page."""
        return html(
            f"studio/{template}", await asyncio.to_thread(self._read, caller.person, project_id, read)
        )

    def _read(self, person: PersonId, project_id: str, read: Reader) -> dict[str, Any]:
        project = frame_of(self.studio, person, project_id)
        return {"project": project, **read(project)}

    async def running(self, caller: Caller, project_id: str, kind: str) -> str:
        """The caller's newest unfinished job of that kind about this project; empty without one."""
        found = await self._jobs.list(caller.person, states=_UNFINISHED, kind=kind, limit=_JOBS)
        return next((str(job.id) for job in found if job.payload.get("project") == project_id), "")

    def importing(self, caller: Caller, project: Frame, job: str) -> dict[str, Any]:
        """What the ways to bring pictures in need. `job`: of an import that runs. Blocks."""
        imports = self.studio.imports
        return {
            "job": job,
            "formats": room.format_choices(project.task_name),
            "roots": [str(folder) for folder in imports.roots.folders],
            "max_bytes": imports.max_upload_bytes,
            "gallery_tags": [name for name, _ in self._gallery.tags(caller.person)],
            "there": self.studio.datasets.size(project.id),
            "known_classes": list(_classes(self.studio, project.id)),
        }


def _looking(router: APIRouter, pages: _Pages) -> None:
    studio = pages.studio

    @router.get("")
    async def dataset(request: Request, caller: FromCaller, project_id: str) -> Response:
        query = DataQuery.of(f"/projects/{project_id}/dataset", request.query_params)
        after = request.query_params.get("after") or None
        if after is not None and is_htmx(request):
            return await pages.part(
                caller,
                project_id,
                "image_list.html",
                lambda _: room.page_after(studio, project_id, query, after),
            )
        job = await pages.running(caller, project_id, IMPORT)

        def read(project: Frame) -> dict[str, Any]:
            summary = room.summary_of(studio, project_id)
            if summary is None:
                return {"summary": None, **pages.importing(caller, project, job)}
            return {"summary": summary, "job": job, **room.listing(studio, project_id, query, after)}

        return await pages.page(request, caller, project_id, "dataset.html", read)

    @router.get("/view/{image}")
    async def view(caller: FromCaller, project_id: str, image: str) -> Response:
        return await pages.part(
            caller, project_id, "image_view.html", lambda _: room.image_view(studio, project_id, image)
        )

    @router.get("/label")
    async def label(request: Request, caller: FromCaller, project_id: str) -> Response:
        everything = request.query_params.get("all") == "true"
        return await pages.page(
            request,
            caller,
            project_id,
            "label.html",
            lambda _: {**room.labelling(studio, project_id), "everything": everything},
        )

    @router.get("/map")
    async def picture_map(request: Request, caller: FromCaller, project_id: str) -> Response:
        def read(project: Frame) -> dict[str, Any]:
            found = reversed(studio.experiments.list(caller.person, project_id))
            return {
                "classes": list(studio.datasets.head(project_id).classes),
                "experiments": [(it.id, it.name) for it in found if it.status == Status.COMPLETED],
                "backbones": [(it.name, it.title) for it in require_task(project.task_name).backbones],
            }

        return await pages.page(request, caller, project_id, "map.html", read)


def _bringing(router: APIRouter, pages: _Pages) -> None:
    @router.get("/import")
    async def bring(request: Request, caller: FromCaller, project_id: str) -> Response:
        job = await pages.running(caller, project_id, IMPORT)
        return await pages.page(
            request, caller, project_id, "import.html", lambda project: pages.importing(caller, project, job)
        )


def _classes(studio: Studio, project_id: str) -> tuple[str, ...]:
    try:
        return studio.datasets.head(project_id).classes
    except DatasetNotImported:
        return ()


def _mending(router: APIRouter, pages: _Pages) -> None:
    studio = pages.studio

    @router.get("/classes")
    async def classes(request: Request, caller: FromCaller, project_id: str) -> Response:
        def read(_: Frame) -> dict[str, Any]:
            studio.datasets.head(project_id)
            return {"summary": room.summary_of(studio, project_id)}

        return await pages.page(request, caller, project_id, "classes.html", read)

    @router.get("/versions")
    async def versions(
        request: Request,
        caller: FromCaller,
        project_id: str,
        page: Annotated[int, Query(ge=1, le=10_000_000)] = 1,
    ) -> Response:
        def read(_: Frame) -> dict[str, Any]:
            rows = room.version_rows(studio.datasets.versions(project_id))
            some = rows[(page - 1) * VERSIONS : page * VERSIONS]
            return {"rows": some, "page": page, "more": len(rows) > page * VERSIONS}

        return await pages.page(request, caller, project_id, "versions.html", read)

    @router.get("/checks")
    async def checks(request: Request, caller: FromCaller, project_id: str) -> Response:
        split = request.query_params.get("split_name") or None
        job = await pages.running(caller, project_id, CHECK)
        return await pages.page(
            request,
            caller,
            project_id,
            "checks.html",
            lambda _: {**room.overview(studio, project_id, split), "job": job},
        )

    @router.get("/checks/{kind}")
    async def finding(request: Request, caller: FromCaller, project_id: str, kind: str) -> Response:
        asked = request.query_params
        source, split = asked.get("source") or None, asked.get("split_name") or None
        page = _page_number(asked.get("page", ""))

        def read(_: Frame) -> dict[str, Any]:
            found = room.items(studio, project_id, kind, source=source, split=split, page=page)
            return {**found, "split_name": split or "", "classes": list(_classes(studio, project_id))}

        if not is_htmx(request):
            return await pages.page(request, caller, project_id, "finding.html", read)
        return await pages.part(caller, project_id, "finding_items.html", read)


def _page_number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text[:9]) < _MOST_PAGES else 1


# -- pieces for the API ----------------------------------------------------------------------------------


def _register(studio: Studio, fragments: Fragments) -> None:
    async def summary(request: Request, caller: Caller, data: Mapping[str, Any]) -> Response:  # noqa: ARG001
        project_id = request.path_params["project_id"]
        found = await asyncio.to_thread(room.summary_of, studio, project_id)
        return html("studio/dataset_summary.html", {"summary": found, "project_id": project_id})

    async def images(request: Request, caller: Caller, data: Mapping[str, Any]) -> Response:  # noqa: ARG001
        tiles = room.tiles_of_items(request.path_params["project_id"], data["items"])
        return html("studio/image_list.html", {"tiles": tiles, "more": None})

    async def info(request: Request, caller: Caller, data: Mapping[str, Any]) -> Response:
        project_id, image = request.path_params["project_id"], data["image"]["id"]

        def read() -> dict[str, Any]:
            project = frame_of(studio, caller.person, project_id)
            return {"project": project, **room.image_view(studio, project_id, image)}

        return html("studio/image_view.html", await asyncio.to_thread(read))

    fragments.register("datasets.get", summary)
    fragments.register("datasets.images", images)
    fragments.register("datasets.info", info)
