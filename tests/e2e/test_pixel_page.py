# SPDX-License-Identifier: Apache-2.0
"""The Pixels page in a real browser: a picture is brought or drawn, every control does what it says, and the
sprite is taken along. The starter draws; the real child makes the sprites."""

import base64
import io
import itertools
import json
import random
import re
import zipfile
from typing import Any

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, FilePayload, Page, expect

from inglenook.testing.server import RunningServer
from tests.e2e.browser import PATIENCE_MS, Watched, unfold, violations, watched

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RED, BLUE, GREEN = (200, 40, 40), (40, 60, 200), (40, 160, 60)


def figure(shift: int = 0, cell: int = 8) -> bytes:
    """A 16 x 16 figure of three colours on white, enlarged `cell` times."""
    picture = Image.new("RGB", (16, 16), "white")
    pen = ImageDraw.Draw(picture)
    pen.rectangle((4 + shift, 3, 11 + shift, 12), fill=RED)
    pen.rectangle((6 + shift, 5, 9 + shift, 8), fill=BLUE)
    chance = random.Random(1)  # enough edges for a grid to be found in
    for x, y in itertools.product(range(4, 12), (3, 4, 9, 10, 11, 12, 13, 14)):
        picture.putpixel((x + shift, y), chance.choice((RED, BLUE, GREEN)))
    out = io.BytesIO()
    picture.resize((16 * cell, 16 * cell), Image.Resampling.NEAREST).save(out, "PNG")
    return out.getvalue()


def file(data: bytes, name: str = "figure.png", kind: str = "image/png") -> FilePayload:
    return {"name": name, "mimeType": kind, "buffer": data}


def shown(page: Page) -> Any:
    """The last answer of convert that is shown."""
    expect(page.locator("body")).not_to_have_class(re.compile("is-working"), timeout=PATIENCE_MS)
    return page.evaluate("sprite")


def alpha(answer: dict[str, Any], x: int, y: int) -> int:
    values: bytes = pixels(answer).getchannel("A").tobytes()
    return int(values[y * answer["width"] + x])


def pixels(answer: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(answer["png"]))).convert("RGBA")


def opened(page: Page, *files: FilePayload) -> Any:
    page.set_input_files("#picture", list(files) or [file(figure())])
    expect(page.locator("#proof")).to_contain_text("Size", timeout=PATIENCE_MS)
    return shown(page)


def until(page: Page, condition: str) -> None:
    """Wait until it holds in the page; the browser's own waiting needs an `eval`, forbidden here."""
    page.evaluate(
        f"""() => new Promise((done, failed) => {{
            const end = Date.now() + 30000;
            const look = () => ({condition}) ? done()
                : Date.now() > end ? failed(new Error({json.dumps(condition)})) : setTimeout(look, 20);
            look();
        }})"""
    )


def changed(page: Page, name: str, value: str | bool) -> Any:
    """Set a control as a person does, wait for the answer that it leads to."""
    control = page.locator(f"#{name}")
    control.evaluate("it => { const fold = it.closest('details'); if (fold) fold.open = true; }")
    with page.expect_response("**/v1/pixel/convert", timeout=PATIENCE_MS) as answered:
        if isinstance(value, bool):
            control.set_checked(value)
        elif control.evaluate("it => it.tagName") == "SELECT":
            control.select_option(value)
        else:
            control.fill(value)
    assert answered.value.status == 200, answered.value.text()
    # it may have been the answer to what was asked before
    until(page, "shown !== null && JSON.stringify(shown.recipe) === JSON.stringify(recipeOf())")
    return shown(page)


@pytest.fixture
def page(nook: Watched) -> Page:
    return nook.open("/pixels")


# -- a picture becomes a sprite --------------------------------------------------------------------------


def test_a_picture_that_is_opened_becomes_the_sprite_that_it_pretends_to_be(page: Page) -> None:
    expect(page.locator("#stage-empty")).to_be_visible()
    made = opened(page)
    assert (made["width"], made["height"]) == (16, 16)
    expect(page.locator("#proof")).to_contain_text("cells of 8 × 8 pixels")
    expect(page.locator("#proof")).to_contain_text("every pixel is in the palette of 4")
    expect(page.locator("#stage-empty")).to_be_hidden()
    colors = {"#{:02x}{:02x}{:02x}".format(*color) for color in (RED, BLUE, GREEN)} | {"#ffffff"}
    assert set(made["palette"]) == colors
    expect(page.locator("#swatches .swatch")).to_have_count(4)


