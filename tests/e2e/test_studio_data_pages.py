# SPDX-License-Identifier: Apache-2.0
"""Projects, their pictures and their splits in a real browser, with digits as folders of PNG files."""

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from sklearn.datasets import load_digits

from inglenook.testing.server import RunningServer
from tests.e2e.browser import PATIENCE_MS, Watched, violations, watched

pytestmark = pytest.mark.slow

WORDS = ("zero", "one", "two")
BY_CLASS = 24
TOTAL = BY_CLASS * len(WORDS)
MANY = 6000
"""So many that an import of them has a middle to stop it in."""
Json = dict[str, Any]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each of three classes, with pictures of 8 x 8 pixels."""
    root = tmp_path_factory.mktemp("digits")
    found = load_digits()
    for number, word in enumerate(WORDS):
        folder = root / word
        folder.mkdir()
        for place in np.flatnonzero(found.target == number)[:BY_CLASS]:
            grey = (found.images[place] * 15.9).astype("uint8")
            Image.fromarray(grey).save(folder / f"digit-{place:04d}.png")
    return root


@pytest.fixture(scope="module")
def digits_zip(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zip") / "digits.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(digits.rglob("*.png")):
            archive.write(file, file.relative_to(digits))
        archive.writestr("one/notes.png", b"this is no picture")
    return path


class Room:
    """A project of its own for each test, over HTTP, and pages of it."""

    def __init__(self, nook: Watched, http: httpx.Client) -> None:
        self.nook = nook
        self.http = http
        self.project: str = self.data(
            "POST", "/api/projects", json={"name": "Digits", "task": "classification"}
        )["id"]

    def data(self, method: str, path: str, **more: Any) -> Any:
        answer = self.http.request(method, path, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def fill(self, archive: Path) -> None:
        files = {"uploaded_file": (archive.name, archive.read_bytes())}
        self.data("POST", f"/api/datasets/{self.project}/import/upload", files=files)

    def split(self, name: str = "first") -> Json:
        body = {"name": name, "ratios": {"train": 0.5, "val": 0.25, "test": 0.25}, "seed": 1}
        made: Json = self.data("POST", f"/api/splits/{self.project}", json=body)
        return made

    def classes(self) -> dict[str, int]:
        found: dict[str, int] = self.data("GET", f"/api/datasets/{self.project}/classes")["classes"]
        return found

    def total(self) -> int:
        return int(self.data("GET", f"/api/datasets/{self.project}/images?page_size=1")["total_items"])

    def open(self, part: str = "dataset") -> Page:
        return self.nook.open(f"/projects/{self.project}/{part}")


@pytest.fixture
def room(nook: Watched, server: RunningServer) -> Iterator[Room]:
    with httpx.Client(base_url=server.base_url, trust_env=False, timeout=120) as http:
        yield Room(nook, http)


@pytest.fixture
def filled(room: Room, digits_zip: Path) -> Room:
    room.fill(digits_zip)
    return room


def shots(page: Page) -> Any:
    return page.locator("#shots > [data-picture]")


def test_a_project_is_made_renamed_shared_and_deleted(nook: Watched) -> None:
    page = nook.open("/projects")
    page.get_by_role("link", name="New project").click()
    tasks = page.locator('#new-project input[name="task"]')
    expect(tasks).to_have_count(7)
    assert tasks.evaluate_all("all => all.filter(one => !one.disabled).map(one => one.value)") == [
        "classification"
    ]
    page.get_by_label("Name", exact=True).fill("Ripe <b>fruit</b>")
    page.get_by_role("button", name="Make it").click()
    expect(page.locator("#error-name")).to_contain_text("letters, digits")
    nook.errors.clear()  # the browser notes the refusal
    page.get_by_label("Name", exact=True).fill("Ripe fruit")
    page.get_by_role("button", name="Make it").click()
    expect(page).to_have_url(re.compile(r"/projects/proj-[0-9a-f]+/dataset$"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Ripe fruit")
    page.goto("/projects")
    card = page.locator(".project", has_text="Ripe fruit")
    card.get_by_role("button", name="Rename").click()
    page.get_by_label("Name", exact=True).and_(page.locator(":visible")).fill("Apples")
    page.get_by_label("Description").and_(page.locator(":visible")).fill("Red ones and green ones")
    page.keyboard.press("Enter")
    card = page.locator(".project", has_text="Apples")
    expect(card).to_contain_text("Red ones and green ones")
    card.get_by_role("button", name="Share").click()
    page.get_by_label("Name of the person").fill("ada")
    page.get_by_label("What the person may do").select_option("write")
    page.locator("#share").get_by_role("button", name="Share", exact=True).click()
    expect(card).to_contain_text("shared with 1")
    card.get_by_role("button", name="Delete").click()
    expect(page.locator("#sure")).to_contain_text("nothing but its name")
    page.locator("#sure").get_by_role("button", name="Delete").click()
    expect(card).to_have_count(0)


def test_a_zip_comes_in_with_what_was_left_out_and_why(room: Room, digits_zip: Path) -> None:
    page = room.open()
    expect(page.locator("#dataset-image-list")).to_contain_text("No dataset imported.")
    page.locator("#zip-file").set_input_files(digits_zip)
    page.get_by_role("button", name="Import the file").click()
    expect(page.get_by_role("link", name="See the pictures")).to_be_visible(timeout=PATIENCE_MS)
    course = page.locator("#dataset-import-indicator")
    expect(course).to_contain_text(f"{TOTAL} pictures imported")
    expect(course).to_contain_text("1 file was left out")
    expect(course).to_contain_text("one/notes.png")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the whole report").click()
    assert "one/notes.png" in Path(download.value.path()).read_text()
    page.get_by_role("link", name="See the pictures").click()
    expect(shots(page)).to_have_count(60)
    expect(page.locator("#dataset-summary")).to_contain_text(f"{TOTAL} pictures")
    expect(page.locator(".bars li")).to_have_count(3)
    page.mouse.wheel(0, 4000)
    expect(shots(page)).to_have_count(TOTAL)


_DROP = """([names, bytes]) => {
    const carried = new DataTransfer();
    names.forEach((name, place) => {
        carried.items.add(new File([new Uint8Array(bytes[place])], name, {type: "image/png"}));
    });
    const zone = document.querySelector("[data-drop]");
    for (const kind of ["dragover", "drop"]) {
        zone.dispatchEvent(new DragEvent(kind, {bubbles: true, cancelable: true, dataTransfer: carried}));
    }
}"""


def test_dropped_pictures_get_the_class_that_was_chosen(room: Room, digits: Path) -> None:
    files = sorted((digits / "one").iterdir())[:5]
    page = room.open()
    page.locator("#class_name").fill("stroke")
    page.evaluate(_DROP, [[it.name for it in files], [list(it.read_bytes()) for it in files]])
    expect(page.get_by_role("link", name="See the pictures")).to_be_visible(timeout=PATIENCE_MS)
    assert room.classes() == {"stroke": 5}


def test_a_folder_of_the_server_replaces_what_is_there_after_a_question(
    filled: Room, digits: Path, server: RunningServer
) -> None:
    incoming = server.data / "studio" / "incoming" / filled.project / "few"
    incoming.mkdir(parents=True)
    for file in sorted((digits / "two").iterdir())[:4]:
        (incoming / file.name).write_bytes(file.read_bytes())
    page = filled.open("dataset/import")
    page.get_by_label("Replace it").check()
    page.locator("#source_path").fill(str(incoming.parent))
    page.get_by_role("button", name="Import the folder").click()
    expect(page.locator("#sure")).to_contain_text(f"{TOTAL} pictures")
    page.locator("#sure").get_by_role("button", name="Replace").click()
    expect(page.get_by_role("link", name="See the pictures")).to_be_visible(timeout=PATIENCE_MS)
    assert filled.total() == 4
    page = filled.open("dataset/versions")
    expect(page.locator(".version")).to_have_count(2)
    page.get_by_role("button", name=re.compile(r"Go back to this\s*: version 1")).click()
    page.locator("#sure").get_by_role("button", name="Go back").click()
    expect(page.locator(".version")).to_have_count(3)
    assert filled.total() == TOTAL


def test_pictures_of_the_gallery_come_in_with_the_class_that_was_chosen(room: Room, digits: Path) -> None:
    wanted = [
        ("file", (file.name, file.read_bytes(), "image/png"))
        for file in sorted((digits / "two").iterdir())[:3]
    ]
    kept = room.http.post("/v1/pictures/import", files=wanted).json()["data"]
    assert len(kept) == 3
    answer = room.http.patch(f"/v1/pictures/{kept[0]['id']}", json={"tags": ["fit to learn"]})
    assert answer.status_code == 200, answer.text
    page = room.open()
    page.locator("#gallery-tag").fill("fit to learn")
    page.locator("#gallery-class").fill("two")
    page.get_by_role("button", name="Import from the gallery").click()
    expect(page.locator("#dataset-import-indicator")).to_contain_text(
        "1 picture imported", timeout=PATIENCE_MS
    )
    assert room.classes() == {"two": 1}
    page.get_by_role("button", name="Import more").click()
    page.locator("#gallery-tag").fill("")
    page.get_by_role("button", name="Import from the gallery").click()
    expect(page.locator("#dataset-import-indicator")).to_contain_text("imported", timeout=PATIENCE_MS)
    assert room.total() >= 3  # what was there already is not taken twice
    page.get_by_role("link", name="See the pictures").click()
    expect(shots(page)).to_have_count(room.total())


def test_an_import_is_stopped_on_the_page_and_nothing_has_changed(
    filled: Room, server: RunningServer
) -> None:
    many = server.data / "studio" / "incoming" / filled.project / "many" / "noise"
    many.mkdir(parents=True)
    random = np.random.default_rng(1)
    for number in range(MANY):
        Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(many / f"{number}.png")
    page = filled.open("dataset/import")
    page.locator("#source_path").fill(str(many.parent))
    page.get_by_role("button", name="Import the folder").click()
    course = page.locator("#dataset-import-indicator")
    expect(course.locator("[data-course-line]")).to_contain_text(f"of {MANY:,}", timeout=PATIENCE_MS)
    course.get_by_role("button", name="Stop").click()
    expect(course).to_contain_text("The import was stopped; nothing has changed", timeout=PATIENCE_MS)
    assert filled.total() == TOTAL
    assert filled.classes() == dict.fromkeys(WORDS, BY_CLASS)
    course.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("button", name="Import the folder")).to_be_visible()
    page = filled.open("dataset/versions")
    expect(page.locator(".version")).to_have_count(1)


def test_deleting_a_split_names_the_experiments_that_were_made_with_it(filled: Room) -> None:
    filled.split()
    filled.split("second")
    made = filled.data(
        "POST",
        f"/api/training/{filled.project}/experiments",
        json={"name": "Owl <b>eyes</b>", "split_name": "first", "model": {"backbone": "small_cnn"}},
    )
    page = filled.open("split")
    card = page.locator('[data-split="first"]')
    expect(card).to_contain_text("Used by Owl <b>eyes</b>.")
    card.get_by_role("button", name="Delete first").click()
    asked = page.locator("#sure")
    expect(asked).to_contain_text("These experiments were made with it: Owl <b>eyes</b>.")
    asked.get_by_role("button", name="Keep").click()
    expect(card).to_be_visible()
    card.get_by_role("button", name="Delete first").click()
    asked.get_by_role("button", name="Delete").click()
    expect(card).to_have_count(0)
    expect(page.locator('[data-split="second"]')).to_be_visible()
    page = filled.nook.open(f"/projects/{filled.project}/training?experiment_id={made['id']}")
    expect(page.locator("#split_name")).to_contain_text("first (deleted)")
    page.get_by_role("button", name="Start training").click()
    expect(page.locator("#error-split_name, #trouble").filter(visible=True).first).to_contain_text("first")
    filled.nook.errors.clear()  # the browser notes the refusal


def test_a_folder_outside_the_allowed_ones_is_refused_with_words(room: Room) -> None:
    page = room.open()
    page.locator("#source_path").fill("/etc")
    page.get_by_role("button", name="Import the folder").click()
    expect(page.locator("#trouble")).to_contain_text("no folder from which may be imported")
    expect(page.get_by_role("button", name="Import the folder")).to_be_visible()
    room.nook.errors.clear()  # the browser notes the refusal


def test_filters_stand_in_the_address_and_narrow_the_grid(filled: Room) -> None:
    filled.split()
    page = filled.open()
    expect(shots(page)).to_have_count(60)
    page.get_by_label("Class", exact=True).select_option("one")
    expect(shots(page)).to_have_count(BY_CLASS)
    assert "filter_class=one" in page.url
    page.get_by_text("More filters and order").click()
    page.get_by_label("Split", exact=True).select_option("first")
    page.get_by_label("Part of the split").select_option("val")
    expect(shots(page)).to_have_count(BY_CLASS // 4)
    expect(page.locator(".part-val")).to_have_count(BY_CLASS // 4)
    page.reload()
    expect(shots(page)).to_have_count(BY_CLASS // 4)
    page.get_by_label("Search in names").fill("no such name")
    expect(page.locator(".cold")).to_contain_text("No picture fits")
    page.locator(".cold").get_by_role("link", name="Show all").click()
    expect(shots(page)).to_have_count(60)


def test_a_row_of_pictures_gets_another_class_by_the_keyboard_alone(filled: Room) -> None:
    page = filled.open()
    expect(shots(page)).to_have_count(60)
    shots(page).first.locator("[data-open]").focus()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    expect(page.locator("[data-count]")).to_have_text("3 selected")
    before = filled.classes()
    assert list(before) == ["one", "two", "zero"]
    page.keyboard.press("1")
    expect(page.locator("#toast")).to_contain_text("3 pictures are of class one now")
    expect(page.locator("#picked")).to_be_hidden()
    changed = 3 - page.locator("#shots > :nth-child(-n+3)").filter(has_text="one").count()
    assert changed == 0
    assert filled.classes()["one"] > before["one"]
    page.locator("#toast").get_by_role("button", name="Undo").click()
    expect(page.locator("#dataset-summary")).to_contain_text("version 3")
    assert filled.classes() == before


def test_shift_and_the_mouse_select_a_row_which_is_tagged_and_removed(filled: Room) -> None:
    page = filled.open()
    expect(shots(page)).to_have_count(60)
    page.locator("[data-pick]").nth(1).check(force=True)
    page.locator("[data-pick]").nth(4).click(force=True, modifiers=["Shift"])
    expect(page.locator("[data-count]")).to_have_text("4 selected")
    page.locator("#picked-tag").fill("blurred")
    page.get_by_role("button", name="Add tag").click()
    expect(page.locator("#toast")).to_contain_text("4 pictures: tag “blurred” added")
    page.get_by_role("button", name="Remove", exact=True).click()
    expect(page.locator("#toast")).to_contain_text("4 pictures were removed")
    assert filled.total() == TOTAL - 4
    page.locator("#toast").get_by_role("button", name="Undo").click()
    expect(page.locator("#dataset-summary")).to_contain_text("version 4")
    assert filled.total() == TOTAL
    page.get_by_role("navigation", name="Tags").get_by_role("link", name="blurred").click()
    expect(shots(page)).to_have_count(4)


def test_all_that_fit_can_be_meant_also_what_is_not_shown(filled: Room) -> None:
    page = filled.open()
    expect(shots(page)).to_have_count(60)
    page.evaluate("() => (byKeyboard = true)")  # nothing more is fetched by itself
    page.locator("[data-pick]").first.check(force=True)
    page.get_by_role("button", name="Select all shown").click()
    page.get_by_role("button", name=f"Select all {TOTAL} that fit").click()
    expect(page.locator("[data-count]")).to_have_text(f"{TOTAL} selected")
    page.locator("#picked-class").fill("digit")
    page.get_by_role("button", name="Give class").click()
    expect(page.locator("#toast")).to_contain_text(f"{TOTAL} pictures are of class digit now")
    assert filled.classes()["digit"] == TOTAL


def test_the_viewer_walks_tells_and_gives_a_class_by_a_key(filled: Room) -> None:
    filled.split()
    page = filled.open()
    expect(shots(page)).to_have_count(60)
    shots(page).nth(1).locator("[data-open]").click()
    name = page.locator("#details h2")
    expect(name).to_be_visible()
    first = name.inner_text()
    expect(page.locator("#details .facts")).to_contain_text("Split first")
    page.keyboard.press("ArrowRight")
    expect(name).not_to_have_text(first)
    page.keyboard.press("ArrowLeft")
    expect(name).to_have_text(first)
    page.keyboard.press("2")
    expect(page.locator('#details [data-give][aria-pressed="true"]')).to_have_text(re.compile("two"))
    expect(shots(page).nth(1).locator("[data-class]")).to_have_text("two")
    page.locator("#new-tag").fill("seen")
    page.keyboard.press("Enter")
    expect(page.locator("#details .tag")).to_contain_text("seen")
    page.keyboard.press("Escape")
    expect(shots(page).nth(1).locator("[data-open]")).to_be_focused()


def test_label_mode_gives_classes_by_keys_takes_back_and_tells_how_far_it_is(filled: Room) -> None:
    ids = [
        it["id"] for it in filled.data("GET", f"/api/datasets/{filled.project}/images?page_size=6")["items"]
    ]
    filled.data("POST", f"/api/datasets/{filled.project}/relabel", json={"ids": ids, "class_name": None})
    page = filled.open("dataset/label")
    words = page.locator("[data-label-words]")
    expect(words).to_have_text(f"{TOTAL - 6} of {TOTAL} have a class")
    picture = page.locator("[data-stage-picture]")
    expect(picture).to_have_attribute("data-id", ids[0])
    page.keyboard.press("1")
    expect(picture).to_have_attribute("data-id", ids[1])
    page.keyboard.press("2")
    expect(picture).to_have_attribute("data-id", ids[2])
    expect(words).to_have_text(f"{TOTAL - 4} of {TOTAL} have a class")
    page.keyboard.press("Backspace")
    expect(picture).to_have_attribute("data-id", ids[1])
    expect(words).to_have_text(f"{TOTAL - 5} of {TOTAL} have a class")
    page.locator("#new-class").fill("a scrawl")
    page.keyboard.press("Enter")
    expect(picture).to_have_attribute("data-id", ids[2])
    for _ in range(4):
        page.keyboard.press("4")  # the class that is new has the next key
    expect(page.locator("[data-stage-words]")).to_have_text("Every picture has a class.")
    page.evaluate("() => sending")
    shown = filled.data("GET", f"/api/datasets/{filled.project}/images?page_size=6")["items"]
    assert [it["class_name"] for it in shown] == ["one", *["a scrawl"] * 5]


def test_classes_are_renamed_and_merged(filled: Room) -> None:
    page = filled.open("dataset/classes")
    rename = page.get_by_role("button", name="Rename one")
    assert (rename.bounding_box() or {"height": 99})["height"] < 60, "its word stands in one line"
    rename.click()
    page.get_by_label("New name").fill("uno")
    page.keyboard.press("Enter")
    expect(page.locator('tr[data-class="uno"]')).to_have_count(1)
    page.get_by_label("Merge uno").check()
    page.get_by_label("Merge zero").check()
    page.locator("#merge-into").fill("round or not")
    page.get_by_role("button", name="Merge").click()
    page.locator("#sure").get_by_role("button", name="Merge").click()
    expect(page.locator('tr[data-class="round or not"]')).to_have_count(1)
    assert filled.classes() == {"two": BY_CLASS, "round or not": 2 * BY_CLASS}


def test_checks_find_a_picture_that_is_there_twice_and_one_of_them_goes(room: Room, digits: Path) -> None:
    source = min((digits / "one").iterdir()).read_bytes()
    other = min((digits / "two").iterdir()).read_bytes()
    files = [("files", (f"{name}.png", data)) for name, data in (("a", source), ("b", source), ("c", other))]
    fields = {"class_name": "one", "keep_duplicates": "true"}
    room.data("POST", f"/api/datasets/{room.project}/import/files?wait=true", files=files, data=fields)
    assert room.total() == 3
    page = room.open("dataset/checks")
    page.get_by_role("button", name="Check now").click()
    expect(page.get_by_role("button", name="Check again")).to_be_visible(timeout=PATIENCE_MS)
    finding = page.locator(".finding", has_text=re.compile("duplicate|same", re.IGNORECASE)).first
    finding.locator("summary").click()
    expect(finding.locator("[data-picture]")).to_have_count(2)
    finding.get_by_role("button", name="Keep one, remove 1").click()
    expect(page.locator("#toast")).to_contain_text("1 picture removed, one stays")
    assert room.total() == 2


def test_a_split_is_previewed_made_shown_and_deleted(filled: Room) -> None:
    page = filled.open("split")
    expect(page.locator("#split-grid")).to_contain_text("There are no splits yet")
    page.get_by_role("button", name="New split").click()
    parts = page.locator("#split-preview .split-parts")
    expect(parts).to_have_count(1)
    page.locator("#split-ratio-train").fill("50")
    for name, value in (("val", "33"), ("test", "17")):
        expect(page.locator(f"#split-ratio-{name}")).to_have_value(value)
    expect(parts).to_contain_text("Train 36")
    page.locator("#split-name").fill("half")
    page.locator("#split-seed-input").fill("7")
    page.get_by_role("button", name="Make the split").click()
    card = page.locator('[data-split="half"]')
    expect(card).to_contain_text("Immutable")
    expect(card).to_contain_text("seed 7")
    card.get_by_text("By class", exact=True).last.click()
    expect(card.locator("tbody tr")).to_have_count(3)
    card.get_by_role("link", name="Train").click()
    expect(shots(page)).to_have_count(36)
    page.go_back()
    page.locator('[data-split="half"]').get_by_role("button", name="Delete half").click()
    expect(page.locator("#sure")).to_contain_text("No experiment uses it")
    page.locator("#sure").get_by_role("button", name="Delete").click()
    expect(page.locator("[data-split]")).to_have_count(0)


def test_k_fold_makes_a_split_for_each_fold_and_a_list_by_hand_is_read(filled: Room) -> None:
    names = [
        it["filename"]
        for it in filled.data("GET", f"/api/datasets/{filled.project}/images?page_size=2")["items"]
    ]
    page = filled.open("split")
    page.get_by_role("button", name="New split").click()
    page.get_by_label("k-fold").check()
    page.locator("#split-folds").fill("3")
    expect(page.locator("#split-preview .split-bar")).to_have_count(3)
    page.get_by_role("button", name="Make the split").click()
    expect(page.locator("[data-split]")).to_have_count(3)
    page.get_by_role("button", name="New split").click()
    page.get_by_label("By hand").check()
    page.locator("#split-list").fill("no comma here")
    expect(page.locator("#split-error")).to_contain_text("no line of a file's name and a part")
    page.locator("#split-list").fill(f"{names[0]}, train\n{names[1]}, validation")
    expect(page.locator("#split-preview")).to_contain_text("Validation 1")
    page.locator("#split-name").fill("mine")
    page.get_by_role("button", name="Make the split").click()
    expect(page.locator("[data-split]")).to_have_count(4)
    expect(page.locator('[data-split="mine"]')).to_contain_text("Train 1")


def test_without_pictures_a_split_page_says_where_they_come_in(room: Room) -> None:
    page = room.open("split")
    page.get_by_role("link", name="Go to Dataset Page").click()
    expect(page.locator("#import")).to_be_visible()


def test_what_the_server_does_not_answer_is_told_and_nothing_is_lost(filled: Room) -> None:
    page = filled.open()
    expect(shots(page)).to_have_count(60)
    page.locator("[data-pick]").first.check(force=True)
    filled.nook.context.set_offline(True)
    page.locator("#picked-class").fill("lost")
    page.get_by_role("button", name="Give class").click()
    expect(page.locator("#trouble")).to_contain_text("The server did not answer")
    expect(page.locator("#connection")).to_contain_text("Connection lost")
    expect(page.locator("[data-count]")).to_have_text("1 selected")
    filled.nook.context.set_offline(False)
    page.get_by_role("button", name="Give class").click()
    expect(page.locator("#toast")).to_contain_text("1 picture is of class lost now")
    filled.nook.errors.clear()  # the browser notes what it could not fetch


PAGES = (
    "dataset",
    "dataset/label?all=true",
    "dataset/import",
    "dataset/classes",
    "dataset/checks",
    "dataset/versions",
    "dataset/map",
    "split",
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_and_a_phone_needs_no_sideways_scrolling(
    chromium: Browser, server: RunningServer, filled: Room, scheme: Any
) -> None:
    filled.split()
    size = {"width": 360, "height": 740}
    with watched(
        chromium, server.base_url, color_scheme=scheme, reduced_motion="reduce", viewport=size
    ) as nook:
        for part in PAGES:
            page = nook.open(f"/projects/{filled.project}/{part}")
            page.wait_for_load_state("networkidle")
            assert violations(page) == [], part
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, part
            page.close()
        page = nook.open("/projects")
        assert violations(page) == []
        page.get_by_role("link", name="New project").click()
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page = nook.open(f"/projects/{filled.project}/split")
        page.get_by_role("button", name="New split").click()
        expect(page.locator("#split-preview .split-bar")).to_have_count(1)
        assert violations(page) == []
        page = nook.open(f"/projects/{filled.project}/dataset")
        shots(page).first.locator("[data-open]").click()
        expect(page.locator("#details h2")).to_be_visible()
        assert violations(page) == []


def test_who_may_only_look_finds_no_way_to_change_anything(filled: Room, server: RunningServer) -> None:
    """The project becomes another person's, who shares it to be looked at."""
    path = server.data / "studio" / "projects" / filled.project / "project.json"
    document = json.loads(path.read_text())
    share = {"person": document["owner"], "write": False}
    path.write_text(json.dumps({**document, "owner": "ada", "shared_with": [share]}))
    page = filled.open()
    expect(page.locator(".studio-top")).to_contain_text("read only")
    expect(page.get_by_role("link", name="Label")).to_have_count(0)
    shots(page).first.locator("[data-open]").click()
    expect(page.locator("#details h2")).to_be_visible()
    expect(page.locator("#details [data-give]")).to_have_count(0)
    page.keyboard.press("1")
    page.keyboard.press("Escape")
    for part in ("dataset/classes", "dataset/versions", "dataset/checks", "split"):
        page = filled.open(part)
        expect(
            page.locator("main button").filter(has_text=re.compile("Rename|Merge|Go back|New split"))
        ).to_have_count(0)
    page = filled.nook.open("/projects")
    card = page.locator(f"#{filled.project}")
    expect(card).to_contain_text("of ada, read only")
    expect(card.get_by_role("button")).to_have_count(0)
    assert "".join(filled.classes()) == "onetwozero"


def test_a_map_is_made_and_walked_with_the_keys(filled: Room) -> None:
    page = filled.open("dataset/map")
    expect(page.locator("[data-map-none]")).to_be_visible()
    page.get_by_label("laid out by").select_option("pca")
    page.get_by_role("button", name="Make the map").click()
    expect(page.locator("[data-map-room]")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.locator("[data-map-key] li")).to_have_count(3)
    expect(page.locator("[data-map-words]")).to_contain_text(f"{TOTAL} of {TOTAL} pictures")
    page.locator("#map-canvas").focus()
    page.keyboard.press("ArrowRight")
    card = page.locator("[data-map-card]")
    expect(card).to_be_visible()
    name = str(card.locator("figcaption").text_content()).split(" · ")[0]
    page.keyboard.press("Enter")
    expect(page.locator("#details h2")).to_have_text(name)
    page.keyboard.press("ArrowRight")
    expect(page.locator("#details h2")).not_to_have_text(name)
    page.keyboard.press("Escape")
    expect(page.locator("#map-canvas")).to_be_focused()
    page.get_by_role("button", name=re.compile("^two")).click()
    expect(page.get_by_role("button", name=re.compile("^two"))).to_have_attribute("aria-pressed", "false")
    assert violations(page) == []
