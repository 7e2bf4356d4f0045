# SPDX-License-Identifier: Apache-2.0
"""/login and /logout of the administrator, as long as there are no accounts."""

import re
from typing import Final
from urllib.parse import urlsplit

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from inglenook.base.errors import InglenookError
from inglenook.door.administrator import COOKIE, administration_of, is_administrator, keep_session
from inglenook.door.caller import FromCaller
from inglenook.door.problem import Problem, problem_of
from inglenook.web import csrf
from inglenook.web.sending import read_form
from inglenook.web.templating import HEADERS, html

HOME: Final = "/settings"
_PLACE: Final = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]{0,2000}")


def safe_place(text: str) -> str:
    """A path of ours to go on to; `HOME` where it is anything else, above all another host's address."""
    if not _PLACE.fullmatch(text):
        return HOME
    try:
        parts = urlsplit(text)
    except ValueError:
        return HOME
    return text if not parts.scheme and not parts.netloc and parts.path.startswith("/") else HOME


def login_router() -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/login")
    async def form(request: Request, caller: FromCaller) -> Response:  # noqa: ARG001 - closed like every route
        place = safe_place(request.query_params.get("next", HOME))
        if is_administrator(request):
            return _see(place)
        return await _page(request, place)

    @router.post("/login")
    async def log_in(request: Request, caller: FromCaller) -> Response:  # noqa: ARG001 - closed like every route
        sent = await read_form(request)
        csrf.check(request, sent.texts)
        place = safe_place(sent.texts.get("next", HOME))
        administration = administration_of(request)
        if administration is None or not administration.has_password:
            return _see(place)
        try:
            administration.log_in(sent.texts.get("password", ""))
        except InglenookError as error:
            return await _page(request, place, problem_of(error))
        answer = _see(place)
        keep_session(answer, administration.open_session(), secure=request.url.scheme == "https")
        return answer

    @router.post("/logout")
    async def log_out(request: Request, caller: FromCaller) -> Response:  # noqa: ARG001 - closed like every route
        sent = await read_form(request)
        csrf.check(request, sent.texts)
        administration = administration_of(request)
        if administration is not None:
            administration.close_session(request.cookies.get(COOKIE, ""))
        answer = _see("/")
        answer.delete_cookie(COOKIE, path="/")
        return answer

    return router


async def _page(request: Request, place: str, problem: Problem | None = None) -> Response:
    token = csrf.token_for(request)
    status = 200 if problem is None else problem.status
    headers = {} if problem is None else problem.http_headers()
    answer = html(
        "login.html", {"next": place, "problem": problem, "csrf": token}, status=status, headers=headers
    )
    csrf.keep(answer, token, secure=request.url.scheme == "https")
    return answer


def _see(place: str) -> RedirectResponse:
    return RedirectResponse(place, status_code=303, headers=HEADERS)
