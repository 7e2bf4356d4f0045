# SPDX-License-Identifier: Apache-2.0
"""Whole pages, and the forms on them. They work without scripts; with them, a fragment answers."""

import asyncio
import json
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from inglenook.base.errors import Conflict, InglenookError
from inglenook.base.ids import JobId, PersonId, PictureId
from inglenook.door.caller import FromCaller
from inglenook.door.problem import problem_of
from inglenook.door.routes import add_routes
from inglenook.door.services import Catalog, Gallery, Images, Jobs, Runtime
from inglenook.jobs.model import Job
from inglenook.web import csrf, form
from inglenook.web.activity_pages import activity_pages
from inglenook.web.asking import new_ticket, offered_variation
from inglenook.web.contexts import ACTIVE, Contexts
from inglenook.web.form import PLACES, Problems, Values, problems_of
from inglenook.web.fragments import fragment_routes
from inglenook.web.gallery_pages import gallery_pages
from inglenook.web.inputs import input_routes
from inglenook.web.sending import kept, read_form, submit
from inglenook.web.services import IMAGE_KIND, Services
from inglenook.web.templating import HEADERS, html, is_htmx

UNPROCESSABLE = 422
MAX_CANCELLED = 1000


def web_router(
    *, images: Images, jobs: Jobs, gallery: Gallery, catalog: Catalog, runtime: Runtime
) -> APIRouter:
    """All routes of the page. Static files (`templating.STATIC`) are mounted beside it."""
    services = Services(images=images, jobs=jobs, gallery=gallery, catalog=catalog, runtime=runtime)
    contexts = Contexts(services=services)
    router = APIRouter(include_in_schema=False)
    add_routes(
        router,
        _drawing(services, contexts),
        _job_forms(services, contexts),
        _picture_pages(services, contexts),
        input_routes(services),
        fragment_routes(services, contexts),
        gallery_pages(services),
        activity_pages(services),
    )
    return router


def _drawing(services: Services, contexts: Contexts) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def home(request: Request, caller: FromCaller) -> Response:
        asked = request.query_params
        job = JobId(asked["job"]) if asked.get("job") else None
        before = PictureId(asked["before"]) if asked.get("before") else None
        token = csrf.token_for(request)
        context = await contexts.home(
            caller.person,
            csrf=token,
            values=await contexts.asking.wanted(asked, caller.person),
            problems=Problems(),
            vary=offered_variation(asked),
            job=job,
            before=before,
        )
        if asked.get("history"):
            context["history"] = await contexts.asking.history(caller.person)
        return _with_cookie(request, html("home.html", context), token)

    @router.post("/draw")
    async def draw(request: Request, caller: FromCaller) -> Response:
        sent = await read_form(request)
        csrf.check(request, sent.texts)
        values = form.typed(sent.pairs)
        try:
            values = await kept(services, sent)
            job = await submit(services, values, ticket=sent.texts.get("ticket", ""), person=caller.person)
        except InglenookError as error:
            return await _refused(contexts, request, values, error, caller.person, token=sent.texts["csrf"])
        if not is_htmx(request):
            seed = quote(values["seed"])
            return _see(f"/?job={job.id}" + (f"&seed={seed}" if seed else "") + f"#{job.id}")
        context = {
            "card": await contexts.card(job, caller.person),
            "csrf": sent.texts["csrf"],
            "problems": Problems(),
            "ticket": new_ticket(),
        }
        return html("fragments/form_answer.html", {**context, "fields": PLACES, "oob": True})

    @router.post("/fit")
    async def fit(request: Request, caller: FromCaller) -> Response:
        """The form as another model has it, for a browser without scripts."""
        sent = await read_form(request)
        csrf.check(request, sent.texts)
        values = await kept(services, sent)
        context = await contexts.home(
            caller.person, csrf=sent.texts["csrf"], values=values, problems=Problems(), refit=True
        )
        return html("home.html", context)

    return router


