# SPDX-License-Identifier: Apache-2.0
"""Training from other doors, by a real worker: OpenAI's own client, and the terminal."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai import OpenAI
from tests.studio_http import TINY, Http

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
    made.make_project(tmp_path_factory.mktemp("pictures"), 30)
    return made


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.base_url}/v1", api_key="none", max_retries=0, timeout=60) as made:
        yield made


def test_openai_s_client_creates_watches_and_cancels_jobs(client: OpenAI, http: Http) -> None:
    extra = {"spec": {key: TINY[key] for key in ("model", "augmentations")}}
    job = client.fine_tuning.jobs.create(
        model="small_cnn",
        training_file=f"{http.project}/first",
        suffix="by OpenAI",
        seed=7,
        method={
            "type": "supervised",
            "supervised": {
                "hyperparameters": {"n_epochs": 2, "batch_size": 8, "learning_rate_multiplier": 2.0}
            },
        },
        metadata={"for": "a test"},
        extra_body=extra,
    )
    assert job.object == "fine_tuning.job"
    assert job.status == "queued"
    assert job.training_file == f"{http.project}/first"
    experiment = "exp-" + job.id.rpartition("-")[2]
    assert http.get(experiment)["hyperparameters"]["learning_rate"] == 0.002
    assert http.until(experiment)["status"] == "completed"
    done = client.fine_tuning.jobs.retrieve(job.id)
    assert done.status == "succeeded"
    assert done.seed == 7
    assert (done.hyperparameters.n_epochs, done.hyperparameters.batch_size) == (2, 8)
    assert done.finished_at is not None
    assert done.finished_at >= done.created_at
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=3))  # the client asks for further pages
    assert events[0].message == "completed: all epochs are done"
    metrics = [event for event in events if event.type == "metrics"]
    assert [event.data["step"] for event in metrics] == [2, 1]  # type: ignore[index]  # an object, to the client
    assert len({event.id for event in events}) == len(events)
    kept = client.fine_tuning.jobs.checkpoints.list(job.id).data
    assert {one.fine_tuned_model_checkpoint.rpartition("/")[2] for one in kept} == {"best", "last"}
    assert all(one.metrics.valid_loss is not None for one in kept)
    assert [one.id for one in client.fine_tuning.jobs.list(metadata={"for": "a test"})] == [job.id]
    assert client.fine_tuning.jobs.list(metadata={"for": "nobody"}).data == []

    second = client.fine_tuning.jobs.create(
        model="small_cnn", training_file=http.project, hyperparameters={"n_epochs": 900}, extra_body=extra
    )
    other = "exp-" + second.id.rpartition("-")[2]
    http.until(other, event="epoch_end", epoch=1)
    assert client.fine_tuning.jobs.retrieve(second.id).status == "running"
    # Where stopping takes longer than an answer may, it is running when that comes.
    assert client.fine_tuning.jobs.cancel(second.id).status in ("cancelled", "running")
    assert http.until(other)["status"] == "cancelled"
    assert client.fine_tuning.jobs.retrieve(second.id).status == "cancelled"
    assert [one.id for one in client.fine_tuning.jobs.list(limit=1)] == [second.id, job.id]


def test_what_is_wrong_is_said_as_openai_s_client_reads_it(client: OpenAI, http: Http) -> None:
    with pytest.raises(openai.BadRequestError, match="did you mean resnet18") as caught:
        client.fine_tuning.jobs.create(model="resnet8", training_file=http.project)
    assert caught.value.param == "model.backbone"
    with pytest.raises(openai.NotFoundError):
        client.fine_tuning.jobs.create(model="resnet18", training_file="file-abc")
    with pytest.raises(openai.BadRequestError):
        client.fine_tuning.jobs.create(model="resnet18", training_file=http.project, validation_file="file-x")
    with pytest.raises(openai.NotFoundError):
        client.fine_tuning.jobs.retrieve("ftjob-nothing")
    assert not [one for one in http.data("GET", http.path)["experiments"] if one["status"] == "created"]


def terminal(server: RunningServer, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "inglenook", "studio", *arguments, "--data", str(server.data)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def said(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_the_terminal_splits_trains_shows_and_stops_on_ctrl_c(
    server: RunningServer, http: Http, tmp_path: Path
) -> None:
    code, out, _ = said(
        terminal(server, "split", "halves", "by hand", "--train", "0.5", "--val", "0.3", "--test", "0.2")
    )
    assert code == 0
    assert "by hand" in out
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps({part: TINY[part] for part in ("model", "hyperparameters", "augmentations")}))
    train = ("train", "halves", "--spec", str(spec), "--split", "by hand")
    code, out, err = said(terminal(server, *train, "--name", "short", "--epochs", "1"))
    assert code == 0, err
    assert out.startswith("exp-")
    assert "epoch 1 (best): " in err
    assert "best: epoch 1, val_accuracy" in err

    endless = terminal(server, *train, "--name", "endless", "--epochs", "900")
    assert endless.stderr is not None
    for line in endless.stderr:
        if line.startswith("epoch 1"):
            break
    endless.send_signal(signal.SIGINT)
    code, _, err = said(endless)
    assert code == 130
    assert "endless was stopped after epoch" in err
    code, out, _ = said(terminal(server, "list", "halves", "--json"))
    listed = {one["name"]: one["status"] for one in json.loads(out)["experiments"]}
    assert (listed["short"], listed["endless"]) == ("completed", "cancelled")
    code, _, err = said(terminal(server, "train", "halves", "--backbone", "resnet17"))
    assert code == 1
    assert "Did you mean resnet18?" in err
