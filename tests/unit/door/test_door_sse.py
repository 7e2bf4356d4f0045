# SPDX-License-Identifier: Apache-2.0
import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from starlette.types import Message

from inglenook.door.disconnect import ClientGone, while_connected
from inglenook.door.sse import EventStream, ServerEvent


class Client:
    """The other side of an answer: `hang_up` ends the connection."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.sent: list[Message] = []
        self.got = asyncio.Condition()

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        async with self.got:
            self.sent.append(message)
            self.got.notify_all()

    async def wait_for(self, text: bytes) -> None:
        async with self.got:
            await self.got.wait_for(lambda: text in self.body)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def is_complete(self) -> bool:
        return self.sent[-1].get("more_body") is False


class Source:
    """Events as the test puts them in; knows whether it was closed."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[ServerEvent | None] = asyncio.Queue()
        self.closed = False

    async def events(self) -> AsyncGenerator[ServerEvent, None]:
        try:
            while (event := await self.queue.get()) is not None:
                yield event
        finally:
            self.closed = True


def run(main: Any) -> None:
    asyncio.run(asyncio.wait_for(main(), 60))


@pytest.mark.parametrize(
    ("event", "encoded"),
    [
        (ServerEvent("{}"), b"data: {}\n\n"),
        (ServerEvent("{}", event="state", id="7"), b"id: 7\nevent: state\ndata: {}\n\n"),
        (ServerEvent("a\nb\r\nc\rd"), b"data: a\ndata: b\ndata: c\ndata: d\n\n"),
        (ServerEvent("a\u2028b"), "data: a\u2028b\n\n".encode()),
        (ServerEvent(""), b"data: \n\n"),
    ],
)
def test_an_event_is_written_as_the_format_says(event: ServerEvent, encoded: bytes) -> None:
    assert event.encode() == encoded


def test_each_event_leaves_at_once_and_the_end_is_told() -> None:
    async def main() -> None:
        client, source = Client(), Source()
        stream = EventStream(source.events())
        task = asyncio.create_task(stream({}, client.receive, client.send))
        await client.wait_for(b":\n\n")
        assert dict(client.sent[0]["headers"])[b"content-type"].startswith(b"text/event-stream")
        assert dict(client.sent[0]["headers"])[b"x-accel-buffering"] == b"no"
        await source.queue.put(ServerEvent("1"))
        await client.wait_for(b"data: 1\n\n")
        await source.queue.put(ServerEvent("2"))
        await client.wait_for(b"data: 2\n\n")
        await source.queue.put(None)
        await task
        assert client.is_complete
        assert source.closed

    run(main)


def test_silence_is_filled_with_comments_and_no_event_is_lost() -> None:
    async def main() -> None:
        client, source = Client(), Source()
        stream = EventStream(source.events(), heartbeat_s=0.001)
        task = asyncio.create_task(stream({}, client.receive, client.send))
        await client.wait_for(b":\n\n:\n\n:\n\n:\n\n")
        await source.queue.put(ServerEvent("late"))
        await client.wait_for(b"data: late\n\n")
        await source.queue.put(None)
        await task
        assert client.is_complete

    run(main)


def test_a_client_that_leaves_is_told_of_and_the_source_is_closed() -> None:
    async def main() -> None:
        client, source = Client(), Source()
        told: list[str] = []

        async def gone() -> None:
            told.append("gone")

        stream = EventStream(source.events(), on_gone=gone)
        task = asyncio.create_task(stream({}, client.receive, client.send))
        await client.wait_for(b":\n\n")
        client.gone.set()
        await task
        assert told == ["gone"]
        assert source.closed
        assert not client.is_complete

    run(main)


def test_a_server_that_reports_the_loss_when_writing_is_understood_too() -> None:
    async def main() -> None:
        client, source = Client(), Source()
        told: list[str] = []

        async def gone() -> None:
            told.append("gone")

        async def broken(message: Message) -> None:
            if b"data" in message.get("body", b""):
                raise BrokenPipeError
            await client.send(message)

        await source.queue.put(ServerEvent("1"))
        await EventStream(source.events(), on_gone=gone)({}, client.receive, broken)
        assert told == ["gone"]
        assert source.closed

    run(main)


def test_an_error_of_the_source_does_not_look_like_an_end() -> None:
    async def main() -> None:
        async def failing() -> AsyncGenerator[ServerEvent, None]:
            yield ServerEvent("1")
            raise LookupError("broken")

        client = Client()
        with pytest.raises(LookupError):
            await EventStream(failing())({}, client.receive, client.send)
        assert not client.is_complete

    run(main)


def test_work_is_done_while_the_client_waits() -> None:
    async def main() -> None:
        client = Client()

        async def work() -> int:
            return 7

        async def gone() -> None:
            raise AssertionError("the client is there")

        assert await while_connected(client.receive, work(), on_gone=gone) == 7

    run(main)


def test_work_is_called_off_when_the_client_goes() -> None:
    async def main() -> None:
        client = Client()
        began, told, stopped = asyncio.Event(), [], []

        async def work() -> None:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                stopped.append(True)

        async def gone() -> None:
            told.append(bool(stopped))

        task = asyncio.create_task(while_connected(client.receive, work(), on_gone=gone))
        await began.wait()
        client.gone.set()
        with pytest.raises(ClientGone):
            await task
        assert told == [False]  # asked to stop first, so that the job's own stopping is what ends the work
        assert stopped == [True]

    run(main)


def test_an_error_of_the_work_comes_out_as_it_is() -> None:
    async def main() -> None:
        async def work() -> None:
            raise LookupError("x")

        async def gone() -> None: ...

        with pytest.raises(LookupError):
            await while_connected(Client().receive, work(), on_gone=gone)

    run(main)
