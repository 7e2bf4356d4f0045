# SPDX-License-Identifier: Apache-2.0
"""Loading a picture model that nobody asks anything yet."""

import asyncio

from inglenook.base.cancel import StopToken
from inglenook.base.ids import PersonId
from inglenook.catalog.model import ModelRecord
from inglenook.images.engines import Engines
from inglenook.images.model import Engine, ImageRequest
from inglenook.images.request import Limits, plan
from inglenook.images.work import ImageWork


class PicturePreloader:
    def __init__(self, *, work: ImageWork, limits: Limits, engines: Engines) -> None:
        self._work = work
        self._engines = engines
        self._limits = limits

    async def preload(
        self, model: ModelRecord, *, person: PersonId, stop: StopToken, engine: Engine = Engine.AUTO
    ) -> None:
        """Load it as a picture of its default size needs it; return when it is ready, at once when it is.

        Raises:
            ModelUnusable: it cannot draw.
            EngineMissing, NotConverted: as `Engines.choose`.
            ChildFailed, Invalid, LeaseStopped, Unavailable: as `Scheduler.acquire`.
        """
        if model.image is not None and model.problem is None:
            _, model = await asyncio.to_thread(self._engines.choose, engine, model, loras=False)
        request = ImageRequest(prompt="a picture", model=model.id)
        drawing = plan(request, model, limits=self._limits, seed=0, image_size=None)
        await self._work.load(drawing, model, person=person, stop=stop)
