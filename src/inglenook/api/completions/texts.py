# SPDX-License-Identifier: Apache-2.0
"""Plain completion of a text, and llama.cpp's small helpers: text to tokens and back, a chat as a prompt."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.errors import SSE_SCHEMA, answer, errors
from inglenook.api.language.desk import Desk
from inglenook.api.language.fields import Fields
from inglenook.api.openai.manner import ChatManner
from inglenook.base.errors import Invalid
from inglenook.catalog.model import LanguageTask
from inglenook.door.caller import FromCaller, caller

_MANNER: Final = ChatManner()
_OBJECT: Final[dict[str, Any]] = {"type": "object"}
_PASSED_OVER: Final[Mapping[str, tuple[object, str]]] = {
    "echo": (False, "put the prompt before the answer yourself"),
    "suffix": ("", "POST /api/generate takes one, for models that are made to fill in"),
    "best_of": (1, "ask for n answers, and choose among them"),
}
"""Fields of OpenAI's that llama.cpp passes over: the value that changes nothing, and what to do instead."""


def texts_router(*, desk: Desk) -> APIRouter:
    router = APIRouter(tags=["language"], dependencies=[Depends(caller)])

    @router.post("/v1/completions", **_described("A text, continued", ["prompt"], streams=True))
    async def complete(request: Request, who: FromCaller) -> Response:
        fields, model = await desk.prepared(request, LanguageTask.CHAT)
        if "prompt" not in fields:
            raise Invalid("prompt is required.", field="prompt", code="request.missing_field")
        _refuse_passed_over(fields)
        stream = fields.flag("stream")
        desk.complete(fields, model)
        ask = desk.ask(request, who, fields, model, "/v1/completions")
        if stream:
            return desk.relay.passed(ask, _MANNER)
        return (await desk.relay.whole(request.receive, ask)).response()

    async def helped(request: Request, who: FromCaller, path: str, needed: str) -> Response:
        """llama.cpp's own route of that name, asked of the chosen model, of whatever task."""
        fields, model = await desk.any_prepared(request)
        if needed not in fields:
            raise Invalid(f"{needed} is required.", field=needed, code="request.missing_field")
        ask = desk.ask(request, who, fields, model, path, None)
        return (await desk.relay.whole(request.receive, ask)).response()

    @router.post("/tokenize", include_in_schema=False)
    @router.post("/v1/tokenize", **_described("A text as tokens", ["content"]))
    async def tokenize(request: Request, who: FromCaller) -> Response:
        return await helped(request, who, "/tokenize", "content")

    @router.post("/detokenize", include_in_schema=False)
    @router.post("/v1/detokenize", **_described("Tokens as a text", ["tokens"]))
    async def detokenize(request: Request, who: FromCaller) -> Response:
        return await helped(request, who, "/detokenize", "tokens")

    @router.post("/apply-template", include_in_schema=False)
    @router.post(
        "/v1/apply-template", **_described("A chat as the prompt that the model reads", ["messages"])
    )
    async def apply_template(request: Request, who: FromCaller) -> Response:
        return await helped(request, who, "/apply-template", "messages")

    return router


def _refuse_passed_over(fields: Fields) -> None:
    """Raises Invalid: what would be accepted and ignored."""
    for name, (nothing, hint) in _PASSED_OVER.items():
        if name in fields and fields.get(name) != nothing:
            raise Invalid(
                f"{name} cannot be honoured here.", field=name, code="request.not_supported", hint=hint
            )


def _described(summary: str, required: list[str], *, streams: bool = False) -> dict[str, Any]:
    body = {
        "type": "object",
        "required": required,
        "properties": {"model": {"type": "string", "description": "without one, or with auto: the default"}},
    }
    answers = answer("As llama.cpp answers.", _OBJECT)
    if streams:
        answers["content"]["text/event-stream"] = {"schema": SSE_SCHEMA}
    return {
        "summary": summary,
        "openapi_extra": {
            "requestBody": {"required": True, "content": {"application/json": {"schema": body}}}
        },
        "responses": {200: answers, **errors(400, 404, 413, 499, 503)},
    }
