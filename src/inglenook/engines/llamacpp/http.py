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


class Talk:
    """One request and its answer over a socket. Made by `open_talk`; `close` may come at any time, ends both,
    and must come at last.

    On the loop's own readers: with a transport of asyncio's the first byte goes three of its rounds later.

    Attributes:
        status: of the answer, once `head` has returned. headers: with lower-case names.
        closed: by us.
        moved_s: the loop's time at which the last byte came that says that the model works.
    """

    def __init__(self, connected: socket.socket) -> None:
        import httptools  # not on every system, and never needed without a language model

        self._loop = asyncio.get_running_loop()
        self._parser: Any = httptools.HttpResponseParser(self)
        self._refused: type[Exception] = httptools.HttpParserError
        self._socket = connected
        self._unsent = memoryview(b"")
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
        self._loop.add_reader(connected, self._readable)

    # -- what callers do -----------------------------------------------------------------------------

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> None:
        lines = [f"{method} {path} HTTP/1.1", "host: llama.cpp", "connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body or method != "GET":
            lines.append(f"content-length: {len(body)}")
        self._unsent = memoryview("\r\n".join((*lines, "\r\n")).encode("latin-1") + body)
        self._writable()
        if self._unsent:
            self._loop.add_writer(self._socket, self._writable)

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
        self._end(EOFError("the connection was closed"))

    # -- what the connection tells -------------------------------------------------------------------

    def _writable(self) -> None:
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError:  # it takes no more: why not, its answer says, or the end of the connection
            self._unsent = memoryview(b"")
        if not self._unsent:
            self._loop.remove_writer(self._socket)

    def _readable(self) -> None:
        try:
            data = self._socket.recv(BUFFERED_BYTES)
            if data:
                self._parser.feed_data(data)
        except BlockingIOError:
            return
        except (OSError, self._refused) as error:
            self._end(error)
        else:
            if data:
                self._tell()
            else:
                self._end(EOFError("the connection was closed"))

    def _end(self, reason: BaseException) -> None:
        """Idempotent."""
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        if not self._whole and self._lost is None:
            self._lost = reason
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
        if self._buffered > BUFFERED_BYTES and not self._paused:
            self._paused = True
            self._loop.remove_reader(self._socket)

    def on_message_complete(self) -> None:
        self._whole = True

    # -- inside --------------------------------------------------------------------------------------

    def _take(self) -> bytes:
        taken = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._buffered = 0
        if self._paused:
            self._paused = False
            if self._socket.fileno() >= 0:
                self._loop.add_reader(self._socket, self._readable)
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
    try:
        if address.socket is None:
            return Talk(await _connected_to_port(address.port or 0))
        return Talk(await _connected(address.socket))
    except (OSError, TimeoutError) as error:
        raise Lost(str(error)) from error


async def _connected_to_port(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", port))
    except BaseException:
        made.close()
        raise
    return made


async def _connected(path: str) -> socket.socket:
    """By hand, because asyncio takes the error of a full queue (EAGAIN) for a connection in the making. The
    child's queue holds five. Raises `OSError`, `TimeoutError`."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        if not _connects(made, path):
            async with asyncio.timeout(QUEUE_TIMEOUT_S):
                while not _connects(made, path):  # noqa: ASYNC110 - nothing tells us that there is room again
                    await asyncio.sleep(QUEUE_POLL_S)
    except BaseException:
        made.close()
        raise
    return made


def _connects(made: socket.socket, path: str) -> bool:
    """Whether there was room in the queue."""
    try:
        made.connect(path)
    except BlockingIOError:
        return False
    return True
