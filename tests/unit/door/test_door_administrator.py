# SPDX-License-Identifier: Apache-2.0
import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import PlainTextResponse, Response
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from inglenook.api.errors import render_json
from inglenook.base.errors import Busy, Invalid
from inglenook.door.administrator import (
    ATTEMPTS,
    ATTEMPTS_WITHIN_S,
    COOKIE,
    LIFETIME_S,
    MAX_SESSIONS,
    Administration,
    NotLoggedIn,
    administrator,
)
from inglenook.door.caller import MachineOwner, caller
from inglenook.door.frame import frame
from inglenook.door.tokens import Tokens
from inglenook.testing.clock import FakeClock

PASSWORD = "a long enough word"
SECRET = b"s" * 32
NOW_S = 1_800_000_000.0


def part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).rstrip(b"=").decode()


def signed(header: dict[str, Any], claims: dict[str, Any], key: bytes) -> str:
    text = f"{part(header)}.{part(claims)}"
    signature = hmac.digest(key, text.encode(), hashlib.sha256)
    return f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(secret=SECRET, password=PASSWORD)


def test_a_token_is_valid_until_it_expires(tokens: Tokens) -> None:
    token = tokens.issue(now_s=NOW_S, lifetime_s=60)
    assert tokens.is_valid(token, now_s=NOW_S)
    assert tokens.is_valid(token, now_s=NOW_S + 59)
    assert not tokens.is_valid(token, now_s=NOW_S + 60)


def test_a_token_of_another_secret_or_of_an_older_password_is_refused(tokens: Tokens) -> None:
    for other in (Tokens(secret=b"t" * 32, password=PASSWORD), Tokens(secret=SECRET, password="changed now")):
        assert not tokens.is_valid(other.issue(now_s=NOW_S, lifetime_s=60), now_s=NOW_S)


CLAIMS = {"type": "admin", "exp": int(NOW_S) + 600}


@pytest.mark.parametrize(
    "token",
    [
        "",
        "..",
        "a.b",
        "a.b.c.d",
        "é.é.é",
        f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(CLAIMS)}.",
        signed({"alg": "none", "typ": "JWT"}, CLAIMS, b""),
        signed({"alg": "HS256", "typ": "JWT"}, CLAIMS, b"cyber-inference-secret-change-me"),
        signed({"alg": "HS256", "typ": "JWT"}, {"type": "admin"}, SECRET),
    ],
)
def test_a_forged_token_is_refused(tokens: Tokens, token: str) -> None:
    assert not tokens.is_valid(token, now_s=NOW_S)


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        ({"alg": "none", "typ": "JWT"}, CLAIMS),
        ({"alg": "HS256", "typ": "JWT", "kid": "../key"}, CLAIMS),
        ({"alg": "HS256", "typ": "JWT"}, {"type": "admin"}),  # never ends
        ({"alg": "HS256", "typ": "JWT"}, {"type": "admin", "exp": None}),
        ({"alg": "HS256", "typ": "JWT"}, {"type": "admin", "exp": True}),
        ({"alg": "HS256", "typ": "JWT"}, {"type": "user", "exp": int(NOW_S) + 600}),
    ],
)
def test_even_a_rightly_signed_token_must_be_one_of_ours(
    tokens: Tokens, header: dict[str, Any], claims: dict[str, Any]
) -> None:
    key = tokens._key
    assert tokens.is_valid(signed({"alg": "HS256", "typ": "JWT"}, CLAIMS, key), now_s=NOW_S)
    assert not tokens.is_valid(signed(header, claims, key), now_s=NOW_S)


@given(st.integers(0, 10_000), st.sampled_from("ABCXYZabcxyz019-_."))
def test_a_token_with_one_letter_changed_is_refused(place: int, letter: str) -> None:
    tokens = Tokens(secret=SECRET, password=PASSWORD)
    token = tokens.issue(now_s=NOW_S, lifetime_s=60)
    index = place % len(token)
    changed = token[:index] + letter + token[index + 1 :]
    assert tokens.is_valid(changed, now_s=NOW_S) == (changed == token)


