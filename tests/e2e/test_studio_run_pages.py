# SPDX-License-Identifier: Apache-2.0
"""What happens to a run, as its page shows it: what is found for it, its place in the queue, its failure,
its restart; and the other formats of an export."""

import re
from dataclasses import dataclass

import pytest
from playwright.sync_api import Locator, Page, expect

from inglenook.testing.server import RunningServer
from tests.e2e.browser import PATIENCE_MS, Watched, violations
from tests.studio_http import Http
from tests.studio_luck import RATIOS, newest_worker, project_with

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LONG_EPOCHS = 1000
"""So many that it does not end while a test looks at it."""


@dataclass
class Bench:
    http: Http
    server: RunningServer

    def open(self, nook: Watched, experiment: str) -> Page:
        return nook.open(f"/projects/{self.http.project}/training?experiment_id={experiment}")

    def started(self, name: str) -> str:
        made = self.http.make(name, max_epochs=LONG_EPOCHS)
        self.http.act(made, "train")
        return made


@pytest.fixture(scope="module")
def bench(server: RunningServer) -> Bench:
    return Bench(project_with(server.base_url, {"a": 12, "b": 12}, RATIOS), server)


def pill(page: Page) -> Locator:
    return page.locator("#training-experiment-workspace [data-status-words]")


def sure(page: Page) -> None:
    page.locator("#sure [data-sure-yes]").click()


def test_a_batch_size_is_looked_for_and_taken(nook: Watched, bench: Bench) -> None:
    made = bench.http.make("Batch size")
    page = bench.open(nook, made)
    page.get_by_role("button", name="Find a batch size").click()
    found = page.locator("[data-found]")
    expect(found).to_contain_text(re.compile(r"Batch size \d+ is suggested"), timeout=PATIENCE_MS)
    number = re.search(r"Batch size (\d+)", found.inner_text())
    assert number is not None
    found.get_by_role("button", name="Take it").click()
    expect(page.get_by_label("Batch size", exact=True)).to_have_value(number[1])
    expect(page.locator("[data-training-effective-batch]")).to_have_text(number[1])
    page.get_by_role("button", name="Keep changes").click()
    expect(page.locator("#toast")).to_contain_text("Kept")
    assert bench.http.get(made)["hyperparameters"]["batch_size"] == int(number[1])
    assert bench.http.get(made)["status"] == "created"


def test_a_learning_rate_is_looked_for_drawn_and_taken(nook: Watched, bench: Bench) -> None:
    made = bench.http.make("Learning rate")
    page = bench.open(nook, made)
    page.get_by_role("button", name="Find a learning rate").click()
    expect(page.get_by_role("button", name="Find a batch size")).to_be_disabled()
    found = page.locator("[data-found]")
    expect(found).to_contain_text(re.compile(r"Learning rate \S+ is suggested"), timeout=PATIENCE_MS)
    expect(found.locator("[data-chart=found] svg[role=img]")).to_be_visible()
    expect(page.get_by_role("button", name="Find a batch size")).to_be_enabled()
    before = page.get_by_label("Learning rate", exact=True).input_value()
    found.get_by_role("button", name="Take it").click()
    taken = page.get_by_label("Learning rate", exact=True).input_value()
    assert float(taken) > 0
    assert taken != before
    page.get_by_role("button", name="Keep changes").click()
    expect(page.locator("#toast")).to_contain_text("Kept")
    assert bench.http.get(made)["hyperparameters"]["learning_rate"] == float(taken)


def test_a_run_that_waits_shows_its_place_in_the_queue_and_why(nook: Watched, bench: Bench) -> None:
    first, second, third = (bench.started(name) for name in ("First", "Second", "Third"))
    page = bench.open(nook, third)
    expect(pill(page)).to_have_text("waiting")
    words = page.locator("[data-run-words]")
    expect(words).to_contain_text("Place 2 of 2 in the queue. Waiting: 1 training runs", timeout=PATIENCE_MS)
    bench.http.act(second, "stop")
    expect(words).to_contain_text("Place 1 of 1 in the queue.", timeout=PATIENCE_MS)
    bench.http.act(first, "stop")
    expect(pill(page)).to_have_text("training", timeout=PATIENCE_MS)
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(pill(page)).to_have_text("stopped", timeout=PATIENCE_MS)


