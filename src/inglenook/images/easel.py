# SPDX-License-Identifier: Apache-2.0
"""Drawing on a lease: files into the child's spool, its news to the readers, pictures to their keeper."""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from inglenook.base.clock import Clock
from inglenook.base.errors import Failed, InglenookError
from inglenook.base.ids import BlobId, JobId, ModelId
from inglenook.base.units import format_bytes
from inglenook.catalog.service import CatalogService
from inglenook.images.errors import BadRequest, DrawingFailed
from inglenook.images.intake import fit_png
from inglenook.images.model import Mode
from inglenook.images.request import Drawing
from inglenook.jobs.model import Receipt
from inglenook.jobs.work import Report, Stopped
from inglenook.runtime.contracts import Lease
from inglenook.runtime.image_child import ImageChild
from inglenook.runtime.scheduler.loop import Scheduler
from inglenook.store.blobs import BlobStore
from inglenook.wire.image import (
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

INVALID: Final = "draw.invalid"
"""The worker's code for a request that the model cannot follow."""
OUT_OF_MEMORY: Final = "out_of_memory"

Keep = Callable[[PictureMade, bytes], Awaitable[None]]
"""Takes a finished picture: what the worker says of it, and its PNG as drawn (RGB, not enlarged)."""


class Materials:
    """What a drawing names, put where the worker finds it. Every method blocks."""

    def __init__(self, *, catalog: CatalogService, blobs: BlobStore) -> None:
        self._catalog = catalog
        self._blobs = blobs

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


class Easel:
    """A lease on a model, and whatever one job draws on it: once, or drawing after drawing.

    Args:
        learned: told of each finished drawing, and the seconds that it took.
    """

    def __init__(
        self,
        *,
        job: JobId,
        lease: Lease,
        materials: Materials,
        scheduler: Scheduler,
        clock: Clock,
        learned: Callable[[Drawing, float], None],
    ) -> None:
        child = lease.child
        assert isinstance(child, ImageChild)
        self.lease = lease
        self._child = child
        self._job = job
        self._materials = materials
        self._scheduler = scheduler
        self._clock = clock
        self._learned = learned

    async def draw(self, drawing: Drawing, *, report: Report, keep: Keep) -> Drawn:
        """Draw, and hand each finished picture to `keep` at once.

        The drawing is of the model and of the size, or a smaller one, that the lease was taken for.

        Args:
            report: hears of progress, previews and notices; its token stops the drawing within one step.

        Raises:
            Stopped: the token said so; pictures that were finished before have been kept.
            BadRequest: `draw.invalid`: what the model cannot do.
            DrawingFailed: it did not work; out of memory ends in `_mps` on an Apple GPU.
            ChildFailed: the worker died.
            NotFound: a LoRA, an embedding, a VAE or an input picture has been taken away meanwhile.
        """
        return await _Draw(self, drawing, report, keep).carry_out()


class _Draw:
    """One drawing on its easel."""

    def __init__(self, easel: Easel, drawing: Drawing, report: Report, keep: Keep) -> None:
        self.easel = easel
        self.drawing = drawing
        self.report = report
        self.keep = keep
        self.began_s = easel._clock.monotonic()
        self.stop_seen: tuple[float, int | None] | None = None
        self._materials = easel._materials
        self._spool = easel._child.spool

    async def carry_out(self) -> Drawn:
        draw = await asyncio.to_thread(self._prepare)
        watch = asyncio.create_task(self._note_stop())
        try:
            last = await self.easel._child.draw(draw, stop=self.report.stop, tell=self._hear)
        finally:
            watch.cancel()
        return await self._end(last)

    def _prepare(self) -> Draw:
        drawing = self.drawing
        names: dict[str, str] = {}
        for field_name, blob in (("image", drawing.image), ("mask", drawing.mask)):
            if blob is not None and drawing.mode is not Mode.EDIT:
                names[field_name] = f"{self.easel._job}-{field_name}.png"
                self._materials.put_input(blob, drawing, self._spool / names[field_name])
        hires = drawing.hires
        return Draw(
            job=self.easel._job,
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
            loras=self._materials.loras(drawing),
            embeddings=self._materials.embeddings(drawing),
            vae=self._materials.vae(drawing),
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
            saving=self.easel.lease.saving,
        )

    def _references(self) -> tuple[str, ...]:
        """The pictures that an instruction is about, in the spool."""
        drawing = self.drawing
        if drawing.image is None or not (drawing.mode is Mode.EDIT or drawing.more_images):
            return ()
        names = []
        for number, blob in enumerate((drawing.image, *drawing.more_images), start=1):
            names.append(f"{self.easel._job}-reference-{number}.png")
            self._materials.put_reference(blob, self._spool / names[-1])
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
        spent_s = self.easel._clock.monotonic() - self.began_s
        estimate_s = spent_s / done * (1 - done) if done > 0 else None
        detail = {
            "picture": message.picture,
            "pictures": message.pictures,
            "step": message.step,
            "steps": message.steps,
        }
        await self.report.progress(done, stage=message.stage, estimate_s=estimate_s, detail=detail)
        if message.preview is not None:
            data = await asyncio.to_thread(_take, self._spool / message.preview)
            await self.report.preview(
                picture=message.picture, step=message.step, media_type="image/png", data=data
            )

    async def _keep(self, made: PictureMade) -> None:
        await self.keep(made, await asyncio.to_thread(_take, self._spool / made.file))

    async def _note_stop(self) -> None:
        await self.report.stop.wait()
        self.stop_seen = (self.easel._clock.monotonic(), None)
        self.stop_seen = (self.stop_seen[0], await self.easel._scheduler.used_bytes(self.easel.lease))

    async def _end(self, last: LastWord) -> Drawn:
        match last:
            case Drawn():
                self.easel._learned(self.drawing, last.seconds)
                return last
            case DrawFailed():
                raise failure_of(last, self.easel.lease.device.kind)
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
                last.after_bytes
                if last.after_bytes is not None
                else await self.easel._scheduler.used_bytes(self.easel.lease)
            )
            after = -1 if used is None else used
        since_s, before = (self.began_s, None) if self.stop_seen is None else self.stop_seen
        if last.before_bytes is not None:
            before = last.before_bytes
        seconds = self.easel._clock.monotonic() - since_s
        now = self.easel._clock.now()
        return Receipt(how, now, seconds, before, None if after < 0 else after)


def preview_every(drawing: Drawing) -> int:
    """Steps between two previews, so that no more than `drawing.previews` come before the last step; 0 for
    none."""
    return 0 if drawing.previews == 0 else math.ceil(drawing.steps / (drawing.previews + 1))


def failure_of(last: DrawFailed, device: str) -> InglenookError:
    """The worker's words as an error. What it calls invalid is the request's fault, not ours.

    Args:
        device: the kind that it drew on. Memory that runs out on an Apple GPU is the whole machine's, which
            has other cures: its code says so.
    """
    message, _, hint = last.message.partition("\nhint: ")
    if last.code == INVALID:
        return BadRequest(message, code=last.code, hint=hint or None)
    ran_out = last.code.endswith(OUT_OF_MEMORY) and device == "mps"
    code = f"{last.code}_mps" if ran_out else last.code
    return DrawingFailed(message, code=code, hint=hint or _hint(last))


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
