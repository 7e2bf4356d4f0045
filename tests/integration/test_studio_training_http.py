# SPDX-License-Identifier: Apache-2.0
"""Training over HTTP with the worker itself: the smallest network, pictures of 8 x 8."""

import base64
import io
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image
from tests.e2e.workbench import eventually
from tests.studio_http import TINY, Http
from tests.studio_pictures import SIDE_PX

from inglenook.testing.server import RunningServer

pytestmark = pytest.mark.slow

ENVIRON = {"INGLENOOK_RUNTIME__CPU_THREADS": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer.start(tmp_path_factory.mktemp("data"), environ=ENVIRON) as running:
        yield running


@pytest.fixture(scope="module")
def http(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Http:
    made = Http(server.base_url)
    made.make_project(tmp_path_factory.mktemp("pictures"))
    return made


def worker_pids(server: RunningServer) -> list[int]:
    """The processes below the server that train."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
                parents = _ancestors(int(entry.name))
            except OSError:
                continue
            module = command.split(b"\0")[-2:] == [b"inglenook.workers.studio", b""]
            if module and b"guard" not in command and server.pid in parents:
                found.append(int(entry.name))
    return found


def _ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        found.append(pid)
    return found


def test_one_epoch_is_really_trained_and_everything_is_told_of_it(http: Http) -> None:
    experiment = http.make()
    assert http.act(experiment, "train")["status"] == "pending"
    events = list(http.events(experiment))
    names = [name for name, _, _ in events]
    assert names[0] == "status"
    assert names[-1] == "complete"
    assert events[-1][2]["status"] == "completed"
    found = http.get(experiment)
    (epoch,) = http.epochs(experiment)
    measured = {f"val_{one['name']}" for one in http.data("GET", "/api/tasks/classification")["metrics"]}
    assert measured <= set(epoch)
    assert found["best_epoch"] == 1
    assert found["checkpoints"]["best"]["epoch"] == 1
    assert found["best_metric"] == {"val_accuracy": epoch["val_accuracy"]}
    assert 0 < epoch["train_loss"] < 10
    assert found["built"]["weights"] == "random"
    assert found["built"]["environment"]["torch"]
    assert sum(found["data"]["examples"].values()) == 60
    second = list(http.events(experiment, next(number for name, number, _ in events if name == "epoch_end")))
    assert [name for name, _, _ in second] == ["status", "complete"]


def test_a_stopped_run_resumed_has_the_numbers_of_one_that_never_stopped(http: Http) -> None:
    epochs = 24  # so many that it is not over before anybody can stop it
    whole, parted = http.make("whole", max_epochs=epochs), http.make("parted", max_epochs=epochs)
    http.act(parted, "train")
    http.until(parted, event="epoch_end", epoch=1)
    http.act(parted, "stop")
    assert http.until(parted)["status"] == "cancelled"
    assert 1 <= http.get(parted)["epoch"] < epochs
    http.act(parted, "resume")
    http.act(whole, "train")
    assert http.until(parted)["status"] == "completed"
    assert http.until(whole)["status"] == "completed"
    same = ("train_loss", "val_loss", "val_accuracy", "lr")
    numbers = {one: [[row[name] for name in same] for row in http.epochs(one)] for one in (whole, parted)}
    assert numbers[parted] == numbers[whole]
    assert len(numbers[whole]) == epochs


def test_while_it_trains_other_requests_are_answered_and_a_killed_worker_is_a_failed_experiment(
    server: RunningServer, http: Http
) -> None:
    experiment = http.make(max_epochs=500)
    http.act(experiment, "train")
    http.until(experiment, event="epoch_end", epoch=1)
    for _ in range(20):
        http.data("GET", "/api/projects")
    assert http.get(experiment)["status"] == "training", "they waited for its end"
    eventually(lambda: len(worker_pids(server)) == 1, "the worker of an earlier run did not end")
    (pid,) = worker_pids(server)
    os.kill(pid, signal.SIGKILL)
    assert http.until(experiment)["status"] == "failed"
    error = http.get(experiment)["error"]
    assert error["type"] == "child.killed"
    assert "signal 9 (SIGKILL)" in error["message"]


def test_forty_creates_from_eight_threads_leave_forty_entries(server: RunningServer, http: Http) -> None:
    own = Http(server.base_url)
    own.project = http.project
    before = len(own.data("GET", own.path)["experiments"])
    gate = threading.Barrier(8)

    def create(_: int) -> list[str]:
        one = Http(server.base_url, http.project)
        gate.wait()
        return [one.data("POST", one.path, json={})["id"] for _ in range(5)]

    with ThreadPoolExecutor(8) as pool:
        made = {name for names in pool.map(create, range(8)) for name in names}
    listed = own.data("GET", own.path)["experiments"]
    assert len(made) == 40
    assert made <= {one["id"] for one in listed}
    assert len(listed) == before + 40
    for one in made:
        own.data("DELETE", f"{own.path}/{one}")


def test_wrong_names_are_refused_when_they_are_said_with_the_nearest_right_one(http: Http) -> None:
    wrong = {
        "model": {"backbone": "resnet81"},
        "hyperparameters": {"optimizer": "adamax"},
        "hardware": {"selected_devices": ["tpu"]},
    }
    for part, members in wrong.items():
        error = http.data("POST", http.path, 422, json={part: members})
        assert error["code"] == "VALIDATION_ERROR"
        assert error["message"] == "Request validation failed."
        assert error["details"][0]["loc"][:2] == ["body", part]
    assert "Did you mean resnet18?" in str(http.data("POST", http.path, 422, json={"model": wrong["model"]}))
    error = http.data("POST", http.path, 422, json={"hyperparameters": {"learning_rat": 1}})
    assert "Did you mean learning_rate?" in str(error)


def test_a_patch_changes_what_it_names_and_nothing_else(http: Http) -> None:
    experiment = http.make(batch_size=4)
    form = {
        "name": "from a form",
        "hyperparameters.learning_rate": "0.5",
        "hardware.selected_devices[]": ["cpu", "gpu:0"],
        "model.unfreeze_epoch": "",
    }
    changed = http.data("PATCH", f"{http.path}/{experiment}", data=form)
    assert changed["hyperparameters"]["learning_rate"] == 0.5
    assert changed["hyperparameters"]["batch_size"] == 4
    assert changed["hardware"]["selected_devices"] == ["cpu", "gpu:0"]
    assert changed["augmentations"] == TINY["augmentations"]
    assert changed["name"] == "from a form"
    http.data("PATCH", f"{http.path}/{experiment}", json={"description": "words"})
    assert http.data("PATCH", f"{http.path}/{experiment}", json={"description": None})["description"] is None
    for missing in ("exp-00000000", "nonsense"):
        assert http.data("GET", f"{http.path}/{missing}", 404)["code"] == "EXPERIMENT_NOT_FOUND"
        assert http.client.get(f"{http.path}/{missing}/stream").status_code == 404


def test_a_server_that_is_killed_in_the_middle_goes_on_with_the_run(tmp_path: Path) -> None:
    first = RunningServer.start(tmp_path / "data", environ=ENVIRON)
    try:
        http = Http(first.base_url)
        http.make_project(tmp_path / "pictures")
        experiment = http.make(max_epochs=40)
        http.act(experiment, "train")
        http.until(experiment, event="epoch_end", epoch=2)
        (last,) = first.data.glob(f"studio/projects/*/experiments/{experiment}/checkpoints/last.ckpt")
        first.signal(signal.SIGSTOP)  # it hears of no further epoch, while its worker goes on
        written = set()

        def ahead() -> bool:
            written.add(last.stat().st_mtime_ns)
            return len(written) > 2

        eventually(ahead, "the worker did not go on alone", 60)
    finally:
        first.kill()
    with RunningServer.start(tmp_path / "data", environ=ENVIRON) as second:
        again = Http(second.base_url, http.project)
        assert again.get(experiment)["status"] in ("pending", "training")
        assert again.until(experiment)["status"] == "completed"
        assert [row["epoch"] for row in again.epochs(experiment)] == list(range(1, 41))
        assert again.get(experiment)["resumed_from"]


def test_augmentations_are_shown_on_real_pictures_and_a_rate_and_a_batch_are_found(http: Http) -> None:
    experiment = http.make()
    shown = http.data(
        "POST",
        f"{http.path}/{experiment}/preview",
        params={"pictures": 2, "epochs": 3},
        json={"augmentations": {**TINY["augmentations"], "val": TINY["augmentations"]["val"]}},
    )
    assert [len(one["epochs"]) for one in shown["pictures"]] == [3, 3]
    for address in shown["pictures"][0]["epochs"]:
        picture = Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,"))))
        assert picture.size == (SIDE_PX, SIDE_PX)
    assert http.data("POST", f"{http.path}/{experiment}/preview", 422, json={"model": {"backbone": "no"}})
    for what, answer in (("learning-rate", "points"), ("batch-size", "tried")):
        job = http.act(experiment, f"find-{what}")["job_id"]
        with http.client.stream("GET", f"/v1/jobs/{job}/events") as events:
            for _ in events.iter_lines():
                pass
        done = http.client.get(f"/v1/jobs/{job}").json()
        assert done["state"] == "succeeded", done["error"]
        assert done["result"][answer], done["result"]
    assert 1 <= done["result"]["suggested"] <= done["result"]["largest"] <= 256
    assert http.get(experiment)["status"] == "created"
