# SPDX-License-Identifier: Apache-2.0
"""The studio over HTTP, from pictures to a model that is served, and what AI Studio got wrong on that way:
figures of another epoch, an accuracy that is none, requests that wait, runs that are stuck.
"""

import io
import pickle
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import numpy as np
import pytest
from PIL import Image

from inglenook.testing.server import RunningServer
from tests.studio_http import Http, Json
from tests.studio_luck import zipped

pytestmark = pytest.mark.slow

ENVIRON = {"INGLENOOK_RUNTIME__CPU_THREADS": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
STEPS = [{"name": "Resize", "params": {"size": [8, 8]}}, {"name": "ToImage", "params": {}}]
MANY, FEW = 45, 15
EPOCHS = 4
WAIT_S = 300.0


class Place:
    """A data folder and the server that runs on it just now."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.server = RunningServer.start(data, environ=ENVIRON)

    def kill_and_start(self) -> None:
        self.server.kill()
        self.server = RunningServer.start(self.data, environ=ENVIRON)

    def folder(self, http: Http, experiment: str) -> Path:
        return self.data / "studio" / "projects" / http.project / "experiments" / experiment


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("data"))
    yield made
    made.server.stop()


def lopsided() -> bytes:
    """Three times as many pictures of one class; the classes differ a little, so that some are mistaken."""
    random = np.random.default_rng(11)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, count, light in (("many", MANY, 118), ("few", FEW, 138)):
            for number in range(count):
                pixels = np.clip(random.normal(light, 60, (8, 8, 3)), 0, 255).astype(np.uint8)
                file = io.BytesIO()
                Image.fromarray(pixels).save(file, "PNG")
                archive.writestr(f"{name}/{name}{number:02d}.png", file.getvalue())
    return buffer.getvalue()


@pytest.fixture(scope="module")
def http(place: Place) -> Iterator[Http]:
    made = Http(place.server.base_url)
    made.project = made.data("POST", "/api/projects", json={"name": "Uneven", "task": "classification"})["id"]
    files = {"uploaded_file": ("uneven.zip", lopsided(), "application/zip")}
    made.data("POST", f"/api/datasets/{made.project}/import/upload", files=files)
    ratios = {"train": 0.6, "val": 0.2, "test": 0.2}
    made.data("POST", f"/api/splits/{made.project}", json={"name": "main", "ratios": ratios, "seed": 4})
    yield made
    made.client.close()


def new_experiment(http: Http, epochs: int, **more: Any) -> str:
    asked = {
        "model": {"backbone": "small_cnn", "pretrained": False},
        "hyperparameters": {
            "max_epochs": epochs,
            "batch_size": 12,
            "warmup_epochs": 0,
            "learning_rate": 0.02,
            "early_stopping_patience": 0,
        },
        "augmentations": {"train": STEPS, "val": STEPS},
        "hardware": {"selected_devices": ["cpu"]},
    }
    made: str = http.data("POST", http.path, json=asked | more)["id"]
    return made


@pytest.fixture(scope="module")
def trained(http: Http) -> str:
    made = new_experiment(http, EPOCHS, name="Four epochs")
    http.act(made, "train")
    assert http.data("POST", f"{http.path}/{made}/train", 409)["code"] in ("CONFLICT", "TRAINING_IN_PROGRESS")
    assert http.until(made)["status"] == "completed", http.get(made)["error"]
    return made


def evaluation_path(http: Http, experiment: str, more: str = "") -> str:
    return f"/api/evaluation/{http.project}/{experiment}{more}"


@pytest.fixture(scope="module")
def evaluated(http: Http, trained: str) -> Json:
    """Of the best checkpoint, over all pictures."""
    asked = {"checkpoint": "best", "split_subsets": ["train", "val", "test"]}
    made: Json = http.data("POST", evaluation_path(http, trained), json=asked)
    assert made["status"] == "completed"
    return made


@pytest.fixture(scope="module")
def exported(http: Http, trained: str) -> Json:
    made: Json = http.data("POST", f"/api/export/{http.project}", json={"experiment_id": trained})
    assert made["status"] == "completed", made["error"]
    return made


def results(http: Http, experiment: str) -> list[Json]:
    found: list[Json] = http.data("GET", evaluation_path(http, experiment, "/results?page_size=500"))["items"]
    return found


# -- figures ---------------------------------------------------------------------------------------------


def test_each_epoch_has_a_whole_record_and_the_best_is_the_one_in_the_checkpoint(
    http: Http, place: Place, trained: str, evaluated: Json
) -> None:
    import torch

    records = http.epochs(trained)
    assert [one["epoch"] for one in records] == list(range(1, EPOCHS + 1))
    names = {f"{part}_{name}" for part in ("train", "val") for name in ("loss", "accuracy", "f1")}
    assert all(names | {"lr", "duration_s"} <= set(one) for one in records)
    told = http.get(trained)
    best = max(records, key=lambda one: (one["val_accuracy"], -one["epoch"]))
    assert told["best_metric"] == {"val_accuracy": best["val_accuracy"]}
    checkpoints = place.folder(http, trained) / "checkpoints"
    kept = {
        name: torch.load(checkpoints / f"{name}.ckpt", map_location="cpu", weights_only=True)
        for name in ("best", "last")
    }
    assert (told["best_epoch"], kept["last"]["epoch"]) == (kept["best"]["epoch"], EPOCHS)
    assert records[kept["best"]["epoch"] - 1]["val_accuracy"] == best["val_accuracy"]
    assert told["best_checkpoint_path"].endswith("best.ckpt")
    rows = [one for one in results(http, trained) if one["subset"] == "val"]
    right = sum(one["correct"] for one in rows) / len(rows)
    assert right == pytest.approx(best["val_accuracy"])
    assert evaluated["evaluation"]["checkpoint_epoch"] == told["best_epoch"]


def test_accuracy_on_an_uneven_set_is_the_share_of_right_answers_and_not_the_mean_over_classes(
    http: Http, trained: str, evaluated: Json
) -> None:
    figures = http.data("GET", evaluation_path(http, trained))["aggregate"]
    rows = results(http, trained)
    assert len(rows) == MANY + FEW
    right = sum(one["correct"] for one in rows) / len(rows)
    recalls = []
    for name, count in (("few", FEW), ("many", MANY)):
        own = [one for one in rows if one["ground_truth"]["class_name"] == name]
        assert len(own) == count == figures["per_class"][name]["support"]
        recalls.append(sum(one["prediction"]["class_name"] == name for one in own) / count)
        assert figures["per_class"][name]["recall"] == pytest.approx(recalls[-1])
    assert figures["accuracy"] == pytest.approx(right)
    assert figures["recall_macro"] == pytest.approx(sum(recalls) / 2)
    assert abs(figures["accuracy"] - figures["recall_macro"]) > 0.02, "the set was to tell them apart"
    matrix = np.array(figures["confusion_matrix"])
    assert (matrix.sum(), np.trace(matrix) / matrix.sum()) == (MANY + FEW, pytest.approx(right))
    assert evaluated["aggregate"]["accuracy"] == figures["accuracy"]


# -- use -------------------------------------------------------------------------------------------------


def test_the_export_says_what_the_checkpoint_says_and_is_served_with_where_it_came_from(
    http: Http, trained: str, exported: Json, evaluated: Json
) -> None:
    import onnxruntime

    assert exported["validation"]["passed"] is True
    assert exported["validation"]["max_diff"] <= 1e-4
    file = http.client.get(f"/api/export/{http.project}/{exported['id']}/download")
    assert (file.status_code, file.headers["content-type"]) == (200, "application/octet-stream")
    session = onnxruntime.InferenceSession(file.content, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape[1:] == [3, 8, 8]
    path = f"/api/export/{http.project}/{exported['id']}/register"
    registered = http.data("POST", path, json={"name": "uneven"})["registered"]
    assert registered["model"] == "uneven"
    listed = {one["id"]: one for one in http.client.get("/v1/models").json()["data"]}
    assert "uneven" in listed
    metadata = session.get_modelmeta().custom_metadata_map
    assert trained in str(metadata)
    assert http.project in str(metadata)
    assert evaluated["evaluation"]["experiment_id"] == trained
    for row in results(http, trained)[:8]:
        content = http.client.get(f"/api/datasets/{http.project}/images/{row['filename']}").content
        sent = {"files": [("image", (row["filename"], content, "image/png"))], "data": {"model": "uneven"}}
        answer = http.client.post("/v1/vision/predict", **sent)
        assert answer.status_code == 200, answer.text
        said = {one["label"]: one["score"] for one in answer.json()["data"][0]["predictions"]}
        assert said == pytest.approx(row["probabilities"], abs=1e-3), row["filename"]


class Attack:
    """What makes a pickle run code when somebody unpickles it."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self._mark,)


def test_a_checkpoint_that_holds_code_is_never_run_and_fails_in_words_until_it_is_put_right(
    http: Http, place: Place, trained: str, evaluated: Json, tmp_path: Path
) -> None:
    file = place.folder(http, trained) / "checkpoints" / "best.ckpt"
    sound = file.read_bytes()
    mark = tmp_path / "it-ran"
    attack = io.BytesIO()
    with zipfile.ZipFile(attack, "w") as archive:
        archive.writestr("best/data.pkl", pickle.dumps(Attack(mark)))
        archive.writestr("best/version", "3\n")
    try:
        for content in (pickle.dumps(Attack(mark)), attack.getvalue(), b"", sound[:2000]):
            file.write_bytes(content)
            path = evaluation_path(http, trained, "?again=true")
            error = http.data("POST", path, 422, json={})
            assert "best.ckpt" in error["message"], error
            shown = http.data("GET", evaluation_path(http, trained))
            assert (shown["evaluation"]["status"], shown["aggregate"]) == ("failed", None)
            name = shown["evaluation"]["id"]
            assert http.data("DELETE", evaluation_path(http, trained, f"?evaluation={name}"))["deleted"]
        asked = {"experiment_id": trained}
        assert http.data("POST", f"/api/export/{http.project}", 422, json=asked)["message"]
    finally:
        file.write_bytes(sound)
    assert not mark.exists()
    shown = http.data("GET", evaluation_path(http, trained))
    assert shown["evaluation"]["id"] == evaluated["evaluation"]["id"]


# -- while it works --------------------------------------------------------------------------------------

BARE = """
import asyncio
async def answer(reader, writer):
    while (await reader.readline()) and await reader.readuntil(b"\\r\\n\\r\\n"):
        writer.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\nok")
async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


@contextmanager
def bare_server() -> Iterator[str]:
    """A process that only answers: how long it takes is what the machine alone makes of it."""
    process = subprocess.Popen([sys.executable, "-c", BARE], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.communicate()


class Asking:
    """Asks both servers in turn, as long as it is open; waits in seconds by name."""

    def __init__(self, ours: str, bare: str, path: str) -> None:
        self._addresses = {"ours": f"{ours}{path}", "bare": bare}
        self.waits: dict[str, list[float]] = {"ours": [], "bare": []}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def _ask(self) -> None:
        with httpx.Client(trust_env=False, timeout=60) as client:
            while not self._over.wait(0.01):
                for name, address in self._addresses.items():
                    began = time.perf_counter()
                    assert client.get(address).status_code == 200
                    self.waits[name].append(time.perf_counter() - began)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def worst(self, name: str) -> float:
        """The 99th of a hundred."""
        return float(np.quantile(self.waits[name], 0.99))


def test_other_requests_do_not_wait_for_an_import_a_training_an_evaluation_or_an_export(
    http: Http, place: Place
) -> None:
    """The measure is a bare server that is asked in the same moments: on a machine with much to do, it waits
    too. What ours takes more than that stays under 200 ms. Other work of the machine may come between now
    and then; work that blocks does so each of three times."""
    page = f"/api/datasets/{http.project}/images?page_size=20"
    spare = Http(place.server.base_url)
    spare.project = spare.data("POST", "/api/projects", json={"name": "S", "task": "classification"})["id"]
    made = new_experiment(http, 2, name="Watched")
    many = zipped({"a": 1500, "b": 1500})  # so many that the worst is not the one that happened to be slow
    files = {"uploaded_file": ("many.zip", many, "application/zip")}

    def train() -> None:
        if http.get(made)["status"] != "created":
            http.act(made, "restart")
        http.act(made, "train")
        assert http.until(made)["status"] == "completed"

    works = {
        "import": lambda: http.data("POST", f"/api/datasets/{spare.project}/import/upload", files=files),
        "training": train,
        "evaluation": lambda: http.data("POST", evaluation_path(http, made, "?again=true"), json={}),
        "export": lambda: http.data("POST", f"/api/export/{http.project}", json={"experiment_id": made}),
    }
    with bare_server() as bare:
        for name, work in works.items():
            told = []
            for _ in range(3):
                with Asking(place.server.base_url, bare, page) as asking:
                    work()
                ours, control = asking.worst("ours"), asking.worst("bare")
                told.append(f"p99 of {len(asking.waits['ours'])} {ours:.3f} s, bare {control:.3f} s")
                if ours < 0.2 + 4 * control:
                    break
            else:
                pytest.fail(f"{name}: {'; '.join(told)}")
    spare.client.close()


def test_restart_takes_evaluations_checkpoints_and_figures_away(http: Http, place: Place) -> None:
    made = next(one["id"] for one in http.data("GET", http.path)["experiments"] if one["name"] == "Watched")
    folder = place.folder(http, made)
    assert http.data("GET", evaluation_path(http, made, "/checkpoints")) == {"checkpoints": ["best", "last"]}
    (folder / "checkpoints" / "notes.txt").write_text("no checkpoint")
    assert http.data("GET", evaluation_path(http, made, "/checkpoints")) == {"checkpoints": ["best", "last"]}
    assert list((folder / "evaluations").iterdir())
    again = http.act(made, "restart")
    told = ("status", "best_epoch", "best_metric", "started_at", "completed_at", "error")
    assert [again[name] for name in told] == ["created", None, None, None, None, None]
    assert http.data("GET", evaluation_path(http, made), 404)["code"] == "NOT_FOUND"
    assert http.data("GET", evaluation_path(http, made, "/checkpoints")) == {"checkpoints": []}
    assert http.epochs(made) == []
    assert not list(folder.glob("evaluations/*"))
    assert not list(folder.glob("checkpoints/*.ckpt"))
    assert http.data("POST", evaluation_path(http, made), 409, json={})["code"] == "CONFLICT"


# -- bad luck --------------------------------------------------------------------------------------------


def ended(http: Http, job: str) -> str:
    """The state in which a job ends."""
    deadline = time.monotonic() + WAIT_S
    with http.client.stream("GET", f"/v1/jobs/{job}/events") as events:
        for _ in events.iter_lines():
            assert time.monotonic() < deadline
    state: str = http.client.get(f"/v1/jobs/{job}").json()["state"]
    return state


def test_a_server_that_is_killed_leaves_no_evaluation_and_no_export_that_runs_for_ever(
    http: Http, place: Place, trained: str
) -> None:
    http.data("DELETE", evaluation_path(http, trained))
    evaluation = http.client.post(evaluation_path(http, trained, "?wait=false"), json={}).json()["data"]
    asked = {"experiment_id": trained}
    export = http.client.post(f"/api/export/{http.project}?wait=false", json=asked).json()["data"]
    with http.client.stream("GET", f"/v1/jobs/{evaluation['id']}/events") as events:
        assert any('"running"' in line.replace(" ", "") for line in events.iter_lines())
    place.kill_and_start()
    again = Http(place.server.base_url, http.project)
    for job in (evaluation["id"], export["id"]):
        assert ended(again, job) in ("succeeded", "failed", "interrupted")
    shown = again.data("GET", evaluation_path(again, trained))["evaluation"]
    record = again.data("GET", f"/api/export/{again.project}/{export['export']['id']}")
    for one in (shown, record):
        assert one["status"] in ("completed", "failed")
        assert one["status"] == "completed" or one["error"]
    again.data("DELETE", evaluation_path(again, trained))
    assert again.data("POST", evaluation_path(again, trained), json={})["status"] == "completed"
    again.data("DELETE", f"/api/export/{again.project}/{record['id']}")
    again.client.close()
