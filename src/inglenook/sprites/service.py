# SPDX-License-Identifier: Apache-2.0
"""What a door calls: make sprites, make a sprite of a picture, write sprites as a file."""

from collections.abc import Sequence
from typing import Any

from inglenook.base.cancel import StopToken
from inglenook.base.ids import BlobId, JobId, ModelId, PersonId
from inglenook.base.work import WorkClass
from inglenook.jobs.model import Job
from inglenook.pixels.model import Recipe
from inglenook.sprites.engines import EngineStatus
from inglenook.sprites.model import Engine, MadeSprite, SpriteRequest, WrittenFile
from inglenook.wire.pixels import FrameTag, SpriteFormat


class SpritesService:
    async def submit(
        self,
        request: SpriteRequest,
        *,
        owner: PersonId,
        work_class: WorkClass = WorkClass.INTERACTIVE,
        idempotency_key: str | None = None,
    ) -> Job:
        """Check a request and put it into the queue. Follow it with `JobsService.subscribe`.

        Its `result["parts"]` are `SpritePart.as_json()`, in the order in which they are finished; what stands
        beside them at the end is `SpriteResult.as_json()`. Progress events have the stages of the image
        worker (`encode`, `denoise`, `decode`) and then those of `Stage`; their detail is `picture`,
        `pictures`, `step`, `steps`, and `variant`, `frame`. Previews are PNGs: of what is being drawn, then
        of each finished sprite (their `step` is 0).

        Raises:
            NotFound: no such model or LoRA (`model.not_found`).
            Invalid: a value that cannot be drawn (`sprite.invalid`, `image.invalid`), a model that cannot be
                used (`model.unusable`), one that the engine wants converted (`model.not_converted`), a LoRA
                that does not fit the model (`lora.incompatible`) or for which the engine has no use
                (`lora.unsupported_engine`); `field` names it.
            Unavailable: the engine is not here (`engine.not_installed`).
            Busy, Conflict: as `JobsService.submit`.
        """
        raise NotImplementedError

    async def keep_input(self, png: bytes) -> BlobId:
        """Keep a canvas, a selection or a tile to draw from: decoded, bounded, transparency kept.

        Raises:
            Invalid, TooLarge: not a picture that we read, or too large a one (`picture.*`).
        """
        raise NotImplementedError

    async def keep_mask(self, png: bytes) -> BlobId:
        """Keep a mask as L PNG, white where the picture is redrawn: where the upload is opaque and light
        (both from 128 up), as a selection is painted. Raises as `keep_input`.
        """
        raise NotImplementedError

    async def frames(self, job: JobId, *, person: PersonId) -> Sequence[bytes]:
        """PNGs of every finished frame: variant by variant, frame by frame.

        Raises:
            NotFound: no such job, or what it made has been deleted since.
        """
        raise NotImplementedError

    async def preload(
        self, model: ModelId, engine: Engine = Engine.AUTO, *, person: PersonId, stop: StopToken
    ) -> ModelId:
        """Load the model with that engine; the model's id when it is ready, at once when it is.

        Raises:
            NotFound, Invalid, Unavailable: as `submit`. ChildFailed, LeaseStopped: as `Scheduler.acquire`.
        """
        raise NotImplementedError

    async def engines(self) -> Sequence[EngineStatus]:
        """The capability matrix: every engine, whether it is here, why not, what it can do."""
        raise NotImplementedError

    async def convert(
        self,
        pictures: Sequence[bytes],
        recipe: Recipe,
        *,
        person: PersonId,
        stop: StopToken,
        whole_animation: bool = False,
    ) -> Sequence[MadeSprite]:
        """Make sprites of pictures that exist, without drawing; matting first where the recipe wants it.

        Args:
            pictures: files of any format that we read, 1 to 256.
            whole_animation: they are frames: one size, crop and palette for all.

        Raises:
            Invalid, TooLarge: not a picture, or a recipe that cannot be followed (`pixels.*`, `picture.*`).
            Cancelled: `stop` was set. Failed, Unavailable: the pixel worker could not do it.
        """
        raise NotImplementedError

    async def export(
        self,
        frames: Sequence[bytes],
        format: SpriteFormat,  # noqa: A002 - what it is
        *,
        person: PersonId,
        stop: StopToken,
        durations_ms: Sequence[int] | None = None,
        tags: Sequence[FrameTag] = (),
        layers: Sequence[str] | None = None,
        palette: Sequence[tuple[int, int, int]] | None = None,
        loop: bool = True,
        scale: int = 1,
        columns: int | None = None,
        padding: int = 0,
        name: str = "sprite",
    ) -> WrittenFile:
        """Write frames (or layers of one frame) as one file, as `wire.pixels.WriteSprites` says.

        Raises as `convert`.
        """
        raise NotImplementedError

    def presets(self) -> dict[str, Any]:
        """Presets, styles, motions, sizes and base sizes, as JSON for a form."""
        raise NotImplementedError
