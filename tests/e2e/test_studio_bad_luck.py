# SPDX-License-Identifier: Apache-2.0
"""What goes wrong around a training: odd data, numbers that leave the numbers, files that are not what they
say, a data set that changes on the way, a worker that dies. Each time a clear word, and no wrong figure."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from inglenook.testing.server import RunningServer
from tests.studio_http import Http
from tests.studio_luck import (
    ENVIRON,
    RATIOS,
    numbers,
    project_with,
    split,
    trained,
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
