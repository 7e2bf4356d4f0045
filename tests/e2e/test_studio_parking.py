# SPDX-License-Identifier: Apache-2.0
"""A training gives way to a picture, and to a chat, where there is room for only one of them, and has lost
nothing by it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from inglenook.testing.server import RunningServer
from tests.e2e.workbench import Workbench
from tests.starters import CHAT, with_starters
from tests.studio_http import Http
from tests.studio_luck import ENVIRON, RATIOS, numbers, project_with, trained

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

EPOCHS = 100


def environ() -> dict[str, str]:
    """Room for one. By memory it would never be short here: of a network as small as this next to nothing is
    given back by parking, for what the process takes is its libraries."""
    return ENVIRON | {
        "INGLENOOK_RUNTIME__MAX_LOADED": "1",
        "INGLENOOK_RUNTIME__TRAINING_SLICE_S": "1",
        "INGLENOOK_RUNTIME__SWITCH_PATIENCE_S": "0.5",
    }


def test_a_training_is_parked_for_a_picture_says_for_whom_and_has_the_figures_of_one_that_was_not(
    tmp_path: Path,
) -> None:
    with RunningServer.start(tmp_path, environ=environ()) as server:
        http = project_with(server.base_url, {"a": 12, "b": 12}, RATIOS)
        parted, whole = http.make("parted", max_epochs=EPOCHS), http.make("whole", max_epochs=EPOCHS)
        http.act(parted, "train")
        http.until(parted, event="epoch_end", epoch=1)
        order = Workbench(server).order(prompt="a red fox", n=2, steps=40)
        told = until_parked(http, parted)
        assert "picture" in told["text"], told
        assert http.get(parted)["status"] == "training"
        assert http.get(parted)["parking"]["since"]
        job = http.client.get(f"/v1/jobs/{http.get(parted)['job']}").json()
        assert job["state"] == "paused"
        assert Workbench(server).finished(order["id"])["state"] == "succeeded"
        http.until(parted)
        done = http.get(parted)
        assert done["status"] == "completed", done["error"]
        assert done["parking"]["times"] >= 1
        assert done["parking"]["seconds"] > 0
        assert done["parking"]["since"] is None
        assert trained(http, whole)["parking"]["times"] == 0
        assert numbers(http, parted) == numbers(http, whole)
        assert len(numbers(http, whole)) == EPOCHS


def test_a_training_is_parked_for_a_chat_which_answers_and_has_the_figures_of_one_that_was_not(
    tmp_path: Path, chat_model: Path
) -> None:
    with RunningServer.start(with_starters(tmp_path, chat_model), environ=environ(), timeout_s=180) as server:
        http = project_with(server.base_url, {"a": 12, "b": 12}, RATIOS)
        parted, whole = http.make("parted", max_epochs=EPOCHS), http.make("whole", max_epochs=EPOCHS)
        http.act(parted, "train")
        http.until(parted, event="epoch_end", epoch=1)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(chat, server)
            told = until_parked(http, parted)
            assert "parked for an answer" in str(told["text"]), told
            assert http.get(parted)["status"] == "training"
            job = http.client.get(f"/v1/jobs/{http.get(parted)['job']}").json()
            assert job["state"] == "paused"
            answer = asked.result(240)
        assert answer.status_code == 200, answer.text
        said = answer.json()["choices"][0]
        assert "paris" in said["message"]["content"].lower()
        assert said["finish_reason"] in ("stop", "length")
        http.until(parted)
        done = http.get(parted)
        assert done["status"] == "completed", done["error"]
        assert done["parking"]["times"] >= 1
        assert done["parking"]["since"] is None
        assert any(
            "parked" in line["text"] for line in http.data("GET", f"{http.path}/{parted}/log")["lines"]
        )
        assert trained(http, whole)["parking"]["times"] == 0
        assert numbers(http, parted) == numbers(http, whole)
        assert len(numbers(http, whole)) == EPOCHS


def chat(server: RunningServer) -> httpx.Response:
    body = {
        "model": CHAT,
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "max_tokens": 32,
        "temperature": 0,
    }
    return httpx.post(f"{server.base_url}/v1/chat/completions", json=body, timeout=240, trust_env=False)


def until_parked(http: Http, experiment: str) -> dict[str, object]:
    for name, _, said in http.events(experiment):
        if name == "parking" and said["parked"]:
            return said
    raise AssertionError(f"it was never parked: {http.get(experiment)['status']}")
