# SPDX-License-Identifier: Apache-2.0
"""Language models behind a real server's door: hang-ups, crashes, pictures in, pictures out, one fire."""

import base64
import io
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import psutil
import pytest
from PIL import Image

from inglenook.testing.server import RunningServer
from tests.e2e.workbench import command, eventually
from tests.gguf_files import write_llama, write_projector
from tests.starters import with_starters

pytestmark = pytest.mark.slow

CHAT = "smollm2-135m-instruct"
PATIENCE_S = 240.0
ENVIRON = {
    "INGLENOOK_RUNTIME__CPU_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "INGLENOOK_LANGUAGE__CONTEXT": "1024",
    "INGLENOOK_LANGUAGE__PARALLEL": "1",
}
LONG: dict[str, Any] = {
    "model": CHAT,
    "messages": [{"role": "user", "content": "Tell me a very long story."}],
    "stream": True,
    "max_tokens": 900,
    "ignore_eos": True,
}
"""An answer that takes many seconds: there is a middle to hit."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, chat_model: Path) -> Iterator[RunningServer]:
    """With the starter, and with a tiny model that sees: its projector lies beside it."""
    data = with_starters(tmp_path_factory.mktemp("data"), chat_model)
    folder = data / "models" / "seer"
    folder.mkdir(parents=True)
    write_llama(folder / "seer.gguf", name="Seer")
    write_projector(folder / "mmproj-seer.gguf")
    with RunningServer.start(data, environ=ENVIRON) as running:
        yield running


@pytest.fixture
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.base_url, timeout=PATIENCE_S, trust_env=False) as client:
        yield client


def resident(http: httpx.Client, model: str = CHAT) -> dict[str, Any] | None:
    found: list[dict[str, Any]] = http.get("/v1/runtime").json()["residents"]
    return next((one for one in found if one["model"] == model), None)


def first_words(response: httpx.Response) -> Iterator[str]:
    """The lines of a stream, from the first one with a word of the answer on."""
    lines = response.iter_lines()
    for line in lines:
        if '"content":"' in line:
            yield line
            break
    yield from lines


def test_a_client_that_hangs_up_stops_the_generation_at_once(http: httpx.Client) -> None:
    with http.stream("POST", "/v1/chat/completions", json=LONG) as response:
        words = first_words(response)  # held: a generator that is forgotten closes the connection
        next(words)
        assert resident(http)["leases"]  # type: ignore[index]

    def stopped() -> bool:
        now = resident(http)
        return now is not None and not now["leases"] and any("cancel task" in line for line in now["log"])

    eventually(stopped, "the child cancels its task and the lease is back", timeout_s=30)


def test_who_waits_for_the_only_place_is_told_so_and_may_leave(http: httpx.Client) -> None:
    with http.stream("POST", "/v1/chat/completions", json=LONG) as first:
        words = first_words(first)
        next(words)
        with http.stream("POST", "/v1/chat/completions", json=LONG) as second:
            lines = second.iter_lines()
            line = next(lines)
            assert line.startswith(": waiting, place 1 of 1: ")
            assert second.headers["x-inglenook-model"] == CHAT
            assert len(http.get("/v1/runtime").json()["queue"]) == 1
        eventually(
            lambda: http.get("/v1/runtime").json()["queue"] == [], "the queue is empty again", timeout_s=30
        )
        next(words)  # the first one goes on as if nothing had happened


def test_a_child_that_is_killed_in_mid_stream_ends_it_with_an_error(
    server: RunningServer, http: httpx.Client
) -> None:
    with http.stream("POST", "/v1/chat/completions", json=LONG) as response:
        words = first_words(response)
        next(words)
        os.kill(child_of(server), signal.SIGKILL)
        rest = [line for line in words if line]
    error = json.loads(rest[-1].removeprefix("data: "))["error"]
    assert "signal 9" in error["message"]
    assert "data: [DONE]" not in rest
    answer = http.post("/v1/chat/completions", json=LONG | {"stream": False, "max_tokens": 3})
    assert answer.status_code == 200, answer.text


def child_of(server: RunningServer) -> int:
    for one in psutil.Process(server.pid).children(recursive=True):
        line = command(one)
        if "inglenook.workers.llama" in line and "guard.py" not in line and "seer" not in line:
            return one.pid
    raise AssertionError("there is no child")


def seen(http: httpx.Client, colour: str | None) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": "What is this?"}]
    if colour is not None:
        out = io.BytesIO()
        Image.new("RGB", (48, 32), colour).save(out, "WEBP")  # which llama.cpp itself cannot read
        url = "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()
        content.append({"type": "image_url", "image_url": {"url": url}})
    body = {
        "model": "seer/seer",
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 12,
        "temperature": 0,
    }
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_model_with_a_projector_sees_the_picture(http: httpx.Client) -> None:
    plain, red, again, blue = (seen(http, colour) for colour in (None, "red", "red", "blue"))
    assert red["usage"]["prompt_tokens"] >= plain["usage"]["prompt_tokens"] + 16
    words = [one["choices"][0]["message"]["content"] for one in (red, again, blue)]
    assert words[0] == words[1]
    assert words[0] != words[2]
    models = {model["id"]: model for model in http.get("/v1/models").json()["data"]}
    assert models["seer/seer"]["language"]["vision"] is True
    assert models[CHAT]["language"]["vision"] is False


def test_anthropics_pictures_are_seen_too(http: httpx.Client) -> None:
    out = io.BytesIO()
    Image.new("RGB", (48, 32), "red").save(out, "PNG")
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(out.getvalue()).decode()}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]
    body = {"model": "seer/seer", "messages": [{"role": "user", "content": content}], "max_tokens": 8}
    answer = http.post("/v1/messages", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["input_tokens"] > 16


# -- one fire ------------------------------------------------------------------------------------------


@pytest.mark.timeout(900)  # the model may draw four times, and each time both are loaded anew
def test_a_chat_draws_on_a_device_that_holds_only_one_of_the_two_models(
    tmp_path: Path, chat_model: Path
) -> None:
    environ = ENVIRON | {"INGLENOOK_RUNTIME__MAX_LOADED": "1", "INGLENOOK_RUNTIME__SWITCH_PATIENCE_S": "0"}
    with (
        RunningServer.start(with_starters(tmp_path, chat_model), environ=environ) as server,
        httpx.Client(base_url=server.base_url, timeout=PATIENCE_S, trust_env=False) as http,
    ):
        body = {
            "model": CHAT,
            "messages": [{"role": "user", "content": "Draw a red fox."}],
            "inglenook_tools": [{"name": "generate_image", "size": "128x128", "steps": 2}],
            "tool_choice": "required",
            "max_tokens": 60,
            "temperature": 0,
            "stream": True,
        }
        told: list[str] = []
        most_loaded = Watcher(http)
        with most_loaded, http.stream("POST", "/v1/chat/completions", json=body) as response:
            assert response.status_code == 200
            told = [line for line in response.iter_lines() if line]
        assert told[-1] == "data: [DONE]", told[-3:]
        deltas = [
            piece["choices"][0]["delta"]
            for piece in (json.loads(line[6:]) for line in told if line.startswith("data: {"))
            if piece["choices"]
        ]
        [shown, *_] = [delta for delta in deltas if "images" in delta]
        image = Image.open(io.BytesIO(http.get(shown["images"][0]["url"]).content))
        assert image.size == (128, 128)
        recent = http.get("/v1/runtime").json()["recent"]
        loaded = {one["model"] for one in recent if one["what"] == "ready"}
        assert len(loaded) == 2, "each had its turn"
        assert most_loaded.most == 1


class Watcher:
    """How many models are loaded at once while something goes on."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.most = 0

    def _watch(self) -> None:
        while not self._ends.wait(0.1):
            loaded = [
                one["model"]
                for one in self._http.get("/v1/runtime").json()["residents"]
                if one["state"] == "ready"
            ]
            self.most = max(self.most, len(loaded))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()
