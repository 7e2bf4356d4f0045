# SPDX-License-Identifier: Apache-2.0
"""Every control of Create in a real browser: what it does, and what the job then asks for.

The models are tiny ones with random weights, which take any size, pictures, masks, LoRAs and learned words.
"""

import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page, expect
from safetensors.torch import save_file

from inglenook.testing.server import RunningServer
from tests.e2e.browser import LONG, PATIENCE_MS, Watched, draw, fill, passes_by, send, unfold, watched
from tests.tiny_models import build, write_folder

pytestmark = pytest.mark.slow

ENVIRON = {
    "INGLENOOK_RUNTIME__CPU_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "INGLENOOK_IMAGES__DEFAULT_MODEL": "tiny",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    data = tmp_path_factory.mktemp("data")
    models = data / "models"
    models.mkdir()
    write_folder("sd1", models / "tiny")
    write_loras(models)
    save_file(dict(build("sd1").vae.state_dict()), models / "soft.safetensors")
    save_file({"emb_params": torch.zeros(1, 768)}, models / "soft-hands.safetensors")
    with RunningServer.start(data, environ=ENVIRON) as running:
        yield running


def write_loras(models: Path) -> None:
    """Two LoRAs in kohya's form that change nothing."""
    layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    for name in ("wool", "ink"):
        tensors = {
            f"{layer}.lora_down.weight": torch.zeros(4, 32),
            f"{layer}.lora_up.weight": torch.zeros(32, 4),
            f"{layer}.alpha": torch.tensor(4.0),
        }
        save_file(tensors, models / f"{name}.safetensors")


@pytest.fixture
def page(nook: Watched) -> Page:
    return nook.open()


def picture(colour: str = "red", size: tuple[int, int] = (96, 64), name: str = "a.png") -> FilePayload:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return {"name": name, "mimeType": "image/png", "buffer": out.getvalue()}


def asked(nook: Watched, page: Page, **fields: str) -> dict[str, Any]:
    """Send the form as it is, with a few steps; the payload of its job."""
    job = draw(page, fields.pop("prompt", "a red fox"), **({"steps": "2"} | fields))
    payload: dict[str, Any] = nook.job(job)["payload"]
    return payload


def blob(nook: Watched, blob_id: str) -> Image.Image:
    answer = nook.context.request.get(f"/inputs/{blob_id}")
    assert answer.ok
    return Image.open(io.BytesIO(answer.body()))


def begin_with(page: Page, *files: FilePayload) -> None:
    unfold(page, "picture")
    page.set_input_files("#image", list(files))
    expect(page.locator("#inputs .input img")).to_have_count(len(files))


# -- words and numbers -----------------------------------------------------------------------------------


def test_each_field_reaches_the_job(nook: Watched, page: Page) -> None:
    payload = asked(
        nook, page, negative_prompt="snow", size="custom", width="128", height="64", n="2", seed="42",
        steps="3", guidance_scale="4.5", scheduler="euler", sigmas="karras", clip_skip="2",
        output_format="webp", output_compression="80",
    )  # fmt: skip
    names = ("negative_prompt", "out_width", "out_height", "seeds", "steps", "guidance_scale", "scheduler")
    assert [payload[name] for name in names] == ["snow", 128, 64, [42, 43], 3, 4.5, "euler"]
    names = ("sigmas", "clip_skip", "output_format", "output_compression", "transparent")
    assert [payload[name] for name in names] == ["karras", 2, "webp", 80, False]


def test_a_style_is_put_around_the_words_and_comes_back_with_use_again(nook: Watched, page: Page) -> None:
    payload = asked(nook, page, style="oil", negative_prompt="snow")
    assert payload["prompt"].startswith("oil painting of a red fox, ")
    assert payload["negative_prompt"].startswith("snow, photograph")
    job = page.locator("#jobs > .card").first
    expect(job).to_contain_text("oil")
    expect(job).to_have_class(re.compile("is-succeeded"), timeout=PATIENCE_MS)
    page.reload()
    page.locator("#jobs > .card").first.get_by_role("link", name="Use again").click()
    expect(page.locator("#style")).to_have_value("oil")
    expect(page.locator("#prompt")).to_have_value("a red fox")
    expect(page.locator("#negative_prompt")).to_have_value("snow")


def test_a_second_pass_and_transparency_are_asked_for_by_their_switches(nook: Watched, page: Page) -> None:
    fill(page, size="custom", width="64", height="64", hires_scale="1.5", hires_strength="0.4")
    page.check("#hires")
    unfold(page, "file")
    page.check("#transparent")
    payload = asked(nook, page, hires_steps="2", hires_upscaler="latent")
    assert payload["hires"] == {
        "width": 96, "height": 96, "steps": 2, "strength": 0.4, "upscaler": "latent",
    }  # fmt: skip
    assert payload["transparent"]


def test_sliders_move_the_numbers_and_numbers_the_sliders(page: Page) -> None:
    unfold(page, "tuning")
    slider = page.locator('[data-for="steps"]')
    expect(slider).to_have_value(str(page.locator("#steps").get_attribute("placeholder")))
    slider.fill("31")
    expect(page.locator("#steps")).to_have_value("31")
    page.fill("#steps", "12")
    expect(slider).to_have_value("12")


def test_noise_levels_that_the_scheduler_has_not_cannot_be_chosen(page: Page) -> None:
    fill(page, sigmas="karras", scheduler="ddim")
    expect(page.locator("#sigmas")).to_have_value("")
    assert page.locator('#sigmas option[value="karras"]').evaluate("it => it.disabled")
    fill(page, scheduler="euler", sigmas="karras")


def test_a_size_is_swapped_typed_or_the_models_own(nook: Watched, page: Page) -> None:
    expect(page.locator("#sides")).to_be_hidden()
    page.select_option("#size", "custom")
    expect(page.locator("#width")).to_be_focused()
    fill(page, width="128", height="64")
    page.get_by_role("button", name="Swap width and height").click()
    expect(page.locator("#width")).to_have_value("64")
    expect(page.locator("#height")).to_have_value("128")
    presets = page.locator("#size option").evaluate_all("all => all.map(one => one.value)")
    wide = next(one for one in presets if "x" in one and len(set(one.split("x"))) == 2)
    page.select_option("#size", wide)
    page.get_by_role("button", name="Swap width and height").click()
    expect(page.locator("#size")).to_have_value("x".join(reversed(wide.split("x"))))


def test_the_seed_is_thrown_kept_and_let_go(nook: Watched, page: Page) -> None:
    lock = page.get_by_role("button", name="Keep the seed")
    payload = asked(nook, page)
    lock.click()
    expect(page.locator("#seed")).to_have_value(str(payload["seeds"][0]))  # the one that was drawn last
    expect(lock).to_have_attribute("aria-pressed", "true")
    assert asked(nook, page)["seeds"] == payload["seeds"]
    page.get_by_role("button", name="Throw a new seed").click()
    expect(page.locator("#seed")).not_to_have_value(str(payload["seeds"][0]))
    expect(page.locator("#seed")).to_have_value(re.compile(r"^\d+$"))
    lock.click()
    expect(page.locator("#seed")).to_have_value("")
    expect(lock).to_have_attribute("aria-pressed", "false")


def test_words_used_before_are_found_with_the_keyboard(nook: Watched, page: Page) -> None:
    asked(nook, page, prompt="a <b>blue</b> house", negative_prompt="rain")
    fill(page, prompt="something else", negative_prompt="")
    earlier = page.locator("#history > summary")
    earlier.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#history-list li").first).to_contain_text("a <b>blue</b> house")
    page.keyboard.press("Escape")
    expect(earlier).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#prompt")).to_have_value("a <b>blue</b> house")
    expect(page.locator("#prompt")).to_be_focused()
    expect(page.locator("#negative_prompt")).to_have_value("rain")


# -- models and LoRAs ------------------------------------------------------------------------------------


def test_another_model_brings_its_fields_and_what_was_typed_stays(page: Page) -> None:
    fill(page, prompt="a fox", steps="9", scheduler="ddim", hires_scale="1.5")
    page.select_option("#model", "starter-339")
    expect(page.locator("#fold-hires")).to_contain_text("no second pass")
    expect(page.locator("#steps")).to_have_value("9")
    expect(page.locator("#parameters .notice")).to_contain_text("ddim does not go with this model")
    expect(page.locator("#fold-tuning")).to_have_attribute("open", "")
    expect(page.locator("#prompt")).to_have_value("a fox")
    expect(page.locator("#model-state")).to_contain_text(re.compile("ready|away|being loaded"))


def test_loras_are_chosen_weighed_and_left_out(nook: Watched, page: Page) -> None:
    unfold(page, "loras")
    rows = page.locator(".lora")
    rows.nth(0).get_by_label("LoRA", exact=True).select_option("wool")
    rows.nth(0).get_by_label("Weight, slider").fill("0.6")
    expect(rows.nth(0).get_by_label("Weight", exact=True)).to_have_value("0.6")
    page.get_by_role("button", name="Another LoRA").click()
    rows.nth(1).get_by_label("LoRA", exact=True).select_option("ink")
    rows.nth(1).get_by_label("Weight", exact=True).fill("-1.25")
    wool, ink = {"model": "wool", "weight": 0.6}, {"model": "ink", "weight": -1.25}
    assert asked(nook, page)["loras"] == [wool, ink]
    rows.nth(0).get_by_role("button", name="Leave this LoRA out").click()
    assert asked(nook, page)["loras"] == [ink]


def test_a_learned_word_goes_to_the_caret_and_another_vae_into_the_job(nook: Watched, page: Page) -> None:
    unfold(page, "loras")
    page.fill("#prompt", "a hand, at night")
    page.locator("#prompt").evaluate("area => area.setSelectionRange(6, 6)")
    page.get_by_role("button", name="embedding:soft-hands").click()
    expect(page.locator("#prompt")).to_have_value("a hand, embedding:soft-hands, at night")
    expect(page.locator("#prompt")).to_be_focused()
    fill(page, vae="soft")
    payload = nook.job(send(page))["payload"]
    assert payload["embeddings"] == [["soft-hands", "soft-hands"]]
    assert payload["vae"] == "soft"


# -- pictures --------------------------------------------------------------------------------------------


def test_a_chosen_picture_is_where_the_drawing_begins(nook: Watched, page: Page) -> None:
    expect(page.locator("#strength")).to_be_hidden()
    begin_with(page, picture())
    expect(page.locator("#strength")).to_be_visible()
    payload = asked(nook, page, strength="0.4")
    assert (payload["mode"], payload["strength"]) == ("image", 0.4)
    kept = blob(nook, payload["image"])
    assert (kept.size, kept.getpixel((5, 5))) == ((96, 64), (255, 0, 0))
    page.get_by_role("button", name="Leave it out", exact=True).click()
    expect(page.locator("#strength")).to_be_hidden()
    assert asked(nook, page)["mode"] == "text"


_GIVE = """([kind, b64]) => {
    const bytes = Uint8Array.from(atob(b64), (char) => char.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], "given.png", {type: "image/png"}));
    const event = kind === "paste"
        ? new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true})
        : new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true});
    document.querySelector(kind === "paste" ? "#prompt" : ".results").dispatchEvent(event);
}"""


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_a_picture_may_be_pasted_or_dropped_anywhere(nook: Watched, page: Page, kind: str) -> None:
    page.evaluate(_GIVE, [kind, base64.b64encode(picture("blue")["buffer"]).decode()])
    expect(page.locator("#inputs .input img")).to_be_visible()
    payload = asked(nook, page)
    assert blob(nook, payload["image"]).getpixel((0, 0)) == (0, 0, 255)


def test_a_file_that_is_no_picture_is_told_at_once_at_its_field(nook: Watched, page: Page) -> None:
    unfold(page, "picture")
    page.set_input_files("#image", [{"name": "a.png", "mimeType": "image/png", "buffer": b"nothing"}])
    expect(page.locator("#error-image")).to_contain_text("of a format that is not known here")
    expect(page.locator("#inputs .input")).to_have_count(0)
    begin_with(page, picture())
    expect(page.locator("#error-image")).to_be_hidden()
    nook.errors[:] = [error for error in nook.errors if "400" not in error]  # the browser notes the refusal


def test_a_picture_of_the_gallery_is_sent_to_the_input_and_painted_on(nook: Watched, page: Page) -> None:
    job = draw(page, "a red fox", steps="2", size="custom", width="64", height="64")
    expect(page.locator(f"#{job}")).to_have_class(re.compile("is-succeeded"), timeout=PATIENCE_MS)
    before = len([url for url in nook.requests if url.endswith("/inputs")])
    page.locator(f"#{job}").get_by_role("link", name="Send to input").click()
    expect(page.locator("#inputs .input img")).to_be_visible()
    payload = asked(nook, page)
    assert (payload["mode"], blob(nook, payload["image"]).size) == ("image", (64, 64))
    assert len([url for url in nook.requests if url.endswith("/inputs")]) == before  # it was not sent again
    made = str(page.locator(f"#{job} [data-picture]").first.get_attribute("data-picture"))
    page.goto(f"{nook.base_url}/?input={made}")
    expect(page.locator("#inputs .input")).to_have_attribute("data-input", made)


def painted(page: Page, *strokes: tuple[float, float, float, float]) -> None:
    """Paint lines in fractions of the picture: from x, y to x, y."""
    box = page.locator("#mask-canvas").bounding_box()
    assert box is not None
    for from_x, from_y, to_x, to_y in strokes:
        page.mouse.move(box["x"] + from_x * box["width"], box["y"] + from_y * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + to_x * box["width"], box["y"] + to_y * box["height"], steps=6)
        page.mouse.up()


def use_mask(page: Page) -> None:
    page.get_by_role("button", name="Use this mask").click()
    expect(page.locator("#mask-editor")).to_be_hidden()
    expect(page.locator("#mask-kept img")).to_be_visible()


def test_a_mask_is_painted_erased_inverted_and_undone(nook: Watched, page: Page) -> None:
    begin_with(page, picture())
    page.get_by_role("button", name="Paint a mask").click()
    page.fill("#mask-size", "16")
    painted(page, (0.2, 0.5, 0.8, 0.5))
    page.get_by_role("button", name="Erase").click()
    painted(page, (0.5, 0.1, 0.5, 0.9))
    use_mask(page)
    payload = asked(nook, page)
    assert payload["mode"] == "inpaint"
    mask = blob(nook, payload["mask"])
    assert mask.size == (96, 64)
    assert [mask.getpixel(at) for at in ((24, 32), (48, 32), (72, 32), (5, 5))] == [255, 0, 255, 0]
    page.get_by_role("button", name="Paint a mask").click()  # it begins with the mask that is there
    page.get_by_role("button", name="Invert").click()
    page.get_by_role("button", name="Paint", exact=True).click()
    painted(page, (0.3, 0.5, 0.3, 0.5))
    page.get_by_role("button", name="Undo").click()
    use_mask(page)
    mask = blob(nook, asked(nook, page)["mask"])
    assert [mask.getpixel(at) for at in ((24, 32), (48, 32), (72, 32), (5, 5))] == [0, 255, 0, 255]
    page.get_by_role("button", name="Paint a mask").click()
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("button", name="Use this mask").click()
    expect(page.locator("#mask-said")).to_contain_text("nothing would be redrawn")
    nook.errors[:] = [error for error in nook.errors if "400" not in error]
    page.get_by_role("button", name="Leave it as it was").click()


def test_a_mask_is_made_with_the_keyboard_alone(nook: Watched, page: Page) -> None:
    begin_with(page, picture())
    page.locator("#mask-paint").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#mask-editor")).to_be_visible()  # it opens when the picture is decoded
    for name, value in (("left", "10"), ("top", "8"), ("width", "20"), ("height", "16")):
        page.locator(f"#rect-{name}").focus()
        page.keyboard.type(value)
    page.keyboard.press("Enter")
    expect(page.locator("#mask-said")).to_have_text("Rectangle of 20 × 16 at 10, 8")
    page.locator("#mask-done").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#mask-kept img")).to_be_visible()
    assert blob(nook, asked(nook, page)["mask"]).getbbox() == (10, 8, 30, 24)


def test_a_mask_is_painted_with_a_finger(chromium: Browser, server: RunningServer) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with watched(chromium, server.base_url, **phone) as nook:
        page = nook.open()
        begin_with(page, picture())
        page.get_by_role("button", name="Paint a mask").tap()
        expect(page.locator("#mask-editor")).to_be_visible()  # it opens when the picture is decoded
        box = page.locator("#mask-canvas").bounding_box()
        assert box is not None
        finger = nook.context.new_cdp_session(page)
        for kind, x in (("touchStart", 0.25), ("touchMove", 0.5), ("touchMove", 0.75), ("touchEnd", None)):
            points = (
                [] if x is None else [{"x": box["x"] + x * box["width"], "y": box["y"] + box["height"] / 2}]
            )
            finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        use_mask(page)
        mask = blob(nook, asked(nook, page)["mask"])
        assert [mask.getpixel(at) for at in ((48, 32), (48, 2))] == [255, 0]


def test_a_mask_is_a_file_or_a_rectangle_and_goes_with_its_picture(nook: Watched, page: Page) -> None:
    begin_with(page, picture())
    half = Image.new("L", (96, 64), 0)
    half.paste(255, (0, 0, 48, 64))
    out = io.BytesIO()
    half.save(out, "PNG")
    page.set_input_files("#mask", [{"name": "m.png", "mimeType": "image/png", "buffer": out.getvalue()}])
    expect(page.locator("#mask-kept img")).to_be_visible()
    assert blob(nook, asked(nook, page)["mask"]).getbbox() == (0, 0, 48, 64)
    page.locator("#mask-kept").get_by_role("button", name="Leave it out").click()
    payload = asked(nook, page, mask_left="8", mask_top="4", mask_width="16", mask_height="12")
    assert blob(nook, payload["mask"]).getbbox() == (8, 4, 24, 16)


def test_a_picture_is_extended(nook: Watched, page: Page) -> None:
    begin_with(page, picture("green"))
    payload = asked(nook, page, extend_left="32", extend_bottom="64")
    assert (payload["mode"], payload["width"], payload["height"]) == ("inpaint", 128, 128)
    canvas, mask = blob(nook, payload["image"]), blob(nook, payload["mask"])
    assert (canvas.size, canvas.getcolors()) == ((128, 128), [(128 * 128, (0, 128, 0))])
    assert (mask.getpixel((5, 5)), mask.getpixel((80, 20)), mask.getpixel((80, 120))) == (255, 0, 255)


# -- the work --------------------------------------------------------------------------------------------


def test_a_queue_survives_closing_the_browser(chromium: Browser, nook: Watched, page: Page) -> None:
    first = draw(page, "a purple flower", **LONG)
    second = draw(page, "a grey elephant", **LONG)
    nook.context.close()
    with watched(chromium, nook.base_url) as later:
        again = later.open()
        for job, words in ((first, "a purple flower"), (second, "a grey elephant")):
            expect(again.locator(f"#{job}")).to_contain_text(words)
        expect(again.locator(f"#{first}")).to_have_class(re.compile("is-running"), timeout=PATIENCE_MS)
        expect(again.locator(f"#{second} [data-line]")).to_contain_text("in line")
        again.on("dialog", lambda dialog: dialog.accept())
        again.get_by_role("button", name="Cancel all").click()
        for job in (first, second):
            expect(again.locator(f"#{job}")).to_have_class(re.compile("is-cancelled"), timeout=PATIENCE_MS)
        expect(again.get_by_role("button", name="Cancel all")).to_be_hidden()
    nook.context = chromium.new_context(base_url=nook.base_url)  # for the end of the fixture


def test_several_pictures_stand_side_by_side_each_with_its_preview(nook: Watched, page: Page) -> None:
    with passes_by(page, '#jobs > .card:first-child [data-preview="2"].has-preview'):
        job = draw(page, "a red fox", n="3", steps="40", size="custom", width="64", height="64")
    card = page.locator(f"#{job}")
    expect(card).to_have_class(re.compile("is-succeeded"), timeout=PATIENCE_MS)
    expect(card.locator(".part img")).to_have_count(3)
    compare = card.get_by_role("button", name="Compare")
    compare.nth(0).click()
    expect(compare.nth(0)).to_have_attribute("aria-pressed", "true")
    compare.nth(2).click()
    pair = page.locator("#pair")
    expect(pair.locator("img")).to_have_count(2)
    seeds = nook.job(job)["payload"]["seeds"]
    expect(pair.locator("figcaption").nth(1)).to_contain_text(f"seed {seeds[2]}")
    page.keyboard.press("Escape")
    expect(pair).to_be_hidden()
    expect(compare.nth(0)).to_have_attribute("aria-pressed", "false")


def test_a_variation_has_a_new_seed_and_may_begin_with_the_picture(nook: Watched, page: Page) -> None:
    job = draw(page, "a red fox", seed="7", steps="3", size="custom", width="64", height="64")
    expect(page.locator(f"#{job}")).to_have_class(re.compile("is-succeeded"), timeout=PATIENCE_MS)
    page.locator(f"#{job}").get_by_role("link", name="Vary").click()
    expect(page.locator("#seed")).to_have_value("")
    expect(page.locator("#steps")).to_have_value("3")
    varied = nook.job(send(page))["payload"]
    assert (varied["prompt"], varied["steps"], varied["mode"]) == ("a red fox", 3, "text")
    assert varied["seeds"] != [7]
    page.get_by_role("link", name="Begin with the picture as well").click()
    expect(page.locator("#inputs .input")).to_have_count(1)
    from_it = nook.job(send(page))["payload"]
    assert (from_it["mode"], from_it["strength"]) == ("image", 0.5)
