# SPDX-License-Identifier: Apache-2.0
"""Creating: pictures to begin with, words used before, another model, variations."""

import re
from dataclasses import replace

import pytest
from tests.unit.web.services import SDXL, House, model, picture

from inglenook.base.ids import BlobId
from inglenook.images.canvas import Margins, Rectangle
from inglenook.images.model import Mode
from inglenook.jobs.model import JobState
from inglenook.wire.families import EDIT, TEXT

pytestmark = pytest.mark.anyio

PNG = ("a.png", b"\x89PNG\r\n\x1a\n picture", "image/png")
MASK = ("m.png", b"\x89PNG\r\n\x1a\n mask", "image/png")


def between(text: str, start: str, end: str) -> str:
    return text.split(start, 1)[1].split(end, 1)[0]


# -- pictures to begin with ------------------------------------------------------------------------------


async def test_a_picture_of_the_gallery_is_an_input_without_being_sent_again() -> None:
    house = House(model("sdxl", SDXL))
    house.gallery.add(picture(3))
    async with house.browser() as browser:
        page = await browser.open("/?input=pic_0003")
        assert '<img src="/v1/pictures/pic_0003/file" alt="Input picture"' in page.text
        part_of_it = await browser.client.get("/fragments/input/pic_0003")
        await browser.draw(model="sdxl", input="pic_0003")
    assert 'name="input" value="pic_0003"' in part_of_it.text
    request = house.images.requests[0]
    assert request.mode is Mode.IMAGE
    assert house.images.inputs[request.image or BlobId("")] == b"\x89PNG of pic_0003"


async def test_a_picture_that_is_gone_is_told_at_the_inputs() -> None:
    async with House(model("sdxl", SDXL)).browser() as browser:
        answer = await browser.draw(model="sdxl", input="pic_0009", htmx=True)
        missing = await browser.client.get("/?input=pic_0009")
    assert "There is no picture" in between(answer.text, 'id="error-image"', "</p>")
    assert missing.status_code == 404


async def test_an_upload_is_kept_at_once_and_named_by_its_blob() -> None:
    house = House(model("sdxl", SDXL))
    async with house.browser() as browser:
        answer = await browser.send("/inputs", files={"image": PNG}, htmx=True)
        blob = between(answer.text, 'name="input" value="', '"')
        shown = await browser.client.get(f"/inputs/{blob}")
        mask = await browser.send("/inputs", files={"mask": MASK}, htmx=True)
        mask_id = between(mask.text, 'name="mask_id" value="', '"')
        await browser.draw(model="sdxl", input=blob, mask_id=mask_id)
    assert (shown.content, shown.headers["content-type"]) == (PNG[1], "image/png")
    request = house.images.requests[0]
    assert (request.image, request.mask, request.mode) == (blob, mask_id, Mode.INPAINT)


async def test_an_upload_that_is_no_picture_is_refused_with_the_words_for_its_field() -> None:
    async with House().browser() as browser:
        answer = await browser.send("/inputs", files={"image": ("a.png", b"nothing", "image/png")})
        missing = await browser.client.get(f"/inputs/{'0' * 64}")
    assert answer.status_code == 400
    assert "The file is no picture that can be read." in answer.text
    assert missing.status_code == 400


async def test_several_pictures_keep_their_order() -> None:
    edit = replace(SDXL, modes=frozenset({TEXT, EDIT}), max_pictures=3)
    house = House(model("edit", edit, family="qwen-image", variant="edit-plus"))
    for number in (1, 2, 3):
        house.gallery.add(picture(number))
    async with house.browser() as browser:
        page = await browser.open("/?input=pic_0001")
        assert re.search(r'id="image" [^>]* multiple', page.text)
        await browser.draw(model="edit", input=["pic_0002", "pic_0003", "pic_0001"], leave_out="pic_0003")
    request = house.images.requests[0]
    sent = [house.images.inputs[blob] for blob in (request.image or BlobId(""), *request.more_images)]
    assert sent == [b"\x89PNG of pic_0002", b"\x89PNG of pic_0001"]


async def test_what_was_uploaded_is_still_there_when_something_else_was_wrong() -> None:
    house = House(model("sdxl", SDXL))
    async with house.browser() as browser:
        answer = await browser.draw(model="sdxl", files={"image": PNG}, steps="0")
    blob = between(answer.text, 'name="input" value="', '"')
    assert house.images.inputs[BlobId(blob)] == PNG[1]
    assert '<details class="more" id="fold-picture" open>' in answer.text


