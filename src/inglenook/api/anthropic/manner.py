# SPDX-License-Identifier: Apache-2.0
"""How Anthropic's dialect writes errors and streams."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.errors import json_response
from inglenook.api.openai.manner import event
from inglenook.base.errors import in_one_line
from inglenook.door.problem import Problem

_TYPES: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}
_RETRY: Final = frozenset({"busy", "unavailable"})


def as_error(problem: Problem) -> dict[str, Any]:
    """``{"type": "error", "error": {"type", "message"}}``; `code` and `param` are ours."""
    kind = _TYPES.get(problem.status, "invalid_request_error" if problem.status < 500 else "api_error")
    message = in_one_line(problem.message, problem.hint)
    error = {"type": kind, "message": message, "code": problem.code, "param": problem.field}
    return {"type": "error", "error": error}


def render_anthropic(request: Request, problem: Problem) -> Response:
    """A `door.problem.Renderer`."""
    headers = problem.http_headers()
    headers["x-should-retry"] = "true" if problem.kind in _RETRY else "false"
    return json_response(
        as_error(problem), status_code=problem.status, headers=headers | request_headers(request)
    )


def request_headers(request: Request) -> dict[str, str]:
    """The id of the request under the name that Anthropic's clients look for."""
    request_id = request.scope.get("state", {}).get("request_id")
    return {} if request_id is None else {"request-id": str(request_id)}


class MessagesManner:
    """Implements `api.relay.Manner`."""

    media_type = "text/event-stream"
    end = b"\n\n"

    def waiting(self, words: str) -> bytes | None:
        return f": {words}\n\n".encode()

    def failed(self, problem: Problem) -> bytes:
        return event(as_error(problem), "error")
