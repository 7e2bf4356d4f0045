# SPDX-License-Identifier: Apache-2.0
"""POST /v1/responses: OpenAI's newer form of a chat. Nothing is kept between requests."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.completions import turning
from inglenook.api.errors import SSE_SCHEMA, errors
from inglenook.api.language import calling, conversing
from inglenook.api.language.desk import Desk
from inglenook.api.language.events import events
from inglenook.api.language.fields import Fields
from inglenook.api.language.pictures import WORDS, Asker, Pictures
from inglenook.api.openai.manner import ResponsesManner, event
from inglenook.api.relay import Ask, Held, RelayedStream, Wait, Whole, nothing
from inglenook.base.errors import Invalid
from inglenook.catalog.model import LanguageTask
from inglenook.door.address import base_url
from inglenook.door.caller import FromCaller, caller
from inglenook.door.disconnect import while_connected

PATH: Final = "/v1/responses"
_MANNER: Final = ResponsesManner()


def responses_router(*, desk: Desk, pictures: Pictures) -> APIRouter:
    router = APIRouter(tags=["language"], dependencies=[Depends(caller)])

    @router.post("/v1/responses", **_DESCRIPTION)
    async def respond(request: Request, who: FromCaller) -> Response:
        fields, model = await desk.prepared(request, LanguageTask.CHAT)
        if "input" not in fields:
            raise Invalid("input is required.", field="input", code="request.missing_field")
        stream = fields.flag("stream")
        asker = Asker(who.person, request.headers["host"], base_url(request))
        count = await _take_pictures(pictures, fields, asker)
        desk.complete(fields, model, system="instructions")
        _rename(fields)
        ask = desk.ask(request, who, fields, model, PATH)
        if not stream and not count and "tools" not in fields:
            return (await desk.relay.whole(request.receive, ask)).response()
        made = _Made(desk, ask, fields.decoded(), count)
        if stream:
            return RelayedStream(made.parts, manner=_MANNER)
        return (await while_connected(request.receive, made.whole(), on_gone=nothing)).response()

    return router


def _rename(fields: Fields) -> None:
    """The owner's limit by the name that this dialect has for it."""
    limit = fields.get("max_tokens")
    if limit is not None:
        fields.default({"max_output_tokens": limit})
        fields.drop("max_tokens")


async def _take_pictures(pictures: Pictures, fields: Fields, asker: Asker) -> int:
    if not fields.mentions("input", *WORDS):
        return 0
    items = fields.get("input")
    if not isinstance(items, list):
        return 0
    inlined, count = await pictures.in_messages(items, asker, kind="input")
    if count:
        fields.put({"input": inlined})
    return count


class _Made:
    """A response that is streamed, or that holds what a template may not know."""

    def __init__(self, desk: Desk, ask: Ask, body: dict[str, Any], pictures: int) -> None:
        self._desk = desk
        self._ask = ask
        self._body = body
        self._pictures = pictures

    async def _order(self, held: Held, wait: Wait) -> conversing.Order | None:
        """The chat to ask instead; None where the child's own route will do. Raises Invalid."""
        if not self._pictures and not self._body.get("tools"):
            return None
        order = conversing.order_of(self._ask, turning.as_chat(self._body), pictures=self._pictures)
        chosen = await conversing.plan(held, order, wait)
        return order if chosen.body is None else None

    async def whole(self) -> Whole:
        wait = Wait()
        async with self._desk.relay.hold(self._ask, wait) as held:
            order = await self._order(held, wait)
            if order is None:
                return Whole(await held.read(PATH, self._ask.body), wait.headers)
            made = await calling.whole(calling.chunks(held, order.body, order.wish))
        return Whole(msgspec.json.encode(turning.as_response(made, self._body)), wait.headers)

    async def parts(self, wait: Wait) -> AsyncGenerator[bytes, None]:
        numbered = turning.Numbered()
        async with self._desk.relay.hold(self._ask, wait) as held:
            order = await self._order(held, wait)
            told = (
                _own_events(held, self._ask.body)
                if order is None
                else turning.as_events(calling.chunks(held, order.body, order.wish), self._body)
            )
            async with aclosing(told) as following:
                async for one in following:
                    yield event(numbered.of(one), str(one.get("type")))


async def _own_events(held: Held, body: bytes) -> AsyncGenerator[dict[str, Any], None]:
    async for one in events(held, PATH, body):
        yield one


_BODY: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["input"],
    "properties": {
        "model": {"type": "string", "description": "without one, or with auto: the default"},
        "input": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]},
        "instructions": {"type": "string"},
        "stream": {"type": "boolean"},
        "tools": {"type": "array", "items": {"type": "object"}},
    },
}
_DESCRIPTION: Final[dict[str, Any]] = {
    "summary": "A chat, in OpenAI's newer form",
    "openapi_extra": {"requestBody": {"required": True, "content": {"application/json": {"schema": _BODY}}}},
    "responses": {
        200: {
            "description": "The response, or with stream=true its events.",
            "content": {
                "application/json": {"schema": {"type": "object"}},
                "text/event-stream": {"schema": SSE_SCHEMA},
            },
        },
        **errors(400, 404, 413, 499, 503),
    },
}
