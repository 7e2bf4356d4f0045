# SPDX-License-Identifier: Apache-2.0
"""Errors and answers as PixelAI's client reads them: ``{"success": false, "error": "…", "code": "…"}``."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.errors import json_response
from inglenook.api.pixelai.codes import NO_MODEL, code_of
from inglenook.base.errors import Failed, InglenookError, Invalid
from inglenook.door.problem import Problem, problem_of

NO_PROMPT: Final = "No prompt provided"
BUSY: Final = "another generation in progress"
CANCELED: Final = "generation canceled"
OBJECT: Final[dict[str, Any]] = {"type": "object"}


class NothingDraws(Failed):
    """There is no model that could draw: where the original says that none is loaded."""

    default_code = NO_MODEL

    def __init__(self) -> None:
        super().__init__("There is no model that draws.", hint="`inglenook models` says what is there")


class NotAnId(Invalid):
    default_code = "pixel.not_a_uuid"


def failure(
    problem: Problem,
    *,
    engine: str | None = None,
    generation_id: str | None = None,
    hinted: bool = True,
) -> dict[str, Any]:
    """`error` in words; `field` where one is wrong.

    Args:
        hinted: whether the hint stands in `error` as well, for clients that show nothing else.
    """
    code = code_of(problem.kind, problem.code, engine=engine)
    words = CANCELED if code == "CANCELED" else _words(problem) if hinted else problem.message
    said: dict[str, Any] = {"success": False, "error": words, "code": code, "cause": problem.code}
    optional = {"hint": problem.hint, "field": problem.field, "generation_id": generation_id}
    return said | {name: value for name, value in optional.items() if value is not None}


def _words(problem: Problem) -> str:
    if problem.hint is None or not problem.message.endswith("."):  # the original's own words stay as they are
        return problem.message
    return f"{problem.message} {problem.hint[:1].upper()}{problem.hint[1:]}."


def render_pixelai(request: Request, problem: Problem) -> Response:  # noqa: ARG001 - a `door.problem.Renderer`
    return failed(problem)


def failed(problem: Problem, *, engine: str | None = None, generation_id: str | None = None) -> Response:
    return json_response(
        failure(problem, engine=engine, generation_id=generation_id),
        status_code=_status(problem),
        headers=problem.http_headers(),
    )


def failed_with(
    error: InglenookError, *, engine: str | None = None, generation_id: str | None = None
) -> Response:
    return failed(problem_of(error), engine=engine, generation_id=generation_id)


def _status(problem: Problem) -> int:
    """Where this dialect has another than the other doors: a body that is no JSON by its own declaration,
    and an engine that is not here, for which its clients know a 500."""
    if problem.code == "request.media_type":
        return int(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    if problem.code == "engine.not_installed":
        return int(HTTPStatus.INTERNAL_SERVER_ERROR)
    return problem.status


FAILURE_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["success", "error", "code"],
    "properties": {
        "success": {"type": "boolean", "const": False},
        "error": {"type": "string"},
        "code": {"type": "string"},
        "cause": {"type": "string"},
        "hint": {"type": "string"},
        "field": {"type": "string"},
        "generation_id": {"type": "string"},
    },
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route of this dialect."""
    said: Mapping[str, Any] = {
        "description": "What is wrong, in words and as a code.",
        "content": {"application/json": {"schema": FAILURE_SCHEMA}},
    }
    return {**{status: dict(said) for status in (*statuses, 401, 403, 415, 421, 500)}, "default": dict(said)}
