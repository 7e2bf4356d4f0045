# SPDX-License-Identifier: Apache-2.0
"""POST /v1/messages and /v1/messages/count_tokens."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.anthropic import turning
from inglenook.api.anthropic.manner import MessagesManner, request_headers
from inglenook.api.errors import SSE_SCHEMA, answer, errors
from inglenook.api.language import calling, conversing, history
from inglenook.api.language.desk import Desk
from inglenook.api.language.fields import Fields
from inglenook.api.language.pictures import WORDS, Asker, Pictures, refused
from inglenook.api.language.tools import instructions
from inglenook.api.openai.manner import event
from inglenook.api.relay import Ask, Held, RelayedStream, Wait, Whole, nothing, whole_events
from inglenook.base.errors import Invalid
from inglenook.catalog.model import LanguageTask
from inglenook.door.address import base_url
from inglenook.door.caller import FromCaller, caller
from inglenook.door.disconnect import while_connected
from inglenook.door.problem import shown

PATH: Final = "/v1/messages"
COUNT: Final = "/v1/messages/count_tokens"
_MANNER: Final = MessagesManner()


def messages_router(*, desk: Desk, pictures: Pictures) -> APIRouter:
    router = APIRouter(tags=["language"], dependencies=[Depends(caller)])

    async def prepared(request: Request, who: FromCaller, path: str) -> "_Made":
        fields, model = await desk.prepared(request, LanguageTask.CHAT)
        if "messages" not in fields:
            raise Invalid("messages is required.", field="messages", code="request.missing_field")
        fields.require_some("messages")
        asker = Asker(who.person, request.headers["host"], base_url(request))
        count = await _take_pictures(pictures, fields, asker)
        desk.complete(fields, model, system="system")
        looked_at = (
            count > 0 or "tools" in fields or fields.mentions("messages", b'"tool_use"', b'"tool_result"')
        )
        ask = desk.ask(request, who, fields, model, path)
        return _Made(desk, ask, fields.decoded() if looked_at else None, count)

    @router.post(PATH, **_described("A message, as Anthropic's clients send it", streams=True))
    async def message(request: Request, who: FromCaller) -> Response:
        made = await prepared(request, who, PATH)
        headers = request_headers(request)
        stream = made.stream
        if stream:
            return RelayedStream(made.parts, manner=_MANNER, headers=headers)
        whole = await while_connected(request.receive, made.whole(), on_gone=nothing)
        return Whole(whole.body, {**whole.headers, **headers}).response()

    @router.post(COUNT, **_described("How many tokens a message has"))
    async def count(request: Request, who: FromCaller) -> Response:
        made = await prepared(request, who, COUNT)
        whole = await while_connected(request.receive, made.counted(), on_gone=nothing)
        return Whole(whole.body, {**whole.headers, **request_headers(request)}).response()

    return router


class _Made:
    """One message to a model. `body`: decoded where somebody has to look into it, else None."""

    def __init__(self, desk: Desk, ask: Ask, body: Mapping[str, Any] | None, pictures: int) -> None:
        self._desk = desk
        self._ask = ask
        self._body = body
        self._pictures = pictures

    @property
    def stream(self) -> bool:
        return Fields(self._ask.body).flag("stream")

    async def _order(self, held: Held, wait: Wait) -> conversing.Order | None:
        """The chat to ask instead; None where the child's own route will do. Raises Invalid."""
        if self._body is None:
            return None
        chat = turning.as_chat(self._body)
        order = conversing.order_of(self._ask, chat, pictures=self._pictures)
        chosen = await conversing.plan(held, order, wait)
        knows_all = chosen.body is self._ask.body
        return None if knows_all else order

    async def whole(self) -> Whole:
        wait = Wait()
        async with self._desk.relay.hold(self._ask, wait) as held:
            order = await self._order(held, wait)
            if order is None:
                return Whole(await held.read(PATH, self._ask.body), wait.headers)
            made = await calling.whole(conversing.pieces(held, order))
        return Whole(msgspec.json.encode(turning.as_message(made)), wait.headers)

    async def parts(self, wait: Wait) -> AsyncGenerator[bytes, None]:
        async with self._desk.relay.hold(self._ask, wait) as held:
            order = await self._order(held, wait)
            if order is None:
                async with held.request(PATH, self._ask.body) as reply:
                    async for part in whole_events(reply.content, _MANNER.end, done=b"message_stop"):
                        yield part
                return
            told = turning.as_events(conversing.pieces(held, order), str(self._ask.model.id))
            async with aclosing(told) as following:
                async for one in following:
                    yield event(one, one["type"])

    async def counted(self) -> Whole:
        """What the model would read, with what the tools add to it."""
        wait = Wait()
        async with self._desk.relay.hold(self._ask, wait) as held:
            order = await self._order(held, wait)
            if order is None:
                return Whole(await held.read(COUNT, self._ask.body), wait.headers)
            messages = history.in_words(
                order.body["messages"],
                instructions="" if order.wish.mode == "none" else instructions(order.wish),
            )
            asked = msgspec.json.encode({"messages": messages})
            prompt = msgspec.json.decode(await held.read("/apply-template", asked))["prompt"]
            told = msgspec.json.encode({"content": prompt, "add_special": True, "parse_special": True})
            tokens = msgspec.json.decode(await held.read("/tokenize", told))["tokens"]
        return Whole(msgspec.json.encode({"input_tokens": len(tokens)}), wait.headers)


