# SPDX-License-Identifier: Apache-2.0
"""The relay, driven below HTTP: what a client that streams is sent, and what a hang-up does."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from starlette.types import Message
from tests.unit.api.relayed import DEAD, Answers, ScriptedLanguage, stream
from tests.unit.api.services import model

from inglenook.api.openai.manner import ChatManner
from inglenook.api.relay import Ask, Relay, RelayedStream
from inglenook.base.errors import InglenookError, Invalid
from inglenook.base.ids import OWNER
from inglenook.catalog.model import ModelKind
from inglenook.door.disconnect import ClientGone
from inglenook.runtime.contracts import ChildFailed

MODEL = model("a llama", kind=ModelKind.LANGUAGE)
ASK = Ask(MODEL, OWNER, "/v1/chat/completions", b"{}")
HELLO = (b'data: {"a":1}\n\n', b'data: {"a":2}\n\n', b"data: [DONE]\n\n")


class Client:
    """The other end of a connection."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.sent: list[Message] = []
        self.news = asyncio.Event()

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        self.news.set()

    async def until(self, true: Callable[[], bool]) -> None:
        while not true():
            self.news.clear()
            await self.news.wait()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}


async def eventually(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0)


def serve(language: ScriptedLanguage, client: Client, *, begin_after_s: float = 60.0) -> Awaitable[None]:
    streamed = Relay(language=language).passed(ASK, ChatManner())
    assert isinstance(streamed, RelayedStream)
    streamed._begin_after_s, streamed._tell_every_s = begin_after_s, 0.001
    return streamed({"type": "http"}, client.receive, client.send)


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(main(), 60)

    asyncio.run(bounded())


def scripted(*parts: bytes, then: BaseException | None = None, hang: bool = False) -> ScriptedLanguage:
    return ScriptedLanguage(lambda _: stream(*parts, then=then, hang=hang))


def test_a_stream_is_passed_on_byte_for_byte_and_names_its_model() -> None:
    async def main() -> None:
        language, client = scripted(*HELLO), Client()
        await serve(language, client)
        assert client.body == b"".join(HELLO)
        assert client.headers["x-inglenook-model"] == "a llama"
        assert client.headers["x-inglenook-waited-s"] == "0.250"
        assert client.headers["content-type"] == "text/event-stream"
        assert client.sent[-1]["more_body"] is False
        assert language.held == 0

    run(main)


def test_events_that_arrive_in_pieces_leave_whole() -> None:
    async def main() -> None:
        whole = b"".join(HELLO)
        client = Client()
        await serve(scripted(whole[:5], whole[5:20], whole[20:]), client)
        bodies = [message["body"] for message in client.sent[1:-1]]
        assert b"".join(bodies) == whole
        assert all(body.endswith(b"\n\n") for body in bodies)

    run(main)


def test_who_waits_in_the_queue_is_told_why_and_then_answered() -> None:
    async def main() -> None:
        language, client = scripted(*HELLO), Client()
        language.room.clear()
        serving = asyncio.ensure_future(serve(language, client, begin_after_s=0.001))
        await client.until(lambda: client.body.count(b"\n\n") >= 2)
        assert client.body.startswith(
            b": waiting, place 2 of 3: no room: flux is at work; about 4.0 s left\n\n"
        )
        assert client.headers["x-inglenook-model"] == "a llama"
        language.room.set()
        await serving
        assert client.body.endswith(b"".join(HELLO))

    run(main)


def test_a_comment_is_never_put_into_the_middle_of_an_event() -> None:
    async def main() -> None:
        client = Client()
        serving = asyncio.ensure_future(
            serve(scripted(HELLO[0], HELLO[1][:-1], hang=True), client, begin_after_s=0.001)
        )
        await client.until(lambda: client.body.count(b"reads what was asked") >= 2)
        client.gone.set()
        await serving
        events = [event for event in client.body.split(b"\n\n") if event]
        assert events[0] == HELLO[0].strip()
        assert all(event.startswith(b": ") for event in events[1:])

    run(main)


