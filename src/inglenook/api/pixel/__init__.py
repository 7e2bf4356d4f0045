# SPDX-License-Identifier: Apache-2.0
"""/v1/pixel/…: sprites of pictures, sprites from words, sprites as files, and what they can be made with.

fields.py       what requests may hold, and words for what is wrong with it
answers.py      sprites and jobs as JSON
making.py       POST sprites
pictures.py     POST convert, POST export
lists.py        palettes, presets, engines
description.py  the same for /openapi.json
"""

from fastapi import APIRouter

from inglenook.api.language.pictures import Pictures
from inglenook.api.pixel.lists import lists_router
from inglenook.api.pixel.making import making_router
from inglenook.api.pixel.pictures import pictures_router
from inglenook.door.routes import add_routes
from inglenook.door.services import Jobs, Palettes, Sprites

__all__ = ["pixel_router"]


def pixel_router(
    *, sprites: Sprites, jobs: Jobs, palettes: Palettes, pictures: Pictures, max_body_bytes: int
) -> APIRouter:
    """All routes. `pictures`: brings what a text names. `max_body_bytes`: of JSON that may hold pictures."""
    router = APIRouter()
    add_routes(
        router,
        making_router(
            sprites=sprites, jobs=jobs, palettes=palettes, pictures=pictures, max_body_bytes=max_body_bytes
        ),
        pictures_router(sprites=sprites, palettes=palettes),
        lists_router(sprites=sprites, palettes=palettes),
    )
    return router
