# SPDX-License-Identifier: Apache-2.0
"""Sprites without a model: the service's promises kept with plain pictures, at the test's pace.

The picture of a request is a gradient with a square in it, made of its prompt and seed, reduced by Pillow
alone. `hold` stops every drawing before its last step until `release` or until it is called off.
"""

import asyncio
import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image

from inglenook.base.cancel import StopToken
from inglenook.base.clock import Clock
from inglenook.base.errors import InglenookError, NotFound
from inglenook.base.ids import BlobId, JobId, ModelId, PersonId, PictureId
from inglenook.base.work import WorkClass
from inglenook.images.engines import EngineStatus
from inglenook.images.model import Engine
from inglenook.jobs.model import Job, JobState, Receipt
from inglenook.jobs.service import JobsService
from inglenook.jobs.work import Report, Stopped
from inglenook.pixels.model import Fit
from inglenook.sprites.model import KIND, SpritePart, SpriteRequest, SpriteResult

STEPS = 4


def engine_status(name: Engine, *models: str, why_not: str | None = None) -> EngineStatus:
    return EngineStatus(
        name=name,
        title=name.value,
        available=why_not is None,
        why_not=why_not,
        hint=None if why_not is None else "install it",
        needs_conversion=name is Engine.MLX,
        modes=("text", "image", "inpaint"),
        loras=name is Engine.TORCH,
        previews=True,
        negative_prompt=True,
        families=(),
        devices=("cpu",),
        models=models,
    )


@dataclass
class FakeSpriteWork:
    """Carries out jobs of kind `sprite`.

    Attributes:
        step_s: how long each step takes.
        fails: by what a request is answered instead of a picture, if anything.
        asked: the requests that were begun.
    """

    clock: Clock
    kind: str = KIND
    restarts: bool = False
    step_s: float = 0.0
    fails: Callable[[SpriteRequest], InglenookError | None] = lambda _: None
    asked: list[SpriteRequest] = field(default_factory=list)
    pictures: dict[JobId, list[bytes]] = field(default_factory=dict)
    _held: asyncio.Event | None = None

    def hold(self) -> None:
        self._held = asyncio.Event()

    def release(self) -> None:
        if self._held is not None:
            self._held.set()
            self._held = None

    def explain(self, job: JobId) -> Mapping[str, Any] | None:  # noqa: ARG002 - a `Work`
        return None

    async def run(self, job: Job, report: Report) -> Mapping[str, Any]:
        request = SpriteRequest.from_json(job.payload)
        self.asked.append(request)
        await report.waiting()
        await report.running()
        error = self.fails(request)
        if error is not None:
            raise error
        seeds = tuple((request.seed or 0) + variant for variant in range(request.n))
        self.pictures[job.id] = []
        for variant, seed in enumerate(seeds):
            frames = [sprite_of(request, seed, frame) for frame in range(request.frames)]
            for frame, png in enumerate(frames):
                await self._draw(request, report, variant * request.frames + frame, png)
            self.pictures[job.id] += frames
            await report.result(_part(request, variant, seed, frames).as_json())
        return _result(request, seeds).as_json()

    async def _draw(self, request: SpriteRequest, report: Report, picture: int, png: bytes) -> None:
        steps = request.steps or STEPS
        pictures = request.n * request.frames
        for step in range(1, steps + 1):
            if step == steps or self.step_s:
                await self._wait(report)
            detail = {"picture": picture, "pictures": pictures, "step": step, "steps": steps}
            share = (picture + step / steps) / pictures
            await report.progress(0.8 * share, stage="denoise", detail=detail)
        await report.preview(picture=picture, step=0, media_type="image/png", data=png)
        for number, stage in enumerate(("decode", "matte", "pixels", "keep")):
            done = 0.8 + 0.05 * number
            detail = {"picture": picture, "pictures": pictures, "step": steps, "steps": steps}
            await report.progress(done, stage=stage, detail=detail)

    async def _wait(self, report: Report) -> None:
        """Until `release`; raises Stopped when it is called off first."""
        if self._held is not None:
            waits = [asyncio.create_task(one) for one in (self._held.wait(), report.stop.wait())]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for one in waits:
                one.cancel()
        elif self.step_s:
            with suppress(TimeoutError):
                await asyncio.wait_for(report.stop.wait(), self.step_s)
        if report.stop.is_set:
            raise Stopped(Receipt("stopped before its last step", self.clock.now(), 0.0))


