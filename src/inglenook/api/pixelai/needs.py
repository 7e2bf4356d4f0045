# SPDX-License-Identifier: Apache-2.0
"""What this dialect needs of sprites, and no more. `app.py` hands in the real ones."""

from collections.abc import Sequence
from typing import Any, Protocol

from inglenook.base.cancel import StopToken
from inglenook.base.ids import BlobId, JobId, ModelId, PersonId
from inglenook.base.work import WorkClass
from inglenook.jobs.model import Job
from inglenook.sprites.engines import EngineStatus
from inglenook.sprites.model import Engine, SpriteRequest


class Sprites(Protocol):
    """What each raises: `sprites.service`."""

    async def submit(
        self,
        request: SpriteRequest,
        *,
        owner: PersonId,
        work_class: WorkClass = WorkClass.INTERACTIVE,
        idempotency_key: str | None = None,
    ) -> Job: ...

    async def keep_input(self, png: bytes) -> BlobId:
        """A canvas, a selection or a tile to draw from; its transparency is kept."""
        ...

    async def keep_mask(self, png: bytes) -> BlobId:
        """Drawn anew where it is opaque and light."""
        ...

    async def frames(self, job: JobId, *, person: PersonId) -> Sequence[bytes]:
        """Every finished picture of a job as PNG, variant by variant, in each frame by frame."""
        ...

    async def preload(
        self, model: ModelId, engine: Engine = Engine.AUTO, *, person: PersonId, stop: StopToken
    ) -> ModelId: ...

    async def engines(self) -> Sequence[EngineStatus]: ...

    def presets(self) -> dict[str, Any]:
        """Presets, styles, motions, sizes and base sizes, as JSON for a form."""
        ...
