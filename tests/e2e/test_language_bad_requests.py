# SPDX-License-Identifier: Apache-2.0
"""Requests that no client should send, on every route of language models: refused in the shape of the
dialect, never an error of ours, and the server goes on."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import httpx
import pytest

from inglenook.testing.server import RunningServer
from tests.e2e.conftest import ENVIRON
from tests.gguf_files import write_llama

pytestmark = pytest.mark.slow

HI = [{"role": "user", "content": "hi"}]
MIB = 2**20

OPENAI: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": HI, "max_tokens": 2},
    "/v1/completions": {"prompt": "hi", "max_tokens": 2},
    "/v1/embeddings": {"input": "hi"},
    "/v1/rerank": {"documents": ["a", "b"], "query": "hi"},
    "/v1/responses": {"input": "hi", "max_output_tokens": 2},
    "/v1/tokenize": {"content": "hi"},
    "/v1/detokenize": {"tokens": [1]},
    "/apply-template": {"messages": HI},
    "/v1/conversations": {"parameters": {}},
    "/v1/models/tiny/load": {"keep_s": 1},
    "/v1/models/tiny/pin": {"pinned": False},
}
ANTHROPIC: dict[str, dict[str, Any]] = {
    "/v1/messages": {"messages": HI, "max_tokens": 2},
    "/v1/messages/count_tokens": {"messages": HI},
}
OLLAMA: dict[str, dict[str, Any]] = {
    "/api/chat": {"messages": HI, "stream": False, "options": {"num_predict": 2}},
    "/api/generate": {"prompt": "hi", "stream": False, "options": {"num_predict": 2}},
    "/api/embed": {"input": "hi"},
    "/api/embeddings": {"prompt": "hi"},
    "/api/show": {"verbose": False},
    "/api/pull": {"stream": False},
}
CYBER: dict[str, dict[str, Any]] = {
    "/admin/login": {"password": "x"},
    "/admin/models/download": {"hf_repo_id": "a/b"},
    "/admin/models/tiny/load": {"context_size": 512},
}
SPEECH: dict[str, dict[str, Any]] = {"/v1/audio/transcriptions": {}, "/v1/audio/translations": {}}
ROUTES = OPENAI | ANTHROPIC | OLLAMA | CYBER | SPEECH
OWN_FIELDS = ("/v1/models/", "/admin/")
"""Their paths name the model, and the body has none."""


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    data = tmp_path_factory.mktemp("data")
    write_llama(data / "models" / "tiny.gguf")
    environ = ENVIRON | {
        "INGLENOOK_SERVER__MAX_UPLOAD_BYTES": "1 MiB",
        "INGLENOOK_SPEECH__MAX_UPLOAD_BYTES": "1 MiB",
    }
    with (
        RunningServer.start(data, environ=environ, timeout_s=180) as server,
        httpx.Client(base_url=server.base_url, timeout=60, trust_env=False) as client,
    ):
        yield client
        assert "Unexpected error" not in server.output
        assert "Traceback" not in server.output


def assert_refused(path: str, answer: httpx.Response, what: object) -> None:
    """A 4xx in the dialect's own words."""
    assert 400 <= answer.status_code < 500, (what, answer.status_code, answer.text[:300])
    told = answer.json()
    if path in OLLAMA:
        assert set(told) == {"error"}, what
        words = told["error"]
    elif path in ANTHROPIC:
        assert told["type"] == "error", what
        words = told["error"]["message"]
    elif path in CYBER:
        words = told["detail"]
    else:
        assert {"message", "type", "param", "code"} <= told["error"].keys(), what
        words = told["error"]["message"]
    assert isinstance(words, str), what
    assert 3 < len(words) < 1000, what
    assert "Traceback" not in words