def test_the_canvas_is_enlarged_by_whole_factors_and_shows_the_sprites_pixels(page: Page) -> None:
    made = opened(page)
    page.select_option("#zoom", "8")
    size = page.locator("#view").evaluate("it => [it.width, it.height, it.getBoundingClientRect().width]")
    assert size == [128, 128, 128]
    painted = page.locator("#view").evaluate(
        "it => [...it.getContext('2d').getImageData(7 * 8 + 3, 6 * 8 + 5, 1, 1).data]"
    )
    assert tuple(painted) == pixels(made).getpixel((7, 6))
    page.get_by_role("button", name="3 × 3 tiles").click()
    assert page.locator("#view").evaluate("it => it.width") == 3 * 128
    expect(page.locator("#before")).to_be_disabled()


def test_before_and_after_are_on_both_sides_of_the_line(page: Page) -> None:
    opened(page)
    changed(
        page, "palette", "gameboy" if page.locator("#palette option[value=gameboy]").count() else "pico-8"
    )
    page.select_option("#zoom", "16")
    at = "it => [...it.getContext('2d').getImageData(7 * 16 + 8, 6 * 16 + 8, 1, 1).data]"
    after = page.locator("#view").evaluate(at)
    page.locator("#before").fill("100")
    assert page.locator("#view").evaluate(at) == [*BLUE, 255]
    assert after != [*BLUE, 255]
    expect(page.locator("#before")).to_have_attribute("aria-valuetext", "100 % before")


RECIPES: list[tuple[str, str | bool, Any]] = [
    ("width", "8", 8),
    ("height", "24", 24),
    ("grid", "off", "off"),
    ("fit", "stretch", "stretch"),
    ("reduction", "median", "median"),
    ("keep_outline", True, True),
    ("colors", "2", 2),
    ("quantiser", "octree", "octree"),
    ("seed", "7", 7),
    ("merge_rare", "0.1", 0.1),
    ("dither", "bayer-4", "bayer-4"),
    ("dither_strength", "0.5", 0.5),
    ("background", "border", "border"),
    ("alpha", "opaque", "opaque"),
    ("alpha_threshold", "200", 200),
    ("background_color", "#112233", "#112233"),
    ("outline", "inside", "inside"),
    ("outline_color", "#445566", "#445566"),
    ("despeckle", "3", 3),
    ("fill_holes", "2", 2),
    ("clean_edges", True, True),
    ("symmetry", "left", "left"),
    ("tile", "both", "both"),
    ("trim", True, True),
]


def test_each_control_reaches_the_recipe_and_is_answered(page: Page) -> None:
    opened(page)
    for name, value, sent in RECIPES:
        changed(page, name, value)
        assert page.evaluate("recipeOf()")[name] == sent, name
    page.get_by_role("button", name="All as at first").click()
    assert page.evaluate("recipeOf()").get("width") is None


def test_what_controls_say_is_seen_in_the_sprite(page: Page) -> None:
    opened(page)
    assert changed(page, "colors", "2")["proof"]["colors"] == 2
    changed(page, "colors", "16")
    clear = changed(page, "background", "border")
    assert alpha(clear, 0, 0) == 0
    lined = changed(page, "outline", "outside")
    assert alpha(lined, 3, 6) == 255
    trimmed = changed(page, "trim", True)
    assert trimmed["width"] < 16
    page.get_by_role("button", name="32", exact=True).click()
    expect(page.locator("#width")).to_have_value("32")


def test_a_wrong_value_is_told_in_one_line_at_its_control(nook: Watched, page: Page) -> None:
    opened(page)
    page.fill("#width", "9999")
    expect(page.locator("#error-width")).to_contain_text("4096")
    expect(page.locator("#width")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#stage-state")).to_contain_text("as it was before")
    nook.errors.clear()  # the browser notes the refusal
    changed(page, "width", "20")
    expect(page.locator("#error-width")).to_be_hidden()
    page.set_input_files("#picture", file(b"no picture", "broken.png"))
    expect(page.locator("#error-image")).to_be_visible(timeout=PATIENCE_MS)
    nook.errors.clear()


def test_the_last_answer_wins(page: Page) -> None:
    opened(page)
    late: list[Any] = []
    page.route("**/v1/pixel/convert", lambda route: late.append(route) if not late else route.continue_())
    page.fill("#width", "8")
    until(page, "asking !== null && document.body.classList.contains('is-working')")
    while not late:
        page.wait_for_timeout(20)
    assert changed(page, "width", "12")["width"] == 12
    expect(page.locator("#stage-state")).to_contain_text("12 ×")


# -- the palette -----------------------------------------------------------------------------------------


def test_colours_are_changed_added_removed_and_locked(page: Page) -> None:
    made = opened(page)
    first = page.get_by_label("Colour 1,")
    old = first.input_value()
    with page.expect_response("**/v1/pixel/convert"):
        first.fill("#ff00ff")
    assert "#ff00ff" in shown(page)["palette"]
    assert old not in page.evaluate("palette.own")
    expect(page.locator("#palette")).to_have_value("own")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("#swatches .swatch")).to_have_count(len(made["palette"]) + 1)
    page.get_by_role("button", name="Remove #808080").click()
    expect(page.locator("#swatches .swatch")).to_have_count(len(made["palette"]))
    page.get_by_role("button", name="Lock #ff00ff").click()
    with page.expect_response("**/v1/pixel/convert"):
        page.get_by_role("button", name="Choose the rest").click()
    expect(page.get_by_role("button", name="Lock #ff00ff")).to_have_attribute("aria-pressed", "true")
    until(page, "palette.own.length === 4 && palette.own.includes('#ff00ff')")


