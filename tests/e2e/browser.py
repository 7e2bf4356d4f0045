# SPDX-License-Identifier: Apache-2.0
"""The pages in a real browser: what a test needs to open them, to draw, and to measure."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright

from inglenook.testing import parts

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 240_000
"""For a picture on a busy machine."""
expect.set_options(timeout=30_000)  # for all the rest: Playwright's five seconds pass on a busy machine

LONG = {"n": "8", "steps": "100"}
"""A job that does not end by itself while a test looks at it."""


@contextmanager
def chromium_browser() -> Iterator[Browser]:
    path = parts.chromium()
    parts.require(path is not None, "needs Chromium (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Watched:
    """A browser context, and everything in it that should not have happened."""

    context: BrowserContext
    base_url: str
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def page(self) -> Page:
        page = self.context.new_page()
        page.on("request", self._asked)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda said: self._said(said.type, said.text))
        return page

    def _said(self, kind: str, text: str) -> None:
        """A page that is left while a request is under way makes htmx report two errors: aborted."""
        if kind != "error":
            return
        if text.startswith("htmx:sendAbort"):
            if self.errors and self.errors[-1].startswith("htmx:afterRequest"):
                self.errors.pop()
            return
        self.errors.append(text)

    def open(self, path: str = "/") -> Page:
        page = self.page()
        page.goto(self.base_url + path)
        return page

    def _asked(self, request: Request) -> None:
        self.requests.append(request.url)

    @property
    def foreign(self) -> list[str]:
        here = urlsplit(self.base_url).netloc
        return [url for url in self.requests if urlsplit(url).netloc not in (here, "")]

    def job(self, job_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.context.request.get(f"/v1/jobs/{job_id}").json()
        return answer

    def stop_everything(self) -> None:
        """So that the next test does not wait behind this one's jobs."""
        for job in self.context.request.get("/v1/jobs").json()["data"]:
            if job["finished_at"] is None:
                self.context.request.post(f"/v1/jobs/{job['id']}/cancel")


@contextmanager
def watched(browser: Browser, base_url: str, **options: Any) -> Iterator[Watched]:
    """A browser that has never been here. At the end: no other host was asked, nothing was wrong."""
    context = browser.new_context(base_url=base_url, **options)
    context.set_default_timeout(30_000)
    nook = Watched(context, base_url)
    yield nook
    nook.stop_everything()
    context.close()
    assert nook.foreign == []
    assert nook.errors == [], nook.errors


def unfold(page: Page, name: str) -> None:
    """Open a folded part of the form."""
    fold = page.locator(f"#fold-{name}")
    if not fold.evaluate("fold => fold.open"):
        fold.locator("> summary").click()


_UNFOLD = "it => { for (let f = it; f; f = f.parentElement) if (f.tagName === 'DETAILS') f.open = true }"


def fill(page: Page, **fields: str) -> None:
    """Type into fields of the form, wherever they are folded away."""
    for name, value in fields.items():
        control = page.locator(f"#{name}")
        control.evaluate(_UNFOLD)
        if control.evaluate("it => it.tagName") == "SELECT":
            control.select_option(value)
        else:
            control.fill(value)


def send(page: Page) -> str:
    """Press Draw; the id of the job whose card appears on top."""
    before = page.locator("#jobs > .card").evaluate_all("cards => cards.map(card => card.id)")
    page.get_by_role("button", name="Draw", exact=True).click()
    fresh = page.locator("#jobs > .card").first
    expect(fresh).not_to_have_id(before[0] if before else "none")
    return str(fresh.get_attribute("id"))


def draw(page: Page, prompt: str, **fields: str) -> str:
    """Fill the form and send it; the id of the job."""
    fill(page, prompt=prompt, **fields)
    return send(page)


@contextmanager
def passes_by(page: Page, selector: str, text: str = "") -> Iterator[None]:
    """What is done inside makes something appear, if only for a moment: each change of the page is looked at.

    Args:
        text: a regular expression for what is written in it.
    """
    page.evaluate(
        """([selector, text]) => {
            window.passedBy = false;
            const wanted = new RegExp(text);
            const fits = (it) => it.checkVisibility() && wanted.test(it.textContent);
            new MutationObserver((_, observer) => {
                if (![...document.querySelectorAll(selector)].some(fits)) return;
                window.passedBy = true;
                observer.disconnect();
            }).observe(document, {subtree: true, childList: true, characterData: true, attributes: true});
        }""",
        [selector, text],
    )
    yield
    page.wait_for_function("() => window.passedBy", timeout=PATIENCE_MS)


def is_loaded(page: Page, selector: str) -> bool:
    return bool(page.locator(selector).first.evaluate("img => img.decode().then(() => img.naturalWidth > 0)"))


def violations(page: Page, *, also: Collection[str] = ()) -> list[str]:
    """What axe-core finds that is serious, critical or one of `also`, with where it is."""
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        f"{one['id']} ({one['impact']}): {one['help']}: {[it['html'][:160] for it in one['nodes'][:5]]}"
        for one in found
        if one["impact"] in ("serious", "critical", *also)
    ]
