# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 as one llama.cpp child speaks it: one request a connection, the answer passed on as it comes.

A client of our own, because it lies between every token and who waits for it; the figures are in
`docs/adr/0013-a-small-http-client-for-llama.md`. What it leaves out is what a child on the same machine does
not do: redirects, compression, cookies, proxies, answers without a length. One request a connection, because
the child's HTTP library lets a connection that is kept hold one of its few threads for 5 s.
"""

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

BUFFERED_BYTES: Final = 256 * 1024
"""Of an answer, when nobody reads it: then the child is told to wait."""
PING: Final = b":\n\n"
"""What the child sends while a stream has no token yet: its HTTP thread lives, maybe not the model."""
QUEUE_TIMEOUT_S: Final = 10.0
QUEUE_POLL_S: Final = 0.002


class Lost(Exception):
    """The connection could not be made, or ended before the answer did."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a child answers: a Unix socket, or a port on 127.0.0.1 and the key for it."""

    socket: str | None = None
    port: int | None = None
    key: str | None = None


class Talk(asyncio.Protocol):
    """One request and its answer. Made by `open_talk`; `close` may come at any time and ends both.

    Attributes:
        status: of the answer, once `head` has returned. headers: with lower-case names.
        closed: by us.
        moved_s: the loop's time at which the last byte came that says that the model works.
    """

    def __init__(self) -> None:
        import httptools  # not on every system, and never needed without a language model

        self._loop = asyncio.get_running_loop()
        self._parser: Any = httptools.HttpResponseParser(self)
        self._refused: type[Exception] = httptools.HttpParserError
        self._transport: asyncio.Transport | None = None
        self._parts: list[bytes] = []
        self._buffered = 0
        self._paused = False
        self._news: asyncio.Future[None] | None = None
        self._begun = False
        self._whole = False
        self._lost: BaseException | None = None
        self.closed = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.moved_s = self._loop.time()

    # -- what callers do -----------------------------------------------------------------------------

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> None:
        assert self._transport is not None
        lines = [f"{method} {path} HTTP/1.1", "host: llama.cpp", "connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body or method != "GET":
            lines.append(f"content-length: {len(body)}")
        self._transport.write("\r\n".join((*lines, "\r\n")).encode("latin-1") + body)

    async def head(self) -> None:
        """Wait for status and headers. Raises `Lost`."""
        while not self._begun:
            await self._wait()

    async def part(self) -> bytes | None:
        """What has come of the body since the last call; None at its proper end. Raises `Lost` when the
        connection ends before that."""
        while not self._parts:
            if self._whole:
                return None
            await self._wait()
        return self._take()

    def close(self) -> None:
        """For good, by us. The child sees it at once."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    # -- what the connection tells -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except self._refused as error:
            self._lost = error
            if self._transport is not None:
                self._transport.abort()
        self._tell()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._whole and self._lost is None:
            self._lost = exc if exc is not None else EOFError("the connection was closed")
        self._tell()

    # -- what the parser tells -----------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._begun = True

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)
        self._buffered += len(body)
        if body != PING:
            self.moved_s = self._loop.time()
        if self._buffered > BUFFERED_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        self._whole = True

    # -- inside --------------------------------------------------------------------------------------

    def _take(self) -> bytes:
        taken = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._buffered = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return taken

    async def _wait(self) -> None:
        if self._lost is not None:
            raise Lost(str(self._lost)) from self._lost
        self._news = self._loop.create_future()
        try:
            await self._news
        finally:
            self._news = None

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)


async def open_talk(address: Address) -> Talk:
    """Connect. Raises `Lost`."""
    loop = asyncio.get_running_loop()
    try:
        if address.socket is None:
            _, talk = await loop.create_connection(Talk, "127.0.0.1", address.port or 0)
        else:
            _, talk = await loop.create_unix_connection(Talk, sock=await _connected(address.socket))
    except (OSError, TimeoutError) as error:
        raise Lost(str(error)) from error
    return talk


async def _connected(path: str) -> socket.socket:
    """By hand, because asyncio takes the error of a full queue (EAGAIN) for a connection in the making. The
    child's queue holds five. Raises `OSError`, `TimeoutError`."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        async with asyncio.timeout(QUEUE_TIMEOUT_S):
            while True:
                try:
                    made.connect(path)
                except BlockingIOError:
                    await asyncio.sleep(QUEUE_POLL_S)
                else:
                    return made
    except BaseException:
        made.close()
        raise
