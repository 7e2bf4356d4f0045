# SPDX-License-Identifier: Apache-2.0
"""A language model, asked once, through the relay that every dialect uses."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

import msgspec

from inglenook.api.language import calling
from inglenook.api.language.events import events
from inglenook.api.language.tools import tools_of, wish_of
from inglenook.api.relay import Ask, Relay, Wait
from inglenook.base.cancel import StopToken
from inglenook.base.ids import PersonId
from inglenook.catalog.model import ModelRecord
from inglenook.chat.service import Hear


class _Told(Wait):
    """Hands on why it waits, whole."""

    def __init__(self, hear: Hear) -> None:
        super().__init__()
        self._hear = hear

    async def hear(self, explanation: Mapping[str, Any]) -> None:
        await super().hear(explanation)
        await self._hear(explanation)


class Speaker:
    """Implements `chat.conversations.answering.Speak`. Where a model's template ignores tools, they are asked
    for through a schema."""

    def __init__(self, *, relay: Relay) -> None:
        self._relay = relay

    async def __call__(
        self,
        model: ModelRecord,
        body: Mapping[str, Any],
        *,
        person: PersonId,
        stop: StopToken,  # noqa: ARG002 - whoever stops it closes the generator
        context: int | None,
        hear: Hear,
        begun: Callable[[], None],
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        ask = Ask(model, person, calling.PATH, context=context)
        async with self._relay.hold(ask, _Told(hear)) as held:
            begun()
            if body.get("tools") and not (await held.props()).tools:
                wish = wish_of(tools_of(body["tools"]), "auto", response_format=body.get("response_format"))
                pieces = calling.chunks(held, body, wish)
                async with aclosing(pieces):
                    async for piece in pieces:
                        yield piece
                return
            async for event in events(held, calling.PATH, msgspec.json.encode(body)):
                yield event
