# SPDX-License-Identifier: Apache-2.0
"""Every control of the Chat page in a real browser, over the real server, with real models that are small."""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

from inglenook.testing.server import RunningServer
from tests.e2e.browser import Watched, passes_by, violations, watched
from tests.e2e.test_page_budget import weigh
from tests.e2e.workbench import eventually
from tests.gguf_files import write_llama
from tests.starters import with_starters

pytestmark = pytest.mark.slow

SMOL = "smollm2-135m-instruct"
TINY = "tiny"
"""Answers at once, in real words without sense."""
PATIENCE_MS = 120_000
WHEN = "2026-11-01T12:00:00Z"
PAYLOADS = (
    "<script>window.bad = 1</script>",
    "<img src=x onerror='window.bad = 2'>",
    "<svg/onload=window.bad=3>",
    "[link](javascript:window.bad=4)",
    "[link](JaVaScRiPt:window.bad=5)",
    "[link](java\tscript:window.bad=6)",
    "[link](&#106;avascript:window.bad=7)",
    "[link](data:text/html,<script>window.bad=8</script>)",
    "[link](vbscript:window.bad=9)",
    "![picture](https://evil.example/pixel.png)",
    "![picture](javascript:window.bad=10)",
    '![x](https://evil.example/a.png" onerror="window.bad=11)',
    "<iframe src=https://evil.example></iframe>",
    "<style>@import url(https://evil.example/x.css)</style>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<base href=https://evil.example/>",
    "<form action=https://evil.example><input autofocus onfocus=window.bad=12></form>",
    "<a href=https://evil.example ping=https://evil.example/ping>x</a>",
    "<details open ontoggle=window.bad=13>",
    "<math><mtext></table><mglyph><style><img src=x onerror=window.bad=14>",
    "```html\n<script>window.bad = 15</script>\n```",
    '```"><img src=x onerror=window.bad=16>\ncode\n```',
    "`<img src=x onerror=window.bad=17>`",
    "| a | <img src=x onerror=window.bad=18> |\n|---|---|\n| [x](javascript:window.bad=19) | b |",
    "<https://evil.example/auto> and www.evil.example and //evil.example/x",
    '[x]: javascript:window.bad=20 "t"\n[x]',
    "> " * 500 + "deep",
    "${window.bad = 21}{{ window.bad }}{% raw %}",
    "</li></ol></main><script>window.bad = 22</script>",
    "</textarea><script>window.bad=23</script>",
    "&lt;script&gt;window.bad=24&lt;/script&gt;",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, chat_model: Path) -> Iterator[RunningServer]:
    data = with_starters(tmp_path_factory.mktemp("data"), chat_model)
    (data / "models").mkdir()
    write_llama(data / "models" / f"{TINY}.gguf")
    environ = {"INGLENOOK_RUNTIME__CPU_THREADS": "1", "OMP_NUM_THREADS": "1"}
    with RunningServer.start(data, environ=environ) as running:
        yield running


