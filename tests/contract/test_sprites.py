# SPDX-License-Identifier: Apache-2.0
"""What every service of sprites promises to its doors: the real one, and the fake that stands for it."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.databases import fresh_sqlite
from tests.sprite_bench import sprite_studio

from inglenook.api.pixelai.milestones import Milestones
from inglenook.api.pixelai.rgba import raw_of
from inglenook.base.cancel import StopToken
from inglenook.base.errors import NotFound
from inglenook.base.ids import OWNER, JobId, ModelId, PersonId
from inglenook.door.services import SpriteMaking
from inglenook.images.model import Engine
from inglenook.jobs.limits import JobLimits
from inglenook.jobs.model import EventType, Job, JobEvent, JobState
from inglenook.jobs.records import JobRecords
from inglenook.jobs.service import JobsService
from inglenook.pixels.model import Recipe
from inglenook.sprites.model import SpritePart, SpriteRequest, SpriteResult
from inglenook.testing.clock import FakeClock
from inglenook.testing.pixels import png_of
from inglenook.testing.sprites import FakeSprites, FakeSpriteWork

pytestmark = pytest.mark.anyio

STARTER = "starter-339"
SMALL = Recipe(width=16, height=8, colors=4)


@dataclass
class House:
    sprites: SpriteMaking
    jobs: JobsService


@asynccontextmanager
async def fake_house(folder: Path) -> AsyncIterator[House]:
    clock = FakeClock(datetime(2026, 11, 26, tzinfo=UTC))
    work = FakeSpriteWork(clock)
    database = fresh_sqlite(folder / "inglenook.db")
    jobs = JobsService(
        records=JobRecords(database=database), works=[work], clock=clock, limits=JobLimits(progress_every_s=0)
    )
    await jobs.start()
    try:
        yield House(FakeSprites(jobs=jobs, work=work, models=[STARTER]), jobs)
    finally:
        await jobs.stop(5.0)
        database.close()


@pytest.fixture(params=["fake", "real"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    if request.param == "fake":
        async with fake_house(tmp_path) as made:
            yield made
    else:
        async with sprite_studio(tmp_path) as studio:
            yield House(studio.service, studio.jobs)


async def done(house: House, asked: SpriteRequest) -> Job:
    job = await house.jobs.wait((await house.sprites.submit(asked, owner=OWNER)).id)
    assert job.state is JobState.SUCCEEDED, job.error
    return job


def asked(**fields: Any) -> SpriteRequest:
    return SpriteRequest(
        **{"prompt": "a fox", "model": ModelId(STARTER), "recipe": SMALL, "seed": 3, **fields}
    )


async def test_frames_come_variant_by_variant_in_the_size_of_the_recipe(house: House) -> None:
    job = await done(house, asked(n=2, frames=3, motion="walk"))
    frames = await house.sprites.frames(job.id, person=OWNER)
    assert len(frames) == 6
    for frame in frames:
        raw = raw_of(frame)
        assert (raw.width, raw.height) == (16, 8)
        assert {raw.data[at] for at in range(3, len(raw.data), 4)} <= {0, 255}


async def test_the_result_holds_what_a_door_tells(house: House) -> None:
    job = await done(house, asked(n=2, frames=2, motion="idle", frame_ms=90))
    assert set(SpriteResult.__slots__) <= set(job.result)
    assert (job.result["engine"], job.result["model"], job.result["device"]) == ("torch", STARTER, "cpu")
    assert job.result["seeds"] == [3, 4]
    assert job.result["durations_ms"] == [90, 90]
    assert job.result["tags"] == [{"name": "idle", "first": 0, "last": 1}]
    assert [part["index"] for part in job.result["parts"]] == [0, 1]
    assert all(set(SpritePart.__slots__) <= set(part) for part in job.result["parts"])


async def test_a_still_sprite_has_no_tags(house: House) -> None:
    assert (await done(house, asked())).result["tags"] == []


async def test_progress_goes_by_stages_that_milestones_know_and_never_back(house: House) -> None:
    job = await house.sprites.submit(asked(n=2), owner=OWNER)
    heard, stages, progress = Milestones(), set(), []
    async with aclosing(house.jobs.subscribe(job.id, 0)) as events:
        async for event in events:
            progress.append(heard.hear(event, 0.0).progress)
            if event.type is EventType.PROGRESS:
                stages.add(event.data["stage"])
                assert {"picture", "pictures", "step", "steps"} <= set(event.data)
    # News that comes too soon after other news is left out; the last is not.
    assert {"keep"} <= stages <= {"encode", "denoise", "decode", "matte", "pixels", "keep"}
    assert progress == sorted(progress)
    assert progress[-1] == 100


async def test_the_finished_sprite_is_a_preview(house: House) -> None:
    job = await house.sprites.submit(asked(), owner=OWNER)
    async with aclosing(house.jobs.subscribe(job.id, 0)) as events:
        seen: list[JobEvent] = [event async for event in events if event.type is EventType.PREVIEW]
    assert seen[-1].data["media_type"] == "image/png"
    assert seen[-1].data["step"] == 0


async def test_nobody_else_gets_the_frames_and_a_job_that_is_none_has_none(house: House) -> None:
    job = await done(house, asked())
    for job_id, person in ((job.id, PersonId("somebody")), (JobId("job_none"), OWNER)):
        with pytest.raises(NotFound):
            await house.sprites.frames(job_id, person=person)


async def test_inputs_are_kept_by_what_they_hold(house: House) -> None:
    picture = png_of(Image.new("RGBA", (8, 8), (1, 2, 3, 255)))
    white = png_of(Image.new("RGBA", (8, 8), "white"))
    assert await house.sprites.keep_input(picture) == await house.sprites.keep_input(picture)
    assert await house.sprites.keep_input(picture) != await house.sprites.keep_mask(white)


async def test_the_matrix_names_an_engine_that_draws_the_model(house: House) -> None:
    torch = next(one for one in await house.sprites.engines() if one.name is Engine.TORCH)
    assert torch.available
    assert STARTER in torch.models
    assert {"text", "image", "inpaint"} <= set(torch.modes)


async def test_loading_says_what_will_draw(house: House) -> None:
    loaded = await house.sprites.preload(ModelId(STARTER), person=OWNER, stop=StopToken())
    assert loaded == STARTER


async def test_forms_are_offered_presets_and_sizes(house: House) -> None:
    offered = house.sprites.presets()
    assert all({"name", "prompt"} <= set(one) for one in offered["presets"])
    for name in ("sizes", "base_sizes"):
        assert all(len(size) == 2 for size in offered[name])
