# SPDX-License-Identifier: Apache-2.0
"""POST /api/chat."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.errors import json_response
from inglenook.api.ollama.answers import chat_pieces
from inglenook.api.ollama.bodies import JSON, Common, items, read_common
from inglenook.api.ollama.errors import errors
from inglenook.api.ollama.held import Desk
from inglenook.api.ollama.messages import messages_of, tools_of
from inglenook.api.ollama.names import require_task
from inglenook.api.ollama.writing import NDJSON, ChatShape, LineByLine, Writer, as_lines, as_one
from inglenook.api.relay import RelayedStream, Wait
from inglenook.base.errors import Conflict, Invalid
from inglenook.base.ids import PersonId
from inglenook.catalog.model import LanguageTask, ModelRecord
from inglenook.door.caller import Caller, FromCaller, caller
from inglenook.door.disconnect import while_connected
from inglenook.door.problem import shown

CHAT_PATH: Final = "/v1/chat/completions"
_THINKS: Final = ("enable_thinking", "reasoning_content", "reasoning_effort", "<think>")
"""What stands in the templates of models that think before they answer."""
_OBJECT: Final[dict[str, Any]] = {"type": "object"}


def chat_routes(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["ollama"], dependencies=[Depends(caller)])

    @router.post("/api/chat", **described("A conversation (Ollama)"))
    async def chat(request: Request, who: FromCaller) -> Response:
        common = await read_common(request, desk.max_body_bytes)
        messages = messages_of(items(common.body, "messages"))
        tools = tools_of(items(common.body, "tools"))
        model = await desk.find(common.name)
        require_task(model, LanguageTask.CHAT, "chat")
        writer = Writer(name=common.name, shape=ChatShape(), clock=desk.clock)
        if not messages:
            return await only_load(desk, request, who, common, model, writer)
        body = chat_body(common, model, messages, tools)

        async def objects(wait: Wait) -> AsyncGenerator[dict[str, Any], None]:
            async with holding(desk, who.person, common, model, wait) as held:
                writer.load_ns = held.load_ns
                async with held.stream(CHAT_PATH, body) as reply:
                    async for one in writer.objects(chat_pieces(reply.content)):
                        yield one

        return await respond(request, common, objects)

    return router


def described(summary: str) -> dict[str, Any]:
    return {
        "summary": summary,
        "openapi_extra": {
            "requestBody": {"required": True, "content": {"application/json": {"schema": _OBJECT}}}
        },
        "responses": {
            200: {
                "description": "Objects, one a line; with stream=false one.",
                "content": {
                    NDJSON: {"schema": {"type": "string"}},
                    "application/json": {"schema": _OBJECT},
                },
            },
            **errors(400, 404, 413, 429, 499, 503),
        },
    }


def holding(desk: Desk, person: PersonId, common: Common, model: ModelRecord, wait: Wait) -> Any:
    return desk.hold(model, person, keep_s=common.keep_s, context=common.options.context, wait=wait)


async def respond(request: Request, common: Common, objects: Any) -> Response:
    """Stream what `objects(wait)` yields, or gather it; either way it ends when the client goes."""
    headers = common.options.headers
    if common.stream:
        return RelayedStream(lambda wait: as_lines(objects(wait)), manner=LineByLine(), headers=headers)
    whole = await while_connected(request.receive, as_one(objects(Wait())), on_gone=_nothing)
    return json_response(whole, headers=headers)


async def _nothing() -> None:
    """The work is cancelled, which is all there is to do."""


async def only_load(
    desk: Desk, request: Request, who: Caller, common: Common, model: ModelRecord, writer: Writer
) -> Response:
    """A request without words: load the model, or with `keep_alive: 0` let it go.

    Raises:
        Conflict: it is to go, and somebody works with it.
    """
    if common.keep_s == 0:
        if not await desk.unload(model):
            raise Conflict(
                f"{model.id} is at work and stays.",
                code="resident.busy",
                hint="it goes when it is idle, or when its work is cancelled",
            )
        return json_response(writer.nothing("unload"))

    async def load() -> None:
        async with holding(desk, who.person, common, model, Wait()):
            pass

    await while_connected(request.receive, load(), on_gone=_nothing)
    return json_response(writer.nothing("load"), headers=common.options.headers)


def chat_body(
    common: Common,
    model: ModelRecord,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The request in llama.cpp's words. Raises Invalid where the model cannot think and was told to."""
    body: dict[str, Any] = {
        "messages": list(messages),
        "stream": True,
        "stream_options": {"include_usage": True},
        **common.options.parameters,
        **_thinking(common.think, model),
    }
    if tools:
        body["tools"] = list(tools)
    if common.form is not None:
        body["response_format"] = (
            {"type": "json_object"}
            if common.form == JSON
            else {"type": "json_schema", "json_schema": {"schema": common.form}}
        )
    if common.top_logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": common.top_logprobs}
    return body


def thinks(model: ModelRecord) -> bool:
    return model.language is not None and any(word in model.language.template for word in _THINKS)


def _thinking(think: bool | str | None, model: ModelRecord) -> dict[str, Any]:
    if think is None or (think is False and not thinks(model)):
        return {}
    if not thinks(model):
        raise Invalid(
            f"{shown(str(model.id))} does not support thinking", field="think", code="model.no_thinking"
        )
    wanted: dict[str, Any] = {"enable_thinking": think is not False}
    if isinstance(think, str):
        wanted["reasoning_effort"] = think
    return {"chat_template_kwargs": wanted}
