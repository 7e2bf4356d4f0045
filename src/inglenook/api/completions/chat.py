# SPDX-License-Identifier: Apache-2.0
"""A chat with a language model. What llama.cpp understands reaches it as it was sent."""

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.chat import Unprocessable
from inglenook.api.completions.drawing import Drawing, own_tools
from inglenook.api.language import calling, conversing
from inglenook.api.language.desk import Desk
from inglenook.api.language.fields import Fields
from inglenook.api.language.pictures import WORDS, Asker, Pictures
from inglenook.api.openai.manner import DONE, ChatManner, event
from inglenook.api.relay import DONE as LAST
from inglenook.api.relay import Parts, RelayedStream, Wait, Whole, nothing, whole_events
from inglenook.base.errors import Invalid
from inglenook.catalog.model import ModelRecord
from inglenook.door.address import base_url
from inglenook.door.caller import Caller
from inglenook.door.disconnect import while_connected
from inglenook.door.problem import shown

MAX_TEMPERATURE: Final = 2
"""OpenAI's own bound; above it every model writes noise."""
_MANNER: Final = ChatManner()

Pieces = AsyncGenerator[dict[str, Any], None]


class LanguageChat:
    """Implements `api.chat.ChatHandler`."""

    def __init__(self, *, desk: Desk, pictures: Pictures, drawing: Drawing) -> None:
        self._desk = desk
        self._pictures = pictures
        self._drawing = drawing

    async def answer(self, request: Request, who: Caller, fields: Fields, model: ModelRecord) -> Response:
        _check(fields)
        stream = fields.flag("stream")
        usage = bool((fields.object("stream_options") or {}).get("include_usage"))
        own = own_tools(fields)
        asker = Asker(who.person, request.headers["host"], base_url(request))
        count = await self._take_pictures(fields, asker)
        self._desk.complete(fields, model, system="messages")
        ask = self._desk.ask(request, who, fields, model, calling.PATH)
        if own:
            body = fields.decoded()
            drawn: Callable[[Wait], Pieces] = lambda wait: self._drawing.pieces(ask, body, own, asker, wait)  # noqa: E731
            if stream:
                return RelayedStream(_written(drawn, usage=usage), manner=_MANNER)
            return await _waited_for(request, _gathered(drawn))
        if count or conversing.needs_a_look(fields):
            order = conversing.order_of(ask, fields.decoded(), pictures=count)
            if stream:
                return RelayedStream(self._looked_at(order, usage=usage), manner=_MANNER)
            return await _waited_for(request, self._whole(order))
        if stream:
            return self._desk.relay.passed(ask, _MANNER)
        return (await self._desk.relay.whole(request.receive, ask)).response()

    async def _take_pictures(self, fields: Fields, asker: Asker) -> int:
        """Inline the pictures of the messages; how many there are. Raises InglenookError."""
        if not fields.mentions("messages", *WORDS):
            return 0
        messages, count = await self._pictures.in_messages(fields.list("messages") or [], asker)
        if count:
            fields.put({"messages": messages})
        return count

    def _looked_at(self, order: conversing.Order, *, usage: bool) -> Parts:
        """The stream of a chat for which the loaded model decides how it is asked."""

        async def parts(wait: Wait) -> AsyncGenerator[bytes, None]:
            async with self._desk.relay.hold(order.ask, wait) as held:
                plan = await conversing.plan(held, order, wait)
                if plan.body is not None:
                    async with held.request(calling.PATH, plan.body) as reply:
                        async for part in whole_events(reply.content, _MANNER.end, done=LAST):
                            yield part
                    return
                async with aclosing(calling.chunks(held, order.body, order.wish)) as pieces:
                    async for piece in pieces:
                        if piece["choices"] or usage:
                            yield event(piece)
            yield DONE

        return parts

    async def _whole(self, order: conversing.Order) -> Whole:
        wait = Wait()
        async with self._desk.relay.hold(order.ask, wait) as held:
            plan = await conversing.plan(held, order, wait)
            if plan.body is not None:
                return Whole(await held.read(calling.PATH, plan.body), wait.headers)
            answer = await calling.whole(calling.chunks(held, order.body, order.wish))
        return Whole(msgspec.json.encode(answer), wait.headers)


def _check(fields: Fields) -> None:
    """What clients expect to be told at once. Raises Unprocessable, Invalid."""
    if "messages" not in fields:
        raise Unprocessable("messages is required.", field="messages", code="request.missing_field")
    try:
        fields.require_some("messages")
    except Invalid as error:
        raise Unprocessable(error.message, field="messages", hint=error.hint) from None
    _check_form(fields)
    if "functions" in fields:
        raise Invalid(
            "functions, the old form of tools, cannot be honoured here.",
            field="functions",
            code="request.not_supported",
            hint='send tools: [{"type": "function", "function": {…}}]',
        )
    heat = fields.get("temperature")
    if heat is not None and (
        isinstance(heat, bool) or not isinstance(heat, int | float) or not 0 <= heat <= MAX_TEMPERATURE
    ):
        raise Unprocessable(
            f"temperature must be a number from 0 to {MAX_TEMPERATURE}; got {shown(heat)}.",
            field="temperature",
        )


def _check_form(fields: Fields) -> None:
    """llama.cpp passes over a form of answers that it does not understand. Raises Invalid."""
    form = fields.object("response_format") or {}
    if form.get("type") != "json_schema":
        return
    inner = form.get("json_schema")
    if not isinstance(inner, dict) or not isinstance(inner.get("schema"), dict):
        raise Invalid(
            f"response_format has no schema; got {shown(form)}.",
            field="response_format",
            hint='send {"type": "json_schema", "json_schema": {"name": …, "schema": {…}}}',
        )


def _written(make: Callable[[Wait], Pieces], *, usage: bool) -> Parts:
    """Pieces as a stream of events."""

    async def parts(wait: Wait) -> AsyncGenerator[bytes, None]:
        async with aclosing(make(wait)) as pieces:
            async for piece in pieces:
                if piece["choices"] or usage:
                    yield event(piece)
        yield DONE

    return parts


async def _gathered(make: Callable[[Wait], Pieces]) -> Whole:
    wait = Wait()
    async with aclosing(make(wait)) as pieces:
        answer = await calling.whole(pieces)
    return Whole(msgspec.json.encode(answer), wait.headers)


async def _waited_for(request: Request, work: Coroutine[Any, Any, Whole]) -> Response:
    return (await while_connected(request.receive, work, on_gone=nothing)).response()
