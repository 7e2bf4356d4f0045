# SPDX-License-Identifier: Apache-2.0
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from inglenook.api.errors import render_json
from inglenook.base.errors import TooLarge
from inglenook.door.guard import Authority, Guard, authority, is_loopback, same_host
from inglenook.testing.clock import FakeClock

LIMIT_BYTES = 1000


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the whole body and says how long it is."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1000})
        return
    body = await Request(scope, receive).body()
    await Response(str(len(body)))(scope, receive, send)


def guarded(app: Any) -> Guard:
    return Guard(
        app, allowed_hosts=["Box.Example."], max_body_bytes=LIMIT_BYTES, render=render_json, clock=FakeClock()
    )


@pytest.fixture
def client() -> TestClient:
    return TestClient(guarded(echo), base_url="http://127.0.0.1:8190")


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:8190",
        "127.0.0.1:1",
        "127.8.9.1",
        "[::1]:8190",
        "a.localhost",
        "box.example",
        "localhost.",
    ],
)
def test_names_of_this_machine_and_allowed_names_are_let_in(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil-localhost",
        "10.0.0.5",
        "0.0.0.0",
        "[::]",
        "169.254.169.254",
        "2130706433",
        "[::ffff:10.0.0.1]",
        "sub.box.example",
    ],
)
def test_a_name_that_is_not_ours_is_misdirected(client: TestClient, host: str) -> None:
    answer = client.get("/", headers={"host": host})
    assert answer.status_code == 421
    assert answer.json()["error"]["code"] == "host.not_allowed"


@pytest.mark.parametrize(
    "host", ["", "localhost@evil.example", "localhost/x", "localhost:99999999", "a b", "local\tx"]
)
def test_what_is_no_host_is_a_bad_request(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 400


def test_two_hosts_are_a_bad_request(client: TestClient) -> None:
    answer = client.get("/", headers=[("host", "localhost"), ("host", "evil.example")])
    assert answer.status_code == 400


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://127.0.0.1:9999",
        "http://localhost:8190",
        "file://",
        "http://[",
        "x",
    ],
)
def test_another_sites_page_is_refused(client: TestClient, method: str, origin: str) -> None:
    answer = client.request(method, "/", headers={"origin": origin})
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "origin.not_allowed"


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://127.0.0.1:8190", "127.0.0.1:8190"),
        ("http://localhost:8190", "localhost:8190"),
        ("https://box.example", "box.example"),
        ("https://box.example", "box.example:443"),
        ("http://[::1]:8190", "[::1]:8190"),
        ("HTTPS://BOX.example:443", "box.EXAMPLE"),
    ],
)
def test_our_own_page_is_let_in_also_behind_a_tunnel(client: TestClient, origin: str, host: str) -> None:
    assert client.post("/", headers={"origin": origin, "host": host}).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_sites_page_may_not_change_anything(client: TestClient, site: str) -> None:
    assert client.post("/", headers={"sec-fetch-site": site}).status_code == 403
    assert client.get("/", headers={"sec-fetch-site": site}).status_code == 200
    assert client.post("/", headers={"sec-fetch-site": "same-origin"}).status_code == 200
    assert client.post("/", headers={"sec-fetch-site": "none"}).status_code == 200


def test_every_answer_also_a_refusal_carries_the_headers_and_an_id(client: TestClient) -> None:
    for headers in ({}, {"host": "evil.example"}):
        answer = client.get("/", headers=headers)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-request-id"].startswith("req_")


def test_a_stricter_header_of_a_route_is_left_alone() -> None:
    app = guarded(Response(headers={"content-security-policy": "default-src 'none'"}))
    answer = TestClient(app, base_url="http://localhost").get("/")
    assert answer.headers.get_list("content-security-policy") == ["default-src 'none'"]


def test_a_body_up_to_the_limit_is_read(client: TestClient) -> None:
    assert client.post("/", content=b"x" * LIMIT_BYTES).text == "1000"


