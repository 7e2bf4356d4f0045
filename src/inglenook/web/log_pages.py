# SPDX-License-Identifier: Apache-2.0
"""The room of the logs: what is kept; with scripts it goes on by itself (`/v1/runtime/log/events`)."""

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from inglenook.base.journal import LEVELS, Journal
from inglenook.door.administrator import administrator
from inglenook.door.caller import FromCaller
from inglenook.web.templating import html

SERVER = "server"
SHOWN = 500


def log_pages(journal: Journal) -> APIRouter:
    router = APIRouter(include_in_schema=False, dependencies=[Depends(administrator)])

    @router.get("/logs")
    def logs(request: Request, caller: FromCaller) -> Response:  # noqa: ARG001 - closed like every route
        asked = request.query_params
        level = asked.get("level", "info")
        level = level if level in LEVELS else "info"
        child, search = asked.get("child", "")[:256], asked.get("search", "")[:200]
        lines = [
            line
            for line in journal.lines(level=level)
            if child in ("", line.child or SERVER) and search.casefold() in _words(line.child, line.text)
        ]
        known = {line.child for line in journal.lines() if line.child is not None}
        context = {
            "lines": lines[-SHOWN:],
            "level": level,
            "child": child,
            "search": search,
            "children": [SERVER, *sorted(known)],
        }
        return html("logs.html", context)

    return router


def _words(child: str | None, text: str) -> str:
    return f"{child or SERVER} {text}".casefold()
