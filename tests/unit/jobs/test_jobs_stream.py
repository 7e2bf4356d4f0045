# SPDX-License-Identifier: Apache-2.0
import asyncio
from contextlib import aclosing

from tests.scripted_work import run

from inglenook.base.ids import JobId, PersonId
from inglenook.jobs.model import EventType, JobEvent, Json
from inglenook.jobs.stream import KEPT_EVENTS, Feed, JobStream

JOB = JobId("job_1")
ANN = PersonId("ann")


async def whole() -> Json:
    return {"state": "whole"}


async def read(stream: JobStream, seq: int | None, count: int) -> list[tuple[int, str]]:
    found = []
    async with aclosing(stream.follow(seq, whole)) as events:
        async for event in events:
            found.append((event.seq, event.type.value))
            if len(found) == count:
                break
    return found


def notices(stream: JobStream, count: int) -> None:
    for number in range(count):
        stream.publish(EventType.NOTICE, {"text": str(number)})


def test_a_reader_who_knows_nothing_gets_the_whole_job_and_then_the_news() -> None:
    async def main() -> None:
        stream = JobStream(JOB, seq=0)
        notices(stream, 3)
        reading = asyncio.ensure_future(read(stream, None, 2))
        await asyncio.sleep(0)
        stream.publish(EventType.NOTICE, {"text": "news"})
        assert await reading == [(3, "state"), (4, "notice")]

    run(main)


def test_a_reader_who_comes_back_gets_exactly_what_it_missed() -> None:
    async def main() -> None:
        stream = JobStream(JOB, seq=0)
        notices(stream, 5)
        assert await read(stream, 2, 3) == [(3, "notice"), (4, "notice"), (5, "notice")]

    run(main)


def test_a_reader_who_was_away_too_long_gets_the_whole_job() -> None:
    async def main() -> None:
        stream = JobStream(JOB, seq=0)
        notices(stream, KEPT_EVENTS + 2)
        assert await read(stream, 1, 1) == [(KEPT_EVENTS + 2, "state")]
        assert len(await read(stream, 2, KEPT_EVENTS)) == KEPT_EVENTS

    run(main)


def test_a_number_from_another_life_gets_the_whole_job() -> None:
    async def main() -> None:
        stream = JobStream(JOB, seq=300)
        assert await read(stream, 12, 1) == [(300, "state")]
        assert await read(stream, 9999, 1) == [(300, "state")]

    run(main)


def test_numbers_go_on_where_the_last_server_stopped() -> None:
    stream = JobStream(JOB, seq=300)
    assert stream.publish(EventType.NOTICE, {}).seq == 301


def test_a_reader_ends_after_the_last_event_of_a_closed_stream() -> None:
    async def main() -> None:
        stream = JobStream(JOB, seq=0)
        notices(stream, 2)
        stream.close()
        assert [event.seq async for event in stream.follow(0, whole)] == [1, 2]

    run(main)


def test_a_reader_who_has_read_everything_of_a_closed_stream_is_still_told_the_end() -> None:
    async def main() -> None:
        stream = JobStream(JOB, seq=0)
        notices(stream, 2)
        stream.close()
        assert [(event.seq, event.type) async for event in stream.follow(2, whole)] == [(2, EventType.STATE)]

    run(main)


def test_events_that_come_with_the_end_are_not_lost_on_a_waiting_reader() -> None:
    async def main() -> None:
        stream = JobStream(JOB, seq=0)
        notices(stream, 1)
        reading = asyncio.ensure_future(read(stream, 1, 99))
        await asyncio.sleep(0)
        notices(stream, 2)
        stream.close()
        assert await reading == [(2, "notice"), (3, "notice")]

    run(main)


def test_a_reader_that_stands_still_costs_the_writer_nothing_and_gets_the_whole_job_later() -> None:
    async def main() -> None:
        stream = JobStream(JOB, seq=0)
        notices(stream, 1)
        async with aclosing(stream.follow(0, whole)) as slow:
            assert (await anext(slow)).seq == 1
            notices(stream, 10 * KEPT_EVENTS)
            stream.close()
            rest = [event async for event in slow]
        assert [(event.seq, event.type) for event in rest] == [(1 + 10 * KEPT_EVENTS, EventType.STATE)]

    run(main)


def test_only_the_newest_preview_of_each_picture_is_kept() -> None:
    stream = JobStream(JOB, seq=0)
    for step in range(3):
        for picture in range(2):
            stream.publish(EventType.PREVIEW, {"picture": picture, "step": step})
    kept = stream.after(0)
    assert kept is not None
    assert [(event.data["picture"], event.data["step"]) for event in kept] == [(0, 2), (1, 2)]


def test_a_reader_that_leaves_is_forgotten() -> None:
    async def main() -> None:
        stream = JobStream(JOB, seq=0)
        notices(stream, 1)
        async with aclosing(stream.follow(0, whole)) as events:
            await anext(events)
            assert stream.readers == 1
        assert stream.readers == 0

    run(main)


def event(job: str, seq: int, kind: EventType = EventType.PROGRESS) -> JobEvent:
    return JobEvent(JobId(job), seq, kind, {})


def test_a_slow_reader_of_all_jobs_gets_the_newest_of_each() -> None:
    async def main() -> None:
        feed = Feed()
        with feed.reader(ANN) as reader:
            for seq in range(1, 1001):
                feed.publish(ANN, event("a", seq))
            feed.publish(ANN, event("b", 1))
            feed.publish(ANN, event("a", 1001, EventType.STATE))
            feed.close()
            found = []
            while (news := await reader.get()) is not None:
                found.append((news.job, news.seq))
        assert found == [("a", 1000), ("b", 1), ("a", 1001)]

    run(main)


def test_a_person_hears_nothing_of_others_and_no_previews() -> None:
    async def main() -> None:
        feed = Feed()
        with feed.reader(ANN) as reader:
            feed.publish(PersonId("bob"), event("b", 1))
            feed.publish(ANN, event("a", 1, EventType.PREVIEW))
            feed.close()
            assert await reader.get() is None
        assert not feed.has_readers(ANN)

    run(main)
