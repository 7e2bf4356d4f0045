# SPDX-License-Identifier: Apache-2.0
"""The small HTTP client, against a server that sends exactly the bytes that a test says."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from inglenook.engines.llamacpp.http import BUFFERED_BYTES, PING, Address, Lost, Talk, open_talk

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@asynccontextmanager
async def talk_with(serve: Serve) -> AsyncIterator[Talk]:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "s.sock")

        async def serving(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await serve(reader, writer)
            finally:
                writer.close()

        server = await asyncio.start_unix_server(serving, path)
        talk = await open_talk(Address(path))
        try:
            yield talk
        finally:
            talk.close()
            server.close()


def run(main: Any) -> Any:
    return asyncio.run(asyncio.wait_for(main, 30))


async def whole(talk: Talk) -> bytes:
    parts = []
    while (part := await talk.part()) is not None:
        parts.append(part)
    return b"".join(parts)


def sending(*data: bytes) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for part in data:
            writer.write(part)
            await writer.drain()

    return serve


def test_a_request_is_sent_whole_and_its_answer_read_to_its_end() -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        seen.append(await reader.readexactly(5))
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\nX-Y: z\r\n\r\nno!")

    async def main() -> None:
        async with talk_with(serve) as talk:
            talk.send("POST", "/v1/x", {"content-type": "text/plain"}, b"hello")
            await talk.head()
            assert (talk.status, talk.headers["x-y"]) == (400, "z")
            assert await whole(talk) == b"no!"
            assert await talk.part() is None, "and again"
        assert seen[0].startswith(b"POST /v1/x HTTP/1.1\r\n")
        assert b"content-length: 5\r\n" in seen[0]
        assert b"connection: close\r\n" in seen[0]
        assert seen[1] == b"hello"

    run(main())


def test_each_part_is_there_as_soon_as_it_has_come() -> None:
    go = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + chunk(b"one"))
        await go.wait()
        writer.write(chunk(b"two") + b"0\r\n\r\n")

    async def main() -> None:
        async with talk_with(serve) as talk:
            talk.send("GET", "/", {}, b"")
            await talk.head()
            assert await talk.part() == b"one"
            go.set()
            assert await talk.part() == b"two"
            assert await talk.part() is None

    run(main())


@pytest.mark.parametrize(
    "sent",
    [
        HEAD + chunk(b"one"),  # between two chunks
        HEAD + chunk(b"one") + b"5\r\nab",  # within one
        HEAD + chunk(b"one") + b"0\r\n",  # before the last empty line
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\none",
        b"HTTP/1.1 200 OK\r\n\r\none",  # an answer without a length has no proper end
        HEAD + chunk(b"one") + b"nonsense\r\n",
    ],
)
def test_an_answer_without_its_proper_end_is_lost_never_silently_over(sent: bytes) -> None:
    async def main() -> None:
        async with talk_with(sending(sent)) as talk:
            talk.send("GET", "/", {}, b"")
            await talk.head()
            first = await talk.part()
            assert first is not None
            assert first.startswith(b"one")
            with pytest.raises(Lost):
                await talk.part()

    run(main())


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200", b"SSH-2.0-x\r\n\r\n"])
def test_an_answer_that_never_begins_is_lost(sent: bytes) -> None:
    async def main() -> None:
        async with talk_with(sending(sent)) as talk:
            talk.send("GET", "/", {}, b"")
            with pytest.raises(Lost):
                await talk.head()

    run(main())


def test_nobody_at_the_socket_is_lost_too(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(Lost):
            await open_talk(Address(str(tmp_path / "nothing.sock")))

    run(main())


def test_the_child_waits_when_nobody_reads() -> None:
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD)
        for _ in range(200):
            writer.write(chunk(b"x" * 65536))
            await writer.drain()
            sent += 65536
        writer.write(b"0\r\n\r\n")

    async def main() -> None:
        async with talk_with(serve) as talk:
            talk.send("GET", "/", {}, b"")
            await talk.head()
            last = -1
            while sent != last:  # until it moves no more
                last = sent
                for _ in range(50):
                    await asyncio.sleep(0)
            assert sent < 8 * BUFFERED_BYTES, "it was taken in without an end"
            assert len(await whole(talk)) == 200 * 65536

    run(main())


def test_closing_ends_it_for_both() -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + chunk(b"one"))
        with suppress(ConnectionResetError):
            await reader.read()
        ended.set()

    async def main() -> None:
        async with talk_with(serve) as talk:
            talk.send("GET", "/", {}, b"")
            await talk.head()
            await talk.part()
            waiting = asyncio.ensure_future(talk.part())
            await asyncio.sleep(0)
            talk.close()
            await ended.wait()
            with pytest.raises(Lost):
                await waiting
            assert talk.closed

    run(main())


def test_a_sign_of_life_of_the_http_thread_is_passed_on_and_no_sign_of_the_model() -> None:
    go = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + chunk(PING))
        await go.wait()
        writer.write(chunk(b"data: x\n\n") + b"0\r\n\r\n")

    async def main() -> None:
        async with talk_with(serve) as talk:
            began_s = talk.moved_s
            talk.send("GET", "/", {}, b"")
            await talk.head()
            assert await talk.part() == PING
            assert talk.moved_s == began_s
            go.set()
            await talk.part()
            assert talk.moved_s > began_s

    run(main())
