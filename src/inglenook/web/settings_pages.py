# SPDX-License-Identifier: Apache-2.0
"""The page of settings: what each is, where it comes from, and a form for those that may be changed here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from inglenook.base.errors import InglenookError
from inglenook.door.administrator import COOKIE, administration_of, administrator
from inglenook.door.caller import FromCaller
from inglenook.door.problem import Problem, problem_of
from inglenook.settings.declaration import sections
from inglenook.store.configuration import Configuration, Entry
from inglenook.web import csrf
from inglenook.web.sending import read_form
from inglenook.web.templating import HEADERS, html, is_htmx

UNPROCESSABLE = 422


@dataclass(frozen=True, slots=True)
class SettingView:
    """One setting with what was typed for it, if that was refused."""

    entry: Entry
    typed: str
    problem: Problem | None = None
    saved: str = ""

    @property
    def id(self) -> str:
        return self.entry.key.replace(".", "-")


@dataclass(frozen=True, slots=True)
class SectionView:
    name: str
    says: str
    settings: tuple[SettingView, ...]


def settings_router(*, configuration: Configuration) -> APIRouter:
    router = APIRouter(include_in_schema=False, dependencies=[Depends(administrator)])

    @router.get("/settings")
    async def page(request: Request, caller: FromCaller) -> Response:  # noqa: ARG001 - closed like every route
        return await _page(request, configuration)

    @router.post("/settings/{key}")
    async def change(request: Request, key: str, caller: FromCaller) -> Response:
        sent = await read_form(request)
        csrf.check(request, sent.texts)
        typed = sent.texts.get("value", "").strip()
        try:
            entry = await run_in_threadpool(configuration.put, key, typed, person=caller.person)
        except InglenookError as error:
            return await _refused(request, configuration, key, typed, error)
        return _done(request, entry, "Saved.")

    @router.post("/settings/{key}/reset")
    async def reset(request: Request, key: str, caller: FromCaller) -> Response:
        sent = await read_form(request)
        csrf.check(request, sent.texts)
        try:
            entry = await run_in_threadpool(configuration.clear, key, person=caller.person)
        except InglenookError as error:
            return await _refused(request, configuration, key, "", error)
        return _done(request, entry, "Taken back.")

    return router


async def _page(
    request: Request, configuration: Configuration, refused: SettingView | None = None, status: int = 200
) -> Response:
    entries = await run_in_threadpool(configuration.entries)
    token = csrf.token_for(request)
    administration = administration_of(request)
    context: dict[str, Any] = {
        "sections": _sections(entries, refused),
        "waiting": [entry for entry in entries if entry.waits],
        "csrf": token,
        "can_log_out": administration is not None
        and administration.has_password
        and COOKIE in request.cookies,
    }
    answer = html("settings.html", context, status=status)
    csrf.keep(answer, token, secure=request.url.scheme == "https")
    return answer


def _sections(entries: Sequence[Entry], refused: SettingView | None) -> list[SectionView]:
    views = [_view(entry) for entry in entries]
    if refused is not None:
        views = [refused if view.entry.key == refused.entry.key else view for view in views]
    return [
        SectionView(name, str(model.__doc__), tuple(view for view in views if view.entry.section == name))
        for name, model in sections().items()
    ]


def _view(entry: Entry, saved: str = "") -> SettingView:
    return SettingView(entry, entry.next_text, saved=saved)


async def _refused(
    request: Request, configuration: Configuration, key: str, typed: str, error: InglenookError
) -> Response:
    """The same form again, with what was typed and why that may not be. Raises UnknownSetting."""
    entry = await run_in_threadpool(configuration.entry, key)
    problem = problem_of(error)
    status = UNPROCESSABLE if problem.kind == "invalid" else problem.status
    view = SettingView(entry, typed or entry.next_text, problem)
    if is_htmx(request):
        return _row(request, view, status=status)
    return await _page(request, configuration, view, status)


def _done(request: Request, entry: Entry, words: str) -> Response:
    view = _view(entry, words)
    if is_htmx(request):
        return _row(request, view)
    return RedirectResponse(f"/settings#{view.id}", status_code=303, headers=HEADERS)


def _row(request: Request, view: SettingView, status: int = 200) -> Response:
    return html("fragments/setting.html", {"view": view, "csrf": csrf.token_for(request)}, status=status)
