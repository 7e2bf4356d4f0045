# SPDX-License-Identifier: Apache-2.0
"""A training gives way to a picture, and to a chat, where there is room for only one of them, and has lost
nothing by it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from inglenook.testing.server import RunningServer
from tests.e2e.browser import PATIENCE_MS, watched
from tests.e2e.workbench import Workbench
from tests.starters import CHAT, with_starters
from tests.studio_http import Http, Json
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
        events = trains(http, parted)
        order = Workbench(server).order(prompt="a red fox", n=2, steps=40)
        told = until_parked(events)
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
        events = trains(http, parted)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(chat, server)
            told = until_parked(events)
            assert "parked for an answer" in str(told["text"]), told
            assert http.get(parted)["status"] == "training"
            job = http.client.get(f"/v1/jobs/{http.get(parted)['job']}").json()
            assert job["state"] == "paused"
            answer = asked.result(240)
        assert answer.status_code == 200, answer.text
        said = answer.json()["choices"][0]["message"]["content"]
        assert said.strip()
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
        alone = chat(server).json()["choices"][0]["message"]["content"]
        assert said == alone  # it says the same where nobody steps aside


def test_a_parked_run_says_on_its_page_that_it_stepped_aside_and_for_whom(
    tmp_path: Path, chromium: Browser
) -> None:
    resting = environ() | {"INGLENOOK_RUNTIME__TRAINING_SLICE_S": "4"}
    with RunningServer.start(tmp_path, environ=resting) as server:
        http = project_with(server.base_url, {"a": 12, "b": 12}, RATIOS)
        made = http.make("Aside", max_epochs=1000)
        http.act(made, "train")
        http.until(made, event="epoch_end", epoch=1)
        with watched(chromium, server.base_url) as nook:
            page = nook.open(f"/projects/{http.project}/training?experiment_id={made}")
            expect(page.locator("[data-run-words]")).to_contain_text("of 1000", timeout=PATIENCE_MS)
            order = Workbench(server).order(prompt="a red fox", n=8, steps=100)
            aside = page.locator("[data-parked]")
            expect(aside).to_be_visible(timeout=PATIENCE_MS)
            expect(aside).to_contain_text("Stepped aside: parked for 8 pictures for owner")
            expect(page.locator("[data-status-words]")).to_have_text("training")
            assert Workbench(server).http.post(f"/v1/jobs/{order['id']}/cancel").is_success
            expect(aside).to_be_hidden(timeout=PATIENCE_MS)
            page.reload()
            expect(page.locator("#training-experiment-workspace")).to_contain_text("Made room for others")
            http.act(made, "stop")
            expect(page.locator("[data-status-words]")).to_have_text("stopped", timeout=PATIENCE_MS)


def chat(server: RunningServer) -> httpx.Response:
    body = {
        "model": CHAT,
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "max_tokens": 32,
        "temperature": 0,
    }
    return httpx.post(f"{server.base_url}/v1/chat/completions", json=body, timeout=240, trust_env=False)


def trains(http: Http, experiment: str) -> Iterator[tuple[str, str | None, Json]]:
    """Its events after its first epoch: whoever begins to listen later may not hear that it is parked."""
    events = http.events(experiment)
    assert any(name == "epoch_end" for name, _, _ in events), "it ended without an epoch"
    return events


def until_parked(events: Iterator[tuple[str, str | None, Json]]) -> Json:
    for name, _, said in events:
        if name == "parking" and said["parked"]:
            return said
    raise AssertionError("it was never parked")
