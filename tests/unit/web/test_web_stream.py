# SPDX-License-Identifier: Apache-2.0
"""The one stream of news of an open page."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from tests.unit.web.services import House, picture, resident

from inglenook.base.ids import OWNER, JobId
from inglenook.catalog.model import ModelKind, ModelRecord
from inglenook.door.sse import ServerEvent
from inglenook.jobs.model import EventType, JobState, Receipt
from inglenook.web.contexts import Contexts
from inglenook.web.services import Services
from inglenook.web.stream import PageStream

pytestmark = pytest.mark.anyio


class Reader:
    def __init__(self, events: AsyncGenerator[ServerEvent, None]) -> None:
        self._events = events

    async def next(self, *kinds: str) -> str:
        """The data of the next event of one of these kinds; others are passed over."""
        async with asyncio.timeout(60):
            async for event in self._events:
                if event.event in kinds:
                    return event.data
        raise AssertionError("the stream has ended")


@asynccontextmanager
async def reading(
    house: House, *, watched: tuple[str, ...] = (), newest: str = ""
) -> AsyncGenerator[Reader, None]:
    services = Services(
        images=house.images,
        jobs=house.jobs,
        gallery=house.gallery,
        catalog=house.catalog,
        runtime=house.runtime,
    )
    stream = PageStream(
        services=services,
        contexts=Contexts(services=services),
        person=OWNER,
        csrf="t" * 43,
        watched=[JobId(job) for job in watched],
        newest=newest,
    )
    events = stream.events()
    try:
        yield Reader(events)
    finally:
        await events.aclose()


async def listened_to(house: House, readers: int) -> None:
    """Return when that many listen to the jobs."""
    async with asyncio.timeout(60):
        while house.jobs.readers < readers:
            await asyncio.sleep(0)


async def test_a_job_that_runs_is_told_from_where_it_is_to_its_end() -> None:
    house = House()
    job = house.jobs.add(1, JobState.RUNNING).id
    async with reading(house) as reader:
        assert 'class="card card-single is-running"' in await reader.next("card")
        await listened_to(house, 2)
        progress = {"progress": 0.5, "stage": "denoise", "step": 7, "steps": 14, "picture": 0, "pictures": 1}
        house.jobs.tell(job, EventType.PROGRESS, {**progress, "estimate_s": 2.0})
        told = json.loads(await reader.next("progress"))
        assert told == {"job": job, "percent": 50, "line": "Step 7 of 14 · about 2 s left"}
        house.jobs.tell(
            job, EventType.PREVIEW, {"picture": 0, "step": 7, "media_type": "image/png", "b64": "AA=="}
        )
        assert json.loads(await reader.next("preview")) == {
            "job": job,
            "picture": 0,
            "media_type": "image/png",
            "b64": "AA==",
        }
        made = house.gallery.add(picture(1))
        part = {"picture_id": made.id, "seed": 1, "width": 512, "height": 512}
        house.jobs.tell(job, EventType.RESULT, part, result={"parts": [part]})
        assert f'data-picture="{made.id}"' in await reader.next("made")
        house.jobs.tell(job, EventType.STATE, state=JobState.SUCCEEDED)
        while "is-succeeded" not in (card := await reader.next("card")):
            assert "is-running" in card
        assert f'src="/v1/pictures/{made.id}/file"' in card


async def test_why_a_job_waits_is_told_again_when_it_changes() -> None:
    house = House()
    job = house.jobs.add(1, JobState.WAITING).id
    async with reading(house) as reader:
        await reader.next("card")
        await listened_to(house, 2)
        reason = {"text": "sdxl is at work", "holders": ["2 pictures for somebody"]}
        house.jobs.tell(job, EventType.WAIT, {"position": 2, "reason": reason, "estimate_s": 9.0})
        assert json.loads(await reader.next("wait")) == {
            "job": job,
            "line": "2nd in line: sdxl is at work · begins in about 9 s",
            "detail": "Held by 2 pictures for somebody",
        }


async def test_a_job_from_another_tab_appears() -> None:
    house = House()
    async with reading(house) as reader:
        await reader.next("fire")
        await listened_to(house, 1)
        job = house.jobs.add(1, JobState.QUEUED).id
        house.jobs.tell(job, EventType.STATE)
        assert f'id="{job}"' in await reader.next("card")


async def test_a_note_stays_on_the_card_as_long_as_the_page_is_open() -> None:
    house = House()
    job = house.jobs.add(1, JobState.RUNNING).id
    async with reading(house) as reader:
        await reader.next("card")
        await listened_to(house, 2)
        house.jobs.tell(job, EventType.NOTICE, {"text": "Memory ran out; trying with slicing."})
        assert "trying with slicing" in await reader.next("card")
        house.jobs.tell(job, EventType.STATE)
        assert "trying with slicing" in await reader.next("card")


async def test_a_page_that_comes_back_learns_what_it_missed() -> None:
    house = House()
    receipt = Receipt("left the queue before it began", house.jobs.add(1).created_at, 0.0)
    house.jobs.add(1, JobState.CANCELLED, receipt=receipt)
    house.jobs.add(2, JobState.SUCCEEDED)
    for number in (1, 2, 3):
        house.gallery.add(picture(number))
    async with reading(house, watched=("job_0001", "job_9999"), newest="pic_0001") as reader:
        assert "Left the queue before it began." in await reader.next("card", "made")
        assert 'data-picture="pic_0002"' in await reader.next("card", "made")
        assert 'data-picture="pic_0003"' in await reader.next("card", "made")


async def test_the_fire_is_told_once_and_again_when_it_changes() -> None:
    house = House()
    async with reading(house) as reader:
        assert "Nothing is loaded." in await reader.next("fire")
        state = json.loads(await reader.next("model"))["starter"]
        assert "about 3 s away" in state["html"]
        assert state["option"] == "Starter · about 3 s away"
        house.runtime.residents = [resident("starter", leases=1)]
        assert "at work" in await reader.next("fire")
        assert "ready" in json.loads(await reader.next("model"))["starter"]["html"]


async def test_the_disk_is_not_searched_for_models_as_long_as_a_page_is_open() -> None:
    house = House()
    searched = 0
    listing = house.catalog.list

    def counting(kind: ModelKind | None = None) -> list[ModelRecord]:
        nonlocal searched
        searched += 1
        return listing(kind)

    house.catalog.list = counting  # type: ignore[method-assign]  # the test counts, the catalogue answers
    async with reading(house) as reader:
        await reader.next("model")
        house.runtime.residents = [resident("starter")]
        await reader.next("model")
    assert searched == 1


async def test_a_reader_that_leaves_leaves_nothing_behind() -> None:
    house = House()
    house.jobs.add(1, JobState.RUNNING)
    before = len(asyncio.all_tasks())
    async with reading(house) as reader:
        await reader.next("card")
        await listened_to(house, 2)
    assert house.jobs.readers == 0
    assert len(asyncio.all_tasks()) == before


async def test_a_job_that_is_no_picture_is_not_shown() -> None:
    house = House()
    house.jobs.add(1, JobState.RUNNING, kind="train")
    house.jobs.add(2, JobState.RUNNING)
    async with reading(house) as reader:
        assert 'id="job_0002"' in await reader.next("card")
