# SPDX-License-Identifier: Apache-2.0
"""The page and its forms, as a browser without scripts and one with them sees them."""

import re
from html.parser import HTMLParser

import pytest
from tests.unit.web.services import SDXL, House, model, part, picture, resident

from inglenook.base.errors import Busy
from inglenook.base.ids import BlobId, JobId, ModelId, PictureId
from inglenook.catalog.model import ModelKind
from inglenook.images.model import LoraChoice, Mode
from inglenook.jobs.model import JobError, JobState
from inglenook.web import form

pytestmark = pytest.mark.anyio

MASK = ("m.png", b"\x89PNG\r\n\x1a\n mask", "image/png")
PNG = ("a.png", b"\x89PNG\r\n\x1a\n picture", "image/png")


def between(text: str, start: str, end: str) -> str:
    return text.split(start, 1)[1].split(end, 1)[0]


class Elements(HTMLParser):
    """Every element of a page: its tag and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


# -- the first sight -------------------------------------------------------------------------------------


async def test_an_empty_house_says_so_and_offers_a_beginning() -> None:
    async with House().browser() as browser:
        page = await browser.open()
    assert page.status_code == 200
    assert "Nothing was asked for yet" in page.text
    assert 'href="/?prompt=a%20red%20fox"' in page.text
    assert "Nobody waits." in page.text


async def test_the_page_asks_nothing_of_another_host_and_runs_nothing_inline() -> None:
    house = House()
    house.jobs.add(1, JobState.RUNNING)
    house.gallery.add(picture(1))
    async with house.browser() as browser:
        page = await browser.open()
        shown = await browser.client.get("/pictures/pic_0001")
    for text in (page.text, shown.text):
        for tag, attributes in Elements(text).found:
            for name, value in attributes.items():
                assert not name.startswith("on"), (tag, name)
                assert name != "style", tag
                if name in ("src", "href", "action", "hx-get", "hx-post"):
                    assert re.match(r"[/#?]", value or ""), (tag, name, value)
            assert tag != "script" or "src" in attributes
            assert tag != "style"


async def test_every_field_has_a_label_and_every_image_a_text() -> None:
    house = House()
    house.gallery.add(picture(1))
    async with house.browser() as browser:
        page = await browser.open()
    elements = Elements(page.text).found
    labelled = {attributes["for"] for tag, attributes in elements if tag == "label"}
    for tag, attributes in elements:
        if tag in ("input", "select", "textarea") and attributes.get("type") != "hidden":
            assert attributes.get("aria-label") or attributes["id"] in labelled
        if tag == "img":
            assert attributes["alt"]
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))


async def test_the_ranges_and_the_defaults_are_those_of_the_chosen_model() -> None:
    async with House(model("starter"), model("sdxl", SDXL)).browser() as browser:
        page = await browser.open()
        other = await browser.send(
            "/fragments/parameters",
            {"model": "sdxl", "steps": "9", "negative_prompt": "snow", "size": "64x64"},
            htmx=True,
        )
    assert 'placeholder="14"' in page.text
    assert 'value="256x256"' in page.text
    assert 'placeholder="25"' in other.text
    assert 'value="1024x1024"' in other.text
    assert 'value="9"' in other.text  # what was typed stays
    assert "snow</textarea>" in other.text
    assert 'id="model-state"' in other.text


async def test_the_picker_says_how_each_model_stands() -> None:
    house = House(model("starter"), model("sdxl", SDXL), model("old", problem="it is a pickle"))
    house.runtime.residents = [resident("starter")]
    async with house.browser() as browser:
        page = await browser.open()
    assert re.search(r'id="model-state".*?ready', page.text, re.DOTALL)
    assert '<option value="starter" selected>Starter · ready</option>' in page.text
    assert '<option value="sdxl">Sdxl · about' in page.text
    assert 'value="old"' not in page.text  # it cannot be chosen, and the reason stands below
    assert "<dt>Old</dt><dd>Problem: it is a pickle.</dd>" in page.text


async def test_an_address_may_name_the_model() -> None:
    house = House(model("starter"), model("sdxl", SDXL))
    async with house.browser() as browser:
        page = await browser.open("/?model=sdxl")
        unknown = await browser.open("/?model=nobody")
    assert '<option value="sdxl" selected>' in page.text
    assert '<option value="starter" selected>' in unknown.text


async def test_without_a_model_the_page_says_what_to_do() -> None:
    house = House()
    house.catalog.records = []
    async with house.browser() as browser:
        page = await browser.open()
    assert "No picture model was found" in page.text
    assert re.search(r'<button class="go"[^>]* disabled', page.text)


# -- drawing ---------------------------------------------------------------------------------------------


async def test_without_scripts_a_form_leads_to_a_page_that_shows_the_job() -> None:
    house = House()
    async with house.browser() as browser:
        answer = await browser.draw(prompt="a red fox", seed="42")
        assert answer.status_code == 303
        assert answer.headers["location"] == "/?job=job_0001&seed=42#job_0001"
        page = await browser.open(answer.headers["location"])
    assert 'id="job_0001"' in page.text
    assert "In line" in page.text
    assert 'action="/jobs/job_0001/cancel"' in page.text
    assert "a red fox</textarea>" in page.text  # the words stay where they can be changed
    assert 'name="seed" type="text" inputmode="numeric" autocomplete="off" value="42"' in page.text


async def test_with_scripts_the_answer_is_the_card_and_a_new_ticket() -> None:
    house = House()
    async with house.browser() as browser:
        answer = await browser.draw(htmx=True)
        ticket = browser.hidden("ticket")
    assert answer.status_code == 200
    assert answer.text.lstrip().startswith('<li id="job_0001"')
    assert "<html" not in answer.text
    assert re.search(r'id="ticket"[^>]*hx-swap-oob', answer.text)
    assert ticket not in answer.text


async def test_every_field_of_the_form_is_honoured() -> None:
    house = House(model("sdxl", SDXL), part("wool", ModelKind.LORA), part("soft", ModelKind.VAE))
    async with house.browser() as browser:
        answer = await browser.draw(
            files={"image": PNG, "mask": MASK},
            model="sdxl",
            prompt="a castle",
            negative_prompt="snow",
            style="oil",
            size="custom",
            width="640",
            height="512",
            steps="12",
            guidance_scale="0",
            seed="42",
            n="3",
            scheduler="euler",
            sigmas="karras",
            clip_skip="2",
            vae="soft",
            lora=["wool", ""],
            lora_weight=["0.8", ""],
            strength="0.4",
            output_format="webp",
            output_compression="80",
            transparent="on",
        )
    assert answer.status_code == 303
    request = house.images.requests[0]
    assert (request.model, request.prompt, request.negative_prompt) == ("sdxl", "a castle", "snow")
    assert (request.style, request.sigmas, request.clip_skip, request.vae) == ("oil", "karras", 2, "soft")
    assert (request.width, request.height, request.steps, request.guidance_scale) == (640, 512, 12, 0.0)
    assert (request.seed, request.n, request.scheduler, request.strength) == (42, 3, "euler", 0.4)
    assert request.loras == (LoraChoice(ModelId("wool"), 0.8),)
    assert (request.output_format, request.output_compression, request.transparent) == ("webp", 80, True)
    assert request.mode is Mode.INPAINT
    assert house.images.inputs[request.image or BlobId("")] == PNG[1]
    assert house.images.inputs[request.mask or BlobId("")] == MASK[1]


async def test_every_control_of_the_page_has_the_name_of_a_field_that_is_read() -> None:
    """What the form sends and what the server reads cannot drift apart."""
    house = House(model("sdxl", SDXL), part("wool", ModelKind.LORA), part("soft", ModelKind.VAE))
    async with house.browser() as browser:
        page = await browser.open("/?input=pic_0001") if house.gallery.add(picture(1)) else None
    assert page is not None
    text = between(page.text, '<form id="draw-form"', "</form>")
    named = {str(attributes["name"]) for _, attributes in Elements(text).found if "name" in attributes}
    rows = {"lora", "lora_weight", "input", "leave_out", "image", "mask", "csrf", "ticket"}
    assert named - rows == set(form.FIELDS) - {"mask_id"}
    assert named >= rows


async def test_a_form_that_is_sent_twice_draws_once() -> None:
    house = House()
    async with house.browser() as browser:
        first = await browser.draw()
        second = await browser.draw()
        changed = await browser.draw(prompt="a blue fox")
    assert first.headers["location"] == second.headers["location"]
    assert changed.headers["location"] != first.headers["location"]
    assert len(house.images.requests) == 2


# -- errors ----------------------------------------------------------------------------------------------


async def test_without_scripts_an_error_stands_at_its_field_and_nothing_typed_is_lost() -> None:
    house = House()
    async with house.browser() as browser:
        answer = await browser.draw(prompt="a <fox>", steps="0", negative_prompt="snow", scheduler="ddim")
    assert answer.status_code == 422
    assert "steps is 0" not in between(answer.text, 'id="error-prompt"', "</p>")
    assert "Number of steps is 0; it must be between 1 and 150." in between(
        answer.text, 'id="error-steps"', "</p>"
    )
    assert "a &lt;fox&gt;</textarea>" in answer.text
    assert "snow</textarea>" in answer.text
    assert re.search(r'<option value="ddim"[^>]* selected', answer.text)
    assert '<details class="more" id="fold-tuning" open>' in answer.text
    assert house.images.requests == []


async def test_with_scripts_an_error_goes_to_its_field_and_leaves_the_rest_alone() -> None:
    async with House().browser() as browser:
        answer = await browser.draw(htmx=True, steps="0", seed="7")
    assert answer.status_code == 422
    assert answer.headers["hx-reswap"] == "none"
    assert "Number of steps is 0" in between(answer.text, 'id="error-steps"', "</p>")
    assert 'id="error-seed" class="field-error" data-error-of="seed" hx-swap-oob="true" hidden' in answer.text
    assert "<textarea" not in answer.text
    assert 'id="ticket"' not in answer.text


@pytest.mark.parametrize(
    ("fields", "slot", "text"),
    [
        ({"prompt": "  "}, "prompt", "The prompt is empty."),
        ({"prompt": "x" * 100_000}, "prompt", "Prompt has 100000 characters"),
        ({"steps": "many"}, "steps", "“many” is not a whole number."),
        ({"guidance_scale": "nan"}, "guidance_scale", "Guidance is nan"),
        ({"seed": str(2**64)}, "seed", "Seed is 18446744073709551616"),
        ({"n": "9"}, "n", "Number of pictures is 9; it must be between 1 and 8."),
        ({"size": "custom", "width": "64", "height": ""}, "size", "Give both width and height"),
        ({"scheduler": "none"}, "scheduler", "There is no scheduler"),
        ({"model": "gone"}, "model", "There is no model"),
    ],
)
async def test_each_wrong_value_is_told_where_it_was_typed(
    fields: dict[str, str], slot: str, text: str
) -> None:
    async with House().browser() as browser:
        answer = await browser.draw(htmx=True, **fields)
    assert answer.status_code in (404, 422)
    told = between(answer.text, f'id="error-{slot}"', "</p>").replace("&#34;", '"').replace("&#39;", "'")
    assert text in told


async def test_a_file_that_is_no_picture_is_refused_at_its_field() -> None:
    async with House().browser() as browser:
        answer = await browser.draw(htmx=True, files={"image": ("a.png", b"nothing", "image/png")})
    assert "The file is no picture" in between(answer.text, 'id="error-image"', "</p>")


async def test_an_empty_file_field_is_no_picture() -> None:
    house = House()
    async with house.browser() as browser:
        answer = await browser.draw(files={"image": ("", b"", "application/octet-stream")})
    assert answer.status_code == 303
    assert house.images.requests[0].image is None


async def test_a_full_queue_is_told_above_the_form_with_when_to_come_back() -> None:
    house = House()
    house.images.refuse = Busy("The queue is full.", hint="try again in about 5 s", retry_after_s=5)
    async with house.browser() as browser:
        answer = await browser.draw(htmx=True)
        page = await browser.draw()
    assert (answer.status_code, page.status_code) == (429, 429)
    assert answer.headers["retry-after"] == "5"
    for text in (answer.text, page.text):
        told = between(text, 'id="error-form"', "</div></div>" if "<html" in text else "</div>")
        assert "The queue is full." in told
        assert "Try again in about 5 s." in told


async def test_what_does_not_exist_is_told_on_a_page_of_ours() -> None:
    async with House().browser() as browser:
        page = await browser.client.get("/pictures/pic_9")
        part = await browser.client.get("/fragments/pictures/pic_9", headers={"hx-request": "true"})
        nowhere = await browser.client.get("/nowhere")
    assert (page.status_code, part.status_code, nowhere.status_code) == (404, 404, 404)
    assert "There is no picture" in page.text
    assert "Back to the nook" in nowhere.text
    assert part.headers["hx-retarget"] == "#trouble"
    assert "<html" not in part.text


async def test_a_script_in_a_prompt_stays_text_wherever_it_is_shown() -> None:
    attack = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
    house = House(model("starter", title=attack, description=attack))
    house.gallery.add(picture(1, prompt=attack, negative_prompt=attack, note=attack))
    payload = {"prompt": attack, "model": attack, "seeds": [1], "scheduler": attack, "notes": [attack]}
    house.jobs.add(1, JobState.FAILED, payload=payload, error=JobError("x", "failed", attack, attack))
    house.jobs.add(2, JobState.RUNNING, payload=payload)
    house.jobs.explanations[JobId("job_0002")] = {"position": 1, "reason": {"text": attack}}
    house.runtime.queue = [{"position": 1, "work": attack, "model": attack, "reason": {"text": attack}}]
    house.runtime.residents = [resident(attack)]
    async with house.browser() as browser:
        texts = [
            (await browser.open(path)).text
            for path in (
                "/",
                "/pictures/pic_0001",
                "/?picture=pic_0001",
                "/?job=job_0001",
                f"/?prompt={attack}",
            )
        ]
        texts.append((await browser.client.get("/fragments/form", params={"prompt": attack})).text)
        texts.append((await browser.client.get("/fragments/pictures/pic_0001")).text)
        texts.append((await browser.draw(prompt=attack, steps="0")).text)
        texts.append((await browser.draw(prompt=attack, htmx=True)).text)
    for text in texts:
        assert "alert(1)" in text
        assert "<script>" not in text
        assert not [tag for tag, attributes in Elements(text).found if "onerror" in attributes]


# -- forms that change something -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/draw",
        "/fit",
        "/inputs",
        "/jobs/cancel",
        "/jobs/job_0001/cancel",
        "/jobs/job_0001/retry",
        "/pictures/pic_0001/delete",
    ],
)
@pytest.mark.parametrize("token", [None, "", "x" * 43])
async def test_a_form_without_this_browsers_token_changes_nothing(path: str, token: str | None) -> None:
    house = House()
    house.jobs.add(1, JobState.RUNNING)
    house.gallery.add(picture(1))
    async with house.browser() as browser:
        await browser.open()
        data = {"prompt": "a fox", "sure": "yes"} | ({} if token is None else {"csrf": token})
        answer = await browser.client.post(path, data=data)
    assert answer.status_code == 403
    assert "reload the page" in answer.text.lower()
    assert house.jobs.cancelled == []
    assert len(house.jobs.jobs) == 1
    assert house.gallery.pictures


async def test_a_token_of_another_browser_does_not_help() -> None:
    house = House()
    async with house.browser() as browser, house.browser() as other:
        await browser.open()
        await other.open()
        answer = await browser.client.post("/draw", data={"csrf": other.hidden("csrf"), "prompt": "a fox"})
    assert answer.status_code == 403


async def test_a_second_tab_does_not_make_the_forms_of_the_first_stale() -> None:
    async with House().browser() as browser:
        first = await browser.open()
        second = await browser.open()
        assert between(first.text, 'name="csrf" value="', '"') == between(
            second.text, 'name="csrf" value="', '"'
        )
        cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie


async def test_a_cookie_that_was_planted_is_not_taken_into_the_page() -> None:
    async with House().browser() as browser:
        browser.client.cookies.set("inglenook_form", '"><script>x</script>')
        page = await browser.open()
    assert "<script>x" not in page.text


async def test_a_cancel_answers_with_the_receipt() -> None:
    house = House()
    house.jobs.add(1, JobState.RUNNING)
    async with house.browser() as browser:
        answer = await browser.send("/jobs/job_0001/cancel", htmx=True)
        plain = await browser.open("/?job=job_0001")
    assert house.jobs.cancelled == ["job_0001"]
    for text in (answer.text, plain.text):
        assert "Stopped before step 3 of 14. It took 0.2 s." in text
        assert "2 GiB before, 1 GiB after" in text


async def test_a_cancel_that_comes_too_late_shows_what_became_of_the_job() -> None:
    house = House()
    house.jobs.add(1, JobState.SUCCEEDED)
    async with house.browser() as browser:
        answer = await browser.send("/jobs/job_0001/cancel", htmx=True)
    assert answer.status_code == 200
    assert "is-succeeded" in answer.text


async def test_a_failed_job_says_why_and_can_be_tried_again() -> None:
    house = House()
    error = JobError("child.killed", "failed", "The child was killed (signal 9).", "choose a smaller size")
    house.jobs.add(1, JobState.FAILED, error=error)
    async with house.browser() as browser:
        page = await browser.open()
        again = await browser.send("/jobs/job_0001/retry", htmx=True)
        plain = await browser.send("/jobs/job_0001/retry")
    assert "The child was killed (signal 9)." in page.text
    assert "Choose a smaller size." in page.text
    assert 'id="job_0002"' in again.text
    assert plain.headers["location"] == "/?job=job_0003#job_0003"


async def test_a_picture_is_deleted_only_when_asked_for_sure() -> None:
    house = House()
    house.gallery.add(picture(1))
    async with house.browser() as browser:
        first = await browser.send("/pictures/pic_0001/delete")
        assert first.headers["location"] == "/pictures/pic_0001?sure=ask"
        asked = await browser.open(first.headers["location"])
        assert "Delete this picture?" in asked.text
        assert house.gallery.pictures
        done = await browser.send("/pictures/pic_0001/delete", {"sure": "yes"}, htmx=True)
    assert done.status_code == 204
    assert done.headers["hx-trigger"] == '{"removed": {"picture": "pic_0001"}}'
    assert house.gallery.pictures == {}
    assert set(house.gallery.trashed) == {"pic_0001"}, "it can be restored, as what the gallery deletes"


# -- what was made ---------------------------------------------------------------------------------------


async def test_the_list_goes_on_page_by_page_without_a_gap_or_a_double() -> None:
    house = House()
    for number in range(1, 101):
        house.gallery.add(picture(number))
    seen: list[str] = []
    async with house.browser() as browser:
        text = (await browser.open()).text
        while True:
            seen += re.findall(r'class="tile" data-picture="(\w+)"', text)
            following = re.search(r'hx-get="(/fragments/gallery\?before=\w+)"', text)
            if following is None:
                break
            text = (await browser.client.get(following[1])).text
    assert seen == [f"pic_{number:04}" for number in range(100, 0, -1)]


async def test_without_scripts_the_next_page_is_a_page() -> None:
    house = House()
    for number in range(1, 61):
        house.gallery.add(picture(number))
    async with house.browser() as browser:
        page = await browser.open("/?before=pic_0013")
    assert re.findall(r'class="tile" data-picture="(\w+)"', page.text)[0] == "pic_0012"
    assert "Show more" not in page.text


async def test_each_picture_opens_with_all_its_parameters() -> None:
    house = House()
    house.gallery.add(picture(1, scheduler="euler", negative_prompt="snow"))
    async with house.browser() as browser:
        page = await browser.client.get("/pictures/pic_0001")
        part = await browser.client.get("/fragments/pictures/pic_0001")
    for text in (page.text, part.text):
        for value in ("a red fox", "starter", "512 × 512", "euler", "snow", "6.84 KiB"):
            assert value in text
        assert 'href="/v1/pictures/pic_0001/file"' in text
        assert 'download="pic_0001.png"' in text


async def test_use_again_fills_the_form_with_the_seed_and_everything() -> None:
    house = House()
    house.gallery.add(picture(42, prompt="a blue house", scheduler="ddim", steps=9))
    async with house.browser() as browser:
        page = await browser.open("/?picture=pic_0042")
        part = await browser.client.get("/fragments/form", params={"picture": "pic_0042"})
    for text in (page.text, part.text):
        assert "a blue house</textarea>" in text
        assert 'value="42"' in text
        assert re.search(r'<option value="ddim"[^>]* selected', text)
        assert re.search(r'<option value="512x512" selected', text)
        assert re.search(r'id="steps"[^>]*value="9"', text)
        assert 'id="fold-tuning" open' in text


# -- which jobs a fresh page shows -----------------------------------------------------------------------


async def test_after_a_reload_running_jobs_and_fresh_troubles_are_still_there() -> None:
    house = House()
    house.jobs.add(1, JobState.FAILED, error=JobError("x", "failed", "long ago"))
    house.jobs.add(2, JobState.SUCCEEDED)
    house.jobs.add(3, JobState.SUCCEEDED)
    house.jobs.add(4, JobState.INTERRUPTED, error=JobError("x", "failed", "The server stopped."))
    house.jobs.add(5, JobState.RUNNING)
    async with house.browser() as browser:
        page = await browser.open()
    assert re.findall(r'<li id="(job_\w+)"', page.text) == ["job_0005", "job_0004", "job_0003"]


async def test_a_picture_that_was_deleted_leaves_the_card_of_its_job() -> None:
    house = House()
    parts = [
        {"picture_id": f"pic_000{number}", "seed": number, "width": 64, "height": 64} for number in (1, 2)
    ]
    house.gallery.add(picture(2))
    payload = {"prompt": "x", "seeds": [1, 2]}
    house.jobs.add(1, JobState.SUCCEEDED, payload=payload, result={"parts": parts})
    async with house.browser() as browser:
        page = await browser.open()
    card = between(page.text, 'id="job_0001"', '<section class="made"')
    assert re.findall(r'data-picture="(\w+)"', card) == ["pic_0002"]
    del house.gallery.pictures[PictureId("pic_0002")]
    async with house.browser() as browser:
        assert "What it made was deleted." in (await browser.open()).text


async def test_the_browser_is_told_to_name_our_origin_when_a_form_is_sent() -> None:
    """With `no-referrer` a form without scripts is sent with `Origin: null`, which the door refuses."""
    async with House().browser() as browser:
        page = await browser.open()
        shown = await browser.draw(steps="0")
    assert page.headers["referrer-policy"] == "same-origin"
    assert shown.headers["referrer-policy"] == "same-origin"
    assert page.headers["cache-control"] == "no-store"
