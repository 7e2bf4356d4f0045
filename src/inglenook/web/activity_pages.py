# SPDX-License-Identifier: Apache-2.0
"""The page about what the machine does, and its stream: only what has changed is told.

devices, residents, queue, recent    HTML of that part
job                                  HTML of one job's row
progress                             {job, percent, line}
wait                                 {job, line, detail}
jobs                                 HTML of the whole list, for a page that comes back
beat                                 nothing; silence means a lost connection
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from inglenook.base.ids import JobId, PersonId, PictureId
from inglenook.door.administrator import is_administrator
from inglenook.door.caller import FromCaller
from inglenook.door.sse import EventStream, ServerEvent
from inglenook.jobs.model import EventType, Job, JobEvent, JobState
from inglenook.web import words
from inglenook.web.activity import GROUPS, KINDS, JobRow, job_row, now_of
from inglenook.web.services import Services
from inglenook.web.templating import HEADERS, html, render

JOBS = 30
LOOK_EVERY_S = 1.0
BEAT_EVERY_S = 12.0
_PARTS = ("devices", "residents", "queue", "recent")
_WAITING_ROOM = 256


class Filter:
    """Which jobs are listed."""

    def __init__(self, sent: QueryParams) -> None:
        self.group = sent.get("group", "") if sent.get("group", "") in GROUPS else ""
        kind = sent.get("kind", "")
        self.kind = kind if kind.isidentifier() and len(kind) <= 32 else ""
        self.states: frozenset[JobState] | None = GROUPS[self.group][1]

    def takes(self, job: Job) -> bool:
        return (not self.kind or job.kind == self.kind) and (self.states is None or job.state in self.states)

    def address(self, **more: str) -> str:
        pairs = {"group": self.group, "kind": self.kind} | more
        said = "&".join(f"{name}={value}" for name, value in pairs.items() if value)
        return f"/activity?{said}" if said else "/activity"


def activity_pages(services: Services) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/activity")
    async def activity(request: Request, caller: FromCaller) -> Response:
        wanted = Filter(request.query_params)
        last = request.query_params.get("last")
        context = await _jobs(services, caller.person, wanted, JobId(last) if last else None)
        now = now_of(services.runtime.snapshot())
        more = {"now": now, "groups": GROUPS, "kinds": KINDS, "may_see_log": is_administrator(request)}
        return html("activity.html", context | more)

    @router.get("/activity/stream")
    async def stream(request: Request, caller: FromCaller) -> Response:
        events = ActivityStream(
            services=services,
            person=caller.person,
            wanted=Filter(request.query_params),
            again=request.query_params.get("again") == "true",
        )
        return EventStream(events.events(), headers={"referrer-policy": HEADERS["referrer-policy"]})

    return router


async def _jobs(services: Services, person: PersonId, wanted: Filter, last: JobId | None) -> dict[str, Any]:
    found = await services.jobs.list(
        person, states=wanted.states, kind=wanted.kind or None, limit=JOBS + 1, before=last
    )
    shown = await rows_of(services, found[:JOBS], person)
    more = wanted.address(last=shown[-1].id) if len(found) > JOBS else None
    return {"wanted": wanted, "jobs": shown, "more": more, "continued": last is not None}


async def rows_of(services: Services, jobs: Sequence[Job], person: PersonId) -> list[JobRow]:
    """A row each, with those of its pictures that were not deleted since."""
    rows = [job_row(job, services.jobs.describe(job)["explanation"]) for job in jobs]
    made = [PictureId(one) for row in rows for one in row.pictures]
    if not made:
        return rows
    kept = await asyncio.to_thread(services.gallery.kept, made, caller=person)
    return [replace(row, pictures=tuple(one for one in row.pictures if one in kept)) for row in rows]


class ActivityStream:
    """The news of one open page."""

    def __init__(self, *, services: Services, person: PersonId, wanted: Filter, again: bool) -> None:
        self._services = services
        self._person = person
        self._wanted = wanted
        self._again = again
        self._out: asyncio.Queue[ServerEvent | None] = asyncio.Queue(_WAITING_ROOM)

    async def events(self) -> AsyncGenerator[ServerEvent, None]:
        """Everything, until the server stops or the reader closes it."""
        producing = asyncio.create_task(self._produce(), name="activity-stream")
        try:
            while (event := await self._out.get()) is not None:
                yield event
            await producing
        finally:
            producing.cancel()
            await asyncio.gather(producing, return_exceptions=True)

    async def _produce(self) -> None:
        """Ends with None in the queue, however it ends."""
        try:
            if self._again:
                context = await _jobs(self._services, self._person, self._wanted, None)
                await self._say("jobs", render("fragments/job_rows.html", **context))
            async with asyncio.TaskGroup() as group:
                looking = group.create_task(self._tell_runtime())
                await self._tell_jobs()
                looking.cancel()
        finally:
            while self._out.full():  # the end must find room; a page that comes back reads anew
                self._out.get_nowait()
            self._out.put_nowait(None)

    async def _tell_runtime(self) -> None:
        loop = asyncio.get_running_loop()
        told, told_s = dict.fromkeys(_PARTS, ""), loop.time()
        while True:
            now = now_of(self._services.runtime.snapshot())
            fresh = {part: render(f"fragments/now_{part}.html", now=now) for part in _PARTS}
            for part in _PARTS:
                if fresh[part] != told[part]:
                    await self._say(part, fresh[part])
                    told_s = loop.time()
            told = fresh
            if loop.time() - told_s >= BEAT_EVERY_S:
                told_s = loop.time()
                await self._say("beat", "")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _tell_jobs(self) -> None:
        async with aclosing(self._services.jobs.subscribe_all(self._person)) as news:
            async for event in news:
                await self._tell_job(event)

    async def _tell_job(self, event: JobEvent) -> None:
        data: Mapping[str, Any] = event.data
        if event.type is EventType.PROGRESS:
            line, percent = words.progress_line(data), words.percent(float(data["progress"]))
            await self._say_json("progress", {"job": event.job, "percent": percent, "line": line})
        elif event.type is EventType.WAIT:
            line, detail = words.wait_line(data), words.wait_detail(data)
            await self._say_json("wait", {"job": event.job, "line": line, "detail": detail})
        else:
            job = await self._services.jobs.get(event.job, self._person)
            if self._wanted.takes(job):
                [row] = await rows_of(self._services, [job], self._person)
                await self._say("job", render("fragments/job_row.html", job=row))
            else:
                await self._say_json("gone", {"job": job.id})

    async def _say(self, event: str, data: str) -> None:
        await self._out.put(ServerEvent(event=event, data=data))

    async def _say_json(self, event: str, data: Any) -> None:
        await self._say(event, json.dumps(data, ensure_ascii=False))
