# SPDX-License-Identifier: Apache-2.0
"""Whole pages, and the forms on them. They work without scripts; with them, a fragment answers."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from inglenook.base.errors import Conflict, InglenookError
from inglenook.base.ids import BlobId, JobId, PersonId, PictureId
from inglenook.base.work import WorkClass
from inglenook.door.caller import FromCaller
from inglenook.door.problem import problem_of
from inglenook.door.services import Catalog, Gallery, Images, Jobs, Runtime
from inglenook.images.model import MAX_PROMPT_CHARS
from inglenook.jobs.model import Job
from inglenook.web import csrf, form
from inglenook.web.contexts import Contexts
from inglenook.web.form import FIELDS, FILES, Problems, problems_of
from inglenook.web.fragments import fragment_routes
from inglenook.web.services import Services
from inglenook.web.templating import HEADERS, html, is_htmx

UNPROCESSABLE = 422
_MAX_FIELD_BYTES = 16 * MAX_PROMPT_CHARS
"""Room for a prompt that is too long, so that a person is told so instead of losing it."""
_MAX_FIELDS = 40


def web_router(
    *, images: Images, jobs: Jobs, gallery: Gallery, catalog: Catalog, runtime: Runtime
) -> APIRouter:
    """All routes of the page. Static files (`templating.STATIC`) are mounted beside it."""
    services = Services(images=images, jobs=jobs, gallery=gallery, catalog=catalog, runtime=runtime)
    contexts = Contexts(services=services)
    router = APIRouter(include_in_schema=False)
    router.include_router(_drawing(services, contexts))
    router.include_router(_job_forms(services, contexts))
    router.include_router(_picture_pages(services, contexts))
    router.include_router(fragment_routes(services, contexts))
    return router


def _drawing(services: Services, contexts: Contexts) -> APIRouter:
    router = APIRouter()

    @router.get("/")
    async def home(request: Request, caller: FromCaller) -> Response:
        asked = request.query_params
        job = JobId(asked["job"]) if asked.get("job") else None
        before = PictureId(asked["before"]) if asked.get("before") else None
        token = csrf.token_for(request)
        context = await contexts.home(
            caller.person,
            csrf=token,
            values=await contexts.wanted_values(asked, caller.person),
            problems=Problems(),
            job=job,
            before=before,
        )
        return _with_cookie(request, html("home.html", context), token)

    @router.post("/draw")
    async def draw(request: Request, caller: FromCaller) -> Response:
        sent = await read_form(request)
        csrf.check(request, sent.texts)
        try:
            job = await _submit(services, sent, caller.person)
        except InglenookError as error:
            return await _refused(contexts, request, sent, error, caller.person)
        if not is_htmx(request):
            seed = quote(form.typed(sent.texts)["seed"])
            return _see(f"/?job={job.id}" + (f"&seed={seed}" if seed else "") + f"#{job.id}")
        context = {
            "card": await contexts.card(job, caller.person),
            "csrf": sent.texts["csrf"],
            **(await contexts.form(form.blank(), Problems(), csrf=sent.texts["csrf"])),
        }
        return html("fragments/form_answer.html", {**context, "fields": _SLOTS, "oob": True})

    return router


def _job_forms(services: Services, contexts: Contexts) -> APIRouter:
    router = APIRouter()

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

    @router.post("/jobs/{job}/retry")
    async def retry(request: Request, job: str, caller: FromCaller) -> Response:
        sent = await read_form(request)
        csrf.check(request, sent.texts)
        again = await services.jobs.retry(JobId(job), caller=caller.person)
        return await answer(request, again, sent.texts["csrf"], caller.person)

    return router


def _picture_pages(services: Services, contexts: Contexts) -> APIRouter:
    router = APIRouter()

    @router.get("/pictures/{picture}")
    async def picture_page(request: Request, picture: str, caller: FromCaller) -> Response:
        token = csrf.token_for(request)
        context = await contexts.picture(PictureId(picture), caller.person, csrf=token)
        context["ask_sure"] = request.query_params.get("sure") == "ask"
        return _with_cookie(request, html("picture.html", context), token)

    @router.post("/pictures/{picture}/delete")
    async def delete(request: Request, picture: str, caller: FromCaller) -> Response:
        sent = await read_form(request)
        csrf.check(request, sent.texts)
        if sent.texts.get("sure") != "yes":
            return _see(f"/pictures/{picture}?sure=ask")
        await asyncio.to_thread(services.gallery.delete, PictureId(picture), caller=caller.person)
        if not is_htmx(request):
            return _see("/")
        return Response(status_code=204, headers=HEADERS | {"hx-trigger": removed(picture)})

    return router


# -- what the routes do ----------------------------------------------------------------------------------

_SLOTS = tuple(name for name in FIELDS if name not in ("width", "height")) + FILES


@dataclass(frozen=True, slots=True)
class Sent:
    """A posted form: its texts, and the bytes of each file that was chosen."""

    texts: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


async def read_form(request: Request) -> Sent:
    """What a form of ours sends; the door bounds the bytes of the whole."""
    sent = Sent()
    async with request.form(
        max_files=len(FILES), max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD_BYTES
    ) as parsed:
        for name, value in parsed.multi_items():
            if not isinstance(value, UploadFile):
                sent.texts[name] = value
            elif value.filename:  # a field for files that was left empty comes without a name
                sent.files[name] = await value.read()
    return sent


async def _submit(services: Services, sent: Sent, person: PersonId) -> Job:
    values = form.typed(sent.texts)
    image, mask = await _kept(services.images, sent.files)
    request = form.request_of(values, image=image, mask=mask)
    key = form.idempotency_key(sent.texts.get("ticket", ""), request)
    return await services.images.submit(
        request, owner=person, work_class=WorkClass.INTERACTIVE, idempotency_key=key
    )


async def _kept(images: Images, files: Mapping[str, bytes]) -> tuple[BlobId | None, BlobId | None]:
    image, mask = files.get("image"), files.get("mask")
    return (
        None if image is None else await images.keep_input(image),
        None if mask is None else await images.keep_mask(mask),
    )


async def _refused(
    contexts: Contexts, request: Request, sent: Sent, error: InglenookError, person: PersonId
) -> Response:
    """The same form again: what was typed stands in it, and each error at its field."""
    problems = problems_of(error)
    problem = problem_of(error)
    status = UNPROCESSABLE if problem.kind == "invalid" else problem.status
    headers = problem.http_headers()
    token = sent.texts["csrf"]
    if is_htmx(request):
        context: dict[str, Any] = {
            "problems": problems,
            "fields": _SLOTS,
            "card": None,
            "ticket": None,
            "oob": True,
        }
        return html(
            "fragments/form_answer.html", context, status=status, headers=headers | {"hx-reswap": "none"}
        )
    context = await contexts.home(person, csrf=token, values=form.typed(sent.texts), problems=problems)
    return html("home.html", context, status=status, headers=headers)


def removed(picture: str) -> str:
    """The header that makes the page drop every place where the picture is shown."""
    return json.dumps({"removed": {"picture": picture}})


def _see(place: str) -> Response:
    return RedirectResponse(place, status_code=303, headers=HEADERS)


def _with_cookie(request: Request, response: Response, token: str) -> Response:
    csrf.keep(response, token, secure=request.url.scheme == "https")
    return response
