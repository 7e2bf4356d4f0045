# SPDX-License-Identifier: Apache-2.0
"""What goes wrong around a training: odd data, numbers that leave the numbers, files that are not what they
say, a data set that changes on the way, a worker that dies. Each time a clear word, and no wrong figure."""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from inglenook.testing.server import RunningServer
from tests.e2e.workbench import eventually
from tests.studio_http import CLASSES, Http
from tests.studio_luck import (
    DATASET,
    ENVIRON,
    RATIOS,
    assert_in_words,
    ended,
    newest_worker,
    numbers,
    project_with,
    put,
    split,
    trained,
    workers,
    zipped,
)

pytestmark = pytest.mark.slow

LONG = 60
"""Epochs that leave time to do something meanwhile."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer.start(tmp_path_factory.mktemp("data"), environ=ENVIRON) as running:
        yield running
    assert "Traceback" not in running.output


@pytest.fixture
def http(server: RunningServer, tmp_path: Path) -> Http:
    """A project of its own, with 60 pictures in three classes and a split."""
    made = Http(server.base_url)
    made.make_project(tmp_path / "pictures")
    return made


@pytest.fixture(scope="module")
def undisturbed(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> list[list[float]]:
    """The figures of each epoch of a run that nothing happened to."""
    http = Http(server.base_url)
    http.make_project(tmp_path_factory.mktemp("pictures") / "of")
    experiment = http.make(max_epochs=LONG)
    assert trained(http, experiment)["status"] == "completed"
    return numbers(http, experiment)


def home(server: RunningServer, http: Http, experiment: str = "") -> Path:
    return server.data / "studio" / "projects" / http.project / "experiments" / experiment


# -- odd data ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [{"only": 8}, {"only": 1}, {"only": 8, "nobody": 0}])
def test_pictures_of_one_class_are_refused_before_anything_starts(
    server: RunningServer, classes: Mapping[str, int]
) -> None:
    http = project_with(server.base_url, classes, RATIOS)
    experiment = http.make()
    error = http.data("POST", f"{http.path}/{experiment}/train", 422)
    assert "one class, only" in error["message"]
    assert "another class" in error["message"]
    assert http.get(experiment)["status"] == "created"
    assert http.data("POST", f"{http.path}/{experiment}/find-learning-rate", 422) == error


def test_a_training_part_without_pictures_is_refused_before_anything_starts(server: RunningServer) -> None:
    http = project_with(server.base_url, {"a": 6, "b": 6}, {"train": 0.0, "val": 0.5, "test": 0.5})
    experiment = http.make()
    error = http.data("POST", f"{http.path}/{experiment}/train", 422)
    assert "training part of the split 'only' is empty" in error["message"]
    assert "make a split" in error["message"].lower()
    assert http.get(experiment)["status"] == "created"


def test_one_picture_a_class_is_trained_and_said_to_be_too_few(server: RunningServer) -> None:
    http = project_with(server.base_url, {"a": 1, "b": 1})
    said = split(http, {"train": 1.0, "val": 0.0, "test": 0.0})
    assert any("too few" in warning for warning in said["warnings"])
    done = trained(http, http.make())
    assert done["status"] == "completed", done["error"]
    assert done["data"]["examples"] == {"train": 2, "val": 0, "test": 0}


def test_without_a_validation_part_it_trains_and_no_figure_pretends_to_be_one(server: RunningServer) -> None:
    http = project_with(server.base_url, {"a": 6, "b": 6}, {"train": 1.0, "val": 0.0, "test": 0.0})
    done = trained(http, experiment := http.make(max_epochs=2))
    assert done["status"] == "completed", done["error"]
    assert done["best_metric"] is None
    assert not [name for row in http.epochs(experiment) for name in row if name.startswith("val_")]
    log = [line["text"] for line in http.data("GET", f"{http.path}/{experiment}/log")["lines"]]
    (told,) = [line for line in log if "no validation part" in line]
    assert "best.ckpt is that of the last epoch" in told
    assert done["checkpoints"]["best"]["epoch"] == 2
    body = {"split_subsets": ["test"]}
    error = http.data("POST", f"/api/evaluation/{http.project}/{experiment}", 422, json=body)
    assert "has no picture" in error["message"]
    assert "choose another part" in error["message"].lower()


def test_a_class_without_pictures_is_kept_and_has_no_figures_of_its_own(server: RunningServer) -> None:
    http = project_with(server.base_url, {"a": 6, "b": 6, "nobody": 0}, RATIOS)
    done = trained(http, experiment := http.make())
    assert done["status"] == "completed", done["error"]
    assert done["data"]["classes"] == ["a", "b", "nobody"]
    body = {"split_subsets": ["train", "test"]}
    figures = http.data("POST", f"/api/evaluation/{http.project}/{experiment}", json=body)["aggregate"]
    nobody = figures["per_class"]["nobody"]
    assert (nobody["support"], nobody["recall"], nobody["roc_auc"]) == (0, None, None)
    recalls = [figures["per_class"][name]["recall"] for name in "ab"]
    assert figures["recall_macro"] == pytest.approx(sum(recalls) / 2), "a class without pictures counts"


# -- numbers that leave the numbers ------------------------------------------------------------------------


def test_a_rate_of_1e30_is_a_failure_in_words_and_no_figure_is_kept_of_it(
    server: RunningServer, http: Http
) -> None:
    experiment = http.make(max_epochs=3, optimizer="sgd", learning_rate=1e30)
    http.act(experiment, "train")
    events = list(http.events(experiment))  # refuses NaN and Infinity
    assert events[-1][2]["status"] == "failed"
    error = http.get(experiment)["error"]
    assert error["type"] == "train.diverged"
    assert_in_words(error["message"])
    assert "learning_rate" in error["hint"]
    written = [
        *home(server, http, experiment).glob("*.json*"),
        home(server, http) / "experiments_index.json",
    ]
    for file in written:
        for line in file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]:
            json.loads(line, parse_constant=_no_constant)
    listed = http.client.get(http.path).text + http.client.get(f"{http.path}/{experiment}/metrics.csv").text
    assert "nan" not in listed.lower().replace("name", "")
    job = ended(http, http.get(experiment)["job"])  # a moment after its experiment
    assert (job["state"], job["error"]["code"]) == ("failed", "train.diverged")


def _no_constant(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")


# -- files that are not what they say ----------------------------------------------------------------------


class Trap:
    """Unpickled, it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def trap(mark: Path, like: Path) -> bytes:
    """A checkpoint as torch writes it, whose pickle runs code."""
    data = io.BytesIO()
    with zipfile.ZipFile(like) as old, zipfile.ZipFile(data, "w") as new:
        for name in old.namelist():
            content = (
                pickle.dumps({"network": Trap(mark)}, 2) if name.endswith("data.pkl") else old.read(name)
            )
            new.writestr(name, content)
    return data.getvalue()


