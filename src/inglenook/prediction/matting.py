# SPDX-License-Identifier: Apache-2.0
"""The subject of a picture, told from its background by a matting model on a lease; without a model, by
the plain colour of the border.
"""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

from inglenook.base.cancel import StopToken
from inglenook.base.clock import Clock
from inglenook.base.errors import Invalid, Unavailable
from inglenook.base.ids import PersonId, new_id
from inglenook.base.threads import to_its_end
from inglenook.base.work import WorkClass
from inglenook.catalog.errors import ModelNotFound
from inglenook.catalog.model import ModelKind, ModelRecord
from inglenook.catalog.service import AUTO, CatalogService
from inglenook.engines.onnx import VisionChild
from inglenook.prediction.planning import load_plan
from inglenook.prediction.service import why
from inglenook.runtime.contracts import Lease
from inglenook.runtime.scheduler.loop import Scheduler
from inglenook.runtime.scheduler.waiting import acquire_told
from inglenook.store.files import write_error
from inglenook.wire import vision as wire

PREFIX: Final = "matte"
BORDER: Final = "border"


@dataclass(frozen=True, slots=True)
class Matte:
    """`png`: grey, of the picture's size, 255 is the subject. `by`: the model's id, or `border`."""

    png: bytes
    by: str


class MattingService:
    """Args:
    pinned: ids of models that are never unloaded for others.
    devices: kinds on which onnxruntime runs here; where there is none, no model is asked.
    max_pixels: of a picture.
    """

    def __init__(
        self,
        *,
        scheduler: Scheduler,
        catalog: CatalogService,
        clock: Clock,
        pinned: frozenset[str],
        devices: Collection[str],
        max_pixels: int,
    ) -> None:
        self._scheduler = scheduler
        self._catalog = catalog
        self._clock = clock
        self._pinned = pinned
        self._devices = devices
        self._max_pixels = max_pixels

    def model(self) -> ModelRecord | None:
        """The matting model of the library; None where there is none that runs here. Blocks."""
        if not self._devices:
            return None
        try:
            return self._catalog.resolve(AUTO, kind=ModelKind.MATTING)
        except (ModelNotFound, Unavailable):
            return None

    async def matte(
        self,
        png: bytes,
        *,
        person: PersonId,
        stop: StopToken,
        work_class: WorkClass = WorkClass.INTERACTIVE,
    ) -> Matte:
        """How much of each pixel is subject.

        Raises:
            PictureUnreadable, PictureTooLarge: it is no picture, or too large a one.
            Invalid (`matting.no_subject`): there is no model, and the border has no colour of its own.
            PredictionFailed: the work failed.
            ChildFailed, LeaseStopped, Unavailable: as `Scheduler.acquire`.
            Cancelled: `stop` was set.
        """
        model = await asyncio.to_thread(self.model)
        if model is None:
            return await asyncio.to_thread(_by_border, png)
        plan = load_plan(
            model, pinned=model.id in self._pinned, max_pixels=self._max_pixels, devices=self._devices
        )
        label = f"telling a subject from its background for {person}"
        request = self._scheduler.request(person=person, work_class=work_class, plan=plan, label=label)
        lease = await acquire_told(self._scheduler, request, stop, None)
        try:
            return Matte(await self._ask(png, lease, stop), str(model.id))
        finally:
            lease.release()

    async def _ask(self, png: bytes, lease: Lease, stop: StopToken) -> bytes:
        child = lease.child
        assert isinstance(child, VisionChild)
        job = new_id(PREFIX, self._clock.now())
        file = child.spool / job
        try:
            await to_its_end(_write, file, png)
            last = await child.matte(wire.Matte(job=job, file=file.name), stop=stop)
            if isinstance(last, wire.Matted):
                return await asyncio.to_thread((child.spool / last.file).read_bytes)
        finally:
            await asyncio.shield(asyncio.to_thread(_remove, file))
        assert not isinstance(last, wire.Predicted)
        raise why(last, stop)


def _write(file: Path, data: bytes) -> None:
    """Raises Failed, Unavailable: the disk is full, or cannot be written to."""
    try:
        file.write_bytes(data)
    except OSError as error:
        raise write_error(error, file.parent) from error


def _remove(file: Path) -> None:
    file.unlink(missing_ok=True)
    file.with_name(f"{file.name}.matte").unlink(missing_ok=True)


def _by_border(png: bytes) -> Matte:
    """Of a picture that this program has drawn or has already looked at: it is decoded here."""
    import numpy as np
    from PIL import Image

    from inglenook.pixels.border import border_matte

    with Image.open(BytesIO(png), formats=["PNG"]) as image:
        found = border_matte(np.asarray(image.convert("RGBA")))
    if found is None:
        raise Invalid(
            "The subject cannot be told from its background: the border has no colour of its own, "
            "and there is no matting model.",
            code="matting.no_subject",
            hint="`inglenook starters install matting` brings one",
        )
    out = BytesIO()
    Image.fromarray(found).save(out, "PNG", compress_level=1)
    return Matte(out.getvalue(), BORDER)
