# SPDX-License-Identifier: Apache-2.0
"""GET /v1/jobs and what can be done with one."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.errors import SSE_SCHEMA, answer, errors, json_response
from inglenook.api.studio.pages import MAX_PAGE, is_id, page
from inglenook.base.errors import NotFound
from inglenook.base.ids import JobId
from inglenook.door.caller import FromCaller, caller
from inglenook.door.problem import shown
from inglenook.door.services import Jobs
from inglenook.door.sse import EventStream, ServerEvent, last_event_id
from inglenook.jobs.model import JobEvent, JobState

_JOB: dict[str, Any] = {
    "type": "object",
    "required": [
        "id",
        "kind",
        "state",
        "progress",
        "created_at",
        "result",
        "error",
        "receipt",
        "explanation",
    ],
    "properties": {
        "id": {"type": "string"},
        "kind": {"type": "string"},
        "state": {"type": "string", "enum": [state.value for state in JobState]},
        "work_class": {"type": "string"},
        "progress": {"type": "number", "minimum": 0, "maximum": 1},
        "stage": {"type": ["string", "null"]},
        "estimate_s": {"type": ["number", "null"]},
        "created_at": {"type": "string", "format": "date-time"},
        "started_at": {"type": ["string", "null"]},
        "finished_at": {"type": ["string", "null"]},
        "result": {"type": "object"},
        "error": {"type": ["object", "null"]},
        "receipt": {"type": ["object", "null"]},
        "explanation": {"type": ["object", "null"]},
    },
}
_JOBS = {
    "type": "object",
    "properties": {"data": {"type": "array", "items": _JOB}, "has_more": {"type": "boolean"}},
}

_LAST_EVENT_ID = [
    {
        "name": name,
        "in": where,
        "required": False,
        "schema": {"type": "integer", "minimum": 0},
        "description": "number of the last event that was read; without it, the job as it is comes first",
    }
    for name, where in (("Last-Event-ID", "header"), ("last_event_id", "query"))
]


def jobs_router(*, jobs: Jobs) -> APIRouter:
    router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(caller)])

    @router.get(
        "",
        summary="The caller's jobs, newest first",
        responses={200: answer("A page.", _JOBS), **errors(400, 404)},
    )
    async def listing(
        who: FromCaller,
        state: Annotated[list[JobState] | None, Query(description="only in these states")] = None,
        kind: Annotated[str | None, Query(max_length=64, pattern=r"^[a-z_]+$")] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
        before: Annotated[str | None, Query(description="id of the last job of the page before")] = None,
    ) -> Response:
        start = None if before is None else _job_id(before)
        found = await jobs.list(who.person, states=state, kind=kind, limit=limit + 1, before=start)
        return json_response(page([jobs.describe(job) for job in found], limit))

    @router.get("/{job_id}", summary="One job", responses={200: answer("The job.", _JOB), **errors(400, 404)})
    async def one(who: FromCaller, job_id: str) -> Response:
        return json_response(jobs.describe(await jobs.get(_job_id(job_id), who.person)))

    @router.get(
        "/{job_id}/events",
        summary="A job's news as it happens (server-sent events)",
        description="Goes on after the event that was read last; ends with the job.",
        openapi_extra={"parameters": _LAST_EVENT_ID},
        responses={
            200: {"description": "Events.", "content": {"text/event-stream": {"schema": SSE_SCHEMA}}},
            **errors(400, 404),
        },
    )
    async def events(who: FromCaller, job_id: str, request: Request) -> Response:
        after = last_event_id(request)
        job = await jobs.get(_job_id(job_id), who.person)
        return EventStream(_as_sent(jobs.subscribe(job.id, after)))

    @router.post(
        "/{job_id}/cancel",
        summary="Stop a job; the answer holds the receipt",
        responses={200: answer("The job as it is now.", _JOB), **errors(400, 404, 409)},
    )
    async def cancel(who: FromCaller, job_id: str) -> Response:
        return json_response(jobs.describe(await jobs.cancel(_job_id(job_id), caller=who.person)))

    @router.post(
        "/{job_id}/retry",
        summary="Do a job again that did not succeed",
        responses={200: answer("The job that does it.", _JOB), **errors(400, 404, 409, 429, 503)},
    )
    async def retry(who: FromCaller, job_id: str) -> Response:
        again = await jobs.retry(_job_id(job_id), caller=who.person)
        return json_response(jobs.describe(again), headers={"location": f"/v1/jobs/{again.id}"})

    return router


def _job_id(text: str) -> JobId:
    """Raises NotFound for what cannot be the id of a job."""
    if not is_id("job", text):
        raise NotFound(f"There is no job {shown(text)}.", code="job.not_found")
    return JobId(text)


async def _as_sent(events: AsyncGenerator[JobEvent, None]) -> AsyncGenerator[ServerEvent, None]:
    async with aclosing(events):
        async for event in events:
            data = msgspec.json.encode(event.data).decode()
            yield ServerEvent(data=data, event=event.type.value, id=str(event.seq))