async def _take_pictures(pictures: Pictures, fields: Fields, asker: Asker) -> int:
    """Inline the pictures of the messages; how many there are. Raises InglenookError."""
    if not fields.mentions("messages", *WORDS):
        return 0
    messages = fields.list("messages") or []
    deadline_s, count = pictures.deadline_s(), 0
    for index, message in enumerate(messages):
        content = message.get("content") if isinstance(message, dict) else None
        for number, block in enumerate(content if isinstance(content, list) else ()):
            field = f"messages.{index}.content.{number}"
            for source in _sources(block, field):
                count += 1
                address = _address(source, field)
                data = await pictures.base64(address, field, asker, deadline_s)
                source.clear()
                source.update({"type": "base64", "media_type": "image/png", "data": data})
    if count:
        fields.put({"messages": messages})
    return count


def _sources(block: object, field: str) -> list[dict[str, Any]]:
    """Where the pictures of a block come from, also those in the result of a tool. Raises Invalid."""
    kind = block.get("type") if isinstance(block, dict) else None
    if not isinstance(block, dict) or kind in ("document", "audio", "file"):
        raise refused(block, field)
    if kind == "image" and isinstance(block.get("source"), dict):
        return [block["source"]]
    if kind == "image":
        raise Invalid(f"{field}.source must be an object; got {shown(block.get('source'))}.", field=field)
    if kind == "tool_result" and isinstance(block.get("content"), list):
        return [source for inner in block["content"] for source in _sources(inner, field)]
    return []


def _address(source: Mapping[str, Any], field: str) -> str:
    value = source.get("data") if source.get("type") == "base64" else source.get("url")
    if not isinstance(value, str) or not value:
        raise Invalid(f"{field}.source must hold data or a url; got {shown(dict(source))}.", field=field)
    return value


_BODY: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["messages"],
    "properties": {
        "model": {"type": "string", "description": "without one, or with auto: the default"},
        "messages": {"type": "array", "items": {"type": "object", "required": ["role", "content"]}},
        "max_tokens": {"type": "integer"},
        "stream": {"type": "boolean"},
        "tools": {"type": "array", "items": {"type": "object"}},
    },
}


def _described(summary: str, *, streams: bool = False) -> dict[str, Any]:
    answers = answer("As Anthropic's API answers.", {"type": "object"})
    if streams:
        answers["content"]["text/event-stream"] = {"schema": SSE_SCHEMA}
    return {
        "summary": summary,
        "openapi_extra": {
            "requestBody": {"required": True, "content": {"application/json": {"schema": _BODY}}}
        },
        "responses": {200: answers, **errors(400, 404, 413, 499, 503)},
    }
