# SPDX-License-Identifier: Apache-2.0
"""What a language model's process refuses, as an error of ours: its status and its words survive."""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from inglenook.base.errors import (
    Busy,
    Conflict,
    Denied,
    Failed,
    InglenookError,
    Invalid,
    NotFound,
    TooLarge,
    Unavailable,
)
from inglenook.catalog.model import ModelRecord

CONTEXT_EXCEEDED: Final = "model.context_exceeded"
_NOT_STARTED_FOR_IT: Final = 501
_MAX_WORDS: Final = 2000
_BAD_MESSAGES: Final = "Failed to parse messages"
"""A mistake of the caller, for which llama.cpp answers with 500."""
_HINTS: Final[Mapping[str, str]] = {
    "n": "so many answers at once as the model has conversations: its option `parallel`",
}
_OF_FIELD: Final = re.compile(r"Field '(\w+)': (?:\[json\.[\w.]+\] )?(.+?)\.?", re.DOTALL)

_KINDS: Mapping[int, type[InglenookError]] = {
    400: Invalid,
    401: Denied,
    403: Denied,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    429: Busy,
    503: Unavailable,
}


def refusal(model: ModelRecord, status: int, body: bytes) -> InglenookError:
    """The error for an answer of the child with a `status` from 400."""
    told = _told(body)
    words = str(told.get("message") or "").strip()[:_MAX_WORDS]
    if status == _NOT_STARTED_FOR_IT:
        return unfit(model, words)
    if "exceed_context_size" in str(told.get("type", "")):
        return _too_long(model, words, told)
    kind = _KINDS.get(status) or (Invalid if status < 500 or words.startswith(_BAD_MESSAGES) else Failed)
    words, field = _plain(words)
    return kind(
        words or f"{model.id} refused the request with status {status}.",
        code="model.refused",
        field=field,
        hint=_HINTS.get(field or ""),
    )


def _plain(words: str) -> tuple[str, str | None]:
    """llama.cpp's words without its JSON library's number, and the field that they name."""
    if words.startswith(_BAD_MESSAGES):
        return words, "messages"
    found = _OF_FIELD.fullmatch(words)
    return (words, None) if found is None else (f"{found[1]}: {found[2]}.", found[1])


def unfit(model: ModelRecord, words: str) -> Invalid:
    """The model is loaded for something else."""
    return Invalid(
        f"{model.id} is not loaded for this. Its process said: {words}",
        code="model.wrong_task",
        field="model",
        hint="GET /v1/models shows what each model is for (`task`)",
    )


def _too_long(model: ModelRecord, words: str, told: Mapping[str, Any]) -> Invalid:
    asked, room = told.get("n_prompt_tokens"), told.get("n_ctx")
    numbers = f"The request has {asked} tokens; {model.id} is loaded with room for {room}." if room else ""
    return Invalid(
        numbers or words or "The request is longer than the context.",
        code=CONTEXT_EXCEEDED,
        field="messages",
        hint="shorten the conversation, or raise the model's context",
    )


def _told(body: bytes) -> Mapping[str, Any]:
    """The child's own words for an error; empty where it has none."""
    try:
        said = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {"message": body.decode(errors="replace")}
    error = said.get("error") if isinstance(said, dict) else None
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) else {}
