# SPDX-License-Identifier: Apache-2.0
"""OpenAI's dialect of language models.

chat.py        a chat, passed on or looked at
drawing.py     tools of our own: a chat that draws
texts.py       /v1/completions, /tokenize, /detokenize, /apply-template
embeddings.py  /v1/embeddings
ranking.py     /v1/rerank
responses.py   /v1/responses
turning.py     the same as a chat, and back, where tools need it
"""

from fastapi import APIRouter

from inglenook.api.completions.embeddings import embeddings_router
from inglenook.api.completions.ranking import ranking_router
from inglenook.api.completions.responses import responses_router
from inglenook.api.completions.texts import texts_router
from inglenook.api.language.desk import Desk
from inglenook.api.language.pictures import Pictures
from inglenook.door.routes import joined

__all__ = ["completions_router"]


def completions_router(*, desk: Desk, pictures: Pictures) -> APIRouter:
    """All routes but the chat's, which is shared with models that draw (`api.chat`)."""
    return joined(
        texts_router(desk=desk),
        embeddings_router(desk=desk),
        ranking_router(desk=desk),
        responses_router(desk=desk, pictures=pictures),
    )
