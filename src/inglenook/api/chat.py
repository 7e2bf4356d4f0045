# SPDX-License-Identifier: Apache-2.0
"""POST /v1/chat/completions: who answers depends on the kind of the model that is named.

Here the body is read and the model found; what kind of conversation it is, is the handler's business
(`api.alice.chat` for models that draw, `api.completions.chat` for language models).
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.errors import SSE_SCHEMA, answer, as_error, errors, json_response
from inglenook.api.language.fields import Fields
from inglenook.base.errors import Invalid, NotFound
from inglenook.catalog.errors import unusable
from inglenook.catalog.model import ModelKind, ModelRecord
from inglenook.door.caller import Caller, FromCaller
from inglenook.door.problem import problem_of, shown
from inglenook.door.services import Catalog

UNPROCESSABLE = 422
MAX_MODEL_CHARS = 256
MAX_MESSAGES = 10_000
_AUTO = "auto"


class Unprocessable(Invalid):
    """The body is not what the route takes: no JSON, a missing field, a wrong type, a number out of bounds.

    ALICE's clients know 422 for it, with FastAPI's `detail`; everybody else reads `error`.
    """

    default_code = "request.invalid"


@dataclass(frozen=True, slots=True)
class Message:
    """`content` as it was sent: a text, a list of parts, or None."""

    role: str
    content: str | list[Any] | None


@dataclass(frozen=True, slots=True)
class Chat:
    """What every kind of conversation has. `body` is the whole request, for what only one kind knows."""

    model: str
    messages: tuple[Message, ...]
    stream: bool
    include_usage: bool
    body: Mapping[str, Any]

    @property
    def last_user_message(self) -> int:
        """Its index. Raises Invalid when the user has said nothing."""
        for index in reversed(range(len(self.messages))):
            if self.messages[index].role == "user":
                return index
        raise Invalid(
            "There is no message of the user.",
            field="messages",
            code="request.no_user_message",
            hint='send at least {"role": "user", "content": "…"}',
        )


class ChatHandler(Protocol):
    async def answer(self, request: Request, who: Caller, fields: Fields, model: ModelRecord) -> Response: ...


Find = Callable[[str], Awaitable[ModelRecord]]
"""A model of any kind by what a client calls it. Raises NotFound, Invalid."""


def chat_router(
    *, catalog: Catalog, find: Find, handlers: Mapping[ModelKind, ChatHandler], max_body_bytes: int
) -> APIRouter:
    """Args:
    catalog: for what draws by default.
    find: "auto" means what chats by default.
    handlers: by the kind of model; a kind without one is refused in words.
    max_body_bytes: of a request, which may hold input pictures.
    """
    router = APIRouter(
        tags=["chat"]
    )  # its one route asks who is calling, which twice would take twice as long

    @router.post("/v1/chat/completions", **_DESCRIPTION)
    async def complete(request: Request, who: FromCaller) -> Response:
        try:
            fields = await _fields(request, max_body_bytes)
            model = await _found(catalog, find, fields)
            if model.problem is not None:  # a file that cannot be read is of no kind that answers
                raise unusable(model.id, model.problem)
            handler = handlers.get(model.kind)
            if handler is None:
                raise Invalid(
                    f"{model.id} is a model of kind {model.kind}; such models do not answer here.",
                    field="model",
                    code="model.no_chat",
                    hint=f"models of kind {', '.join(handlers)} do; GET /v1/models lists them",
                )
            return await handler.answer(request, who, fields, model)
        except Unprocessable as error:
            return unprocessable(error)

    return router


async def _fields(request: Request, max_body_bytes: int) -> Fields:
    try:
        return await Fields.read(request, limit_bytes=max_body_bytes)
    except Invalid as error:
        raise Unprocessable(error.message, code=error.code, hint=error.hint) from None


async def _found(catalog: Catalog, find: Find, fields: Fields) -> ModelRecord:
    """The model that is meant; `sam_config` means one that draws, where none is named."""
    name = _model(fields)
    draws = any(place in fields for place in ("sam_config", "samConfig"))
    try:
        if draws and name == _AUTO:
            return await run_in_threadpool(catalog.find, name)
        return await find(name)
    except NotFound:
        _ = read(fields).last_user_message  # a request that is wrong in itself is told so first
        raise


def unprocessable(error: Invalid) -> Response:
    """422 in both shapes."""
    problem = replace(problem_of(error), status=UNPROCESSABLE)
    place = [] if problem.field is None else problem.field.split(".")
    detail = [{"loc": ["body", *place], "msg": problem.message, "type": problem.code}]
    return json_response(
        {"error": as_error(problem), "detail": detail},
        status_code=UNPROCESSABLE,
        headers={"x-should-retry": "false"},
    )


def read(fields: Fields) -> Chat:
    """A conversation with a model that draws. Raises Unprocessable."""
    body = fields.decoded()
    options = body.get("stream_options") or {}
    if not isinstance(options, dict):
        raise Unprocessable(
            f"stream_options must be an object; got {shown(options)}.", field="stream_options"
        )
    return Chat(
        model=_model(fields),
        messages=_messages(body),
        stream=_flag(body, "stream"),
        include_usage=_flag(options, "include_usage"),
        body=body,
    )


def _model(fields: Fields) -> str:
    """Clients of ALICE and of Cyber-Inference know 422 for a chat without one."""
    try:
        name = fields.text("model", most=MAX_MODEL_CHARS)
    except Invalid as error:
        raise Unprocessable(error.message, field="model") from None
    if not name:
        raise Unprocessable(
            "model is required.", field="model", code="request.missing_field", hint="auto takes the default"
        )
    return name


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise Unprocessable(f"{name} must be true or false; got {shown(value)}.", field=name)


def _messages(body: Mapping[str, Any]) -> tuple[Message, ...]:
    sent = body.get("messages")
    if sent is None:
        raise Unprocessable("messages is required.", field="messages", code="request.missing_field")
    if not isinstance(sent, list) or len(sent) > MAX_MESSAGES:
        raise Unprocessable(
            f"messages must be a list of at most {MAX_MESSAGES}; got {shown(sent)}.", field="messages"
        )
    return tuple(_message(one, f"messages.{index}") for index, one in enumerate(sent))


def _message(sent: object, where: str) -> Message:
    if not isinstance(sent, dict):
        raise Unprocessable(f"{where} must be an object; got {shown(sent)}.", field=where)
    role, content = sent.get("role"), sent.get("content")
    if not isinstance(role, str):
        raise Unprocessable(f"{where}.role must be a text; got {shown(role)}.", field=f"{where}.role")
    if content is not None and not isinstance(content, str | list):
        raise Unprocessable(
            f"{where}.content must be a text or a list of parts; got {shown(content)}.",
            field=f"{where}.content",
        )
    return Message(role, content)


_BODY: dict[str, Any] = {
    "type": "object",
    "required": ["model", "messages"],
    "properties": {
        "model": {
            "type": "string",
            "description": "an id or an alias; auto takes the default",
        },
        "messages": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["role"],
                "properties": {
                    "role": {"type": "string"},
                    "content": {
                        "anyOf": [
                            {"type": "string"},
                            {"type": "array", "items": {"type": "object"}},
                            {"type": "null"},
                        ]
                    },
                },
            },
        },
        "stream": {"type": "boolean"},
        "stream_options": {"type": "object", "properties": {"include_usage": {"type": "boolean"}}},
        "sam_config": {"type": "object", "description": "for models that draw; also samConfig, metadata"},
    },
}
_ANSWER: dict[str, Any] = {
    "type": "object",
    "required": ["id", "object", "created", "model", "choices", "usage"],
    "properties": {
        "id": {"type": "string"},
        "object": {"type": "string", "enum": ["chat.completion"]},
        "created": {"type": "integer"},
        "model": {"type": "string"},
        "choices": {"type": "array", "items": {"type": "object"}},
        "usage": {"type": "object"},
    },
}
_DESCRIPTION: dict[str, Any] = {
    "summary": "A message to a model; models that draw answer with pictures",
    "openapi_extra": {"requestBody": {"required": True, "content": {"application/json": {"schema": _BODY}}}},
    "responses": {
        200: {
            "description": "The answer, or with stream=true its pieces.",
            "content": {
                "application/json": {"schema": _ANSWER},
                "text/event-stream": {"schema": SSE_SCHEMA},
            },
        },
        202: answer("With Prefer: respond-async, the job.", {"type": "object"}),
        **errors(400, 404, 409, 413, 429, 499, 503),
    },
}
