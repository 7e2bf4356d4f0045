# SPDX-License-Identifier: Apache-2.0
"""A chat that cannot simply be passed on: it holds tools or pictures, and what becomes of them depends on the
model that is loaded. In OpenAI's terms; other dialects translate to and from them.
"""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from inglenook.api.language import calling, history
from inglenook.api.language.events import events
from inglenook.api.language.fields import Fields
from inglenook.api.language.pictures import blind
from inglenook.api.language.tools import Wish, tools_of, wish_of
from inglenook.api.relay import Ask, Held, Wait

_TOOL_FIELDS: Final = ("tools", "tool_choice", "parallel_tool_calls")
_HINTS: Final = (b'"tool"', b"tool_calls", b'"function"')


@dataclass(frozen=True, slots=True)
class Order:
    """One such chat.

    Attributes:
        ask: the request as the client sent it, for a model that can do with it as it is.
        body: the same, decoded.
        pictures: how many there are in its messages.
    """

    ask: Ask
    body: Mapping[str, Any]
    wish: Wish
    pictures: int = 0


def needs_a_look(fields: Fields) -> bool:
    """Whether a chat holds anything that a template may not know, or asks for a call without any tool."""
    if "tool_choice" in fields and fields.get("tool_choice") not in ("auto", "none"):
        return True
    return "tools" in fields or fields.mentions("messages", *_HINTS)


def order_of(ask: Ask, body: Mapping[str, Any], *, pictures: int = 0) -> Order:
    """Raises Invalid: tools, or a choice among them, that make no sense."""
    wish = wish_of(
        tools_of(body.get("tools")),
        body.get("tool_choice"),
        several=body.get("parallel_tool_calls") is True,
        response_format=body.get("response_format"),
    )
    return Order(ask, body, wish, pictures)


@dataclass(frozen=True, slots=True)
class Plan:
    """How the model that is loaded is asked.

    Attributes:
        body: what it is sent as it is; None where a schema makes the calls (`calling.chunks`).
    """

    body: bytes | None


async def plan(held: Held, order: Order, wait: Wait | None = None) -> Plan:
    """Raises Invalid: pictures for a model that sees none; and as `Held.request`."""
    props = await held.props()
    if order.pictures and not props.pictures:
        raise blind(held.model.id)
    if order.wish.mode == "required" or (order.wish.mode == "auto" and not props.tools):
        if wait is not None:
            wait.headers[calling.HEADER] = "schema"
        return Plan(None)
    messages = order.body.get("messages")
    if props.tools or not isinstance(messages, list) or not history.tells_of_calls(messages):
        return Plan(order.ask.body)
    told = {name: value for name, value in order.body.items() if name not in _TOOL_FIELDS}
    return Plan(msgspec.json.encode(told | {"messages": history.in_words(messages)}))


async def pieces(held: Held, order: Order, wait: Wait | None = None) -> AsyncGenerator[dict[str, Any], None]:
    """The answer as OpenAI's `chat.completion.chunk`s, usage in the last one, whichever way it is made."""
    chosen = await plan(held, order, wait)
    if chosen.body is None:
        async for piece in calling.chunks(held, order.body, order.wish):
            yield piece
        return
    body = msgspec.json.decode(chosen.body)
    asked = msgspec.json.encode(body | {"stream": True, "stream_options": {"include_usage": True}})
    async for piece in events(held, calling.PATH, asked):
        yield piece