@pytest.mark.parametrize("in_queue", [True, False])
def test_who_hangs_up_before_the_answer_leaves_the_queue_or_stops_the_child_at_once(in_queue: bool) -> None:
    async def main() -> None:
        language, client = scripted(hang=True), Client()
        if in_queue:
            language.room.clear()
        serving = asyncio.ensure_future(serve(language, client))
        await eventually(lambda: language.waiting == 1 if in_queue else len(language.asked) == 1)
        client.gone.set()
        with pytest.raises(ClientGone):
            await serving
        assert (language.waiting, language.held) == (0, 0)
        assert [asked.stopped for asked in language.asked] == ([] if in_queue else [True])
        assert client.sent == []

    run(main)


def test_who_hangs_up_in_mid_stream_stops_the_child() -> None:
    async def main() -> None:
        language, client = scripted(HELLO[0], hang=True), Client()
        serving = asyncio.ensure_future(serve(language, client))
        await client.until(lambda: HELLO[0] in client.body)
        client.gone.set()
        await serving
        assert language.asked[0].stopped
        assert language.held == 0

    run(main)


def test_a_child_that_dies_in_mid_stream_ends_it_with_an_error_and_never_with_done() -> None:
    async def main() -> None:
        client = Client()
        await serve(scripted(HELLO[0], b'data: {"ha', then=DEAD), client)
        events = client.body.split(b"\n\n")
        assert events[0] + b"\n\n" == HELLO[0]
        assert events[1].startswith(
            b'data: {"error":{"message":"SmolLM2 was killed by the system (signal 9).'
        )
        assert events[2:] == [b""]
        assert client.sent[-1]["more_body"] is False

    run(main)


def test_a_stream_that_ends_without_its_last_event_is_told_to_be_cut_off() -> None:
    async def main() -> None:
        client = Client()
        await serve(scripted(*HELLO[:2]), client)
        assert b"The answer was cut off." in client.body.split(b"\n\n")[-2]
        client = Client()
        own = b'data: {"error":{"message":"no"}}\n\n'
        await serve(scripted(HELLO[0], own), client)
        assert client.body == HELLO[0] + own

    run(main)


def test_before_the_answer_has_begun_an_error_is_raised_with_its_kind() -> None:
    async def main() -> None:
        for answers, kind in (
            (lambda _: stream(then=DEAD), ChildFailed),
            (lambda _: (400, b'{"error":{"message":"bad messages","code":400}}'), Invalid),
        ):
            language, client = ScriptedLanguage(answers), Client()
            with pytest.raises(kind):
                await serve(language, client)
            assert client.sent == []
            assert language.held == 0

    run(main)


def test_a_refusal_after_the_answer_has_begun_is_an_error_event() -> None:
    async def main() -> None:
        language, client = ScriptedLanguage(lambda _: (400, b'{"error":{"message":"no"}}')), Client()
        language.room.clear()
        serving = asyncio.ensure_future(serve(language, client, begin_after_s=0.001))
        await client.until(lambda: b"place 2" in client.body)
        language.room.set()
        await serving
        assert client.body.split(b"\n\n")[-2].startswith(b'data: {"error":{"message":"no"')

    run(main)


def test_a_whole_answer_says_which_model_gave_it_and_how_long_it_waited() -> None:
    async def main() -> None:
        answers: Answers = lambda asked: (200, b'{"id":1}')  # noqa: E731 - one line says it all
        whole = await Relay(language=ScriptedLanguage(answers)).whole(Client().receive, ASK)
        response = whole.response()
        assert response.body == b'{"id":1}'
        assert response.headers["x-inglenook-model"] == "a llama"
        assert response.headers["x-inglenook-waited-s"] == "0.250"

    run(main)


def test_who_hangs_up_on_a_whole_answer_stops_the_child() -> None:
    async def main() -> None:
        language, client = scripted(b"{", hang=True), Client()
        asking = asyncio.ensure_future(Relay(language=language).whole(client.receive, ASK))
        await eventually(lambda: len(language.asked) == 1)
        client.gone.set()
        with pytest.raises(InglenookError) as caught:
            await asking
        assert caught.value.kind == "cancelled"
        assert language.asked[0].stopped
        assert language.held == 0

    run(main)
