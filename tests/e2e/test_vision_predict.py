# SPDX-License-Identifier: Apache-2.0
"""POST /v1/vision/predict of a whole server: files are put into the models folder and asked."""

import base64
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from inglenook.testing.server import RunningServer
from tests.onnx_files import metadata, write_colours

pytestmark = pytest.mark.slow

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def png(colour: Any, size: tuple[int, int] = (20, 10)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vision")


@pytest.fixture(scope="module")
def client(data: Path) -> Iterator[httpx.Client]:
    write_colours(data / "models" / "lights.onnx", told=metadata(lineage='{"experiment": "exp-1"}'))
    environ = {"INGLENOOK_RUNTIME__CPU_THREADS": "1", "INGLENOOK_IMAGES__MAX_INPUT_PIXELS": "1000000"}
    with (
        RunningServer.start(data, environ=environ) as server,
        httpx.Client(base_url=server.base_url, trust_env=False, timeout=120) as found,
    ):
        yield found


def best(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [one["predictions"][0]["label"] for one in answer.json()["data"]]


def refused(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    return error


def test_a_form_with_pictures_is_answered_with_labels_and_scores(client: httpx.Client) -> None:
    files = [("image", ("a.png", png(GREEN))), ("image", ("b.png", png(BLUE)))]
    answer = client.post("/v1/vision/predict", files=files, data={"model": "lights", "top_k": "2"})
    assert best(answer) == ["green", "blue"]
    told = answer.json()
    assert (told["model"], told["task"], told["labelled"]) == ("lights", "classification", True)
    assert told["data"][0]["width"] == 20
    assert [len(one["predictions"]) for one in told["data"]] == [2, 2]
    assert told["data"][0]["predictions"][0]["score"] > 0.99
    assert told["seconds"] >= told["computing_s"] >= 0


def test_json_names_pictures_in_every_way(client: httpx.Client) -> None:
    plain = base64.b64encode(png(RED)).decode()
    kept = client.post("/v1/pictures/import", files=[("file", ("c.png", png(BLUE)))])
    assert kept.status_code == 200, kept.text
    picture = kept.json()["data"][0]["id"]
    names = [plain, f"data:image/png;base64,{plain}", picture, f"/v1/pictures/{picture}/file"]
    assert best(client.post("/v1/vision/predict", json={"images": names})) == ["red", "red", "blue", "blue"]
    assert best(client.post("/v1/vision/predict", json={"image": picture, "model": "auto"})) == ["blue"]


@pytest.mark.parametrize(
    ("body", "status", "code", "words"),
    [
        ({}, 400, "request.missing_field", "image is required"),
        ({"image": "AAAA"}, 400, "picture.unsupported", "not known here"),
        ({"image": "%%%"}, 400, "picture.base64", "base64"),
        ({"image": "pic_00000000000000000000000000"}, 404, "picture.not_found", "no picture"),
        ({"image": "x", "images": ["x"]}, 400, "invalid", "exclude each other"),
        ({"image": "x", "top_k": 0}, 400, "invalid", "top_k"),
        ({"image": "x", "topk": 3}, 400, "request.unknown_field", "did you mean top_k"),
        ({"images": ["x"] * 65}, 400, "invalid", "images"),
    ],
)
def test_what_is_wrong_with_a_request_is_told(
    client: httpx.Client, body: dict[str, Any], status: int, code: str, words: str
) -> None:
    error = refused(client.post("/v1/vision/predict", json=body), status)
    assert error["code"] == code, error
    assert words in error["message"]


def test_a_model_that_is_not_there_is_answered_with_the_nearest(client: httpx.Client) -> None:
    sent = {"image": base64.b64encode(png(RED)).decode(), "model": "ligths"}
    error = refused(client.post("/v1/vision/predict", json=sent), 404)
    assert error["code"] == "model_not_found"
    assert "nearest: lights" in error["hint"]
    other = refused(client.post("/v1/vision/predict", json=sent | {"model": "starter-339"}), 400)
    assert "kind vision" in other["message"]


def test_pictures_over_the_bounds_are_refused_before_they_are_decoded(client: httpx.Client) -> None:
    error = refused(client.post("/v1/vision/predict", files=[("image", ("a", png(RED, (1200, 900))))]), 413)
    assert "1200 x 900" in error["message"]
    broken = png(RED, (90, 90))
    error = refused(client.post("/v1/vision/predict", files=[("image", ("a", broken[:60]))]), 400)
    assert error["code"] == "picture.unreadable"


def test_it_stands_among_the_models_and_is_loaded_unloaded_pinned_and_named(client: httpx.Client) -> None:
    listed = {one["id"]: one for one in client.get("/v1/models").json()["data"]}
    told = listed["lights"]
    assert (told["kind"], told["vision"]["labels"]) == ("vision", ["red", "green", "blue"])
    assert told["vision"]["lineage"] == {"experiment": "exp-1"}
    assert client.post("/v1/models/lights/load").json()["state"] == "ready"
    assert client.post("/v1/models/lights/pin", json={"pinned": True}).json()["pinned"] is True
    assert client.post("/v1/models/lights/pin", json={"pinned": False}).json()["pinned"] is False
    assert client.post("/v1/models/lights/unload").json()["state"] in ("unloaded", "unloading")
    assert client.patch("/v1/models/lights/options", json={"aliases": ["traffic"]}).status_code == 200
    answer = client.post(
        "/v1/vision/predict", files=[("file", ("a.png", png(GREEN)))], data={"model": "traffic"}
    )
    assert best(answer) == ["green"]
    page = client.get("/models")
    assert "tells what pictures show" in page.text.lower()


def test_a_file_that_is_put_there_is_served_without_a_restart(client: httpx.Client, data: Path) -> None:
    write_colours(data / "models" / "mine" / "other.onnx", told={})
    answer = client.post(
        "/v1/vision/predict", files=[("image", ("a.png", png(BLUE)))], data={"model": "other"}
    )
    assert best(answer) == ["2"]
    assert answer.json()["labelled"] is False


def test_a_file_that_is_replaced_is_read_anew_with_its_own_labels(client: httpx.Client, data: Path) -> None:
    path = data / "models" / "changing.onnx"
    sent = {"image": base64.b64encode(png(BLUE)).decode(), "model": "changing"}
    for labels in (("a", "b", "c"), ("x", "y", "z")):
        write_colours(path, told=metadata(labels=labels))
        assert best(client.post("/v1/vision/predict", json=sent)) == [labels[2]]


def test_the_terminal_asks_the_server(client: httpx.Client, data: Path, tmp_path: Path) -> None:
    assert client.get("/readyz").status_code == 200
    (tmp_path / "a b.png").write_bytes(png(GREEN))
    (tmp_path / "c.png").write_bytes(png(RED))
    command = [sys.executable, "-m", "inglenook", "predict", "lights", "--data", str(data)]
    files = [str(tmp_path / "a b.png"), str(tmp_path / "c.png")]
    said = subprocess.run([*command, "--top", "1", *files], capture_output=True, text=True, check=True).stdout
    assert [line.split(": ")[1].split()[0] for line in said.splitlines()] == ["green", "red"]
    said = subprocess.run([*command, "--json", *files], capture_output=True, text=True, check=True).stdout
    assert json.loads(said.splitlines()[1])["predictions"][0]["label"] == "red"
