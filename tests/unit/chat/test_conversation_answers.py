# SPDX-License-Identifier: Apache-2.0
"""One answer from its beginning to its end, whatever happens: a scripted model over a real database."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from inglenook.base.cancel import StopToken
from inglenook.base.errors import Cancelled, Failed, Invalid, NotFound
from inglenook.base.ids import OWNER, BlobId, ConversationId, MessageId, ModelId, PersonId, PictureId
from inglenook.catalog.model import ModelKind, ModelRecord
from inglenook.chat.conversations.answering import Answers, Event, Result
from inglenook.chat.conversations.errors import BadMessage
from inglenook.chat.conversations.model import Image, Message, MessageState, Text, Tool
from inglenook.chat.conversations.parameters import Parameters
from inglenook.chat.conversations.records import ConversationRecords, PresetRecords
from inglenook.chat.conversations.service import ConversationService
from inglenook.chat.service import Hear
from inglenook.runtime.contracts import ChildFailed, Failure
from inglenook.store.blobs import LocalBlobs
from inglenook.store.database import Database
from inglenook.testing.clock import FakeClock

pytestmark = pytest.mark.anyio
DEAD = ChildFailed(Failure("child.killed", "Smol was killed by the system (signal 9).", "try again"))
Script = Callable[[Mapping[str, Any]], AsyncGenerator[Mapping[str, Any], None]]


def record(name: str = "smol", kind: ModelKind = ModelKind.LANGUAGE) -> ModelRecord:
    return ModelRecord(
        id=ModelId(name), kind=kind, family=None, path=Path("/m"), layout="single", weights_bytes=1,
        parameters=1, dtype="f16", digest="0", root=Path("/"),
    )  # fmt: skip


def text(words: str, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": words}, "finish_reason": finish}], **more}


def call(name: str, arguments: str) -> dict[str, Any]:
    asked = [{"index": 0, "id": "c1", "function": {"name": name, "arguments": arguments}}]
    return {"choices": [{"delta": {"tool_calls": asked}, "finish_reason": "tool_calls"}]}


async def script(
    *pieces: Mapping[str, Any], then: BaseException | None = None, hang: bool = False
) -> AsyncGenerator[Mapping[str, Any], None]:
    for piece in pieces:
        yield piece
    if then is not None:
        raise then
    if hang:
        await asyncio.Event().wait()


class Tools:
    """Draws, or does not; or never ends."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, tuple[Image, ...]]] = []
        self.refuse: Exception | None = None
        self.hang = False
        self.cancelled = False

    def described(self, names: tuple[str, ...]) -> list[Mapping[str, Any]]:
        return [{"type": "function", "function": {"name": name}} for name in names]

    async def call(
        self, name: str, arguments: str, *, person: PersonId, given: tuple[Image, ...], hear: Hear
    ) -> Result:
        self.calls.append((name, arguments, given))
        await hear({"drawing": True, "progress": 0.5})
        if self.hang:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled = True
                raise
        if self.refuse is not None:
            raise self.refuse
        return Result("drawn", (PictureId("pic_1"),))