def test_a_checkpoint_that_was_replaced_is_refused_everywhere_and_its_code_is_not_run(
    server: RunningServer, http: Http, tmp_path: Path
) -> None:
    mark = tmp_path / "was-run"
    stopped, done = http.make("stopped", max_epochs=500), http.make("done")
    http.act(stopped, "train")
    http.until(stopped, event="epoch_end", epoch=1)
    http.act(stopped, "stop")
    assert http.until(stopped)["status"] == "cancelled"
    trained(http, done)
    for experiment in (stopped, done):
        for file in (home(server, http, experiment) / "checkpoints").iterdir():
            file.write_bytes(trap(mark, file))
    errors = [trained(http, stopped, "resume")["error"]["message"]]
    evaluation, export = f"/api/evaluation/{http.project}/{done}", f"/api/export/{http.project}"
    errors.append(http.data("POST", evaluation, 422, json={"split_subsets": ["test"]})["message"])
    errors.append(http.data("POST", export, 422, json={"experiment_id": done})["message"])
    for message in errors:
        assert_in_words(message)
        assert "checkpoint" in message or ".ckpt" in message, message
    assert http.get(stopped)["status"] == "failed"
    assert not mark.exists()


# -- a data set that changes -------------------------------------------------------------------------------


def test_a_run_whose_pictures_change_meanwhile_has_the_figures_of_those_that_it_began_with(
    server: RunningServer, http: Http, undisturbed: list[list[float]]
) -> None:
    experiment = http.make(max_epochs=LONG)
    http.act(experiment, "train")
    http.until(experiment, event="epoch_end", epoch=1)
    worker = newest_worker(server)
    worker.suspend()
    error = http.data("DELETE", f"/api/projects/{http.project}", 409)
    assert http.get(experiment)["name"] in error["message"]
    change = f"/api/datasets/{http.project}"
    names = [one["filename"] for one in http.data("GET", f"{change}/images?page_size=60")["items"]]
    http.data("POST", f"{change}/relabel", json={"ids": names[:20], "class_name": CLASSES[0]})
    http.data("POST", f"{change}/remove", json={"ids": names[20:40]})
    put(http, zipped({"other": 4, "another": 4}), mode="replace")
    http.data("POST", f"{change}/versions/3/return")
    http.data("POST", f"{change}/purge")
    assert http.get(experiment)["status"] == "training", "it was over before anything had changed"
    worker.resume()
    http.until(experiment)
    found = http.get(experiment)
    assert found["status"] == "completed", found["error"]
    assert numbers(http, experiment) == undisturbed
    assert found["data"]["dataset_version"] == 1
    assert found["data"]["classes"] == list(CLASSES)
    body = {"split_subsets": ["train", "val", "test"]}
    done = http.data("POST", f"/api/evaluation/{http.project}/{experiment}", json=body)
    assert done["evaluation"]["dataset_version"] == 5
    assert done["aggregate"]["count"] == 40


