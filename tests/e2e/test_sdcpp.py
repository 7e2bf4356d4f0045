# SPDX-License-Identifier: Apache-2.0
"""The engine sdcpp as a person uses it: a single file in the models folder, a sprite drawn from it."""

import os
from collections.abc import Iterator

import httpx
import pytest

from inglenook.testing.server import RunningServer
from tests.ldm_files import write_sd1

pytestmark = pytest.mark.slow

ENVIRON = os.environ | {"OMP_NUM_THREADS": "1", "INGLENOOK_RUNTIME__CPU_THREADS": "1"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    data = tmp_path_factory.mktemp("sdcpp")
    file = write_sd1(data / "models" / "big-sd1.safetensors")
    with (
        RunningServer.start(data, environ=ENVIRON) as server,
        httpx.Client(base_url=server.base_url, trust_env=False, timeout=300) as one,
    ):
        yield one
    file.unlink()


def test_the_matrix_names_what_it_can_draw_with(client: httpx.Client) -> None:
    (row,) = [row for row in client.get("/v1/pixel/engines").json()["data"] if row["name"] == "sdcpp"]
    assert row["available"]
    assert row["why_not"] is None
    assert row["models"] == ["big-sd1"], "the starter is a folder"
    assert row["devices"] == ["cpu"]
    assert not row["loras"]


def test_a_sprite_is_drawn_by_the_engine_that_is_asked_for(client: httpx.Client) -> None:
    asked = {
        "prompt": "a red fox", "model": "big-sd1", "engine": "sdcpp", "steps": 1, "seed": 3,
        "guidance_scale": 1.0, "base_width": 64, "base_height": 64,
        "recipe": {"width": 16, "height": 16, "colors": 8},
    }  # fmt: skip
    answer = client.post("/v1/pixel/sprites?wait=true", json=asked)
    assert answer.status_code == 200, answer.text
    result = answer.json()["result"] if "result" in answer.json() else answer.json()
    assert (result["engine"], result["model"]) == ("sdcpp", "big-sd1")
    residents = {one["model"]: one["engine"] for one in client.get("/v1/runtime").json()["residents"]}
    assert residents == {"big-sd1": "sdcpp"}


def test_what_it_cannot_do_is_refused_before_anything_is_loaded(client: httpx.Client) -> None:
    usual = {"prompt": "a fox", "engine": "sdcpp"}
    folder = client.post("/v1/pixel/sprites", json={**usual, "model": "starter-339"})
    assert folder.status_code == 400, folder.text
    assert folder.json()["error"]["code"] == "model.unusable"
    lora = client.post(
        "/v1/pixel/sprites", json={**usual, "model": "big-sd1", "loras": [{"model": "x", "weight": 1}]}
    )
    assert lora.status_code == 400, lora.text
    assert lora.json()["error"]["code"] == "lora.unsupported_engine"
