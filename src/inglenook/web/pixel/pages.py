# SPDX-License-Identifier: Apache-2.0
"""GET /pixels: the page, with everything that can be chosen on it."""

import asyncio
from typing import Any

from fastapi import APIRouter, Depends
from starlette.responses import Response

from inglenook.catalog.model import ModelKind
from inglenook.door.caller import caller
from inglenook.door.services import Catalog, Palettes, Sprites
from inglenook.images.model import (
    MAX_GUIDANCE,
    MAX_LORA_WEIGHT,
    MAX_LORAS,
    MAX_PICTURES,
    MAX_PROMPT_CHARS,
    MAX_STEPS,
)
from inglenook.pixels.palettes import hex_of
from inglenook.sprites.model import (
    DEFAULT_FRAME_MS,
    DEFAULT_FRAME_STRENGTH,
    MAX_FRAME_MS,
    MAX_FRAMES,
    MAX_MOTION_CHARS,
    MIN_FRAME_MS,
)
from inglenook.web.models import picture_models
from inglenook.web.pixel.choices import default_first, engine_choices, lora_choices, model_choices
from inglenook.web.pixel.controls import COLORS, FORMATS, GROUPS, HOLDS
from inglenook.web.templating import html

LIMITS = {
    "pictures": MAX_PICTURES,
    "prompt": MAX_PROMPT_CHARS,
    "steps": MAX_STEPS,
    "guidance": MAX_GUIDANCE,
    "weight": MAX_LORA_WEIGHT,
    "loras": MAX_LORAS,
    "frames": MAX_FRAMES,
    "motion": MAX_MOTION_CHARS,
    "least_ms": MIN_FRAME_MS,
    "most_ms": MAX_FRAME_MS,
    "frame_ms": DEFAULT_FRAME_MS,
    "frame_strength": DEFAULT_FRAME_STRENGTH,
}


def pixel_pages(*, sprites: Sprites, palettes: Palettes, catalog: Catalog) -> APIRouter:
    router = APIRouter(include_in_schema=False, dependencies=[Depends(caller)])

    @router.get("/pixels")
    async def page() -> Response:
        engines = await sprites.engines()
        chosen = await asyncio.to_thread(_choices, palettes, catalog, sprites)
        context = {
            "groups": GROUPS,
            "colors": COLORS,
            "formats": FORMATS,
            "holds": HOLDS,
            "limits": LIMITS,
            "words": sprites.presets(),
            "engines": engine_choices(engines),
            **chosen,
        }
        return html("pixel/page.html", context)

    return router


def _choices(palettes: Palettes, catalog: Catalog, sprites: Sprites) -> dict[str, Any]:
    """Palettes, models and LoRAs that can be named. Blocks."""
    models = model_choices(picture_models(catalog.list(ModelKind.IMAGE), None))
    return {
        "palettes": [
            {"name": one.name, "title": one.title, "colors": [hex_of(color) for color in one.colors]}
            for one in palettes.palettes().values()
        ],
        "models": models,
        "default_model": default_first(models, sprites.default_model()),
        "loras": lora_choices(catalog.list(ModelKind.LORA)),
    }
