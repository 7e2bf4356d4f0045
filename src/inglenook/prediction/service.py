# SPDX-License-Identifier: Apache-2.0
"""What pictures show, for whoever asks: pictures and a model → a lease → labels and scores.

No job is made of it and nothing is kept: the answer comes on the connection that asks, and whoever hangs up
has stopped it.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final

from inglenook.base.cancel import StopToken
from inglenook.base.clock import Clock
from inglenook.base.errors import Cancelled
from inglenook.base.ids import PersonId, new_id
from inglenook.base.threads import to_its_end
from inglenook.base.work import WorkClass
from inglenook.catalog.errors import ModelNotFound, ModelUnusable, unusable
from inglenook.catalog.model import ModelKind, ModelRecord
from inglenook.catalog.service import AUTO, CatalogService, nearest
from inglenook.engines.onnx import VisionChild
from inglenook.prediction.errors import PictureTooLarge, PictureUnreadable, PredictionFailed
from inglenook.prediction.model import Label, Look, Prediction
from inglenook.prediction.planning import load_plan
from inglenook.runtime.contracts import Lease, LoadPlan
from inglenook.runtime.scheduler.loop import Scheduler
from inglenook.runtime.scheduler.waiting import Hear, acquire_told
from inglenook.store.files import write_error
from inglenook.wire.vision import Matted, Predict, PredictCancelled, Predicted, PredictFailed, Seen

PREFIX: Final = "predict"


class PredictionService:
    """Args:
    find: the model of any kind that a name means: an id, an alias, the last part of an id. Blocks.
    pinned: ids of models that are never unloaded for others.
    devices: kinds on which onnxruntime runs here.
    max_pixels: of a picture.
    """

    def __init__(
        self,
        *,
        scheduler: Scheduler,
        catalog: CatalogService,
        find: Callable[[str], ModelRecord],
        clock: Clock,
        pinned: frozenset[str],
        devices: Collection[str],
        max_pixels: int,
    ) -> None:
        self._scheduler = scheduler
        self._catalog = catalog
        self._find = find
        self._clock = clock
        self._pinned = pinned
        self._devices = devices
        self.max_pixels = max_pixels

    def resolve(self, name: str | None) -> ModelRecord:
        """The vision model that a client means; None, "" and "auto": the first usable one. Blocks.

        Raises:
            ModelNotFound: there is none of that name; the hint names the nearest vision models.
            ModelAmbiguous: several have it.
            ModelUnusable: it has a problem, or is of another kind.
        """
        if name is None or name.strip().casefold() in ("", AUTO):
            return self._catalog.resolve(AUTO, kind=ModelKind.VISION)
        record = self._named(name)
        if _was_changed(record):
            self._catalog.refresh()
            record = self._named(name)
        if record.problem is not None:
            raise unusable(record.id, record.problem)
        if record.kind is not ModelKind.VISION:
            raise ModelUnusable(
                f"Model {record.id} is a model of kind {record.kind}; this needs one of kind vision.",
                hint="GET /v1/models lists all with their kinds; `auto` takes the default",
                field="model",
            )
        return record

    def _named(self, name: str) -> ModelRecord:
        """Raises ModelNotFound, ModelAmbiguous."""
        try:
            return self._find(name)
        except ModelNotFound as error:
            near = nearest(name, [one.id for one in self._catalog.known(ModelKind.VISION)])
            if near:
                error.hint = f"nearest: {', '.join(near)}; `auto` takes the default"
            raise

    async def predict(
        self,
        pictures: Sequence[bytes],
        model: ModelRecord,
        *,
        top: int,
        person: PersonId,
        stop: StopToken,
        work_class: WorkClass = WorkClass.INTERACTIVE,
        hear: Hear | None = None,
    ) -> Prediction:
        """Look at pictures.

        Args:
            pictures: files, 1 to `MAX_PICTURES`.
            top: so many labels of each, 1 to `MAX_TOP`; fewer where the model has fewer.
            hear: told while the request waits, at most once a second: place, reason, estimate.

        Raises:
            PictureUnreadable, PictureTooLarge: one of the pictures is at fault; the message says which.
            PredictionFailed: the work failed.
            ChildFailed, Invalid, LeaseStopped, Unavailable: as `Scheduler.acquire`.
            Cancelled: `stop` was set.
        """
        request = self._scheduler.request(
            person=person,
            work_class=work_class,
            plan=self._plan(model),
            label=f"looking at {len(pictures)} pictures for {person}"
            if len(pictures) > 1
            else f"looking at a picture for {person}",
        )
        began = self._clock.monotonic()
        lease = await acquire_told(self._scheduler, request, stop, hear)
        try:
            waited_s = self._clock.monotonic() - began
            last = await self._look(pictures, lease, top, stop)
        finally:
            lease.release()
        assert model.vision is not None
        labels = model.vision.labels
        return Prediction(
            model=model.id,
            task=model.vision.task,
            pictures=tuple(_look(one, labels) for one in last.pictures),
            seconds=last.seconds,
            computing_s=last.computing_s,
            waited_s=waited_s,
        )

    async def preload(self, model: ModelRecord, *, person: PersonId, stop: StopToken) -> None:
        """Load a model that nobody asks anything yet, and return when it is ready.

        Raises as `Scheduler.acquire`.
        """
        request = self._scheduler.request(
            person=person,
            work_class=WorkClass.INTERACTIVE,
            plan=self._plan(model),
            label=f"loading {model.id} for {person}",
        )
        (await self._scheduler.acquire(request, stop)).release()

    def _plan(self, model: ModelRecord) -> LoadPlan:
        return load_plan(
            model, pinned=model.id in self._pinned, max_pixels=self.max_pixels, devices=self._devices
        )

    async def _look(self, pictures: Sequence[bytes], lease: Lease, top: int, stop: StopToken) -> Predicted:
        child = lease.child
        assert isinstance(child, VisionChild)
        job = new_id(PREFIX, self._clock.now())
        files = [child.spool / f"{job}-{place}" for place in range(len(pictures))]
        try:
            await to_its_end(_write, files, pictures)
            asked = Predict(job=job, files=tuple(file.name for file in files), top=top)
            last = await child.predict(asked, stop=stop)
        finally:
            await asyncio.shield(asyncio.to_thread(_remove, files))
        if isinstance(last, Predicted):
            return last
        assert not isinstance(last, Matted)
        raise why(last, stop)


def _was_changed(record: ModelRecord) -> bool:
    """Whether the file is another than was read, or is gone: its labels count for its own scores only."""
    try:
        return record.path.stat().st_mtime != record.created
    except OSError:
        return True


def _write(files: Sequence[Path], pictures: Sequence[bytes]) -> None:
    """Raises Failed, Unavailable: the disk is full, or cannot be written to."""
    for file, data in zip(files, pictures, strict=True):
        try:
            file.write_bytes(data)
        except OSError as error:
            raise write_error(error, file.parent) from error


def _remove(files: Sequence[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)


def _look(seen: Seen, labels: Sequence[str]) -> Look:
    found = zip(seen.classes, seen.scores, strict=True)
    named = tuple(Label(number, labels[number], score) for number, score in found)
    return Look(seen.width, seen.height, named)


def why(last: PredictFailed | PredictCancelled, stop: StopToken) -> Exception:
    """The error that a worker's last word stands for."""
    if isinstance(last, PredictCancelled):
        reason = "asked to stop" if stop.reason is None else stop.reason.value
        return Cancelled(f"The pictures were not looked at: {reason}.", code="predict.cancelled")
    if last.code == "picture.too_large":
        return PictureTooLarge(last.message, hint=last.hint, field="image")
    if last.code.startswith("picture."):
        return PictureUnreadable(last.message, code=last.code, hint=last.hint, field="image")
    return PredictionFailed(last.message, code=last.code, hint=last.hint)
