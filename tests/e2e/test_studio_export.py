# SPDX-License-Identifier: Apache-2.0
"""From a folder of pictures to a model that is served, over HTTP: import, split, train, export, register,
ask; and the file outside, with the script that comes with it."""

import io
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from inglenook.testing.server import RunningServer
from tests.studio_checkpoints import CLASSES, COLOURS
from tests.studio_luck import newest_worker

pytestmark = pytest.mark.slow

WAIT_S = 300.0
ENVIRON = {"INGLENOOK_RUNTIME__CPU_THREADS": "1"}
STEPS = [
    {"name": "Resize", "params": {"size": [20]}},
    {"name": "CenterCrop", "params": {"size": [16, 16]}},
    {"name": "ToImage", "params": {}},
    {"name": "Normalize", "params": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}},
]


def pictures(folder: Path, each: int = 20) -> None:
    random = np.random.default_rng(3)
    for name, colour in zip(CLASSES, COLOURS, strict=True):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            noise = random.integers(-25, 26, (18 + number, 24, 3))
            values = np.clip(np.asarray(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(values).save(folder / name / f"{number}.png")


def png(colour: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (33, 21), colour).save(file, "PNG")
    return file.getvalue()


class Api:
    """AI Studio's dialect: the data of the envelope, or the error."""

    def __init__(self, client: httpx.Client, server: RunningServer) -> None:
        self.client = client
        self.server = server

    def ask(self, method: str, path: str, **more: Any) -> Any:
        answer = self.client.request(method, path, **more)
        told = answer.json()
        assert answer.is_success, told
        assert told["status"] == "ok"
        return told["data"]

    def refused(self, method: str, path: str, status: int, **more: Any) -> dict[str, Any]:
        answer = self.client.request(method, path, **more)
        assert answer.status_code == status, answer.text
        error: dict[str, Any] = answer.json()["error"]
        return error


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("export")


@pytest.fixture(scope="module")
def api(data: Path) -> Iterator[Api]:
    pictures(data / "studio" / "incoming" / "colours")
    with (
        RunningServer.start(data, environ=ENVIRON) as server,
        httpx.Client(base_url=server.base_url, trust_env=False, timeout=WAIT_S) as client,
    ):
        yield Api(client, server)


@pytest.fixture(scope="module")
def project(api: Api, data: Path) -> str:
    made = api.ask("POST", "/api/projects", json={"name": "Colours", "task": "classification"})
    source = str(data / "studio" / "incoming" / "colours")
    api.ask("POST", f"/api/datasets/{made['id']}/import/local", json={"source_path": source})
    ratios = {"train": 0.6, "val": 0.2, "test": 0.2}
    api.ask("POST", f"/api/splits/{made['id']}", json={"name": "main", "ratios": ratios, "seed": 1})
    return str(made["id"])


def new_experiment(api: Api, project: str, name: str) -> str:
    asked = {
        "name": name,
        "model": {"backbone": "small_cnn", "pretrained": False},
        "hyperparameters": {"batch_size": 12, "max_epochs": 3, "warmup_epochs": 0, "learning_rate": 0.01},
        "augmentations": {"train": STEPS, "val": STEPS},
        "hardware": {"selected_devices": ["cpu"]},
    }
    return str(api.ask("POST", f"/api/training/{project}/experiments", json=asked)["id"])


@pytest.fixture(scope="module")
def experiment(api: Api, project: str) -> str:
    made = new_experiment(api, project, "First")
    path = f"/api/training/{project}/experiments/{made}"
    api.ask("POST", f"{path}/train")
    deadline = time.monotonic() + WAIT_S
    with api.client.stream("GET", f"{path}/stream") as stream:
        for line in stream.iter_lines():
            assert time.monotonic() < deadline
            if line == "event: complete":
                break
    found = api.ask("GET", path)
    assert found["status"] == "completed", found["error"]
    return made


@pytest.fixture(scope="module")
def exported(api: Api, project: str, experiment: str) -> dict[str, Any]:
    asked = {
        "experiment_id": experiment,
        "options": {"opset_version": 18, "licence": "CC0-1.0", "intended_use": "Sorting of coloured papers."},
    }
    found: dict[str, Any] = api.ask("POST", f"/api/export/{project}", json=asked)
    return found


def test_what_cannot_be_exported_is_told(api: Api, project: str, experiment: str) -> None:
    formats = {one["name"]: one["available"] for one in api.ask("GET", "/api/export/formats")["formats"]}
    assert formats == {"onnx": True, "torchscript": True, "tensorrt": False, "openvino": False}
    untrained = new_experiment(api, project, "Untrained")
    error = api.refused("POST", f"/api/export/{project}", 409, json={"experiment_id": untrained})
    assert (error["code"], "must be completed" in error["message"]) == ("CONFLICT", True)
    asked = {"experiment_id": experiment, "checkpoint": "nothing"}
    error = api.refused("POST", f"/api/export/{project}", 404, json=asked)
    assert error["code"] == "CHECKPOINT_NOT_FOUND"
    error = api.refused("POST", f"/api/export/{project}", 404, json={"experiment_id": "exp-00000000"})
    assert error["code"] == "EXPERIMENT_NOT_FOUND"
    for options in ({"opset_version": 12}, {"opsets": 18}, {"dynamic_axes": {"input": {"2": "h"}}}):
        asked = {"experiment_id": experiment, "options": options}
        assert api.refused("POST", f"/api/export/{project}", 422, json=asked)["code"] == "VALIDATION_ERROR"
    asked = {"experiment_id": experiment, "options": {"input_shape": [1, 3, 64, 64]}}
    error = api.refused("POST", f"/api/export/{project}", 422, json=asked)
    assert "trained on 3 x 16 x 16" in error["message"]
    failed = api.ask("GET", f"/api/export/{project}")["exports"][-1]
    assert failed["status"] == "failed"
    record = api.ask("GET", f"/api/export/{project}/{failed['id']}")
    assert (record["error_code"], record["output_file"]) == ("export.shape", None)
    api.refused("GET", f"/api/export/{project}/{failed['id']}/download", 404)
    api.refused("POST", f"/api/export/{project}/{failed['id']}/register", 409, json={"name": "x"})
    api.ask("DELETE", f"/api/export/{project}/{failed['id']}")


def test_an_export_is_checked_and_says_where_it_is_from(
    api: Api, project: str, experiment: str, exported: dict[str, Any]
) -> None:
    assert exported["status"] == "completed"
    assert exported["validation"]["passed"]
    assert exported["validation"]["max_diff"] <= exported["validation"]["tolerance"]
    assert exported["validation"]["agreement"] == 1
    assert exported["options"]["input_shape"] == [1, 3, 16, 16]
    assert set(exported["classes"]) == set(CLASSES)
    assert exported["output_size_mb"] > 0
    lineage = exported["lineage"]
    assert (lineage["project"], lineage["experiment"], lineage["split"]) == (project, experiment, "main")
    assert (lineage["dataset_version"], lineage["checkpoint"]) == (1, "best")
    listed = {one["id"]: one for one in api.ask("GET", f"/api/export/{project}")["exports"]}
    assert listed[exported["id"]]["status"] == "completed"
    card = api.client.get(f"/api/export/{project}/{exported['id']}/files/MODEL_CARD.md").text
    for words in (
        "# First",
        "Sorting of coloured papers.",
        "CC0-1.0",
        "1. green",
        "Check of the file",
        "| split | main |",
    ):
        assert words in card, card
    got = api.client.get(f"/api/export/{project}/{exported['id']}/download")
    assert got.headers["content-type"] == "application/octet-stream"
    assert "model.onnx" in got.headers["content-disposition"]
    assert len(got.content) == round(exported["output_size_mb"] * 2**20, -1) or got.content


def test_one_call_puts_it_into_the_library_and_it_is_served_at_once(
    api: Api, project: str, exported: dict[str, Any]
) -> None:
    path = f"/api/export/{project}/{exported['id']}/register"
    assert api.refused("POST", path, 422, json={"name": "../x"})["code"] == "VALIDATION_ERROR"
    record = api.ask("POST", path, json={"name": "papers"})
    assert record["registered"]["model"] == "papers"
    api.refused("POST", path, 409, json={"name": "other"})
    sent = [("image", ("a", png(COLOURS[number]))) for number in (2, 0, 1)]
    answer = api.client.post("/v1/vision/predict", files=sent, data={"model": "papers"})
    assert answer.status_code == 200, answer.text
    best = [one["predictions"][0]["label"] for one in answer.json()["data"]]
    assert best == ["blue", "red", "green"]
    model = api.client.get("/v1/models/papers").json()
    assert model["vision"]["lineage"]["export"] == exported["id"]
    assert model["licence"] == "CC0-1.0"
    job = f"/v1/fine_tuning/jobs/ftjob-{project[5:]}-{record['experiment_id'][4:]}"
    assert api.client.get(job).json()["fine_tuned_model"] == "papers"
    listed = api.client.get("/v1/fine_tuning/jobs").json()["data"]
    assert {one["id"]: one["fine_tuned_model"] for one in listed}[job.rpartition("/")[2]] == "papers"
    record = api.ask("DELETE", path)
    assert record["registered"] is None
    assert api.client.get(job).json()["fine_tuned_model"] is None
    gone = api.client.post("/v1/vision/predict", files=sent, data={"model": "papers"})
    assert gone.status_code == 404
    api.refused("DELETE", path, 409)


def test_the_file_runs_outside_with_the_script_that_comes_with_it(
    api: Api, project: str, exported: dict[str, Any], tmp_path: Path
) -> None:
    for name in ("model.onnx", "predict.py"):
        got = api.client.get(f"/api/export/{project}/{exported['id']}/files/{name}")
        (tmp_path / name).write_bytes(got.content)
    code = [line for line in (tmp_path / "predict.py").read_text().splitlines() if line and line[0] != "#"]
    assert len(code) <= 20
    seen = []
    for number, colour in enumerate(COLOURS):
        Image.new("RGB", (40 + number, 30), colour).save(tmp_path / f"{number}.png")
        seen.append(str(tmp_path / f"{number}.png"))
    guard = tmp_path / "guard"
    guard.mkdir()
    (guard / "inglenook.py").write_text("raise ImportError('nothing of ours is needed')\n")
    (guard / "torch.py").write_text("raise ImportError('torch is not needed')\n")
    said = subprocess.run(
        [sys.executable, str(tmp_path / "predict.py"), *seen],
        capture_output=True, text=True, check=True, cwd=tmp_path, env={"PYTHONPATH": str(guard)},
    ).stdout  # fmt: skip
    assert [line.split("  ")[1].split()[0] for line in said.splitlines()] == list(CLASSES)
    files = [("image", (str(number), Path(path).read_bytes())) for number, path in enumerate(seen)]
    served = api.ask("POST", f"/api/export/{project}/{exported['id']}/register", json={"name": "outside"})
    answer = api.client.post(
        "/v1/vision/predict", files=files, data={"model": served["registered"]["model"], "top_k": "1"}
    )
    ours = [one["predictions"][0]["score"] for one in answer.json()["data"]]
    theirs = [float(line.split("  ")[1].split()[1]) for line in said.splitlines()]
    assert theirs == pytest.approx(ours, abs=1e-4)
    api.ask("DELETE", f"/api/export/{project}/{exported['id']}/register")


def test_a_job_is_answered_at_once_and_a_form_is_read_as_ai_studio_sends_it(
    api: Api, project: str, experiment: str
) -> None:
    form = {
        "experiment_id": experiment, "checkpoint": "last", "format": "onnx", "options.opset_version": "18",
        "options.input_height": "16", "options.input_width": "16", "options.dynamic_batch": "false",
        "options.simplify": "on", "options.quantization": "static", "options.max_accuracy_loss": "1",
    }  # fmt: skip
    answer = api.client.post(f"/api/export/{project}?wait=false", data=form)
    assert answer.status_code == 202, answer.text
    told = answer.json()["data"]
    assert told["kind"] == "studio.export"
    busy = api.refused("DELETE", f"/api/export/{project}/{told['export']['id']}", 409)
    assert "being made" in busy["message"]
    deadline = time.monotonic() + WAIT_S
    while api.client.get(f"/v1/jobs/{told['id']}").json()["state"] not in ("succeeded", "failed"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    record = api.ask("GET", f"/api/export/{project}/{told['export']['id']}")
    assert record["status"] == "completed", record["error"]
    assert record["validation"]["batches"] == [1]
    assert record["input_shape"] == [1, 3, 16, 16]
    assert record["quantized"]["method"] == "static"
    assert record["quantized"]["size_after"] < record["quantized"]["size_before"]
    api.ask("DELETE", f"/api/export/{project}/{record['id']}")
    api.refused("GET", f"/api/export/{project}/{record['id']}", 404)


def test_the_terminal_exports_and_registers(
    api: Api, project: str, experiment: str, data: Path, tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "inglenook",
        "studio",
        "export",
        project,
        experiment,
        "--data",
        str(data),
    ]
    more = ["--baked", "--register", "terminal", "--out", str(tmp_path / "out")]
    said = subprocess.run([*command, *more], capture_output=True, text=True, check=True)
    assert "terminal" in said.stdout
    assert {one.name for one in (tmp_path / "out").iterdir()} == {"model.onnx", "predict.py", "MODEL_CARD.md"}
    answer = api.client.post(
        "/v1/vision/predict", files=[("image", ("a", png(COLOURS[1])))], data={"model": "terminal"}
    )
    assert answer.json()["data"][0]["predictions"][0]["label"] == "green"


def begun(api: Api, project: str, experiment: str) -> dict[str, Any]:
    """An export whose worker is at work."""
    answer = api.client.post(f"/api/export/{project}?wait=false", json={"experiment_id": experiment})
    told: dict[str, Any] = answer.json()["data"]
    with api.client.stream("GET", f"/v1/jobs/{told['id']}/events") as stream:
        for line in stream.iter_lines():
            if '"stage":"trace"' in line.replace(" ", ""):
                break
    return told


def ended(api: Api, project: str, told: dict[str, Any]) -> dict[str, Any]:
    deadline = time.monotonic() + WAIT_S
    while api.client.get(f"/v1/jobs/{told['id']}").json()["state"] in ("queued", "waiting", "running"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    record: dict[str, Any] = api.ask("GET", f"/api/export/{project}/{told['export']['id']}")
    return record


def test_a_worker_that_is_killed_is_a_failed_export_that_says_so(
    api: Api, project: str, experiment: str, data: Path
) -> None:
    told = begun(api, project, experiment)
    newest_worker(api.server).kill()
    record = ended(api, project, told)
    assert record["status"] == "failed"
    assert "signal 9" in record["error"]
    assert "while it made an export" in record["error"]
    folder = data / "studio" / "projects" / project / "exports" / record["id"]
    assert record["output_file"] is None
    again = api.client.post(f"/v1/jobs/{told['id']}/retry").json()
    assert ended(api, project, {**told, "id": again["id"]})["status"] == "completed"
    assert {one.name for one in folder.iterdir()} == {
        "export.json",
        "model.onnx",
        "predict.py",
        "MODEL_CARD.md",
    }


def test_a_cancelled_export_leaves_no_file(api: Api, project: str, experiment: str, data: Path) -> None:
    told = begun(api, project, experiment)
    stopped = api.client.post(f"/v1/jobs/{told['id']}/cancel")
    assert stopped.json()["state"] == "cancelled", stopped.text
    record = ended(api, project, told)
    assert (record["status"], record["error_code"]) == ("failed", "export.cancelled")
    folder = data / "studio" / "projects" / project / "exports" / record["id"]
    assert [one.name for one in folder.iterdir()] == ["export.json"]


def test_a_server_that_is_killed_makes_the_export_when_it_is_there_again(
    api: Api, project: str, experiment: str, data: Path
) -> None:
    """The last test of this file: it ends the server of the others."""
    told = begun(api, project, experiment)
    api.server.kill()
    with (
        RunningServer.start(data, environ=ENVIRON) as server,
        httpx.Client(base_url=server.base_url, trust_env=False, timeout=WAIT_S) as client,
    ):
        record = ended(Api(client, server), project, told)
        assert record["status"] == "completed", record["error"]
        folder = data / "studio" / "projects" / project / "exports" / record["id"]
        assert {one.name for one in folder.iterdir()} == {"export.json", *record["files"]}