class Chats:
    """The server's conversations, emptied for each test, and a page."""

    def __init__(self, nook: Watched, http: httpx.Client) -> None:
        self.nook = nook
        self.http = http

    def create(self, *, model: str = TINY, **fields: Any) -> str:
        fields.setdefault("parameters", {"max_tokens": 12, "seed": 3})
        answer = self.http.post("/v1/conversations", json={"model": model, **fields})
        return str(answer.raise_for_status().json()["id"])

    def bring(self, *messages: tuple[str, str], title: str = "") -> str:
        """A conversation of (role, text), one after the other, as if they had been said."""
        said = [
            {"id": str(n), "parent": str(n - 1) if n else None, "role": role, "created_at": WHEN}
            | {"parts": [{"type": "text", "text": text}], "model": "" if role == "user" else TINY}
            for n, (role, text) in enumerate(messages)
        ]
        document = {
            "format": "inglenook.conversation",
            "version": 1,
            "title": title,
            "model": TINY,
            "created_at": WHEN,
            "updated_at": WHEN,
            "messages": said,
            "parameters": {"max_tokens": 12},
        }
        files = {"file": ("x.json", json.dumps(document).encode())}
        return str(self.http.post("/v1/conversations/import", files=files).json()["data"][0]["id"])

    def get(self, talk: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"/v1/conversations/{talk}").json()
        return found

    def messages(self, talk: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get(talk)["messages"]
        return found

    def open(self, talk: str = "") -> Page:
        return self.nook.open(f"/chat/{talk}" if talk else "/chat")


@pytest.fixture
def chats(nook: Watched, server: RunningServer) -> Iterator[Chats]:
    with httpx.Client(base_url=server.base_url, trust_env=False, timeout=60) as http:
        for query in ("archived=false", "archived=true"):
            for one in http.get(f"/v1/conversations?limit=200&{query}").json()["data"]:
                http.delete(f"/v1/conversations/{one['id']}?forever=true")
        http.post("/v1/conversations/empty-trash")
        for one in http.get("/v1/presets").json()["data"]:
            http.delete(f"/v1/presets/{one['id']}")
        yield Chats(nook, http)


def say(page: Page, text: str) -> None:
    page.fill("#message", text)
    page.locator("#message").press("Enter")


def answered(page: Page, count: int = 1) -> None:
    """Wait for the end of an answer: the thread is the server's again."""
    done = page.locator("#thread > .said-model:not(.is-writing)[data-parent]")
    expect(done).to_have_count(count, timeout=PATIENCE_MS)
    expect(page.locator("#send")).to_be_visible()


def talk_of(page: Page) -> str:
    return page.url.rpartition("/")[2]


def texts(page: Page, role: str) -> list[str]:
    return [text.strip() for text in page.locator(f".said-{role} [data-text]").all_inner_texts()]


# -- saying and answering --------------------------------------------------------------------------------


def test_a_first_message_makes_a_conversation_and_the_answer_comes_with_its_figures(chats: Chats) -> None:
    page = chats.open()
    expect(page.locator("#empty")).to_contain_text("It stays on this machine")
    page.select_option("#talk-model", TINY)
    say(page, "Tell me of\nthe water")
    answered(page)
    assert re.search(r"/chat/cnv_\w+$", page.url)
    assert texts(page, "mine") == ["Tell me of\nthe water"]
    assert len(texts(page, "model")[0]) > 3
    expect(page.locator(".said-model .said-facts")).to_contain_text(
        re.compile(r"\d+ tokens · [\d.]+ tokens/s · \d+ in")
    )
    expect(page.locator("#talk-title")).to_have_text("Tell me of the water")
    expect(page.locator("#talks [aria-current]")).to_have_text("Tell me of the water")
    expect(page.locator("#message")).to_be_focused()
    expect(page.locator("#message")).to_have_value("")
    expect(page.locator("#say")).to_contain_text("Answer:")
    page.reload()
    assert len(texts(page, "mine")) == len(texts(page, "model")) == 1
    assert chats.get(talk_of(page))["model"] == TINY


def test_shift_enter_breaks_the_line_and_an_empty_message_is_not_sent(chats: Chats) -> None:
    page = chats.open(chats.create())
    page.locator("#message").press("Enter")
    page.locator("#message").type("one")
    page.locator("#message").press("Shift+Enter")
    page.locator("#message").type("two")
    expect(page.locator("#message")).to_have_value("one\ntwo")
    page.locator("#message").press("Enter")
    answered(page)
    assert texts(page, "mine") == ["one\ntwo"]


def test_pressed_twice_a_message_is_said_once(chats: Chats) -> None:
    talk = chats.create()
    page = chats.open(talk)
    page.fill("#message", "hello")
    page.evaluate("for (const _ of [1, 2]) document.getElementById('composer').requestSubmit()")
    answered(page)
    assert [one["role"] for one in chats.messages(talk)] == ["user", "assistant"]


def test_escape_and_the_button_stop_an_answer_and_what_was_said_is_kept(chats: Chats) -> None:
    talk = chats.create(model=SMOL, parameters={"max_tokens": 600, "temperature": 0.0})
    page = chats.open(talk)
    say(page, "Count from one to a thousand, with words.")
    expect(page.locator(".said-live .md")).to_contain_text(re.compile(r"\w+"), timeout=PATIENCE_MS)
    page.keyboard.press("Escape")
    expect(page.locator(".said-model.is-stopped")).to_contain_text("Stopped.", timeout=PATIENCE_MS)
    kept = chats.messages(talk)[1]
    assert (kept["state"], kept["finish_reason"]) == ("stopped", "cancelled")
    assert texts(page, "model")[0]
    assert kept["timings"]["predicted_n"] < 600
    page.locator("[data-retry]").click()
    expect(page.locator(".said-live .md")).to_contain_text(re.compile(r"\w+"), timeout=PATIENCE_MS)
    page.locator("#stop").click()
    expect(page.locator(".branches")).to_contain_text("2/2", timeout=PATIENCE_MS)
    assert [one["state"] for one in chats.messages(talk)[1:]] == ["stopped", "stopped"]


def test_leaving_the_page_stops_the_answer_and_keeps_what_was_said(chats: Chats) -> None:
    talk = chats.create(model=SMOL, parameters={"max_tokens": 600, "temperature": 0.0})
    page = chats.open(talk)
    say(page, "Count from one to a thousand, with words.")
    expect(page.locator(".said-live .md")).to_contain_text(re.compile(r"\w+"), timeout=PATIENCE_MS)
    page.goto("/gallery")
    page.goto(f"/chat/{talk}")
    expect(page.locator(".said-model.is-stopped")).to_contain_text(
        "the page that asked was left", timeout=PATIENCE_MS
    )
    kept = chats.messages(talk)[1]
    assert kept["finish_reason"] == "client_gone"
    assert kept["parts"][0]["text"]


def test_an_answer_again_and_an_edited_message_are_branches_with_a_switcher(chats: Chats) -> None:
    talk = chats.create(parameters={"max_tokens": 8})
    page = chats.open(talk)
    say(page, "one")
    answered(page)
    first = texts(page, "model")
    page.locator("[data-retry]").click()
    expect(page.locator(".said-model .branches")).to_contain_text("2/2", timeout=PATIENCE_MS)
    page.locator(".said-model [data-show]:not([disabled])").press("Enter")
    expect(page.locator(".said-model .branches")).to_contain_text("1/2")
    assert texts(page, "model") == first
    focused = page.evaluate("document.activeElement.closest('.branches') !== null")
    assert focused
    page.locator(".said-mine [data-edit]").click()
    field = page.get_by_label("Your message, edited")
    expect(field).to_be_focused()
    expect(field).to_have_value("one")
    field.fill("two")
    field.press("Enter")
    expect(page.locator(".said-mine .branches")).to_contain_text("2/2", timeout=PATIENCE_MS)
    answered(page)
    assert texts(page, "mine") == ["two"]
    page.locator(".said-mine [aria-label='Version before']").click()
    expect(page.locator(".said-mine .branches")).to_contain_text("1/2")
    assert texts(page, "mine") == ["one"]
    expect(page.locator(".said-model .branches")).to_contain_text("2/2")  # the newest end of that branch
    assert len(chats.messages(talk)) == 5
    page.reload()
    assert texts(page, "mine") == ["one"]


def test_an_edit_can_be_left_as_it_was(chats: Chats) -> None:
    page = chats.open(chats.bring(("user", "one"), ("assistant", "yes")))
    page.locator("[data-edit]").click()
    page.get_by_label("Your message, edited").fill("two")
    page.keyboard.press("Escape")
    expect(page.locator("[data-edit]")).to_be_focused()
    assert texts(page, "mine") == ["one"]


def test_what_is_said_in_another_page_does_not_take_away_a_message_that_is_being_edited(
    chats: Chats,
) -> None:
    talk = chats.bring(("user", "one"), ("assistant", "yes"))
    left, right = chats.open(talk), chats.open(talk)
    left.locator("[data-edit]").click()
    field = left.get_by_label("Your message, edited")
    field.fill("two")
    say(right, "three")
    answered(right, 2)
    left.wait_for_function("() => threadWaits")
    expect(field).to_have_value("two")
    left.get_by_role("button", name="Leave as it was").click()
    expect(left.locator("#thread")).to_contain_text("three")


def test_a_refusal_before_the_answer_shows_its_reason_and_a_way_to_try_again(chats: Chats) -> None:
    talk = chats.create()
    page = chats.open(talk)
    problem = {"error": {"message": "No room: flux is at work.", "code": "x"}}
    page.route("**/answers", lambda route: route.fulfill(status=503, json=problem))
    say(page, "hello")
    expect(page.locator("#failed")).to_contain_text("No room: flux is at work.")
    assert violations(page) == []
    page.unroute("**/answers")
    page.locator("[data-again]").click()
    answered(page)
    expect(page.locator("#failed")).to_be_hidden()
    chats.nook.errors.clear()  # the browser notes the refusal


def test_a_connection_that_breaks_in_mid_answer_is_told_and_the_text_stays(chats: Chats) -> None:
    talk = chats.create()
    page = chats.open(talk)

    def cut(route: Route) -> None:
        body = 'event: message\ndata: {"id": "msg_x"}\n\nevent: text\ndata: "half a sen"\n\n'
        route.fulfill(status=200, content_type="text/event-stream", body=body)

    page.route("**/answers", cut)
    say(page, "hello")
    expect(page.locator("#failed")).to_contain_text("The connection was lost")
    expect(page.locator("#message")).to_be_enabled()
    page.unroute("**/answers")
    page.locator("[data-again]").click()
    answered(page)


def test_a_failed_answer_shows_the_reason_that_was_kept(chats: Chats) -> None:
    talk = chats.create(model=SMOL, parameters={"max_tokens": 4})
    asked = {"content": "x", "parent": None}
    message = chats.http.post(f"/v1/conversations/{talk}/messages", json=asked).json()["id"]
    chats.http.patch(f"/v1/conversations/{talk}", json={"system": "very long " * 9000})
    chats.http.post(f"/v1/conversations/{talk}/answers", json={"message": message})
    page = chats.open(talk)
    expect(page.locator(".said-model.is-failed .problem")).to_contain_text("tokens")
    expect(page.locator(".said-model [data-retry]")).to_be_visible()
    assert violations(page) == []


def test_two_pages_on_one_conversation_both_see_everything(chats: Chats) -> None:
    talk = chats.bring(("user", "one"), ("assistant", "yes"))
    left, right = chats.open(talk), chats.open(talk)
    say(left, "from the left")
    answered(left, 2)
    expect(right.locator("#thread")).to_contain_text("from the left", timeout=30_000)
    answered(right, 2)  # said before the answer is there, it would stand beside what was said on the left
    say(right, "from the right")
    answered(right, 3)
    expect(left.locator("#thread")).to_contain_text("from the right", timeout=30_000)
    assert len(chats.messages(talk)) == 6
    parents = [one["parent"] for one in chats.messages(talk)]
    assert parents[1:] == [one["id"] for one in chats.messages(talk)][:-1]


# -- Markdown --------------------------------------------------------------------------------------------


def test_what_a_model_writes_is_shown_as_markdown_and_code_has_colours_and_a_button(chats: Chats) -> None:
    text = (
        "# Title\n\nSome **bold**, *leaning*, ~~gone~~ and `code` &amp; a [link](https://example.org/x).\n\n"
        "- one\n- [x] two\n\n3. three\n\n> quoted\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n"
        "```python\ndef f():\n    return 'x'  # why\n```\n"
    )
    page = chats.open(chats.bring(("user", "**as it is**"), ("assistant", text)))
    md = page.locator(".said-model .md")
    expect(md.locator("h3")).to_have_text("Title")
    expect(md.locator("strong")).to_have_text("bold")
    expect(md.locator("p").first).to_contain_text("code & a link")
    link = md.get_by_role("link")
    expect(link).to_have_attribute("href", "https://example.org/x")
    expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")
    expect(md.locator("li input[type=checkbox]")).to_be_checked()
    expect(md.locator("ol")).to_have_attribute("start", "3")
    expect(md.locator("blockquote")).to_have_text("quoted")
    expect(md.locator("td").nth(1)).to_have_class("to-right")
    expect(md.locator(".code-head span")).to_have_text("python")
    expect(md.locator(".hljs-keyword").first).to_have_text("def")
    assert md.locator(".code code").inner_text() == "def f():\n    return 'x'  # why"
    assert texts(page, "mine") == ["**as it is**"]
    assert violations(page) == []
    chats.nook.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("[data-copy-code]").click()
    expect(page.locator("#say")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "def f():\n    return 'x'  # why"
    page.locator(".said-model [data-copy]").click()
    eventually(lambda: page.evaluate("navigator.clipboard.readText()") == text, "it is copied")


def test_nothing_that_stands_in_a_conversation_runs_or_asks_another_host(chats: Chats) -> None:
    every = "\n\n".join(PAYLOADS)
    said = [
        *(("assistant" if n % 2 else "user", text) for n, text in enumerate((every, *PAYLOADS, every, every)))
    ]
    talk = chats.bring(*said, title=PAYLOADS[0] + PAYLOADS[1])
    chats.http.post("/v1/presets", json={"name": PAYLOADS[1], "text": PAYLOADS[8]})
    chats.http.patch(f"/v1/conversations/{talk}", json={"system": PAYLOADS[9]})
    page = chats.open(talk)
    expect(page.locator(".md.is-shown").last).to_contain_text("picture")
    for fold in page.locator("#thread details").all():
        fold.evaluate("it => it.open = true")
    page.evaluate("document.querySelectorAll('#thread a').forEach(a => a.focus())")
    page.fill("#talk-words", "script")
    expect(page.locator("#talks a").first).to_contain_text("<script>")
    page.wait_for_load_state("networkidle")
    assert page.evaluate("window.bad") is None
    assert page.evaluate("window.frames.length") == 0
    outside = page.locator("#thread img, #thread iframe, #thread script, #thread style, #thread form")
    assert outside.count() == 0
    addresses = page.locator("#thread .md a").evaluate_all("all => all.map(a => new URL(a.href).protocol)")
    assert set(addresses) <= {"http:", "https:", "mailto:"}
    assert len(addresses) > 3
    assert chats.nook.foreign == []


def test_a_text_that_comes_in_pieces_is_in_the_end_what_it_is_at_once(chats: Chats) -> None:
    page = chats.open(chats.bring(("user", "x"), ("assistant", "y")))
    text = "# A\n\nsome **bold**\n\n- one\n- two\n\n```js\nlet a = 1;\n```\n\n| a |\n|---|\n| 1 |\n\nend [x](https://example.org)"
    same = page.evaluate(
        """text => {
            const whole = document.createElement("div"), pieces = document.createElement("div");
            showMarkdown(whole, text);
            for (let end = 1; end <= text.length; end += 1) showMarkdown(pieces, text.slice(0, end), false);
            const first = pieces.firstElementChild;
            showMarkdown(pieces, text, true);
            const plain = it => it.innerHTML.replace(/<\\/?span[^>]*>/g, "");
            return [plain(whole) === plain(pieces), first === pieces.firstElementChild];
        }""",
        text,
    )
    assert same == [True, True]


# -- settings, models, presets ---------------------------------------------------------------------------


def test_settings_are_kept_with_the_conversation_and_reach_the_model(chats: Chats) -> None:
    page = chats.open()
    page.select_option("#talk-model", TINY)
    page.locator("[data-settings]").click()
    page.fill("#system", "Be brief.")
    for name, value in (("temperature", "0"), ("top_p", "0.9"), ("top_k", "20"), ("min_p", "0.1")):
        page.fill(f"#set-{name}", value)
    page.fill("#set-repeat_penalty", "1.1")
    page.fill("#set-max_tokens", "5")
    page.fill("#set-seed", "7")
    page.fill("#set-context", "256")
    page.fill("#set-stop", "END, STOP")
    expect(page.locator("#set-context")).to_have_attribute("placeholder", "up to 1024")
    assert violations(page) == []
    say(page, "hello")
    answered(page)
    talk = talk_of(page)
    found = chats.get(talk)
    assert found["system"] == "Be brief."
    assert found["parameters"] == {
        "temperature": 0,
        "top_p": 0.9,
        "top_k": 20,
        "min_p": 0.1,
        "repeat_penalty": 1.1,
        "max_tokens": 5,
        "seed": 7,
        "context": 256,
        "stop": ["END", "STOP"],
    }
    assert found["messages"][1]["usage"]["completion_tokens"] == 5
    expect(page.locator(".said-model")).to_contain_text("the most tokens that it may have are used up")
    page.fill("#set-temperature", "1.5")
    page.locator("[data-setting=json_mode]").check()
    eventually(lambda: chats.get(talk)["parameters"].get("json_mode") is True, "the setting is kept")
    page.reload()
    page.locator("[data-settings]").click()
    expect(page.locator("#set-temperature")).to_have_value("1.5")
    expect(page.locator("[data-setting=json_mode]")).to_be_checked()
    expect(page.locator("#system")).to_have_value("Be brief.")


def test_of_two_changes_of_a_setting_the_later_one_counts_and_for_the_next_answer_too(chats: Chats) -> None:
    talk = chats.create(parameters={"max_tokens": 9})
    page = chats.open(talk)
    page.locator("[data-settings]").click()
    page.evaluate(
        """() => {
            const ask = window.fetch;
            let first = true;
            window.fetch = async (path, options) => {  // the first change is slow on its way
                if (options?.method === "PATCH" && first) {
                    first = false;
                    await new Promise((go) => setTimeout(go, 500));
                }
                return ask(path, options);
            };
        }"""
    )
    page.fill("#set-max_tokens", "7")
    page.locator("#set-max_tokens").press("Tab")
    page.fill("#set-max_tokens", "3")
    page.locator("#set-max_tokens").press("Tab")
    say(page, "hello")
    answered(page)
    found = chats.get(talk)
    assert found["parameters"]["max_tokens"] == 3
    assert found["messages"][1]["usage"]["completion_tokens"] <= 3


def test_a_setting_out_of_range_is_told_at_its_field_and_nothing_is_sent(chats: Chats) -> None:
    talk = chats.create()
    page = chats.open(talk)
    page.locator("[data-settings]").click()
    page.fill("#set-top_p", "3")
    page.locator("[data-settings]").click()
    say(page, "hello")
    expect(page.locator("#settings-problem")).to_be_visible()
    expect(page.locator("#set-top_p")).to_be_focused()
    expect(page.locator("#set-top_p")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#message")).to_have_value("hello")
    assert chats.messages(talk) == []


def test_the_picker_tells_how_each_model_stands_and_who_answers(chats: Chats, server: RunningServer) -> None:
    talk = chats.bring(("user", "one"), ("assistant", "yes"))
    page = chats.open(talk)
    for resident in chats.http.get("/v1/runtime").json()["residents"]:
        chats.http.post(f"/v1/runtime/residents/{resident['id']}/unload")
    expect(page.locator("#model-line")).to_contain_text("away", timeout=30_000)
    expect(page.locator(f"#talk-model option[value='{SMOL}']")).to_contain_text(re.compile("away|ready"))
    say(page, "two")
    answered(page, 2)
    expect(page.locator("#model-line")).to_have_text("ready", timeout=30_000)
    expect(page.locator("#model-line .dot-ready")).to_be_visible()
    page.select_option("#talk-model", SMOL)
    eventually(lambda: chats.get(talk)["model"] == SMOL, "the model is kept")
    page.locator(".said-model [data-retry]").last.click()
    expect(page.locator(".said-model .branches")).to_contain_text("2/2", timeout=PATIENCE_MS)
    expect(page.locator(".said-model .said-who").last).to_have_text("SmolLM2 135M Instruct")


def test_a_wait_is_shown_with_place_reason_and_time(chats: Chats) -> None:
    page = chats.open(chats.create())
    wait = {"position": 2, "waiting": 3, "reason": {"text": "no room: flux is at work."}, "estimate_s": 4.2}
    page.evaluate("wait => showWait(wait)", wait)
    expect(page.locator("#wait")).to_have_text(
        "Place 2 of 3 · no room: flux is at work · begins in about 4 s"
    )
    page.evaluate("showWait(null)")
    expect(page.locator("#wait")).to_be_hidden()


def test_system_prompts_are_kept_used_and_forgotten(chats: Chats) -> None:
    talk = chats.create()
    page = chats.open(talk)
    page.locator("[data-settings]").click()
    page.fill("#system", "Talk like a pirate.")
    page.fill("#preset-name", "Pirate")
    page.locator("[data-preset-keep]").click()
    expect(page.locator("#say")).to_have_text("Kept as Pirate")
    page.reload()
    page.locator("[data-settings]").click()
    page.fill("#system", "")
    page.select_option("#preset", label="Pirate")
    expect(page.locator("#system")).to_have_value("Talk like a pirate.")
    eventually(lambda: "pirate" in chats.get(talk)["system"], "the system prompt is kept")
    page.locator("[data-preset-delete]").click()
    expect(page.locator("#preset option")).to_have_count(1)
    assert chats.http.get("/v1/presets").json()["data"] == []
    page.fill("#preset-name", "")
    page.locator("[data-preset-keep]").click()
    expect(page.locator("#settings-problem")).to_contain_text("A name has")
    chats.nook.errors.clear()  # the browser notes the refusal


# -- pictures --------------------------------------------------------------------------------------------


def png(shade: int = 90) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), (shade, 90, 160)).save(out, "PNG")
    return out.getvalue()


def test_pictures_need_a_model_that_sees_or_may_change_them(chats: Chats) -> None:
    talk = chats.create()
    page = chats.open(talk)
    page.locator("[data-gallery]").click()
    expect(page.locator("#trouble")).to_contain_text("does not see pictures")
    page.locator("[data-settings]").click()
    page.locator("[data-tool=edit_image]").check()
    page.locator("[data-settings]").click()
    picture = chats.http.post("/v1/pictures/import", files={"file": ("a.png", png())}).json()["data"][0]["id"]
    page.set_input_files("#picture-files", {"name": "fox.png", "mimeType": "image/png", "buffer": png(7)})
    expect(page.locator("#given li")).to_have_count(1)
    page.locator("[data-gallery]").click()
    page.locator("#shelf-shots button").first.click()
    expect(page.locator("#given li")).to_have_count(2)
    page.set_input_files("#picture-files", {"name": "owl.png", "mimeType": "image/png", "buffer": png(8)})
    expect(page.locator("#given li")).to_have_count(3)
    page.get_by_role("button", name="Take out: owl.png").click()
    assert violations(page) == []
    say(page, "What is this?")
    expect(page.locator(".said-mine img")).to_have_count(2, timeout=PATIENCE_MS)
    answered(page)
    parts = chats.messages(talk)[0]["parts"]
    assert [part["type"] for part in parts] == ["image", "image", "text"]
    assert parts[1]["picture"] == picture
    for image in page.locator(".said-mine img").all():
        assert image.evaluate("it => it.decode().then(() => it.naturalWidth > 0)")
    page.locator("[data-edit]").click()
    page.get_by_label("Your message, edited").fill("And now?")
    page.keyboard.press("Enter")
    expect(page.locator(".said-mine .branches")).to_contain_text("2/2", timeout=PATIENCE_MS)
    answered(page)
    assert page.locator(".said-mine img").count() == 2


def test_a_picture_can_be_pasted_and_dropped(chats: Chats) -> None:
    page = chats.open(chats.create(parameters={"tools": ["edit_image"], "max_tokens": 4}))
    give = """async ([kind, bytes]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], `${kind}.png`, {type: "image/png"}));
        const target = document.getElementById("message");
        const event = kind === "paste"
            ? new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true})
            : new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true});
        target.dispatchEvent(event);
    }"""
    page.evaluate(give, ["paste", list(png(1))])
    expect(page.locator("#given li")).to_have_count(1)
    page.evaluate(give, ["drop", list(png(2))])
    expect(page.locator("#given li")).to_have_count(2)


def test_a_conversation_draws_and_the_picture_is_in_the_answer_and_in_the_gallery(chats: Chats) -> None:
    """The small model calls because its calls are held to a schema; what it asks for makes little sense."""
    talk = chats.create(model=SMOL, parameters={"temperature": 0.0, "max_tokens": 60})
    page = chats.open(talk)
    page.locator("[data-settings]").click()
    page.locator("[data-tool=generate_image]").check()
    page.locator("[data-settings]").click()
    with passes_by(page, ".said-live .said-pictures img"):
        say(page, "Please call generate_image to draw a picture of a red fox.")
    answered(page)
    drawn = page.locator(".said-model .said-pictures a").first
    expect(page.locator(".said-model .tool").first).to_contain_text("Draws:")
    assert drawn.locator("img").evaluate("it => it.decode().then(() => it.naturalWidth > 0)")
    picture = (drawn.get_attribute("href") or "").rpartition("/")[2]
    assert chats.http.get(f"/v1/pictures/{picture}").status_code == 200
    drawn.click()
    expect(page).to_have_url(re.compile(f"/pictures/{picture}"))


# -- the list --------------------------------------------------------------------------------------------


def test_conversations_are_found_renamed_pinned_archived_and_come_back_from_the_trash(chats: Chats) -> None:
    foxes = chats.bring(("user", "Where do foxes sleep?"), ("assistant", "In a den."), title="Foxes")
    chats.bring(("user", "How long does rye rest?"), title="Bread")
    page = chats.open(foxes)
    expect(page.locator("#talks a")).to_have_count(2)
    page.fill("#talk-words", "den")
    expect(page.locator("#talks a")).to_have_text(["Foxes"])
    expect(page.locator("#talks [aria-current]")).to_have_count(1)
    page.fill("#talk-words", "nothing like it")
    expect(page.locator("#talks")).to_contain_text("Nothing fits")
    page.fill("#talk-words", "")
    expect(page.locator("#talks a")).to_have_count(2)
    page.locator("[data-rename]").click()
    page.fill("#new-title", "Animals")
    page.keyboard.press("Enter")
    expect(page.locator("#talk-title")).to_have_text("Animals")
    page.locator("[data-pin]").click()
    expect(page.locator("[data-pin]")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#talks a").first).to_contain_text("Pinned: Animals")
    page.locator("[data-archive]").click()
    expect(page.locator("#talks a")).to_have_text(["Bread"])
    page.select_option("#talk-view", "archived")
    expect(page.locator("#talks a")).to_have_count(1)
    page.locator("[data-archive]").click()
    expect(page.locator("[data-archive]")).to_have_attribute("aria-pressed", "false")
    page.select_option("#talk-view", "")
    page.locator("[data-delete]").click()
    expect(page.locator("#toast")).to_contain_text("lies in the trash")
    expect(page.locator("#talks a")).to_have_text(["Bread"])
    page.locator("[data-undo]").click()
    expect(page).to_have_url(re.compile(foxes))
    expect(page.locator("#talk-title")).to_have_text("Animals")
    page.wait_for_load_state()  # its scripts run when all of it is there
    page.locator("[data-delete]").click()
    expect(page.locator("#talks a")).to_have_text(["Bread"])
    page.select_option("#talk-view", "trashed")
    page.get_by_role("button", name="Restore Animals").click()
    expect(page.locator("#talks")).to_contain_text("The trash is empty")
    chats.http.delete(f"/v1/conversations/{foxes}")
    page.select_option("#talk-view", "")
    page.select_option("#talk-view", "trashed")
    gone = page.get_by_role("button", name="Delete Animals for good")
    gone.click()
    gone.click()
    expect(page.locator("#talks")).to_contain_text("The trash is empty")
    assert chats.http.get(f"/v1/conversations/{foxes}").status_code == 404


def test_long_lists_go_on(chats: Chats) -> None:
    for number in range(53):
        chats.create(title=f"Talk {number}")
    page = chats.open()
    expect(page.locator("#talks a[data-talk]")).to_have_count(50)
    page.get_by_role("link", name="Earlier ones").click()
    expect(page.locator("#talks a[data-talk]")).to_have_text(["Talk 2", "Talk 1", "Talk 0"])


def test_conversations_can_be_taken_along_and_brought_back(chats: Chats) -> None:
    talk = chats.bring(("user", "one"), ("assistant", "yes"), title="Kept")
    page = chats.open(talk)
    with page.expect_download() as markdown:
        page.locator("[data-export=markdown]").click()
    assert "## You\n\none" in Path(markdown.value.path()).read_text()
    with page.expect_download() as document:
        page.locator("[data-export=json]").click()
    with page.expect_download() as everything:
        page.get_by_role("link", name="Export all").click()
    names = zipfile.ZipFile(everything.value.path()).namelist()
    assert sorted(Path(name).suffix for name in names) == [".json", ".md"]
    page.set_input_files("#import-file", everything.value.path())
    expect(page.locator("#toast")).to_contain_text("One conversation was imported")
    expect(page.locator("#talks a")).to_have_count(2)
    page.set_input_files("#import-file", document.value.path())
    expect(page.locator("#talks a")).to_have_count(3)
    page.set_input_files("#import-file", {"name": "x.json", "mimeType": "application/json", "buffer": b"{}"})
    expect(page.locator("#trouble")).to_contain_text("no conversation that was exported here")
    chats.nook.errors.clear()  # the browser notes the refusal


def test_a_new_conversation_begins_without_a_reload_and_back_goes_back(chats: Chats) -> None:
    talk = chats.bring(("user", "one"), ("assistant", "yes"), title="Kept")
    page = chats.open(talk)
    page.locator("[data-new]").click()
    expect(page.locator("#empty")).to_be_visible()
    expect(page.locator("#talk-acts")).to_be_hidden()
    expect(page.locator("#message")).to_be_focused()
    assert page.url.endswith("/chat")
    page.go_back()
    expect(page.locator("#talk-title")).to_have_text("Kept")
    page.wait_for_load_state()
    assert texts(page, "mine") == ["one"]


def test_a_conversation_thrown_away_elsewhere_is_told(chats: Chats) -> None:
    talk = chats.bring(("user", "one"), ("assistant", "yes"))
    page = chats.open(talk)
    chats.http.delete(f"/v1/conversations/{talk}")
    expect(page.locator("#trouble")).to_contain_text("thrown away in another page", timeout=30_000)


def test_without_scripts_one_can_find_and_read(
    chromium: Browser, server: RunningServer, chats: Chats
) -> None:
    talk = chats.bring(("user", "one"), ("assistant", "**yes** <b>no</b>"), title="Kept")
    with watched(chromium, server.base_url, java_script_enabled=False) as plain:
        page = plain.open("/chat?search=yes")
        page.get_by_role("link", name="Kept").click()
        assert page.url.endswith(talk)
        expect(page.locator(".said-model")).to_contain_text("**yes** <b>no</b>")


# -- for everybody ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_light_and_dark(
    chromium: Browser, server: RunningServer, chats: Chats, scheme: Any
) -> None:
    text = (
        "# T\n\n```python\ndef f(x: int) -> str:\n    return f'{x}'  # c\n```\n\n> q\n\n| a |\n|---|\n| 1 |"
    )
    talk = chats.bring(("user", "one"), ("assistant", text), ("user", "again"), title="Kept")
    with watched(chromium, server.base_url, color_scheme=scheme, reduced_motion="reduce") as nook:
        page = nook.open("/chat")
        assert violations(page) == []
        page = nook.open(f"/chat/{talk}")
        expect(page.locator(".hljs-keyword").first).to_be_visible()
        page.locator("[data-settings]").click()
        assert violations(page) == []
        page.locator("[data-settings]").click()
        page.locator("[data-answer]").click()
        answered(page, 2)
        page.locator("[data-edit]").first.click()
        page.locator("[data-rename]").click()
        page.evaluate(
            "showWait({reason: {text: 'loading'}, position: 1, waiting: 1}); tellDone('Done', () => {})"
        )
        assert violations(page) == []


def test_everything_can_be_done_with_the_keyboard(chats: Chats) -> None:
    page = chats.open(chats.create())
    expect(page.locator("#message")).to_be_focused()
    page.keyboard.type("hello")
    page.keyboard.press("Enter")
    answered(page)
    expect(page.locator("#message")).to_be_focused()
    reached = []
    for _ in range(14):
        page.keyboard.press("Shift+Tab")
        reached.append(
            page.evaluate(
                "[...document.activeElement.attributes].map(a => a.name).find(n => /^data-/.test(n))"
            )
        )
    wanted = [
        "data-gallery",
        "data-add",
        "data-retry",
        "data-copy",
        "data-edit",
        "data-copy",
        "data-delete",
        "data-export",
    ]
    assert reached[: len(wanted)] == wanted
    page.locator("#message").focus()
    names = []
    for _ in range(4):
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
    assert names[:3] == ["send", "talk-model", "Settings"]
    page.locator("[data-settings]").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#settings")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_phone_shows_all_of_it_without_scrolling_sideways(
    chromium: Browser, server: RunningServer, chats: Chats
) -> None:
    wide = "| " + " | ".join(f"column {n}" for n in range(12)) + " |\n|" + "---|" * 12 + "\n|" + " 1 |" * 12
    talk = chats.bring(
        ("user", "x" * 300), ("assistant", f"{wide}\n\n```\n{'y' * 300}\n```"), title="z" * 150
    )
    with watched(chromium, server.base_url, viewport={"width": 360, "height": 740}, has_touch=True) as phone:
        page = phone.open(f"/chat/{talk}")
        expect(page.locator(".md table")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        page.locator("[data-settings]").click()
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        page.locator("[data-settings]").click()
        page.get_by_role("button", name="Conversations", exact=True).click()
        expect(page.locator("#talk-words")).to_be_focused()
        expect(page.locator("#talks a")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        page.keyboard.press("Escape")
        expect(page.locator(".talks")).to_be_hidden()
        page.get_by_role("button", name="Conversations", exact=True).click()
        page.locator("#talks a").first.click()
        expect(page.locator(".talks")).to_be_hidden()
        page.wait_for_load_state()
        expect(page.locator("#message")).to_be_visible()
        assert violations(page) == []


def test_the_page_with_code_weighs_less_than_350_kb(
    chromium: Browser, server: RunningServer, chats: Chats
) -> None:
    talk = chats.bring(("user", "x"), ("assistant", "```python\ndef f(): pass\n```"))
    context = chromium.new_context(base_url=server.base_url)
    page = context.new_page()
    answers: list[Any] = []
    page.on("response", lambda answer: answers.append(answer))  # noqa: PLW0108 - Playwright marks the function
    page.goto(f"/chat/{talk}", wait_until="load")
    expect(page.locator(".hljs-keyword").first).to_be_visible()
    kinds = ("document", "stylesheet", "script", "font")
    weights = {one.url: len(one.body()) for one in answers if one.request.resource_type in kinds}
    assert sum(weights.values()) < 350_000, weights
    first = weigh(context.new_page(), "/chat")
    context.close()
    assert sum(first.values()) < 200_000, first
