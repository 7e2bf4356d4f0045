# SPDX-License-Identifier: Apache-2.0
"""MLX as a person uses it: convert the model that ships, draw through the whole server with both engines."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from inglenook.testing.server import RunningServer

pytestmark = pytest.mark.slow

ENVIRON = os.environ | {"OMP_NUM_THREADS": "1", "INGLENOOK_RUNTIME__CPU_THREADS": "1"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer.start(tmp_path_factory.mktemp("mlx"), environ=ENVIRON) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.base_url, trust_env=False, timeout=300) as one:
        yield one


@pytest.fixture(scope="module")
def converted(server: RunningServer, client: httpx.Client) -> str:
    """While the server runs; it finds the model by itself."""
    refused = client.post(
        "/v1/pixel/sprites", json={"prompt": "a fox", "model": "starter-339", "engine": "mlx"}
    )
    assert refused.status_code == 400, refused.text
    assert refused.json()["error"]["code"] == "model.not_converted"
    assert "inglenook models convert starter-339 --to mlx" in refused.json()["error"]["hint"]
    done = subprocess.run(
        [sys.executable, "-m", "inglenook", "models", "convert", "starter-339", "--to", "mlx", "--dtype",
         "float32", "--data", str(server.data)],
        capture_output=True, text=True, timeout=120, env=ENVIRON,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return "mlx/starter-339"


def draw(client: httpx.Client, **body: Any) -> np.ndarray:
    usual = {"prompt": "a red fox", "size": "32x32", "seed": 1, "response_format": "url"}
    made = client.post("/v1/images/generations", json={**usual, **body}).raise_for_status().json()
    data = client.get(made["data"][0]["url"]).content
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def test_the_converted_starter_draws_the_picture_of_the_original(
    client: httpx.Client, converted: str
) -> None:
    ours, theirs = draw(client, model=converted), draw(client, model="starter-339")
    assert theirs.std() > 30
    assert np.abs(ours - theirs).max() <= 1
    residents = {one["model"]: one["engine"] for one in client.get("/v1/runtime").json()["residents"]}
    assert residents == {converted: "mlx", "starter-339": "diffusers"}


def test_a_scheduler_that_mlx_has_not_is_refused_before_anything_is_loaded(
    client: httpx.Client, converted: str
) -> None:
    body = {"model": converted, "prompt": "a fox", "size": "32x32", "scheduler": "unipc"}
    refused = client.post("/v1/images/generations", json=body)
    assert refused.status_code in (400, 422), refused.text
    assert "unipc" in refused.text


def test_the_matrix_of_engines_names_what_mlx_can_draw_with(client: httpx.Client, converted: str) -> None:
    rows = {row["name"]: row for row in client.get("/v1/pixel/engines").json()["data"]}
    assert rows["mlx"]["available"]
    assert set(rows["mlx"]["models"]) == {converted, "starter-339"}
    assert rows["mlx"]["needs_conversion"]
    assert converted not in rows["torch"]["models"]


def test_a_picture_names_its_engine_and_is_told_which_drew(client: httpx.Client, converted: str) -> None:
    asked = {"prompt": "a red fox", "size": "32x32", "model": "starter-339", "engine": "mlx"}
    made = client.post("/v1/images/generations", json=asked).raise_for_status().json()
    assert (made["engine"], made["model"]) == ("mlx", converted)
    kept = client.get(f"/v1/pictures/{made['data'][0]['picture_id']}").json()
    assert (kept["model"], kept["parameters"]["engine"]) == (converted, "mlx")
    made = client.post("/v1/images/generations", json=asked | {"engine": "torch"}).raise_for_status().json()
    assert (made["engine"], made["model"]) == ("torch", "starter-339")


def test_pixelai_lists_the_conversion_alone(client: httpx.Client, converted: str) -> None:
    assert client.get("/pixel/mlx_models").json()["models"] == [converted]


def test_a_model_is_converted_over_http(client: httpx.Client, converted: str) -> None:
    path, wish = "/v1/models/starter-339/convert", {"to": "mlx", "dtype": "float32", "name": "by-http"}
    asked = client.post(path, json=wish)
    assert asked.status_code == 202, asked.text
    job = asked.json()
    assert (job["kind"], asked.headers["location"]) == ("convert", f"/v1/jobs/{job['id']}")
    with client.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
        told = "\n".join(stream.iter_lines())
    assert '"stage":"convert"' in told.replace(" ", "")
    done = client.get(f"/v1/jobs/{job['id']}").json()
    assert done["state"] == "succeeded", done
    assert (done["result"]["model"], done["result"]["size_bytes"] > 0) == ("mlx/by-http", True)
    assert np.abs(draw(client, model="mlx/by-http") - draw(client, model=converted)).max() <= 1

    again = client.post(path, json=wish)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "convert.exists")
    replaced = client.post(path, json=wish | {"replace": True}).json()
    with client.stream("GET", f"/v1/jobs/{replaced['id']}/events") as stream:
        stream.read()
    assert client.get(f"/v1/jobs/{replaced['id']}").json()["state"] == "succeeded"


@pytest.mark.parametrize(
    ("model", "wish", "status", "field"),
    [
        ("starter-339", {}, 400, "to"),
        ("starter-339", {"to": "onnx"}, 400, "to"),
        ("starter-339", {"to": "mlx", "dtype": "int8"}, 400, "dtype"),
        ("starter-339", {"to": "mlx", "name": "../up"}, 400, "name"),
        ("starter-339", {"to": "mlx", "replace": "yes"}, 400, "replace"),
        ("starter-339", {"to": "mlx", "nmae": "x"}, 400, "nmae"),
        ("mlx/starter-339", {"to": "mlx"}, 400, "model"),
        ("no-such-model", {"to": "mlx"}, 404, "model"),
    ],
)
def test_a_conversion_that_cannot_be_is_refused_by_name(
    client: httpx.Client, converted: str, model: str, wish: dict[str, Any], status: int, field: str
) -> None:
    refused = client.post(f"/v1/models/{model}/convert", json=wish)
    assert (refused.status_code, refused.json()["error"]["param"]) == (status, field), refused.text