def test_an_announced_body_over_the_limit_is_refused_before_it_is_read() -> None:
    async def never(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("the application was called")

    client = TestClient(guarded(never), base_url="http://localhost")
    answer = client.post("/", content=b"x" * (LIMIT_BYTES + 1))
    assert answer.status_code == 413
    assert "1000 B" in answer.json()["error"]["message"]
    assert client.post("/", headers={"content-length": "9" * 5000}).status_code == 413


class Wire:
    """One request by hand: `body` chunk by chunk, and what was asked for and sent."""

    def __init__(self, body: list[bytes], headers: dict[str, str] | None = None) -> None:
        self.left = list(body)
        self.sent: list[Message] = []
        given = {"host": "localhost", **(headers or {})}
        self.scope: Scope = {
            "type": "http",
            "method": "POST",
            "path": "/",
            "raw_path": b"/",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        }

    async def receive(self) -> Message:
        chunk = self.left.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(self.left)}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        [start] = [message for message in self.sent if message["type"] == "http.response.start"]
        return int(start["status"])


def test_a_body_without_a_length_is_cut_off_at_the_limit() -> None:
    wire = Wire([b"x" * 400] * 100)
    asyncio.run(guarded(echo)(wire.scope, wire.receive, wire.send))
    assert wire.status == 413
    assert len(wire.left) == 97


def test_a_false_small_length_does_not_help() -> None:
    wire = Wire([b"x" * 400] * 100, {"content-length": "10"})
    asyncio.run(guarded(echo)(wire.scope, wire.receive, wire.send))
    assert wire.status == 413


def test_an_application_that_swallows_the_error_still_answers_413() -> None:
    async def careless(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            while (await receive()).get("more_body"):
                pass
        except TooLarge:
            await Response("all is well")(scope, receive, send)

    wire = Wire([b"x" * 400] * 100)
    asyncio.run(guarded(careless)(wire.scope, wire.receive, wire.send))
    assert wire.status == 413


def test_a_body_that_goes_on_arriving_is_streamed_not_collected() -> None:
    seen: list[int] = []

    async def stepwise(scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        while more:
            message = await receive()
            seen.append(len(wire.left))
            more = message["more_body"]
        await Response("ok")(scope, receive, send)

    wire = Wire([b"x" * 100] * 5)
    asyncio.run(guarded(stepwise)(wire.scope, wire.receive, wire.send))
    assert seen == [4, 3, 2, 1, 0]


def test_a_compressed_body_is_refused(client: TestClient) -> None:
    answer = client.post("/", content=b"\x1f\x8b", headers={"content-encoding": "gzip"})
    assert answer.status_code == 415
    assert client.post("/", content=b"x", headers={"content-encoding": "identity"}).status_code == 200


def test_a_websocket_from_elsewhere_is_closed(client: TestClient) -> None:
    for headers in ({"host": "evil.example"}, {"origin": "https://evil.example"}):
        with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect("/ws", headers=headers):
            pass
        assert closed.value.code == 1008
    with client.websocket_connect("/ws", headers={"host": "localhost", "origin": "http://localhost"}):
        pass


def test_the_servers_own_life_passes_through() -> None:
    lived: list[str] = []

    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        lived.append("began")
        yield
        lived.append("ended")

    with TestClient(guarded(FastAPI(lifespan=asynccontextmanager(lifespan))), base_url="http://localhost"):
        assert lived == ["began"]
    assert lived == ["began", "ended"]


def test_an_authority_is_taken_apart() -> None:
    assert authority("Box.Example.:80") == Authority("box.example", 80)
    assert authority("[::1]") == Authority("::1", None)
    assert authority("::1") is None
    assert is_loopback("::1")
    assert not is_loopback("localhost.example")
    assert not same_host("http://localhost:99999999", Authority("localhost", 80))
