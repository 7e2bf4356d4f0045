# SPDX-License-Identifier: Apache-2.0
"""The settings in a real browser: changed, refused, taken back; by keyboard, in the dark, on a phone."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from inglenook.testing.server import RunningServer
from tests.e2e.browser import Watched, violations, watched

pytestmark = pytest.mark.slow

PASSWORD = "a long enough word"
IDLE = "#runtime-idle_unload_s"


@pytest.fixture
def page(nook: Watched) -> Iterator[Page]:
    page = nook.open("/settings")
    yield page
    page.goto("/settings")
    resets = page.get_by_role("button", name=re.compile("^Reset "))
    while left := resets.count():
        resets.first.click()
        expect(resets).to_have_count(left - 1)


def refused(nook: Watched) -> None:
    """Forget that the browser reports an answer of 401, 422 or 429 as an error of the console."""
    nook.errors[:] = [text for text in nook.errors if "Failed to load resource" not in text]


def test_a_setting_is_changed_says_when_it_counts_and_is_taken_back(page: Page) -> None:
    row = page.locator(IDLE)
    expect(row).to_contain_text("It is the default.")
    row.get_by_role("textbox").fill("120")
    row.get_by_role("button", name="Save runtime.idle_unload_s").click()
    expect(page.locator(IDLE)).to_contain_text("Saved.")
    expect(page.locator(IDLE)).to_contain_text(
        "After a restart. Now 300, from default; then 120, from override by owner"
    )
    expect(page.locator(IDLE).get_by_role("textbox")).to_be_focused()
    page.reload()
    expect(page.locator("#waiting")).to_contain_text("runtime.idle_unload_s becomes 120")
    page.locator(IDLE).get_by_role("button", name="Reset runtime.idle_unload_s").click()
    expect(page.locator(IDLE)).to_contain_text("Taken back.")
    expect(page.locator(IDLE).get_by_role("textbox")).to_have_value("300")


def test_a_wrong_value_has_its_error_beside_it_and_stays_typed(page: Page, nook: Watched) -> None:
    row = page.locator(IDLE)
    row.get_by_role("textbox").fill("soon")
    row.get_by_role("textbox").press("Enter")
    expect(page.locator(f"{IDLE} .field-error")).to_contain_text("must be a number")
    expect(page.locator(IDLE).get_by_role("textbox")).to_have_value("soon")
    expect(page.locator(IDLE).get_by_role("textbox")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#say")).to_contain_text("must be a number")
    assert violations(page, also=("moderate",)) == []
    refused(nook)


def test_a_choice_is_made_and_early_and_secret_settings_have_no_form(page: Page) -> None:
    row = page.locator("#language-flash_attention")
    row.get_by_role("combobox").select_option("off")
    row.get_by_role("button", name="Save language.flash_attention").click()
    expect(page.locator("#language-flash_attention")).to_contain_text("After a restart.")
    for setting in ("#server-port", "#store-database_url", "#server-admin_password"):
        expect(page.locator(f"{setting} form")).to_have_count(0)
    expect(page.locator("#server-admin_password")).to_contain_text("It is not set.")


def test_a_setting_is_found_by_words(page: Page) -> None:
    page.get_by_label("Find a setting").fill("idle unloaded")
    expect(page.locator(".setting:visible")).to_have_count(1)
    expect(page.locator(IDLE)).to_be_visible()
    expect(page.locator("#found")).to_have_text("One setting.")
    page.get_by_label("Find a setting").fill("")
    assert page.locator(".setting:visible").count() > 40


def test_it_works_with_the_keyboard_alone(page: Page) -> None:
    page.locator(IDLE).get_by_role("textbox").focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("90")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(IDLE)).to_contain_text("Saved.")
    expect(page.locator(IDLE).get_by_role("textbox")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(IDLE)).to_contain_text("Taken back.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(chromium: Browser, server: RunningServer, scheme: str) -> None:
    with watched(chromium, server.base_url, color_scheme=scheme) as nook:
        assert violations(nook.open("/settings")) == []


def test_it_fits_a_phone(chromium: Browser, server: RunningServer) -> None:
    with watched(chromium, server.base_url, viewport={"width": 360, "height": 740}) as nook:
        page = nook.open("/settings")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_it_works_without_scripts(chromium: Browser, server: RunningServer) -> None:
    with watched(chromium, server.base_url, java_script_enabled=False) as nook:
        page = nook.open("/settings")
        page.locator(IDLE).get_by_role("textbox").fill("60")
        page.get_by_role("button", name="Save runtime.idle_unload_s").click()
        expect(page.locator("#waiting")).to_contain_text("becomes 60")
        page.get_by_role("button", name="Reset runtime.idle_unload_s").click()
        expect(page.locator("#waiting")).to_have_count(0)


def test_with_a_password_one_logs_in_and_out(chromium: Browser, tmp_path: Path) -> None:
    environ = {"INGLENOOK_SERVER__ADMIN_PASSWORD": PASSWORD, "OMP_NUM_THREADS": "1"}
    with RunningServer.start(tmp_path / "data", environ=environ, timeout_s=180) as server:
        with watched(chromium, server.base_url) as nook:
            page = nook.open("/settings")
            expect(page).to_have_url(re.compile(r"/login\?next=%2Fsettings$"))
            assert violations(page, also=("moderate",)) == []
            page.get_by_label("Password").fill("a wrong word")
            page.get_by_role("button", name="Log in").click()
            expect(page.locator("#error-password")).to_contain_text("not the administrator's password")
            refused(nook)
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Log in").click()
            expect(page).to_have_url(re.compile(r"/settings$"))
            assert page.evaluate("document.cookie") == "", "scripts read no cookie of ours"
            expect(page.locator("#server-admin_password")).to_contain_text("It is set; it is not shown.")
            page.get_by_role("button", name="Log out").click()
            page.goto("/settings")
            expect(page).to_have_url(re.compile(r"/login"))
