# SPDX-License-Identifier: Apache-2.0
"""A picture job while it runs: lease → worker → file → gallery. No finished picture is ever lost."""

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from inglenook.base.cancel import StopToken
from inglenook.base.clock import Clock
from inglenook.base.ids import JobId, PersonId, RequestId
from inglenook.base.work import WorkClass
from inglenook.catalog.model import ModelRecord
from inglenook.catalog.saving import footprint_at
from inglenook.catalog.service import CatalogService
from inglenook.engines import diffusers, mlx, sdcpp
from inglenook.gallery.model import Picture
from inglenook.gallery.service import GalleryService
from inglenook.images import metadata
from inglenook.images.cutout import Cut, Matting, Scissors
from inglenook.images.easel import Easel, Materials, failed_on
from inglenook.images.errors import EngineMissing
from inglenook.images.model import Engine, Mode
from inglenook.images.request import Drawing
from inglenook.jobs.model import Job, Receipt
from inglenook.jobs.work import Report, Stopped
from inglenook.runtime.contracts import ChildFailed, Lease, LoadPlan
from inglenook.runtime.scheduler.loop import LeaseStopped, Scheduler
from inglenook.runtime.scheduler.snapshot import explanation_json
from inglenook.store.blobs import BlobStore
from inglenook.wire.image import MAX_SAVING, PictureMade

KIND: Final = "image"
SOFTWARE: Final = "inglenook"
_ENGINES: Final = {diffusers.NAME: Engine.TORCH, mlx.NAME: Engine.MLX, sdcpp.NAME: Engine.SDCPP}
"""Runtime names, and those that requests know."""
LOAD_BYTES_PER_S: Final = 400_000_000
"""A guess for a model that was never loaded here: a plain SATA disk."""
LOAD_BASE_S: Final = 6.0
"""Starting a worker and importing its libraries, before anybody has measured it."""


