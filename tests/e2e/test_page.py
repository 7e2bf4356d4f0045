# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser, over the real server, drawing with the model that ships."""

import re
import signal
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from inglenook.testing.server import RunningServer
from tests.e2e.browser import LONG, PATIENCE_MS, Watched, draw, fill, is_loaded, passes_by, unfold

pytestmark = pytest.mark.slow


def test_a_prompt_becomes_a_picture_before_ones_eyes(nook: Watched) -> None:
    page = nook.open()
    expect(page.locator("#model-state")).to_contain_text(re.compile("ready|away|being loaded"))
    fill(page, steps="120")  # so that a fast machine leaves time to look
    page.fill("#prompt", "a red fox")
    page.locator("#prompt").press("Control+Enter")
    job = page.locator("#jobs > .card").first
    expect(job).to_contain_text("a red fox")
    page.wait_for_function(  # all at one look: it may be over at the next
        """() => {
            const card = document.querySelector("#jobs > .card");
            const canvas = card.querySelector("canvas.has-preview");
            return canvas !== null && canvas.checkVisibility() && canvas.width >= 32
                && getComputedStyle(canvas).imageRendering === "pixelated"
                && /Step \\d+ of 120/.test(card.querySelector("[data-line]").textContent);
        }""",
        timeout=PATIENCE_MS,
    )
    expect(job).to_have_class(re.compile("is-succeeded"), timeout=PATIENCE_MS)
    name = str(job.get_attribute("id"))
    assert is_loaded(page, f"#{name} img")
    made = str(page.locator(f"#{name} [data-picture]").first.get_attribute("data-picture"))
    expect(page.locator(f"#pictures > [data-picture={made}]")).to_be_visible()
    expect(page.locator("#fire")).to_contain_text("starter-339")
    expect(page.locator("#model-state")).to_contain_text("ready")
    expect(page.locator("#prompt")).to_have_value("a red fox")


def test_progress_only_grows_and_follows_the_steps(nook: Watched) -> None:
    page = nook.open()
    line = "#jobs > .card:first-child [data-line]"
    with passes_by(page, line, r"Step \d+ of 100 · picture 1 of 8 · about"):
        job = draw(page, "a green frog", **LONG)
    bar = page.locator(f"#{job} [data-progress]")
    early = bar.evaluate("bar => bar.value")
    page.wait_for_function(
        "([job, early]) => document.querySelector(`#${job} [data-progress]`).value > early", arg=[job, early]
    )
    assert early < 50


def test_two_jobs_wait_in_line_and_a_cancel_says_what_it_did(nook: Watched) -> None:
    page = nook.open()
    first = draw(page, "a blue house", **LONG)
    second = draw(page, "a red castle")
    expect(page.locator(f"#{second} [data-line]")).to_contain_text(re.compile("in line: .*starter-339"))
    page.locator(f"#{second}").get_by_role("button", name="Cancel").click()
    expect(page.locator(f"#{second}")).to_contain_text("Left the queue before anything was drawn.")
    expect(page.locator(f"#{first}")).to_have_class(re.compile("is-running"), timeout=PATIENCE_MS)
    page.locator(f"#{first}").get_by_role("button", name="Cancel").click()
    expect(page.locator(f"#{first}")).to_have_class(re.compile("is-cancelled"), timeout=PATIENCE_MS)
    expect(page.locator(f"#{first} .receipt")).to_contain_text("It took")
    expect(page.locator(f"#{first}").get_by_role("button", name="Try again")).to_be_visible()


def test_a_reload_in_mid_job_loses_nothing_and_stays_live(nook: Watched) -> None:
    page = nook.open()
    job = draw(page, "a yellow duck", **LONG)
    expect(page.locator(f"#{job}")).to_have_class(re.compile("is-running"), timeout=PATIENCE_MS)
    page.reload()
    expect(page.locator(f"#{job}")).to_contain_text("a yellow duck")
    expect(page.locator(f"#{job} canvas.has-preview")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.locator(f"#{job} [data-line]")).to_contain_text(re.compile(r"Step \d+ of 100"))


