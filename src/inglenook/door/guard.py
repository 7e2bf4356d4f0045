# SPDX-License-Identifier: Apache-2.0
"""The threshold: what is refused before any route sees it, and what every answer carries.

In this order: an id for the request; `Host` (a name that an attacker's DNS points at this machine is not one
of ours); `Origin` and `Sec-Fetch-Site` (another site's page may not act here); the size of the body, counted
while it arrives.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inglenook.base.clock import Clock
from inglenook.base.errors import TooLarge
from inglenook.base.ids import new_id
from inglenook.base.units import format_bytes
from inglenook.door.problem import Problem, Renderer, problem_of, shown

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
"""Scripts and styles only from our own files, nothing inline, no `eval`; previews are `data:` pictures."""

SECURITY_HEADERS: dict[str, str] = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
"""On every answer; a route may set a stricter value of its own."""
_SECURITY_HEADERS = tuple((name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items())

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?")
_DEFAULT_PORT = {"http": 80, "https": 443, "ws": 80, "wss": 443}


@dataclass(frozen=True, slots=True)
class Authority:
    """A `Host` header, taken apart: the name in lower case without brackets or a final dot."""

    name: str
    port: int | None


def authority(text: str) -> Authority | None:
    """None where `text` is no host with an optional port."""
    match = _HOST.fullmatch(text)
    if match is None:
        return None
    return Authority(match[1].strip("[]").rstrip(".").lower(), int(match[2]) if match[2] else None)


def is_loopback(name: str) -> bool:
    """Whether `name` always means the machine itself: RFC 6761 keeps `localhost` and what ends in it."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def same_host(origin: str, host: Authority) -> bool:
    """Whether a page from `origin` was served under `host`; a scheme's own port may be left out in both."""
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return False
    default = _DEFAULT_PORT.get(parts.scheme)
    if default is None or parts.hostname is None:
        return False
    here = (host.name, default if host.port is None else host.port)
    return (parts.hostname.rstrip("."), default if port is None else port) == here


class Guard:
    """ASGI middleware, outermost but for the measuring.

    Args:
        allowed_hosts: names beside loopback under which the server may be reached.
        max_body_bytes: larger bodies are refused with 413 as soon as that is known.
        body_limits: by the beginning of a path, another limit: bytes, and the setting that sets it.
        render: how a refusal is written.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        allowed_hosts: Iterable[str],
        max_body_bytes: int,
        render: Renderer,
        clock: Clock,
        body_limits: Mapping[str, tuple[int, str]] | None = None,
    ) -> None:
        self._app = app
        self._body_limits = {} if body_limits is None else dict(body_limits)
        self._allowed = frozenset(name.lower().rstrip(".") for name in allowed_hosts)
        self._max_body_bytes = max_body_bytes
        self._render = render
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request_id = new_id("req", self._clock.now())
        scope.setdefault("state", {})["request_id"] = request_id
        send = _with_headers(send, request_id)
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await self._refuse(refusal, scope, receive, send)
        elif scope["type"] == "websocket":
            await self._app(scope, receive, send)
        else:
            await self._count_body(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> Problem | None:
        hosts = headers.getlist("host")
        host = authority(hosts[0]) if len(hosts) == 1 else None
        if host is None:
            return _denied(
                HTTPStatus.BAD_REQUEST, "host.invalid", "The request needs exactly one valid Host header."
            )
        if not (is_loopback(host.name) or host.name in self._allowed):
            return _denied(
                HTTPStatus.MISDIRECTED_REQUEST,
                "host.not_allowed",
                f"This server does not answer to the name {shown(host.name)}.",
                hint="add the name to server.allowed_hosts if it is yours",
            )
        return _cross_site(scope, headers, host) or self._announced_body(scope, headers)

    def _limit(self, scope: Scope) -> tuple[int, str]:
        """Bytes that a body on this path may have, and the setting that says so."""
        path = scope.get("path", "")
        for start, limit in self._body_limits.items():
            if path.startswith(start):
                return limit
        return self._max_body_bytes, "server.max_upload_bytes"

    def _announced_body(self, scope: Scope, headers: Headers) -> Problem | None:
        coding = headers.get("content-encoding", "identity").lower()
        if coding != "identity":
            message = f"Content-Encoding {shown(coding)} is not accepted: send the body as it is."
            return Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "invalid", "request.encoded", message)
        length = headers.get("content-length", "0")
        if length.isascii() and length.isdigit() and int(length[:19]) > self._limit(scope)[0]:
            return self._too_large(scope)
        return None

    def _too_large(self, scope: Scope) -> Problem:
        limit_bytes, setting = self._limit(scope)
        message = f"The body of the request is larger than {format_bytes(limit_bytes)}."
        return problem_of(TooLarge(message, code="request.too_large", hint=f"{setting} sets the limit"))

    async def _refuse(self, refusal: Problem, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refusal.code})
            return
        await self._render(Request(scope), refusal)(scope, receive, send)

    async def _count_body(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; once its body has grown too large, it gets an error instead of the rest, and
        whatever it makes of that, the client gets 413."""
        seen_bytes = 0
        limit_bytes = self._limit(scope)[0]
        refused = False
        began = False

        async def counting() -> Message:
            nonlocal seen_bytes, refused
            if refused:
                raise TooLarge("The body of the request is too large.", code="request.too_large")
            message = await receive()
            seen_bytes += len(message.get("body", b""))
            if seen_bytes > limit_bytes:
                refused = True
                raise TooLarge("The body of the request is too large.", code="request.too_large")
            return message

        async def answering(message: Message) -> None:
            nonlocal began
            if refused and not began:
                return  # the 413 below takes its place
            began = True
            await send(message)

        try:
            await self._app(scope, counting, answering)
        except TooLarge:
            if not refused:
                raise
        if refused and not began:
            await self._refuse(self._too_large(scope), scope, receive, send)


def _cross_site(scope: Scope, headers: Headers, host: Authority) -> Problem | None:
    """A refusal where another site's page stands behind the request. Programs send neither header."""
    origin = headers.get("origin")
    if origin is not None and not same_host(origin, host):
        message = f"A page from {shown(origin)} may not use this server."
        return _denied(HTTPStatus.FORBIDDEN, "origin.not_allowed", message)
    method = scope.get("method", "GET")
    if method not in _SAFE_METHODS and headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        message = "Another site's page may not change anything on this server."
        return _denied(HTTPStatus.FORBIDDEN, "origin.cross_site", message)
    return None


def _denied(status: int, code: str, message: str, *, hint: str | None = None) -> Problem:
    return Problem(status=int(status), kind="denied", code=code, message=message, hint=hint)


def _with_headers(send: Send, request_id: str) -> Send:
    extra = [*_SECURITY_HEADERS, (b"x-request-id", request_id.encode())]

    async def adding(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = list(message.get("headers", []))
            names = {name.lower() for name, _ in given}
            headers = given + [header for header in extra if header[0] not in names]
            message = {**message, "headers": headers}
        await send(message)

    return adding
