# SPDX-License-Identifier: Apache-2.0
"""GET /v1/runtime/log: the last lines of the server's log and of its workers, and new ones as they come."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.errors import SSE_SCHEMA, answer, errors, json_response
from inglenook.base.journal import KEPT, Journal, Line
from inglenook.door.administrator import administrator
from inglenook.door.caller import caller
from inglenook.door.sse import EventStream, ServerEvent, last_event_id

SERVER = "server"
"""Stands for the server itself among the children."""

_LINES: dict[str, Any] = {
    "type": "object",
    "properties": {
        "data": {"type": "array", "items": {"type": "object"}},
        "children": {"type": "array", "items": {"type": "string"}},
    },
}


class Level(StrEnum):
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


Least = Annotated[Level, Query(description="the least important that are told")]
Of = Annotated[
    str | None, Query(description="only what this child has printed; `server`: what the server itself says")
]


def journal_router(*, journal: Journal) -> APIRouter:
    router = APIRouter(
        prefix="/v1/runtime/log",
        tags=["runtime"],
        dependencies=[Depends(caller), Depends(administrator)],
    )

    @router.get(
        "",
        summary="The last lines of the log, the oldest first",
        responses={200: answer("Lines.", _LINES), **errors(400)},
    )
    def lines(
        level: Least = Level.INFO, child: Of = None, limit: Annotated[int, Query(ge=1, le=KEPT)] = 200
    ) -> Response:
        found = [line for line in journal.lines(level=level.value) if _is_of(line, child)][-limit:]
        return json_response(
            {"object": "list", "data": [_as_json(line) for line in found], "children": _children(journal)}
        )

    @router.get(
        "/events",
        summary="The log as it grows (server-sent events)",
        description="Begins with what is kept, or after the event that was read last.",
        responses={
            200: {"description": "Events.", "content": {"text/event-stream": {"schema": SSE_SCHEMA}}},
            **errors(400),
        },
    )
    async def events(request: Request, level: Least = Level.INFO, child: Of = None) -> Response:
        after = last_event_id(request) or 0
        return EventStream(_as_sent(journal.follow(after, level=level.value), child))

    return router


async def _as_sent(lines: AsyncGenerator[Line, None], child: str | None) -> AsyncGenerator[ServerEvent, None]:
    async with aclosing(lines):
        async for line in lines:
            if _is_of(line, child):
                yield ServerEvent(
                    data=msgspec.json.encode(_as_json(line)).decode(), event="line", id=str(line.number)
                )


def _is_of(line: Line, child: str | None) -> bool:
    return child is None or (line.child or SERVER) == child


def _children(journal: Journal) -> list[str]:
    """Whose lines are kept, the server first."""
    return [SERVER, *sorted({line.child for line in journal.lines() if line.child is not None})]


def _as_json(line: Line) -> dict[str, Any]:
    return {
        "number": line.number,
        "when": line.when.isoformat(timespec="milliseconds"),
        "level": line.level,
        "source": line.source,
        "child": line.child,
        "text": line.text,
    }
