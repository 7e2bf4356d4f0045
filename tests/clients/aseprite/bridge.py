# SPDX-License-Identifier: Apache-2.0
"""Real sockets for the harness: what the extension's `WebSocket` does is done with a WebSocket library, and
what comes is handed to it, one message after the other, as Aseprite does it from its own loop.

Aseprite's library (IXWebSocket) sends an `Origin` with the scheme `ws`, connects again by itself after a
break, and tells a failed attempt as ERROR; so does this.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect

from tests.clients.aseprite.host import Aseprite

RECONNECT_S = 0.2


@dataclass(frozen=True)
class Heard:
    socket: int
    what: str
    data: bytes = b""


class _Socket:
    """One `WebSocket` of the extension's, with a thread that reads."""

    def __init__(self, number: int, url: str, heard: "queue.Queue[Heard]") -> None:
        self._number = number
        self._url = url
        self._heard = heard
        self._left = threading.Event()
        self._connection: ClientConnection | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        parts = urlsplit(self._url)
        while not self._left.is_set():
            try:
                with connect(
                    self._url,
                    origin=f"{parts.scheme}://{parts.netloc}",
                    max_size=None,
                    compression=None,
                    proxy=None,
                ) as connection:  # type: ignore[arg-type]
                    self._connection = connection
                    self._tell("open")
                    self._read(connection)
            except (OSError, InvalidHandshake):
                self._tell("error")
            self._left.wait(RECONNECT_S)

    def _read(self, connection: ClientConnection) -> None:
        try:
            for message in connection:
                if isinstance(message, str):
                    self._tell("text", message.encode())
                else:
                    self._tell("binary", message)
        except ConnectionClosed:
            pass
        self._tell("close")

    def _tell(self, what: str, data: bytes = b"") -> None:
        self._heard.put(Heard(self._number, what, data))

    def do(self, what: str, data: bytes) -> None:
        assert self._connection is not None
        try:
            if what == "text":
                self._connection.send(data.decode())
            elif what == "binary":
                self._connection.send(data)
            elif what == "ping":
                self._connection.ping(data)
        except ConnectionClosed:
            pass  # its reader tells of it

    def leave(self) -> None:
        self._left.set()
        if self._connection is not None:
            self._connection.close()
        self._thread.join(10)


class Bridge:
    """Carries out what the extension's sockets do. Use `bridged`.

    Attributes:
        pixels: every binary message that came.
    """

    def __init__(self, aseprite: Aseprite) -> None:
        self.aseprite = aseprite
        self.pixels: list[bytes] = []
        self._sockets: dict[int, _Socket] = {}
        self._heard: queue.Queue[Heard] = queue.Queue()

    def act(self) -> None:
        """Do what the extension asked for since the last time."""
        for action in self.aseprite.taken():
            if action.what == "connect":
                self._sockets[action.socket] = _Socket(action.socket, action.data.decode(), self._heard)
            elif action.what == "close":
                found = self._sockets.pop(action.socket, None)
                if found is not None:
                    found.leave()
            else:
                self._sockets[action.socket].do(action.what, action.data)

    def until(self, reached: Callable[[], bool], *, what: str, timeout_s: float = 60.0) -> None:
        """Hand on what comes until `reached`; fails when nothing comes that makes it so.

        Args:
            what: is waited for, in words.
        """
        deadline = time.monotonic() + timeout_s
        self.act()
        while not reached():
            left = deadline - time.monotonic()
            assert left > 0, f"{what}: not in {timeout_s} s; the dialog says {self.aseprite.status()!r}"
            try:
                heard = self._heard.get(timeout=min(left, 1.0))
            except queue.Empty:
                continue
            if heard.what == "binary":
                self.pixels.append(heard.data)
            if heard.socket in self._sockets:
                self.aseprite.hear(heard.what, heard.data, heard.socket)
            self.act()

    def until_status(self, words: str, *, dialog: int = 1, timeout_s: float = 60.0) -> None:
        self.until(
            lambda: words in self.aseprite.status(dialog),
            what=f"a status with {words!r}",
            timeout_s=timeout_s,
        )

    def close(self) -> None:
        for socket in self._sockets.values():
            socket.leave()


@contextmanager
def bridged(aseprite: Aseprite) -> Iterator[Bridge]:
    bridge = Bridge(aseprite)
    try:
        yield bridge
    finally:
        bridge.close()
