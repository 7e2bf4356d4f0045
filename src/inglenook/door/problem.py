# SPDX-License-Identifier: Apache-2.0
"""Errors → HTTP, once. A dialect renders a `Problem` in its own shape; nothing internal gets out."""

import dataclasses
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inglenook.base.errors import InglenookError

log = logging.getLogger(__name__)

_WHERE: Final = "/docs lists every address of this server"

CLIENT_CLOSED_REQUEST = 499
"""Not in any standard, but what proxies write into their logs for a request that was called off."""

STATUS: Mapping[str, int] = {
    "not_found": HTTPStatus.NOT_FOUND,
    "invalid": HTTPStatus.BAD_REQUEST,
    "too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "conflict": HTTPStatus.CONFLICT,
    "unidentified": HTTPStatus.UNAUTHORIZED,
    "denied": HTTPStatus.FORBIDDEN,
    "busy": HTTPStatus.TOO_MANY_REQUESTS,
    "unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "cancelled": CLIENT_CLOSED_REQUEST,
    "not_offered": HTTPStatus.NOT_IMPLEMENTED,
    "failed": HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""Kind of error (`base.errors`) → status."""

STATUS_OF_CODE: Mapping[str, int] = {"store.disk_full": HTTPStatus.INSUFFICIENT_STORAGE}
"""Codes with a status of their own, whatever their kind."""

_KIND_OF_STATUS: Mapping[int, str] = {status: kind for kind, status in STATUS.items()}


@dataclass(frozen=True, slots=True)
class Problem:
    """What a client is told. `kind` is a key of `STATUS`; `retry_after_s` in seconds."""

    status: int
    kind: str
    code: str
    message: str
    hint: str | None = None
    field: str | None = None
    retry_after_s: float | None = None
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def http_headers(self) -> dict[str, str]:
        """The problem's headers, with `Retry-After` (whole seconds, at least 1) where a retry makes sense,
        and with how to show who is calling where that was missing."""
        headers = dict(self.headers)
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers.setdefault("www-authenticate", "Bearer")
        if self.retry_after_s is not None:
            headers["retry-after"] = str(max(1, math.ceil(self.retry_after_s)))
        return headers


Renderer = Callable[[Request, Problem], Response]
"""How one dialect writes a problem."""


def problem_of(error: InglenookError) -> Problem:
    return Problem(
        status=int(STATUS_OF_CODE.get(error.code, STATUS[error.kind])),
        kind=error.kind,
        code=error.code,
        message=error.message,
        hint=error.hint,
        field=error.field,
        retry_after_s=error.retry_after_s,
    )


def problem_of_status(error: HTTPException) -> Problem:
    """What the framework itself raises: no such route, no such method, a body that is no form."""
    kind = _KIND_OF_STATUS.get(error.status_code, "invalid" if error.status_code < 500 else "failed")
    phrase = HTTPStatus(error.status_code).phrase
    return Problem(
        status=error.status_code,
        kind=kind,
        code="http." + phrase.lower().replace(" ", "_"),
        message=error.detail or phrase,
        headers=dict(error.headers or {}),
    )


def problem_of_validation(error: RequestValidationError) -> Problem:
    """A query, path or header value that a route's declaration does not accept: the first one is named."""
    first: Mapping[str, Any] = error.errors()[0]
    name = next((part for part in reversed(first["loc"]) if isinstance(part, str)), "request")
    text = str(first["msg"])
    return Problem(
        status=int(STATUS["invalid"]),
        kind="invalid",
        code="request.invalid",
        message=f"{name}: {text}; got {shown(first.get('input'))}.",
        field=name,
    )


def shown(value: object, limit: int = 60) -> str:
    """`value` as an error message quotes it: short, and on one line."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def unexpected(request_id: str) -> Problem:
    """An error of ours. What it was stands in the log, not here."""
    return Problem(
        status=int(HTTPStatus.INTERNAL_SERVER_ERROR),
        kind="failed",
        code="internal",
        message=f"Something went wrong inside the server. Its log has the details under {request_id}.",
    )


_CLIENT_GONE = Problem(
    CLIENT_CLOSED_REQUEST,
    "cancelled",
    "client.gone",
    "The client closed the connection while it was sending.",
)

Handler = Callable[[Request, Exception], Awaitable[Response]]


def handlers(render: Renderer) -> dict[type[Exception], Handler]:
    """The exception handlers of the application."""

    async def own(request: Request, error: Exception) -> Response:
        assert isinstance(error, InglenookError)
        return render(request, problem_of(error))

    async def framework(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        problem = problem_of_status(error)
        if error.status_code == HTTPStatus.NOT_FOUND and problem.message == HTTPStatus.NOT_FOUND.phrase:
            message = f"There is nothing at {shown(request.url.path)}."
            problem = dataclasses.replace(problem, message=message, hint=_WHERE)
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            # The framework names the methods of one route only, and a path may have several.
            problem = dataclasses.replace(problem, headers={"allow": ", ".join(sorted(_methods(request)))})
        return render(request, problem)

    async def validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return render(request, problem_of_validation(error))

    async def gone(request: Request, error: Exception) -> Response:  # noqa: ARG001 - a handler's signature
        return render(request, _CLIENT_GONE)

    return {
        InglenookError: own,
        HTTPException: framework,
        RequestValidationError: validation,
        ClientDisconnect: gone,
    }


def _methods(request: Request) -> set[str]:
    """All methods of the path."""
    found: set[str] = set()
    for route in iter_route_contexts(request.app.routes):
        pattern = getattr(route, "path_regex", None)
        if pattern is not None and pattern.match(request.url.path):
            found |= route.methods or set()
    return found


class CatchUnexpected:
    """The last resort of the door: an error nobody foresaw becomes a 500 with an id that is in the log.

    When the answer has begun already, nothing can be said any more; the connection ends in the middle,
    so that no client takes half an answer for a whole one.
    """

    def __init__(self, app: ASGIApp, *, render: Renderer) -> None:
        self._app = app
        self._render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = False

        async def watching(message: Message) -> None:
            nonlocal began
            began = began or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watching)
        except Exception:  # the door: whatever was not foreseen ends here
            request_id = str(scope.get("state", {}).get("request_id", "unknown"))
            log.exception("Unexpected error in %s %s (%s)", scope["method"], _template(scope), request_id)
            if not began:
                await self._render(Request(scope), unexpected(request_id))(scope, receive, send)


def _template(scope: Scope) -> str:
    """The route as it is declared, since a path may hold what should not be in a log."""
    return str(getattr(scope.get("route"), "path", "unmatched route"))
