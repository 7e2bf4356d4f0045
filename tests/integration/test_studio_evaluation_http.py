# SPDX-License-Identifier: Apache-2.0
"""scikit-learn's digits from a folder of pictures to figures, over HTTP with the worker itself."""

import csv
import io
import json
import logging
import math
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score
from tests.studio_http import Http

from inglenook.testing.server import RunningServer

pytestmark = pytest.mark.slow

ENVIRON = {"INGLENOOK_RUNTIME__CPU_THREADS": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
STEPS = [{"name": "Resize", "params": {"size": [16, 16]}}, {"name": "ToImage", "params": {}}]
EPOCHS = 8


def digits() -> tuple[np.ndarray, np.ndarray]:
    """uint8 (1797, 8, 8), 0 to 255; and what they are."""
    found = load_digits()
    return np.rint(found.images * (255 / 16)).astype(np.uint8), found.target


def zipped() -> bytes:
    """A folder a class; a picture's name is its number."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for number, (pixels, target) in enumerate(zip(*digits(), strict=True)):
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "PNG")
            archive.writestr(f"{target}/d{number:04d}.png", file.getvalue())
    return data.getvalue()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer.start(tmp_path_factory.mktemp("data"), environ=ENVIRON) as running:
        yield running


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Http:
    made = Http(server.base_url)
    body = {"name": "Digits", "task": "classification"}
    made.project = made.data("POST", "/api/projects", json=body)["id"]
    files = {"uploaded_file": ("digits.zip", zipped(), "application/zip")}
    made.data(
        "POST",
        f"/api/datasets/{made.project}/import/upload",
        files=files,
        data={"keep_duplicates": "true"},
    )
    split = {"name": "main", "ratios": {"train": 0.6, "val": 0.15, "test": 0.25}, "seed": 3}
    made.data("POST", f"/api/splits/{made.project}", json=split)
    return made


def trained(http: Http, name: str, epochs: int, **model: Any) -> str:
    asked = {
        "name": name,
        "model": {"backbone": "small_cnn", "pretrained": False, "dropout": 0.0, **model},
        "hyperparameters": {
            "max_epochs": epochs,
            "batch_size": 32,
            "warmup_epochs": 0,
            "learning_rate": 0.01,
            "early_stopping_patience": 0,
        },
        "augmentations": {"train": STEPS, "val": STEPS},
        "hardware": {"selected_devices": ["cpu"]},
    }
    made = str(http.data("POST", http.path, json=asked)["id"])
    http.act(made, "train")
    assert http.until(made)["status"] == "completed", http.get(made)["error"]
    return made


@pytest.fixture(scope="module")
def experiment(http: Http) -> str:
    return trained(http, "Good", EPOCHS)


@pytest.fixture(scope="module")
def short(http: Http) -> str:
    """An epoch of its head only: it is often wrong."""
    return trained(http, "Short", 1, freeze_backbone=True)


def at(http: Http, experiment: str, more: str = "") -> str:
    return f"/api/evaluation/{http.project}/{experiment}{more}"


@pytest.fixture(scope="module")
def evaluation(http: Http, experiment: str) -> dict[str, Any]:
    """AI Studio's request, answered when it is done."""
    return dict(http.data("POST", at(http, experiment), json={"split_subsets": ["test"]}))


def every_result(http: Http, experiment: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    page = 1
    while True:
        said = http.data("GET", at(http, experiment, f"/results?page={page}&page_size=500"))
        found += said["items"]
        if page >= said["total_pages"]:
            return found
        page += 1


def test_accuracy_is_what_the_predictions_say_and_not_worse_than_logistic_regression(
    http: Http, experiment: str, evaluation: dict[str, Any]
) -> None:
    assert evaluation["status"] == "completed"
    figures = http.data("GET", at(http, experiment))["aggregate"]
    rows = every_result(http, experiment)
    truth = [row["ground_truth"]["class_name"] for row in rows]
    said = [row["prediction"]["class_name"] for row in rows]
    assert figures["accuracy"] == pytest.approx(accuracy_score(truth, said))
    assert figures["f1_macro"] == pytest.approx(f1_score(truth, said, average="macro"))
    assert np.array_equal(figures["confusion_matrix"], confusion_matrix(truth, said))
    assert {row["subset"] for row in rows} == {"test"}
    pixels, targets = digits()
    numbers = {"train": [], "test": []}
    for part in numbers:
        listed = f"/api/datasets/{http.project}/images?split_name=main&subset={part}&page_size=500"
        for page in range(1, http.data("GET", listed)["total_pages"] + 1):
            items = http.data("GET", f"{listed}&page={page}")["items"]
            numbers[part] += [int(one["filename"][1:5]) for one in items]
    assert sorted(numbers["test"]) == sorted(int(row["filename"][1:5]) for row in rows)
    flat = pixels.reshape(len(pixels), -1) / 255
    regression = LogisticRegression(max_iter=2000).fit(flat[numbers["train"]], targets[numbers["train"]])
    reference = regression.score(flat[numbers["test"]], targets[numbers["test"]])
    told = f"accuracy {figures['accuracy']:.4f}, logistic regression {reference:.4f}, {len(rows)} pictures"
    assert reference > 0.9, told
    assert figures["accuracy"] >= reference - 0.02, told
    logging.getLogger(__name__).info(told)


def test_a_row_holds_what_the_network_said_and_rows_can_be_sorted_filtered_and_walked(
    http: Http, experiment: str, evaluation: dict[str, Any]
) -> None:
    said = http.data("GET", at(http, experiment, "/results?sort_by=error&sort_order=desc&page_size=5"))
    worst = said["items"][0]
    assert not worst["correct"]
    assert sum(worst["probabilities"].values()) == pytest.approx(1)
    assert worst["loss"] == pytest.approx(
        -math.log(worst["probabilities"][worst["ground_truth"]["class_name"]]), rel=1e-4
    )
    wrong = http.data("GET", at(http, experiment, "/results?filter_correct=false&search=&filter_class="))
    right = http.data("GET", at(http, experiment, "/results?filter_correct=true"))
    assert wrong["total_items"] + right["total_items"] == evaluation["aggregate"]["count"]
    cell = f"/results?filter_class={worst['ground_truth']['class_name']}"
    cell += f"&filter_predicted={worst['prediction']['class_name']}"
    in_cell = http.data("GET", at(http, experiment, cell))["items"]
    assert worst["filename"] in [one["filename"] for one in in_cell]
    names = [one["filename"] for one in wrong["items"]]
    info = http.data(
        "GET", at(http, experiment, f"/results/{names[1]}/info?filter_correct=false&page_size=1")
    )
    assert info["navigation"] == {
        "page": 2,
        "previous_filename": names[0],
        "next_filename": names[2] if len(names) > 2 else None,
    }
    assert info["dataset"]["split_assignments"] == [{"name": "main", "value": "test"}]
    assert info["image"]["width"] == 8
    assert info["result"]["filename"] == names[1]


def test_a_second_evaluation_is_refused_until_it_is_asked_for_again_or_reset(http: Http, short: str) -> None:
    made = short
    assert http.data("GET", at(http, made), status=404)["code"] == "NOT_FOUND"
    assert http.data("GET", at(http, made, "/checkpoints")) == {"checkpoints": ["best", "last"]}
    missing = http.data("POST", at(http, made), status=404, json={"checkpoint": "other"})
    assert missing["code"] == "CHECKPOINT_NOT_FOUND"
    first = http.data("POST", at(http, made), json={"checkpoint": "best.ckpt", "batch_size": 100})
    assert http.data("POST", at(http, made), status=409, json={})["code"] == "CONFLICT"
    second = http.data(
        "POST", at(http, made, "?again=true"), json={"checkpoint": "last", "split_subsets": ["val", "test"]}
    )
    newest = http.data("GET", at(http, made))
    assert newest["evaluation"]["id"] == second["evaluation"]["id"]
    assert newest["evaluation"]["checkpoint_epoch"] == 1
    assert set(newest["aggregate"]["subsets"]) == {"val", "test"}
    older = http.data("GET", at(http, made, f"?evaluation={first['evaluation']['id']}"))
    assert set(older["aggregate"]["subsets"]) == {"test"}
    assert len(http.data("GET", at(http, made, "/evaluations"))["evaluations"]) == 2
    gone = {"project_id": http.project, "experiment_id": made, "deleted": True}
    assert http.data("DELETE", at(http, made)) == gone
    assert http.data("DELETE", at(http, made)) == gone
    http.data("GET", at(http, made), status=404)


def test_bad_orders_say_which_field(http: Http, experiment: str) -> None:
    for body in (
        {"batch_size": 0},
        {"device": "tpu"},
        {"checkpoint": "../../etc/passwd"},
        {"split_subsets": ["training"]},
    ):
        error = http.data("POST", at(http, experiment, "?again=true"), status=422, json=body)
        assert error["code"] == "VALIDATION_ERROR"
        assert next(iter(body)) in json.dumps(error["details"])
    http.data("POST", at(http, experiment, "?again=true"), status=422, json={"split_subsets": []})
    created = http.make("never trained")
    assert http.data("POST", at(http, created), status=409, json={})["code"] == "CONFLICT"
    http.data("POST", at(http, "exp-00000000"), status=404, json={})
    http.data("GET", at(http, experiment, "/results?filter_class=eleven"), status=422)


def test_a_damaged_checkpoint_is_a_failed_evaluation_that_is_shown_and_can_be_reset(
    http: Http, server: RunningServer, short: str
) -> None:
    made = short
    (file,) = server.data.glob(f"studio/projects/*/experiments/{made}/checkpoints/best.ckpt")
    data = file.read_bytes()
    try:
        file.write_bytes(data[:1000])
        error = http.data("POST", at(http, made), status=422, json={})
    finally:
        file.write_bytes(data)
    assert "best.ckpt" in error["message"]
    said = http.data("GET", at(http, made))
    assert said["evaluation"]["status"] == "failed"
    assert said["aggregate"] is None
    assert "best.ckpt" in said["evaluation"]["error"]
    http.data("GET", at(http, made, "/results"), status=409)
    http.data("DELETE", at(http, made))
    assert http.data("POST", at(http, made), json={"checkpoint": "last"})["status"] == "completed"
    http.data("DELETE", at(http, made))


def test_a_picture_that_cannot_be_read_is_told_and_the_others_count(
    http: Http, server: RunningServer, experiment: str, evaluation: dict[str, Any]
) -> None:
    name = every_result(http, experiment)[0]["filename"]
    (file,) = server.data.glob(f"studio/projects/*/dataset/images/{name}")
    data = file.read_bytes()
    try:
        file.write_bytes(data[:40])
        said = http.data("POST", at(http, experiment, "?again=true"), json={})
    finally:
        file.write_bytes(data)
    record = said["evaluation"]
    assert record["unreadable"] == 1
    assert record["not_seen"][0]["filename"] == name
    assert said["aggregate"]["count"] == evaluation["aggregate"]["count"] - 1
    http.data("DELETE", at(http, experiment, f"?evaluation={record['id']}"))
    assert http.data("GET", at(http, experiment))["evaluation"]["id"] == evaluation["evaluation"]["id"]


def test_where_it_looked_is_a_picture_of_the_same_size(
    http: Http, experiment: str, evaluation: dict[str, Any]
) -> None:
    row = every_result(http, experiment)[0]
    for chosen in ("", "?class=3"):
        path = at(http, experiment, f"/saliency/{row['filename']}{chosen}")
        first, second = (http.client.get(path) for _ in range(2))
        assert first.status_code == 200, first.text
        assert first.headers["content-type"] == "image/png"
        assert Image.open(io.BytesIO(first.content)).size == (8, 8)
        assert first.content == second.content
    assert http.client.get(at(http, experiment, f"/saliency/{row['filename']}?class=x")).status_code == 404
    assert http.client.get(at(http, experiment, "/saliency/none.png")).status_code == 404


def test_two_networks_are_compared_on_the_same_pictures(
    http: Http, experiment: str, evaluation: dict[str, Any], short: str
) -> None:
    weak = short
    http.data("POST", at(http, weak), json={})
    said = http.data("GET", at(http, experiment, f"/compare?other={weak}"))
    assert said["pictures"] == evaluation["aggregate"]["count"]
    assert said["accuracy"]["first"] == pytest.approx(evaluation["aggregate"]["accuracy"])
    difference = said["accuracy"]["first"] - said["accuracy"]["second"]
    assert said["difference"]["value"] == pytest.approx(difference)
    assert said["difference"]["low"] < difference < said["difference"]["high"]
    assert said["significant"]
    assert said["p_value"] < 0.01
    http.data("DELETE", at(http, weak))
    http.data("POST", at(http, weak), json={"split_subsets": ["val"]})
    error = http.data("GET", at(http, experiment, f"/compare?other={weak}"), status=422)
    assert "share no pictures" in error["message"]
    http.data("DELETE", at(http, weak))


def test_everything_can_be_downloaded(http: Http, experiment: str, evaluation: dict[str, Any]) -> None:
    def got(name: str) -> bytes:
        answer = http.client.get(at(http, experiment, f"/files/{name}"))
        assert answer.status_code == 200, answer.text
        return answer.content

    rows = list(csv.DictReader(io.StringIO(got("results.csv").decode())))
    right = sum(row["correct"] == "1" for row in rows)
    assert right / len(rows) == pytest.approx(evaluation["aggregate"]["accuracy"])
    assert json.loads(got("aggregate.json"))["aggregate"] == evaluation["aggregate"]
    matrix = list(csv.reader(io.StringIO(got("confusion_matrix.csv").decode())))
    assert [[int(n) for n in row[1:]] for row in matrix[1:]] == evaluation["aggregate"]["confusion_matrix"]
    assert {row["curve"] for row in csv.DictReader(io.StringIO(got("curves.csv").decode()))} == {
        "roc",
        "precision_recall",
    }
    for name in ("confusion_matrix", "roc", "precision_recall", "reliability"):
        assert Image.open(io.BytesIO(got(f"{name}.png"))).width >= 400
    assert http.client.get(at(http, experiment, "/files/secrets.txt")).status_code == 404


def test_suspected_labels_stand_among_the_checks_of_the_data_set(
    http: Http, experiment: str, evaluation: dict[str, Any]
) -> None:
    path = f"/api/datasets/{http.project}/checks"
    found = [one for one in http.data("GET", path)["findings"] if one["kind"] == "label_noise"]
    mine = [one for one in found if one["source"] == f"evaluation {evaluation['evaluation']['id']}"]
    rows = every_result(http, experiment)
    sure = [one for one in rows if not one["correct"] and one["prediction"]["confidence"] >= 0.5]
    assert mine[0]["pictures"] == len(sure)
    said = http.data("GET", f"{path}/label_noise?source=evaluation {evaluation['evaluation']['id']}")
    assert said["items"][0]["images"][0]["filename"] in [one["filename"] for one in sure]


def test_the_map_puts_pictures_of_a_class_together(http: Http, experiment: str) -> None:
    path = f"/api/datasets/{http.project}/map"
    assert http.data("GET", path) == {"map": None, "stale": False, "job": None, "points": []}
    asked = {"experiment_id": experiment, "method": "pca", "limit": 300}
    said = http.data("POST", f"{path}?wait=true", json=asked)
    assert said["map"]["shown"] == len(said["points"]) == 300
    assert said["map"]["weights"].startswith("checkpoint best")
    places = np.array([[one["x"], one["y"]] for one in said["points"]])
    assert np.abs(places).max() == pytest.approx(1, abs=1e-4)
    names = np.array([one["class"] for one in said["points"]])
    middles = {name: places[names == name].mean(axis=0) for name in set(names)}
    inside = np.mean(
        [np.linalg.norm(place - middles[name]) for place, name in zip(places, names, strict=True)]
    )
    assert inside < 0.6 * np.linalg.norm(places - places.mean(axis=0), axis=1).mean()
    listed = f"/api/datasets/{http.project}/images/{said['points'][0]['filename']}/info"
    assert http.data("GET", listed)["image"]["id"] == said["points"][0]["id"]
    http.data("POST", path, status=422, json={"limit": 1})
    http.data("POST", path, status=404, json={"experiment_id": "exp-00000000"})
    http.data("POST", path, status=422, json={"backbone": "no_such_net"})


def test_the_terminal_prints_figures_and_writes_all_files(
    http: Http, server: RunningServer, tmp_path: Path, short: str
) -> None:
    made = short

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "inglenook", "studio", "evaluate", "--data", str(server.data)]
        return subprocess.run(
            [*command, "Digits", "Short", *words], capture_output=True, text=True, timeout=120, check=False
        )

    first = run("--subset", "val", "--subset", "test", "-o", str(tmp_path / "files"))
    assert first.returncode == 0, first.stderr
    figures = http.data("GET", at(http, made))["aggregate"]
    assert f"accuracy {figures['accuracy']:.2%}" in first.stdout
    assert len(first.stdout.splitlines()) == 3 + 1 + 10
    assert {path.name for path in (tmp_path / "files").iterdir()} >= {"results.csv", "roc.png"}
    refused = run()
    assert refused.returncode != 0
    assert "evaluated already" in refused.stderr
    shown = run("--show", "--json")
    assert json.loads(shown.stdout)["aggregate"] == figures


def test_an_evaluation_that_is_not_waited_for_can_be_stopped_and_a_restart_forgets_it(
    http: Http, short: str
) -> None:
    http.data("DELETE", at(http, short))
    job = http.client.post(at(http, short, "?wait=false"), json={"batch_size": 1})
    assert job.status_code == 202
    assert job.json()["data"]["evaluation"]["status"] == "pending"
    http.client.post(f"/v1/jobs/{job.json()['data']['id']}/cancel").raise_for_status()
    http.data("DELETE", at(http, short))
    assert http.data("POST", at(http, short), json={})["status"] == "completed"
    http.act(short, "restart")
    http.data("GET", at(http, short), status=404)
    sources = [one["source"] for one in http.data("GET", f"/api/datasets/{http.project}/checks")["findings"]]
    assert len([one for one in sources if one.startswith("evaluation")]) == 1
