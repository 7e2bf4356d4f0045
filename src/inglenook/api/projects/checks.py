# SPDX-License-Identifier: Apache-2.0
"""/api/datasets/…/checks: what is wrong with a data set, as pictures to act on.

What can be done with them are the data set's own routes: remove, relabel, tag.
"""

import asyncio
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.errors import json_response
from inglenook.api.projects.envelope import REFUSALS, EnvelopeRoute, answer, parsed
from inglenook.api.projects.imports import require_succeeded
from inglenook.base.work import WorkClass
from inglenook.door.caller import FromCaller, caller
from inglenook.jobs.service import JobsService
from inglenook.studio.checks.model import KIND, CheckOrder, CheckRules
from inglenook.studio.checks.service import ItemPage, Overview
from inglenook.studio.datasets.model import ImageRecord
from inglenook.studio.studio import Studio
from inglenook.vision.annotations import primary_class

Name = Annotated[str | None, Query(max_length=200)]


class CheckBody(CheckRules, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rules as somebody sends them."""


def checks_router(studio: Studio, *, jobs: JobsService) -> APIRouter:
    router = APIRouter(
        prefix="/api/datasets/{project_id}/checks",
        tags=["data sets"],
        dependencies=[Depends(caller)],
        route_class=EnvelopeRoute,
        responses=REFUSALS,
    )
    checks = studio.checks

    @router.get("", summary="What the last check has found; with `split_name`, also what it leaks")
    async def overview(
        request: Request, who: FromCaller, project_id: str, split_name: Name = None
    ) -> Response:
        def read() -> dict[str, Any]:
            studio.projects.require(who.person, project_id, write=False)
            return _overview(checks.overview(project_id, split_name or None))

        return await answer(request, who, "checks.get", await asyncio.to_thread(read))

    @router.post("", summary="Check the data set; a job")
    async def check(request: Request, who: FromCaller, project_id: str, wait: bool = False) -> Response:
        rules = await parsed(request, CheckBody)
        await asyncio.to_thread(studio.projects.require, who.person, project_id, write=False)
        await asyncio.to_thread(studio.datasets.head, project_id)  # without pictures there is nothing to do
        order = CheckOrder(project=project_id, person=str(who.person), rules=rules)
        job = await jobs.submit(
            kind=KIND,
            owner=who.person,
            work_class=WorkClass.INTERACTIVE,
            title="Check a data set",
            payload=msgspec.to_builtins(order),
        )
        if not wait:
            return json_response({"status": "ok", "data": jobs.describe(job)}, status_code=202)
        require_succeeded(await jobs.wait(job.id))
        found = await asyncio.to_thread(checks.overview, project_id, None)
        return await answer(request, who, "checks.get", _overview(found))

    @router.get("/{kind}", summary="A page of one finding: groups of pictures, with what can be done")
    async def items(
        request: Request,
        who: FromCaller,
        project_id: str,
        kind: str,
        source: Name = None,
        split_name: Name = None,
        page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
        page_size: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> Response:
        def read() -> dict[str, Any]:
            studio.projects.require(who.person, project_id, write=False)
            found = checks.items(
                project_id,
                kind,
                source=source or None,
                split=split_name or None,
                page=page,
                page_size=page_size,
            )
            return _items(found, page, page_size)

        return await answer(request, who, "checks.items", await asyncio.to_thread(read))

    return router


def _overview(found: Overview) -> dict[str, Any]:
    checked = found.checked
    return {
        "current_version": found.current,
        "checked_version": None if checked is None else checked.dataset_version,
        "checked_at": None if checked is None else checked.created_at,
        "stale": found.stale,
        "rules": None if checked is None else msgspec.to_builtins(checked.rules),
        "findings": [
            {
                "kind": one.kind,
                "source": one.source,
                "severity": one.severity,
                "title": one.title,
                "help": one.help,
                "pictures": one.pictures,
                "items": len(one.items),
                "actions": list(one.actions),
                "examples": [item.why for item in one.items[:3]],
            }
            for one in found.findings
        ],
    }


def _items(found: ItemPage, page: int, page_size: int) -> dict[str, Any]:
    return {
        "kind": found.finding.kind,
        "source": found.finding.source,
        "title": found.finding.title,
        "actions": list(found.finding.actions),
        "page": page,
        "page_size": page_size,
        "total_items": found.total,
        "total_pages": -(-found.total // page_size),
        "items": [
            {
                "why": item.why,
                "classes": list(item.classes),
                "keep": item.keep,
                "gone": len(item.ids) - len(records),
                "images": [_image(record) for record in records],
            }
            for item, records in found.items
        ],
    }


def _image(record: ImageRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "filename": record.filename,
        "width": record.width,
        "height": record.height,
        "class_name": primary_class(record.annotations),
        "tags": list(record.tags),
    }
