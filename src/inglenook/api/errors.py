# SPDX-License-Identifier: Apache-2.0
"""Errors under /v1, in the one shape that OpenAI's clients read:
``{"error": {"message", "type", "param", "code", "hint"}}``. `hint` is ours, and null where there is none.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from inglenook.base.errors import (
    Busy,
    Cancelled,
    Conflict,
    Denied,
    Failed,
    InglenookError,
    Invalid,
    NotFound,
    NotOffered,
    TooLarge,
    Unavailable,
    Unidentified,
    in_one_line,
)
from inglenook.door.problem import Problem
from inglenook.jobs.model import JobError

_TYPES: Mapping[str, str] = {
    "not_found": "invalid_request_error",
    "invalid": "invalid_request_error",
    "too_large": "invalid_request_error",
    "conflict": "conflict_error",
    "unidentified": "authentication_error",
    "denied": "permission_error",
    "busy": "rate_limit_error",
    "unavailable": "service_unavailable_error",
    "cancelled": "cancelled_error",
    "not_offered": "not_implemented_error",
    "failed": "server_error",
}
"""Kind of error → OpenAI's word for it."""

_CODES: Mapping[str, str] = {
    "model.not_found": "model_not_found",
    "model.context_exceeded": "context_length_exceeded",
    "job.person_queue_full": "rate_limit_exceeded",
    "job.queue_full": "rate_limit_exceeded",
}
"""Our codes for which OpenAI's clients know another; the others go out as they are."""

_RETRY: Mapping[str, str] = {"busy": "true", "unavailable": "true"}
"""Kinds after which the same request may succeed. OpenAI's clients repeat a 409 and every 5xx by themselves
unless told not to: a picture that failed would be drawn three times."""


def as_error(problem: Problem) -> dict[str, Any]:
    """The value of `error`."""
    return {
        "message": in_one_line(problem.message, problem.hint),
        "type": _TYPES[problem.kind],
        "param": problem.field,
        "code": _CODES.get(problem.code, problem.code),
        "hint": problem.hint,
    }


def render_json(request: Request, problem: Problem) -> Response:  # noqa: ARG001 - a `door.problem.Renderer`
    headers = problem.http_headers()
    headers["x-should-retry"] = _RETRY.get(problem.kind, "false")
    return json_response({"error": as_error(problem)}, status_code=problem.status, headers=headers)


def json_response(
    content: object, *, status_code: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """`content` as JSON. What it says is of now and of the caller: no cache keeps it."""
    return Response(
        msgspec.json.encode(content),
        status_code=status_code,
        headers={"cache-control": "no-store", **(headers or {})},
        media_type="application/json",
    )


_BY_KIND: Mapping[str, type[InglenookError]] = {
    error.kind: error
    for error in (
        *(NotFound, Invalid, TooLarge, Conflict, Unidentified, Denied, Busy, Unavailable, Cancelled),
        *(NotOffered, Failed),
    )
}


def error_of_job(error: JobError, *, hint: str | None = None) -> InglenookError:
    """What a job failed with, as the error that it was. `hint` is added to the job's own."""
    hints = [text for text in (error.hint, hint) if text]
    return _BY_KIND[error.kind](error.message, code=error.code, hint="; ".join(hints) or None)


ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code", "hint"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string", "enum": sorted(set(_TYPES.values()))},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
                "hint": {"type": ["string", "null"]},
            },
        }
    },
}

SSE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {"id": {"type": "string"}, "event": {"type": "string"}, "data": {"type": "string"}},
}
"""One event of a stream; `data` is JSON."""

_MEANINGS: Mapping[int, str] = {
    400: "A value cannot be accepted; `param` names it.",
    401: "Who is calling must be shown: see POST /admin/login.",
    403: "The caller, or the page that the request comes from, may not.",
    404: "There is no such thing.",
    405: "The path knows other methods.",
    409: "The thing is in a state that does not allow it.",
    413: "More bytes or pixels than allowed.",
    415: "The body is encoded in a way that is not accepted.",
    421: "The server does not answer to this host name.",
    429: "The queue is full; `Retry-After` says when to come back.",
    499: "Somebody cancelled the work.",
    500: "It was tried and did not work, or an error of ours (then with an id that is in the log).",
    501: "This program does not do that; `hint` says what it does instead.",
    503: "A part that is needed is missing or is starting.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these, and with what any route may answer."""
    always = (403, 415, 421, 500)
    documented: dict[int | str, dict[str, Any]] = {
        status: {"description": _MEANINGS[status], "content": {"application/json": {"schema": ERROR_SCHEMA}}}
        for status in sorted({*statuses, *always})
    }
    # Also keeps FastAPI from promising its own 422, which is never sent here.
    documented["default"] = {
        "description": "Any other error, in the same shape.",
        "content": {"application/json": {"schema": ERROR_SCHEMA}},
    }
    return documented


def answer(description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The description of a JSON answer for `responses`."""
    return {"description": description, "content": {"application/json": {"schema": dict(schema)}}}
