# SPDX-License-Identifier: Apache-2.0
"""Many clients at once, and a limit of one model, with llama.cpp itself: nobody fails, nothing is loaded
twice, and never more than allowed; and what they hear when llama.cpp is killed under them."""

import concurrent.futures
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import psutil
import pytest

from inglenook.testing.server import RunningServer
from tests.e2e.conftest import ENVIRON
from tests.e2e.llama_program import events, llama_children
from tests.e2e.workbench import all_gone, eventually
from tests.gguf_files import Shape, write_llama

pytestmark = pytest.mark.slow

HI = [{"role": "user", "content": "hi"}]
CLIENTS = 50
ALTERNATING_CLIENTS = 12
ROUNDS = 3
"""Each client asks every model so often."""
LONG_TOKENS = 12_000
MODELS = ("one", "two", "three")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    data = tmp_path_factory.mktemp("data")
    for seed, name in enumerate(MODELS):
        write_llama(data / "models" / f"{name}.gguf", seed=seed)
    write_llama(data / "models" / "long.gguf", shape=Shape(layers=4, width=256, context=16_384))
    environ = ENVIRON | {"INGLENOOK_RUNTIME__MAX_LOADED": "1", "INGLENOOK_LANGUAGE__PARALLEL": "2"}
    with RunningServer.start(data, environ=environ, timeout_s=180) as running:
        yield running


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    limits = httpx.Limits(max_connections=2 * CLIENTS)
    with httpx.Client(base_url=server.base_url, timeout=240, trust_env=False, limits=limits) as client:
        yield client


def chat(http: httpx.Client, model: str, **more: Any) -> httpx.Response:
    body = {"model": model, "messages": HI, "max_tokens": 4, "ignore_eos": True, **more}
    return http.post("/v1/chat/completions", json=body)


def loads(http: httpx.Client, model: str) -> int:
    told = http.get("/v1/runtime").json()["recent"]
    return len([one for one in told if (one["what"], one["model"]) == ("loading", model)])


class Watch:
    """Looks at the runtime and at the processes as long as something goes on."""

    def __init__(self, server: RunningServer) -> None:
        self._server = server
        self._over = threading.Event()
        self.looks = 0
        self.most_residents = 0
        self.most_processes = 0
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        with httpx.Client(base_url=self._server.base_url, timeout=60, trust_env=False) as http:
            while not self._over.wait(0.02):
                here = {child.pid for child in llama_children(self._server.pid)}
                told = http.get("/v1/runtime").json()["residents"]
                self.most_residents = max(self.most_residents, len(told))
                self.most_processes = max(self.most_processes, len(here))
                self.looks += 1


def test_fifty_first_requests_at_once_start_one_process_and_are_all_answered(
    server: RunningServer, http: httpx.Client
) -> None:
    assert llama_children(server.pid) == []
    with Watch(server) as watch, concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        stream = {"stream": True}
        asked = [pool.submit(chat, http, "one", **(stream if i % 2 else {})) for i in range(CLIENTS)]
        answers = [one.result() for one in asked]
    assert [answer.status_code for answer in answers] == [200] * CLIENTS
    for answer in answers[0::2]:
        assert answer.json()["usage"]["completion_tokens"] == 4
    for answer in answers[1::2]:
        assert events(answer.text.splitlines())[-1] == "[DONE]"
    assert watch.most_processes == 1
    assert loads(http, "one") == 1
    told = http.get("/v1/runtime").json()
    assert (told["leases"], told["queue"]) == ([], [])


def test_two_models_over_the_limit_asked_at_once_are_both_answered_and_never_both_loaded(
    server: RunningServer, http: httpx.Client
) -> None:
    with Watch(server) as watch, concurrent.futures.ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda model: chat(http, model), ("two", "three")))
    assert [answer.status_code for answer in answers] == [200, 200]
    assert (watch.most_residents, watch.most_processes) == (1, 1)


def test_a_limit_of_one_holds_under_many_clients_that_alternate_between_models(
    server: RunningServer, http: httpx.Client
) -> None:
    def client(number: int) -> list[int]:
        order = [MODELS[(number + turn) % len(MODELS)] for turn in range(ROUNDS * len(MODELS))]
        return [chat(http, model, stream=bool(number % 2)).status_code for model in order]

    with Watch(server) as watch, concurrent.futures.ThreadPoolExecutor(ALTERNATING_CLIENTS) as pool:
        statuses = [one for answers in pool.map(client, range(ALTERNATING_CLIENTS)) for one in answers]
    assert statuses == [200] * (ALTERNATING_CLIENTS * ROUNDS * len(MODELS))
    assert watch.looks > 10
    assert (watch.most_residents, watch.most_processes) == (1, 1)
    told = http.get("/v1/runtime").json()
    assert (told["leases"], told["queue"]) == ([], [])


