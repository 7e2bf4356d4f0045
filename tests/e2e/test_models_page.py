# SPDX-License-Identifier: Apache-2.0
"""The rooms of the models and of the logs in a real browser, over real processes."""

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect

from inglenook.testing.server import RunningServer
from tests.e2e.browser import PATIENCE_MS, Watched, violations
from tests.gguf_files import write_llama

pytestmark = pytest.mark.slow

SMALL = "small"  # its title, from its header, is Tiny


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    data = tmp_path_factory.mktemp("data")
    (data / "models").mkdir()
    write_llama(data / "models" / f"{SMALL}.gguf", seed=1)
    (data / "models" / "broken.gguf").write_bytes(b"GGUF" + b"\x03\0\0\0" + b"\xff" * 16)
    with RunningServer.start(data, environ={"INGLENOOK_RUNTIME__CPU_THREADS": "1"}) as running:
        yield running


@pytest.fixture
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.base_url, trust_env=False, timeout=60) as client:
        yield client


def row(page: Page, title: str = "Tiny"):  # type: ignore[no-untyped-def]
    return page.locator(".model").filter(has=page.get_by_role("link", name=title, exact=True))


def test_a_model_is_loaded_pinned_and_unloaded_by_its_buttons(nook: Watched) -> None:
    page = nook.open("/models")
    assert violations(page, also=("moderate",)) == []
    here = row(page)
    expect(here).to_contain_text("chats · llama")
    expect(here).to_contain_text("away")
    here.get_by_role("button", name="Load").click()
    expect(here.locator(".state")).to_have_text("ready", timeout=PATIENCE_MS)
    expect(here).to_contain_text("reserved")
    here.get_by_role("button", name="Pin").click()
    expect(here).to_contain_text("pinned")
    here.get_by_role("button", name="Unpin").click()
    expect(here).not_to_contain_text("pinned")
    here.get_by_role("button", name="Unload").click()
    expect(here.locator(".state")).to_have_text(re.compile("away"), timeout=PATIENCE_MS)


def test_a_button_that_is_pressed_is_not_written_anew_before_it_is_let_go(nook: Watched) -> None:
    page = nook.open("/models")
    happened = page.evaluate(
        """async () => {
            const happened = [];
            const stream = new LiveStream(() => "/models/stream", {news: (data) => happened.push(data)});
            stream.open();
            const tell = (data) => stream.source.dispatchEvent(new MessageEvent("news", {data}));
            const button = document.getElementById("theme");
            button.addEventListener("click", () => happened.push("clicked"));
            button.dispatchEvent(new PointerEvent("pointerdown", {bubbles: true}));
            tell("first news");
            button.dispatchEvent(new PointerEvent("pointerup", {bubbles: true}));
            button.click();
            await new Promise((go) => setTimeout(go, 0));
            tell("second news");
            stream.close();
            return happened;
        }"""
    )
    assert happened == ["clicked", "first news", "second news"]


def test_a_picture_model_is_loaded_by_hand_too(nook: Watched) -> None:
    page = nook.open("/models")
    here = row(page, "Starter 339")
    here.get_by_role("button", name="Load").click()
    expect(here.locator(".state")).to_have_text("ready", timeout=PATIENCE_MS)
    here.get_by_role("button", name="Unload").click()
    expect(here.locator(".state")).not_to_have_text("ready", timeout=PATIENCE_MS)


def test_a_model_that_cannot_be_used_says_why_and_has_no_buttons(nook: Watched) -> None:
    page = nook.open("/models")
    here = row(page, "broken")
    expect(here.locator(".state")).to_have_text("cannot be used")
    expect(here.locator(".job-error")).not_to_be_empty()
    expect(here.get_by_role("button")).to_have_count(0)


def test_models_are_found_by_their_words(nook: Watched) -> None:
    page = nook.open("/models")
    page.fill("#find-model", "LLAMA")
    expect(row(page)).to_be_visible()
    expect(row(page, "Starter 339")).to_be_hidden()
    page.fill("#find-model", "no such model")
    expect(page.locator("#no-model")).to_be_visible()


def test_options_are_kept_and_work_and_are_taken_back(nook: Watched, http: httpx.Client) -> None:
    page = nook.open(f"/models/{SMALL}")
    assert violations(page, also=("moderate",)) == []
    page.fill("#o-context", "512")
    page.fill("#o-temperature", "0.25")
    page.fill("#o-aliases", "little\nwee")
    page.select_option("#o-pinned", "true")
    page.get_by_role("button", name="Keep").click()
    expect(page.locator(".saved")).to_be_visible()
    expect(page.locator("#o-context")).to_have_value("512")
    expect(page.locator("#o-temperature")).to_have_value("0.25")
    expect(page.locator("#o-aliases")).to_have_value("little\nwee")
    expect(page.locator("#model-now")).to_contain_text("512")
    answer = http.post(
        "/v1/chat/completions",
        json={"model": "wee", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2},
    )
    assert answer.status_code == 200, answer.text
    expect(page.locator("#model-now")).to_contain_text("Last lines of its process", timeout=PATIENCE_MS)
    page.get_by_role("button", name="Reset all").click()
    expect(page.locator("#o-context")).to_have_value("")
    expect(page.locator("#o-pinned")).to_have_value("")


def test_a_wrong_option_is_told_at_its_field_and_what_was_typed_stays(nook: Watched) -> None:
    page = nook.open(f"/models/{SMALL}")
    page.evaluate(
        "document.querySelectorAll('input').forEach(it => { it.removeAttribute('max'); it.min = ''; })"
    )
    page.fill("#o-context", "3")
    page.fill("#o-top_k", "40")
    page.evaluate("document.querySelector('form[action^=\"/models/options\"]').noValidate = true")
    page.get_by_role("button", name="Keep").click()
    expect(page.locator("#o-context")).to_have_attribute("aria-invalid", "true")
    expect(page.locator(".field-error")).to_contain_text("256")
    expect(page.locator("#o-top_k")).to_have_value("40")
    nook.errors.clear()  # the browser notes the refused form as an error of its own


def test_the_logs_are_live_and_narrowed_by_process_level_and_words(nook: Watched, http: httpx.Client) -> None:
    http.post(f"/v1/models/{SMALL}/load")
    page = nook.open("/logs")
    assert violations(page, also=("moderate",)) == []
    expect(page.locator("#log")).to_contain_text(f"loading {SMALL} on cpu", timeout=PATIENCE_MS)
    page.fill("#log-search", "on cpu")
    expect(page.locator("#log mark").first).to_have_text("on cpu")
    expect(page).to_have_url(re.compile("search=on\\+cpu"))
    page.fill("#log-search", "")
    child = page.locator("#log-child option").filter(has_text=SMALL).first.get_attribute("value")
    page.select_option("#log-child", child)
    expect(page.locator("#log .log-child").first).to_have_text(str(child))
    assert set(page.locator("#log .log-child").all_inner_texts()) == {child}
    page.select_option("#log-level", "error")
    expect(page.locator("#log-none")).to_be_visible()
    page.select_option("#log-level", "info")
    page.locator("#log-pause").click()
    before = page.locator("#log > li").count()
    http.post(f"/v1/models/{SMALL}/unload")
    page.select_option("#log-child", "")
    page.locator("#log-pause").click()
    expect(page.locator("#log")).to_contain_text("is gone", timeout=PATIENCE_MS)
    assert page.locator("#log > li").count() > before