class Room:
    """A conversation with one message, and a model that says what the test wants."""

    def __init__(self, database: Database, folder: Path, clock: FakeClock) -> None:
        self.talks = ConversationService(
            records=ConversationRecords(database=database),
            presets=PresetRecords(database=database),
            blobs=LocalBlobs(folder),
            clock=clock,
            in_use=lambda _: False,
            keep_deleted=timedelta(days=30),
        )
        self.tools = Tools()
        self.bodies: list[Mapping[str, Any]] = []
        self.script: Script = lambda _: script(text("Hello"), text("", "stop"))
        self.closed = 0
        self.answers = Answers(
            conversations=self.talks,
            speak=self.speak,
            find=self.find,
            sees=lambda model: model.id == "seer",
            picture=self.picture,
            blob=lambda blob: b"\x89PNG",
            defaults=lambda _: {"temperature": 0.3, "system": "Default."},
            tools=self.tools,
            clock=clock,
        )
        self.talk = self.talks.create(owner=OWNER, parameters=Parameters(tools=("generate_image",))).id
        self.asked = self.talks.say(self.talk, [Text("hi")], parent=None, caller=OWNER).id

    def find(self, name: str) -> ModelRecord:
        if name == "gone":
            raise NotFound("There is no model 'gone'.", code="model.not_found")
        return record(name, ModelKind.IMAGE if name == "painter" else ModelKind.LANGUAGE)

    def picture(self, picture: PictureId, person: PersonId) -> bytes:
        raise NotFound("gone", code="picture.not_found")

    async def speak(
        self,
        model: ModelRecord,
        body: Mapping[str, Any],
        *,
        person: PersonId,
        stop: StopToken,
        context: int | None,
        hear: Hear,
        begun: Callable[[], None],
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        self.bodies.append({**body, "messages": list(body["messages"])})
        await hear({"position": 1, "reason": {"text": "loading"}})
        begun()
        said = self.script(body)
        try:
            async for piece in said:
                yield piece
        finally:
            self.closed += 1
            await said.aclose()

    async def follow(self, **more: Any) -> tuple[list[Event], Message]:
        writing = await self.answers.begin(self.talk, self.asked, person=OWNER, **more)
        events = [event async for event in writing.events()]
        return events, self.kept(writing.message.id)

    def kept(self, message: MessageId) -> Message:
        found = self.talks.messages(self.talk, caller=OWNER)
        return next(one for one in found if one.id == message)


@pytest.fixture
def room(sqlite: Database, tmp_path: Path, clock: FakeClock) -> Room:
    return Room(sqlite, tmp_path / "blobs", clock)


async def test_an_answer_is_told_as_it_comes_and_kept_with_its_figures(room: Room) -> None:
    room.script = lambda _: script(
        text("Hel", timings={"predicted_per_second": 10.0, "predicted_n": 1}),
        text("lo"),
        text("", "stop"),
        {"choices": [], "usage": {"completion_tokens": 2}},
    )
    events, kept = await room.follow()
    assert [event.kind for event in events] == [
        *("message", "wait", "wait", "text", "speed", "text", "speed", "speed", "speed", "done"),
    ]
    assert events[-1].data == kept
    assert (kept.text, kept.state, kept.finish_reason) == ("Hello", MessageState.DONE, "stop")
    assert kept.usage == {"completion_tokens": 2}
    assert kept.model == "auto"
    assert kept.finished_at is not None
    assert room.talks.get(room.talk, caller=OWNER).shown == kept.id


async def test_the_models_own_defaults_stand_behind_what_was_said(room: Room) -> None:
    await room.follow()
    assert room.bodies[0]["temperature"] == 0.3
    assert room.bodies[0]["messages"][0] == {"role": "system", "content": "Default."}
    room.talks.change(room.talk, caller=OWNER, system="Mine.", parameters=Parameters(temperature=1.0))
    await room.follow()
    assert room.bodies[1]["temperature"] == 1.0
    assert room.bodies[1]["messages"][0]["content"] == "Mine."
    assert "tools" not in room.bodies[1]


async def test_a_person_stops_it_by_its_message_and_nobody_else_can(room: Room) -> None:
    room.script = lambda _: script(text("so far"), hang=True)
    writing = await room.answers.begin(room.talk, room.asked, person=OWNER)
    told = []
    async for event in writing.events():
        told.append(event.kind)
        if event.kind == "text":
            assert not room.answers.stop(writing.message.id, person=PersonId("bob"))
            assert room.answers.stop(writing.message.id, person=OWNER)
            assert not room.answers.stop(writing.message.id, person=OWNER)
    kept = room.kept(writing.message.id)
    assert told[-1] == "done"
    assert (kept.state, kept.finish_reason, kept.text) == (MessageState.STOPPED, "cancelled", "so far")
    assert room.closed == 1
    await writing.ended()
    assert not room.answers.is_writing(writing.message.id)


async def test_whoever_leaves_stops_it_and_what_was_said_is_kept(room: Room) -> None:
    room.script = lambda _: script(text("so far"), hang=True)
    writing = await room.answers.begin(room.talk, room.asked, person=OWNER)
    events = writing.events()
    async for event in events:
        if event.kind == "text":
            break
    await events.aclose()
    await writing.ended()
    kept = room.kept(writing.message.id)
    assert (kept.state, kept.finish_reason, kept.text) == (MessageState.STOPPED, "client_gone", "so far")
    assert room.closed == 1


async def test_an_error_in_mid_stream_keeps_what_was_said_and_its_reason(room: Room) -> None:
    room.script = lambda _: script(text("so far"), then=DEAD)
    events, kept = await room.follow()
    assert (kept.state, kept.finish_reason, kept.text) == (MessageState.FAILED, "error", "so far")
    assert kept.error == {"code": "child.killed", "message": DEAD.message, "hint": "try again"}
    assert events[-1].kind == "done"


async def test_a_stream_that_ends_without_an_end_is_no_answer(room: Room) -> None:
    room.script = lambda _: script(text("so far"))
    _, kept = await room.follow()
    assert (kept.state, kept.error["code"] if kept.error else "") == (MessageState.FAILED, "model.broke_off")


async def test_a_mistake_of_ours_leaves_no_message_being_written(room: Room) -> None:
    room.script = lambda _: script(text("so far"), then=ZeroDivisionError("a mistake"))
    writing = await room.answers.begin(room.talk, room.asked, person=OWNER)
    [event async for event in writing.events()]
    with pytest.raises(ZeroDivisionError):
        await writing.result()
    kept = room.kept(writing.message.id)
    assert (kept.state, kept.error["code"] if kept.error else "") == (MessageState.FAILED, "internal")


async def test_what_has_been_said_is_kept_every_few_seconds(room: Room, clock: FakeClock) -> None:
    kept_then: list[str] = []

    async def pieces() -> AsyncGenerator[Mapping[str, Any], None]:
        yield text("one ")
        clock.advance(3)
        yield text("two ")
        message = room.talks.messages(room.talk, caller=OWNER)[1]
        kept_then.append(message.text)
        assert message.state is MessageState.WRITING
        yield text("three ", "stop")
        kept_then.append(room.talks.messages(room.talk, caller=OWNER)[1].text)

    room.script = lambda _: pieces()
    _, kept = await room.follow()
    assert kept_then == ["one two ", "one two "]  # the third came too soon after the second
    assert kept.text == "one two three "


async def test_the_end_of_the_server_stops_all_and_keeps_them(room: Room) -> None:
    room.script = lambda _: script(text("so far"), hang=True)
    writing = await room.answers.begin(room.talk, room.asked, person=OWNER)
    events = writing.events()
    async for event in events:
        if event.kind == "text":
            break
    await room.answers.close()
    assert room.kept(writing.message.id).finish_reason == "shutdown"
    with pytest.raises(Cancelled):
        await room.answers.begin(room.talk, room.asked, person=OWNER)
    await events.aclose()


@pytest.mark.parametrize(("model", "error"), [("gone", NotFound), ("painter", BadMessage)])
async def test_a_model_that_cannot_answer_is_refused_before_anything_is_kept(
    room: Room, model: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await room.answers.begin(room.talk, room.asked, person=OWNER, model=model)
    with pytest.raises(NotFound):
        await room.answers.begin(room.talk, room.asked, person=PersonId("bob"))
    with pytest.raises(NotFound):
        await room.answers.begin(ConversationId("cnv_none"), room.asked, person=OWNER)
    assert len(room.talks.messages(room.talk, caller=OWNER)) == 1


# -- tools -----------------------------------------------------------------------------------------------


def draws_then_speaks(body: Mapping[str, Any]) -> AsyncGenerator[Mapping[str, Any], None]:
    if any(message["role"] == "tool" for message in body["messages"]):
        return script(text("There."), text("", "stop", usage={"completion_tokens": 3}))
    return script(
        text("I draw. "), call("generate_image", '{"prompt": "fox"}') | {"usage": {"completion_tokens": 5}}
    )


async def test_a_tool_is_called_between_two_requests_and_its_picture_is_in_the_answer(room: Room) -> None:
    room.script = draws_then_speaks
    events, kept = await room.follow()
    assert kept.parts == (
        Text("I draw. "),
        Tool("c1", "generate_image", '{"prompt": "fox"}', "drawn", pictures=("pic_1",)),
        Text("There."),
    )
    assert kept.pictures == ("pic_1",)
    assert kept.usage == {"completion_tokens": 8}
    assert [event.data for event in events if event.kind == "tool"] == [
        Tool("c1", "generate_image", '{"prompt": "fox"}'),
        kept.parts[1],
    ]
    asked, again = room.bodies
    assert asked["tools"] == [{"type": "function", "function": {"name": "generate_image"}}]
    assert [message["role"] for message in again["messages"]] == ["system", "user", "assistant", "tool"]
    assert again["messages"][-1]["content"] == "drawn"
    assert room.closed == 2  # the model was free for others while the picture was drawn


async def test_a_tool_that_fails_is_told_to_the_model(room: Room) -> None:
    room.script = draws_then_speaks
    room.tools.refuse = Invalid("There is no picture.", hint="draw one first")
    _, kept = await room.follow()
    assert kept.parts[1] == Tool(
        "c1", "generate_image", '{"prompt": "fox"}', "There is no picture. Hint: draw one first.", failed=True
    )
    assert (kept.state, kept.text) == (MessageState.DONE, "I draw. \n\nThere.")


async def test_stopping_while_a_tool_is_at_work_cancels_it(room: Room) -> None:
    room.script = draws_then_speaks
    room.tools.hang = True
    writing = await room.answers.begin(room.talk, room.asked, person=OWNER)
    async for event in writing.events():
        if event.kind == "wait" and isinstance(event.data, dict) and event.data.get("drawing"):
            room.answers.stop(writing.message.id, person=OWNER)
    kept = room.kept(writing.message.id)
    assert room.tools.cancelled
    assert kept.state is MessageState.STOPPED
    assert kept.parts[1] == Tool("c1", "generate_image", '{"prompt": "fox"}')


async def test_a_model_that_never_stops_calling_is_asked_a_last_time_without_tools(room: Room) -> None:
    room.script = lambda body: (
        script(call("generate_image", "{}")) if "tools" in body else script(text("Enough.", "stop"))
    )
    _, kept = await room.follow()
    assert (kept.state, kept.text) == (MessageState.DONE, "Enough.")
    assert len(room.tools.calls) == 4


async def test_tools_know_the_pictures_of_the_conversation(room: Room) -> None:
    blob = room.talks._blobs.put(b"\x89PNG").id
    given = Image(blob=BlobId(blob))
    room.asked = room.talks.say(room.talk, [Text("change"), given], parent=None, caller=OWNER).id
    room.script = draws_then_speaks
    await room.follow(model="seer")
    assert room.tools.calls[0][2] == (given,)
    content = room.bodies[0]["messages"][-1]["content"]
    assert [part["type"] for part in content] == ["text", "text", "image_url"]


async def test_failed_is_a_failure_like_any_other(room: Room) -> None:
    room.script = lambda _: script(then=Failed("no", code="model.failed", hint="again"))
    _, kept = await room.follow()
    assert (kept.parts, kept.error) == ((), {"code": "model.failed", "message": "no", "hint": "again"})