class ImageWork:
    """Carries out jobs of kind `image`. See `jobs.work.Work`.

    Args:
        matting: None where nothing tells a subject from its background but the plain colour of the border.
    """

    kind = KIND
    restarts = False  # half a picture is worth nothing, and a person may no longer want it

    def __init__(
        self,
        *,
        scheduler: Scheduler,
        catalog: CatalogService,
        gallery: GalleryService,
        blobs: BlobStore,
        clock: Clock,
        pinned: frozenset[str],
        loading: "Loading",
        matting: Matting | None,
    ) -> None:
        self._scheduler = scheduler
        self._catalog = catalog
        self._gallery = gallery
        self._materials = Materials(catalog=catalog, blobs=blobs)
        self._clock = clock
        self._pinned = pinned
        self._loading = loading
        self._scissors = Scissors(matting)
        self._requests: dict[JobId, RequestId] = {}
        self._pace_s: dict[tuple[str, int], float] = {}
        """Seconds a step took lately, by model and scale."""

    def explain(self, job: JobId) -> Mapping[str, Any] | None:
        request = self._requests.get(job)
        explanation = None if request is None else self._scheduler.explain(request)
        return None if explanation is None else explanation_json(explanation)

    async def run(self, job: Job, report: Report) -> Mapping[str, Any]:
        drawing = Drawing.from_json(job.payload)
        for note in drawing.notes:
            await report.notice(note)

        held: list[tuple[PictureMade, bytes]] = []
        later = drawing.transparent and await self._scissors.has_model()

        async def keep(made: PictureMade, png: bytes) -> None:
            if later:
                held.append((made, png))
            else:
                await self._finish(job, drawing, report, made, png)

        try:
            async with self.easel(job, drawing, report) as easel:
                device = easel.lease.device.kind
                drawn = await easel.draw(drawing, report=report, keep=keep)
        finally:
            # Only now the lease is given back: the matting model needs one of its own, and perhaps the room.
            for made, png in held:
                await self._finish(job, drawing, report, made, png)
        if held and report.stop.is_set:
            raise Stopped(Receipt("stopped while backgrounds were cut away", self._clock.now(), 0.0))
        return {
            "engine": engine_of(drawing),
            "model": drawing.model,
            "device": device,
            "seconds": round(drawn.seconds, 3),
            "saving": drawn.saving,
            "peak_bytes": drawn.peak_bytes,
        }

    async def _finish(
        self, job: Job, drawing: Drawing, report: Report, made: PictureMade, png: bytes
    ) -> None:
        """Cut a picture out where that is asked for, keep it, tell of it."""
        cut = None
        if drawing.transparent:
            cut = await self._scissors.cut(png, person=job.owner, stop=report.stop, work_class=job.work_class)
            if cut.note is not None:
                await report.notice(f"Picture {made.picture + 1}: {cut.note}")
        picture = await asyncio.to_thread(self.keep, job, drawing, made, png, cut)
        await report.result(part_of(picture, made, cut, engine=engine_of(drawing)))

    @asynccontextmanager
    async def easel(
        self, job: Job, drawing: Drawing, report: Report, *, pictures: int | None = None
    ) -> AsyncIterator[Easel]:
        """A lease on the model of `drawing`, on which it and others of its size can be drawn. For jobs of any
        kind; while it waits, `explain` tells why.

        Args:
            pictures: that will be drawn in all; None for those of `drawing`.

        Raises:
            Stopped: the report's token was set before there was a lease.
            NotFound, ChildFailed, Unavailable: as `Scheduler.acquire`; the model is gone.
        """
        record = drawn_by(await asyncio.to_thread(self._catalog.get, drawing.model), drawing.engine)
        count = len(drawing.seeds) if pictures is None else pictures
        async with self._leased(job, drawing, record, report, count) as lease:
            await report.running()
            if lease.saving_reason is not None:
                await report.notice(f"On {lease.device.id} {lease.saving_reason}.")
            yield Easel(
                job=job.id,
                lease=lease,
                materials=self._materials,
                scheduler=self._scheduler,
                clock=self._clock,
                learned=lambda done, seconds: self._learn_pace(lease, done, seconds),
            )

    async def _plan(self, record: ModelRecord, drawing: Drawing) -> LoadPlan:
        _require_engine(record)
        files = await asyncio.to_thread(weight_files, record)
        return load_plan(
            record, drawing, pinned=record.id in self._pinned, loading=self._loading, files=files
        )

    @asynccontextmanager
    async def _leased(
        self, job: Job, drawing: Drawing, record: ModelRecord, report: Report, count: int
    ) -> AsyncIterator[Lease]:
        plan = await self._plan(record, drawing)
        pace_s = self._pace_s.get((plan.model, plan.scale))
        request = self._scheduler.request(
            person=job.owner,
            work_class=job.work_class,
            plan=plan,
            label=_label(drawing, job.owner, count),
            expected_s=None if pace_s is None else pace_s * drawing.steps * count,
        )
        self._requests[job.id] = request.id
        try:
            await report.waiting()
            lease = await self._scheduler.acquire(request, report.stop)
        except LeaseStopped as stopped:  # at once: the wait itself watches for the wish
            raise Stopped(
                Receipt("left the queue before anything was drawn", self._clock.now(), 0.0)
            ) from stopped
        except ChildFailed as error:
            raise failed_on(self._scheduler.devices[0].kind, error) from error
        finally:
            del self._requests[job.id]
        began_s = self._clock.monotonic()
        try:
            yield lease
        finally:
            lease.release()
            held_s = self._clock.monotonic() - began_s
            await report.cost(seconds=held_s, byte_seconds=held_s * lease.reserved_bytes)

    async def load(self, drawing: Drawing, record: ModelRecord, *, person: PersonId, stop: StopToken) -> None:
        """Load the model as this drawing would need it, and return when it is ready.

        Raises as `Scheduler.acquire`.
        """
        plan = await self._plan(record, drawing)
        request = self._scheduler.request(
            person=person,
            work_class=WorkClass.INTERACTIVE,
            plan=plan,
            label=f"loading {record.id} for {person}",
        )
        (await self._scheduler.acquire(request, stop)).release()

    def _learn_pace(self, lease: Lease, drawing: Drawing, seconds: float) -> None:
        """How long the same work will take next time."""
        plan = lease.request.plan
        self._pace_s[plan.model, plan.scale] = seconds / (drawing.steps * len(drawing.seeds))

    def keep(
        self, job: Job, drawing: Drawing, made: PictureMade, png: bytes, cut: Cut | None = None
    ) -> Picture:
        """Enlarge, encode, embed the parameters, keep. Blocks.

        Args:
            cut: instead of the picture as drawn, where its background was to go.
        """
        parameters = parameters_of(drawing, made)
        if cut is not None:
            parameters |= {"transparent": cut.by is not None, "matted_by": cut.by}
            png = cut.png
        data, media_type = metadata.encode(
            png, drawing.output_format, drawing.output_compression, drawing.factor
        )
        return self._gallery.add(
            owner=job.owner,
            job=job.id,
            data=metadata.embed(data, media_type, parameters),
            media_type=media_type,
            width=made.width * drawing.factor,
            height=made.height * drawing.factor,
            model=drawing.model,
            prompt=drawing.prompt,
            seed=made.seed,
            parameters=parameters,
        )


