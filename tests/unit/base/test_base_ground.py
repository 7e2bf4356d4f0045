# SPDX-License-Identifier: Apache-2.0
"""Ids, errors, stop tokens, topics and clocks."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inglenook.base import errors
from inglenook.base.cancel import StopReason, StopToken
from inglenook.base.clock import Clock, SystemClock
from inglenook.base.errors import InglenookError, begun, in_one_line
from inglenook.base.events import Closed, Topic
from inglenook.base.ids import new_id
from inglenook.testing.clock import FakeClock

MOMENTS = st.integers(0, 7 * 10**12).map(
    lambda ms: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
)


@given(MOMENTS, st.timedeltas(timedelta(milliseconds=1), timedelta(days=10_000)))
def test_ids_that_are_made_later_sort_later(moment: datetime, later: timedelta) -> None:
    assert new_id("job", moment) < new_id("job", moment + later)


def test_ids_are_distinct_of_one_length_and_safe_in_a_path() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    made = [new_id("pic", now) for _ in range(2000)]
    assert len(set(made)) == 2000
    assert {len(name) for name in made} == {len("pic_") + 26}
    assert set("".join(made)) <= set("_0123456789abcdefghijklmnopqrstuvwxyz")


def test_an_error_has_the_code_of_its_class_unless_it_is_given_one() -> None:
    kinds = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, InglenookError)]
    assert len(kinds) == 12
    for kind in kinds:
        assert kind("it went wrong").code == kind.default_code
        assert kind("it went wrong", code="a.b").code == "a.b"
        assert str(kind("it went wrong", hint="mend it")) == "it went wrong\nhint: mend it"


# -- stopping -------------------------------------------------------------------------------------------


def test_the_first_reason_to_stop_stays() -> None:
    async def main() -> None:
        token = StopToken()
        waiting = asyncio.create_task(token.wait())
        await asyncio.sleep(0)
        assert not token.is_set
        assert token.stop(StopReason.CLIENT_GONE)
        assert not token.stop(StopReason.SHUTDOWN)
        assert await waiting is StopReason.CLIENT_GONE
        assert await token.wait() is token.reason is StopReason.CLIENT_GONE

    asyncio.run(main())


# -- news -----------------------------------------------------------------------------------------------


async def rest_of(reader: Any) -> list[Any]:
    return [item async for item in reader]


def test_every_reader_gets_what_is_published_after_it_came() -> None:
    async def main() -> None:
        topic: Topic[int] = Topic()
        early = topic.subscribe()
        topic.publish(1)
        late = topic.subscribe()
        topic.publish(2)
        topic.close()
        assert await rest_of(early) == [1, 2]
        assert await rest_of(late) == [2]

    asyncio.run(main())


def test_a_slow_reader_loses_the_oldest_and_delays_nobody() -> None:
    async def main() -> None:
        topic: Topic[int] = Topic(limit=3)
        slow, quick = topic.subscribe(), topic.subscribe()
        seen = []
        for number in range(10):
            topic.publish(number)
            seen.append(await quick.get())
        topic.close()
        assert seen == list(range(10))
        assert await rest_of(slow) == [7, 8, 9]

    asyncio.run(main())


def test_a_reader_that_waits_is_woken_by_news_and_by_the_end() -> None:
    async def main() -> None:
        topic: Topic[str] = Topic()
        reader = topic.subscribe()
        waiting = asyncio.create_task(reader.get())
        await asyncio.sleep(0)
        topic.publish("news")
        assert await waiting == "news"
        waiting = asyncio.create_task(reader.get())
        await asyncio.sleep(0)
        topic.close()
        with pytest.raises(Closed):
            await waiting

    asyncio.run(main())


def test_a_reader_that_left_or_came_too_late_gets_nothing() -> None:
    async def main() -> None:
        topic: Topic[int] = Topic()
        reader = topic.subscribe()
        topic.unsubscribe(reader)
        topic.unsubscribe(reader)
        assert topic.readers == 0
        topic.publish(1)
        topic.close()
        topic.publish(2)
        assert await rest_of(topic.subscribe()) == []
        assert topic.readers == 0

    asyncio.run(main())


# -- time -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clock", [SystemClock(), FakeClock()], ids=["system", "fake"])
def test_a_clock_is_aware_and_never_goes_back(clock: Clock) -> None:
    first, second = clock.monotonic(), clock.monotonic()
    assert second >= first
    assert clock.now().utcoffset() == timedelta(0)


def test_a_fake_clock_stands_still_until_it_is_told_to_go() -> None:
    clock = FakeClock()
    began = clock.now()
    clock.advance(2.5)
    assert (clock.monotonic(), clock.now() - began) == (2.5, timedelta(seconds=2.5))
    clock.set_wall(began - timedelta(days=1))
    assert (clock.monotonic(), clock.now()) == (2.5, began - timedelta(days=1))
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)


def test_who_watches_a_token_hears_of_it_once_and_no_more_when_taken_back() -> None:
    async def main() -> None:
        stop, heard = StopToken(), list[StopReason]()
        stop.watch(heard.append)
        forget = stop.watch(lambda _: heard.append(StopReason.SHUTDOWN))
        forget()
        stop.stop(StopReason.CANCELLED)
        stop.stop(StopReason.CLIENT_GONE)
        assert heard == [StopReason.CANCELLED]
        stop.watch(heard.append)
        assert heard == [StopReason.CANCELLED] * 2

    asyncio.run(main())


@pytest.mark.parametrize(
    ("message", "hint", "line"),
    [
        ("There is none.", None, "There is none."),
        ("There is none.", "upload it again", "There is none. Hint: upload it again."),
        ("There is none", "Did you mean colors?", "There is none. Hint: Did you mean colors?"),
    ],
)
def test_an_error_in_one_line_ends_each_sentence_with_one_mark(
    message: str, hint: str | None, line: str
) -> None:
    assert in_one_line(message, hint) == line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("upload it again", "Upload it again"),
        ("best.ckpt is damaged", "best.ckpt is damaged"),
        ("studio.import_roots: none of them has it", "studio.import_roots: none of them has it"),
        ("early_stopping_patience is 0", "early_stopping_patience is 0"),
        ("stop. Then go on", "Stop. Then go on"),
        ("", ""),
    ],
)
def test_a_sentence_begins_with_a_capital_but_for_names(text: str, shown: str) -> None:
    assert begun(text) == shown
