# SPDX-License-Identifier: Apache-2.0
"""Errors under /admin as Cyber-Inference's clients read them, ``{"detail": "…"}``; and their bodies, read."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.bodies import json_object
from inglenook.api.errors import as_error, json_response
from inglenook.base.errors import Invalid
from inglenook.base.units import KIB
from inglenook.door.problem import Problem, shown

MAX_BODY_BYTES: Final = 256 * KIB
OBJECT: Final[dict[str, Any]] = {"type": "object"}


def render_detail(request: Request, problem: Problem) -> Response:  # noqa: ARG001 - a `door.problem.Renderer`
    """`detail` in words; `error` beside it as everywhere else."""
    error = as_error(problem)
    return json_response(
        {"detail": error["message"], "error": error},
        status_code=problem.status,
        headers=problem.http_headers(),
    )


DETAIL_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["detail"],
    "properties": {"detail": {"type": "string"}, "error": OBJECT},
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route of this dialect."""
    said = {
        "description": "What is wrong, in words.",
        "content": {"application/json": {"schema": DETAIL_SCHEMA}},
    }
    return {**dict.fromkeys((*statuses, 401, 403, 415, 421, 500), said), "default": said}


async def optional_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object; an empty one where nothing is sent. Raises Invalid, TooLarge."""
    length = request.headers.get("content-length", "")
    if length == "0" or (not length and "transfer-encoding" not in request.headers):
        return {}
    return await json_object(request, limit_bytes=MAX_BODY_BYTES)


async def required_object(request: Request) -> dict[str, Any]:
    return await json_object(request, limit_bytes=MAX_BODY_BYTES)


def whole(body: Mapping[str, Any], name: str) -> int | None:
    """A whole number, or None where it is not there. Raises Invalid."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise Invalid(f"{name} must be a whole number; got {shown(value)}.", field=name)
    return value
