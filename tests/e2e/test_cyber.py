# SPDX-License-Identifier: Apache-2.0
"""What Cyber-Inference's own scripts and tests ask for, against a real server with real models."""

import concurrent.futures
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from inglenook.testing.server import RunningServer
from tests.e2e.workbench import Workbench, command, eventually
from tests.starters import with_starters

pytestmark = pytest.mark.slow

CHAT = "smollm2-135m-instruct"
EMBEDDING = "all-minilm-l6-v2"
PASSWORD = "a long enough word"
ENVIRON = {
    "INGLENOOK_RUNTIME__CPU_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "INGLENOOK_LANGUAGE__MAX_CONTEXT": "1024",
    "INGLENOOK_LANGUAGE__PARALLEL": "2",
}
HI = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, chat_model: Path, embedding_model: Path
) -> Iterator[RunningServer]:
    data = with_starters(tmp_path_factory.mktemp("data"), chat_model, embedding_model)
    with RunningServer.start(data, environ=ENVIRON, timeout_s=180) as running:
        yield running


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.base_url, timeout=300, trust_env=False) as client:
        yield client


def children(server: RunningServer) -> list[Any]:
    family = Workbench(server).family()
    return [
        one for one in family if "inglenook.workers.llama" in command(one) and "guard.py" not in command(one)
    ]


def unload_everything(server: RunningServer, http: httpx.Client) -> None:
    for session in http.get("/admin/sessions").json():
        http.post(f"/admin/models/{session['model_name']}/unload")
    eventually(lambda: children(server) == [], "nothing is loaded")


# -- A: the embeddings script ----------------------------------------------------------------------------


def test_the_embeddings_script_passes(http: httpx.Client) -> None:
    assert http.get("/health").is_success
    body = {"model": EMBEDDING, "input": "Hello there", "encoding_format": "float"}
    answer = http.post("/v1/embeddings", json=body)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert isinstance(told["data"][0]["embedding"], list)
    assert told["model"]
    assert told["usage"]


# -- B: the inference script, all stages but the download ------------------------------------------------


def test_the_inference_script_passes(http: httpx.Client) -> None:
    assert http.get("/health").status_code == 200
    assert CHAT in [one["id"] for one in http.get("/v1/models").json()["data"]]
    status = http.get("/admin/status").json()
    assert {"running_models", "cpu_percent", "memory_percent", "gpu_available"} <= status.keys()

    loaded = http.post(f"/admin/models/{CHAT}/load")
    assert loaded.status_code == 200, loaded.text
    assert {"port", "status"} <= loaded.json().keys()

    short = {"model": CHAT, "messages": HI, "max_tokens": 1, "stream": False}
    assert http.post("/v1/chat/completions", json=short).status_code == 200
    longer = short | {"max_tokens": 3, "temperature": 0.1}
    told = http.post("/v1/chat/completions", json=longer).json()
    assert told["choices"][0]["message"]["content"]
    assert told["usage"]["total_tokens"] > 0

    with http.stream("POST", "/v1/chat/completions", json=longer | {"stream": True}) as answer:
        data = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    choices = [choice for one in data[:-1] for choice in json.loads(one)["choices"]]
    assert "".join(choice["delta"].get("content") or "" for choice in choices)
    assert [c["finish_reason"] for c in choices if c["finish_reason"]] == ["length"], "and it is preserved"

    assert http.post(f"/admin/models/{CHAT}/unload").status_code == 200
    eventually(lambda: CHAT not in http.get("/admin/status").json()["running_models"], "it is unloaded")


# -- C: its own tests, pointed at us ---------------------------------------------------------------------


def test_health_is_told_in_its_words(http: httpx.Client) -> None:
    told = http.get("/health").json()
    assert (told["status"], told["service"]) == ("healthy", "cyber-inference")
    assert told["version"]