class FakeSprites:
    """Implements what doors need of `sprites.service.SpritesService`.

    Attributes:
        statuses: the capability matrix.
        refuses: what a request is refused with at once, if anything.
        inputs, masks: what was kept. loaded: what was asked to be loaded.
    """

    def __init__(self, *, jobs: JobsService, work: FakeSpriteWork, models: Sequence[str]) -> None:
        self.statuses = [
            engine_status(Engine.TORCH, *models),
            engine_status(Engine.MLX, why_not="The package mlx is not installed."),
        ]
        self.refuses: Callable[[SpriteRequest], InglenookError | None] = lambda _: None
        self.inputs: list[bytes] = []
        self.masks: list[bytes] = []
        self.loaded: list[tuple[str, Engine]] = []
        self._jobs = jobs
        self._work = work

    async def submit(
        self,
        request: SpriteRequest,
        *,
        owner: PersonId,
        work_class: WorkClass = WorkClass.INTERACTIVE,
        idempotency_key: str | None = None,
    ) -> Job:
        error = self.refuses(request)
        if error is not None:
            raise error
        return await self._jobs.submit(
            kind=KIND,
            owner=owner,
            work_class=work_class,
            title=request.prompt[:80],
            payload=replace(request, seed=7 if request.seed is None else request.seed).as_json(),
            idempotency_key=idempotency_key,
        )

    async def keep_input(self, png: bytes) -> BlobId:
        self.inputs.append(png)
        return BlobId(hashlib.sha256(png).hexdigest())

    async def keep_mask(self, png: bytes) -> BlobId:
        self.masks.append(png)
        return BlobId(hashlib.sha256(png).hexdigest())

    async def frames(self, job: JobId, *, person: PersonId) -> Sequence[bytes]:
        found = await self._jobs.get(job, person)
        if found.state is not JobState.SUCCEEDED or job not in self._work.pictures:
            raise NotFound(f"{job} has made nothing.", code="job.not_found")
        return self._work.pictures[job]

    async def preload(
        self,
        model: ModelId,
        engine: Engine = Engine.AUTO,
        *,
        person: PersonId,  # noqa: ARG002 - the service's signature
        stop: StopToken,  # noqa: ARG002
    ) -> ModelId:
        self.loaded.append((model, engine))
        return model

    async def engines(self) -> Sequence[EngineStatus]:
        return self.statuses

    def presets(self) -> dict[str, Any]:
        return {
            "presets": [{"name": "animal", "prompt": "cute animal"}],
            "sizes": [[32, 32], [64, 64]],
            "base_sizes": [[512, 512], [1024, 1024]],
        }


def drawing_of(request: SpriteRequest, seed: int, frame: int) -> Image.Image:
    """What a model might draw: RGB, of the base size."""
    width, height = request.base_width or 512, request.base_height or 512
    ink = hashlib.sha256(f"{request.prompt} {seed} {frame}".encode()).digest()
    picture = Image.linear_gradient("L").resize((width, height))
    picture = Image.merge(
        "RGB", [picture.point([(v * (1 + b % 3) + b) % 256 for v in range(256)]) for b in ink[:3]]
    )
    picture.paste(tuple(ink[3:6]), (width // 4, height // 4, width // 2, height // 2))
    return picture


def sprite_of(request: SpriteRequest, seed: int, frame: int) -> bytes:
    """PNG, RGBA, as the recipe wants it: size, fit, colours, hard alpha. Small ones only."""
    recipe = request.recipe
    width, height = recipe.width or 64, recipe.height or 64
    drawing = drawing_of(request, seed, frame)
    inner = (width, height)
    if recipe.fit is not Fit.STRETCH:
        pick = min if recipe.fit is Fit.CONTAIN else max
        scale = pick(width / drawing.width, height / drawing.height)
        inner = (max(1, round(drawing.width * scale)), max(1, round(drawing.height * scale)))
    small = drawing.resize(inner, Image.Resampling.NEAREST)
    if recipe.palette is not None or recipe.colors:
        small = small.quantize(recipe.colors or len(recipe.palette or ()), dither=Image.Dither.NONE).convert(
            "RGB"
        )
    canvas = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    canvas.paste(small, ((width - inner[0]) // 2, (height - inner[1]) // 2))
    out = io.BytesIO()
    canvas.save(out, "PNG")
    return out.getvalue()


def _part(request: SpriteRequest, index: int, seed: int, frames: Sequence[bytes]) -> SpritePart:
    with Image.open(io.BytesIO(frames[0])) as picture:
        width, height = picture.size
    blobs = tuple(BlobId(hashlib.sha256(frame).hexdigest()) for frame in frames)
    picture_id = PictureId(f"pic_{index}")
    return SpritePart(
        picture_id=picture_id,
        index=index,
        seed=seed,
        width=width,
        height=height,
        media_type="image/png",
        size_bytes=len(frames[0]),
        url=f"/v1/pictures/{picture_id}/file",
        frames=blobs,
        durations_ms=(request.frame_ms,) * len(frames),
        drawings=(),
        palette=((0, 0, 0), (255, 255, 255)),
        proofs=({"width": width, "height": height},) * len(frames),
        grid=None,
        offset=(0, 0),
        pivot=(0, 0),
        notes=(),
    )


def _result(request: SpriteRequest, seeds: tuple[int, ...]) -> SpriteResult:
    name = request.motion or "loop"
    still = request.frames == 1
    return SpriteResult(
        engine="torch" if request.engine is Engine.AUTO else request.engine.value,
        model=request.model,
        device="cpu",
        seconds=0.1,
        palette=((0, 0, 0), (255, 255, 255)),
        proof={"colors": 2},
        notes=(),
        durations_ms=(request.frame_ms,) * request.frames,
        tags=() if still else ({"name": name, "first": 0, "last": request.frames - 1},),
        seeds=seeds,
    )