def test_a_project_that_is_deleted_in_an_import_is_gone_and_the_import_says_so(server: RunningServer) -> None:
    http = project_with(server.base_url, {"a": 2, "b": 2})
    files = {"uploaded_file": ("pictures.zip", zipped({"c": 3000}), "application/zip")}
    answer = http.client.post(f"/api/datasets/{http.project}/import/upload?wait=false", files=files)
    eventually(lambda: bool(workers(server, DATASET)), "the import did not begin")
    (reader,) = workers(server, DATASET)
    reader.suspend()
    gone = http.client.delete(f"/api/projects/{http.project}")
    reader.resume()
    job = ended(http, answer.json()["data"]["id"])
    assert gone.status_code == 200, gone.text
    assert job["state"] == "failed"
    assert job["error"]["code"] == "project.deleted"
    assert "was deleted" in job["error"]["message"]
    http.data("GET", f"/api/projects/{http.project}", 404)
    assert not list((server.data / "studio" / "projects").glob(f"*{http.project}*"))


# -- a worker that dies ------------------------------------------------------------------------------------


def test_a_run_whose_worker_was_killed_says_so_and_resumed_it_has_the_figures_of_one_that_was_not(
    server: RunningServer, http: Http, undisturbed: list[list[float]]
) -> None:
    experiment = http.make(max_epochs=LONG)
    http.act(experiment, "train")
    http.until(experiment, event="epoch_end", epoch=2)
    worker = newest_worker(server)
    worker.kill()
    assert http.until(experiment)["status"] == "failed"
    error = http.get(experiment)["error"]
    assert error["type"] == "child.killed"
    assert "signal 9" in error["message"]
    assert "resume" in error["hint"]
    assert len(http.epochs(experiment)) < LONG, "it was over before it was killed"
    assert trained(http, experiment, "resume")["status"] == "completed"
    assert numbers(http, experiment) == undisturbed
    job = ended(http, http.get(experiment)["job"])
    assert job["state"] == "succeeded"
