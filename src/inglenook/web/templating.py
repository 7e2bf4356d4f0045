# SPDX-License-Identifier: Apache-2.0
"""Jinja2 as the pages use it: everything escaped, nothing undefined, static files under versioned names."""

import hashlib
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from inglenook.base.units import format_bytes
from inglenook.door.problem import Problem
from inglenook.web.words import capfirst, ended, sentence

HERE = Path(__file__).parent
STATIC = HERE / "static"
"""Mounted under `/static` by `app.py`."""

HEADERS = {
    "cache-control": "no-store",
    # The browser must name our own origin when a form without scripts is sent: the door asks for it.
    "referrer-policy": "same-origin",
}


@cache
def environment() -> Environment:
    env = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    env.filters["capfirst"] = capfirst
    env.filters["ended"] = ended
    env.filters["sentence"] = sentence
    env.filters["bytes"] = format_bytes
    env.filters["number"] = lambda value: f"{value:g}"
    env.filters["plain"] = lambda value: str(int(value)) if value == int(value) else repr(value)
    env.globals["static"] = static_url
    env.globals["oob"] = False
    return env


@cache
def static_url(name: str) -> str:
    """An address that changes when the file does, so that browsers may keep it."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


def render(template: str, /, **context: Any) -> str:
    return environment().get_template(template).render(**context)


def html(
    template: str, context: dict[str, Any], *, status: int = 200, headers: dict[str, str] | None = None
) -> HTMLResponse:
    return HTMLResponse(render(template, **context), status_code=status, headers=HEADERS | (headers or {}))


def is_htmx(request: Request) -> bool:
    """Whether a script of ours asks, which wants a part of the page and not the whole."""
    return request.headers.get("hx-request") == "true"


def render_problem(request: Request, problem: Problem) -> Response:
    """How the door writes errors outside the JSON dialects: a page, or a note in the page that is open."""
    headers = problem.http_headers()
    if problem.status == HTTPStatus.UNAUTHORIZED and request.method in ("GET", "HEAD"):
        return RedirectResponse(login_address(request), status_code=303, headers=HEADERS)
    if is_htmx(request):
        if problem.status == HTTPStatus.UNAUTHORIZED:
            headers |= {"hx-redirect": "/login"}
        headers |= {"hx-retarget": "#trouble", "hx-reswap": "innerHTML"}
        return html("fragments/trouble.html", {"problem": problem}, status=problem.status, headers=headers)
    context = {"problem": problem, "status": problem.status, "title": _title(problem.status)}
    return html("problem.html", context, status=problem.status, headers=headers)


def login_address(request: Request) -> str:
    """Where a browser logs in that asked for a page without being logged in; it comes back to that page."""
    query = f"?{request.url.query}" if request.url.query else ""
    return f"/login?next={quote(request.url.path + query, safe='')}"


def _title(status: int) -> str:
    if status == HTTPStatus.NOT_FOUND:
        return "There is nothing here"
    return "That did not work" if status < 500 else "Something went wrong"
