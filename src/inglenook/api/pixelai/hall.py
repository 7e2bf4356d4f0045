# SPDX-License-Identifier: Apache-2.0
"""What a dialog is offered when it comes in: models, LoRAs, engines, palettes, presets, sizes."""

from typing import Any, Final

from starlette.concurrency import run_in_threadpool

from inglenook.api.pixelai.desk import Desk
from inglenook.api.pixelai.machine import (
    chosen_of,
    drawing_loras,
    drawing_models,
    engine_json,
    loras_json,
    models_json,
)
from inglenook.api.pixelai.uploads import MAX_BYTES, MAX_NAMES
from inglenook.base.ids import PersonId
from inglenook.door.services import Catalog, Runtime, SpriteMaking
from inglenook.pixels.palettes import builtin

OFFERED: Final = ("presets", "styles", "motions", "sizes", "base_sizes", "negative_prompt")
"""What of `sprites.presets` a dialog shows."""


class Hall:
    def __init__(
        self,
        *,
        desk: Desk,
        sprites: SpriteMaking,
        catalog: Catalog,
        runtime: Runtime,
        version: str,
    ) -> None:
        self._desk = desk
        self._sprites = sprites
        self._catalog = catalog
        self._runtime = runtime
        self._version = version

    async def ready(self, person: PersonId) -> dict[str, Any]:
        engines = await self._sprites.engines()
        models = await run_in_threadpool(drawing_models, self._catalog)
        loras = await run_in_threadpool(drawing_loras, self._catalog)
        offered = await run_in_threadpool(self._sprites.presets)
        choice = await run_in_threadpool(self._desk.choices.of, person)
        return {
            "version": self._version,
            "models": models_json(models, self._runtime.snapshot(), engines),
            "loras": loras_json(loras, models),
            "engines": [engine_json(one) for one in engines],
            "palettes": [palette.as_json() for palette in builtin().values()],
            **{name: offered[name] for name in OFFERED if name in offered},
            "chosen": chosen_of(choice),
            "limits": {"max_upload_bytes": MAX_BYTES, "max_uploads": MAX_NAMES},
        }
