# SPDX-License-Identifier: Apache-2.0
"""What only an accelerator can show: the worker draws on it, and a seed gives what it gives on a CPU."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from inglenook.runtime.devices import SystemProbe, system_sources
from inglenook.testing.server import RunningServer

pytestmark = pytest.mark.hardware

ACCELERATORS = [
    device.id
    for device in SystemProbe(sources=system_sources(), budgets={}, reserve_bytes=0, only=None).devices()
    if device.kind != "cpu"
]
NONE_HERE = "there is no accelerator on this machine"
BODY = {"model": "auto", "prompt": "a red fox", "size": "32x32", "seed": 1, "response_format": "url"}


@pytest.fixture(params=ACCELERATORS or [pytest.param(None, marks=pytest.mark.skip(reason=NONE_HERE))])
def on_device(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer]:
    environ = {"INGLENOOK_RUNTIME__DEVICES": f'["{request.param}"]'}
    with RunningServer.start(tmp_path / "accelerator", environ=os.environ | environ) as server:
        yield server


def draw(server: RunningServer) -> tuple[np.ndarray, dict[str, object]]:
    with httpx.Client(base_url=server.base_url, trust_env=False, timeout=300) as client:
        made = client.post("/v1/images/generations", json=BODY).raise_for_status().json()
        data = client.get(made["data"][0]["url"]).content
        (resident,) = client.get("/v1/runtime").json()["residents"]
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int), resident


def test_the_same_seed_draws_the_same_picture_as_on_a_cpu(on_device: RunningServer, tmp_path: Path) -> None:
    there, resident = draw(on_device)
    with RunningServer.start(
        tmp_path / "cpu", environ=os.environ | {"INGLENOOK_RUNTIME__DEVICES": '["cpu"]'}
    ) as server:
        here, _ = draw(server)
    assert resident["device"] != "cpu"
    # Half precision there, single precision here: four levels of 255 apart where it was measured on a CPU.
    assert np.abs(there - here).max() <= 16


def test_what_the_driver_measures_is_learned(on_device: RunningServer) -> None:
    _, resident = draw(on_device)
    assert isinstance(resident["measured_bytes"], int)
    assert resident["measured_bytes"] > 0