def test_without_a_password_there_is_nothing_to_log_in_to(clock: FakeClock) -> None:
    with pytest.raises(Invalid) as caught:
        Administration(password=None, secret=SECRET, clock=clock).log_in("anything")
    assert caught.value.code == "admin.no_password"


def test_after_a_few_wrong_passwords_also_the_right_one_has_to_wait(clock: FakeClock) -> None:
    door = Administration(password=PASSWORD, secret=SECRET, clock=clock)
    for _ in range(ATTEMPTS):
        with pytest.raises(NotLoggedIn):
            door.log_in("wrong")
    with pytest.raises(Busy) as caught:
        door.log_in(PASSWORD)
    assert caught.value.retry_after_s == ATTEMPTS_WITHIN_S
    clock.advance(ATTEMPTS_WITHIN_S)
    assert door.knows_token(door.log_in(PASSWORD))


def test_a_session_ends_by_itself_and_by_logging_out(clock: FakeClock) -> None:
    door = Administration(password=PASSWORD, secret=SECRET, clock=clock)
    first, second = door.open_session(), door.open_session()
    door.close_session(first)
    assert not door.knows_session(first)
    assert door.knows_session(second)
    clock.advance(LIFETIME_S)
    assert not door.knows_session(second)
    assert not door.knows_session("")


def test_the_oldest_session_makes_room(clock: FakeClock) -> None:
    door = Administration(password=PASSWORD, secret=SECRET, clock=clock)
    first = door.open_session()
    others = [door.open_session() for _ in range(MAX_SESSIONS)]
    assert not door.knows_session(first)
    assert all(door.knows_session(one) for one in others)


@pytest.fixture
def door(clock: FakeClock) -> Administration:
    return Administration(password=PASSWORD, secret=SECRET, clock=clock)


@pytest.fixture
def client(door: Administration, clock: FakeClock) -> Iterator[TestClient]:
    router = APIRouter(dependencies=[Depends(caller), Depends(administrator)])

    @router.get("/closed")
    def closed() -> Response:
        return PlainTextResponse("in")

    @router.websocket("/socket")
    async def socket(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("in")
        await socket.close()

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(router)
    app.state.administration = door
    frame(
        app,
        identity=MachineOwner(),
        renderers={"": render_json},
        allowed_hosts=[],
        max_body_bytes=1000,
        clock=clock,
    )
    with TestClient(app, base_url="http://127.0.0.1:8190", raise_server_exceptions=False) as client:
        yield client


def test_a_closed_route_says_how_to_get_in(client: TestClient) -> None:
    answer = client.get("/closed")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["type"] == "authentication_error"
    assert client.get("/closed", headers={"authorization": "Basic YTpi"}).status_code == 401


def test_a_token_or_a_session_opens_it(client: TestClient, door: Administration) -> None:
    bearer = {"authorization": f"bearer {door.log_in(PASSWORD)}"}
    assert client.get("/closed", headers=bearer).text == "in"
    client.cookies.set(COOKIE, door.open_session())
    assert client.get("/closed").text == "in"
    wrong = client.get("/closed", headers={"authorization": "Bearer x.y.z"})
    assert (wrong.status_code, wrong.json()["error"]["message"][:25]) == (401, "Invalid or expired token.")


HERE = {"host": "127.0.0.1:8190"}


def test_a_socket_is_refused_before_it_is_accepted(client: TestClient, door: Administration) -> None:
    token = {"authorization": f"Bearer {door.log_in(PASSWORD)}"}
    refused = (
        {},
        {"authorization": "Bearer x.y.z"},
        token | {"origin": "https://evil.example"},
        token | {"host": "evil.example"},
    )
    for headers in refused:
        with (
            pytest.raises(WebSocketDisconnect) as caught,
            client.websocket_connect("/socket", headers=HERE | headers),
        ):
            pass
        assert caught.value.code == 1008
    with client.websocket_connect("/socket", headers=HERE | token) as socket:
        assert socket.receive_text() == "in"
    with client.websocket_connect(
        "/socket", headers=HERE | token | {"origin": "http://127.0.0.1:8190"}
    ) as socket:
        assert socket.receive_text() == "in"
