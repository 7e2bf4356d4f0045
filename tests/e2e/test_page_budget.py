# SPDX-License-Identifier: Apache-2.0
"""What every page keeps to: small, at rest while it loads, usable by everybody, light and dark."""

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Response, expect

from inglenook.testing.server import RunningServer
from tests.e2e.browser import PATIENCE_MS, Watched, draw, unfold, violations, watched

pytestmark = pytest.mark.slow

PAGES = ("/", "/pixels", "/chat", "/gallery", "/projects", "/activity", "/nowhere")
BUDGET_BYTES = 200_000
"""HTML, styles, scripts and fonts of a first visit, before compression."""

_WATCH_SHIFTS = """
    window.shifts = [];
    new PerformanceObserver((list) => {
        for (const it of list.getEntries()) if (!it.hadRecentInput) window.shifts.push(it.value);
    }).observe({type: "layout-shift", buffered: true});
"""


def weigh(page: Page, path: str) -> dict[str, int]:
    """Bytes by address of all that is not a picture, as they are after decoding."""
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))  # noqa: PLW0108 - Playwright marks the function
    page.goto(path, wait_until="load")
    kinds = ("document", "stylesheet", "script", "font")
    return {answer.url: len(answer.body()) for answer in answers if answer.request.resource_type in kinds}


@pytest.mark.parametrize("path", PAGES)
def test_a_first_visit_weighs_less_than_200_kb(chromium: Browser, server: RunningServer, path: str) -> None:
    context = chromium.new_context(base_url=server.base_url)
    found = weigh(context.new_page(), path)
    context.close()
    assert len(found) > 3
    assert sum(found.values()) < BUDGET_BYTES, found


def test_nothing_moves_while_the_page_loads_and_while_a_picture_is_drawn(nook: Watched) -> None:
    nook.context.add_init_script(_WATCH_SHIFTS)
    page = nook.open()
    expect(page.locator("#fire")).to_contain_text("Processor")
    job = draw(page, "a red fox", steps="2")
    expect(page.locator(f"#{job}")).to_have_class(re.compile("is-succeeded"), timeout=PATIENCE_MS)
    page.reload(wait_until="load")
    expect(page.locator(f"#{job} img")).to_be_visible()
    page.evaluate("() => document.fonts.ready.then(() => new Promise(requestAnimationFrame))")
    assert sum(page.evaluate("window.shifts")) < 0.01  # a good page has less than 0.1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing_serious(chromium: Browser, server: RunningServer, path: str, scheme: Any) -> None:
    with watched(chromium, server.base_url, color_scheme=scheme) as nook:
        page = nook.open(path)
        assert violations(page, also=("moderate",)) == []
        nook.errors.clear()  # the browser notes the page that is not there


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_where_things_happen(
    chromium: Browser, server: RunningServer, scheme: Any
) -> None:
    with watched(chromium, server.base_url, color_scheme=scheme, reduced_motion="reduce") as nook:
        page = nook.open()
        for name in ("picture", "loras", "tuning", "hires", "file"):
            unfold(page, name)
        page.get_by_role("button", name="Draw", exact=True).click()
        expect(page.locator("#error-prompt")).to_be_visible()
        assert violations(page, also=("moderate",)) == []
        nook.errors.clear()  # the browser notes the refusal
        job = draw(page, "a red fox", steps="2", n="2")
        running = draw(page, "a blue house", steps="100", n="8")
        expect(page.locator(f"#{job}")).to_have_class(re.compile("is-succeeded"), timeout=PATIENCE_MS)
        expect(page.locator(f"#{running}")).to_have_class(re.compile("is-running"), timeout=PATIENCE_MS)
        assert violations(page, also=("moderate",)) == []
        page.locator(f"#{job}").get_by_role("link", name="Send to input").first.click()
        page.get_by_role("button", name="Paint a mask").click()
        expect(page.locator("#mask-editor")).to_be_visible()
        assert violations(page, also=("moderate",)) == []
        page.get_by_role("button", name="Leave it as it was").click()
        page.locator(f"#{job} .part-picture").first.click()
        expect(page.locator("#viewer")).to_be_visible()
        assert violations(page, also=("moderate",)) == []


def test_light_and_dark_are_the_systems_until_somebody_chooses(
    chromium: Browser, server: RunningServer
) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    with watched(chromium, server.base_url, color_scheme="light") as nook:
        page = nook.open()
        light = page.evaluate(colour)
        page.emulate_media(color_scheme="dark")
        dark = page.evaluate(colour)
        assert light != dark
        page.emulate_media(color_scheme="light")
        switch = page.get_by_role("button", name="Dark colours")
        expect(switch).to_have_attribute("aria-pressed", "false")
        switch.click()
        expect(switch).to_have_attribute("aria-pressed", "true")
        assert page.evaluate(colour) == dark
        other = nook.open("/nowhere")
        nook.errors.clear()
        assert other.evaluate(colour) == dark
        assert other.evaluate("document.documentElement.dataset.theme") == "dark"
        switch.click()  # back to what the system says: it is followed again
        page.emulate_media(color_scheme="dark")
        assert page.evaluate(colour) == dark


def test_the_keyboard_finds_the_content_the_rooms_and_the_form_in_this_order(nook: Watched) -> None:
    page = nook.open()
    names = []
    for _ in range(15):
        page.keyboard.press("Tab")
        names.append(
            page.evaluate(
                """() => {
                    const at = document.activeElement;  // the words of a model change while it loads
                    return at.matches("select") ? at.id : at.textContent.trim() || at.id;
                }"""
            )
        )
    assert names[0] == "Skip to the content"
    rooms = ["Create", "Pixels", "Chat", "Gallery", "Projects", "Models", "Activity", "Logs", "Settings"]
    assert names[1:11] == ["Inglenook", *rooms]
    assert names[11] == "theme"
    assert names[12:15] == ["Earlier", "prompt", "model"]
    page.locator("#prompt").focus()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    expect(page.locator('nav [aria-current="page"]')).to_have_text("Create")
