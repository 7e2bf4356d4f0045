# SPDX-License-Identifier: Apache-2.0
"""A language model, asked once: wait for it, ask its engine, read what it streams."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol

import msgspec

from inglenook.base.cancel import StopToken
from inglenook.base.errors import InglenookError
from inglenook.base.ids import PersonId
from inglenook.catalog.model import ModelRecord
from inglenook.chat.conversations.chunks import chunks
from inglenook.chat.service import Exchange, Hear

PATH: Final = "/v1/chat/completions"
_BAD_REQUEST: Final = 400


class Language(Protocol):
    """`chat.service.ChatService`, as far as it is needed here."""

    def exchange(
        self,
        model: ModelRecord,
        *,
        person: PersonId,
        stop: StopToken,
        context: int | None = None,
        hear: Hear | None = None,
    ) -> AbstractAsyncContextManager[Exchange]: ...


class Speaker:
    """Implements `answering.Speak`.

    Args:
        refusal: what the engine refuses as an error of ours: the model, the status, the body.
    """

    def __init__(
        self, *, language: Language, refusal: Callable[[ModelRecord, int, bytes], InglenookError]
    ) -> None:
        self._language = language
        self._refusal = refusal

    async def __call__(
        self,
        model: ModelRecord,
        body: Mapping[str, Any],
        *,
        person: PersonId,
        stop: StopToken,
        context: int | None,
        hear: Hear,
        begun: Callable[[], None],
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        sent = msgspec.json.encode(body)
        async with self._language.exchange(
            model, person=person, stop=stop, context=context, hear=hear
        ) as exchange:
            begun()
            async with exchange.request("POST", PATH, body=sent) as reply:
                if reply.status >= _BAD_REQUEST:
                    raise self._refusal(model, reply.status, await reply.read())
                async for chunk in chunks(reply.content):
                    yield chunk
