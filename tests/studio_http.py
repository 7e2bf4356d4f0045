# SPDX-License-Identifier: Apache-2.0
"""A project with pictures and a split, made over HTTP, and what is asked of its experiments."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.studio_pictures import SIDE_PX, draw_pictures, read_examples

CLASSES = ("left", "right", "top")
TINY: dict[str, Any] = {
    "model": {"backbone": "small_cnn", "pretrained": False},
    "hyperparameters": {
        "max_epochs": 1,
        "batch_size": 8,
        "warmup_epochs": 0,
        "learning_rate": 0.01,
        "early_stopping_patience": 0,
    },
    "augmentations": {
        "train": [
            {"name": "Resize", "params": {"size": [SIDE_PX, SIDE_PX]}},
            {"name": "RandomHorizontalFlip", "params": {"p": 0.2}},
            {"name": "ToImage", "params": {}},
        ],
        "val": [
            {"name": "Resize", "params": {"size": [SIDE_PX, SIDE_PX]}},
            {"name": "ToImage", "params": {}},
        ],
    },
}
Json = dict[str, Any]


def zipped(folder: Path, count: int) -> bytes:
    """Pictures in a folder a class."""
    manifest = draw_pictures(folder, count)
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for example in read_examples(manifest):
            archive.write(example.file, f"{CLASSES[int(example.target)]}/{Path(example.file).name}")
    return data.getvalue()


class Http:
    """A client of one server, with one project."""

    def __init__(self, base_url: str, project: str | None = None) -> None:
        self.client = httpx.Client(base_url=base_url, trust_env=False, timeout=120)
        self.project = "" if project is None else project

    def data(self, method: str, path: str, status: int = 200, **more: Any) -> Any:
        answer = self.client.request(method, path, **more)
        assert answer.status_code == status, answer.text
        said = answer.json()
        return said["data"] if status == 200 else said["error"]

    def make_project(self, folder: Path, count: int = 60) -> None:
        body = {"name": "Halves", "task": "classification"}
        self.project = self.data("POST", "/api/projects", json=body)["id"]
        files = {"uploaded_file": ("pictures.zip", zipped(folder, count), "application/zip")}
        self.data("POST", f"/api/datasets/{self.project}/import/upload", files=files)
        split = {"name": "first", "ratios": {"train": 0.6, "val": 0.2, "test": 0.2}, "seed": 1}
        self.data("POST", f"/api/splits/{self.project}", json=split)

    @property
    def path(self) -> str:
        return f"/api/training/{self.project}/experiments"

    def make(self, name: str | None = None, **hyperparameters: Any) -> str:
        asked = {**TINY, "hyperparameters": {**TINY["hyperparameters"], **hyperparameters}}
        if name is not None:
            asked["name"] = name
        made: str = self.data("POST", self.path, json=asked)["id"]
        return made

    def get(self, experiment: str) -> Json:
        found: Json = self.data("GET", f"{self.path}/{experiment}")
        return found

    def act(self, experiment: str, what: str) -> Json:
        said: Json = self.data("POST", f"{self.path}/{experiment}/{what}")
        return said

    def epochs(self, experiment: str) -> list[Json]:
        found: list[Json] = self.data("GET", f"{self.path}/{experiment}/metrics")["epochs"]
        return found

    def events(self, experiment: str, last: str | None = None) -> Iterator[tuple[str, str | None, Json]]:
        """Name, id and data of each event, until the stream ends."""
        headers = {} if last is None else {"last-event-id": last}
        name, number, text = "message", None, ""
        with self.client.stream("GET", f"{self.path}/{experiment}/stream", headers=headers) as answer:
            assert answer.status_code == 200
            for line in answer.iter_lines():
                key, _, value = line.partition(": ")
                if key == "event":
                    name = value
                elif key == "id":
                    number = value
                elif key == "data":
                    text = value
                elif not line and text:
                    yield name, number, json.loads(text, parse_constant=_no_constant)
                    name, number, text = "message", None, ""

    def until(self, experiment: str, *, event: str = "complete", epoch: int = 0) -> Json:
        """The data of the first such event, of an epoch from `epoch` on."""
        for name, _, data in self.events(experiment):
            if name == event and (not epoch or data["epoch"] >= epoch):
                return data
        raise AssertionError(f"no {event} came")


def _no_constant(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")
