# SPDX-License-Identifier: Apache-2.0
"""All news for one open page in one stream: cards, progress, previews, new pictures, the fire.

    card      HTML of a whole card, when something about the job changed
    wait      {job, line, detail}: why it waits now
    progress  {job, percent, line}
    preview   {job, picture, media_type, b64}
    made      HTML of a tile
    fire      HTML of the panel
    model     {model id: {html: the line below the picker, option: its line in the picker}}
    beat      nothing; the page takes silence for a lost connection

It begins with what the page may have missed since it was made, so a reader that comes back needs no past.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from inglenook.base.errors import NotFound
from inglenook.base.ids import JobId, PersonId, PictureId
from inglenook.door.sse import ServerEvent
from inglenook.jobs.model import FINAL, EventType, Job, JobEvent, JobState
from inglenook.web import words
from inglenook.web.contexts import Contexts
from inglenook.web.services import IMAGE_KIND, Services
from inglenook.web.templating import render

FIRE_EVERY_S = 1.5
BEAT_EVERY_S = 12.0
_WAITING_ROOM = 64
"""Events that may lie unread; whoever would add one more waits, and the jobs' own streams forget for it."""
_LOOK_BACK = 64
"""How many events before now are looked through for the latest preview."""


class PageStream:
    """The news of one connection.

    Args:
        csrf: the browser's token, for the forms on the cards.
        watched: jobs that the page shows as unfinished.
        newest: id of the newest picture that the page shows, "" for none.
    """

    def __init__(
        self,
        *,
        services: Services,
        contexts: Contexts,
        person: PersonId,
        csrf: str,
        watched: Sequence[JobId],
        newest: str,
    ) -> None:
        self._services = services
        self._contexts = contexts
        self._person = person
        self._csrf = csrf
        self._watched = watched
        self._newest = newest
        self._out: asyncio.Queue[ServerEvent | None] = asyncio.Queue(_WAITING_ROOM)
        self._followed: set[JobId] = set()
        self._notices: dict[JobId, list[str]] = {}

    async def events(self) -> AsyncGenerator[ServerEvent, None]:
        """Everything, until the server stops or the reader closes it."""
        producing = asyncio.create_task(self._produce(), name="page-stream")
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
            await self._catch_up()
            async with asyncio.TaskGroup() as group:
                fire = group.create_task(self._tell_fire())
                await self._follow_all(group)
                fire.cancel()
        finally:
            while self._out.full():  # the end must find room; a page that comes back reads anew
                self._out.get_nowait()
            self._out.put_nowait(None)

    # -- what the page may have missed -------------------------------------------------------------------

    async def _catch_up(self) -> None:
        for job_id in self._watched:
            try:
                job = await self._services.jobs.get(job_id, self._person)
            except NotFound:
                continue
            if job.is_final:
                await self._card(job)
        for view in await self._contexts.newer_tiles(self._person, self._newest):
            await self._say("made", render("fragments/tile.html", picture=view))

    # -- jobs --------------------------------------------------------------------------------------------

    async def _follow_all(self, group: asyncio.TaskGroup) -> None:
        """Learn of every job of the person; each unfinished one is then followed by itself."""
        async with aclosing(self._services.jobs.subscribe_all(self._person)) as news:
            async for event in news:
                if event.type is not EventType.STATE or event.data["kind"] != IMAGE_KIND:
                    continue
                if event.job in self._followed:
                    continue
                if JobState(event.data["state"]) in FINAL:
                    await self._card(await self._services.jobs.get(event.job, self._person))
                    continue
                self._followed.add(event.job)
                group.create_task(self._follow(event.job))

    async def _follow(self, job_id: JobId) -> None:
        """From the job as it is now until its end; of what went before only the latest preview is told."""
        job = await self._services.jobs.get(job_id, self._person)
        await self._card(job)
        try:
            async with aclosing(
                self._services.jobs.subscribe(job_id, max(0, job.event_seq - _LOOK_BACK))
            ) as news:
                async for event in news:
                    if event.seq > job.event_seq or event.type is EventType.PREVIEW:
                        await self._tell(event)
        finally:
            self._followed.discard(job_id)
            self._notices.pop(job_id, None)

    async def _tell(self, event: JobEvent) -> None:
        job, data = event.job, event.data
        if event.type is EventType.PROGRESS:
            line, percent = words.progress_line(data), words.percent(float(data["progress"]))
            await self._say_json("progress", {"job": job, "percent": percent, "line": line})
        elif event.type is EventType.PREVIEW:
            shown = {key: data[key] for key in ("picture", "media_type", "b64")}
            await self._say_json("preview", {"job": job, **shown})
        elif event.type is EventType.WAIT:
            line, detail = words.wait_line(data), words.wait_detail(data)
            await self._say_json("wait", {"job": job, "line": line, "detail": detail})
        else:
            await self._tell_change(event)

    async def _tell_change(self, event: JobEvent) -> None:
        if event.type is EventType.NOTICE:
            self._notices.setdefault(event.job, []).append(str(event.data["text"]))
        if event.type is EventType.RESULT:
            tile = await self._contexts.tile_html(PictureId(event.data["picture_id"]), self._person)
            if tile is not None:
                await self._say("made", tile)
        await self._card(await self._services.jobs.get(event.job, self._person))

    async def _card(self, job: Job) -> None:
        notices = self._notices.get(job.id, ())
        await self._say(
            "card", await self._contexts.card_html(job, self._person, csrf=self._csrf, notices=notices)
        )

    # -- the fire ----------------------------------------------------------------------------------------

    async def _tell_fire(self) -> None:
        """The panel and the models' states whenever they change; a beat when there was nothing for long."""
        records = (
            await self._contexts.asking.models()
        )  # once: a model that is added later waits for the next visit
        loop = asyncio.get_running_loop()
        fire, told_s = "", loop.time()
        states: dict[str, dict[str, str]] = {}
        while True:
            fresh, fresh_states = self._contexts.fire_html(), self._contexts.asking.model_states(records)
            if fresh != fire:
                await self._say("fire", fresh)
            if fresh_states != states:
                await self._say_json("model", fresh_states)
            if (fresh, fresh_states) != (fire, states):
                fire, states, told_s = fresh, fresh_states, loop.time()
            elif loop.time() - told_s >= BEAT_EVERY_S:
                told_s = loop.time()
                await self._say("beat", "")
            await asyncio.sleep(FIRE_EVERY_S)

    async def _say(self, event: str, data: str) -> None:
        await self._out.put(ServerEvent(event=event, data=data))

    async def _say_json(self, event: str, data: Any) -> None:
        await self._say(event, json.dumps(data, ensure_ascii=False))
