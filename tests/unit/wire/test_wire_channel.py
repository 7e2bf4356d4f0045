# SPDX-License-Identifier: Apache-2.0
"""The two ends of a wire: who may connect, what is a line, and how each end sees that the other is gone."""

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from inglenook.wire.channel import (
    TOKEN_ENV,
    WIRE_ENV,
    Channel,
    Listener,
    PeerGone,
    WorkerChannel,
)
from inglenook.wire.image import Cancel, FromImageWorker, Loaded, Shutdown, ToImageWorker
from inglenook.wire.message import MAX_LINE_BYTES, PROTOCOL, Hello, Message, WireError, encode

LOADED = Loaded(seconds=1.0, weights_bytes=2)


def run(main: Any) -> Any:
    return asyncio.run(asyncio.wait_for(main, 30))


@asynccontextmanager
async def listening(folder: Path) -> AsyncIterator[Listener]:
    listener = Listener(folder, FromImageWorker)
    await listener.open()
    try:
        yield listener
    finally:
        await listener.close()


@asynccontextmanager
async def connected(folder: Path) -> AsyncIterator[tuple[Channel, WorkerChannel]]:
    async with listening(folder) as listener:
        worker = await asyncio.to_thread(
            WorkerChannel, listener.address, listener.token, "image", ToImageWorker
        )
        channel = await listener.accept()
        try:
            yield channel, worker
        finally:
            await channel.close()
            worker.close()


def hello(**changes: Any) -> bytes:
    return encode(Hello(**{"protocol": PROTOCOL, "worker": "w", "pid": 1, "token": "t", **changes}))