def drawn_by(record: ModelRecord, engine: str) -> ModelRecord:
    """The model as that engine draws with it; "" stands for its own."""
    return replace(record, engine=engine) if engine else record


def _require_engine(record: ModelRecord) -> None:
    """Raises EngineMissing where what draws with this model is not installed."""
    asking = {mlx.NAME: mlx.missing, sdcpp.NAME: sdcpp.missing}.get(record.engine)
    absent = None if asking is None else asking()
    if absent is not None:
        raise EngineMissing(absent[0], hint=absent[1], field="model")


def guessed_load_s(record: ModelRecord) -> float:
    """Seconds until the model is loaded, before anybody has measured it here."""
    return LOAD_BASE_S + record.read_bytes / LOAD_BYTES_PER_S


@dataclass(frozen=True, slots=True)
class Loading:
    """How picture models are loaded (settings `images.*`).

    Attributes:
        dtype: None takes what the engine takes on each kind of device.
        saving: the saving level; None lets the runtime choose it.
        vae_on_cpu: the VAE works in host memory.
    """

    dtype: str | None = None
    saving: int | None = None
    vae_on_cpu: bool = False


AS_USUAL: Final = Loading()


def load_plan(
    record: ModelRecord,
    drawing: Drawing,
    *,
    pinned: bool,
    loading: Loading = AS_USUAL,
    files: tuple[Path, ...] = (),
) -> LoadPlan:
    """What must be resident to make this drawing, and what that is expected to need.

    Args:
        files: that a load reads; see `weight_files`.
    """
    size = drawing.largest
    levels = _levels(record) if loading.saving is None else (loading.saving,)
    needs = [
        {
            kind: footprint_at(
                record,
                *size,
                usual if loading.dtype is None else loading.dtype,
                saving=level,
                on_cpu=kind == "cpu",
                vae_apart=loading.vae_on_cpu and record.engine == diffusers.NAME,
            )
            for kind, usual in _dtypes(record).items()
        }
        for level in levels
    ]
    chosen: dict[str, Any] = {}
    if record.engine == mlx.NAME:
        chosen["stored"] = record.dtype
    elif loading.vae_on_cpu and record.engine == diffusers.NAME:  # the others have one memory for both
        chosen["vae_on_cpu"] = True
    if loading.dtype is not None:
        chosen["dtype"] = loading.dtype
    if loading.saving is not None:
        chosen["saving"] = loading.saving
    return LoadPlan(
        model=record.id,
        engine=record.engine,
        footprint_bytes=needs[0],
        saving_bytes=tuple(needs[1:]),
        load_s=guessed_load_s(record),
        pinned=pinned,
        files=files,
        scale=math.ceil(math.log2(size[0] * size[1])),
        options={
            "path": str(record.path),
            "layout": record.layout,
            "family": record.family,
            "variant": record.variant,
            "parts": {role: str(path) for role, path in record.parts.items()},
            **chosen,
        },
    )


