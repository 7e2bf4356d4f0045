# SPDX-License-Identifier: Apache-2.0
"""A sprite job from its payload to the gallery, with drawings and pixels made by Pillow: in which order it
does things, what is kept, what is told, and how it stops."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from inglenook.base.cancel import StopReason, StopToken
from inglenook.base.errors import Cancelled, Failed
from inglenook.base.ids import OWNER, BlobId, JobId
from inglenook.base.work import WorkClass
from inglenook.gallery.records import PictureRecords
from inglenook.gallery.service import GalleryService
from inglenook.images import metadata
from inglenook.images.model import Engine
from inglenook.images.request import plan as drawn
from inglenook.jobs.model import Job, JobState
from inglenook.pixels.model import Background, Recipe
from inglenook.sprites import plan
from inglenook.sprites.canvas import beside, laid, laid_mask, selected, window
from inglenook.sprites.model import Side, SpriteRequest, Stage
from inglenook.sprites.plan import Ground, Order
from inglenook.sprites.work import SpriteWork
from inglenook.store.blobs import LocalBlobs
from inglenook.store.database import Database
from inglenook.testing.clock import FakeClock
from inglenook.testing.pixels import FakeMatting, FakePixels, opened, png_of
from tests.databases import fresh_sqlite
from tests.sprite_bench import FakeEasel
from tests.unit.images.test_request import MODEL
from tests.unit.sprites.test_sprites_plan import LIMITS, ordered, request

pytestmark = pytest.mark.anyio


@dataclass
class Told:
    """A `Report` that remembers."""

    stop: StopToken = field(default_factory=StopToken)
    progressed: list[tuple[float, str, Mapping[str, Any]]] = field(default_factory=list)
    parts: list[Mapping[str, Any]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    previews: list[tuple[int, bytes]] = field(default_factory=list)

    async def waiting(self) -> None: ...

    async def running(self) -> None: ...

    async def paused(self) -> None: ...

    async def progress(
        self, fraction: float, *, stage: str, estimate_s: float | None = None, detail: Mapping[str, Any]
    ) -> None:
        assert estimate_s is None or estimate_s >= 0
        self.progressed.append((fraction, stage, detail))

    async def preview(self, *, picture: int, step: int, media_type: str, data: bytes) -> None:
        assert media_type == "image/png"
        self.previews.append((picture, data))

    async def result(self, part: Mapping[str, Any]) -> None:
        self.parts.append(part)

    async def notice(self, text: str) -> None:
        self.notices.append(text)

    async def cost(self, *, seconds: float, byte_seconds: float) -> None: ...


@dataclass
class Bench:
    work: SpriteWork
    easel: FakeEasel
    pixels: FakePixels
    matting: FakeMatting
    gallery: GalleryService
    blobs: LocalBlobs
    report: Told

    async def run(self, order: Order) -> Mapping[str, Any]:
        return await self.work.run(job(order), self.report)

    def frames(self, part: Mapping[str, Any]) -> list[Image.Image]:
        return [opened(self.blobs.read(BlobId(blob))) for blob in part["frames"]]


def job(order: Order) -> Job:
    return Job(
        id=JobId("job_1"),
        kind="sprite",
        owner=OWNER,
        state=JobState.RUNNING,
        work_class=WorkClass.INTERACTIVE,
        title="a fox",
        payload=order.as_json(),
        created_at=FakeClock().now(),
    )


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with closing(fresh_sqlite(tmp_path / "inglenook.db")) as database:
        yield made(tmp_path, database)


def made(tmp_path: Path, database: Database) -> Bench:
    blobs = LocalBlobs(tmp_path / "blobs")
    clock = FakeClock()
    gallery = GalleryService(
        records=PictureRecords(database=database), blobs=blobs, clock=clock, in_use=lambda _: False
    )
    easel, pixels, matting = FakeEasel(blobs), FakePixels(), FakeMatting()
    work = SpriteWork(
        drawing=easel,  # type: ignore[arg-type] # as much of it as is used
        pixels=pixels,
        matting=matting,
        gallery=gallery,
        blobs=blobs,
        clock=clock,
    )
    return Bench(work, easel, pixels, matting, gallery, blobs, Told())


def small(**fields: Any) -> SpriteRequest:
    return request(**{"recipe": Recipe(width=16, height=16), "base_width": 64, "base_height": 64} | fields)


def on_canvas(bench: Bench, canvas: Image.Image, mask: Image.Image | None, asked: SpriteRequest) -> Order:
    """The order for a canvas, as the service makes it."""
    picture = png_of(canvas)
    opens = None if mask is None else png_of(mask)
    part = None if opens is None else selected(opens)
    place = window(canvas.size, part, native_px=64, multiple=8, min_px=64, fixed=None)
    ground_png = laid(picture, place, (255, 255, 255))
    mask_png = None if opens is None else laid_mask(opens, place)
    if asked.continue_tile is not None:
        ground_png, mask_png = beside(ground_png, place, asked.continue_tile)
    keep = bench.blobs.put
    image = keep(ground_png).id
    mask_blob = None if mask_png is None else keep(mask_png).id
    asked = replace(asked, image=keep(picture).id, mask=None if opens is None else keep(opens).id)
    recipe, notes = plan.sprite_recipe(asked, MODEL, canvas.size, ground=place)
    wanted = plan.image_request(
        asked, MODEL, engine=Engine.TORCH, size=place.base, ground=image, mask=mask_blob
    )
    drawing = drawn(wanted, MODEL, limits=LIMITS, seed=7, image_size=place.base)
    assert asked.image is not None
    ground = Ground(asked.image, asked.mask, place, asked.continue_tile)
    return plan.order(asked, MODEL, drawing, engine=Engine.TORCH, recipe=recipe, ground=ground, notes=notes)


async def test_each_variant_is_a_picture_of_the_gallery_with_what_made_it(bench: Bench) -> None:
    result = await bench.run(ordered(small(n=2, seed=3)))
    assert [part["seed"] for part in bench.report.parts] == [3, 4]
    for place, part in enumerate(bench.report.parts):
        kept = bench.gallery.get(part["picture_id"], caller=OWNER)
        assert (kept.width, kept.height, kept.media_type) == (16, 16, "image/png")
        assert kept.parameters["sprite"]["recipe"]["width"] == 16
        assert kept.parameters["prompt"] == "a fox, pixel art, 8bit style, game sprite"
        assert part["index"] == place
        assert part["proofs"][0]["within_palette"] is True
        assert [frame.size for frame in bench.frames(part)] == [(16, 16)]
        assert opened(bench.blobs.read(BlobId(part["drawings"][0]))).size == (64, 64)
    assert (result["engine"], result["model"], result["device"]) == ("torch", MODEL.id, "cpu")
    assert result["seeds"] == (3, 4)
    assert result["tags"] == ()


async def test_an_animation_is_one_gif_whose_frames_are_kept_beside_it(bench: Bench) -> None:
    result = await bench.run(ordered(small(frames=4, motion="walk", frame_ms=90, seed=3)))
    (part,) = bench.report.parts
    assert part["media_type"] == "image/gif"
    picture = bench.gallery.get(part["picture_id"], caller=OWNER)
    with Image.open(bench.blobs.path(picture.blob)) as animation:
        assert animation.n_frames == 4  # type: ignore[attr-defined] # of an animated picture
    assert metadata.read(bench.blobs.read(picture.blob)) == picture.parameters
    assert len(bench.frames(part)) == 4
    assert part["durations_ms"] == (90, 90, 90, 90)
    assert result["tags"] == ({"name": "walk", "first": 0, "last": 3},)
    modes = [drawing.mode.value for drawing in bench.easel.drawings]
    assert modes == ["text", "image", "image", "image"]
    assert [drawing.seeds for drawing in bench.easel.drawings] == [(3,)] * 4
    assert bench.pixels.orders[0].durations_ms == (90, 90, 90, 90)


async def test_each_variant_of_an_animation_is_drawn_from_its_own_first_frame(bench: Bench) -> None:
    await bench.run(ordered(small(frames=2, n=2, seed=3)))
    assert [drawing.seeds for drawing in bench.easel.drawings] == [(3, 4), (3,), (4,)]
    first = [bench.blobs.read(BlobId(part["drawings"][0])) for part in bench.report.parts]
    inputs = [bench.blobs.read(BlobId(str(drawing.image))) for drawing in bench.easel.drawings[1:]]
    assert first == inputs
    assert first[0] != first[1]


async def test_the_lease_is_given_back_before_the_subject_is_cut_out(bench: Bench) -> None:
    bench.matting.gate.hold()
    asked = small(recipe=Recipe(width=16, height=16, background=Background.MATTE))
    running = asyncio.create_task(bench.run(ordered(asked)))
    await bench.matting.gate.entered.wait()
    assert not bench.easel.held
    bench.matting.gate.release()
    await running
    (part,) = bench.report.parts
    assert part["matted_by"] == "fake"
    sprite = bench.frames(part)[0].convert("RGBA")
    assert sprite.getpixel((0, 0)) == (*sprite.getpixel((0, 0))[:3], 0)  # type: ignore[index] # RGBA
    assert sprite.getpixel((8, 8))[3] == 255  # type: ignore[index]


async def test_nobody_cuts_out_what_is_to_be_kept(bench: Bench) -> None:
    await bench.run(ordered(small()))
    assert bench.matting.asked == 0
    assert bench.pixels.mattes == [(False,)]


async def test_progress_never_goes_back_and_names_each_stage(bench: Bench) -> None:
    asked = small(n=2, frames=2, recipe=Recipe(width=16, height=16, background=Background.MATTE))
    await bench.run(ordered(asked))
    fractions = [fraction for fraction, _, _ in bench.report.progressed]
    assert fractions == sorted(fractions)
    assert fractions[-1] < 1
    stages = list(dict.fromkeys(stage for _, stage, _ in bench.report.progressed))
    assert stages == ["denoise", Stage.MATTE, Stage.PIXELS, Stage.KEEP]
    drawing = [detail for _, stage, detail in bench.report.progressed if stage == "denoise"]
    assert [(detail["picture"], detail["pictures"]) for detail in drawing] == [(0, 4), (1, 4), (2, 4), (3, 4)]


async def test_the_sprite_itself_is_the_last_preview(bench: Bench) -> None:
    await bench.run(ordered(small(n=2)))
    assert [picture for picture, _ in bench.report.previews] == [0, 1]
    for part, (_, preview) in zip(bench.report.parts, bench.report.previews, strict=True):
        assert bench.blobs.read(BlobId(part["frames"][0])) == preview


async def test_outside_the_selection_no_pixel_changes(bench: Bench) -> None:
    canvas = Image.new("RGBA", (16, 16), (10, 20, 30, 255))
    canvas.paste((200, 0, 0, 255), (0, 0, 4, 16))
    canvas.paste((0, 0, 0, 0), (12, 0, 16, 4))
    mask = Image.new("L", (16, 16), 0)
    mask.paste(255, (6, 6, 10, 10))
    asked = small(recipe=Recipe(colors=4), seed=3, base_width=None, base_height=None)
    await bench.run(on_canvas(bench, canvas, mask, asked))
    (part,) = bench.report.parts
    sprite = bench.frames(part)[0].convert("RGBA")
    for y in range(16):
        for x in range(16):
            if 6 <= x < 10 and 6 <= y < 10:
                assert sprite.getpixel((x, y)) == (120, 90, 200, 255)
            elif canvas.getpixel((x, y))[3]:  # type: ignore[index] # RGBA
                assert sprite.getpixel((x, y)) == canvas.getpixel((x, y))
            else:
                assert sprite.getpixel((x, y))[3] == 0  # type: ignore[index]
    assert any("canvas keeps its own" in note for note in part["notes"])
    assert part["drawings"] == part["frames"], "whoever wants another recipe gets the whole sprite"


@pytest.mark.parametrize("side", list(Side))
async def test_the_next_tile_is_drawn_in_two_halves_from_the_one_before(bench: Bench, side: Side) -> None:
    tile = Image.new("RGBA", (16, 16), (10, 20, 30, 255))
    asked = small(continue_tile=side, seed=3, base_width=None, base_height=None)
    await bench.run(on_canvas(bench, tile, None, asked))
    assert [drawing.mode.value for drawing in bench.easel.drawings] == ["inpaint", "inpaint"]
    (part,) = bench.report.parts
    sprite = bench.frames(part)[0].convert("RGB")
    assert sprite.size == (16, 16)
    assert sprite.getcolors() == [(256, (120, 90, 200))], "all of it is new"
    assert len(part["drawings"]) == 1, "the tile, not the halves that it was drawn in"


@pytest.mark.parametrize("stage", ["matte", "pixels"])
async def test_a_cancelled_job_stops_while_others_work_for_it(bench: Bench, stage: str) -> None:
    gate = bench.matting.gate if stage == "matte" else bench.pixels.gate
    gate.hold()
    asked = small(recipe=Recipe(width=16, height=16, background=Background.MATTE))
    running = asyncio.create_task(bench.run(ordered(asked)))
    await gate.entered.wait()
    bench.report.stop.stop(StopReason.CANCELLED)
    with pytest.raises(Cancelled):
        await running
    assert bench.report.parts == []


async def test_a_job_that_is_cancelled_between_two_stages_says_before_which(bench: Bench) -> None:
    bench.report.stop.stop(StopReason.CANCELLED)
    with pytest.raises(Cancelled, match="before the matte of variant 1 of 1"):
        await bench.run(ordered(small()))


async def test_variants_that_were_finished_are_kept_when_a_later_one_fails(bench: Bench) -> None:
    bench.pixels.fails[1] = Failed("The pixel worker died.", code="pixels.failed")
    with pytest.raises(Failed, match="died"):
        await bench.run(ordered(small(n=3, seed=3)))
    (part,) = bench.report.parts
    assert bench.gallery.get(part["picture_id"], caller=OWNER).seed == 3


async def test_why_it_waits_is_what_the_queue_of_pictures_says(bench: Bench) -> None:
    assert bench.work.explain(JobId("job_1")) == {"position": 1}
