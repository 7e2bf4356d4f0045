# SPDX-License-Identifier: Apache-2.0
"""What the machine does, as a real browser shows it while the real server works."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from inglenook.testing.server import RunningServer
from tests.e2e.browser import PATIENCE_MS, Watched, violations, watched
from tests.e2e.workbench import LONG, Workbench, eventually

pytestmark = pytest.mark.slow

SECRET_WORDS = "a zebra made of glass"


@pytest.fixture
def bench(server: RunningServer) -> Iterator[Workbench]:
    made = Workbench(server)
    yield made
    for job in made.http.get("/v1/jobs").json()["data"]:
        if job["finished_at"] is None:
            made.http.post(f"/v1/jobs/{job['id']}/cancel")


def long_job(bench: Workbench, **fields: Any) -> str:
    return str(bench.order(**{**LONG, **fields})["id"])


def log_lines(page: Page) -> str:
    return str(page.locator("#log").inner_text())


def test_a_job_is_seen_to_come_to_run_and_to_end_without_a_reload(nook: Watched, bench: Workbench) -> None:
    page = nook.open("/activity")
    running, waiting = long_job(bench, prompt=SECRET_WORDS), long_job(bench, prompt="a late fox")
    row = page.locator(f"#{running}")
    expect(row).to_contain_text(re.compile(r"Step \d+ of 150"), timeout=PATIENCE_MS)
    expect(page.locator("#now-residents")).to_contain_text("at work")
    expect(page.locator("#now-devices")).to_contain_text("reserved")
    expect(page.locator("#now-devices .embers")).to_have_attribute("aria-label", re.compile("of .* reserved"))
    expect(page.locator("#now-queue")).to_contain_text("Next in line: starter-339 is at work")
    expect(page.locator(f"#{waiting}")).to_contain_text("Next in line")
    expect(page.locator("#now-recent")).to_contain_text("starter-339 is ready", timeout=PATIENCE_MS)
    page.locator(f"#cancel-{waiting}").click()
    expect(page.locator(f"#{waiting}")).to_contain_text("cancelled")
    expect(page.locator("#now-queue")).to_contain_text("Nobody waits")
    page.locator(f"#cancel-{running}").click()
    expect(row).to_contain_text("Stopped before step", timeout=PATIENCE_MS)
    expect(row).to_contain_text("held")  # what it has cost
    again = row.get_by_role("button", name=re.compile("Try again"))
    again.click()
    expect(page.locator("#job-rows > .job").first).not_to_have_id(running)
    expect(page.locator("#job-rows > .job").first).to_contain_text(SECRET_WORDS)
    expect(again).to_be_enabled()


def test_an_idle_model_is_unloaded_by_its_button_and_a_busy_one_has_none(
    nook: Watched, bench: Workbench
) -> None:
    bench.draw()
    page = nook.open("/activity")
    button = page.locator("[data-unload]")
    expect(button).to_be_enabled(timeout=PATIENCE_MS)
    expect(page.locator("#now-residents")).to_contain_text("idle")
    job = long_job(bench)
    expect(button).to_be_disabled(timeout=PATIENCE_MS)
    resident = str(button.get_attribute("data-unload"))
    refused = bench.http.post(f"/v1/runtime/residents/{resident}/unload")
    assert refused.status_code == 409
    assert refused.json()["error"]["code"] == "resident.busy"
    bench.http.post(f"/v1/jobs/{job}/cancel")
    expect(button).to_be_enabled(timeout=PATIENCE_MS)
    button.click()
    expect(page.locator("#now-residents")).to_contain_text("Nothing is loaded", timeout=PATIENCE_MS)
    expect(page.locator("#now-recent")).to_contain_text("is unloaded (cpu): somebody asked for it")
    eventually(lambda: bench.workers() == [], "the worker has ended")


def test_jobs_are_narrowed_by_how_they_ended_and_paged(nook: Watched, bench: Workbench) -> None:
    done = [one["job_id"] for one in (bench.draw(prompt="a fox"), bench.draw(prompt="an owl"))]
    stopped = long_job(bench)
    bench.http.post(f"/v1/jobs/{stopped}/cancel")
    page = nook.open("/activity")
    page.get_by_role("link", name="Done").click()
    expect(page).to_have_url(re.compile("group=done"))
    expect(page.locator(f"#{done[1]}")).to_contain_text("an owl")
    expect(page.locator(f"#{done[1]} img")).to_have_count(1)
    expect(page.locator(f"#{stopped}")).to_have_count(0)
    page.get_by_role("link", name="Did not succeed").click()
    expect(page.locator(f"#{stopped}")).to_be_visible()
    expect(page.locator(f"#{done[0]}")).to_have_count(0)
    page.get_by_role("link", name="Unfinished").click()
    expect(page.locator(".activity .cold")).to_be_visible()
    running = long_job(bench)
    expect(page.locator(f"#{running}")).to_be_visible()
    page.locator(f"#cancel-{running}").click()
    expect(page.locator(f"#{running}")).to_have_count(0, timeout=PATIENCE_MS)


def test_a_picture_that_was_deleted_leaves_the_row_of_its_job(nook: Watched, bench: Workbench) -> None:
    made = bench.draw(prompt="two owls", n=2)
    page = nook.open("/activity")
    expect(page.locator(f"#{made['job_id']} img")).to_have_count(2)
    bench.http.delete(f"/v1/pictures/{made['data'][0]['picture_id']}")
    page.reload()
    expect(page.locator(f"#{made['job_id']} img")).to_have_count(1)
    kept = made["data"][1]["picture_id"]
    expect(page.locator(f"#{made['job_id']} .job-pictures a")).to_have_attribute("href", f"/pictures/{kept}")


def test_the_log_is_live_can_be_paused_and_filtered_and_holds_no_prompt(
    nook: Watched, bench: Workbench
) -> None:
    bench.draw(prompt=SECRET_WORDS)
    page = nook.open("/activity")
    expect(page.locator("#log")).to_contain_text("loading starter-339")
    expect(page.locator("#log")).to_contain_text("The image worker of starter-339")
    assert "zebra" not in log_lines(page)
    assert "zebra" not in bench.http.get("/v1/runtime/log?limit=1000").text
    page.locator("#log-pause").click()
    resident = bench.http.get("/v1/runtime").json()["residents"][0]["id"]
    before = page.locator("#log > li").count()
    bench.http.post(f"/v1/runtime/residents/{resident}/unload")
    expect(page.locator("#log-pause")).to_have_text(re.compile(r"Go on \(\d+\)"))
    assert page.locator("#log > li").count() == before
    page.locator("#log-pause").click()
    expect(page.locator("#log")).to_contain_text("somebody asked for it")
    page.select_option("#log-level", "error")
    expect(page.locator("#log > .log-info")).to_have_count(0)
    said = "getComputedStyle(document.getElementById('log'), '::before').content"
    assert "Nothing of this kind" in page.evaluate(said)
    page.select_option("#log-level", "info")
    expect(page.locator("#log")).to_contain_text("loading starter-339")


def test_a_page_that_lost_the_server_goes_on_where_things_are(nook: Watched, bench: Workbench) -> None:
    page = nook.open("/activity")
    expect(page.locator("#log")).to_be_visible()
    nook.context.set_offline(True)
    page.evaluate("window.dispatchEvent(new Event('pagehide'))")  # as a browser does that sleeps
    job = bench.draw(prompt="while away")["job_id"]
    nook.context.set_offline(False)
    page.evaluate("window.dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
    expect(page.locator(f"#{job}")).to_contain_text("while away")
    expect(page.locator(f"#{job}")).to_contain_text("done")
    nook.errors[:] = [text for text in nook.errors if "ERR_INTERNET_DISCONNECTED" not in text]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(
    chromium: Browser, server: RunningServer, bench: Workbench, scheme: str
) -> None:
    job = long_job(bench)
    with watched(chromium, server.base_url, color_scheme=scheme, reduced_motion="reduce") as nook:
        page = nook.open("/activity")
        expect(page.locator(f"#{job}")).to_contain_text("Step", timeout=PATIENCE_MS)
        assert violations(page, also=("moderate",)) == []
