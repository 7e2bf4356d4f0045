# SPDX-License-Identifier: Apache-2.0
"""Broken model files beside a sound one: each says what is wrong with it, and the sound one draws."""

import json
import pickle
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from inglenook.testing.server import RunningServer
from tests.e2e.conftest import ENVIRON
from tests.e2e.workbench import Workbench

pytestmark = pytest.mark.slow


def header(entries: dict[str, object], *, length: int | None = None) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text


TENSOR = {"dtype": "F16", "shape": [4, 4], "data_offsets": [0, 32]}
BROKEN = {
    "truncated": (header({"model.diffusion_model.x": TENSOR}) + b"\0" * 10, "32"),
    "huge-header": (header({}, length=2**63), "9223372036854775808"),
    "pickled": (pickle.dumps({"weights": [1, 2, 3]}), "pickle"),
    "empty": (b"", "empty"),
    "noise": (bytes(range(256)) * 8, ""),
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    data = tmp_path_factory.mktemp("data")
    (data / "models").mkdir()
    for name, (content, _) in BROKEN.items():
        (data / "models" / f"{name}.safetensors").write_bytes(content)
    with RunningServer.start(data, environ=ENVIRON) as server:
        yield Workbench(server)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_model_is_listed_and_refused_with_what_is_wrong(bench: Workbench, name: str) -> None:
    listed = bench.http.get(f"/v1/models/{name}").json()
    assert listed["problem"]
    response = bench.http.post("/v1/images/generations", json={"model": name, "prompt": "a cat"})
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == "model"
    assert name in error["message"]
    assert BROKEN[name][1] in error["message"]


def test_the_sound_model_beside_them_draws(bench: Workbench) -> None:
    assert bench.draw()["data"]


def test_a_model_that_is_added_while_the_server_runs_is_found(bench: Workbench) -> None:
    folder = Path(bench.server.data) / "models"
    (folder / "late.safetensors").write_bytes(BROKEN["noise"][0])
    response = bench.http.post("/v1/images/generations", json={"model": "late", "prompt": "a cat"})
    assert response.status_code == 400
    assert bench.http.get("/v1/models/late").json()["problem"]
    assert "late" not in [model["id"] for model in bench.http.get("/v1/models").json()["data"]]
