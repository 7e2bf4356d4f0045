# SPDX-License-Identifier: Apache-2.0
"""Conversations under /v1: what the Chat page is made of, for everybody.

listing.py     find, make, change, throw away
messages.py    say something, have it answered (server-sent events), stop, show another branch, pictures
documents.py   take along and bring back
presets.py     system prompts under a name
shapes.py      conversations and messages as JSON; fields.py: the JSON of requests, checked
speaking.py    a model, asked once; drawing.py: our own tools for one that talks
"""

from fastapi import APIRouter

from inglenook.api.conversations.documents import documents_router
from inglenook.api.conversations.listing import listing_router
from inglenook.api.conversations.messages import messages_router
from inglenook.api.conversations.presets import presets_router
from inglenook.chat.conversations.answering import Answers
from inglenook.door.routes import joined
from inglenook.door.services import Conversations, Images

__all__ = ["conversations_router"]


def conversations_router(
    *, conversations: Conversations, answers: Answers, images: Images, max_body_bytes: int
) -> APIRouter:
    """Args:
    max_body_bytes: of a file that is brought, and of pictures.
    """
    return joined(
        presets_router(conversations=conversations),
        # Before those of one conversation, whose id would otherwise be `export` or `pictures`.
        documents_router(conversations=conversations, images=images, max_body_bytes=max_body_bytes),
        messages_router(conversations=conversations, answers=answers, images=images),
        listing_router(conversations=conversations),
    )
