# SPDX-License-Identifier: Apache-2.0
"""What an open Chat page is told: how the models stand, and that the conversation has changed elsewhere.

models    {model id: {option, standing, words}}, whenever one has changed
changed   {updated_at}, when something was said in another page
gone      {}: the conversation was thrown away
beat      nothing; silence means a lost connection
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from inglenook.base.errors import NotFound
from inglenook.base.ids import ConversationId, PersonId
from inglenook.door.services import Conversations
from inglenook.door.sse import ServerEvent
from inglenook.web.talks import TalkModel

LOOK_EVERY_S = 1.5
BEAT_EVERY_S = 12.0


async def chat_stream(
    *,
    models: Callable[[], Sequence[TalkModel]],
    conversations: Conversations,
    person: PersonId,
    conversation: ConversationId | None,
) -> AsyncGenerator[ServerEvent, None]:
    """Until the reader closes it.

    Args:
        models: how they stand now; called on the event loop.
    """
    loop = asyncio.get_running_loop()
    told: dict[str, Any] = {}
    told_s = loop.time()
    while True:
        fresh: dict[str, Any] = {"models": _models(models())}
        if conversation is not None:
            fresh |= await asyncio.to_thread(_look, conversations, person, conversation)
        for event, data in fresh.items():
            if told.get(event) != data:
                told[event], told_s = data, loop.time()
                yield ServerEvent(event=event, data=json.dumps(data, ensure_ascii=False))
        if loop.time() - told_s >= BEAT_EVERY_S:
            told_s = loop.time()
            yield ServerEvent(event="beat", data="")
        await asyncio.sleep(LOOK_EVERY_S)


def _models(models: Sequence[TalkModel]) -> dict[str, Any]:
    return {
        one.id: {"option": one.option, "standing": one.standing, "words": one.words}
        for one in models
        if one.usable
    }


def _look(conversations: Conversations, person: PersonId, conversation: ConversationId) -> dict[str, Any]:
    """Blocks."""
    try:
        now = conversations.get(conversation, caller=person)
    except NotFound:
        return {"gone": {}}
    return {"changed": {"updated_at": now.updated_at.isoformat(), "title": now.title}}
