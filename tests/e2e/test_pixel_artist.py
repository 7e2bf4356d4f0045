# SPDX-License-Identifier: Apache-2.0
"""What an artist does on the Pixels page, in a real browser: a part of a sprite is drawn anew, LoRAs and
engines are chosen, pictures come by paste and drop, subjects are cut out, animations go to the gallery.

The starter draws, a tiny model with random weights takes LoRAs, and the matting model is the real one.
"""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Page, expect
from safetensors.torch import save_file

from inglenook.testing.server import RunningServer
from tests.e2e.browser import PATIENCE_MS, Watched, unfold, violations, watched
from tests.e2e.test_pixel_page import alpha, changed, figure, file, opened, pixels, shown, until
from tests.starters import with_starters
from tests.tiny_models import write_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ENVIRON = {"INGLENOOK_RUNTIME__CPU_THREADS": "1", "OMP_NUM_THREADS": "1"}
SD1_SELF = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
XL_TEXT = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, matting_model: Path) -> Iterator[RunningServer]:
    data = with_starters(tmp_path_factory.mktemp("data"), matting_model)
    models = data / "models"
    models.mkdir()
    write_folder("sd1", models / "tiny")
    for name in ("wool", "ink"):
        write_lora(models / f"{name}.safetensors", SD1_SELF, 32, 32, "sd_v1")
    write_lora(models / "pixel-art-xl.safetensors", XL_TEXT, 2048, 640, "sdxl_base_v1-0")
    with RunningServer.start(data, environ=ENVIRON) as running:
        yield running


def write_lora(path: Path, layer: str, reads: int, writes: int, trained_on: str) -> None:
    """A LoRA in kohya's form that changes nothing."""
    tensors = {
        f"{layer}.lora_down.weight": torch.zeros(4, reads),
        f"{layer}.lora_up.weight": torch.zeros(writes, 4),
        f"{layer}.alpha": torch.tensor(4.0),
    }
    save_file(tensors, path, {"ss_base_model_version": trained_on})