def test_a_palette_comes_from_a_file_or_is_refused_in_words(nook: Watched, page: Page) -> None:
    opened(page)
    page.set_input_files("#palette-file", file(b"102030\naabbcc\n", "mine.hex", "text/plain"))
    expect(page.locator("#swatches .swatch")).to_have_count(2)
    until(page, "sprite.palette.join() === '#102030,#aabbcc'")
    page.set_input_files("#palette-file", file(b"\x00\x01", "bad.gpl", "text/plain"))
    expect(page.locator("#error-file")).to_be_visible()
    nook.errors.clear()


def test_a_well_known_palette_locks_the_sprite_to_its_colours(page: Page) -> None:
    opened(page)
    made = changed(page, "palette", "pico-8")
    known = page.locator("#palette option[value=pico-8]").get_attribute("data-colors")
    assert known is not None
    assert set(made["palette"]) <= {f"#{known[at : at + 6]}" for at in range(0, len(known), 6)}


# -- frames, files, the gallery --------------------------------------------------------------------------


def test_several_pictures_are_frames_that_play_and_are_taken_along_as_files(page: Page) -> None:
    opened(page, file(figure(), "1.png"), file(figure(2), "2.png"))
    expect(page.locator("#strip button")).to_have_count(2)
    play = page.get_by_role("button", name="Play")
    expect(play).to_have_attribute("aria-pressed", "true")
    play.click()
    expect(play).to_have_attribute("aria-pressed", "false")
    page.fill("#frame_ms", "70")
    page.select_option("#format", "gif")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    with Image.open(download.value.path()) as picture:
        assert (picture.n_frames, picture.info["duration"]) == (2, 70)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "kind", ["png", "webp", "aseprite", "sheet-aseprite", "sheet-texturepacker", "ico", "icons"]
)
def test_each_format_is_downloaded(page: Page, kind: str) -> None:
    opened(page)
    page.select_option("#format", kind)
    page.fill("#file_name", "little figure")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename.startswith("little figure.")
    data = download.value.path().read_bytes()
    if kind.startswith("sheet") or kind == "icons":
        assert len(zipfile.ZipFile(io.BytesIO(data)).namelist()) >= 2
    elif kind == "aseprite":
        assert data[4:6] == b"\xe0\xa5"
    else:
        Image.open(io.BytesIO(data)).load()


def test_a_sprite_is_sent_to_the_gallery_and_opened_from_there(nook: Watched, page: Page) -> None:
    made = opened(page)
    page.get_by_role("button", name="Send to gallery").click()
    link = page.get_by_role("link", name="Look at it")
    expect(link).to_be_visible()
    place = str(link.get_attribute("href")).rsplit("/", 1)[1]
    kept = Image.open(io.BytesIO(nook.context.request.get(f"/v1/pictures/{place}/file").body()))
    assert (kept.mode, kept.size) == ("P", (16, 16))
    assert kept.convert("RGBA").tobytes() == pixels(made).tobytes()
    page.get_by_role("button", name="From the gallery").click()
    page.locator("#gallery-list button").first.click()
    expect(page.locator("#gallery")).to_be_hidden()
    assert shown(page)["width"] == 16


# -- drawing ---------------------------------------------------------------------------------------------


def test_words_become_a_sprite_that_is_opened_and_found_again_after_a_reload(
    nook: Watched, page: Page
) -> None:
    page.fill("#prompt", "a red fox")
    page.fill("#colors", "6")
    page.get_by_role("button", name="Draw", exact=True).click()
    card = page.locator("#jobs .sprite-job").first
    expect(card.locator(".sprite-parts img")).to_have_count(1, timeout=PATIENCE_MS)
    expect(card).to_contain_text("torch with starter-339")
    expect(page.locator("#proof")).to_contain_text("Size", timeout=PATIENCE_MS)
    assert shown(page)["proof"]["colors"] <= 6
    job = nook.job(str(card.get_attribute("id")))
    (part,) = job["result"]["parts"]
    assert part["proofs"][0]["colors"] <= 6
    page.reload()
    expect(page.locator("#prompt")).to_have_value("a red fox")
    expect(page.locator("#colors")).to_have_value("6")
    expect(page.locator("#jobs .sprite-job .sprite-parts img").first).to_be_visible()
    expect(page.locator("#proof")).to_contain_text("Size", timeout=PATIENCE_MS)


