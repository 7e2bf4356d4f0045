# SPDX-License-Identifier: Apache-2.0
"""What tests of bad luck have in common: odd sets of pictures, processes at work, what a run came to."""

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import psutil
from PIL import Image

from inglenook.testing.server import RunningServer
from tests.studio_http import Http, Json
from tests.studio_pictures import SIDE_PX

ENVIRON = {"INGLENOOK_RUNTIME__CPU_THREADS": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
RATIOS = {"train": 0.6, "val": 0.2, "test": 0.2}
STUDIO, DATASET = "inglenook.workers.studio", "inglenook.workers.dataset"
SAME = ("train_loss", "val_loss", "val_accuracy", "lr")
"""Figures of an epoch that depend on nothing but the run: no seconds, no bytes."""


def picture(seed: int, side_px: int = SIDE_PX) -> bytes:
    """PNG of noise: no two are alike."""
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def zipped(classes: Mapping[str, int], side_px: int = SIDE_PX) -> bytes:
    """A folder a class with so many pictures; one without any is an empty folder."""
    data = io.BytesIO()
    seed = 0
    with zipfile.ZipFile(data, "w") as archive:
        for name, count in classes.items():
            archive.writestr(f"{name}/", b"")
            for number in range(count):
                seed += 1
                archive.writestr(f"{name}/{number}.png", picture(seed, side_px))
    return data.getvalue()


def project_with(
    base_url: str, classes: Mapping[str, int], ratios: Mapping[str, float] | None = None
) -> Http:
    """A project of its own with these pictures and, where there are ratios, a split."""
    http = Http(base_url)
    body = {"name": "Odd", "task": "classification"}
    http.project = http.data("POST", "/api/projects", json=body)["id"]
    put(http, zipped(classes))
    if ratios is not None:
        split(http, ratios)
    return http


def put(http: Http, archive: bytes, status: int = 200, **form: str) -> Any:
    files = {"uploaded_file": ("pictures.zip", archive, "application/zip")}
    path = f"/api/datasets/{http.project}/import/upload"
    return http.data("POST", path, status, files=files, data=form)


def split(http: Http, ratios: Mapping[str, float], status: int = 200) -> Any:
    body = {"name": "only", "ratios": dict(ratios), "seed": 1}
    return http.data("POST", f"/api/splits/{http.project}", status, json=body)


def trained(http: Http, experiment: str, how: str = "train") -> Json:
    """What it is when it has ended."""
    http.act(experiment, how)
    http.until(experiment)
    return http.get(experiment)


def numbers(http: Http, experiment: str) -> list[list[float]]:
    return [[row[name] for name in SAME] for row in http.epochs(experiment)]


def ended(http: Http, job: str) -> Json:
    """The job when it is final."""
    with http.client.stream("GET", f"/v1/jobs/{job}/events") as events:
        for _ in events.iter_lines():
            pass
    found: Json = http.client.get(f"/v1/jobs/{job}").json()
    return found


def workers(server: RunningServer, module: str = STUDIO) -> list[psutil.Process]:
    """The processes below the server that run the module, without their guards."""
    found = []
    for one in family(server):
        try:
            command = one.cmdline()
        except psutil.Error:
            continue
        if module in command and not any("guard" in word for word in command):
            found.append(one)
    return found


def newest_worker(server: RunningServer) -> psutil.Process:
    """The one that was started last: one that has evaluated or exported may still be loaded beside it."""
    return max(workers(server), key=lambda one: one.create_time())


def family(server: RunningServer) -> list[psutil.Process]:
    try:
        return psutil.Process(server.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def assert_in_words(text: str) -> None:
    """A message for a person, not for a programmer."""
    assert text.strip()
    for trace in ("Traceback", 'File "', "Error(", "<class", "0x"):
        assert trace not in text, text