def test_what_one_tab_does_the_other_shows(nook: Watched) -> None:
    one, other = nook.open(), nook.open()
    job = draw(one, "a purple flower", **LONG)
    expect(other.locator(f"#{job}")).to_contain_text("a purple flower")
    expect(other.locator(f"#{job}")).to_have_class(re.compile("is-running"), timeout=PATIENCE_MS)
    other.locator(f"#{job}").get_by_role("button", name="Cancel").click()
    expect(one.locator(f"#{job}")).to_have_class(re.compile("is-cancelled"), timeout=PATIENCE_MS)
    assert one.locator(f"#{job}").count() == 1


def test_a_hidden_tab_holds_no_connection_and_catches_up_when_it_is_seen_again(nook: Watched) -> None:
    """A browser opens six connections to one address; tabs that nobody looks at must not hold them."""

    def open_with_stream() -> Page:
        with nook.context.expect_event("request", lambda request: "/fragments/stream" in request.url):
            return nook.open()

    one, other = open_with_stream(), open_with_stream()
    expect(one.locator("#fire")).to_contain_text("The fire")
    become = """hidden => {
        Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    streams = [request for request in nook.requests if "/fragments/stream" in request]
    one.evaluate(become, True)
    job = draw(other, "a red fox", steps="2")
    expect(other.locator(f"#{job}")).to_have_class(re.compile("is-succeeded"), timeout=PATIENCE_MS)
    assert one.locator(f"#{job}").count() == 0
    made = other.locator(f"#{job} [data-picture]").first.get_attribute("data-picture")
    one.evaluate(become, False)
    expect(one.locator(f"#pictures > [data-picture={made}]")).to_be_visible()
    assert len([request for request in nook.requests if "/fragments/stream" in request]) == len(streams) + 1


def test_an_error_stands_at_its_field_with_the_focus_and_goes_when_it_is_mended(nook: Watched) -> None:
    page = nook.open()
    fill(page, prompt="a red fox", steps="0", negative_prompt="snow")
    page.locator("#fold-tuning > summary").click()
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.locator("#error-steps")).to_contain_text("Number of steps is 0; it must be between 1 and")
    expect(page.locator("#steps")).to_be_focused()
    expect(page.locator("#steps")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#negative_prompt")).to_have_value("snow")
    assert page.locator("#jobs > .card.is-queued").count() == 0
    page.fill("#steps", "2")
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.locator("#error-steps")).to_be_hidden()
    expect(page.locator("#steps")).not_to_have_attribute("aria-invalid", "true")
    expect(page.locator("#jobs > .card").first).to_have_class(re.compile("is-succeeded"), timeout=PATIENCE_MS)
    # The browser itself notes the refusal; nothing else may be there.
    assert [error for error in nook.errors if "422" not in error] == []
    nook.errors.clear()


def test_a_picture_opens_is_used_again_and_is_deleted(nook: Watched) -> None:
    page = nook.open()
    job = draw(page, "a brown horse", seed="4711", steps="3")
    expect(page.locator(f"#{job}")).to_have_class(re.compile("is-succeeded"), timeout=PATIENCE_MS)
    made = str(page.locator(f"#{job} [data-picture]").first.get_attribute("data-picture"))
    tile = page.locator(f"#pictures [data-picture={made}] [data-tile]")
    tile.focus()
    page.keyboard.press("Enter")
    viewer = page.locator("#viewer")
    expect(viewer).to_contain_text("a brown horse")
    expect(viewer.locator("dt", has_text="Seed").locator("+ dd")).to_have_text("4711")
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    expect(tile).to_be_focused()
    page.fill("#seed", "")
    page.fill("#prompt", "something else")
    tile.click()
    viewer.get_by_role("link", name="Use again").click()
    expect(viewer).to_be_hidden()
    expect(page.locator("#prompt")).to_have_value("a brown horse")
    expect(page.locator("#prompt")).to_be_focused()
    expect(page.locator("#seed")).to_have_value("4711")
    expect(page.locator("#steps")).to_have_value("3")
    page.on("dialog", lambda dialog: dialog.accept())
    page.locator(f"#{job}").get_by_role("button", name="Delete").click()
    expect(page.locator(f"[data-picture={made}]")).to_have_count(0)
    trash = nook.open("/gallery?trashed=true")
    expect(trash.locator(f"[data-picture={made}]")).to_have_count(1)


def test_a_script_in_a_prompt_is_never_run(nook: Watched) -> None:
    page = nook.open()
    attack = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    job = draw(page, attack, steps="2")
    expect(page.locator(f"#{job} .card-prompt")).to_have_text(attack)
    expect(page.locator(f"#{job}")).to_have_class(re.compile("is-succeeded"), timeout=PATIENCE_MS)
    page.locator(f"#{job} .part-picture").click()
    expect(page.locator("#viewer .picture-prompt")).to_have_text(attack)
    page.reload()
    assert page.title().endswith("Inglenook")
    assert page.locator("img[onerror], main script").count() == 0


@pytest.mark.parametrize("width_px", [360, 768, 1280])
def test_the_page_fits_the_screen(nook: Watched, width_px: int) -> None:
    page = nook.open()
    page.set_viewport_size({"width": width_px, "height": 800})
    for name in ("picture", "loras", "tuning", "hires", "file"):
        unfold(page, name)
    draw(page, "a-very-long-word-without-a-single-place-to-break-it-" * 5, steps="2")
    assert page.evaluate("document.documentElement.scrollWidth") <= width_px


def test_without_scripts_a_picture_is_drawn_and_a_job_cancelled(
    chromium: Browser, server: RunningServer
) -> None:
    context = chromium.new_context(base_url=server.base_url, java_script_enabled=False)
    watched = Watched(context, server.base_url)
    page = watched.open()
    page.fill("#prompt", "a red fox")
    page.locator("#fold-tuning > summary").click()
    page.fill("#steps", "0")
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.locator("#error-steps")).to_contain_text("Number of steps is 0")
    expect(page.locator("#prompt")).to_have_value("a red fox")
    page.fill("#steps", "2")
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page).to_have_url(re.compile("job="))
    job = page.url.rpartition("#")[2]
    drawn = page.locator(f"#{job}.is-succeeded img")
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while drawn.count() == 0:  # a person without scripts presses "reload"
        assert time.monotonic() < deadline, page.locator(f"#{job}").inner_text()
        page.reload(wait_until="load")
    expect(page.locator(".tile").first).to_be_visible()
    page.fill("#steps", "100")
    page.fill("#n", "8")
    page.get_by_role("button", name="Draw", exact=True).click()
    page.locator(".card").first.get_by_role("button", name="Cancel").click()
    expect(page.locator(".card").first).to_have_class(re.compile("is-cancelled"))
    expect(page.locator(".card .receipt").first).to_be_visible()
    context.close()
    assert watched.foreign == []
    assert [error for error in watched.errors if "422" not in error] == []


def test_a_server_that_dies_and_comes_back_is_told_and_the_page_goes_on(
    chromium: Browser, tmp_path: Path
) -> None:
    environ = {"INGLENOOK_RUNTIME__CPU_THREADS": "1", "OMP_NUM_THREADS": "1"}
    first = RunningServer.start(tmp_path, environ=environ)
    port = urlsplit(first.base_url).port
    context = chromium.new_context(base_url=first.base_url)
    context.set_default_timeout(30_000)
    try:
        page = Watched(context, first.base_url).open()
        job = draw(page, "a grey elephant", **LONG)
        expect(page.locator(f"#{job} canvas.has-preview")).to_be_visible(timeout=PATIENCE_MS)
        first.signal(signal.SIGKILL)
        first.wait()
        expect(page.locator("#connection")).to_have_text("Connection lost, trying again…")
        page.get_by_role("button", name="Draw", exact=True).click()
        expect(page.locator("#trouble")).to_contain_text("The server did not answer.")
        expect(page.locator("#prompt")).to_have_value("a grey elephant")
        with RunningServer.start(tmp_path, environ=environ, arguments=("--port", str(port))):
            expect(page.locator("#connection")).to_have_text("Connected again")
            expect(page.locator(f"#{job}")).to_have_class(re.compile("is-interrupted"))
            page.locator(f"#{job}").get_by_role("button", name="Try again").click()
            expect(page.locator("#jobs > .card.is-running")).to_be_visible(timeout=PATIENCE_MS)
            page.goto("about:blank")
    finally:
        context.close()
        first.kill()
