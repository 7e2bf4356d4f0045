# SPDX-License-Identifier: Apache-2.0
"""A picture job while it runs: lease → worker → file → gallery. No finished picture is ever lost."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from inglenook.base.cancel import StopToken
from inglenook.base.clock import Clock
from inglenook.base.errors import Failed, InglenookError
from inglenook.base.ids import BlobId, JobId, ModelId, PersonId, RequestId
from inglenook.base.units import format_bytes
from inglenook.base.work import WorkClass
from inglenook.catalog.model import ModelRecord
from inglenook.catalog.saving import footprint_at
from inglenook.catalog.service import CatalogService
from inglenook.engines import diffusers
from inglenook.engines.diffusers import ImageChild
from inglenook.gallery.model import Picture
from inglenook.gallery.service import GalleryService
from inglenook.images import metadata
from inglenook.images.cutout import cut_out
from inglenook.images.errors import BadRequest, DrawingFailed
from inglenook.images.intake import fit_png
from inglenook.images.model import Mode
from inglenook.images.request import Drawing
from inglenook.jobs.model import Job, Receipt
from inglenook.jobs.work import Report, Stopped
from inglenook.runtime.contracts import Lease, LoadPlan
from inglenook.runtime.scheduler.loop import LeaseStopped, Scheduler
from inglenook.runtime.scheduler.snapshot import explanation_json
from inglenook.store.blobs import BlobStore
from inglenook.wire.image import (
    MAX_SAVING,
    Draw,
    DrawCancelled,
    DrawFailed,
    Drawn,
    EmbeddingUse,
    Hires,
    LastWord,
    LoraUse,
    Notice,
    PictureMade,
    Progress,
)
from inglenook.wire.message import Message

KIND: Final = "image"
INVALID: Final = "draw.invalid"
"""The worker's code for a request that the model cannot follow."""
SOFTWARE: Final = "inglenook"
_NOT_PLAIN: Final = "The border of the picture has no colour of its own, so the background was not cut away."
LOAD_BYTES_PER_S: Final = 400_000_000
"""A guess for a model that was never loaded here: a plain SATA disk."""
LOAD_BASE_S: Final = 6.0
"""Starting a worker and importing its libraries, before anybody has measured it."""


