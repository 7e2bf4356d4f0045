# SPDX-License-Identifier: Apache-2.0
"""What happens to a run, as its page shows it: what is found for it, its place in the queue, its failure,
its restart; and the other formats of an export."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from inglenook.base.ids import OWNER
from inglenook.studio.foreign.bringing import bring_ai_studio
from inglenook.testing.server import RunningServer
from tests.ai_studio import PROJECT, put, write_workspace
from tests.e2e.browser import PATIENCE_MS, Watched, violations, watched
from tests.studio_bench import studio_in
from tests.studio_http import Http
from tests.studio_luck import ENVIRON, RATIOS, newest_worker, project_with

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LONG_EPOCHS = 1000
"""So many that it does not end while a test looks at it."""
NIGHT_RUN: dict[str, Any] = {
    "id": "exp-0000000a",
    "name": "Night run",
    "created_at": "2026-01-03T00:00:00Z",
    "status": "completed",
    "started_at": "2026-01-03T01:00:00Z",
    "completed_at": "2026-01-03T02:00:00Z",
    "split_name": "main",
    "model": {"backbone": "resnet18", "head": "classification", "pretrained": True, "dropout": 0.4},
    "hyperparameters": {"batch_size": 16, "learning_rate": 0.01, "optimizer": "lion", "max_epochs": 2},
    "augmentations": {"train": [{"name": "ToImage", "params": {}}], "val": []},
    "hardware": {"selected_devices": ["gpu:0"], "precision": "32"},
    "best_epoch": 2,
    "best_metric": {"val_accuracy": 0.5},
}
NIGHT_EPOCHS = [
    {"epoch": 1, "val_loss": 0.9, "lr": 0.01, "duration_s": 2.0},
    {"epoch": 2, "val_loss": 0.8, "train_loss": 1.1, "val_accuracy": 0.5, "lr": 0.02, "duration_s": 2.5},
]


@dataclass
class Bench:
    http: Http
    server: RunningServer

    def folder(self, experiment: str) -> Path:
        return self.server.data / "studio" / "projects" / self.http.project / "experiments" / experiment

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
    held: list[Route] = []

    def hold(asked: Route) -> None:
        """What was found is asked for at the end: until that is answered, it is at work."""
        held.append(asked)

    page.route("**/v1/jobs/*", hold)
    page.get_by_role("button", name="Find a learning rate").click()
    expect(page.get_by_role("button", name="Find a batch size")).to_be_disabled()
    page.unroute("**/v1/jobs/*")
    for asked in held:
        asked.continue_()
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


def test_speed_and_memory_of_a_run_that_nobody_watched_are_kept_by_epoch(nook: Watched, bench: Bench) -> None:
    made = bench.http.make("Unwatched", max_epochs=3)
    bench.http.act(made, "train")
    bench.http.until(made)
    page = bench.open(nook, made)
    for chart, title in (("speed", "Pictures a second"), ("memory", "Memory in MiB")):
        figure = page.locator(f"[data-chart={chart}]")
        expect(figure.locator("figcaption strong")).to_have_text(title)
        expect(figure.locator("path.curve")).to_have_count(2)  # the line, and its dash in the legend
        expect(figure.locator("path[data-points]")).to_have_attribute("data-points", "3")
    page.get_by_text("All epochs", exact=True).click()
    table = page.locator("[data-epoch-table]")
    heads = table.locator("thead th").all_inner_texts()
    cells = table.locator("tbody tr").first.locator("th, td")
    expect(cells.nth(heads.index("memory"))).to_have_text(re.compile(r"^[0-9.]+ [MG]iB$"))
    rate = float(cells.nth(heads.index("examples per s")).inner_text())
    assert rate == pytest.approx(bench.http.epochs(made)[0]["examples_per_s"], rel=1e-3)


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


def test_an_export_that_did_not_work_says_why_and_is_not_offered_to_the_library(
    nook: Watched, bench: Bench
) -> None:
    made = bench.http.make("To break", max_epochs=1)
    bench.http.act(made, "train")
    bench.http.until(made)
    checkpoints = bench.folder(made) / "checkpoints"
    (checkpoints / "best.ckpt").write_bytes(b"no checkpoint")
    page = nook.open(f"/projects/{bench.http.project}/export")
    page.get_by_role("button", name="New", exact=True).click()
    page.get_by_label("Experiment").select_option(label="To break")
    page.get_by_role("button", name="Export", exact=True).click()
    record = page.locator("#export-record[data-status=failed]")
    expect(record).to_be_visible(timeout=PATIENCE_MS)
    expect(record.locator(".problem")).to_contain_text(
        "best.ckpt is not a checkpoint that can be read: it holds something else than tensors"
    )
    expect(record.locator(".hint")).to_contain_text("Put back a copy of it")
    expect(record.locator("[data-library], [data-try]")).to_have_count(0)
    expect(record.get_by_role("button")).to_have_text(["Delete"])
    assert violations(page) == []


def test_who_may_only_look_sees_an_export_and_cannot_register_or_delete_it(
    nook: Watched, bench: Bench, trained: str
) -> None:
    """The project is another person's for a while, who shares it to be looked at."""
    made = bench.http.data("POST", f"/api/export/{bench.http.project}", json={"experiment_id": trained})
    place = f"/projects/{bench.http.project}/export?export_id={made['id']}"
    expect(nook.open(place).get_by_role("button", name="Put it into the library")).to_be_visible()
    path = bench.folder(trained).parents[1] / "project.json"
    document = json.loads(path.read_text())
    share = {"person": document["owner"], "write": False}
    try:
        path.write_text(json.dumps({**document, "owner": "ada", "shared_with": [share]}))
        record = nook.open(place).locator("#export-record")
        expect(record.locator("[data-library]")).to_have_text(
            re.compile(r"^\s*Library\s*Not in the library.\s*$")
        )
        expect(record.get_by_role("button")).to_have_count(0)
        expect(record.get_by_role("link", name="The model")).to_be_visible()
    finally:
        path.write_text(json.dumps(document))


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, str]]:
    """A server over what came from an AI Studio, and the project there."""
    old = write_workspace(tmp_path_factory.mktemp("old"))
    put(old / "projects" / PROJECT / "experiments" / "exp-0000000a" / "experiment.json", NIGHT_RUN)
    put(
        old / "projects" / PROJECT / "experiments" / "exp-0000000a" / "metrics.json", {"epochs": NIGHT_EPOCHS}
    )
    data = tmp_path_factory.mktemp("data")
    with studio_in(data) as studio:
        project = bring_ai_studio(studio, old, person=OWNER).projects[0].project.id
    with RunningServer.start(data, environ=ENVIRON) as running:
        yield running, project


