# SPDX-License-Identifier: Apache-2.0
"""Language models' processes that misbehave, under a real server: every client is told, nobody gets a false
end, and the next request is served."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from inglenook.testing.server import RunningServer
from tests.e2e.conftest import ENVIRON
from tests.e2e.llama_program import (
    BEHAVIOURS,
    asked,
    events,
    go,
    llama_children,
    write_models,
    write_scripted_llama_server,
)
from tests.e2e.workbench import all_gone, command, eventually

pytestmark = pytest.mark.slow

HI = [{"role": "user", "content": "hi"}]
ANSWER = "Once there was a fire for everything."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    data = tmp_path_factory.mktemp("data")
    write_models(data, ["normal", "other", *BEHAVIOURS])
    program = write_scripted_llama_server(data)
    environ = ENVIRON | {
        "INGLENOOK_LANGUAGE__SERVER": str(program),
        "INGLENOOK_LANGUAGE__PARALLEL": "2",
        "INGLENOOK_RUNTIME__START_TIMEOUT_S": "20",
    }
    with RunningServer.start(data, environ=environ, timeout_s=180) as running:
        yield running


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.base_url, timeout=120, trust_env=False) as client:
        yield client


def chat(http: httpx.Client, model: str = "normal", **more: Any) -> httpx.Response:
    return http.post("/v1/chat/completions", json={"model": model, "messages": HI, **more})


def child_of(server: RunningServer, http: httpx.Client, model: str = "normal") -> psutil.Process:
    """The one process of the model, which is loaded for it."""
    assert http.post(f"/v1/models/{model}/load").status_code == 200
    [child] = children_of(server, model)
    return child


def children_of(server: RunningServer, model: str) -> list[psutil.Process]:
    return [one for one in llama_children(server.pid) if f"/{model}.gguf" in command(one)]


def runtime(http: httpx.Client) -> dict[str, Any]:
    told: dict[str, Any] = http.get("/v1/runtime").json()
    return told


def recent(http: httpx.Client, what: str, model: str) -> list[str]:
    """Reasons of what was decided lately, the newest first."""
    told = runtime(http)["recent"]
    return [one["reason"] for one in told if (one["what"], one["model"]) == (what, model)]


# -- a child that dies -----------------------------------------------------------------------------------


def assert_no_false_end(told: list[Any]) -> None:
    assert "[DONE]" not in told
    choices = [choice for one in told for choice in one.get("choices", ())]
    assert [choice["finish_reason"] for choice in choices if choice.get("finish_reason")] == []


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("dies_in_stream", "child.killed"),
        ("out_of_memory_at_work", "child.out_of_memory"),
        ("cuts_off", "child.cut_off"),
    ],
)
def test_a_stream_that_breaks_ends_with_the_reason_and_the_next_is_whole(
    server: RunningServer, http: httpx.Client, path: str, script: str, code: str
) -> None:
    before = child_of(server, http)
    body = {"model": "normal", "messages": HI, "prompt": "hi", "stream": True, "script": script}
    with http.stream("POST", path, json=body) as answer:
        told = events(answer.iter_lines())
    assert answer.status_code == 200
    assert len(told) >= 3, "what it said before is there"
    assert told[-1]["error"]["code"] == code
    assert told[-1]["error"]["message"].startswith("normal ")
    assert_no_false_end(told)
    whole = chat(http)
    assert whole.status_code == 200, whole.text
    assert whole.json()["choices"][0]["message"]["content"] == ANSWER
    assert (child_of(server, http).pid == before.pid) == (script == "cuts_off")


def test_while_it_is_found_out_why_an_answer_was_broken_off_its_process_serves_others(
    server: RunningServer, http: httpx.Client
) -> None:
    before = child_of(server, http)
    body = {"model": "normal", "messages": HI, "stream": True, "script": "cuts_off"}
    with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.iter_lines()
        assert any("there" in line for line in lines), "its last word"
        assert chat(http).json()["choices"][0]["message"]["content"] == ANSWER
        told = events(lines)
    assert told[-1]["error"]["code"] == "child.cut_off"
    assert child_of(server, http).pid == before.pid
    assert [one["state"] for one in runtime(http)["residents"] if one["model"] == "normal"] == ["ready"]


def test_a_whole_answer_that_breaks_twice_is_an_error_with_the_reason(http: httpx.Client) -> None:
    answer = chat(http, "dies_in_stream")
    assert answer.status_code == 500
    error = answer.json()["error"]
    assert error["code"] == "child.killed"
    assert "SIGSEGV" in error["message"]
    assert "memory" not in error["message"]
    assert answer.headers["x-should-retry"] == "false"


def test_an_ollama_stream_that_breaks_ends_with_an_error_line(http: httpx.Client) -> None:
    for path, body in (("/api/chat", {"messages": HI}), ("/api/generate", {"prompt": "hi", "raw": True})):
        with http.stream("POST", path, json={"model": "dies_in_stream", **body}) as answer:
            lines = [json.loads(line) for line in answer.iter_lines()]
        if answer.status_code == 200:
            assert [line.get("done") for line in lines[:-1]] == [False] * (len(lines) - 1)
        assert set(lines[-1]) == {"error"}
        assert "SIGSEGV" in lines[-1]["error"]


def test_a_conversation_keeps_what_was_said_before_the_child_died_and_says_why(http: httpx.Client) -> None:
    talk = http.post("/v1/conversations", json={"model": "dies_in_stream"}).json()
    path = f"/v1/conversations/{talk['id']}"
    message = http.post(f"{path}/messages", json={"content": "hi"}).json()
    told = http.post(f"{path}/answers", json={"message": message["id"]}).text
    assert "event: done" in told
    kept = http.get(path).json()["messages"][-1]
    assert (kept["role"], kept["state"], kept["finish_reason"]) == ("assistant", "failed", "error")
    assert kept["parts"] == [{"type": "text", "text": "Once there"}]
    assert "SIGSEGV" in kept["error"]["message"]
    again = http.post(f"{path}/answers", json={"message": message["id"], "model": "normal"}).text
    assert "event: done" in again
    kept = http.get(path).json()["messages"][-1]
    assert (kept["state"], kept["parts"]) == ("done", [{"type": "text", "text": ANSWER}])


# -- a child that does not come up -----------------------------------------------------------------------


def test_memory_that_runs_out_at_a_load_is_tried_again_alone_and_told_with_both_numbers(
    server: RunningServer, http: httpx.Client
) -> None:
    child_of(server, http)
    answer = chat(http, "out_of_memory")
    error = answer.json()["error"]
    assert error["code"] == "model.too_large"
    assert error["message"].count("iB") >= 2
    assert error["hint"]
    assert len(recent(http, "loading", "out_of_memory")) == 2
    assert runtime(http)["residents"] == [], "everything idle had made way for the second try"
    assert chat(http).status_code == 200


@pytest.mark.parametrize(
    ("model", "code", "words"),
    [
        ("corrupt", "load.corrupt", "missing tensor"),
        ("exit_at_start", "child.exited", "I do not feel like it"),
    ],
)
def test_a_load_that_fails_is_told_in_the_childs_own_words(
    server: RunningServer, http: httpx.Client, model: str, code: str, words: str
) -> None:
    answer = chat(http, model)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, code)
    assert words in answer.json()["error"]["message"]
    state = http.get(f"/v1/models/{model}/state").json()
    assert state["state"] == "failed"
    assert words in state["problem"]
    assert children_of(server, model) == []


def test_a_child_that_is_never_ready_is_killed_and_its_memory_is_free_again(tmp_path: Path) -> None:
    write_models(tmp_path, ["never_ready", "no_first_token"])
    environ = ENVIRON | {
        "INGLENOOK_LANGUAGE__SERVER": str(write_scripted_llama_server(tmp_path)),
        "INGLENOOK_RUNTIME__START_TIMEOUT_S": "8",  # long enough for both to be there at once
    }
    with (
        RunningServer.start(tmp_path, environ=environ, timeout_s=180) as server,
        httpx.Client(base_url=server.base_url, timeout=60, trust_env=False) as http,
    ):
        answers: list[httpx.Response] = []
        models = ("never_ready", "no_first_token")
        asking = [threading.Thread(target=lambda m=m: answers.append(chat(http, m))) for m in models]
        for thread in asking:
            thread.start()
        eventually(lambda: len(llama_children(server.pid)) == 2, "both are being loaded")
        started = llama_children(server.pid)
        for thread in asking:
            thread.join()
        for answer in answers:
            error = answer.json()["error"]
            assert error["code"] == "child.never_ready"
            assert "8.0 s" in error["message"]
            assert "start_timeout_s" in error["hint"]
        eventually(lambda: all_gone(started), "a child that was given up is still there")
        assert runtime(http)["devices"][0]["reserved_bytes"] == 0
        assert runtime(http)["queue"] == []


# -- clients that go away --------------------------------------------------------------------------------


def post_and_keep_open(server: RunningServer, body: dict[str, Any]) -> socket.socket:
    address = urlsplit(server.base_url)
    text = json.dumps(body).encode()
    connection = socket.create_connection((str(address.hostname), address.port or 0))
    connection.sendall(
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(text)}\r\n\r\n".encode()
        + text
    )
    return connection


def test_who_hangs_up_in_the_queue_leaves_it_and_in_mid_answer_frees_its_slot(
    server: RunningServer, http: httpx.Client
) -> None:
    child = child_of(server, http)
    given_up = asked(child, "/given-up")
    body = {"model": "normal", "messages": HI, "script": "waits"}
    at_work = [post_and_keep_open(server, body | {"stream": True}) for _ in range(2)]
    eventually(lambda: len(runtime(http)["leases"]) == 2, "both slots are taken")
    waiting = [post_and_keep_open(server, body | {"stream": stream}) for stream in (True, False, False)]
    eventually(lambda: len(runtime(http)["queue"]) == 3, "the others wait")
    assert [one["position"] for one in runtime(http)["queue"]] == [1, 2, 3]
    assert "normal" in runtime(http)["queue"][0]["reason"]["text"]
    for left, connection in zip((2, 1, 0), waiting, strict=True):
        connection.close()
        eventually(lambda left=left: len(runtime(http)["queue"]) == left, "it has left the queue")  # type: ignore[misc]
    assert len(runtime(http)["leases"]) == 2, "and nobody else was sent away"
    for connection in at_work:
        connection.close()
    eventually(lambda: runtime(http)["leases"] == [], "the slots are free")
    eventually(lambda: asked(child, "/given-up") == given_up + 2, "the child was told")
    eventually(  # it counts who has left before it is done with them
        lambda: not any(slot["is_processing"] for slot in asked(child, "/slots")), "its slots are free"
    )
    assert chat(http).json()["choices"][0]["message"]["content"] == ANSWER
    assert child_of(server, http).pid == child.pid


# -- unloading what is at work ---------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["ours", "ollama"])
def test_an_unload_while_streaming_lets_the_stream_come_to_its_end(
    server: RunningServer, http: httpx.Client, way: str
) -> None:
    child = child_of(server, http)
    body = {"model": "normal", "messages": HI, "stream": True, "script": "waits"}
    with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.iter_lines()
        begun = [next(line for line in lines if "Once" in line)]
        if way == "ours":
            assert http.post("/v1/models/normal/unload").json()["leaving"] is True
        else:
            told = http.post("/api/generate", json={"model": "normal", "keep_alive": 0}).json()
            assert told["done_reason"] == "unload"
        assert child.is_running()
        go(child)
        told = events([*begun, *lines])
    assert told[-1] == "[DONE]"
    text = "".join(choice["delta"].get("content") or "" for one in told[:-1] for choice in one["choices"])
    assert text == ANSWER
    eventually(lambda: all_gone([child]), "it went when its work was done")
    assert chat(http).status_code == 200


# -- the whole server ------------------------------------------------------------------------------------


def test_a_server_that_is_killed_in_mid_stream_leaves_no_child_and_starts_again(tmp_path: Path) -> None:
    write_models(tmp_path, ["normal"])
    environ = ENVIRON | {"INGLENOOK_LANGUAGE__SERVER": str(write_scripted_llama_server(tmp_path))}
    with (
        RunningServer.start(tmp_path, environ=environ, timeout_s=180) as server,
        httpx.Client(base_url=server.base_url, timeout=60, trust_env=False) as http,
    ):
        talk = http.post("/v1/conversations", json={"model": "normal"}).json()
        child = child_of(server, http)
        family = psutil.Process(server.pid).children(recursive=True)
        body = {"model": "normal", "messages": HI, "stream": True, "script": "waits"}
        with http.stream("POST", "/v1/chat/completions", json=body) as answer:
            lines = answer.iter_lines()
            next(line for line in lines if "Once" in line)
            server.kill()
            with pytest.raises(httpx.TransportError):
                list(lines)
        assert child in family
        eventually(lambda: all_gone(family), "a child outlived its server")
    with (
        RunningServer.start(tmp_path, environ=environ, timeout_s=180) as server,
        httpx.Client(base_url=server.base_url, timeout=60, trust_env=False) as http,
    ):
        assert http.get(f"/v1/conversations/{talk['id']}").status_code == 200
        assert chat(http).json()["choices"][0]["message"]["content"] == ANSWER