class ImageWork:
    """Carries out jobs of kind `image`. See `jobs.work.Work`."""

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
    ) -> None:
        self._scheduler = scheduler
        self._catalog = catalog
        self._gallery = gallery
        self._blobs = blobs
        self._clock = clock
        self._pinned = pinned
        self._loading = loading
        self._requests: dict[JobId, RequestId] = {}
        self._pace_s: dict[tuple[str, int], float] = {}
        """Seconds a step took lately, by model and scale."""

    def explain(self, job: JobId) -> Mapping[str, Any] | None:
        request = self._requests.get(job)
        explanation = None if request is None else self._scheduler.explain(request)
        return None if explanation is None else explanation_json(explanation)

    async def run(self, job: Job, report: Report) -> Mapping[str, Any]:
        drawing = Drawing.from_json(job.payload)
        record = await asyncio.to_thread(self._catalog.get, drawing.model)
        for note in drawing.notes:
            await report.notice(note)
        async with self._leased(job, drawing, record, report) as lease:
            await report.running()
            if lease.saving_reason is not None:
                await report.notice(f"On {lease.device.id} {lease.saving_reason}.")
            session = _Session(job=job, drawing=drawing, report=report, lease=lease, work=self)
            return await session.draw()

    async def _plan(self, record: ModelRecord, drawing: Drawing) -> LoadPlan:
        files = await asyncio.to_thread(weight_files, record)
        return load_plan(
            record, drawing, pinned=record.id in self._pinned, loading=self._loading, files=files
        )

    @asynccontextmanager
    async def _leased(
        self, job: Job, drawing: Drawing, record: ModelRecord, report: Report
    ) -> AsyncIterator[Lease]:
        plan = await self._plan(record, drawing)
        pace_s = self._pace_s.get((plan.model, plan.scale))
        request = self._scheduler.request(
            person=job.owner,
            work_class=job.work_class,
            plan=plan,
            label=_label(drawing, job.owner),
            expected_s=None if pace_s is None else pace_s * drawing.steps * len(drawing.seeds),
        )
        self._requests[job.id] = request.id
        try:
            await report.waiting()
            lease = await self._scheduler.acquire(request, report.stop)
        except LeaseStopped as stopped:  # at once: the wait itself watches for the wish
            raise Stopped(
                Receipt("left the queue before anything was drawn", self._clock.now(), 0.0)
            ) from stopped
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

    # -- used by a session -----------------------------------------------------------------------

    async def used_bytes(self, lease: Lease) -> int | None:
        return await self._scheduler.used_bytes(lease)

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def learn_pace(self, lease: Lease, drawing: Drawing, seconds: float) -> None:
        """How long the same work will take next time."""
        plan = lease.request.plan
        self._pace_s[plan.model, plan.scale] = seconds / (drawing.steps * len(drawing.seeds))

    def receipt(self, how: str, seconds: float, before: int | None, after: int | None) -> Receipt:
        return Receipt(how, self._clock.now(), seconds, before, after)

    def put_input(self, blob: BlobId, drawing: Drawing, target: Path) -> None:
        """Write an input picture or a mask into the spool, at the size that is drawn."""
        target.write_bytes(fit_png(self._blobs.read(blob), drawing.width, drawing.height))

    def put_reference(self, blob: BlobId, target: Path) -> None:
        """Write a picture that an instruction is about: as it is; the model has its own idea of sizes."""
        target.write_bytes(self._blobs.read(blob))

    def loras(self, drawing: Drawing) -> tuple[LoraUse, ...]:
        return tuple(LoraUse(path=self._path(one.model), weight=one.weight) for one in drawing.loras)

    def embeddings(self, drawing: Drawing) -> tuple[EmbeddingUse, ...]:
        return tuple(
            EmbeddingUse(word=f"embedding:{word}", path=self._path(model))
            for word, model in drawing.embeddings
        )

    def vae(self, drawing: Drawing) -> str | None:
        return None if drawing.vae is None else self._path(drawing.vae)

    def _path(self, part: ModelId) -> str:
        """Raises NotFound: it was there when the job was accepted, and has been taken away since."""
        return str(self._catalog.get(part).path)

    def keep(self, job: Job, drawing: Drawing, made: PictureMade, png: bytes) -> Picture:
        """Cut out, enlarge, encode, embed the parameters, keep. Blocks."""
        parameters = parameters_of(drawing, made)
        if drawing.transparent:
            freed = cut_out(png)
            parameters["transparent"] = freed is not None
            png = png if freed is None else freed
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