@asynccontextmanager
async def stranger(listener: Listener) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Somebody who knows the address and speaks by himself."""
    reader, writer = await asyncio.open_unix_connection(listener.address.partition(":")[2])
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def test_messages_go_both_ways_in_order(tmp_path: Path) -> None:
    async def main() -> None:
        async with connected(tmp_path) as (channel, worker):
            for job in "abc":
                await channel.send(Cancel(job=job))
            assert [await asyncio.to_thread(worker.receive) for _ in "abc"] == [Cancel(job=j) for j in "abc"]
            for number in range(3):
                await asyncio.to_thread(worker.send, Loaded(seconds=1.0, weights_bytes=number))
            got = [await channel.receive() for _ in range(3)]
            assert got == [Loaded(seconds=1.0, weights_bytes=number) for number in range(3)]

    run(main())


def test_threads_that_send_at_once_do_not_mix_their_lines(tmp_path: Path) -> None:
    async def main() -> None:
        async with connected(tmp_path) as (channel, worker):

            def talk(number: int) -> None:
                for _ in range(50):
                    worker.send(Hello(protocol=1, worker="x" * 5000, pid=number, token="t"))

            threads = [threading.Thread(target=talk, args=(n,)) for n in range(4)]
            for thread in threads:
                thread.start()
            counts = dict.fromkeys(range(4), 0)
            for _ in range(200):
                message = await channel.receive()
                assert isinstance(message, Hello)
                counts[message.pid] += 1
            assert set(counts.values()) == {50}
            for thread in threads:
                await asyncio.to_thread(thread.join)

    run(main())


def test_the_socket_is_for_this_user_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with listening(tmp_path) as listener:
            path = Path(listener.address.partition(":")[2])
            assert path.stat().st_mode & 0o077 == 0

    run(main())


def test_a_path_that_is_too_long_for_a_socket_gives_a_loopback_port(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 120)
    folder.mkdir()

    async def main() -> None:
        async with listening(folder) as listener:
            assert listener.address.startswith("tcp:127.0.0.1:")
        async with connected(folder) as (channel, worker):
            await asyncio.to_thread(worker.send, LOADED)
            assert await channel.receive() == LOADED
            await channel.send(Shutdown())
            assert await asyncio.to_thread(worker.receive) == Shutdown()

    run(main())


# -- who may connect ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first",
    [
        lambda _: hello(token="guessed"),
        lambda _: hello(token=""),
        lambda _: hello(token="ünïcode"),
        lambda token: hello(token=token[:-1]),
        lambda _: encode(LOADED),
        lambda _: b"GET / HTTP/1.1\r\n\r\n",
        lambda _: b"x" * (MAX_LINE_BYTES + 100) + b"\n",
        lambda _: b"",
    ],
    ids=["wrong", "empty", "not-ascii", "nearly", "no-hello", "http", "too-long", "nothing"],
)
def test_a_stranger_is_shown_out_and_the_worker_still_let_in(
    first: Callable[[str], bytes], tmp_path: Path
) -> None:
    async def main() -> None:
        async with listening(tmp_path) as listener:
            async with stranger(listener) as (reader, writer):
                with contextlib.suppress(ConnectionError):
                    writer.write(first(listener.token))
                    writer.write_eof()
                    await writer.drain()
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
            waiting = asyncio.create_task(listener.accept())
            worker = await asyncio.to_thread(
                WorkerChannel, listener.address, listener.token, "image", ToImageWorker
            )
            channel = await waiting
            await asyncio.to_thread(worker.send, LOADED)
            assert await channel.receive() == LOADED
            await channel.close()
            worker.close()

    run(main())


def test_somebody_who_connects_and_says_nothing_does_not_keep_the_worker_out(tmp_path: Path) -> None:
    async def main() -> None:
        async with listening(tmp_path) as listener, stranger(listener):
            worker = await asyncio.to_thread(
                WorkerChannel, listener.address, listener.token, "image", ToImageWorker
            )
            channel = await listener.accept()
            await channel.close()
            worker.close()

    run(main())


def test_a_second_worker_with_the_right_secret_is_shown_out_quietly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with listening(tmp_path) as listener:
            first = await asyncio.to_thread(
                WorkerChannel, listener.address, listener.token, "image", ToImageWorker
            )
            channel = await listener.accept()
            async with stranger(listener) as (reader, writer):
                writer.write(hello(token=listener.token))
                assert await reader.read() == b""
            await asyncio.to_thread(first.send, LOADED)
            assert await channel.receive() == LOADED
            await channel.close()
            first.close()

    run(main())
    assert caplog.records == []


def test_another_protocol_is_refused_with_both_numbers(tmp_path: Path) -> None:
    async def main() -> None:
        async with listening(tmp_path) as listener, stranger(listener) as (_, writer):
            writer.write(hello(token=listener.token, protocol=PROTOCOL + 1))
            with pytest.raises(WireError, match=f"protocol {PROTOCOL + 1}, the server {PROTOCOL}"):
                await listener.accept()

    run(main())


def test_waiting_for_a_worker_ends_when_the_listener_closes(tmp_path: Path) -> None:
    async def main() -> None:
        async with listening(tmp_path) as listener:
            waiting = asyncio.create_task(listener.accept())
            await asyncio.sleep(0)
            await listener.close()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await listener.close()

    run(main())


# -- lines ----------------------------------------------------------------------------------------------


def test_a_line_that_is_too_long_is_refused_by_the_server(tmp_path: Path) -> None:
    async def main() -> None:
        async with connected(tmp_path) as (channel, worker):
            talking = asyncio.to_thread(
                worker.send, Hello(protocol=1, worker="x" * MAX_LINE_BYTES, pid=1, token="t")
            )
            sent = asyncio.create_task(talking)
            with pytest.raises(WireError, match=f"over {MAX_LINE_BYTES} bytes"):
                await channel.receive()
            await channel.close()
            await asyncio.gather(sent, return_exceptions=True)

    run(main())


def test_a_line_that_is_too_long_is_refused_by_the_worker(tmp_path: Path) -> None:
    async def main() -> None:
        async with connected(tmp_path) as (channel, worker):
            sending = asyncio.create_task(channel.send(Cancel(job="x" * MAX_LINE_BYTES)))
            with pytest.raises(WireError, match=f"over {MAX_LINE_BYTES} bytes"):
                await asyncio.to_thread(worker.receive)
            worker.close()
            await asyncio.gather(sending, return_exceptions=True)

    run(main())


def test_a_long_prompt_is_no_long_line(tmp_path: Path) -> None:
    """100,000 characters of four bytes each."""

    async def main() -> None:
        async with connected(tmp_path) as (channel, worker):
            message = Cancel(job="\U0001f98a" * 100_000)
            receiving = asyncio.create_task(asyncio.to_thread(worker.receive))
            await channel.send(message)
            assert await receiving == message

    run(main())


def test_a_line_that_is_no_message_is_refused_at_both_ends(tmp_path: Path) -> None:
    async def main() -> None:
        async with listening(tmp_path) as listener, stranger(listener) as (_, writer):
            writer.write(hello(token=listener.token) + b'{"kind": "surprise"}\n' + encode(LOADED))
            channel = await listener.accept()
            with pytest.raises(WireError, match="surprise"):
                await channel.receive()
            assert await channel.receive() == LOADED
            await channel.close()

    run(main())


async def flood(send: Callable[[], Awaitable[None]]) -> None:
    """The first lines may still find room in the system's buffer."""
    for _ in range(100):
        await send()


