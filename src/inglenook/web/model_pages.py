# SPDX-License-Identifier: Apache-2.0
"""The room of the models: all of them with how they stand, one with its options, and what changes."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from inglenook.base.errors import Conflict, InglenookError, Invalid
from inglenook.base.ids import ModelId, PersonId
from inglenook.catalog.model import ModelKind, ModelRecord
from inglenook.door.administrator import administrator
from inglenook.door.caller import FromCaller
from inglenook.door.problem import problem_of
from inglenook.door.services import Catalog, Language, Runtime
from inglenook.door.sse import EventStream, ServerEvent
from inglenook.web import csrf
from inglenook.web.activity import now_of
from inglenook.web.model_rows import LOADABLE, ModelRow, grouped, row_of
from inglenook.web.option_fields import option_fields, typed, written
from inglenook.web.sending import read_form
from inglenook.web.templating import HEADERS, html, is_htmx, render

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
LIST_EVERY_S = 5.0
BEAT_EVERY_S = 12.0
UNPROCESSABLE = 422

Load = Callable[[ModelRecord, PersonId], Awaitable[object]]
"""Loads a model that nobody asks anything yet; returns when it is ready."""
ACTS = ("load", "unload", "pin", "unpin")


def model_pages(
    *, catalog: Catalog, runtime: Runtime, language: Language, loads: Mapping[ModelKind, Load]
) -> APIRouter:
    """`loads`: by the kind of model; of a kind without one nothing is loaded by hand."""
    room = ModelRoom(catalog, runtime, language, loads)
    router = APIRouter(prefix="/models", include_in_schema=False, dependencies=[Depends(administrator)])

    @router.get("")
    async def models(request: Request, caller: FromCaller) -> Response:  # noqa: ARG001 - closed like every route
        token = csrf.token_for(request)
        context = {"groups": grouped(await room.rows()), "csrf": token, "asked": request.query_params}
        return _with_cookie(request, html("models.html", context), token)

    @router.get("/stream")
    async def stream(request: Request, caller: FromCaller) -> Response:  # noqa: ARG001
        events = room.events(csrf.token_for(request))
        return EventStream(events, headers={"referrer-policy": HEADERS["referrer-policy"]})

    @router.post("/act")
    async def act(request: Request, caller: FromCaller) -> Response:
        sent = await read_form(request)
        csrf.check(request, sent.texts)
        record = await room.get(sent.texts.get("model", ""))
        await room.act(record, sent.texts.get("act", ""), caller.person)
        if is_htmx(request):
            row = room.row(record)
            return html("fragments/model_row.html", {"row": row, "csrf": sent.texts["csrf"]})
        return _see((sent.texts.get("back") == "one" and f"/models/{quote(record.id)}") or "/models")

    @router.post("/options/{model_id:path}")
    async def set_options(model_id: str, request: Request, caller: FromCaller) -> Response:
        sent = await read_form(request)
        csrf.check(request, sent.texts)
        record = await room.get(model_id)
        try:
            if sent.texts.get("reset") == "yes":
                await language.reset_options(record, person=caller.person)
            else:
                await language.set_options(record, typed(record, sent.texts), person=caller.person)
        except Invalid as error:
            problem = problem_of(error)
            errors = {error.field or "": f"{error.message} {error.hint or ''}".strip()}
            context = await room.one(record, sent.texts, errors)
            context |= {"csrf": sent.texts["csrf"], "problem": problem, "saved": False}
            return html("model.html", context, status=UNPROCESSABLE)
        return _see(f"/models/{quote(record.id)}?saved=true#options")

    @router.get("/{model_id:path}")
    async def one(model_id: str, request: Request, caller: FromCaller) -> Response:  # noqa: ARG001
        token = csrf.token_for(request)
        record = await room.get(model_id)
        context = await room.one(record, written(language.options(record.id).options), {})
        context |= {"csrf": token, "problem": None, "saved": request.query_params.get("saved") == "true"}
        return _with_cookie(request, html("model.html", context), token)

    return router


class ModelRoom:
    def __init__(
        self, catalog: Catalog, runtime: Runtime, language: Language, loads: Mapping[ModelKind, Load]
    ) -> None:
        self._catalog = catalog
        self._runtime = runtime
        self._language = language
        self._loads = loads
        self._loading: set[asyncio.Task[object]] = set()

    async def get(self, model: str) -> ModelRecord:
        return await run_in_threadpool(self._catalog.get, ModelId(model))

    def row(self, record: ModelRecord) -> ModelRow:
        language = self._language
        counters = language.counters().get(record.id)
        return row_of(record, language.state(record), counters, sees=language.sees(record))

    async def rows(self) -> list[tuple[ModelRecord, ModelRow]]:
        records = await run_in_threadpool(self._catalog.list)
        return [(record, self.row(record)) for record in records]

    async def one(
        self, record: ModelRecord, values: Mapping[str, str], errors: Mapping[str, str]
    ) -> dict[str, Any]:
        """What the page of one model shows."""
        records = await run_in_threadpool(self._catalog.list)
        now = now_of(self._runtime.snapshot())
        kept = self._language.options(record.id)
        return {
            "row": self.row(record),
            "record": record,
            "state": self._language.state(record),
            "counters": self._language.counters().get(record.id),
            "residents": [one for one in now.residents if one.model == record.id],
            "topics": option_fields(record, values, records, errors) if record.kind in LOADABLE else [],
            "kept": kept,
        }

    async def act(self, record: ModelRecord, what: str, person: PersonId) -> None:
        """Raises `Invalid` for what cannot be done with it."""
        if what == "load" and record.kind in self._loads:
            self._begin(self._loads[record.kind](record, person), record)
            await asyncio.sleep(0)  # the wish has reached the queue when the answer tells how it stands
        elif what == "unload" and record.kind in LOADABLE:
            try:
                await self._language.unload(record)
            except Conflict as error:  # it has gone meanwhile, which is what was wished
                log.debug("%s", error.message)
        elif what in ("pin", "unpin") and record.kind in LOADABLE:
            await self._language.pin(record, what == "pin", person=person)
        else:
            raise Invalid(
                f"{what[:40]!r} cannot be done with {record.id}.",
                hint=f"one of {', '.join(ACTS)}",
                field="act",
            )

    def _begin(self, loading: Awaitable[object], record: ModelRecord) -> None:
        """A page does not wait for it: the stream tells how it goes."""
        task = asyncio.ensure_future(loading)
        self._loading.add(task)

        def over(done: "asyncio.Future[object]") -> None:
            self._loading.discard(task)
            if done.cancelled():
                return
            error = done.exception()
            if isinstance(error, InglenookError):
                log.warning("%s was not loaded: %s", record.id, error.message)
            elif error is not None:
                log.error("loading %s failed", record.id, exc_info=error)

        task.add_done_callback(over)

    async def events(self, token: str) -> AsyncGenerator[ServerEvent, None]:
        """`row`: one model's row, when it has changed; `rows`: all of them, when there are others; `beat`."""
        loop = asyncio.get_running_loop()
        records: list[ModelRecord] = []
        told: dict[ModelId, str] = {}
        listed_s, told_s = float("-inf"), loop.time()
        while True:
            if loop.time() - listed_s >= LIST_EVERY_S:
                records, listed_s = await run_in_threadpool(self._catalog.list), loop.time()
            fresh: dict[ModelId, str] = {}
            for record in records:
                fresh[record.id] = render("fragments/model_row.html", row=self.row(record), csrf=token)
            if told and fresh.keys() != told.keys():
                groups = grouped([(record, self.row(record)) for record in records])
                yield ServerEvent(
                    event="rows", data=render("fragments/model_groups.html", groups=groups, csrf=token)
                )
                told_s = loop.time()
            elif changed := [html for model, html in fresh.items() if told.get(model, html) != html]:
                for part in changed:
                    yield ServerEvent(event="row", data=part)
                told_s = loop.time()
            elif loop.time() - told_s >= BEAT_EVERY_S:
                yield ServerEvent(event="beat", data="")
                told_s = loop.time()
            told = fresh
            await asyncio.sleep(LOOK_EVERY_S)


def _see(place: str) -> Response:
    return RedirectResponse(place, status_code=303, headers=HEADERS)


def _with_cookie(request: Request, response: Response, token: str) -> Response:
    csrf.keep(response, token, secure=request.url.scheme == "https")
    return response