@dataclass
class _Session:
    """One job on one worker."""

    job: Job
    drawing: Drawing
    report: Report
    lease: Lease
    work: ImageWork
    began_s: float = 0.0
    stop_seen: tuple[float, int | None] | None = None

    async def draw(self) -> Mapping[str, Any]:
        child = self.lease.child
        assert isinstance(child, ImageChild)
        self.child = child
        self.began_s = self.work.monotonic()
        draw = await asyncio.to_thread(self._prepare)
        watch = asyncio.create_task(self._note_stop())
        try:
            last = await child.draw(draw, stop=self.report.stop, tell=self._hear)
        finally:
            watch.cancel()
        return await self._end(last)

    def _prepare(self) -> Draw:
        drawing = self.drawing
        names: dict[str, str] = {}
        for field_name, blob in (("image", drawing.image), ("mask", drawing.mask)):
            if blob is not None and drawing.mode is not Mode.EDIT:
                names[field_name] = f"{self.job.id}-{field_name}.png"
                self.work.put_input(blob, drawing, self.child.spool / names[field_name])
        hires = drawing.hires
        return Draw(
            job=self.job.id,
            mode=drawing.mode.value,
            prompt=drawing.prompt,
            negative_prompt=drawing.negative_prompt,
            width=drawing.width,
            height=drawing.height,
            steps=drawing.steps,
            guidance_scale=drawing.guidance_scale,
            scheduler=drawing.scheduler,
            sigmas=drawing.sigmas,
            seeds=drawing.seeds,
            strength=drawing.strength,
            image=names.get("image"),
            mask=names.get("mask"),
            references=self._references(),
            loras=self.work.loras(drawing),
            embeddings=self.work.embeddings(drawing),
            vae=self.work.vae(drawing),
            clip_skip=drawing.clip_skip,
            hires=None
            if hires is None
            else Hires(
                width=hires.width,
                height=hires.height,
                steps=hires.steps,
                strength=hires.strength,
                upscaler=hires.upscaler,
            ),
            preview_every=preview_every(drawing),
            saving=self.lease.saving,
        )

    def _references(self) -> tuple[str, ...]:
        """The pictures that an instruction is about, in the spool."""
        drawing = self.drawing
        if drawing.image is None or not (drawing.mode is Mode.EDIT or drawing.more_images):
            return ()
        names = []
        for number, blob in enumerate((drawing.image, *drawing.more_images), start=1):
            names.append(f"{self.job.id}-reference-{number}.png")
            self.work.put_reference(blob, self.child.spool / names[-1])
        return tuple(names)

    async def _hear(self, message: Message) -> None:
        match message:
            case Progress():
                await self._progress(message)
            case PictureMade():
                await self._keep(message)
            case Notice():
                await self.report.notice(message.text)
            case _:
                raise Failed(f"The image worker said {type(message).__name__} while it drew.")

    async def _progress(self, message: Progress) -> None:
        # "encode" comes before the first step, and says 1 of 1 when it is done.
        drawn = 0.0 if message.stage == "encode" else message.step / message.steps
        done = (message.picture + drawn) / message.pictures
        spent_s = self.work.monotonic() - self.began_s
        estimate_s = spent_s / done * (1 - done) if done > 0 else None
        detail = {
            "picture": message.picture,
            "pictures": message.pictures,
            "step": message.step,
            "steps": message.steps,
        }
        await self.report.progress(done, stage=message.stage, estimate_s=estimate_s, detail=detail)
        if message.preview is not None:
            data = await asyncio.to_thread(_take, self.child.spool / message.preview)
            await self.report.preview(
                picture=message.picture, step=message.step, media_type="image/png", data=data
            )

    async def _keep(self, made: PictureMade) -> None:
        png = await asyncio.to_thread(_take, self.child.spool / made.file)
        picture = await asyncio.to_thread(self.work.keep, self.job, self.drawing, made, png)
        if self.drawing.transparent and not picture.parameters["transparent"]:
            await self.report.notice(f"{_NOT_PLAIN} Picture {made.picture + 1} was kept opaque.")
        await self.report.result(part_of(picture, made))

    async def _note_stop(self) -> None:
        await self.report.stop.wait()
        self.stop_seen = (self.work.monotonic(), None)
        self.stop_seen = (self.stop_seen[0], await self.work.used_bytes(self.lease))

    async def _end(self, last: LastWord) -> Mapping[str, Any]:
        match last:
            case Drawn():
                self.work.learn_pace(self.lease, self.drawing, last.seconds)
                return {
                    "seconds": round(last.seconds, 3),
                    "saving": last.saving,
                    "peak_bytes": last.peak_bytes,
                }
            case DrawFailed():
                raise _failure(last)
            case DrawCancelled():
                raise Stopped(await self._receipt(last))

    async def _receipt(self, last: DrawCancelled) -> Receipt:
        how = "its process was ended, because it did not stop by itself"
        after = 0
        if last.step >= 0:
            how = (
                f"stopped before step {last.step} of picture {last.picture + 1} of {len(self.drawing.seeds)}"
            )
            used = (
                last.after_bytes if last.after_bytes is not None else await self.work.used_bytes(self.lease)
            )
            after = -1 if used is None else used
        since_s, before = (self.began_s, None) if self.stop_seen is None else self.stop_seen
        if last.before_bytes is not None:
            before = last.before_bytes
        seconds = self.work.monotonic() - since_s
        return self.work.receipt(how, seconds, before, None if after < 0 else after)


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
    levels = range(MAX_SAVING + 1) if loading.saving is None else (loading.saving,)
    needs = [
        {
            kind: footprint_at(
                record,
                *size,
                usual if loading.dtype is None else loading.dtype,
                saving=level,
                on_cpu=kind == "cpu",
                vae_apart=loading.vae_on_cpu,
            )
            for kind, usual in diffusers.DTYPES.items()
        }
        for level in levels
    ]
    chosen: dict[str, Any] = {"vae_on_cpu": True} if loading.vae_on_cpu else {}
    if loading.dtype is not None:
        chosen["dtype"] = loading.dtype
    if loading.saving is not None:
        chosen["saving"] = loading.saving
    return LoadPlan(
        model=record.id,
        engine=diffusers.NAME,
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


def weight_files(record: ModelRecord) -> tuple[Path, ...]:
    """The files that loading a model reads, its own first. Blocks."""
    found = []
    for place in (record.path, *record.parts.values()):
        found += sorted(place.rglob("*.safetensors")) if place.is_dir() else [place]
    return tuple(found)


def preview_every(drawing: Drawing) -> int:
    """Steps between two previews, so that no more than `drawing.previews` come before the last step; 0 for
    none."""
    return 0 if drawing.previews == 0 else math.ceil(drawing.steps / (drawing.previews + 1))


def parameters_of(drawing: Drawing, made: PictureMade) -> dict[str, Any]:
    """All that makes the same picture again, as it is embedded in the file and kept in the gallery."""
    return {
        "software": SOFTWARE,
        "prompt": drawing.prompt,
        "negative_prompt": drawing.negative_prompt,
        "model": drawing.model,
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


def part_of(picture: Picture, made: PictureMade) -> dict[str, Any]:
    """One finished picture as it stands in the job's result."""
    return {
        "picture_id": picture.id,
        "index": made.picture,
        "seed": made.seed,
        "width": picture.width,
        "height": picture.height,
        "media_type": picture.media_type,
        "size_bytes": picture.size_bytes,
        "url": f"/v1/pictures/{picture.id}/file",
    }


def _label(drawing: Drawing, person: PersonId) -> str:
    """For the queue and for those who wait behind it; never the prompt."""
    count = len(drawing.seeds)
    what = {Mode.TEXT: "picture", Mode.IMAGE: "variation"}.get(drawing.mode, "edit")
    return f"{count} {what}{'s' if count > 1 else ''} for {person}"


def _failure(last: DrawFailed) -> InglenookError:
    """The worker's words as an error. What it calls invalid is the request's fault, not ours."""
    message, _, hint = last.message.partition("\nhint: ")
    if last.code == INVALID:
        return BadRequest(message, code=last.code, hint=hint or None)
    return DrawingFailed(message, code=last.code, hint=hint or _hint(last))


def _hint(last: DrawFailed) -> str | None:
    evidence = last.out_of_memory
    if evidence is None:
        return None
    numbers = [
        f"{format_bytes(value)} {word}"
        for value, word in (
            (evidence.requested_bytes, "were asked for"),
            (evidence.free_bytes, "were free"),
            (evidence.total_bytes, "in all"),
        )
        if value is not None
    ]
    return f"choose a smaller size ({', '.join(numbers)})" if numbers else "choose a smaller size"


def _take(path: Path) -> bytes:
    """Read a file of the spool and remove it."""
    data = path.read_bytes()
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    return data