def test_a_long_job_tells_how_far_it_is_and_can_be_cancelled(page: Page) -> None:
    page.fill("#prompt", "a frog")
    unfold(page, "drawing")
    page.fill("#steps", "100")
    page.fill("#n", "8")
    page.get_by_role("button", name="Draw", exact=True).click()
    card = page.locator("#jobs .sprite-job").first
    expect(card.locator(".line")).to_contain_text("step", timeout=PATIENCE_MS)
    expect(card.locator(".job-preview")).to_be_visible(timeout=PATIENCE_MS)
    card.get_by_role("button", name="Cancel").click()
    expect(card.locator(".told")).to_contain_text("Cancelled", timeout=PATIENCE_MS)
    expect(card.locator(".going")).to_be_hidden()


def test_the_whole_drawing_form_reaches_the_job(nook: Watched, page: Page) -> None:
    opened(page)
    for name in ("drawing", "animation", "over"):
        unfold(page, name)
    typed = {
        "make_seed": "5", "steps": "2", "guidance_scale": "2.5", "frames": "3", "motion": "walk",
        "frame_strength": "0.5", "strength": "0.7", "negative_prompt": "snow", "prompt": "a cat",
    }  # fmt: skip
    page.select_option("#over", "all")
    for name, value in typed.items():
        page.fill(f"#{name}", value)
    page.select_option("#style", "four-tones")
    expect(page.locator("#colors")).to_have_value("4")
    body = json.loads(page.evaluate("JSON.stringify(spriteRequest())"))
    assert body["image"].startswith("data:image/png;base64,")
    wanted = {
        "seed": 5, "steps": 2, "guidance_scale": 2.5, "frames": 3, "motion": "walk", "strength": 0.7,
        "frame_strength": 0.5, "negative_prompt": "snow", "style": "four-tones", "prompt": "a cat",
    }  # fmt: skip
    assert {name: body[name] for name in wanted} == wanted
    page.get_by_role("button", name="Draw", exact=True).click()
    card = page.locator("#jobs .sprite-job").first
    expect(card.locator(".sprite-parts img")).to_have_count(1, timeout=PATIENCE_MS)
    expect(page.locator("#strip button")).to_have_count(3, timeout=PATIENCE_MS)


def test_what_cannot_be_drawn_is_told_at_its_field(nook: Watched, page: Page) -> None:
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.locator("#error-prompt")).to_be_visible()
    unfold(page, "over")
    page.fill("#prompt", "a fox")
    page.select_option("#over", "all")
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.locator("#make-form")).to_contain_text("No sprite is open")
    nook.errors.clear()


# -- everybody -------------------------------------------------------------------------------------------


def test_a_picture_is_kept_over_a_reload(page: Page) -> None:
    opened(page)
    changed(page, "width", "12")
    page.reload()
    expect(page.locator("#stage-state")).to_contain_text("12 × 12", timeout=PATIENCE_MS)


def test_a_server_that_is_gone_is_said_and_nothing_is_lost(nook: Watched, page: Page) -> None:
    opened(page)
    nook.context.set_offline(True)
    page.fill("#width", "10")
    expect(page.locator("#error-image")).to_contain_text("did not answer")
    expect(page.locator("#connection")).to_be_visible()
    nook.context.set_offline(False)
    until(page, "sprite.width === 10")
    expect(page.locator("#error-image")).to_be_hidden()
    nook.errors.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing_serious_and_nothing_stands_over(
    chromium: Browser, server: RunningServer, scheme: Any, width: int
) -> None:
    size = {"width": width, "height": 800}
    with watched(chromium, server.base_url, color_scheme=scheme, viewport=size) as nook:
        page = nook.open("/pixels")
        assert violations(page) == []
        opened(page, file(figure()), file(figure(2)))
        page.evaluate("for (const fold of document.querySelectorAll('details')) fold.open = true")
        page.fill("#width", "9999")
        expect(page.locator("#error-width")).to_be_visible()
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        nook.errors.clear()


def test_it_is_done_by_keyboard_alone(page: Page) -> None:
    opened(page)
    expect(page.locator("#before")).to_be_enabled()  # once the picture itself is decoded
    page.locator("#before").focus()
    page.keyboard.press("End")
    expect(page.locator("#before")).to_have_value("100")
    page.locator("#tiled").focus()
    page.keyboard.press("Space")
    expect(page.locator("#tiled")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#view")).to_have_attribute("aria-label", re.compile("nine times side by side"))
    page.locator("#gallery-open").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#gallery")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#gallery")).to_be_hidden()
