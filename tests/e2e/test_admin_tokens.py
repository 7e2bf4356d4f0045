# SPDX-License-Identifier: Apache-2.0
"""Tokens that were not issued, or not for now, against a real server with a password: nothing opens."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from inglenook.door.tokens import Tokens
from inglenook.store.secret import kept_secret
from inglenook.testing.server import RunningServer
from tests.e2e.conftest import ENVIRON

pytestmark = pytest.mark.slow

PASSWORD = "a long enough word"
KINDS = (
    "none", "no-signature", "other-secret", "default-secret", "other-password", "expired", "without-an-end",
    "user", "password", "nothing", "noise", "two-tokens",
)  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    environ = ENVIRON | {"INGLENOOK_SERVER__ADMIN_PASSWORD": PASSWORD}
    with RunningServer.start(tmp_path_factory.mktemp("data"), environ=environ, timeout_s=180) as running:
        yield running
        assert PASSWORD not in running.output


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.base_url, timeout=60, trust_env=False) as client:
        yield client


def part(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def signed(key: bytes, claims: dict[str, Any], *, algorithm: str = "HS256") -> str:
    header = {"alg": algorithm, "typ": "JWT"}
    text = ".".join(part(json.dumps(one, separators=(",", ":")).encode()) for one in (header, claims))
    signature = "" if algorithm == "none" else part(hmac.digest(key, text.encode(), hashlib.sha256))
    return f"{text}.{signature}"


def forged(kind: str, data: Path, real: str) -> str:
    """As somebody would who knows how tokens are made, some of them even the secret."""
    now_s = time.time()
    claims = {"type": "admin", "iat": int(now_s), "exp": int(now_s) + 3600, "jti": "x"}
    secret = kept_secret(data / "admin.key")
    key = hmac.digest(secret, b"administrator\0" + PASSWORD.encode(), hashlib.sha256)
    return {
        "none": signed(key, claims, algorithm="none"),
        "no-signature": real.rpartition(".")[0] + ".",
        "other-secret": Tokens(secret=b"x" * 32, password=PASSWORD).issue(now_s=now_s, lifetime_s=3600),
        "default-secret": signed(b"change-me-in-production", claims),
        "other-password": Tokens(secret=secret, password="not this one").issue(now_s=now_s, lifetime_s=3600),
        "expired": Tokens(secret=secret, password=PASSWORD).issue(now_s=now_s - 7200, lifetime_s=3600),
        "without-an-end": signed(key, {name: claims[name] for name in ("type", "iat", "jti")}),
        "user": signed(key, claims | {"type": "user"}),
        "password": PASSWORD,
        "nothing": "",
        "noise": "~.~.~",
        "two-tokens": f"{real} {real}",
    }[kind]


@pytest.fixture(scope="module")
def real(http: httpx.Client) -> str:
    token: str = http.post("/admin/login", json={"password": PASSWORD}).json()["access_token"]
    return token


def headers(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}".strip()}


def test_the_real_token_opens(server: RunningServer, http: httpx.Client, real: str) -> None:
    assert http.get("/admin/config", headers=headers(real)).status_code == 200
    assert signed_with_our_own_hands_opens(server, http), "the others fail for the reason that is named"
    with connect(address(server, "/ws/status"), additional_headers=headers(real)) as socket:
        assert json.loads(socket.recv())["type"] == "status_update"


def signed_with_our_own_hands_opens(server: RunningServer, http: httpx.Client) -> bool:
    secret = kept_secret(server.data / "admin.key")
    token = Tokens(secret=secret, password=PASSWORD).issue(now_s=time.time(), lifetime_s=60)
    return http.get("/admin/config", headers=headers(token)).status_code == 200


def address(server: RunningServer, path: str) -> str:
    return server.base_url.replace("http://", "ws://") + path


ASKED = (
    ("GET", "/admin/config"), ("GET", "/admin/sessions"), ("PUT", "/admin/config/model_idle_timeout"),
    ("POST", "/admin/models/x/load"), ("DELETE", "/admin/models/x"), ("POST", "/admin/shutdown"),
    ("GET", "/v1/runtime/log"), ("DELETE", "/api/delete"), ("POST", "/v1/runtime/residents/x/unload"),
    ("POST", "/v1/models/starter-339/convert"), ("POST", "/v1/models/starter-339/load"),
    ("POST", "/v1/models/starter-339/unload"), ("POST", "/v1/models/starter-339/pin"),
    ("PATCH", "/v1/models/starter-339/options"), ("DELETE", "/v1/models/starter-339/options"),
    ("DELETE", "/v1/models/starter-339"), ("DELETE", "/v1/loras/x"), ("POST", "/api/export/x/y/register"),
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_that_is_not_ours_for_now_opens_nothing(
    server: RunningServer, http: httpx.Client, real: str, kind: str
) -> None:
    token = forged(kind, server.data, real)
    cookie = {"cookie": f"inglenook_admin={part(token.encode())}"}
    for method, path in ASKED:
        body = {"value": 5} if method in ("PUT", "DELETE") else None
        answer = http.request(method, path, headers=headers(token), json=body)
        assert answer.status_code == 401, (method, path, answer.text)
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert token == "" or token not in answer.text
    for path in ("/ws/status", "/ws/logs"):
        for shown in (headers(token), cookie):
            with (
                pytest.raises(InvalidStatus) as caught,
                connect(address(server, path), additional_headers=shown),
            ):
                pass
            assert caught.value.response.status_code == 403
    assert http.get("/settings", headers=cookie).status_code == 303
    told = http.get("/admin/config", headers=headers(real)).json()
    assert told["model_idle_timeout"] != 5, "and nothing was changed"


def test_settings_that_cannot_be_are_refused_and_nothing_is_kept(http: httpx.Client, real: str) -> None:
    before = http.get("/admin/config", headers=headers(real)).json()
    for key in before:
        for value in (None, "None", "null", "", {}, [], "x" * 5000, -(10**30), "1e999", True):
            answer = http.put(f"/admin/config/{key}", headers=headers(real), json={"value": value})
            assert answer.status_code in (200, 400, 403, 404, 409), (key, value, answer.text)
            if value is None or isinstance(value, dict | list):
                assert answer.status_code >= 400, (key, value)
    for key in ("no_such", "jwt_secret", "__class__", "..%2Fadmin_password", "server.data"):
        answer = http.put(f"/admin/config/{key}", headers=headers(real), json={"value": 1})
        assert answer.status_code in (400, 403, 404, 405), (key, answer.text)