def post(http: httpx.Client, path: str, body: bytes | Iterable[bytes], **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return http.post(path, content=body, headers={"content-type": "application/json", **named})


def sound(path: str) -> dict[str, Any]:
    named = {} if path.startswith(OWN_FIELDS) else {"model": "tiny"}
    return named | ROUTES[path]


DEEP = b"[" * 90_000 + b"]" * 90_000
NO_JSON: dict[str, bytes] = {
    "nothing": b"",
    "half": b'{"model": "ti',
    "a list": b"[]",
    "null": b"null",
    "a text": b'"tiny"',
    "a number": b"7",
    "Latin-1": b'{"model": "t\xffny"}',
    "UTF-16": '{"model": "tiny"}'.encode("utf-16"),
    "depth without an end": b"[" * 100_000,
    "many digits": b'{"model": "tiny", "seed": ' + b"9" * 5000 + b"}",
    "a zero byte": b'{"model": "tiny"}\0',
}


@pytest.mark.parametrize("path", ROUTES)
def test_what_is_no_json_object_is_refused(http: httpx.Client, path: str) -> None:
    for what, body in NO_JSON.items():
        may_be_empty = path.startswith(OWN_FIELDS) and what == "nothing"
        if not may_be_empty:
            assert_refused(path, post(http, path, body), what)
    first = next(iter(ROUTES[path]), "model")
    deep = b'{"model": "tiny", "%s": %s}' % (first.encode(), DEEP)
    assert_refused(path, post(http, path, deep), "a value that is nested deeply")
    half = sound(path) | {first: "\ud800"}
    assert_refused(path, post(http, path, json.dumps(half).encode()), "half a character")


@pytest.mark.parametrize("path", ROUTES)
def test_a_body_over_the_limit_is_refused_also_when_it_does_not_say_its_length(
    http: httpx.Client, path: str
) -> None:
    body = b" " * (2 * MIB) + json.dumps(sound(path)).encode()
    for sent in (body, (body[start : start + 2**16] for start in range(0, len(body), 2**16))):
        kind = "multipart/form-data; boundary=x" if path in SPEECH else "application/json"
        answer = http.post(path, content=sent, headers={"content-type": kind})
        assert_refused(path, answer, "a large body")
        assert answer.status_code == 413 or path in SPEECH


@pytest.mark.parametrize("path", [path for path in ROUTES if path not in OLLAMA])
@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/xml", ""]
)
def test_another_type_of_body_is_refused(http: httpx.Client, path: str, kind: str) -> None:
    answer = post(http, path, json.dumps(sound(path)).encode(), content_type=kind)
    assert_refused(path, answer, kind)


@pytest.mark.parametrize("path", ROUTES)
def test_a_coded_body_is_refused(http: httpx.Client, path: str) -> None:
    answer = post(http, path, json.dumps(sound(path)).encode(), content_encoding="gzip")
    assert_refused(path, answer, "gzip")
    assert answer.status_code == 415


NAMES: list[Any] = ["no-such", "a\0b", "../../../etc/passwd", "x" * 100_000, 7, {}, [], True, "tiny\n"]
NAMED = [path for path in ROUTES if not path.startswith(OWN_FIELDS) and path not in SPEECH]
NAMED.remove("/v1/conversations")  # a conversation keeps any name: the model may come later


@pytest.mark.parametrize("path", NAMED)
def test_a_model_that_there_cannot_be_is_refused(http: httpx.Client, path: str) -> None:
    for name in NAMES:
        answer = post(http, path, json.dumps(sound(path) | {"model": name}).encode())
        if name == "tiny\n" and answer.status_code == 200:
            continue  # space around a name means nothing
        if path == "/api/pull" and answer.status_code == 501:
            continue  # what is not here is not fetched
        assert_refused(path, answer, name)
        assert "root:" not in answer.text


VALUES: list[Any] = [{}, [None], [[[]]], True, {"a": 1}, 7.5]
VALUED = [path for path in NAMED if path not in ("/api/show", "/api/pull")]


@pytest.mark.parametrize("path", VALUED)
def test_a_first_field_of_another_type_is_refused(http: httpx.Client, path: str) -> None:
    first = next(iter(ROUTES[path]))
    for value in VALUES:
        answer = post(http, path, json.dumps(sound(path) | {first: value}).encode())
        assert_refused(path, answer, value)


def test_the_server_answers_after_all_that(http: httpx.Client) -> None:
    for path in ("/v1/chat/completions", "/v1/messages", "/api/chat"):
        answer = post(http, path, json.dumps(sound(path)).encode())
        assert answer.status_code == 200, answer.text
    runtime = http.get("/v1/runtime").json()
    assert (runtime["leases"], runtime["queue"]) == ([], [])
