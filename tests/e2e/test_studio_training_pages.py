# SPDX-License-Identifier: Apache-2.0
"""Training, evaluation, export and trying it in a real browser, with a network that really learns."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from inglenook.testing.server import RunningServer
from tests.e2e.browser import PATIENCE_MS, Watched, violations, watched
from tests.studio_http import CLASSES, Http
from tests.studio_pictures import draw_pictures

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LONG_EPOCHS = 1000
"""So many that it does not end while a test looks at it."""


@dataclass
class Bench:
    """A project with pictures and a split, and in it two experiments that ran to their end."""

    http: Http
    first: str
    second: str

    def place(self, part: str, query: str = "") -> str:
        return f"/projects/{self.http.project}/{part}{query}"


@pytest.fixture(scope="module")
def bench(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    http = Http(server.base_url)
    http.make_project(tmp_path_factory.mktemp("drawn"))
    made = [http.make("First", max_epochs=3), http.make("Second", max_epochs=2, learning_rate=0.003)]
    for one in made:
        http.act(one, "train")
    for one in made:
        assert http.until(one)["status"] == "completed"
    return Bench(http, *made)


def evaluate(bench: Bench, experiment: str) -> None:
    """On the test part, whatever other tests have done."""
    path = f"/api/evaluation/{bench.http.project}/{experiment}?again=true"
    bench.http.data("POST", path, json={})


def chosen(experiment: str) -> str:
    return f"?experiment_id={experiment}"


def pill(page: Page) -> Locator:
    return page.locator("#training-experiment-workspace [data-status-words]")


def points(page: Page, chart: str = "loss", line: str = "val") -> Locator:
    """The curve; how many points it has is its `data-points`."""
    return page.locator(f"[data-training-{chart}-{line}]")


def test_an_experiment_is_configured_started_watched_stopped_and_resumed(nook: Watched, bench: Bench) -> None:
    made = bench.http.make("By hand", max_epochs=3)
    page = nook.open(bench.place("training", chosen(made)))
    expect(pill(page)).to_have_text("not started")
    expect(page.locator("[data-training-effective-batch]")).to_have_text("8")
    page.get_by_label("Batches a step").fill("2")
    expect(page.locator("[data-training-effective-batch]")).to_have_text("16")
    page.get_by_label("Epochs", exact=True).fill(str(LONG_EPOCHS))
    page.get_by_role("button", name="Start training").click()
    expect(pill(page)).to_have_text("training", timeout=PATIENCE_MS)
    expect(points(page)).to_have_attribute("data-points", re.compile(r"^([2-9]|\d\d+)$"), timeout=PATIENCE_MS)
    expect(page.locator("[data-run-words]")).to_contain_text(f"of {LONG_EPOCHS}")
    for chart in ("speed", "memory"):
        expect(page.locator(f"[data-chart={chart}] svg[role=img]")).to_be_visible(timeout=PATIENCE_MS)
    page.reload()
    expect(points(page)).to_have_attribute("data-points", re.compile(r"^([3-9]|\d\d+)$"), timeout=PATIENCE_MS)
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(pill(page)).to_have_text("stopped", timeout=PATIENCE_MS)
    done = bench.http.get(made)
    assert done["hyperparameters"]["batch_multiplier"] == 2
    expect(points(page)).to_have_attribute("data-points", str(len(bench.http.epochs(made))))
    page.get_by_role("button", name="Resume").click()
    expect(pill(page)).to_have_text("training", timeout=PATIENCE_MS)
    bench.http.until(made, event="epoch_end", epoch=done["epoch"] + 1)
    bench.http.act(made, "stop")
    expect(pill(page)).to_have_text("stopped", timeout=PATIENCE_MS)
    page.reload()
    numbers = [one["epoch"] for one in bench.http.epochs(made)]
    assert numbers == list(range(1, len(numbers) + 1))
    expect(points(page)).to_have_attribute("data-points", str(len(numbers)))


def test_a_value_out_of_its_range_is_told_at_its_field_and_nothing_is_started(
    nook: Watched, bench: Bench
) -> None:
    made = bench.http.make("Out of range")
    page = nook.open(bench.place("training", chosen(made)))
    page.get_by_label("Dropout").fill("2")
    page.get_by_role("button", name="Start training").click()
    expect(page.locator("#error-model-dropout")).to_be_visible()
    expect(page.get_by_label("Dropout")).to_be_focused()
    assert bench.http.get(made)["status"] == "created"
    page.get_by_label("Dropout").fill("0.3")
    page.get_by_role("button", name="Keep changes").click()
    expect(page.locator("#toast")).to_contain_text("Kept")
    expect(page.locator("#error-model-dropout")).to_be_hidden()
    assert bench.http.get(made)["model"]["dropout"] == 0.3


def test_what_only_the_server_can_refuse_is_told_at_its_field_too(nook: Watched, bench: Bench) -> None:
    made = bench.http.make("Refused")
    page = nook.page()
    page.on("console", lambda said: nook.errors.clear() if "422" in said.text else None)
    page.goto(nook.base_url + bench.place("training", chosen(made)))
    page.get_by_label("Learning rate over time").select_option("multistep")
    page.get_by_label("Milestones").fill("7, 7")
    page.get_by_role("button", name="Keep changes").click()
    expect(page.locator("#error-hyperparameters-milestones")).to_contain_text("twice")


def test_steps_are_added_moved_taken_out_and_kept_in_their_order(nook: Watched, bench: Bench) -> None:
    made = bench.http.make("Steps")
    page = nook.open(bench.place("training", chosen(made)))
    steps = page.locator("[data-steps=train]")
    rows = steps.locator("[data-augmentation-row]")
    expect(rows).to_have_count(3)
    steps.locator("[data-step-choice]").select_option("RandomRotation")
    steps.get_by_role("button", name="Add").click()
    expect(rows).to_have_count(4)
    expect(steps.get_by_label("Rotate: Degrees")).to_be_focused()
    steps.get_by_label("Rotate: Degrees").fill("-10, 20")
    steps.get_by_role("button", name="Earlier: Rotate, step 4").press("Enter")
    steps.get_by_role("button", name="Take out: Mirror left and right, step 2").click()
    expect(rows).to_have_count(3)
    page.get_by_role("button", name="Keep changes").click()
    expect(page.locator("#toast")).to_contain_text("Kept")
    kept = bench.http.get(made)["augmentations"]["train"]
    assert [one["name"] for one in kept] == ["Resize", "RandomRotation", "ToImage"]
    assert kept[1]["params"] == {"degrees": [-10, 20]}


def test_the_steps_are_shown_on_real_pictures(nook: Watched, bench: Bench) -> None:
    made = bench.http.make("Shown")
    page = nook.open(bench.place("training", chosen(made)))
    page.get_by_role("button", name="Show on real pictures").click()
    expect(page.locator(".preview-row")).to_have_count(3, timeout=PATIENCE_MS)
    expect(page.locator(".preview-row").first.locator("img")).to_have_count(5)
    assert (
        page.locator(".preview-row img").first.evaluate("it => it.decode().then(() => it.naturalWidth)") == 8
    )


def test_an_experiment_is_made_renamed_copied_and_deleted(nook: Watched, bench: Bench) -> None:
    page = nook.open(bench.place("training"))
    page.get_by_role("button", name="New", exact=True).click()
    page.get_by_label("Name").fill("Fresh")
    page.get_by_label("Quick").check()
    page.get_by_role("button", name="Make it").click()
    expect(page.locator("#experiment-title")).to_have_text("Fresh")
    expect(page.locator("#model-backbone")).to_have_value("mobilenet_v3_small")
    page.get_by_role("button", name="Rename").click()
    page.locator("#experiment-name").fill("Renamed")
    page.locator("#experiment-name").press("Enter")
    expect(page.locator("#experiment-title")).to_have_text("Renamed")
    expect(page.locator(".experiment.is-chosen .experiment-name")).to_have_text("Renamed")
    page.get_by_role("button", name="Duplicate").click()
    expect(page.locator("#experiment-title")).to_have_text(re.compile("^Experiment"))
    page.get_by_role("button", name="Delete", exact=True).first.click()
    page.locator("#sure [data-sure-yes]").click()
    expect(page.locator(".experiment.is-chosen")).to_have_count(0)
    assert "Renamed" in [one["name"] for one in bench.http.data("GET", bench.http.path)["experiments"]]


def corners(page: Page, what: str) -> list[float]:
    """Left, top, right and bottom of what is drawn, in pixels of the page."""
    return page.locator(what).evaluate_all(
        """parts => {
          const boxes = parts.flatMap(one => [one, ...one.querySelectorAll("line")])
            .filter(one => one.matches("path, line")).map(one => one.getBoundingClientRect());
          const edges = [["left", "min"], ["top", "min"], ["right", "max"], ["bottom", "max"]];
          return edges.map(([name, pick]) => Math.round(Math[pick](...boxes.map(box => box[name]))));
        }"""
    )


def test_a_finished_run_shows_its_epochs_pictures_log_and_settled_configuration(
    nook: Watched, bench: Bench
) -> None:
    page = nook.open(bench.place("training", chosen(bench.first)))
    expect(points(page)).to_have_attribute("data-points", "3")
    expect(points(page, "metric", "train")).to_have_attribute("data-points", "3")
    expect(page.locator("[data-training-loss-x-ticks] text")).to_have_text(["1", "2", "3"])
    expect(page.locator("#training-experiment-workspace")).to_contain_text("random: nobody has trained them")
    page.get_by_text("All epochs", exact=True).click()
    expect(page.locator("[data-epoch-table] tbody tr")).to_have_count(3)
    page.get_by_text("Pictures with predictions").click()
    expect(page.locator("[data-samples] img").first).to_be_visible()
    page.get_by_text("Log", exact=True).click()
    expect(page.locator("[data-log]")).to_contain_text("completed: all epochs are done")
    page.get_by_text("Configuration", exact=True).click()
    expect(page.locator("[data-training-config-section=hardware]")).to_contain_text("32 bit")
    assert page.locator("[data-config]").count() == 0


def test_values_are_read_off_a_curve_with_the_keyboard_and_from_its_table(
    nook: Watched, bench: Bench
) -> None:
    page = nook.open(bench.place("training", chosen(bench.first)))
    expect(points(page)).to_have_attribute("data-points", "3")
    chart = page.locator("[data-chart=loss]")
    chart.locator("svg[role=img]").focus()
    page.keyboard.press("ArrowLeft")
    expect(chart.locator(".chart-said")).to_contain_text("Epoch 3: training")
    chart.get_by_text("As a table").click()
    expect(chart.locator("tbody tr")).to_have_count(3)


def test_two_runs_are_compared_side_by_side(nook: Watched, bench: Bench) -> None:
    page = nook.open(bench.place("training"))
    expect(page.get_by_role("button", name="Compare: choose two or more")).to_be_disabled()
    page.get_by_label("Compare First").check()
    page.get_by_label("Compare Second").check()
    page.get_by_role("button", name="Compare 2").click()
    table = page.locator(".compare")
    expect(table.get_by_role("row", name=re.compile("learning_rate"))).to_contain_text("0.003")
    expect(page.locator("[data-chart=compared] .legend-item")).to_have_text(["Second", "First"])
    page.get_by_label("Measure").select_option("train_loss")
    expect(page.locator("[data-chart=compared] figcaption")).to_contain_text("train loss")


def test_a_checkpoint_is_evaluated_and_a_cell_opens_its_pictures(nook: Watched, bench: Bench) -> None:
    page = nook.open(bench.place("evaluation", chosen(bench.first)))
    page.get_by_label("training", exact=True).check()
    page.get_by_role("button", name="Evaluate", exact=True).click()
    expect(page.locator("#evaluation-report[data-status=completed]")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.locator(".tile-figure").filter(has_text="Accuracy")).to_contain_text("(95 %)")
    for chart, guides in (("roc", 1), ("recall", 0), ("reliability", 1)):
        expect(page.locator(f"[data-chart={chart}] svg[role=img]")).to_be_visible()
        expect(page.locator(f"[data-chart={chart}] [data-guide]")).to_have_count(guides)
    expect(page.locator("[data-chart=roc] .legend-item")).to_have_text([*CLASSES, "by chance"])
    assert corners(page, "[data-chart=roc] [data-guide]") == corners(page, "[data-chart=roc] .axis")
    cells = page.locator(".cell")
    expect(cells).to_have_count(len(CLASSES) ** 2)
    counts = [int(text) for text in cells.all_inner_texts()]
    assert sum(counts) == 48  # 36 to learn from, 12 to test with
    place = max(range(len(counts)), key=counts.__getitem__)
    cells.nth(place).click()
    expect(page.locator("[data-results-count]")).to_have_text(f"{counts[place]} pictures")
    expect(page.locator("[data-result-list] li")).to_have_count(counts[place])
    page.get_by_label("shares of a row").check()
    expect(cells.nth(place)).to_contain_text("%")
    page.locator("[data-result-list] button").first.click()
    viewer = page.get_by_role("dialog")
    expect(viewer.locator("[data-result-scores] li")).to_have_count(len(CLASSES))
    title = viewer.locator("#result-title").inner_text()
    page.keyboard.press("ArrowRight")
    expect(viewer.locator("#result-title")).not_to_have_text(title)
    viewer.get_by_role("button", name="Show where it looks").click()
    expect(viewer.locator("[data-result-saliency]")).to_be_visible(timeout=PATIENCE_MS)
    assert violations(page) == []


def test_two_models_are_compared_on_the_same_pictures(nook: Watched, bench: Bench) -> None:
    for one in (bench.first, bench.second):
        evaluate(bench, one)
    page = nook.open(bench.place("evaluation", chosen(bench.second)))
    page.get_by_label("Compare with").select_option(label="First: best, test")
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.locator("[data-compared]")).to_contain_text("On 12 pictures that both looked at")
    expect(page.locator("[data-compared] tbody tr")).to_have_count(4)
    page.get_by_role("button", name="Reset").click()
    page.locator("#sure [data-sure-yes]").click()
    expect(page.locator("#evaluation-report")).to_contain_text("Not evaluated yet.")


def test_a_checkpoint_is_exported_registered_and_tried(nook: Watched, bench: Bench, tmp_path: Path) -> None:
    page = nook.open(bench.place("export"))
    expect(page.get_by_text("Nothing was exported yet.")).to_be_visible()
    page.get_by_role("button", name="New export").click()
    page.get_by_label("Experiment").select_option(label="First")
    page.get_by_role("button", name="Export", exact=True).click()
    record = page.locator("#export-record")
    expect(page.locator("#export-record[data-status=completed]")).to_be_visible(timeout=PATIENCE_MS)
    expect(record.get_by_text("The file says what the network says.")).to_be_visible()
    expect(record.get_by_role("link", name="Model card")).to_have_attribute(
        "href", re.compile("MODEL_CARD.md$")
    )
    record.locator("#model-name").fill("halves")
    record.get_by_role("button", name="Put it into the library").click()
    expect(page.locator("[data-try]")).to_be_visible()
    draw_pictures(tmp_path, 3)
    page.locator("#try-files").set_input_files([tmp_path / "0.png", tmp_path / "1.png"])
    expect(page.locator("[data-tried] > li")).to_have_count(2, timeout=PATIENCE_MS)
    expect(page.locator("[data-tried] > li").first.locator("ol > li")).to_have_count(len(CLASSES))
    assert violations(page) == []
    page.get_by_role("button", name="Take it out of the library").click()
    page.locator("#sure [data-sure-yes]").click()
    expect(record.locator("[data-register]")).to_be_visible()


@pytest.fixture(params=["light", "dark"])
def phone(chromium: Browser, server: RunningServer, request: pytest.FixtureRequest) -> Iterator[Watched]:
    size = {"width": 360, "height": 780}
    with watched(chromium, server.base_url, viewport=size, color_scheme=request.param) as nook:
        yield nook


def test_every_page_fits_a_phone_and_is_clean_for_screen_readers(phone: Watched, bench: Bench) -> None:
    evaluate(bench, bench.first)
    fresh = bench.http.make("On a phone")
    pages = [
        (bench.place("training"), ".experiment"),
        (bench.place("training", chosen(fresh)), "[data-augmentation-row]"),
        (bench.place("training", chosen(bench.first)), "[data-training-loss-val]"),
        (
            bench.place("training", f"?compare={bench.first},{bench.second}"),
            "[data-chart=compared] svg[role=img]",
        ),
        (bench.place("evaluation", chosen(bench.first)), "[data-chart=reliability] svg[role=img]"),
        (bench.place("export"), ".training"),
    ]
    for path, ready in pages:
        page = phone.open(path)
        expect(page.locator(ready).first).to_be_visible()
        assert violations(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
        page.close()
