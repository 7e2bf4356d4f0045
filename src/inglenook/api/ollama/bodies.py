# SPDX-License-Identifier: Apache-2.0
"""What Ollama's clients send. As there, an unknown field is passed over; one of the wrong type is refused."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.requests import Request

from inglenook.api.bodies import json_object
from inglenook.api.keep_alive import keep_seconds
from inglenook.api.ollama.names import MAX_NAME_CHARS
from inglenook.api.ollama.options import Options, options_of
from inglenook.base.errors import Invalid
from inglenook.door.problem import shown

JSON: Final = "json"
_EFFORTS: Final = ("low", "medium", "high", "max")
MAX_TOP_LOGPROBS: Final = 20


@dataclass(frozen=True, slots=True)
class Common:
    """What /api/chat and /api/generate share.

    Attributes:
        name: of the model, as it was written; answers repeat it.
        form: None, "json", or a JSON schema.
        think: None where nothing was said; a text is an effort.
        top_logprobs: None where no probabilities are wanted.
    """

    name: str
    stream: bool
    keep_s: float | None
    options: Options
    form: str | Mapping[str, Any] | None
    think: bool | str | None
    top_logprobs: int | None
    body: Mapping[str, Any] = field(repr=False)


async def read_object(request: Request, limit_bytes: int) -> dict[str, Any]:
    """The body, whatever type it declares: curl's own is that of a form, and Ollama reads it as JSON."""
    return await json_object(request, limit_bytes=limit_bytes, any_type=True)


async def read_common(request: Request, limit_bytes: int) -> Common:
    """Raises Invalid, TooLarge."""
    return common_of(await read_object(request, limit_bytes))


def common_of(body: Mapping[str, Any]) -> Common:
    return Common(
        name=model_name(body),
        stream=flag(body, "stream", True),
        keep_s=keep_seconds(body.get("keep_alive")),
        options=options_of(body.get("options")),
        form=_form(body.get("format")),
        think=_think(body.get("think")),
        top_logprobs=_top_logprobs(body),
        body=body,
    )


def model_name(body: Mapping[str, Any], *others: str) -> str:
    """`others`: further names of the field, from older clients."""
    for key in ("model", *others):
        value = body.get(key)
        if value is None or value == "":
            continue
        if not isinstance(value, str) or len(value) > MAX_NAME_CHARS:
            raise Invalid(f"{key} must be the name of a model; got {shown(value)}.", field=key)
        return value
    raise Invalid("model is required", field="model", code="request.missing_field")


def flag(body: Mapping[str, Any], name: str, default: bool) -> bool:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise Invalid(f"{name} must be true or false; got {shown(value)}.", field=name)
    return value


def text(body: Mapping[str, Any], name: str) -> str:
    """ "" where it is not there."""
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Invalid(f"{name} must be a text; got {shown(value)}.", field=name)
    return value


def items(body: Mapping[str, Any], name: str) -> list[Any]:
    value = body.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise Invalid(f"{name} must be a list; got {shown(value)}.", field=name)
    return value


def _form(value: object) -> str | Mapping[str, Any] | None:
    if value is None or value == "":
        return None
    if isinstance(value, dict):
        return value
    if isinstance(value, str):
        schema = _schema_in(value)
        if schema is not None:
            return schema
    raise Invalid(
        f'invalid format: {shown(value)}; expected "json" or a JSON schema',
        field="format",
        code="request.format",
    )


def _schema_in(value: str) -> str | Mapping[str, Any] | None:
    """Some clients send the schema as a text."""
    if value == JSON:
        return JSON
    try:
        schema = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return schema if isinstance(schema, dict) else None


def _think(value: object) -> bool | str | None:
    if value is None or isinstance(value, bool) or (isinstance(value, str) and value in _EFFORTS):
        return value
    known = ", ".join(_EFFORTS)
    raise Invalid(f"think must be true, false or one of {known}; got {shown(value)}.", field="think")


def _top_logprobs(body: Mapping[str, Any]) -> int | None:
    count = body.get("top_logprobs")
    if count is not None and (
        isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MAX_TOP_LOGPROBS
    ):
        raise Invalid(
            f"top_logprobs must be from 0 to {MAX_TOP_LOGPROBS}; got {shown(count)}.", field="top_logprobs"
        )
    if not flag(body, "logprobs", False):
        return None
    return count or 0
