# SPDX-License-Identifier: Apache-2.0
"""What the real server's doors let in, and what they say to what they do not."""

import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from inglenook.testing.server import RunningServer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.base_url, timeout=30, trust_env=False) as client:
        yield client


def exchange(server: RunningServer, request: bytes, *, parts: int = 1) -> bytes:
    """Send bytes as they are, and everything that comes back until the server is silent or closes."""
    address = urlsplit(server.base_url)
    answer = b""
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        try:
            for _ in range(parts):
                connection.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has heard enough; what it said is still there to be read
        try:
            while chunk := connection.recv(65536):
                answer += chunk
                if b"\r\n\r\n" in answer:
                    break
        except (TimeoutError, ConnectionResetError):
            pass
    return answer


def test_the_server_watches_over_itself(http: httpx.Client) -> None:
    assert http.get("/livez").text == "ok"
    assert http.get("/readyz").json() == {"ready": True, "missing": {}}
    assert http.get("/health").json()["status"] == "healthy"
    text = http.get("/metrics", headers={"accept": "text/plain"}).text
    assert "inglenook_http_requests_total" in text


@pytest.mark.parametrize(
    "path",
    ["/v1/models", "/v1/jobs", "/v1/pictures", "/v1/runtime", "/v1/schedulers", "/v1/styles", "/v1/outgoing"],
)
def test_every_list_answers(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    assert answer.status_code == 200
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_name_that_dns_could_point_here_is_refused(http: httpx.Client) -> None:
    assert http.get("/v1/jobs", headers={"host": "evil.example"}).status_code == 421
    assert http.get("/", headers={"host": "evil.example"}).status_code == 421


def test_another_sites_page_is_refused(http: httpx.Client) -> None:
    answer = http.post(
        "/v1/images/generations", json={"prompt": "x"}, headers={"origin": "https://evil.example"}
    )
    assert answer.status_code == 403


def test_a_path_that_is_not_there_is_a_404_in_json(http: httpx.Client) -> None:
    answer = http.get("/v1/nothing")
    assert answer.status_code == 404
    assert set(answer.json()["error"]) == {"message", "type", "param", "code", "hint"}


def test_the_frameworks_pages_with_foreign_scripts_are_not_there(http: httpx.Client) -> None:
    for path in ("/docs", "/redoc"):
        page = http.get(path, follow_redirects=True).text
        assert "The HTTP API" in page
        assert "://" not in page


def test_an_endless_body_is_cut_off(server: RunningServer) -> None:
    head = (
        b"POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    address = urlsplit(server.base_url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(head)
        try:
            for _ in range(64):
                connection.sendall(chunk)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            pass
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 413")


def test_a_request_without_a_host_is_refused(server: RunningServer) -> None:
    assert exchange(server, b"GET /livez HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00" * 100,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_garbage_does_no_harm(server: RunningServer, http: httpx.Client, garbage: bytes) -> None:
    exchange(server, garbage)
    assert http.get("/livez").status_code == 200


def test_what_is_answered_keeps_to_the_description(http: httpx.Client) -> None:
    description = http.get("/openapi.json").json()
    assert json.dumps(description)
    for path, methods in description["paths"].items():
        if "get" not in methods or path.endswith("/events"):
            continue
        filled = path.replace("{job_id}", "job_x").replace("{picture_id}", "pic_x").replace("{model_id}", "x")
        answer = http.get(filled)
        assert str(answer.status_code) in methods["get"]["responses"], path