def test_lists_and_configuration_have_their_fields(http: httpx.Client) -> None:
    assert http.get("/v1/models").json()["object"] == "list"
    assert {"version", "status", "running_models"} <= http.get("/admin/status").json().keys()
    assert {"cpu_count", "cpu_percent", "memory_percent"} <= http.get("/admin/resources").json().keys()
    assert isinstance(http.get("/admin/models").json(), list)
    assert isinstance(http.get("/admin/sessions").json(), list)
    assert {"host", "port", "log_level"} <= http.get("/admin/config").json().keys()


def test_an_unknown_model_is_not_found(http: httpx.Client) -> None:
    assert http.post("/v1/chat/completions", json={"model": "no-such", "messages": HI}).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"messages": HI},
        {"model": CHAT},
        {"model": CHAT, "messages": HI, "temperature": 5.0},
    ],
)
def test_a_chat_that_cannot_be_is_a_422(http: httpx.Client, body: dict[str, Any]) -> None:
    assert http.post("/v1/chat/completions", json=body).status_code == 422


@pytest.mark.parametrize("path", ["/", "/models", "/settings", "/logs"])
def test_the_pages_are_there(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")


# -- E: what broke there ---------------------------------------------------------------------------------


def test_two_loads_at_once_start_one_process(server: RunningServer, http: httpx.Client) -> None:
    unload_everything(server, http)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: http.post(f"/admin/models/{CHAT}/load").status_code, range(4)))
    assert answers == [200] * 4
    assert len(children(server)) == 1


def test_a_killed_process_is_noticed_and_the_next_request_is_served(
    server: RunningServer, http: httpx.Client
) -> None:
    unload_everything(server, http)
    http.post(f"/admin/models/{CHAT}/load")
    [child] = children(server)
    os.kill(child.pid, signal.SIGKILL)
    body = {"model": CHAT, "messages": HI, "max_tokens": 2}
    eventually(
        lambda: http.post("/v1/chat/completions", json=body).status_code == 200, "it answers again", 60
    )
    assert child.pid not in [one.pid for one in children(server)]


def test_a_context_that_is_asked_for_is_clamped(http: httpx.Client) -> None:
    session = http.post(f"/admin/models/{CHAT}/load", json={"context_size": 1_000_000}).json()
    assert session["context_size"] <= 1024


def test_what_the_process_refuses_keeps_its_status(http: httpx.Client) -> None:
    body = {"model": CHAT, "messages": [{"role": "user", "content": "word " * 4000}]}
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400
    assert "context" in answer.text


def test_an_unload_while_streaming_cuts_nothing_off(server: RunningServer, http: httpx.Client) -> None:
    body = {"model": CHAT, "messages": HI, "max_tokens": 250, "stream": True, "ignore_eos": True}
    with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.iter_lines()
        next(line for line in lines if line.startswith("data: "))
        told = httpx.post(f"{server.base_url}/admin/models/{CHAT}/unload", timeout=30).json()
        rest = [line for line in lines if line.startswith("data: ")]
    assert told["status"] == "unloading"
    assert rest[-1] == "data: [DONE]"
    eventually(lambda: http.get("/admin/sessions").json() == [], "it goes when it is done")


def test_null_and_unknown_keys_are_refused(http: httpx.Client) -> None:
    assert http.put("/admin/config/model_idle_timeout", json={"value": None}).status_code == 400
    assert http.put("/admin/config/anything", json={"value": 1}).status_code == 404
    assert http.post("/admin/shutdown").status_code == 403


def address(server: RunningServer, path: str) -> str:
    return server.base_url.replace("http://", "ws://") + path


def test_the_sockets_tell_of_loads_and_of_the_log(server: RunningServer, http: httpx.Client) -> None:
    unload_everything(server, http)
    with connect(address(server, "/ws/status")) as status, connect(address(server, "/ws/logs")) as logs:
        assert json.loads(status.recv())["type"] == "status_update"
        logs.send("ping")
        http.post(f"/admin/models/{CHAT}/load")
        assert any(json.loads(text).get("model") == CHAT for text in received(status))
        words = [
            "pong" in text or f"loading {CHAT}" in text for text in received(logs, until=f"loading {CHAT}")
        ]
        assert any(words)


