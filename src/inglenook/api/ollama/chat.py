# SPDX-License-Identifier: Apache-2.0
"""POST /api/chat; and what /api/generate has in common with it."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.errors import json_response
from inglenook.api.language.calling import chunks
from inglenook.api.language.history import with_system
from inglenook.api.language.pictures import Asker
from inglenook.api.language.tools import tools_of as openai_tools
from inglenook.api.language.tools import wish_of
from inglenook.api.ollama.answers import chat_pieces
from inglenook.api.ollama.bodies import JSON, Common, items, read_common
from inglenook.api.ollama.errors import errors
from inglenook.api.ollama.held import Desk, Held
from inglenook.api.ollama.messages import messages_of, tools_of
from inglenook.api.ollama.names import require_task
from inglenook.api.ollama.writing import NDJSON, ChatShape, LineByLine, Writer, as_lines, as_one
from inglenook.api.relay import RelayedStream, Wait
from inglenook.base.errors import Invalid
from inglenook.base.ids import PersonId
from inglenook.catalog.model import LanguageTask, ModelRecord
from inglenook.door.caller import Caller, FromCaller, caller
from inglenook.door.disconnect import while_connected
from inglenook.door.problem import shown

CHAT_PATH: Final = "/v1/chat/completions"
_THINKS: Final = ("enable_thinking", "reasoning_content", "reasoning_effort", "<think>")
"""What stands in the templates of models that think before they answer."""
_OBJECT: Final[dict[str, Any]] = {"type": "object"}

Objects = Callable[[Wait], AsyncGenerator[dict[str, Any], None]]


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation in llama.cpp's words. `pictures`: how many are in it."""

    body: Mapping[str, Any]
    pictures: int = 0


def chat_routes(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["ollama"], dependencies=[Depends(caller)])

    @router.post("/api/chat", **described("A conversation (Ollama)"))
    async def chat(request: Request, who: FromCaller) -> Response:
        common = await read_common(request, desk.max_body_bytes)
        messages = messages_of(items(common.body, "messages"))
        tools = tools_of(items(common.body, "tools"))
        model = await desk.find(common.name)
        require_task(desk.language, model, "chat", LanguageTask.CHAT)
        writer = Writer(name=common.name, shape=ChatShape(), clock=desk.clock)
        if not messages:
            return await only_load(desk, request, who, common, model, writer)
        talk = await talk_of(desk, request, who, common, model, messages, tools)

        async def objects(wait: Wait) -> AsyncGenerator[dict[str, Any], None]:
            async with holding(desk, who.person, common, model, wait) as held:
                writer.load_ns = held.load_ns
                async for one in writer.objects(chat_pieces(await answered(held, talk))):
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


def holding(
    desk: Desk, person: PersonId, common: Common, model: ModelRecord, wait: Wait
) -> AbstractAsyncContextManager[Held]:
    return desk.hold(model, person, wait, keep_s=common.keep_s, context=common.options.context)


async def respond(request: Request, common: Common, objects: Objects) -> Response:
    """Stream what `objects(wait)` yields, or gather it; either way it ends when the client goes."""
    headers = common.options.headers
    if common.stream:
        return RelayedStream(lambda wait: as_lines(objects(wait)), manner=LineByLine(), headers=headers)
    whole = await while_connected(request.receive, as_one(objects(Wait())), on_gone=nothing)
    return json_response(whole, headers=headers)


async def nothing() -> None:
    """The work is cancelled, which is all there is to do."""


async def only_load(
    desk: Desk, request: Request, who: Caller, common: Common, model: ModelRecord, writer: Writer
) -> Response:
    """A request without words: load the model, or with `keep_alive: 0` let it go once its work is done."""
    if common.keep_s == 0:
        await desk.unload(model)
        return json_response(writer.empty("unload"))

    async def load() -> None:
        async with holding(desk, who.person, common, model, Wait()):
            pass

    await while_connected(request.receive, load(), on_gone=nothing)
    return json_response(writer.empty("load"), headers=common.options.headers)


# -- in llama.cpp's words --------------------------------------------------------------------------------


async def talk_of(
    desk: Desk,
    request: Request,
    who: Caller,
    common: Common,
    model: ModelRecord,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] = (),
) -> Talk:
    """The conversation, with what the model's owner has set and with its pictures made safe.

    Raises:
        Invalid: a picture or a tool that cannot be used; thinking, of a model that cannot.
    """
    said = dict(desk.language.defaults_for(model))
    system = said.pop("system", None)
    if system and not any(one.get("role") == "system" for one in messages):
        messages = with_system(list(messages), str(system))
    asker = Asker(who.person, request.headers.get("host", ""))
    safe, count = await desk.pictures.in_messages(messages, asker)
    body: dict[str, Any] = {
        "messages": safe,
        "stream": True,
        "stream_options": {"include_usage": True},
        **parameters_of(said, common),
        **_thinking(common.think, model),
    }
    if tools:
        body["tools"] = list(tools)
        openai_tools(body["tools"])  # refused here, where no model is loaded for it
    if common.form is not None:
        body["response_format"] = (
            {"type": "json_object"}
            if common.form == JSON
            else {"type": "json_schema", "json_schema": {"schema": common.form}}
        )
    if common.top_logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": common.top_logprobs}
    return Talk(body, count)


def parameters_of(defaults: Mapping[str, Any], common: Common) -> dict[str, Any]:
    """What the request says, over what the model's owner has set."""
    own = {"n_predict" if name == "max_tokens" else name: value for name, value in defaults.items()}
    return {**own, **common.options.parameters}


async def answered(held: Held, talk: Talk) -> AsyncIterator[Mapping[str, Any]]:
    """The chunks of the answer. A model whose template knows no tools is asked for calls through a schema.

    Raises:
        Invalid: there are pictures, and the model does not see.
    """
    props = await held.props()
    if talk.pictures and not props.pictures:
        raise Invalid(
            f"{shown(str(held.model.id))} does not support images",
            field="images",
            code="model.no_pictures",
            hint="take a model with a projector (mmproj) beside it",
        )
    if "tools" not in talk.body or props.tools:
        return held.stream(CHAT_PATH, talk.body)
    wish = wish_of(
        openai_tools(talk.body["tools"]),
        None,
        several=True,
        response_format=talk.body.get("response_format"),
    )
    return chunks(held.relayed, talk.body, wish)


def thinks(model: ModelRecord) -> bool:
    return model.language is not None and any(word in model.language.template for word in _THINKS)


def _thinking(think: bool | str | None, model: ModelRecord) -> dict[str, Any]:
    if think is None or (think is False and not thinks(model)):
        return {}
    if not thinks(model):
        name = shown(str(model.id))
        raise Invalid(f"{name} does not support thinking", field="think", code="model.no_thinking")
    wanted: dict[str, Any] = {"enable_thinking": think is not False}
    if isinstance(think, str):
        wanted["reasoning_effort"] = think
    return {"chat_template_kwargs": wanted}
