# SPDX-License-Identifier: Apache-2.0
"""The whole of sprites over a database, with the starter's record, and drawings and pixels made by Pillow."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from PIL import Image

from inglenook.base.ids import JobId
from inglenook.catalog.service import BUILTIN_MODELS, CatalogService
from inglenook.gallery.records import PictureRecords
from inglenook.gallery.service import GalleryService
from inglenook.images.engines import DrawingEngine, Engines
from inglenook.images.model import Engine
from inglenook.images.request import Drawing, Limits
from inglenook.images.service import ImagesService
from inglenook.jobs.limits import JobLimits
from inglenook.jobs.model import Job
from inglenook.jobs.records import JobRecords
from inglenook.jobs.service import JobsService
from inglenook.jobs.work import Report
from inglenook.sprites.service import SpritesService
from inglenook.sprites.work import SpriteWork
from inglenook.store.blobs import LocalBlobs
from inglenook.testing.clock import FakeClock
from inglenook.testing.pixels import FakeMatting, FakePixels, opened, png_of
from inglenook.wire.image import Drawn, PictureMade
from tests.databases import fresh_sqlite

LIMITS = Limits(max_side_px=2048, max_pixels=2048 * 2048, max_pictures=8, max_steps=150)


class FakeEasel:
    """Draws a square in the colour of the seed; over a picture, that picture with a mark a frame; inside a
    mask, that colour where it is white. Asserts that a lease is held.

    Attributes:
        drawings: what was drawn, in that order.
    """

    def __init__(self, blobs: LocalBlobs) -> None:
        self.lease = SimpleNamespace(device=SimpleNamespace(kind="cpu"))
        self.drawings: list[Drawing] = []
        self.held = False
        self._blobs = blobs

    @asynccontextmanager
    async def easel(
        self,
        job: Job,
        drawing: Drawing,
        report: Report,
        *,
        pictures: int,
    ) -> AsyncIterator["FakeEasel"]:
        self.held = True
        try:
            yield self
        finally:
            self.held = False

    def explain(self, job: JobId) -> Mapping[str, Any] | None:
        return {"position": 1}

    async def draw(self, drawing: Drawing, *, report: Report, keep: Any) -> Drawn:
        assert self.held
        self.drawings.append(drawing)
        for number, seed in enumerate(drawing.seeds):
            detail = {"picture": number, "pictures": len(drawing.seeds), "step": 1, "steps": 1}
            done = (number + 1) / len(drawing.seeds)
            await report.progress(done, stage="denoise", detail=detail)
            made = PictureMade(
                job="j",
                picture=number,
                seed=seed,
                file="f",
                width=drawing.width,
                height=drawing.height,
                seconds=0.1,
            )
            await keep(made, self._picture(drawing, seed))
        return Drawn(job="j", seconds=0.1, saving=0)

    def _picture(self, drawing: Drawing, seed: int) -> bytes:
        ink = (seed * 40 % 256, 90, 200)
        picture = Image.new("RGB", (drawing.width, drawing.height), "white")
        if drawing.image is not None:
            picture = opened(self._blobs.read(drawing.image)).convert("RGB")
        if drawing.mask is not None:
            picture.paste(ink, (0, 0), opened(self._blobs.read(drawing.mask)))
        else:
            at = 8 * len(self.drawings)
            picture.paste(ink, (8, 8, 56, 56))
            picture.paste("black", (at, 16, at + 8, 24))
        return png_of(picture)


class Loaded:
    """A `PicturePreloader` that remembers."""

    def __init__(self) -> None:
        self.models: list[str] = []

    async def preload(self, model: Any, **_: Any) -> None:
        self.models.append(model.id)


@dataclass
class Studio:
    service: SpritesService
    jobs: JobsService
    gallery: GalleryService
    catalog: CatalogService
    blobs: LocalBlobs
    easel: FakeEasel
    pixels: FakePixels
    matting: FakeMatting
    loaded: Loaded


TORCH = DrawingEngine(
    engine=Engine.TORCH,
    title="PyTorch",
    missing=lambda: None,
    draws=lambda model: model,
    needs_conversion=False,
    modes=("text", "image", "inpaint"),
    loras=True,
    previews=True,
    devices=("cpu",),
)
MLX = DrawingEngine(
    engine=Engine.MLX,
    title="MLX",
    missing=lambda: None,
    draws=lambda _: None,
    needs_conversion=True,
    modes=("text",),
    loras=False,
    previews=True,
)
SDCPP = DrawingEngine(
    engine=Engine.SDCPP,
    title="stable-diffusion.cpp",
    missing=lambda: ("sd-server is not here.", "put it on PATH"),
    draws=lambda model: model,
    needs_conversion=False,
    modes=("text",),
    loras=True,
    previews=False,
)


@asynccontextmanager
async def sprite_studio(folder: Path, *, max_frames: int = 64) -> AsyncIterator[Studio]:
    clock, blobs = FakeClock(), LocalBlobs(folder / "blobs")
    easel, pixels, matting, loaded = FakeEasel(blobs), FakePixels(), FakeMatting(), Loaded()
    catalog = CatalogService(roots=(), builtin=BUILTIN_MODELS)
    with closing(fresh_sqlite(folder / "inglenook.db")) as database:
        gallery = GalleryService(
            records=PictureRecords(database=database), blobs=blobs, clock=clock, in_use=lambda _: False
        )
        work = SpriteWork(
            drawing=easel,  # type: ignore[arg-type] # as much of it as is used
            pixels=pixels,
            matting=matting,
            gallery=gallery,
            blobs=blobs,
            clock=clock,
        )
        jobs = JobsService(
            records=JobRecords(database=database), works=[work], clock=clock, limits=JobLimits(max_active=1)
        )
        bounds = {"max_upload_bytes": 1 << 22, "max_input_pixels": 1 << 22}
        engines = Engines([TORCH, MLX, SDCPP])
        images = ImagesService(
            catalog=catalog, engines=engines, jobs=jobs, blobs=blobs, limits=LIMITS, **bounds
        )
        service = SpritesService(
            catalog=catalog,
            images=images,
            jobs=jobs,
            gallery=gallery,
            blobs=blobs,
            pixels=pixels,
            matting=matting,
            engines=engines,
            preloader=loaded,  # type: ignore[arg-type] # the same
            model="auto",
            max_frames=max_frames,
            **bounds,
        )
        await jobs.start()
        try:
            yield Studio(service, jobs, gallery, catalog, blobs, easel, pixels, matting, loaded)
        finally:
            await jobs.stop(5)
