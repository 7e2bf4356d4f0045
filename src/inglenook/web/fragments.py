# SPDX-License-Identifier: Apache-2.0
"""Parts of the page, for the scripts on it."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from inglenook.base.ids import JobId, PictureId
from inglenook.door.caller import FromCaller
from inglenook.door.sse import EventStream
from inglenook.web import csrf, form
from inglenook.web.asking import input_view, offered_variation
from inglenook.web.contexts import Contexts
from inglenook.web.form import Problems
from inglenook.web.sending import read_form
from inglenook.web.services import Services
from inglenook.web.stream import PageStream
from inglenook.web.templating import HEADERS, html

MAX_WATCHED = 200


def fragment_routes(services: Services, contexts: Contexts) -> APIRouter:
    router = APIRouter(prefix="/fragments", include_in_schema=False)

    @router.get("/form")
    async def refill(request: Request, caller: FromCaller) -> Response:
        """The form, filled with what made a picture, or with what a job was asked for."""
        asked = request.query_params
        values = await contexts.asking.wanted(asked, caller.person)
        context = await contexts.asking.form(
            values, Problems(), csrf=csrf.token_for(request), vary=offered_variation(asked)
        )
        return html("fragments/form.html", context)

    @router.post("/parameters")
    async def parameters(request: Request, caller: FromCaller) -> Response:  # noqa: ARG001 - closed like every route
        """The fields as another model has them; what was typed stays."""
        sent = await read_form(request)
        csrf.check(request, sent.texts)
        values = form.typed(sent.pairs)
        context = await contexts.asking.form(values, Problems(), csrf=sent.texts["csrf"], refit=True)
        return html("fragments/parameters_answer.html", context)

    @router.get("/history")
    async def history(caller: FromCaller) -> Response:
        return html("fragments/history.html", {"history": await contexts.asking.history(caller.person)})

    @router.get("/input/{picture}")
    async def picture_to_begin_with(picture: str, caller: FromCaller) -> Response:
        values = await contexts.asking.wanted({"input": picture}, caller.person)
        return html("fragments/input.html", {"input": input_view(values.inputs[0])})

    @router.get("/gallery")
    async def gallery(request: Request, caller: FromCaller) -> Response:
        before = request.query_params.get("before")
        context = await contexts.tiles(caller.person, PictureId(before) if before else None)
        return html("fragments/gallery.html", context)

    @router.get("/pictures/{picture}")
    async def picture(request: Request, picture: str, caller: FromCaller) -> Response:
        context = await contexts.picture(PictureId(picture), caller.person, csrf=csrf.token_for(request))
        return html("fragments/picture.html", context)

    @router.get("/stream")
    async def stream(request: Request, caller: FromCaller) -> Response:
        asked = request.query_params
        events = PageStream(
            services=services,
            contexts=contexts,
            person=caller.person,
            csrf=csrf.token_for(request),
            watched=[JobId(job) for job in asked.getlist("watch")[:MAX_WATCHED]],
            newest=asked.get("newest", ""),
        )
        return EventStream(events.events(), headers={"referrer-policy": HEADERS["referrer-policy"]})

    return router
