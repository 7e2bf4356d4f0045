# SPDX-License-Identifier: Apache-2.0
"""The one way out, against real servers on this machine and a real ledger."""

import asyncio
import gzip
import sys
import zlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from inglenook.base.errors import InglenookError
from inglenook.outgoing.errors import BadAddress, NotAllowed, NotFetched, TooMuch
from inglenook.outgoing.model import Bounds, Fetched, Rules
from inglenook.outgoing.records import OutgoingRecords
from inglenook.outgoing.service import OutgoingService
from inglenook.store.database import Database
from inglenook.testing.clock import FakeClock

HERE = "127.0.0.1"
BOUNDS = Bounds(max_bytes=1000, media_types=("image/",), total_s=10)


class Site:
    """A server that answers each path as it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.heads: list[bytes] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            writer.write(self.answers.get(head.split()[1].decode(), b"HTTP/1.1 404 Not Found\r\n\r\n"))
            await writer.drain()
            if b"/silent" in head:
                await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the other side has had enough
        finally:
            writer.close()


def page(body: bytes, *, kind: str = "image/png", more: str = "", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n{more}\r\n"
    return head.encode() + body


def redirect(place: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Moved\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode()


class Bench:
    """A site, a ledger, and ways to fetch from the one into the other."""

    def __init__(self, database: Database) -> None:
        self.records = OutgoingRecords(database=database, clock=FakeClock())
        self.site = Site()

    def fetch(
        self,
        path: str,
        *,
        bounds: Bounds = BOUNDS,
        names: dict[str, list[Sequence[str]]] | None = None,
        **rules: Any,
    ) -> Fetched:
        """Fetch `path` of the site, or a whole address in which `{port}` is the site's.

        `names` says, for each host, what it resolves to, one list for each time that it is asked.
        """

        async def main() -> Fetched:
            server = await asyncio.start_server(self.site.serve, HERE, 0)
            async with server:
                self.site.port = server.sockets[0].getsockname()[1]
                text = path if ":" in path else f"http://{HERE}:{{port}}{path}"
                given = {"private_hosts": (HERE,), "ports": (self.site.port, 80)} | rules
                service = OutgoingService(records=self.records, rules=Rules(**given), **_look_up(names))
                self.site.answers = {
                    key: value.replace(b"{port}", str(self.site.port).encode())
                    for key, value in self.site.answers.items()
                }
                url = text.replace("{port}", str(self.site.port))
                return await service.fetch(url, purpose="a test", bounds=bounds)

        return asyncio.run(asyncio.wait_for(main(), 60))

    def ledger(self) -> list[tuple[str, int | None, int, bool]]:
        """host, status, bytes, whether something went wrong; the oldest first."""
        entries = reversed(self.records.listing(limit=100))
        return [(one.host, one.status, one.received_bytes, one.problem is not None) for one in entries]


def _look_up(names: dict[str, list[Sequence[str]]] | None) -> dict[str, Callable[..., Awaitable[Any]]]:
    if names is None:
        return {}

    async def resolve(host: str, port: int) -> Sequence[str]:
        return names[host].pop(0)

    return {"look_up": resolve}


@pytest.fixture
def bench(sqlite: Database) -> Bench:
    return Bench(sqlite)


def test_a_picture_is_fetched_and_written_down(bench: Bench) -> None:
    bench.site.answers["/a.png?key=secret"] = page(b"pixels", kind="image/PNG; charset=x")
    assert bench.fetch("/a.png?key=secret") == Fetched(b"pixels", "image/png")
    [entry] = bench.records.listing(limit=10)
    assert (entry.host, entry.port, entry.address) == (HERE, bench.site.port, HERE)
    assert (entry.purpose, entry.status, entry.received_bytes) == ("a test", 200, 6)
    assert entry.problem is None
    assert "secret" not in repr(entry)


def test_nothing_about_the_caller_is_sent(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    bench.site.answers["/a.png"] = page(b"pixels")
    bench.fetch("/a.png")
    [head] = bench.site.heads
    names = {line.split(b":")[0].lower() for line in head.split(b"\r\n")[1:] if line}
    assert names == {b"accept", b"accept-encoding", b"connection", b"host", b"user-agent"}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_and_written_down(bench: Bench, status: int) -> None:
    bench.site.answers |= {"/a": redirect("/b.png", status), "/b.png": page(b"pixels")}
    assert bench.fetch("/a").data == b"pixels"
    assert bench.ledger() == [(HERE, status, 0, False), (HERE, 200, 6, False)]


def test_the_connection_goes_to_the_address_that_was_checked(bench: Bench) -> None:
    """The name means another machine when it is asked a second time, which never happens."""
    bench.site.answers["/a.png"] = page(b"pixels")
    names: dict[str, list[Sequence[str]]] = {"photos.example": [[HERE]]}
    url = "http://photos.example:{port}/a.png"
    assert bench.fetch(url, names=names, private_hosts=("photos.example",)).data == b"pixels"
    [head] = bench.site.heads
    assert f"host: photos.example:{bench.site.port}".encode() in head.lower()


def test_the_next_address_is_tried_when_one_does_not_answer(bench: Bench) -> None:
    bench.site.answers["/a.png"] = page(b"pixels")
    names: dict[str, list[Sequence[str]]] = {"photos.example": [["127.0.0.2", HERE]]}
    url = "http://photos.example:{port}/a.png"
    assert bench.fetch(url, names=names, private_hosts=("photos.example",)).data == b"pixels"
    assert bench.ledger() == [("photos.example", None, 0, True), ("photos.example", 200, 6, False)]


@pytest.mark.parametrize(
    "addresses",
    [
        [HERE],
        ["10.0.0.1"],
        ["93.184.215.14", "127.0.0.1"],
        ["::ffff:127.0.0.1"],
        ["169.254.169.254"],
        ["fe80::1"],
    ],
)
def test_a_name_that_stands_for_a_private_address_is_not_asked(bench: Bench, addresses: list[str]) -> None:
    with pytest.raises(NotAllowed) as caught:
        bench.fetch("http://rebound.example/a.png", names={"rebound.example": [addresses]}, private_hosts=())
    assert caught.value.code == "outgoing.private"
    assert bench.ledger() == []
    assert bench.site.heads == []


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "017700000001", "0.0.0.0",
     "169.254.169.254", "[::1]", "[::]", "[::ffff:127.0.0.1]"],
)  # fmt: skip
def test_this_machine_is_not_asked_however_it_is_written(bench: Bench, host: str) -> None:
    with pytest.raises((NotAllowed, NotFetched, BadAddress)):
        bench.fetch(f"http://{host}:{{port}}/a.png", private_hosts=())
    assert bench.site.heads == []


def test_a_redirect_to_a_private_address_is_not_followed(bench: Bench) -> None:
    bench.site.answers["/a"] = redirect("http://localhost:{port}/secret")
    with pytest.raises(NotAllowed, match="this machine itself"):
        bench.fetch("/a")
    assert len(bench.site.heads) == 1


def test_a_redirect_out_of_http_is_not_followed(bench: Bench) -> None:
    bench.site.answers["/a"] = redirect("file:///etc/passwd")
    with pytest.raises(BadAddress):
        bench.fetch("/a")


def test_a_circle_of_redirects_ends(bench: Bench) -> None:
    bench.site.answers["/a"] = redirect("/a")
    with pytest.raises(NotFetched, match="more than 5 times"):
        bench.fetch("/a")
    assert len(bench.ledger()) == 6


def test_other_ports_are_not_connected_to(bench: Bench) -> None:
    with pytest.raises(NotAllowed) as caught:
        bench.fetch("/a.png", ports=(80, 443))
    assert caught.value.code == "outgoing.port"
    assert bench.site.heads == []


def test_only_the_allowed_hosts_are_asked(bench: Bench) -> None:
    bench.site.answers["/a.png"] = page(b"pixels")
    with pytest.raises(NotAllowed, match="not among the hosts"):
        bench.fetch("/a.png", allow=("example.org",))
    assert bench.fetch("/a.png", allow=("example.org", HERE)).data == b"pixels"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (page(b"x" * 1001), TooMuch),
        (page(b"x" * 2000, length=0).replace(b"Content-Length: 0\r\n", b""), TooMuch),
        (page(gzip.compress(b"x" * 10_000_000), more="Content-Encoding: gzip\r\n"), TooMuch),
        (page(gzip.compress(bytes(5000)), more="Content-Encoding: gzip\r\n"), TooMuch),
        (page(gzip.compress(b"x" * 500)[:-9], more="Content-Encoding: gzip\r\n"), NotFetched),
        (page(b"no gzip", more="Content-Encoding: gzip\r\n"), NotFetched),
        (page(zlib.compress(b"x"), more="Content-Encoding: br\r\n"), NotFetched),
        (page(b"<html>", kind="text/html"), NotFetched),
        (page(b"cut", length=100), NotFetched),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", NotFetched),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", NotFetched),
        (b"HTTP/1.1 302 Nowhere\r\nContent-Length: 0\r\n\r\n", NotFetched),
        (b"nonsense\r\n\r\n", NotFetched),
        (b"", NotFetched),
    ],
)
def test_what_is_not_as_wanted_is_refused_and_written_down(
    bench: Bench, answer: bytes, error: type[InglenookError]
) -> None:
    bench.site.answers["/a.png"] = answer
    with pytest.raises(error):
        bench.fetch("/a.png")
    [(_, _, received, went_wrong)] = bench.ledger()
    assert went_wrong
    assert received < 70_000


def test_what_comes_packed_within_bounds_is_unpacked(bench: Bench) -> None:
    bench.site.answers["/a.png"] = page(gzip.compress(b"x" * 900), more="Content-Encoding: gzip\r\n")
    assert bench.fetch("/a.png").data == b"x" * 900


def test_who_never_answers_is_given_up(bench: Bench) -> None:
    bench.site.answers["/silent"] = b""
    with pytest.raises(NotFetched) as caught:
        bench.fetch("/silent", bounds=Bounds(max_bytes=10, total_s=2.0))
    assert caught.value.code == "outgoing.timeout"
    assert bench.ledger() == [(HERE, None, 0, True)]


def test_nobody_there_is_said(bench: Bench) -> None:
    with pytest.raises(NotFetched, match="cannot be reached"):
        bench.fetch(f"http://{HERE}:9/a.png", ports=(9,))
    with pytest.raises(NotFetched) as caught:
        # A name server that is away is asked again after seconds.
        bench.fetch("http://no-such-name.invalid/a.png", bounds=Bounds(max_bytes=10, total_s=50))
    assert caught.value.code == "outgoing.name"


_CALLS: list[str] = []
_watching = False


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        _CALLS.append(f"{event} {arguments[1] if event == 'socket.connect' else arguments[0]}")


@contextmanager
def watched() -> Iterator[list[str]]:
    """Every look-up of a name and every connection that Python makes meanwhile."""
    global _watching
    if not _CALLS:
        sys.addaudithook(_hook)
        _CALLS.append("installed")
    del _CALLS[1:]
    _watching = True
    try:
        yield _CALLS
    finally:
        _watching = False


def test_offline_opens_no_connection_and_asks_for_no_name(bench: Bench) -> None:
    bench.site.answers["/a.png"] = page(b"pixels")
    with watched() as calls:
        bench.fetch("/a.png")
        assert [call for call in calls if "socket.connect" in call], "the watch is blind"
    bench.site.heads.clear()
    with watched() as calls:
        for url in ("/a.png", "http://example.org/a.png"):
            with pytest.raises(NotAllowed) as caught:
                bench.fetch(url, offline=True)
            assert caught.value.code == "outgoing.offline"
        others = [
            call for call in calls[1:] if "getaddrinfo 127.0.0.1" not in call
        ]  # the site's own listening
        assert others == []
    assert bench.site.heads == []


def test_the_ledger_forgets_what_is_old(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inglenook.outgoing.records.KEPT", 3)
    for number in range(5):
        bench.records.begin(host=f"{number}.example", port=80, address=HERE, purpose="a test")
    assert [entry.host for entry in bench.records.listing(limit=10)] == [
        "4.example",
        "3.example",
        "2.example",
    ]
