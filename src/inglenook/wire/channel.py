# SPDX-License-Identifier: Apache-2.0
"""The two ends of a wire: the server listens (asyncio), the worker connects (blocking).

The address is `unix:/path/to/socket` or `tcp:127.0.0.1:port`. The server hands it to the child in
`INGLENOOK_WIRE` with a secret in `INGLENOOK_WIRE_TOKEN`; the worker's first line is a `Hello` that
carries the secret, so that no other local process can pose as the child. When either end goes away
the other reads end-of-file: that is how a worker notices that its server has died.
"""

import asyncio
import contextlib
import os
import secrets
import socket
import threading
from pathlib import Path
from typing import Final

from inglenook.base.errors import Failed
from inglenook.wire.message import MAX_LINE_BYTES, PROTOCOL, Decoder, Hello, Message, WireError, encode

WIRE_ENV: Final = "INGLENOOK_WIRE"
TOKEN_ENV: Final = "INGLENOOK_WIRE_TOKEN"  # noqa: S105 - the variable's name, not a secret
_UNIX_PATH_LIMIT = 100  # sun_path holds 104 bytes on macOS and 108 on Linux, the final zero included


class PeerGone(Failed):
    """The other side has closed the wire."""

    default_code = "wire.closed"


class Channel:
    """The server's end of one connection. Reads from one task; sends may come from several."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, decoder: Decoder) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = decoder

    async def send(self, message: Message) -> None:
        """Raises `PeerGone` when the worker has closed the wire."""
        try:
            self._writer.write(encode(message))
            await self._writer.drain()
        except (ConnectionError, RuntimeError) as error:
            raise PeerGone("The worker has closed its end of the wire.") from error

    async def receive(self) -> Message:
        """The next message. Raises `PeerGone` at end-of-file, `WireError` for what is no message."""
        try:
            line = await self._reader.readline()
        except ValueError as error:  # asyncio's word for a line over the limit
            raise WireError(f"The worker sent a line of over {MAX_LINE_BYTES} bytes.") from error
        except ConnectionError as error:
            raise PeerGone("The worker has closed its end of the wire.") from error
        if not line.endswith(b"\n"):  # also when it died in mid-line
            raise PeerGone("The worker has closed its end of the wire.")
        return self._decoder.decode(line)

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):  # it was already gone, which is what was wanted
            await self._writer.wait_closed()


class Listener:
    """The server's side before the worker has connected. One listener, one worker.

    Args:
        folder: where the socket is made; readable by this user alone. When its path is too long for a
            socket, or the system has none, loopback TCP is used instead.
        union: the messages that the worker may send; `Hello` among them.
    """

    def __init__(self, folder: Path, union: object) -> None:
        self._folder = folder
        self._decoder = Decoder(union)
        self._server: asyncio.Server | None = None
        self._connected: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()
        self.token = secrets.token_urlsafe(32)
        self.address = ""

    async def open(self) -> None:
        path = self._folder / "wire.sock"
        if hasattr(socket, "AF_UNIX") and len(os.fsencode(path)) <= _UNIX_PATH_LIMIT:
            self._server = await asyncio.start_unix_server(self._accept, path, limit=MAX_LINE_BYTES)
            path.chmod(0o600)
            self.address = f"unix:{path}"
        else:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=MAX_LINE_BYTES)
            self.address = f"tcp:127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def environment(self) -> dict[str, str]:
        """What the child must find in its environment."""
        return {WIRE_ENV: self.address, TOKEN_ENV: self.token}

    async def accept(self) -> Channel:
        """Wait for the worker. Raises `WireError` when it speaks another protocol.

        Waits as long as the caller does: put it under a timeout, and beside the child's exit.
        """
        return await asyncio.shield(self._connected)

    async def close(self) -> None:
        """Stop listening. An accepted channel stays open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if not self._connected.done():
            self._connected.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        channel = Channel(reader, writer, self._decoder)
        try:
            hello = await channel.receive()
        except (WireError, PeerGone):
            await channel.close()
            return
        if (
            not isinstance(hello, Hello)
            or not secrets.compare_digest(hello.token.encode(), self.token.encode())
            or self._connected.done()
        ):
            await channel.close()
            return
        if hello.protocol != PROTOCOL:
            self._connected.set_exception(
                WireError(
                    f"The worker speaks protocol {hello.protocol}, the server {PROTOCOL}.",
                    hint="both must come from the same installation of inglenook",
                )
            )
            await channel.close()
            return
        self._connected.set_result(channel)


class WorkerChannel:
    """The worker's end: blocking, one reader thread, sends guarded by a lock.

    Args:
        address, token: what the server put into the environment.
        worker: the worker's name, for `Hello`.
        union: the messages that the server may send.
    """

    def __init__(self, address: str, token: str, worker: str, union: object) -> None:
        kind, _, rest = address.partition(":")
        if kind == "unix":
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.connect(rest)
        elif kind == "tcp":
            host, _, port = rest.rpartition(":")
            self._socket = socket.create_connection((host, int(port)))
        else:
            raise WireError(
                f"{address!r} is not an address of a wire: it begins with neither unix: nor tcp:."
            )
        self._lines = self._socket.makefile("rb")
        self._lock = threading.Lock()
        self._decoder = Decoder(union)
        self.send(Hello(protocol=PROTOCOL, worker=worker, pid=os.getpid(), token=token))

    @classmethod
    def from_environment(cls, worker: str, union: object) -> "WorkerChannel":
        """Connect as the environment says. The token is removed from it: no grandchild inherits it."""
        try:
            return cls(os.environ[WIRE_ENV], os.environ.pop(TOKEN_ENV), worker, union)
        except KeyError as error:
            raise WireError(
                f"{error.args[0]} is not set: this program is started by the inglenook server, not by hand.",
                hint="run `inglenook serve`",
            ) from error

    def send(self, message: Message) -> None:
        """Raises `PeerGone` when the server has gone."""
        try:
            with self._lock:
                self._socket.sendall(encode(message))
        except OSError as error:
            raise PeerGone("The server has closed its end of the wire.") from error

    def receive(self) -> Message:
        """The next message; blocks. Raises `PeerGone` at end-of-file, `WireError` for what is no message."""
        try:
            line = self._lines.readline(MAX_LINE_BYTES + 1)
        except OSError as error:
            raise PeerGone("The server has closed its end of the wire.") from error
        if len(line) > MAX_LINE_BYTES:
            raise WireError(f"The server sent a line of over {MAX_LINE_BYTES} bytes.")
        if not line.endswith(b"\n"):  # also when it died in mid-line
            raise PeerGone("The server has closed its end of the wire.")
        return self._decoder.decode(line)

    def close(self) -> None:
        self._socket.close()