def test_a_failed_run_says_why_and_what_to_do_and_can_be_resumed(nook: Watched, bench: Bench) -> None:
    made = bench.started("Killed")
    page = bench.open(nook, made)
    bench.http.until(made, event="epoch_end", epoch=2)
    newest_worker(bench.server).kill()
    expect(pill(page)).to_have_text("failed", timeout=PATIENCE_MS)
    box = page.get_by_role("group", name="Why it failed")
    expect(box).to_contain_text(re.compile(r"Training stopped in epoch \d+: .*signal 9"))
    expect(box.locator(".hint")).to_contain_text("Resume it: it goes on after epoch")
    assert violations(page) == []
    page.get_by_role("button", name="Resume").click()
    expect(pill(page)).to_have_text("training", timeout=PATIENCE_MS)
    expect(box).to_have_count(0)
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(pill(page)).to_have_text("stopped", timeout=PATIENCE_MS)


def test_a_run_is_restarted_after_a_question_that_names_what_goes(nook: Watched, bench: Bench) -> None:
    made = bench.http.make("Again", max_epochs=2)
    bench.http.act(made, "train")
    bench.http.until(made)
    page = bench.open(nook, made)
    expect(page.locator("[data-training-loss-val]")).to_have_attribute("data-points", "2")
    page.get_by_role("button", name="Restart").click()
    asked = page.locator("#sure")
    expect(asked).to_contain_text(
        re.compile(r"the records of 2 epochs, 2 checkpoints \(.*\), its log and its")
    )
    asked.get_by_role("button", name="Keep").click()
    assert bench.http.get(made)["status"] == "completed"
    page.get_by_role("button", name="Restart").click()
    sure(page)
    expect(pill(page)).to_have_text("not started")
    expect(page.locator("[data-run]")).to_have_count(0)
    assert bench.http.epochs(made) == []
    assert bench.http.get(made)["checkpoints"] == {}
    page.get_by_label("Epochs", exact=True).fill("1")
    page.get_by_role("button", name="Start training").click()
    expect(pill(page)).to_have_text("completed", timeout=PATIENCE_MS)
    assert [one["epoch"] for one in bench.http.epochs(made)] == [1]


def test_intervals_stand_beside_their_value_and_as_a_band(nook: Watched, bench: Bench) -> None:
    made = bench.http.make("Intervals", max_epochs=2)
    bench.http.act(made, "train")
    bench.http.until(made)
    page = bench.open(nook, made)
    expect(page.locator("[data-training-metric-val-band]")).to_have_attribute("data-points", "2")
    page.get_by_text("All epochs", exact=True).click()
    table = page.locator("[data-epoch-table]")
    heads = table.locator("thead th").all_inner_texts()
    assert "val accuracy" in heads
    assert not [head for head in heads if head.endswith((" low", " high"))]
    cell = table.locator("tbody tr").first.locator("th, td").nth(heads.index("val accuracy"))
    expect(cell).to_have_text(re.compile(r"^[0-9.]+ \([0-9.]+ to [0-9.]+\)$"))
    chart = page.locator("[data-chart=metric]")
    chart.get_by_text("As a table").click()
    expect(chart.locator("tbody tr").first).to_contain_text(" to ")


def exported(nook: Watched, bench: Bench, **options: str) -> Page:
    page = nook.open(f"/projects/{bench.http.project}/export")
    page.get_by_role("button", name="New", exact=True).click()
    page.get_by_label("Experiment").select_option(label="To export")
    for label, value in options.items():
        field = page.get_by_label(label.replace("_", " "), exact=True)
        if field.evaluate("it => it.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)
    page.get_by_role("button", name="Export", exact=True).click()
    expect(page.locator("#export-record[data-status=completed]")).to_be_visible(timeout=PATIENCE_MS)
    return page


@pytest.fixture(scope="module")
def trained(bench: Bench) -> str:
    made = bench.http.make("To export", max_epochs=2)
    bench.http.act(made, "train")
    bench.http.until(made)
    return made


def test_an_export_with_8_bit_weights_says_what_they_cost_and_save(
    nook: Watched, bench: Bench, trained: str
) -> None:
    page = exported(nook, bench, Numbers="dynamic", Accuracy_it_may_lose="1")
    record = page.locator("#export-record")
    expect(record).to_contain_text("onnx, 8-bit weights")
    expect(record.get_by_role("heading", name="What 8 bits cost and save")).to_be_visible()
    expect(record).to_contain_text(re.compile(r"Accuracy\s*[0-9.]+% → [0-9.]+%"))
    with page.expect_download() as download:
        record.get_by_role("link", name="The model").click()
    assert download.value.suggested_filename.endswith(".onnx")


def test_a_torchscript_export_is_a_file_and_is_not_offered_to_the_library(
    nook: Watched, bench: Bench, trained: str
) -> None:
    page = exported(nook, bench, Format="torchscript")
    record = page.locator("#export-record")
    expect(record).to_contain_text("The file says what the network says.")
    expect(record.locator("[data-library]")).to_have_count(0)
    with page.expect_download() as download:
        record.get_by_role("link", name="The model").click()
    assert download.value.suggested_filename.endswith((".pt", ".ts"))
