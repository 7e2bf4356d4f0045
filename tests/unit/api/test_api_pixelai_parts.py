# SPDX-License-Identifier: Apache-2.0
"""The parts of PixelAI's dialect that decide: milestones, ids that are remembered, choices that are kept."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.api.services import model

from inglenook.api.pixelai.asked import read
from inglenook.api.pixelai.chosen import Choice, Choices
from inglenook.api.pixelai.desk import Desk, Given
from inglenook.api.pixelai.milestones import Milestones, Status
from inglenook.api.pixelai.reading import uuid_of
from inglenook.api.pixelai.root import AtRoot
from inglenook.api.pixelai.tracks import FORGET_S, MOST_ENDED, MOST_UNREAD, Track, Tracks
from inglenook.base.errors import Cancelled, Conflict, Invalid, NotFound, Unavailable
from inglenook.base.ids import OWNER, JobId, ModelId, PersonId
from inglenook.jobs.model import EventType, JobEvent
from inglenook.testing.clock import FakeClock

ANN, BOB = PersonId("ann"), PersonId("bob")
JOB = JobId("job_1")


def event(kind: EventType, **data: Any) -> JobEvent:
    return JobEvent(JOB, 1, kind, data)


def step(step: int, steps: int, *, picture: int = 0, pictures: int = 1) -> JobEvent:
    detail = {"picture": picture, "pictures": pictures, "step": step, "steps": steps}
    return event(EventType.PROGRESS, stage="denoise", progress=0.5, **detail)


def stage(name: str, *, picture: int = 0, pictures: int = 1) -> JobEvent:
    detail = {"picture": picture, "pictures": pictures, "step": 1, "steps": 1}
    return event(EventType.PROGRESS, stage=name, progress=0.5, **detail)


def state(name: str, **more: Any) -> JobEvent:
    return event(EventType.STATE, state=name, **more)


# -- milestones ------------------------------------------------------------------------------------------


def test_the_milestones_are_the_originals() -> None:
    heard = Milestones()
    told = [
        heard.hear(one, at_s).progress
        for at_s, one in enumerate(
            [
                state("queued"),
                state("running"),
                step(1, 2),
                step(2, 2),
                stage("decode"),
                stage("matte"),
                stage("pixels"),
                stage("keep"),
                event(EventType.RESULT, index=0),
                state("succeeded"),
            ]
        )
    ]
    assert told == [0, 5, 57, 75, 75, 80, 90, 95, 98, 100]


def test_who_waits_is_told_the_place_and_the_reason() -> None:
    heard = Milestones()
    reason = {"position": 2, "reason": {"text": "starter is at work for ann"}}
    now = heard.hear(event(EventType.WAIT, **reason), 0.0)
    assert (now.progress, now.position, now.why) == (0, 2, "starter is at work for ann")
    assert heard.hear(state("running"), 0.0).position is None


def test_the_seconds_to_go_are_told_from_the_third_step_on() -> None:
    heard = Milestones()
    told = [heard.hear(step(number, 10), 2.0 * number).eta_s for number in range(1, 6)]
    assert told == [None, None, None, 12.0, 10.0]
    assert heard.now.seconds_per_it == 2.0


def test_news_that_skips_steps_is_timed_as_several() -> None:
    heard = Milestones()
    heard.hear(step(1, 10), 0.0)
    assert heard.hear(step(5, 10), 4.0).eta_s == 5.0


def test_several_pictures_share_the_way_from_40_to_75() -> None:
    heard = Milestones()
    first = heard.hear(step(2, 2, pictures=2), 0.0).progress
    between = heard.hear(stage("pixels", pictures=2), 0.0).progress
    made = heard.hear(event(EventType.RESULT, index=0), 0.0).progress
    last = heard.hear(step(2, 2, picture=1, pictures=2), 0.0).progress
    assert (first, between, made, last) == (57, 57, 57, 75)
    assert heard.hear(stage("pixels", picture=1, pictures=2), 0.0).progress == 90


_EVENTS = st.one_of(
    st.sampled_from(["queued", "waiting", "running", "succeeded"]).map(state),
    st.builds(
        lambda name, picture, pictures, done: event(
            EventType.PROGRESS, stage=name, picture=picture, pictures=pictures, step=done, steps=4
        ),
        st.sampled_from(["encode", "denoise", "decode", "matte", "pixels", "keep", "else"]),
        st.integers(0, 3),
        st.integers(1, 4),
        st.integers(0, 4),
    ),
    st.just(event(EventType.RESULT, index=0)),
    st.just(event(EventType.WAIT, position=1, reason={"text": "x"})),
)


@given(st.lists(_EVENTS, max_size=30))
def test_progress_never_goes_back_whatever_comes(events: list[JobEvent]) -> None:
    heard = Milestones()
    told = [heard.hear(one, float(at_s)).progress for at_s, one in enumerate(events)]
    assert told == sorted(told)
    assert all(0 <= progress <= 100 for progress in told)


# -- generations by id -------------------------------------------------------------------------------------


ID = "6f1e3a9e-4f0b-4d53-9f04-3f2d8a6a0001"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(datetime(2026, 11, 26, tzinfo=UTC))


def test_ids_of_two_people_do_not_meet(clock: FakeClock) -> None:
    tracks = Tracks(clock=clock)
    asked = read({"prompt": "x", "generation_id": ID})
    mine, _ = tracks.begin(asked, person=ANN)
    with pytest.raises(NotFound):
        tracks.get(ID, person=BOB)
    other, joined = tracks.begin(asked, person=BOB)
    assert other is not mine
    assert not joined
    tracks.begin(read({"prompt": "x", "single_flight": True}), person=PersonId("eve"))


def test_one_flight_at_a_time_is_one_persons(clock: FakeClock) -> None:
    tracks = Tracks(clock=clock)
    mine, _ = tracks.begin(read({"prompt": "x"}), person=ANN)
    with pytest.raises(Conflict):
        tracks.begin(read({"prompt": "y", "single_flight": True}), person=ANN)
    mine.finish({"state": "succeeded"})
    tracks.begin(read({"prompt": "y", "single_flight": True}), person=ANN)


def test_no_more_than_so_many_ended_ones_are_remembered(clock: FakeClock) -> None:
    tracks = Tracks(clock=clock)
    ids = []
    for number in range(MOST_ENDED + 3):
        track, _ = tracks.begin(read({"prompt": str(number)}), person=ANN)
        ids.append(track.id)
        track.finish({"state": "succeeded"})
        clock.advance(0.001)
    tracks.sweep()
    with pytest.raises(NotFound):
        tracks.get(ids[2], person=ANN)
    assert tracks.get(ids[3], person=ANN).id == ids[3]
    clock.advance(FORGET_S + 1)
    with pytest.raises(NotFound):
        tracks.get(ids[-1], person=ANN)


def test_a_slow_reader_misses_news_and_never_the_end(clock: FakeClock) -> None:
    async def main() -> int:
        track, _ = Tracks(clock=clock).begin(read({"prompt": "x"}), person=ANN)
        reading = track.events()
        assert await anext(reading) is None
        for number in range(2 * MOST_UNREAD):
            track.hear(step(number, 1000))
        track.finish({"state": "succeeded"})
        return len([one async for one in reading])

    assert asyncio.run(asyncio.wait_for(main(), 5)) == MOST_UNREAD - 1


def test_whoever_comes_after_the_end_is_not_kept_waiting(clock: FakeClock) -> None:
    async def main() -> list[JobEvent | None]:
        track, _ = Tracks(clock=clock).begin(read({"prompt": "x"}), person=ANN)
        track.finish({"state": "succeeded"})
        return [one async for one in track.events()]

    assert asyncio.run(asyncio.wait_for(main(), 5)) == [None]


def test_what_is_called_off_before_it_is_submitted_makes_no_job(clock: FakeClock, tmp_path: Path) -> None:
    class Nobody:
        """Sprites, jobs and models that nobody may ask."""

        def resolve(self, _: str) -> Any:
            return model("starter")

    async def main() -> Track:
        nobody: Any = Nobody()
        desk = Desk(
            sprites=nobody,
            jobs=nobody,
            catalog=nobody,
            choices=Choices(tmp_path / "pixelai.json"),
            clock=clock,
            default_model="auto",
        )

        async def keep() -> Given:
            return Given()

        track = desk.begin(read({"prompt": "x"}), keep, person=ANN)
        assert desk.cancel(track)
        assert not desk.cancel(track), "the second wish is none"
        with pytest.raises(Cancelled):
            await desk.made(track)
        return track

    assert asyncio.run(asyncio.wait_for(main(), 5)).status is Status.CANCELED


# -- choices -----------------------------------------------------------------------------------------------


def test_choices_are_each_persons_own_and_survive(tmp_path: Path) -> None:
    choices = Choices(tmp_path / "pixelai.json")
    assert choices.of(ANN) == Choice()
    choices.choose(ANN, model=ModelId("a/b"))
    choices.choose(ANN, engine="mlx")
    choices.choose(BOB, engine="torch")
    again = Choices(tmp_path / "pixelai.json")
    assert (again.of(ANN), again.of(BOB)) == (Choice(ModelId("a/b"), "mlx"), Choice(None, "torch"))


@pytest.mark.parametrize(
    "data", [b"{", b"[]", b'{"owner": 1}', b'{"owner": {"model": 1, "engine": "x"}}', b"\xff"]
)
def test_a_file_of_choices_that_is_damaged_is_told_and_kept(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "pixelai.json"
    path.write_bytes(data)
    for ask in (lambda: Choices(path).of(OWNER), lambda: Choices(path).choose(OWNER, engine="mlx")):
        with pytest.raises(Unavailable) as caught:
            ask()
        assert caught.value.hint
    assert path.read_bytes() == data


# -- what is asked -----------------------------------------------------------------------------------------


@given(
    st.dictionaries(
        st.sampled_from(
            ["prompt", "width", "pixel_width", "colors", "seed", "palette", "recipe", "n", "mask"]
        ),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text()
        | st.lists(st.integers(), max_size=3),
    )
)
def test_whatever_is_sent_is_read_or_refused_in_words(sent: dict[str, Any]) -> None:
    try:
        asked = read(sent)
    except Invalid:  # and nothing else, which would fail this test
        return
    assert 1 <= asked.pixel_width <= 4096
    assert asked.recipe["width"] == asked.pixel_width or "recipe" in sent


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (ID, ID),
        (ID.upper(), ID),
        (ID.replace("-", ""), ID),
        ("{" + ID + "}", ID),
        ("", None),
        ("not-a-uuid", None),
        ("../../etc/passwd", None),
        (7, None),
        (None, None),
        ("6" * 100_000, None),
    ],
)
def test_an_id_has_one_spelling(text: Any, found: str | None) -> None:
    assert uuid_of(text) == found


# -- the port of its own -----------------------------------------------------------------------------------


def test_only_what_comes_in_by_its_port_is_moved() -> None:
    seen: list[tuple[str, bytes | None]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["path"], scope.get("raw_path")))

    moved = AtRoot(app, ports={5000}, prefix="/pixel")

    async def ask(**scope: Any) -> None:
        await moved({"type": "http", **scope}, None, None)  # type: ignore[arg-type]

    async def main() -> None:
        await ask(path="/health", raw_path=b"/health", server=("127.0.0.1", 5000))
        await ask(path="/health", raw_path=b"/health", server=("127.0.0.1", 8190))
        await ask(path="/../v1/jobs", server=("127.0.0.1", 5000))
        await ask(path="/x", server=None)

    asyncio.run(main())
    assert seen == [
        ("/pixel/health", b"/pixel/health"),
        ("/health", b"/health"),
        ("/pixel/../v1/jobs", None),
        ("/x", None),
    ]
