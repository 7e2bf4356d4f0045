# SPDX-License-Identifier: Apache-2.0
"""Every control of the gallery in a real browser, over the real server; its pictures come by import."""

import io
import json
import re
import zipfile
from collections.abc import Iterator

import httpx
import pytest
from PIL import Image, PngImagePlugin
from playwright.sync_api import Browser, Page, expect

from inglenook.testing.server import RunningServer
from tests.e2e.browser import Watched, violations, watched

pytestmark = pytest.mark.slow

SCRIPT = "<script>window.bad = 1</script><img src=x onerror='window.bad = 2'>\"'`${window.bad = 3}"


def picture(prompt: str, *, size: tuple[int, int] = (64, 48), shade: int = 90, extra: str = "") -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", f"{prompt}\nSteps: 9, Sampler: Euler, CFG scale: 6, Seed: {shade}{extra}")
    out = io.BytesIO()
    Image.new("RGB", size, (shade, 90, 160)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


class Shelf:
    """The server's gallery, emptied for each test, and a page of it."""

    def __init__(self, nook: Watched, http: httpx.Client) -> None:
        self.nook = nook
        self.http = http

    def bring(self, *pictures: bytes) -> list[str]:
        ids = []
        for number, data in enumerate(pictures):
            answer = self.http.post("/v1/pictures/import", files=[("file", (f"{number}.png", data))])
            ids.append(answer.json()["data"][0]["id"])
        return ids

    def many(self, count: int, prompt: str = "a fox") -> list[str]:
        return self.bring(*(picture(f"{prompt} {number}", shade=number % 250) for number in range(count)))

    def open(self, query: str = "") -> Page:
        return self.nook.open(f"/gallery{query}")

    def get(self, picture_id: str) -> httpx.Response:
        return self.http.get(f"/v1/pictures/{picture_id}")


@pytest.fixture
def shelf(nook: Watched, server: RunningServer) -> Iterator[Shelf]:
    with httpx.Client(base_url=server.base_url, trust_env=False, timeout=60) as http:
        while ids := [one["id"] for one in http.get("/v1/pictures?limit=200").json()["data"]]:
            http.post("/v1/pictures/trash", json={"ids": ids})
        http.post("/v1/pictures/empty-trash")
        yield Shelf(nook, http)


def shown(page: Page) -> list[str]:
    found: list[str] = page.locator("#shots > [data-picture]").evaluate_all(
        "all => all.map(one => one.dataset.picture)"
    )
    return found


def pick(page: Page, *places: int) -> None:
    for place in places:
        page.locator("[data-pick]").nth(place).check(force=True)


def test_an_empty_gallery_says_what_to_do(shelf: Shelf) -> None:
    page = shelf.open()
    expect(page.locator(".cold")).to_contain_text("Nothing was drawn yet")
    expect(page.get_by_role("link", name="Draw a picture")).to_have_attribute("href", "/")
    page = shelf.open("?search=fox")
    expect(page.locator(".cold")).to_contain_text("No picture fits")


def test_more_comes_as_one_scrolls_and_never_while_one_walks_with_the_keyboard(shelf: Shelf) -> None:
    ids = shelf.many(130)[::-1]
    page = shelf.open()
    expect(page.locator("#shots > .shot")).to_have_count(60)
    page.locator("[data-open]").first.focus()
    page.keyboard.press("Tab")
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    page.wait_for_function("() => window.scrollY > 100")
    expect(page.locator("#shots > .shot")).to_have_count(60)
    page.locator("#next-shots a").press("Enter")
    expect(page.locator("#shots > .shot")).to_have_count(120)
    page.mouse.move(600, 400)
    page.mouse.wheel(0, 20_000)
    expect(page.locator("#shots > .shot")).to_have_count(130)
    expect(page.locator("#next-shots")).to_have_count(0)
    assert shown(page) == ids


def test_on_a_large_screen_more_comes_until_it_is_full(
    chromium: Browser, server: RunningServer, shelf: Shelf
) -> None:
    shelf.many(130)
    with watched(chromium, server.base_url, viewport={"width": 1280, "height": 4000}) as nook:
        page = nook.open("/gallery")
        expect(page.locator("#shots > .shot")).to_have_count(130)
        assert page.url.endswith("/gallery")


def test_tiles_are_small_files_and_nothing_shifts(shelf: Shelf) -> None:
    shelf.bring(picture("large", size=(1200, 800)))
    page = shelf.nook.page()
    page.add_init_script(
        "window.shifts = []; const rect = it => JSON.stringify(it);"
        "new PerformanceObserver(list => list.getEntries().forEach(it => window.shifts.push([it.value,"
        "...it.sources.map(one => [one.node?.outerHTML?.slice(0, 80), rect(one.previousRect),"
        "rect(one.currentRect)])]))).observe({type: 'layout-shift', buffered: true})"
    )
    page.goto("/gallery", wait_until="networkidle")
    image = page.locator(".shot img").first
    assert image.evaluate("it => it.decode().then(() => it.naturalWidth)") == 256
    assert image.get_attribute("width") == "1200"
    assert not [url for url in shelf.nook.requests if url.endswith("/file")]
    shifts = page.evaluate("window.shifts")
    assert sum(one[0] for one in shifts) < 0.01, shifts


def test_filters_stand_in_the_address_and_the_back_button_takes_them_off(shelf: Shelf) -> None:
    fox, owl = shelf.bring(picture("a red fox", size=(80, 40)), picture("an owl", size=(40, 80), shade=3))
    page = shelf.open()
    page.fill("#search", "fo")
    expect(page.locator("#shots > .shot")).to_have_count(1)
    assert shown(page) == [fox]
    expect(page).to_have_url(re.compile(r"/gallery\?search=fo$"))
    page.locator(".filters .more summary").click()
    page.select_option("#shape", "portrait")
    expect(page.locator(".cold")).to_contain_text("No picture fits")
    expect(page).to_have_url(re.compile("shape=portrait"))
    page.go_back()
    expect(page.locator("#shots > .shot")).to_have_count(1)
    expect(page.locator("#search")).to_have_value("fo")
    expect(page.locator("#shape")).to_have_value("")
    page.get_by_role("link", name="“fo”").click()
    expect(page.locator("#shots > .shot")).to_have_count(2)
    page.wait_for_load_state()  # its scripts run when all of it is there
    page.select_option("#order", "oldest")
    expect(page).to_have_url(re.compile("order=oldest"))
    expect(page.locator("#shots > .shot").first).to_have_attribute("data-picture", fox)
    page.reload()
    assert shown(page) == [fox, owl]


def test_every_filter_of_the_form_filters(shelf: Shelf) -> None:
    lora = ", Model: dream, Size: 64x48"
    one = shelf.bring(picture("a fox <lora:x:1>", extra=lora))[0]
    shelf.bring(picture("an owl", size=(50, 50), shade=4))
    shelf.http.patch(f"/v1/pictures/{one}", json={"tags": ["snow"], "favourite": True})
    page = shelf.open()
    page.locator(".filters .more summary").click()
    for name, value in (("model", "dream"), ("lora", "true"), ("shape", "landscape")):
        page.select_option(f"#{name}", value)
        expect(page.locator("#shots > .shot")).to_have_count(1)
        assert shown(page) == [one]
        page.select_option(f"#{name}", "")
        expect(page.locator("#shots > .shot")).to_have_count(2)
    for name, value in (("width", "64"), ("height", "48"), ("tag", "Snow")):
        page.fill(f"#{name}", value)
        page.locator(f"#{name}").press("Enter")
        expect(page.locator("#shots > .shot")).to_have_count(1)
        expect(page.locator("#filters")).not_to_have_class(re.compile("htmx-request"))  # Enter asks twice
        page.get_by_role("link", name="Show all", exact=True).click()
        expect(page.locator("#shots > .shot")).to_have_count(2)
        page.wait_for_load_state()
        page.locator(".filters .more summary").click()
    page.fill("#since", "2001-01-01")
    page.fill("#until", "2001-01-02")
    expect(page.locator(".cold")).to_contain_text("No picture fits")
    page = shelf.open()
    page.get_by_label("Favourites").check()
    expect(page.locator("#shots > .shot")).to_have_count(1)
    page = shelf.open()
    page.get_by_role("navigation", name="Tags").get_by_role("link", name="snow").click()
    expect(page).to_have_url(re.compile("tag=snow"))
    expect(page.locator("#shots > .shot")).to_have_count(1)
    assert shown(page) == [one]


def test_a_picture_opens_with_all_it_tells_and_the_arrows_lead_on(shelf: Shelf) -> None:
    ids = shelf.bring(*(picture(f"fox {n}\nNegative prompt: blur {n}", shade=n) for n in range(3)))[::-1]
    page = shelf.open()
    page.locator("[data-open]").first.press("Enter")
    details = page.locator("#details")
    expect(details).to_be_visible()
    expect(details.locator(".picture-prompt")).to_be_focused()
    expect(details).to_contain_text("fox 2")
    expect(details).to_contain_text("blur 2")
    for label, value in (("Seed", "2"), ("Steps", "9"), ("Guidance", "6"), ("Program", "A1111")):
        expect(details.locator("dl div", has_text=label).first).to_contain_text(value)
    expect(details.get_by_label("Previous picture")).to_be_disabled()
    page.keyboard.press("ArrowRight")
    expect(details).to_contain_text("fox 1")
    page.keyboard.press("ArrowRight")
    expect(details).to_contain_text("fox 0")
    expect(details.get_by_label("Next picture")).to_be_disabled()
    details.get_by_label("Previous picture").click()
    expect(details).to_contain_text("fox 1")
    for name, place in (
        ("Use again", f"/?picture={ids[1]}"),
        ("Vary", f"/?vary={ids[1]}"),
        ("Send to input", f"/?input={ids[1]}"),
    ):
        expect(details.get_by_role("link", name=name)).to_have_attribute("href", place)
    page.keyboard.press("Escape")
    expect(details).to_be_hidden()
    expect(page.locator(f"[data-picture={ids[1]}] [data-open]")).to_be_focused()


def test_the_prompt_is_copied_and_the_file_downloaded(shelf: Shelf) -> None:
    data = picture("a red fox")
    shelf.bring(data)
    shelf.nook.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = shelf.open()
    page.locator("[data-open]").click()
    page.get_by_role("button", name="Copy the prompt").click()
    expect(page.locator("#toast")).to_contain_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "a red fox"
    with page.expect_download() as download:
        page.locator("#details").get_by_role("link", name="Download").click()
    assert download.value.path().read_bytes() == data
    assert download.value.suggested_filename.startswith("a-red-fox-")


def test_favourites_and_tags_are_kept(shelf: Shelf) -> None:
    [one] = shelf.bring(picture("a fox"))
    page = shelf.open()
    page.locator(".shot-star").click(force=True)
    expect(page.locator(".shot-star")).to_have_attribute("aria-pressed", "true")
    page.locator("[data-open]").click()
    star = page.locator("#details [data-star]")
    expect(star).to_have_attribute("aria-pressed", "true")
    page.fill("#new-tag", "  Snow ")
    page.locator("#new-tag").press("Enter")
    expect(page.locator(".tag")).to_have_text("snow")
    expect(page.locator("#new-tag")).to_have_value("")
    page.fill("#new-tag", "x")
    page.locator("#details").get_by_role("button", name="Add").click()
    expect(page.locator(".tag")).to_have_count(2)
    assert (shelf.get(one).json()["tags"], shelf.get(one).json()["favourite"]) == (["snow", "x"], True)
    page.get_by_label("Remove the tag snow").click()
    expect(page.locator(".tag")).to_have_count(1)  # a text is not waited for while two could have it
    expect(page.locator(".tag")).to_have_text("x")
    star.click()
    expect(page.locator(".shot-star")).to_have_attribute("aria-pressed", "false")
    assert (shelf.get(one).json()["tags"], shelf.get(one).json()["favourite"]) == (["x"], False)


def test_selecting_goes_by_box_by_row_and_by_all(shelf: Shelf) -> None:
    shelf.many(6)
    page = shelf.open()
    bar = page.locator("#picked")
    expect(bar).to_be_hidden()
    pick(page, 1)
    expect(bar).to_contain_text("1 selected")
    page.locator("[data-pick]").nth(4).click(force=True, modifiers=["Shift"])
    expect(bar).to_contain_text("4 selected")
    bar.get_by_role("button", name="Select all shown").click()
    expect(bar).to_contain_text("6 selected")
    page.keyboard.press("Escape")
    expect(bar).to_be_hidden()
    page.locator("[data-pick]").first.focus()
    page.keyboard.press("Space")
    expect(bar).to_contain_text("1 selected")
    bar.get_by_label("Select nothing").click()
    expect(bar).to_be_hidden()


def test_many_are_marked_and_tagged_at_once_and_the_tag_can_be_taken_back(shelf: Shelf) -> None:
    ids = shelf.many(3)[::-1]
    page = shelf.open()
    pick(page, 0, 1)
    page.get_by_role("button", name="Favourite", exact=True).click()
    expect(page.locator(".shot.is-favourite")).to_have_count(2)
    page.fill("#picked-tag", "Best")
    page.get_by_role("button", name="Add tag").click()
    expect(page.locator("#toast")).to_contain_text("2 pictures have the tag")
    assert [shelf.get(one).json()["tags"] for one in ids] == [["best"], ["best"], []]
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#say")).to_contain_text("taken away")
    assert shelf.get(ids[0]).json()["tags"] == []


def test_what_is_deleted_comes_back_to_its_place(shelf: Shelf) -> None:
    ids = shelf.many(5)[::-1]
    page = shelf.open()
    pick(page, 1, 3)
    page.locator("#picked").get_by_role("button", name="Delete").click()
    expect(page.locator("#shots > .shot")).to_have_count(3)
    expect(page.locator("#toast")).to_contain_text("2 pictures were deleted")
    assert shelf.get(ids[1]).status_code == 404
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#shots > .shot")).to_have_count(5)
    assert shown(page) == ids
    assert shelf.get(ids[1]).status_code == 200
    page.locator("[data-open]").first.click()
    page.locator("#details").get_by_role("button", name="Delete").click()
    expect(page.locator("#details")).to_contain_text("a fox 3")  # it goes on to the next one
    assert shelf.get(ids[0]).status_code == 404


def test_the_trash_restores_and_deletes_for_good_after_asking(shelf: Shelf) -> None:
    ids = shelf.many(4)[::-1]
    shelf.http.post("/v1/pictures/trash", json={"ids": ids})
    page = shelf.open()
    expect(page.locator("#trash-link")).to_contain_text("(4)")
    page.locator("#trash-link").click()
    expect(page.locator("#shots > .shot")).to_have_count(4)
    page.wait_for_load_state()
    assert page.locator(".shot img").first.evaluate("it => it.decode().then(() => it.naturalWidth > 0)")
    pick(page, 0)
    page.locator("#picked").get_by_role("button", name="Restore").click()
    expect(page.locator("#shots > .shot")).to_have_count(3)
    assert shelf.get(ids[0]).status_code == 200
    pick(page, 0)
    page.get_by_role("button", name="Delete for good").first.click()
    sure = page.locator("#sure")
    expect(sure).to_contain_text("cannot be undone")
    sure.get_by_role("button", name="Keep").click()
    expect(page.locator("#shots > .shot")).to_have_count(3)
    page.locator("#picked").get_by_role("button", name="Delete for good").click()
    sure.get_by_role("button", name="Delete for good").click()
    expect(page.locator("#shots > .shot")).to_have_count(2)
    page.locator("[data-open]").first.click()
    page.locator("#details").get_by_role("button", name="Restore").click()
    expect(page.locator("#shots > .shot")).to_have_count(1)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Empty the trash").click()
    sure.get_by_role("button", name="Delete for good").click()
    expect(page.locator(".cold")).to_contain_text("The trash is empty")


def test_the_selected_pictures_come_as_a_zip_file(shelf: Shelf) -> None:
    shelf.many(3)
    page = shelf.open()
    pick(page, 0, 2)
    with page.expect_download() as download:
        page.get_by_role("button", name="Zip").click()
    with zipfile.ZipFile(download.value.path()) as made:
        assert len(made.namelist()) == 3
        assert [one["parameters"]["seed"] for one in json.loads(made.read("parameters.json"))] == [2, 0]


def test_two_are_compared_side_by_side_and_with_a_slider(shelf: Shelf) -> None:
    shelf.many(3)
    page = shelf.open()
    pick(page, 0)
    button = page.get_by_role("button", name="Compare two")
    expect(button).to_be_disabled()
    pick(page, 1)
    button.click()
    box = page.locator("#compare")
    expect(box.locator("img")).to_have_count(2)
    expect(box.locator("tr.differs", has_text="seed")).to_contain_text("(differs)")
    expect(box.locator("tr", has_text="steps")).not_to_have_class(re.compile("differs"))
    box.get_by_label("Slider").check()
    stage = box.locator(".compare-stage")
    size = stage.bounding_box()
    assert size is not None
    assert size["width"] > 200
    slider = box.get_by_role("slider")
    slider.focus()
    page.keyboard.press("Home")
    assert stage.evaluate("it => it.style.getPropertyValue('--at')") == "0%"
    page.mouse.click(size["x"] + size["width"] * 0.75, size["y"] + size["height"] / 2)
    assert stage.evaluate("it => it.style.getPropertyValue('--at')") == "75%"
    page.keyboard.press("Escape")
    expect(box).to_be_hidden()


def test_pictures_are_imported_by_choice_and_by_drop_with_alices_list(shelf: Shelf) -> None:
    page = shelf.open()
    page.set_input_files(
        "#bring-files",
        [
            {"name": "fox.png", "mimeType": "image/png", "buffer": picture("a red fox")},
            {"name": "notes.png", "mimeType": "image/png", "buffer": b"no picture"},
        ],
    )
    expect(page.locator("#toast")).to_contain_text("1 picture was imported, 1 not")
    expect(page.locator("#trouble")).to_contain_text("notes.png")
    expect(page.locator("#shots > .shot")).to_have_count(1)
    out = io.BytesIO()
    Image.new("RGB", (32, 32), "green").save(out, "PNG")
    listed = {"images": {"a1": {"prompt": "a cat of ALICE", "model": "sd/dream", "tags": ["pets"]}}}
    page.evaluate(
        """([bytes, list]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], 'a1.png', {type: 'image/png'}));
            data.items.add(new File([list], 'gallery.json', {type: 'application/json'}));
            for (const name of ['dragenter', 'dragover', 'drop'])
                window.dispatchEvent(new DragEvent(name, {dataTransfer: data, cancelable: true}));
        }""",
        [list(out.getvalue()), json.dumps(listed)],
    )
    expect(page.locator("#shots > .shot")).to_have_count(2)
    newest = shelf.http.get("/v1/pictures?limit=1").json()["data"][0]
    assert (newest["prompt"], newest["tags"], newest["model"]) == ("a cat of ALICE", ["pets"], "dream")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#shots > .shot")).to_have_count(1)


def test_a_script_in_a_prompt_stays_text_everywhere(shelf: Shelf) -> None:
    extra = f", Model: {json.dumps(SCRIPT)}, Version: {json.dumps(SCRIPT)}"
    one, two = shelf.bring(picture(SCRIPT, extra=extra), picture(SCRIPT + "2", shade=3, extra=extra))
    for each in (one, two):
        shelf.http.patch(f"/v1/pictures/{each}", json={"tags": ["<b onclick=alert(1)>x"]})
    page = shelf.open()
    page.locator("[data-open]").first.click()
    expect(page.locator("#details .picture-prompt")).to_contain_text("<script>")
    page.fill("#new-tag", "<img src=x onerror='window.bad = 4'>")
    page.locator("#new-tag").press("Enter")
    expect(page.locator(".tag")).to_have_count(2)
    page.keyboard.press("Escape")
    pick(page, 0, 1)
    page.get_by_role("button", name="Compare two").click()
    expect(page.locator("#compare td").first).to_contain_text("<script>")
    page.keyboard.press("Escape")
    page.fill("#search", SCRIPT)
    expect(page.locator(".chip-away").first).to_contain_text("<script>")
    page.goto(f"/pictures/{one}")
    assert page.evaluate("window.bad") is None


def test_a_server_that_is_away_is_said_and_nothing_is_lost(shelf: Shelf) -> None:
    shelf.many(2)
    page = shelf.open()
    pick(page, 0)
    shelf.nook.context.set_offline(True)
    page.locator("#picked").get_by_role("button", name="Delete").click()
    expect(page.locator("#trouble")).to_contain_text("did not answer")
    expect(page.locator("#connection")).to_contain_text("Connection lost")
    expect(page.locator("#shots > .shot")).to_have_count(2)
    shelf.nook.context.set_offline(False)
    expect(page.locator("#connection")).to_contain_text("Connected again")
    page.locator("#picked").get_by_role("button", name="Delete").click()
    expect(page.locator("#shots > .shot")).to_have_count(1)
    shelf.nook.errors[:] = [text for text in shelf.nook.errors if "ERR_INTERNET_DISCONNECTED" not in text]


def test_without_scripts_one_can_search_page_and_open(
    chromium: Browser, server: RunningServer, shelf: Shelf
) -> None:
    shelf.many(61)
    with watched(chromium, server.base_url, java_script_enabled=False) as plain:
        page = plain.open("/gallery")
        page.get_by_role("link", name="Show more").click()
        expect(page.locator("#shots > .shot")).to_have_count(1)
        page.fill("#search", "fox 7")
        page.get_by_role("button", name="Show").click()
        expect(page).to_have_url(re.compile("search=fox"))
        expect(page.locator("#shots > .shot")).to_have_count(1)
        page.locator("[data-open]").click()
        expect(page).to_have_url(re.compile("/pictures/pic_"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(chromium: Browser, server: RunningServer, shelf: Shelf, scheme: str) -> None:
    one, *_ = shelf.many(3)
    shelf.http.patch(f"/v1/pictures/{one}", json={"tags": ["snow"], "favourite": True})
    with watched(chromium, server.base_url, color_scheme=scheme, reduced_motion="reduce") as nook:
        page = nook.open("/gallery?search=fox")
        page.locator(".filters .more summary").click()
        assert violations(page, also=("moderate",)) == []
        pick(page, 0, 1)
        assert violations(page, also=("moderate",)) == []
        page.get_by_role("button", name="Compare two").click()
        expect(page.locator("#compare img").first).to_be_visible()
        assert violations(page, also=("moderate",)) == []
        page.keyboard.press("Escape")
        page.locator("[data-open]").last.click()
        expect(page.locator(".tag")).to_have_count(1)
        assert violations(page, also=("moderate",)) == []
        page.locator("#details").get_by_role("button", name="Delete").click()
        expect(page.locator("#toast")).to_be_visible()
        assert violations(page, also=("moderate",)) == []
        page.goto("/gallery?trashed=true")
        assert violations(page, also=("moderate",)) == []