def received(socket: Any, until: str = "model_loaded") -> Iterator[str]:
    while True:
        text = str(socket.recv(timeout=60))
        yield text
        if until in text:
            return


def test_another_sites_page_opens_no_socket(server: RunningServer) -> None:
    for path in ("/ws/status", "/ws/logs"):
        with (
            pytest.raises(InvalidStatus) as caught,
            connect(address(server, path), origin="https://evil.example"),
        ):
            pass
        assert caught.value.response.status_code == 403


def test_a_limit_of_one_model_is_held_while_two_are_asked_at_once(
    tmp_path: Path, chat_model: Path, embedding_model: Path
) -> None:
    data = with_starters(tmp_path, chat_model, embedding_model)
    environ = ENVIRON | {"INGLENOOK_RUNTIME__MAX_LOADED": "1"}
    with RunningServer.start(data, environ=environ, timeout_s=180) as server:
        chat = {"model": CHAT, "messages": HI, "max_tokens": 2}
        texts = {"model": EMBEDDING, "input": "a"}
        asked = [("/v1/chat/completions", chat), ("/v1/embeddings", texts)] * 3

        def ask(one: tuple[str, dict[str, Any]]) -> int:
            return httpx.post(server.base_url + one[0], json=one[1], timeout=200).status_code

        most = 0
        with concurrent.futures.ThreadPoolExecutor(len(asked)) as pool:
            answers = [pool.submit(ask, one) for one in asked]
            while not all(answer.done() for answer in answers):
                most = max(most, len(children(server)))
        assert [answer.result() for answer in answers] == [200] * len(asked)
        assert most == 1
    assert children(server) == [], "and none is left"


# -- with a password, and across restarts ----------------------------------------------------------------


def test_with_a_password_a_change_survives_a_restart_and_the_server_can_be_stopped(
    tmp_path: Path, chat_model: Path
) -> None:
    data = with_starters(tmp_path, chat_model)
    environ = ENVIRON | {"INGLENOOK_SERVER__ADMIN_PASSWORD": PASSWORD}
    with RunningServer.start(data, environ=environ, timeout_s=180) as server:
        with httpx.Client(base_url=server.base_url, timeout=60, trust_env=False) as http:
            assert http.get("/health").status_code == 200, "what watches over the server needs no password"
            assert http.get("/admin/status").status_code == 401
            for page in ("/settings", "/models", "/logs"):
                assert http.get(page).headers["location"].startswith("/login?next=")
            assert "to see the log" in http.get("/activity").text
            for path in ("load", "unload", "pin"):
                assert http.post(f"/v1/models/{CHAT}/{path}").status_code == 401
            assert http.patch(f"/v1/models/{CHAT}/options", json={"top_k": 1}).status_code == 401
            assert http.delete(f"/v1/models/{CHAT}").status_code == 401
            assert http.get("/v1/runtime/log").status_code == 401
            with pytest.raises(InvalidStatus):
                connect(address(server, "/ws/logs"))
            token = http.post("/admin/login", json={"password": PASSWORD}).json()["access_token"]
            bearer = {"authorization": f"Bearer {token}"}
            put = http.put("/admin/config/model_idle_timeout", json={"value": 77}, headers=bearer)
            assert put.json()["takes_effect"] == "after a restart"
            with connect(address(server, "/ws/logs"), additional_headers=bearer) as socket:
                assert any("77" in text for text in received(socket, until="77"))
            assert http.post("/admin/shutdown", headers=bearer).status_code == 200
        assert server.wait() == 0
        assert PASSWORD not in server.output
    with RunningServer.start(data, environ=environ, timeout_s=180) as server:
        told = httpx.get(f"{server.base_url}/admin/config", headers=bearer, timeout=60).json()
        assert told["model_idle_timeout"] == 77
    other = environ | {"INGLENOOK_SERVER__ADMIN_PASSWORD": "another long word"}
    with RunningServer.start(data, environ=other, timeout_s=180) as server:
        told = httpx.get(f"{server.base_url}/admin/config", headers=bearer, timeout=60)
        assert told.status_code == 401
