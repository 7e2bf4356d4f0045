# SPDX-License-Identifier: Apache-2.0
"""OpenAI's dialect of pictures, and the list of all models. Chats and embeddings: `api.completions`.

fields.py       what a request may hold, and words for what is wrong with it
animations.py   its fields of moving pictures → `SpriteRequest`
requests.py     its fields → `ImageRequest`
answers.py      a job → its answer, whole or streamed
pictures.py     /v1/images/…
models.py       /v1/models
headers.py      what headers ask for
manner.py       how it writes a stream
description.py  the same for /openapi.json
"""

from fastapi import APIRouter

from inglenook.api.openai.models import models_router
from inglenook.api.openai.pictures import pictures_router
from inglenook.base.clock import Clock
from inglenook.door.routes import add_routes
from inglenook.door.services import Catalog, Gallery, Images, Jobs, Language, Palettes, Runtime, Sprites

__all__ = ["openai_router"]


def openai_router(
    *,
    images: Images,
    jobs: Jobs,
    gallery: Gallery,
    catalog: Catalog,
    runtime: Runtime,
    clock: Clock,
    language: Language,
    sprites: Sprites,
    palettes: Palettes,
) -> APIRouter:
    """All routes of the dialect."""
    router = APIRouter()
    add_routes(
        router,
        pictures_router(
            images=images,
            jobs=jobs,
            gallery=gallery,
            catalog=catalog,
            clock=clock,
            sprites=sprites,
            palettes=palettes,
        ),
    )
    add_routes(router, models_router(catalog=catalog, runtime=runtime, language=language))
    return router