async def test_a_rectangle_and_margins_are_made_into_masks_by_the_server() -> None:
    house = House(model("sdxl", SDXL))
    house.gallery.add(picture(1))
    async with house.browser() as browser:
        fields = {"model": "sdxl", "input": "pic_0001"}
        await browser.draw(**fields, mask_left="4", mask_width="32", mask_height="16")
        await browser.draw(**fields, extend_left="64", extend_right="32")
        refused = await browser.draw(htmx=True, model="sdxl", extend_left="64")
        lonely = await browser.draw(htmx=True, model="sdxl", mask_width="4", mask_height="4")
    part_of_it, larger = house.images.requests
    assert (part_of_it.mask, part_of_it.mode) == ("e" * 64, Mode.INPAINT)
    assert house.images.rectangles[0][1] == Rectangle(4, 0, 32, 16)
    assert (larger.image, larger.mask, larger.mode) == ("c" * 64, "d" * 64, Mode.INPAINT)
    assert house.images.extended[0][1] == Margins(left=64, right=32)
    assert (larger.width, larger.height) == (608, 512)  # it keeps its pixels
    assert "There is no picture to extend." in between(refused.text, 'id="error-extend"', "</p>")
    assert "A rectangle is given, but no picture." in between(lonely.text, 'id="error-mask"', "</p>")


# -- another model, words used before --------------------------------------------------------------------


async def test_without_scripts_another_model_shows_its_fields_and_keeps_what_was_typed() -> None:
    house = House(model("starter"), model("flux", replace(SDXL, guided=False), family="flux"))
    async with house.browser() as browser:
        await browser.open()
        page = await browser.send("/fit", {"model": "flux", "prompt": "a fox", "scheduler": "ddim", "n": "2"})
    assert "a fox</textarea>" in page.text
    assert "ddim does not go with this model" in page.text
    assert re.search(r'id="guidance_scale"[^>]* disabled', page.text)
    assert re.search(r'id="n" [^>]*value="2"', page.text)
    assert house.images.requests == []


async def test_words_used_before_are_offered_once_each_the_last_first() -> None:
    house = House()
    for number, (words, style) in enumerate([("a fox", None), ("a <b>", "oil"), ("a fox", None)], start=1):
        payload = {"prompt": f"painting of {words}" if style else words, "seeds": [1], "style": style}
        house.jobs.add(number, JobState.SUCCEEDED, payload=payload | {"plain_prompt": words})
    async with house.browser() as browser:
        part_of_it = await browser.client.get("/fragments/history")
        whole = await browser.open("/?history=show")
    assert re.findall(r'data-prompt="([^"]*)"', part_of_it.text) == ["a fox", "a &lt;b&gt;"]
    assert 'href="/?prompt=a%20%3Cb%3E&amp;negative_prompt="' in whole.text
    assert '<details class="history" id="history" open>' in whole.text


async def test_everything_unfinished_is_cancelled_at_once() -> None:
    house = House()
    for number, state in enumerate((JobState.RUNNING, JobState.SUCCEEDED, JobState.QUEUED), start=1):
        house.jobs.add(number, state)
    async with house.browser() as browser:
        page = await browser.open()
        answer = await browser.send("/jobs/cancel")
    assert 'id="cancel-all"' in page.text
    assert sorted(house.jobs.cancelled) == ["job_0001", "job_0003"]
    assert answer.headers["location"] == "/"


async def test_a_variation_is_the_same_without_the_seed_and_may_begin_with_the_picture() -> None:
    house = House(model("starter"))
    house.gallery.add(picture(42, prompt="a blue house", steps=9))
    async with house.browser() as browser:
        same = await browser.client.get("/fragments/form", params={"vary": "pic_0042"})
        from_it = await browser.open("/?vary=pic_0042&from=picture")
    for text in (same.text, from_it.text):
        assert "a blue house</textarea>" in text
        assert re.search(r'id="steps"[^>]*value="9"', text)
        assert re.search(r'id="seed"[^>]*value=""', text)
    assert 'name="input"' not in same.text
    assert 'href="/?vary=pic_0042&amp;from=picture"' in same.text
    assert 'name="input" value="pic_0042"' in from_it.text
