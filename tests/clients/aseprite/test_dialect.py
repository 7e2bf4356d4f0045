# SPDX-License-Identifier: Apache-2.0
"""The extension and the server's real socket, with sprites that are made without a model: what each says,
the other understands."""

import base64
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.clients.aseprite.bridge import Bridge, bridged
from tests.clients.aseprite.host import INDEXED, Aseprite, started

pytestmark = pytest.mark.slow


class PixelServer:
    """`inglenook.testing.pixel_server` as a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "inglenook.testing.pixel_server", *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert "listens on http://" in line, line
        self.address = line.rsplit("//", 1)[1].strip()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture(scope="module")
def server() -> Iterator[PixelServer]:
    running = PixelServer()
    try:
        yield running
    finally:
        running.kill()


@pytest.fixture
def bridge(extension: Path, server: PixelServer) -> Iterator[Bridge]:
    """A dialog that the server has welcomed."""
    with started(extension, f'host.plugin.preferences.address = "{server.address}"') as running:
        running.command()
        with bridged(running) as bridge:
            bridge.until_status("Ready")
            yield bridge


def draw(bridge: Bridge, **values: object) -> None:
    bridge.aseprite.write(**({"prompt": "ein Füchslein 狐", "size": "32 x 32", "seed": 5} | values))
    bridge.aseprite.press("generate")
    bridge.until_status("Done")


def layer_pixels(
    aseprite: Aseprite, layer: int, frame: int = 1
) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    cel = aseprite.sprite()["layers"][layer]["cels"][str(frame)]
    return np.frombuffer(cel["bytes"], np.uint8).reshape(cel["height"], cel["width"], -1)


def test_a_sprite_from_words(bridge: Bridge) -> None:
    draw(bridge)
    sprite = bridge.aseprite.sprite()
    assert (sprite["width"], sprite["height"]) == (32, 32)
    assert sprite["layers"][0]["name"] == "ein Füchslein 狐 | seed 5"
    assert sprite["undo"] == 1


def test_the_layer_is_pixel_by_pixel_what_the_http_door_gives(bridge: Bridge, server: PixelServer) -> None:
    draw(bridge)
    asked = {"prompt": "ein Füchslein 狐", "pixel_width": 32, "pixel_height": 32, "seed": 5, "colors": 16,
             "width": 512, "height": 512}  # fmt: skip
    answer = httpx.post(f"http://{server.address}/pixel/generate", json=asked, trust_env=False, timeout=60)
    assert answer.status_code == 200, answer.text
    placed = layer_pixels(bridge.aseprite, 0)
    assert placed.tobytes() == base64.b64decode(answer.json()["image"]["base64"])
    assert placed.tobytes() == bridge.pixels[-1]
    assert len(np.unique(placed.reshape(-1, 4), axis=0)) > 2


def test_the_same_seed_gives_the_same_pixels(bridge: Bridge) -> None:
    bridge.aseprite.open_sprite(32, 32)
    for _ in range(2):
        draw(bridge)
    assert (layer_pixels(bridge.aseprite, 1) == layer_pixels(bridge.aseprite, 2)).all()


def test_variants_in_an_indexed_sprite(bridge: Bridge) -> None:
    bridge.aseprite.open_sprite(32, 32, INDEXED, bytes(1024), [(0, 0, 0, 255)])
    draw(bridge, variants=3)
    assert len(bridge.aseprite.sprite()["layers"]) == 4


def test_a_walk_with_its_tag(bridge: Bridge) -> None:
    draw(bridge, motion="Walk", frames=4, frame_ms=90)
    sprite = bridge.aseprite.sprite()
    assert [frame["duration"] for frame in sprite["frames"]] == [0.09] * 4
    assert [(tag["name"], tag["from"], tag["to"]) for tag in sprite["tags"]] == [("walk", 1, 4)]


@pytest.mark.parametrize("way", ["The canvas", "The selection", "Inpaint the selection"])
def test_drawing_from_what_is_open(bridge: Bridge, way: str) -> None:
    own = np.full((32, 32, 4), 255, np.uint8)
    bridge.aseprite.open_sprite(32, 32, pixels=own.tobytes())
    bridge.aseprite.select(4, 4, 8, 8)
    draw(bridge, input=way)
    assert len(bridge.aseprite.sprite()["layers"]) == 2


def test_cancel(extension: Path) -> None:
    server = PixelServer("--step-s", "0.3")
    try:
        with started(extension, f'host.plugin.preferences.address = "{server.address}"') as aseprite:
            aseprite.command()
            with bridged(aseprite) as bridge:
                bridge.until_status("Ready")
                aseprite.write(prompt="x", steps=100)  # half a minute: it is not over before it is cancelled
                aseprite.press("generate")
                bridge.until(
                    lambda: any(
                        entry[0] == "text" and "step" in str(entry[1]) for entry in aseprite.painted()
                    ),
                    what="a step in the progress bar",
                )
                aseprite.press("cancel")
                bridge.until_status("Cancelled; nothing was placed.")
                server.kill()
                bridge.until_status("Offline")
    finally:
        server.kill()


def test_keys(extension: Path) -> None:
    server = PixelServer("--password", "s3cret-word")
    try:
        before = (
            f'host.plugin.preferences.address = "{server.address}"; host.plugin.preferences.key = "wrong"'
        )
        with started(extension, before) as aseprite:
            aseprite.command()
            with bridged(aseprite) as bridge:
                bridge.until_status("wants another key")
                aseprite.write(key="s3cret-word")
                aseprite.press("connect")
                bridge.until_status("Ready")
                draw(bridge)
    finally:
        server.kill()


def test_what_the_server_refuses_is_said(bridge: Bridge) -> None:
    bridge.aseprite.write(prompt="x", motion="Walk", frame_ms=1)
    bridge.aseprite.press("generate")
    bridge.until_status("frame_ms")
    assert bridge.aseprite.look("generate")["enabled"]