def _job_forms(services: Services, contexts: Contexts) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    async def answer(request: Request, job: Job, token: str, person: PersonId) -> Response:
        if not is_htmx(request):
            return _see(f"/?job={job.id}#{job.id}")
        card = await contexts.card(job, person)
        return html("fragments/card.html", {"card": card, "csrf": token})

    @router.post("/jobs/{job}/cancel")
    async def cancel(request: Request, job: str, caller: FromCaller) -> Response:
        sent = await read_form(request)
        csrf.check(request, sent.texts)
        try:
            stopped = await services.jobs.cancel(JobId(job), caller=caller.person)
        except Conflict:  # it ended by itself a moment ago; its card tells how
            stopped = await services.jobs.get(JobId(job), caller.person)
        return await answer(request, stopped, sent.texts["csrf"], caller.person)

    @router.post("/jobs/cancel")
    async def cancel_all(request: Request, caller: FromCaller) -> Response:
        """Every picture that the caller still waits for. The stream brings their cards."""
        sent = await read_form(request)
        csrf.check(request, sent.texts)
        for job in await services.jobs.list(
            caller.person, states=ACTIVE, kind=IMAGE_KIND, limit=MAX_CANCELLED
        ):
            with suppress(Conflict):  # it ended by itself a moment ago
                await services.jobs.cancel(job.id, caller=caller.person)
        return Response(status_code=204, headers=HEADERS) if is_htmx(request) else _see("/")

    @router.post("/jobs/{job}/retry")
    async def retry(request: Request, job: str, caller: FromCaller) -> Response:
        sent = await read_form(request)
        csrf.check(request, sent.texts)
        again = await services.jobs.retry(JobId(job), caller=caller.person)
        return await answer(request, again, sent.texts["csrf"], caller.person)

    return router


def _picture_pages(services: Services, contexts: Contexts) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/pictures/{picture}")
    async def picture_page(request: Request, picture: str, caller: FromCaller) -> Response:
        token = csrf.token_for(request)
        context = await contexts.picture(PictureId(picture), caller.person, csrf=token)
        context["ask_sure"] = request.query_params.get("sure") == "ask"
        return _with_cookie(request, html("picture.html", context), token)

    def thrown_away(picture: PictureId, person: PersonId) -> None:
        """Into the trash, from where the gallery restores it. Raises NotFound. Blocks."""
        found = services.gallery.get(picture, caller=person)
        services.gallery.trash([found.id], caller=person)

    @router.post("/pictures/{picture}/delete")
    async def delete(request: Request, picture: str, caller: FromCaller) -> Response:
        sent = await read_form(request)
        csrf.check(request, sent.texts)
        if sent.texts.get("sure") != "yes":
            return _see(f"/pictures/{picture}?sure=ask")
        await asyncio.to_thread(thrown_away, PictureId(picture), caller.person)
        if not is_htmx(request):
            return _see("/")
        return Response(status_code=204, headers=HEADERS | {"hx-trigger": removed(picture)})

    return router


# -- what the routes do ----------------------------------------------------------------------------------


async def _refused(
    contexts: Contexts,
    request: Request,
    values: Values,
    error: InglenookError,
    person: PersonId,
    *,
    token: str,
) -> Response:
    """The same form again: what was typed stands in it, and each error at its field."""
    problems = problems_of(error)
    problem = problem_of(error)
    status = UNPROCESSABLE if problem.kind == "invalid" else problem.status
    headers = problem.http_headers()
    if is_htmx(request):
        context: dict[str, Any] = {
            "problems": problems,
            "fields": PLACES,
            "card": None,
            "ticket": None,
            "oob": True,
        }
        return html(
            "fragments/form_answer.html", context, status=status, headers=headers | {"hx-reswap": "none"}
        )
    context = await contexts.home(person, csrf=token, values=values, problems=problems)
    return html("home.html", context, status=status, headers=headers)


def removed(picture: str) -> str:
    """The header that makes the page drop every place where the picture is shown."""
    return json.dumps({"removed": {"picture": picture}})


def _see(place: str) -> Response:
    return RedirectResponse(place, status_code=303, headers=HEADERS)


def _with_cookie(request: Request, response: Response, token: str) -> Response:
    csrf.keep(response, token, secure=request.url.scheme == "https")
    return response
