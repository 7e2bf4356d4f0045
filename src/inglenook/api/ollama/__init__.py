# SPDX-License-Identifier: Apache-2.0
"""Ollama's dialect. Its clients work unchanged; docs/guides/ollama.md tells what differs.

names.py      `name:tag` ↔ models of ours
bodies.py     what is sent, field by field
options.py    `options` → llama.cpp's parameters
messages.py   messages and tools → those of llama.cpp's chat route
held.py       a model that is held while it is asked, once or several times
answers.py    the events of the child → pieces of an answer
writing.py    pieces → Ollama's objects, one line each
chat.py       /api/chat
generate.py   /api/generate
embed.py      /api/embed, /api/embeddings
models.py     /api/tags, show, ps, version
keeping.py    /api/pull, delete, copy, create, push: what changes models
errors.py     {"error": "…"}
"""

from pathlib import Path

from fastapi import APIRouter

from inglenook.api.language.pictures import Pictures
from inglenook.api.ollama.chat import chat_routes
from inglenook.api.ollama.embed import embed_routes
from inglenook.api.ollama.errors import PATHS, render_ollama
from inglenook.api.ollama.generate import generate_routes
from inglenook.api.ollama.held import Desk
from inglenook.api.ollama.keeping import keeping_routes
from inglenook.api.ollama.models import model_routes
from inglenook.base.clock import Clock
from inglenook.door.routes import joined
from inglenook.door.services import Catalog, Language, Runtime

__all__ = ["PATHS", "ollama_router", "render_ollama"]


def ollama_router(
    *,
    language: Language,
    catalog: Catalog,
    runtime: Runtime,
    pictures: Pictures,
    clock: Clock,
    max_body_bytes: int,
    own_models: Path,
    version: str,
) -> APIRouter:
    """All routes of the dialect.

    Args:
        max_body_bytes: of a request, which may hold pictures.
        own_models: the folder of which models may be deleted.
        version: the program's own.
    """
    desk = Desk(
        language=language,
        catalog=catalog,
        runtime=runtime,
        pictures=pictures,
        clock=clock,
        max_body_bytes=max_body_bytes,
    )
    return joined(
        chat_routes(desk),
        generate_routes(desk),
        embed_routes(desk),
        model_routes(desk, version=version),
        keeping_routes(desk, own_models=own_models),
    )
