# SPDX-License-Identifier: Apache-2.0
"""Server-sent events: an answer that goes on. Nothing is buffered here, and a reader that left is noticed."""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from inglenook.base.errors import Invalid
from inglenook.door.disconnect import drop, hung_up
from inglenook.door.problem import shown

HEARTBEAT_S = 15.0
"""Silence after which a comment is sent: proxies close what stays quiet; a dead peer is found by writing."""

_COMMENT = b":\n\n"
_LINE_END = re.compile(
    r"\r\n|\r|\n"
)  # what the event stream format calls one; `str.splitlines` knows many more


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event. `data` may have several lines; `id` is what the client sends back as `Last-Event-ID`."""

    data: str
    event: str | None = None
    id: str | None = None

    def encode(self) -> bytes:
        lines = [f"id: {self.id}"] if self.id is not None else []
        if self.event is not None:
            lines.append(f"event: {self.event}")
        lines.extend(f"data: {line}" for line in _LINE_END.split(self.data))
        return ("\n".join(lines) + "\n\n").encode()


@dataclass(frozen=True, slots=True)
class ServerComment:
    """A line that clients pass over, and that keeps the connection alive: why there is nothing to say yet."""

    text: str

    def encode(self) -> bytes:
        return f": {' '.join(self.text.split())}\n\n".encode()


async def _nothing() -> None:
    return


class EventStream(Response):
    """Send what `events` yields until it ends or the client goes; then `events` is closed.

    Args:
        heartbeat_s: a comment is sent after so many seconds of silence.
        on_gone: awaited when the client left before the end.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[ServerEvent | ServerComment, None] | AsyncGenerator[ServerEvent, None],
        *,
        heartbeat_s: float = HEARTBEAT_S,
        on_gone: Callable[[], Awaitable[object]] = _nothing,
        headers: dict[str, str] | None = None,
    ) -> None:
        self._events = events
        self._heartbeat_s = heartbeat_s
        self._on_gone = on_gone
        self.status_code = 200
        self.background = None
        self.init_headers({"cache-control": "no-store", "x-accel-buffering": "no", **(headers or {})})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        gone = asyncio.create_task(hung_up(receive))
        try:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            await _chunk(send, _COMMENT)  # the headers leave at once, so that a browser reports "open"
            if await self._send_all(send, gone):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            else:
                await self._on_gone()
        except OSError:  # how newer servers say that the client has left
            await self._on_gone()
        finally:
            await drop(gone)
            await self._events.aclose()

    async def _send_all(self, send: Send, gone: asyncio.Task[None]) -> bool:
        """Return whether the client was there until the end."""
        following = asyncio.create_task(_next(self._events))
        try:
            while True:
                await asyncio.wait(
                    {following, gone}, timeout=self._heartbeat_s, return_when=asyncio.FIRST_COMPLETED
                )
                if gone.done():
                    return False
                if not following.done():
                    await _chunk(send, _COMMENT)
                    continue
                event = following.result()
                if event is None:
                    return True
                following = asyncio.create_task(_next(self._events))
                await _chunk(send, event.encode())
        finally:
            await drop(following)


async def _next(
    events: AsyncGenerator[ServerEvent | ServerComment, None] | AsyncGenerator[ServerEvent, None],
) -> ServerEvent | ServerComment | None:
    return await anext(events, None)


async def _chunk(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


def last_event_id(request: Request) -> int | None:
    """The number after which a reader wants to go on: header `Last-Event-ID` (what browsers send when they
    connect again), else the query's `last_event_id` (for those that cannot set headers).

    Raises:
        Invalid: it is not a whole number from 0.
    """
    text = request.headers.get("last-event-id") or request.query_params.get("last_event_id")
    if text is None or text == "":
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Invalid(
            f"last_event_id must be a whole number from 0; got {shown(text)}.", field="last_event_id"
        )
    return int(text)