# -- llama.cpp is killed in mid-stream -------------------------------------------------------------------

ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": HI, "max_tokens": LONG_TOKENS},
    "/v1/completions": {"prompt": "hi", "max_tokens": LONG_TOKENS},
    "/v1/responses": {"input": "hi", "max_output_tokens": LONG_TOKENS},
    "/v1/messages": {"messages": HI, "max_tokens": LONG_TOKENS},
    "/api/chat": {"messages": HI, "options": {"num_predict": LONG_TOKENS}},
    "/api/generate": {"prompt": "hi", "options": {"num_predict": LONG_TOKENS}},
}
ENDS = ("[DONE]", '"finish_reason":"stop"', "message_stop", "response.completed", '"done":true', "end_turn")


@pytest.mark.parametrize("path", ASKED)
def test_a_stream_whose_process_is_killed_ends_with_an_error_in_every_dialect(
    server: RunningServer, http: httpx.Client, path: str
) -> None:
    [child] = served_by(server, http)  # else the first lines may only tell that it is being loaded
    body = {"model": "long", "stream": True, "ignore_eos": True, **ASKED[path]}
    with http.stream("POST", path, json=body) as answer:
        lines = answer.iter_lines()
        text = [next(lines) for _ in range(12)]
        child.suspend()  # so that it cannot come to its end first
        child.kill()
        text += list(lines)
    assert answer.status_code == 200
    assert_ends_with_the_reason(path, [line for line in text if line.strip()])
    eventually(lambda: all_gone([child]), "it is gone")
    [once_more] = served_by(server, http)
    assert once_more.pid != child.pid


def assert_ends_with_the_reason(path: str, text: list[str]) -> None:
    told = json.loads(text[-1].removeprefix("data: "))
    said = json.dumps(told)
    assert "signal 9 (SIGKILL)" in said
    assert "memory" not in said.lower()
    squeezed = "\n".join(text).replace(" ", "")
    assert [end for end in ENDS if end in squeezed] == []
    if path.startswith("/api/"):
        assert set(told) == {"error"}
    elif path == "/v1/messages":
        assert text[-2] == "event: error"
        assert told["type"] == "error"
        assert {"type", "message"} <= told["error"].keys()
    elif path == "/v1/responses":
        assert told["type"] in ("error", "response.failed")
    else:
        assert told["error"]["code"] == "child.killed"


def served_by(server: RunningServer, http: httpx.Client) -> list[psutil.Process]:
    answer = chat(http, "long")
    assert answer.status_code == 200, answer.text
    return llama_children(server.pid)


def test_who_hangs_up_on_llama_cpp_in_mid_answer_frees_its_slot(http: httpx.Client) -> None:
    for path, asked in ASKED.items():
        body = {"model": "long", "stream": True, "ignore_eos": True, **asked}
        with http.stream("POST", path, json=body) as answer:
            lines = answer.iter_lines()
            for _ in range(4):
                next(lines)
        eventually(lambda: http.get("/v1/runtime").json()["leases"] == [], f"{path} was stopped")
    told = http.get("/v1/models/long/state").json()
    assert (told["state"], told["leases"]) == ("ready", 0)


def test_a_server_that_is_asked_to_stop_ends_streams_with_the_reason(tmp_path: Path) -> None:
    write_llama(tmp_path / "models" / "long.gguf", shape=Shape(layers=4, width=256, context=16_384))
    with RunningServer.start(tmp_path, environ=ENVIRON, timeout_s=180) as running:
        body = {
            "model": "long",
            "messages": HI,
            "max_tokens": LONG_TOKENS,
            "ignore_eos": True,
            "stream": True,
        }
        with (
            httpx.Client(base_url=running.base_url, timeout=120, trust_env=False) as http,
            http.stream("POST", "/v1/chat/completions", json=body) as answer,
        ):
            lines = answer.iter_lines()
            next(line for line in lines if line.startswith("data: "))  # before it: why it waits
            running.signal(signal.SIGINT)
            rest = "\n".join(lines)
        assert running.wait() == 0
        assert "Traceback" not in running.output
    assert '"error"' in rest
    assert "[DONE]" not in rest
