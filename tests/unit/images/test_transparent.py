# SPDX-License-Identifier: Apache-2.0
"""Pictures whose background is to go: by a matting model where there is one, else by the border, and told."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from inglenook.base.cancel import StopReason
from inglenook.base.errors import Failed
from inglenook.base.ids import OWNER, JobId, PictureId
from inglenook.base.work import WorkClass
from inglenook.gallery.records import PictureRecords
from inglenook.gallery.service import GalleryService
from inglenook.images import metadata
from inglenook.images.cutout import NOT_PLAIN, Scissors
from inglenook.images.request import Drawing
from inglenook.images.work import AS_USUAL, ImageWork
from inglenook.jobs.model import Job, JobState
from inglenook.jobs.work import Stopped
from inglenook.store.blobs import LocalBlobs
from inglenook.testing.clock import FakeClock
from inglenook.testing.pixels import FakeMatting, opened, png_of
from tests.databases import fresh_sqlite
from tests.sprite_bench import FakeEasel
from tests.unit.images.test_request import planned, request
from tests.unit.sprites.test_sprites_work import Told

pytestmark = pytest.mark.anyio


class AwayFromTheEasel(FakeMatting):
    """Asserts that nobody holds a lease while a model is asked, which may need the room."""

    easel: FakeEasel

    async def matte(self, png: bytes, **asked: object):  # type: ignore[no-untyped-def, override]
        assert not self.easel.held
        return await super().matte(png, **asked)  # type: ignore[arg-type]


@dataclass
class Bench:
    work: ImageWork
    matting: AwayFromTheEasel
    gallery: GalleryService
    blobs: LocalBlobs
    report: Told

    async def run(self, n: int = 1) -> None:
        drawing = planned(request(width=64, height=64, transparent=True, n=n, seed=3))
        await self.work.run(job(drawing), self.report)

    def picture(self, number: int = 0) -> Image.Image:
        return opened(self.blobs.read(self.kept(number).blob))

    def kept(self, number: int = 0):  # type: ignore[no-untyped-def]
        return self.gallery.get(PictureId(self.report.parts[number]["picture_id"]), caller=OWNER)


def job(drawing: Drawing) -> Job:
    return Job(
        id=JobId("job_1"),
        kind="image",
        owner=OWNER,
        state=JobState.RUNNING,
        work_class=WorkClass.INTERACTIVE,
        title="a fox",
        payload=drawing.as_json(),
        created_at=FakeClock().now(),
    )


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    clock, blobs = FakeClock(), LocalBlobs(tmp_path / "blobs")
    with closing(fresh_sqlite(tmp_path / "inglenook.db")) as database:
        gallery = GalleryService(
            records=PictureRecords(database=database), blobs=blobs, clock=clock, in_use=lambda _: False
        )
        matting = AwayFromTheEasel()
        matting.easel = FakeEasel(blobs)
        work = ImageWork(
            scheduler=None,  # type: ignore[arg-type] # nothing is leased by this easel
            catalog=None,  # type: ignore[arg-type] # nor looked up
            gallery=gallery,
            blobs=blobs,
            clock=clock,
            pinned=frozenset(),
            loading=AS_USUAL,
            matting=matting,
        )
        work.easel = lambda *told: matting.easel.easel(*told, pictures=1)  # type: ignore[method-assign, assignment]
        yield Bench(work, matting, gallery, blobs, Told())


async def test_the_model_tells_the_subject_when_the_lease_is_given_back(bench: Bench) -> None:
    await bench.run(n=2)
    assert bench.matting.asked == 2
    assert [part["matted_by"] for part in bench.report.parts] == ["fake", "fake"]
    assert bench.report.notices == []
    for number in (0, 1):
        alpha = bench.picture(number).getchannel("A")
        assert (alpha.getpixel((0, 0)), alpha.getpixel((32, 32))) == (0, 255)
    told = metadata.read(bench.blobs.read(bench.kept().blob))
    assert told is not None
    assert (told["transparent"], told["matted_by"]) == (True, "fake")


async def test_without_a_model_the_border_tells_and_a_note_says_so(bench: Bench) -> None:
    bench.matting.by = "border"
    await bench.run()
    assert bench.matting.asked == 0
    (part,) = bench.report.parts
    assert part["matted_by"] == "border"
    assert "starters install matting" in part["notes"][0]
    assert bench.report.notices == [f"Picture 1: {part['notes'][0]}"]
    assert bench.picture().getchannel("A").getpixel((0, 0)) == 0


async def test_a_model_that_fails_leaves_it_to_the_border_and_says_why(bench: Bench) -> None:
    bench.matting.fails = Failed("The vision worker died.")
    await bench.run()
    (part,) = bench.report.parts
    assert part["matted_by"] == "border"
    assert part["notes"] == ["The vision worker died. What has the border's colour was cut out instead."]


async def test_a_finished_picture_is_kept_though_the_job_is_called_off_at_its_matte(bench: Bench) -> None:
    bench.matting.gate.hold()
    running = asyncio.create_task(bench.run(n=2))
    await bench.matting.gate.entered.wait()
    bench.report.stop.stop(StopReason.CANCELLED)
    with pytest.raises(Stopped, match="backgrounds were cut away"):
        await running
    assert bench.matting.asked == 1, "nobody is asked after that"
    assert [part["matted_by"] for part in bench.report.parts] == ["border", "border"]


async def test_a_matte_without_a_subject_is_not_believed() -> None:
    class Nothing(FakeMatting):
        async def matte(self, png: bytes, **asked: object):  # type: ignore[no-untyped-def, override]
            found = await super().matte(png, **asked)  # type: ignore[arg-type]
            found.png = png_of(Image.new("L", opened(png).size, 40))
            return found

    drawn = Image.linear_gradient("L").convert("RGB")  # of which no border has one colour
    asked = {"person": OWNER, "stop": Told().stop, "work_class": WorkClass.INTERACTIVE}
    cut = await Scissors(Nothing()).cut(png_of(drawn), **asked)  # type: ignore[arg-type]
    assert (cut.by, cut.png, cut.note) == (None, png_of(drawn), f"fake found no subject. {NOT_PLAIN}")