# -- the other side is gone -----------------------------------------------------------------------------


def test_the_server_notices_that_the_worker_is_gone(tmp_path: Path) -> None:
    async def main() -> None:
        async with connected(tmp_path) as (channel, worker):
            await asyncio.to_thread(worker.send, LOADED)
            worker._lines.close()
            worker.close()
            assert await channel.receive() == LOADED, "what was sent before counts"
            for _ in range(2):
                with pytest.raises(PeerGone):
                    await channel.receive()
            with pytest.raises(PeerGone):
                await flood(lambda: channel.send(Shutdown()))

    run(main())


def test_the_worker_notices_that_the_server_is_gone(tmp_path: Path) -> None:
    async def main() -> None:
        async with connected(tmp_path) as (channel, worker):
            await channel.send(Shutdown())
            await channel.close()
            assert await asyncio.to_thread(worker.receive) == Shutdown()
            for _ in range(2):
                with pytest.raises(PeerGone):
                    await asyncio.to_thread(worker.receive)
            with pytest.raises(PeerGone):
                await flood(lambda: asyncio.to_thread(worker.send, LOADED))

    run(main())


def test_who_dies_in_the_middle_of_a_line_is_gone_and_has_not_spoken_nonsense(tmp_path: Path) -> None:
    async def main() -> None:
        async with listening(tmp_path) as listener:
            async with stranger(listener) as (_, writer):
                writer.write(hello(token=listener.token) + encode(LOADED)[:-5])
                channel = await listener.accept()
            with pytest.raises(PeerGone):
                await channel.receive()
            await channel.close()

    run(main())
    ours, theirs = socket.socketpair()
    worker = _over(ours)
    theirs.sendall(encode(Shutdown())[:-3])
    theirs.close()
    with pytest.raises(PeerGone):
        worker.receive()
    worker.close()


def _over(end: socket.socket) -> WorkerChannel:
    """A worker's channel over a socket that is connected already."""

    class Connected(WorkerChannel):
        def send(self, message: Message) -> None:
            """Its Hello is of no interest here."""

    listening_socket = socket.socket()
    listening_socket.bind(("127.0.0.1", 0))
    listening_socket.listen()
    worker = Connected(f"tcp:127.0.0.1:{listening_socket.getsockname()[1]}", "t", "w", ToImageWorker)
    listening_socket.close()
    worker._lines.close()
    worker._socket.close()
    worker._socket = end
    worker._lines = end.makefile("rb")
    return worker


# -- the environment ------------------------------------------------------------------------------------


def test_a_worker_takes_its_secret_out_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with listening(tmp_path) as listener:
            for name, value in listener.environment().items():
                monkeypatch.setenv(name, value)
            worker = await asyncio.to_thread(WorkerChannel.from_environment, "image", ToImageWorker)
            channel = await listener.accept()
            assert TOKEN_ENV not in os.environ
            await channel.close()
            worker.close()

    run(main())


@pytest.mark.parametrize("missing", [WIRE_ENV, TOKEN_ENV])
def test_a_worker_that_is_started_by_hand_says_so(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WIRE_ENV, "unix:/nowhere")
    monkeypatch.setenv(TOKEN_ENV, "t")
    monkeypatch.delenv(missing)
    with pytest.raises(WireError, match=missing) as refused:
        WorkerChannel.from_environment("image", ToImageWorker)
    assert refused.value.hint == "run `inglenook serve`"


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(WireError, match="neither unix: nor tcp:"):
        WorkerChannel("udp:127.0.0.1:1", "t", "w", ToImageWorker)
