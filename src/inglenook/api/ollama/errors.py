# SPDX-License-Identifier: Apache-2.0
"""Errors as Ollama's clients read them: ``{"error": "…"}`` with the status, or as a stream's last line."""

from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.errors import json_response
from inglenook.base.errors import in_one_line
from inglenook.door.problem import Problem

PATHS: Final = tuple(
    f"/api/{name}"
    for name in (
        *("tags", "chat", "generate", "embed", "show", "ps", "version"),
        *("pull", "delete", "copy", "create", "push", "blobs"),
    )
)
"""Where errors look like this; `/api/embed` stands for `/api/embeddings` too."""


def words_of(problem: Problem) -> str:
    """One line: the fact, and what to do next."""
    return in_one_line(problem.message, problem.hint)


def error_line(problem: Problem) -> bytes:
    return msgspec.json.encode({"error": words_of(problem)}) + b"\n"


def render_ollama(request: Request, problem: Problem) -> Response:  # noqa: ARG001 - a `door.problem.Renderer`
    return json_response(
        {"error": words_of(problem)}, status_code=problem.status, headers=problem.http_headers()
    )


ERROR_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}},
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route of this dialect."""
    said = {
        "description": "What is wrong, in words.",
        "content": {"application/json": {"schema": ERROR_SCHEMA}},
    }
    return {**dict.fromkeys((*statuses, 403, 415, 421, 500), said), "default": said}