@pytest.fixture
def page(nook: Watched) -> Page:
    return nook.open("/pixels")


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def sky_with_ball() -> bytes:
    """A red ball before a sky that grows lighter downwards: its border has no colour of its own."""
    sky = Image.new("RGB", (400, 300))
    pen = ImageDraw.Draw(sky)
    for y in range(300):
        pen.line((0, y, 400, y), fill=(40 + y * 180 // 300, 60 + y * 175 // 300, 160 + y * 95 // 300))
    pen.ellipse((140, 90, 260, 210), fill=(200, 30, 30))
    return png(sky)


def drawn(nook: Watched, page: Page) -> dict[str, Any]:
    """Press Draw; the job once its sprite is open on the page."""
    with page.expect_response("**/v1/pixel/sprites") as asked:
        page.get_by_role("button", name="Draw", exact=True).click()
    number = asked.value.json()["id"]  # not of the first card: those of earlier jobs may come only now
    card = page.locator(f'.sprite-job[id="{number}"]')
    expect(card.locator(".sprite-parts img")).to_have_count(1, timeout=PATIENCE_MS)
    job = nook.job(number)
    (part,) = job["result"]["parts"]
    until(page, f"sprite !== null && source.picture === '{part['picture_id']}'")
    return job


# -- a picture is brought ----------------------------------------------------------------------------------

_GIVE = """([kind, name, type, b64]) => {
    const bytes = Uint8Array.from(atob(b64), (char) => char.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], name, {type}));
    const event = kind === "paste"
        ? new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true})
        : new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true});
    document.querySelector(kind === "paste" ? "#prompt" : "#stage-empty").dispatchEvent(event);
}"""


def give(page: Page, kind: str, data: bytes, name: str = "given.png", media_type: str = "image/png") -> None:
    page.evaluate(_GIVE, [kind, name, media_type, base64.b64encode(data).decode()])


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_a_picture_that_is_pasted_or_dropped_becomes_a_sprite(page: Page, kind: str) -> None:
    give(page, kind, figure())
    expect(page.locator("#proof")).to_contain_text("16 × 16", timeout=PATIENCE_MS)
    assert (shown(page)["width"], shown(page)["height"]) == (16, 16)
    assert page.locator("body.is-dropping").count() == 0


def test_what_is_dropped_and_is_no_picture_is_told(page: Page) -> None:
    give(page, "drop", b"words", "letter.txt", "text/plain")
    expect(page.locator("#error-image")).to_contain_text("That is no picture")


def test_words_that_are_pasted_are_words(page: Page) -> None:
    page.locator("#prompt").focus()
    page.keyboard.insert_text("a fox")
    expect(page.locator("#prompt")).to_have_value("a fox")
    expect(page.locator("#stage-empty")).to_be_visible()


def test_a_subject_is_cut_out_by_the_matting_model(page: Page) -> None:
    opened(page, file(sky_with_ball()))
    changed(page, "grid", "off")
    changed(page, "width", "40")
    made = changed(page, "background", "matte")
    assert (made["width"], made["height"]) == (40, 30)
    clear = [at for at in ((1, 1), (38, 1), (1, 28), (38, 28)) if alpha(made, *at) == 0]
    assert len(clear) == 4, "the sky, which has no colour of its own, is gone"
    assert alpha(made, 20, 15) == 255
    assert pixels(made).getpixel((20, 15))[0] > 150  # type: ignore[index] # RGBA
    expect(page.locator("#notes li")).to_have_count(0)  # it was not the border
    assert alpha(changed(page, "background", "keep"), 1, 1) == 255


# -- a part is drawn anew ----------------------------------------------------------------------------------


def open_mask(page: Page) -> Any:
    """The editor is open; where the sprite lies on the screen."""
    page.get_by_role("button", name="Redraw a part").click()
    expect(page.locator("#mask-editor")).to_be_visible()
    box = page.locator("#mask-canvas").bounding_box()
    assert box is not None
    return box


def pull(page: Page, box: Any, *ways: tuple[float, float, float, float], side: int = 16) -> None:
    """Pull the pointer over the sprite: from x, y to x, y in pixels of it."""
    scale = box["width"] / side
    for from_x, from_y, to_x, to_y in ways:
        page.mouse.move(box["x"] + from_x * scale, box["y"] + from_y * scale)
        page.mouse.down()
        page.mouse.move(box["x"] + to_x * scale, box["y"] + to_y * scale, steps=5)
        page.mouse.up()


def use_mask(page: Page) -> None:
    page.get_by_role("button", name="Use this mask").click()
    expect(page.locator("#mask-kept img").first).to_be_visible(timeout=PATIENCE_MS)
    expect(page.locator("#mask-editor")).to_be_hidden()


def marked(page: Page) -> set[tuple[int, int]]:
    """Pixels that are marked in the editor. None is half marked."""
    width, levels = page.locator("#mask-canvas").evaluate(
        """it => [it.width, [...it.getContext('2d').getImageData(0, 0, it.width, it.height).data]
            .filter((_, at) => at % 4 === 3)]"""
    )
    assert set(levels) <= {0, 255}
    return {(at % width, at // width) for at, level in enumerate(levels) if level}


def rectangle(left: int, top: int, width: int, height: int) -> set[tuple[int, int]]:
    return {(x, y) for x in range(left, left + width) for y in range(top, top + height)}


def test_the_mask_is_painted_on_whole_pixels_of_the_sprite(page: Page) -> None:
    opened(page)
    box = open_mask(page)
    assert box["width"] % 16 == 0, "enlarged by a whole factor"
    page.fill("#mask-size", "1")
    pull(page, box, (3.4, 5.6, 9.3, 5.2))
    assert marked(page) == rectangle(3, 5, 7, 1)
    page.get_by_role("button", name="Erase").click()
    pull(page, box, (5.5, 5.5, 5.6, 5.6))
    assert marked(page) == rectangle(3, 5, 7, 1) - {(5, 5)}
    page.get_by_role("button", name="Invert").click()
    assert len(marked(page)) == 256 - 6
    page.get_by_role("button", name="Clear").click()
    assert marked(page) == set()
    page.get_by_role("button", name="Paint", exact=True).click()
    page.fill("#mask-size", "4")
    pull(page, box, (8, 8, 8, 8))
    assert marked(page) == rectangle(6, 6, 4, 4) - {(6, 6), (9, 6), (6, 9), (9, 9)}
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Rectangle", exact=True).click()
    expect(page.locator("#mask-size")).to_be_disabled()
    pull(page, box, (9.7, 11.2, 4.1, 2.9))
    assert marked(page) == rectangle(4, 2, 6, 10)
    expect(page.locator("#mask-said")).to_have_text("Rectangle of 6 × 10 at 4, 2")
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("button", name="Use this mask").click()
    expect(page.locator("#mask-said")).to_contain_text("Nothing is marked")


def test_a_part_is_drawn_anew_and_every_other_pixel_stays(nook: Watched, page: Page) -> None:
    before = pixels(opened(page))
    box = open_mask(page)
    page.get_by_role("button", name="Rectangle", exact=True).click()
    pull(page, box, (5.5, 5.5, 9.5, 8.5))
    use_mask(page)
    expect(page.locator("#mask-kept")).to_contain_text("20 of 256 pixels")
    expect(page.locator("#make-how")).to_contain_text("20 marked pixels")
    page.fill("#prompt", "a red apple")
    unfold(page, "drawing")
    page.fill("#make_seed", "3")
    job = drawn(nook, page)
    assert job["payload"]["request"]["mask"] is not None
    (part,) = job["result"]["parts"]
    kept = Image.open(io.BytesIO(nook.context.request.get(part["url"]).body())).convert("RGBA")
    for after in (kept, pixels(shown(page))):  # in the gallery, and as it is open on the page
        differ = {
            (x, y) for x in range(16) for y in range(16) if after.getpixel((x, y)) != before.getpixel((x, y))
        }
        assert differ, "something was drawn"
        assert differ <= rectangle(5, 5, 5, 4)
    expect(page.locator("#mask-kept img").first).to_be_visible()  # for the next try
    page.set_input_files("#picture", file(figure(2)))
    expect(page.locator("#mask-kept img")).to_have_count(0)


def test_a_mask_that_is_missing_or_no_longer_fits_is_said(nook: Watched, page: Page) -> None:
    opened(page)
    unfold(page, "over")
    page.fill("#prompt", "a fox")
    page.select_option("#over", "mask")
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.locator("#error-mask")).to_contain_text("Nothing is marked")
    box = open_mask(page)
    pull(page, box, (4, 4, 9, 9))
    use_mask(page)
    changed(page, "width", "12")
    expect(page.locator("#mask-kept img")).to_have_count(0)
    expect(page.locator("#say")).to_contain_text("another size")


def test_the_mask_is_made_and_left_out_with_the_keyboard_alone(page: Page) -> None:
    opened(page)
    page.locator("#mask-start").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#mask-editor")).to_be_visible()
    page.locator("#mask-box").focus()
    page.keyboard.press("Space")
    expect(page.locator("#mask-box")).to_have_attribute("aria-pressed", "true")
    for name, value in (("left", "2"), ("top", "3"), ("width", "4"), ("height", "5")):
        page.locator(f"#rect-{name}").focus()
        page.keyboard.type(value)
    page.keyboard.press("Enter")
    assert marked(page) == rectangle(2, 3, 4, 5)
    page.keyboard.press("Control+z")
    assert marked(page) == set()
    page.locator("#rect-height").focus()
    page.keyboard.press("Enter")
    page.locator("#mask-done").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#mask-kept")).to_contain_text("20 of 256", timeout=PATIENCE_MS)
    expect(page.locator("#mask-editor")).to_be_hidden()
    page.get_by_role("button", name="Leave it out").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#mask-kept img")).to_have_count(0)
    expect(page.locator("#mask-paint")).to_be_focused()


def test_a_tile_is_continued_in_the_colours_of_the_one_before(nook: Watched, page: Page) -> None:
    made = opened(page)
    unfold(page, "over")
    page.fill("#prompt", "a green leaf")
    page.select_option("#over", "tile")
    page.select_option("#continue_tile", "down")
    expect(page.locator("#make-how")).to_contain_text("the tile below")
    job = drawn(nook, page)
    after = shown(page)
    assert (after["width"], after["height"]) == (16, 16)
    assert set(after["palette"]) == set(made["palette"])
    expect(page.locator("#strip")).to_be_hidden()  # it is one tile, not the halves that it was drawn in
    (part,) = job["result"]["parts"]
    kept = Image.open(io.BytesIO(nook.context.request.get(part["url"]).body())).convert("RGBA")
    assert kept.tobytes() == pixels(after).tobytes()


# -- with what it is drawn ---------------------------------------------------------------------------------


def body(page: Page) -> dict[str, Any]:
    sent: dict[str, Any] = json.loads(page.evaluate("JSON.stringify(spriteRequest())"))
    return sent


def row(page: Page, number: int) -> Any:
    return page.locator("#loras .lora").nth(number)


def test_several_loras_with_their_weights_reach_the_job(nook: Watched, page: Page) -> None:
    unfold(page, "drawing")
    page.select_option("#model", "tiny")
    row(page, 0).get_by_label("LoRA", exact=True).select_option(label="wool")
    expect(row(page, 0).get_by_label("Weight", exact=True)).to_have_value("1")  # filled in
    page.get_by_role("button", name="Another LoRA").click()
    row(page, 1).get_by_label("LoRA", exact=True).select_option(label="ink")
    row(page, 1).get_by_label("Weight", exact=True).fill("-0.5")
    row(page, 0).get_by_label("Weight, slider").fill("0.7")
    page.get_by_role("button", name="Another LoRA").click()  # a row that is left empty says nothing
    wanted = [{"model": "wool", "weight": 0.7}, {"model": "ink", "weight": -0.5}]
    assert body(page)["loras"] == wanted
    page.reload()
    unfold(page, "drawing")
    assert body(page)["loras"] == wanted
    page.fill("#prompt", "a fox")
    page.fill("#steps", "1")
    page.fill("#width", "16")
    page.fill("#height", "16")
    page.select_option("#base_size", index=0)
    assert drawn(nook, page)["payload"]["drawing"]["loras"] == wanted
    row(page, 0).get_by_role("button", name="Leave this LoRA out").click()
    assert body(page)["loras"] == wanted[1:]


def test_only_loras_that_fit_the_model_are_offered(page: Page) -> None:
    unfold(page, "drawing")
    page.select_option("#model", "tiny")
    offered = "it => [...it.options].filter((one) => !one.disabled).map((one) => one.value)"
    assert row(page, 0).locator("select").evaluate(offered) == ["", "ink", "wool"]
    row(page, 0).locator("select").select_option("wool")
    # what an XL model would be offered: the page only knows families
    page.evaluate("byId('model').selectedOptions[0].dataset.family = 'sdxl'; fitLoras()")
    assert row(page, 0).locator("select").evaluate(offered) == ["", "pixel-art-xl"]
    expect(row(page, 0).locator("select")).to_have_value("")
    expect(page.locator("#say")).to_contain_text("does not go with this model")
    row(page, 0).locator("select").select_option("pixel-art-xl")
    expect(page.locator("#lora-about")).to_contain_text("weight 1 to begin with, 8 drawn pixels")


def test_a_wrong_weight_is_told_at_the_loras(nook: Watched, page: Page) -> None:
    unfold(page, "drawing")
    page.fill("#prompt", "a fox")
    page.select_option("#model", "tiny")
    row(page, 0).locator("select").select_option("wool")
    row(page, 0).get_by_label("Weight", exact=True).fill("99")
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.locator("#error-loras")).to_contain_text("20")
    nook.errors.clear()  # the browser notes the refusal


def test_engines_say_what_they_can_and_why_not(nook: Watched, page: Page) -> None:
    unfold(page, "drawing")
    page.get_by_text("What each engine can do").click()
    known = nook.context.request.get("/v1/pixel/engines").json()["data"]
    assert {one["name"] for one in known} >= {"torch"}
    for one in known:
        told = page.locator(f"#engine-facts [data-engine={one['name']}]")
        expect(told).to_contain_text(one["title"])
        option = page.locator(f"#engine option[value={one['name']}]")
        if one["available"]:
            expect(told).to_contain_text("inside a mask" if "inpaint" in one["modes"] else "Draws")
            page.select_option("#model", "tiny")
            fits = "tiny" in one["models"]
            assert option.is_enabled() is fits
            if not fits:
                expect(told.locator(".why-not")).to_contain_text("tiny")
        else:
            expect(told).to_contain_text(one["why_not"].rstrip("."))
            expect(option).to_be_disabled()
    page.select_option("#engine", "torch")
    assert body(page)["engine"] == "torch"


def test_words_of_a_preset_are_seen_and_ones_own_come_back(page: Page) -> None:
    page.locator("#prompt").fill("my own")
    page.select_option("#preset", index=1)
    words = page.locator("#prompt").input_value()
    assert words not in ("", "my own")
    assert body(page)["prompt"] == words
    unfold(page, "drawing")
    # a model that reads sentences: the page knows it by this alone
    page.evaluate("delete byId('model').selectedOptions[0].dataset.plain")
    page.locator("#model").dispatch_event("change")
    assert page.locator("#prompt").input_value() != words
    page.select_option("#preset", "")
    expect(page.locator("#prompt")).to_have_value("my own")
    page.select_option("#preset", index=2)
    page.locator("#prompt").fill("something else")
    expect(page.locator("#preset")).to_have_value("")


# -- what was made is kept ---------------------------------------------------------------------------------


def sent_to_gallery(nook: Watched, page: Page) -> dict[str, Any]:
    page.get_by_role("button", name="Send to gallery").click()
    link = page.get_by_role("link", name="Look at it")
    expect(link).to_be_visible(timeout=PATIENCE_MS)
    place = str(link.get_attribute("href")).rsplit("/", 1)[1]
    picture: dict[str, Any] = nook.context.request.get(f"/v1/pictures/{place}").json()
    return picture


def test_frames_go_to_the_gallery_as_an_animation_that_is_opened_again(nook: Watched, page: Page) -> None:
    made = opened(page, file(figure(), "1.png"), file(figure(2), "2.png"))
    page.get_by_role("button", name="Play").click()
    page.fill("#frame_ms", "70")
    kept = sent_to_gallery(nook, page)
    assert (kept["media_type"], kept["source"], kept["width"]) == ("image/gif", "made", 16)
    data = nook.context.request.get(kept["url"]).body()
    with Image.open(io.BytesIO(data)) as moving:
        assert (moving.n_frames, moving.info["duration"]) == (2, 70)  # type: ignore[attr-defined]
        for number, frame in enumerate(made["frames"]):
            moving.seek(number)
            assert moving.convert("RGB").tobytes() == pixels(frame).convert("RGB").tobytes()
    assert kept["parameters"]["sprite"]["durations_ms"] == [70, 70]
    written = nook.context.request.post(
        "/v1/pixel/export",
        multipart={"picture_id": kept["id"], "spec": json.dumps({"format": "aseprite"})},
    )
    assert written.body()[4:8] == b"\xe0\xa5\x02\x00", "an Aseprite file of two frames"
    page.fill("#frame_ms", "200")
    page.get_by_role("button", name="From the gallery").click()
    page.locator("#gallery-list button").first.click()
    until(page, f"source.picture === '{kept['id']}' && sprite !== null")
    shown(page)
    expect(page.locator("#strip button")).to_have_count(2)
    expect(page.locator("#frame_ms")).to_have_value("70")
    page.goto(f"{nook.base_url}/pictures/{kept['id']}")
    expect(page.locator("main")).to_contain_text("2 frames of 70 ms")


def test_a_still_sprite_is_kept_with_the_picture_that_it_was_made_of(nook: Watched, page: Page) -> None:
    opened(page)
    small = changed(page, "width", "8")
    kept = sent_to_gallery(nook, page)
    with Image.open(io.BytesIO(nook.context.request.get(kept["url"]).body())) as picture:
        assert (picture.mode, picture.size) == ("P", (8, 8))
        assert picture.convert("RGBA").tobytes() == pixels(small).tobytes()
    page.get_by_role("button", name="From the gallery").click()
    page.locator("#gallery-list button").first.click()
    until(page, "source.kind === 'gallery'")
    again = changed(page, "width", "16")  # its pixels are there again: the picture was kept too
    assert len(set(again["palette"])) == 4
    assert again["grid"]["period_x"] == 8


def test_frames_with_every_colour_are_kept_too(nook: Watched, page: Page) -> None:
    noise = Image.effect_noise((64, 64), 90).convert("RGB")
    noise = Image.merge("RGB", [noise.getchannel(0), *(Image.effect_noise((64, 64), 90) for _ in "gb")])
    opened(page, file(png(noise), "1.png"), file(png(noise.rotate(90)), "2.png"))
    changed(page, "grid", "off")
    made = changed(page, "colors", "0")
    kept = sent_to_gallery(nook, page)
    assert kept["media_type"] == "image/webp"
    with Image.open(io.BytesIO(nook.context.request.get(kept["url"]).body())) as moving:
        assert moving.n_frames == 2  # type: ignore[attr-defined]
        assert moving.convert("RGB").tobytes() == pixels(made).convert("RGB").tobytes()


# -- everybody ---------------------------------------------------------------------------------------------


def test_fields_that_mean_nothing_now_are_not_there(page: Page) -> None:
    opened(page, file(figure(), "1.png"), file(figure(2), "2.png"))
    enabled = page.locator("#format").evaluate(
        "it => [...it.options].filter((o) => !o.disabled).map((o) => o.value)"
    )
    assert enabled == ["gif", "webp", "aseprite", "sheet-aseprite", "sheet-texturepacker"]
    expect(page.locator("#format")).to_have_value("gif")
    page.select_option("#format", "aseprite")
    expect(page.locator("#scale")).to_be_hidden()
    unfold(page, "over")
    expect(page.locator("#strength")).to_be_hidden()
    page.select_option("#over", "all")
    expect(page.locator("#strength")).to_be_visible()
    unfold(page, "animation")
    expect(page.locator("#frame_strength")).to_be_disabled()
    page.fill("#frames", "4")
    expect(page.locator("#frame_strength")).to_be_enabled()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing_serious_with_the_mask_open(
    chromium: Browser, server: RunningServer, scheme: Any, width: int
) -> None:
    size = {"width": width, "height": 800}
    with watched(chromium, server.base_url, color_scheme=scheme, viewport=size) as nook:
        page = nook.open("/pixels")
        opened(page)
        unfold(page, "drawing")
        unfold(page, "over")
        page.evaluate("for (const fold of document.querySelectorAll('details')) fold.open = true")
        page.select_option("#model", "tiny")
        row(page, 0).locator("select").select_option("wool")
        box = open_mask(page)
        pull(page, box, (4, 4, 9, 9))
        assert violations(page) == []
        inside = page.locator("#mask-editor").evaluate("it => [it.scrollWidth, it.clientWidth]")
        assert inside[0] <= inside[1]
        use_mask(page)
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
