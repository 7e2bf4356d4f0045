# SPDX-License-Identifier: Apache-2.0
"""The `openai` package for JavaScript against a real server."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image, ImageDraw

from inglenook.testing import parts
from inglenook.testing.server import RunningServer
from tests.e2e.workbench import eventually

pytestmark = pytest.mark.slow

CLIENTS = Path(__file__).parents[1] / "clients" / "js"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scripts and what they need, from the package registry that npm is set up for."""
    for program in ("node", "npm"):
        parts.require(shutil.which(program) is not None, f"{program} is not installed")
    folder = tmp_path_factory.mktemp("js")
    shutil.copytree(CLIENTS, folder, dirs_exist_ok=True)
    command = ["npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    parts.require(done.returncode == 0, f"npm could not install the SDK: {done.stderr[-300:]}")
    return folder


@pytest.fixture(scope="module")
def said(installed: Path, server: RunningServer) -> dict[str, Any]:
    picture, mask = Image.new("RGB", (64, 64), "red"), Image.new("RGBA", (64, 64), "black")
    ImageDraw.Draw(mask).rectangle((16, 16, 48, 48), fill=(0, 0, 0, 0))
    picture.save(installed / "picture.png")
    mask.save(installed / "mask.png")
    command = ["node", "pictures.mjs", f"{server.base_url}/v1", "picture.png", "mask.png"]
    done = subprocess.run(command, cwd=installed, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_models_are_listed(said: dict[str, Any]) -> None:
    assert "starter-339" in said["models"]


def test_pictures_come_with_their_seeds_and_without_their_background(said: dict[str, Any]) -> None:
    assert [picture["seed"] for picture in said["generated"]] == [7, 8]
    assert all(picture["width"] == 64 and picture["bytes"] > 100 for picture in said["generated"])
    assert said["background"] == "transparent"


def test_a_stream_ends_with_the_whole_picture(said: dict[str, Any]) -> None:
    kinds = [event["type"] for event in said["streamed"]]
    assert kinds[-1] == "image_generation.completed"
    assert kinds[:-1] == ["image_generation.partial_image"] * (len(kinds) - 1)
    assert 1 <= len(kinds) - 1 <= 2
    assert all(event["bytes"] > 100 for event in said["streamed"])


def test_a_masked_edit_gives_a_picture(said: dict[str, Any]) -> None:
    assert said["edited"] == 1


def test_errors_arrive_as_the_sdks_own(said: dict[str, Any]) -> None:
    assert said["unknown"] == {"kind": "NotFoundError", "status": 404, "code": "model_not_found"}
    assert said["several"]["kind"] == "BadRequestError"
    assert said["several"]["param"] == "image"
    assert "takes 1" in said["several"]["message"]


def test_an_aborted_call_ends_its_job(said: dict[str, Any], server: RunningServer) -> None:
    assert said["abandoned"] == "APIUserAbortError"
    with httpx.Client(base_url=server.base_url, trust_env=False, timeout=60) as http:

        def abandoned() -> list[str]:
            jobs = http.get("/v1/jobs").json()["data"]
            return [job["id"] for job in jobs if job["title"] == "abandoned in JavaScript"]

        eventually(lambda: abandoned() != [], "what was sent is a job, although its sender has gone")
        [job] = abandoned()
        with http.stream("GET", f"/v1/jobs/{job}/events") as events:
            events.read()  # it ends with the job
        assert http.get(f"/v1/jobs/{job}").json()["state"] == "cancelled"