def _dtypes(record: ModelRecord) -> Mapping[str, str]:
    """The precision that the model's engine takes on each kind of device that it draws on."""
    if record.engine == mlx.NAME:
        return mlx.dtypes(record.dtype)
    return sdcpp.dtypes(record.dtype) if record.engine == sdcpp.NAME else diffusers.DTYPES


def _levels(record: ModelRecord) -> tuple[int, ...]:
    """The saving levels there are. stable-diffusion.cpp has one: the VAE in tiles."""
    return (0, 1) if record.engine == sdcpp.NAME else tuple(range(MAX_SAVING + 1))


def weight_files(record: ModelRecord) -> tuple[Path, ...]:
    """The files that loading a model reads, its own first. Blocks."""
    found = []
    for place in (record.path, *record.parts.values()):
        found += sorted(place.rglob("*.safetensors")) if place.is_dir() else [place]
    return tuple(found)


def parameters_of(drawing: Drawing, made: PictureMade) -> dict[str, Any]:
    """All that makes the same picture again, as it is embedded in the file and kept in the gallery."""
    return {
        "software": SOFTWARE,
        "prompt": drawing.prompt,
        "negative_prompt": drawing.negative_prompt,
        "model": drawing.model,
        "engine": engine_of(drawing),
        "mode": drawing.mode.value,
        "steps": drawing.steps,
        "guidance_scale": drawing.guidance_scale,
        "scheduler": drawing.scheduler,
        "seed": made.seed,
        "width": made.width * drawing.factor,
        "height": made.height * drawing.factor,
        "drawn_width": made.width,
        "drawn_height": made.height,
        "strength": drawing.strength,
        "image": drawing.image,
        "mask": drawing.mask,
        "more_images": list(drawing.more_images),
        "sigmas": drawing.sigmas,
        "loras": [{"model": one.model, "weight": one.weight} for one in drawing.loras],
        "embeddings": [model for _, model in drawing.embeddings],
        "vae": drawing.vae,
        "clip_skip": drawing.clip_skip,
        "hires": None if drawing.hires is None else asdict(drawing.hires) | _first_pass(drawing),
        "transparent": drawing.transparent,
        "style": drawing.style,
        "plain_prompt": drawing.plain_prompt,
        "plain_negative_prompt": drawing.plain_negative_prompt,
        "output_format": drawing.output_format.value,
        "output_compression": drawing.output_compression,
        "seconds": round(made.seconds, 3),
    }


def _first_pass(drawing: Drawing) -> dict[str, int]:
    """The size that was asked for, of which the second pass is a multiple."""
    return {"first_width": drawing.width, "first_height": drawing.height}


def engine_of(drawing: Drawing) -> str | None:
    """Which draws it, by the name that a request knows it by; None in a job of an older program."""
    found = _ENGINES.get(drawing.engine)
    return None if found is None else found.value


def part_of(
    picture: Picture, made: PictureMade, cut: Cut | None = None, *, engine: str | None = None
) -> dict[str, Any]:
    """One finished picture as it stands in the job's result. `matted_by`: what cut the background away; None
    where nothing did. `notes`: what is not as it was asked for."""
    return {
        "picture_id": picture.id,
        "index": made.picture,
        "seed": made.seed,
        "width": picture.width,
        "height": picture.height,
        "media_type": picture.media_type,
        "size_bytes": picture.size_bytes,
        "url": f"/v1/pictures/{picture.id}/file",
        "engine": engine,
        "model": picture.model,
        "matted_by": None if cut is None else cut.by,
        "notes": [] if cut is None or cut.note is None else [cut.note],
    }


def _label(drawing: Drawing, person: PersonId, count: int) -> str:
    """For the queue and for those who wait behind it; never the prompt."""
    what = {Mode.TEXT: "picture", Mode.IMAGE: "variation"}.get(drawing.mode, "edit")
    return f"{count} {what}{'s' if count > 1 else ''} for {person}"