def test_an_experiment_of_ai_studio_is_read_copied_and_never_trained(
    chromium: Browser, moved: tuple[RunningServer, str]
) -> None:
    server, project = moved
    with watched(chromium, server.base_url) as nook:
        page = nook.open(f"/projects/{project}/training")
        listed = page.get_by_role("link", name="Night run")
        expect(listed).to_contain_text("imported")
        listed.click()
        workspace = page.locator("#training-experiment-workspace")
        expect(pill(page)).to_have_text("completed")
        expect(page.locator("[data-imported]")).to_have_text(
            "Imported from AI Studio: it can only be read. Duplicate it to train the copy."
        )
        notices = workspace.get_by_role("list", name="Notices")
        expect(notices).to_contain_text("recall_macro")
        expect(notices).to_contain_text("lion")
        expect(page.locator("[data-training-loss-val]")).to_have_attribute("data-points", "2")
        expect(page.locator("[data-chart=metric] figcaption")).to_contain_text("Recall (mean of the classes)")
        for name in ("Start training", "Resume", "Restart", "Keep changes"):
            expect(workspace.get_by_role("button", name=name)).to_have_count(0)
        assert page.locator("[data-config]").count() == 0
        assert violations(page) == []
        workspace.get_by_role("button", name="Duplicate").click()
        expect(pill(page)).to_have_text("not started")
        expect(page.get_by_role("button", name="Start training")).to_be_enabled()
        expect(page.get_by_label("Batch size", exact=True)).to_have_value("16")
        expect(page.locator("[data-imported]")).to_have_count(0)
        page = nook.open(f"/projects/{project}/export")
        expect(page.get_by_label("Experiment")).to_have_count(0)
