# SPDX-License-Identifier: Apache-2.0
"""The extension for Aseprite against a real server that draws with the model that ships.

The extension's Lua files run as they are packed, over a real socket; what lies in the sprite is compared
pixel by pixel with what the server sent, and with what its HTTP door gives for the same seed.
"""

import base64
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt
import pytest

from inglenook.testing.server import RunningServer
from tests.clients.aseprite.bridge import Bridge, bridged
from tests.clients.aseprite.conftest import extension, package
from tests.clients.aseprite.host import INDEXED, Aseprite, started

pytestmark = pytest.mark.slow

__all__ = ["extension", "package"]

WORDS = {"prompt": "a red apple 🍎", "size": "32 x 32", "seed": 11, "steps": 2, "guidance": 3.5}


@pytest.fixture
def bridge(extension: Path, server: RunningServer) -> Iterator[Bridge]:
    """A dialog that the server has welcomed."""
    with started(extension, f'host.plugin.preferences.address = "{server.base_url}"') as running:
        running.command()
        with bridged(running) as bridge:
            bridge.until_status("Ready")
            yield bridge


def draw(bridge: Bridge, **values: object) -> None:
    bridge.aseprite.write(**(WORDS | values))
    bridge.aseprite.press("generate")
    bridge.until(
        lambda: not bridge.aseprite.look("cancel")["enabled"], what="the end of the work", timeout_s=240
    )
    assert bridge.aseprite.status().startswith("Done"), bridge.aseprite.status()


def pixels(aseprite: Aseprite, layer: int, frame: int = 1, number: int = 1) -> npt.NDArray[np.uint8]:
    cel = aseprite.sprite(number)["layers"][layer]["cels"][str(frame)]
    return np.frombuffer(cel["bytes"], np.uint8).reshape(cel["height"], cel["width"], -1)


def test_from_the_button_to_the_layer(bridge: Bridge, server: RunningServer) -> None:
    draw(bridge)
    made = pixels(bridge.aseprite, 0)
    assert made.tobytes() == bridge.pixels[-1]
    assert set(np.unique(made[..., 3])) <= {0, 255}
    colors = np.unique(made[made[..., 3] == 255], axis=0)
    assert 2 <= len(colors) <= 16
    asked = {
        "prompt": WORDS["prompt"],
        "negative_prompt": bridge.aseprite.look("negative_prompt")["value"],
        "pixel_width": 32,
        "pixel_height": 32,
        "seed": 11,
        "steps": 2,
        "guidance_scale": 3.5,
        "colors": 16,
        "width": 64,
        "height": 64,
    }
    answer = httpx.post(f"{server.base_url}/pixel/generate", json=asked, trust_env=False, timeout=240)
    assert answer.status_code == 200, answer.text
    assert base64.b64decode(answer.json()["image"]["base64"]) == made.tobytes()


def test_the_sprites_own_palette_is_kept_to(bridge: Bridge) -> None:
    palette = [(0, 0, 0, 0), (20, 12, 28, 255), (222, 238, 214, 255), (208, 70, 72, 255), (109, 170, 44, 255)]
    bridge.aseprite.open_sprite(32, 32, INDEXED, bytes(1024), palette)
    draw(bridge, palette_source="Of the sprite")
    assert bridge.aseprite.sprite()["palette"] == [list(color) for color in palette]
    seen = np.frombuffer(bridge.aseprite.rendered(), np.uint8).reshape(-1, 4)
    assert {tuple(color) for color in seen.tolist()} <= {*palette[1:], (0, 0, 0, 0)}
    assert seen.tobytes() == bridge.pixels[-1]


def test_inpainting_leaves_every_pixel_outside_the_selection(bridge: Bridge) -> None:
    own = np.zeros((32, 32, 4), np.uint8)
    own[...] = (30, 60, 120, 255)
    own[8:24, 8:24] = (200, 180, 40, 255)
    bridge.aseprite.open_sprite(32, 32, pixels=own.tobytes())
    bridge.aseprite.select(10, 10, 10, 10)
    draw(bridge, input="Inpaint the selection", strength=80)
    seen = np.frombuffer(bridge.aseprite.rendered(), np.uint8).reshape(32, 32, 4)
    outside = np.ones((32, 32), bool)
    outside[10:20, 10:20] = False
    assert (seen[outside] == own[outside]).all()
    assert (seen[~outside] != own[~outside]).any()


def test_variants_and_a_walk(bridge: Bridge) -> None:
    bridge.aseprite.open_sprite(32, 32)
    draw(bridge, variants=2)
    sprite = bridge.aseprite.sprite()
    assert [layer["visible"] for layer in sprite["layers"]] == [True, False, True]
    assert (pixels(bridge.aseprite, 1) != pixels(bridge.aseprite, 2)).any()
    draw(bridge, motion="Walk", frames=3, output="New sprite")
    walk = bridge.aseprite.sprite(2)
    assert len(walk["frames"]) == 3
    assert [(tag["name"], tag["from"], tag["to"]) for tag in walk["tags"]] == [("walk", 1, 3)]
    colors = {
        tuple(c) for frame in (1, 2, 3) for c in pixels(bridge.aseprite, 0, frame, 2).reshape(-1, 4).tolist()
    }
    assert len(colors) <= 17  # one palette for all frames, and what is transparent


def test_two_dialogs_take_turns(extension: Path, server: RunningServer) -> None:
    with started(extension, f'host.plugin.preferences.address = "{server.base_url}"') as aseprite:
        aseprite.command()
        aseprite.command()
        aseprite.open_sprite(32, 32)
        with bridged(aseprite) as bridge:
            for dialog in (1, 2):
                bridge.until_status("Ready", dialog=dialog)
                aseprite.write(dialog, **(WORDS | {"prompt": f"a ball {dialog}"}))
                aseprite.press("generate", dialog)
            for dialog in (1, 2):
                bridge.until_status("Done", dialog=dialog, timeout_s=240)
        names = {layer["name"].split(" |")[0] for layer in aseprite.sprite()["layers"]}
        assert {"a ball 1", "a ball 2"} <= names


def test_closing_the_dialog_ends_the_job(extension: Path, server: RunningServer) -> None:
    with started(extension, f'host.plugin.preferences.address = "{server.base_url}"') as aseprite:
        aseprite.command()
        with bridged(aseprite) as bridge:
            bridge.until_status("Ready")
            aseprite.write(**(WORDS | {"prompt": "given up", "steps": 60, "variants": 8}))
            aseprite.press("generate")
            bridge.until(
                lambda: any("step" in str(entry[1]) for entry in aseprite.painted() if entry[0] == "text"),
                what="a step in the progress bar",
                timeout_s=240,
            )
            aseprite.close()
            bridge.act()
    with httpx.Client(base_url=server.base_url, trust_env=False, timeout=60) as http:
        [job] = [
            one["id"] for one in http.get("/v1/jobs").json()["data"] if one["title"].startswith("given up")
        ]
        with http.stream("GET", f"/v1/jobs/{job}/events") as events:
            events.read()  # it ends with the job
        assert http.get(f"/v1/jobs/{job}").json()["state"] == "cancelled"


def test_a_server_that_is_killed_in_mid_job(extension: Path, tmp_path: Path) -> None:
    environ = {"INGLENOOK_RUNTIME__CPU_THREADS": "1", "OMP_NUM_THREADS": "1"}
    with RunningServer.start(tmp_path, environ=environ) as running:
        with started(extension, f'host.plugin.preferences.address = "{running.base_url}"') as aseprite:
            aseprite.command()
            aseprite.open_sprite(32, 32)
            with bridged(aseprite) as bridge:
                bridge.until_status("Ready")
                aseprite.write(**(WORDS | {"steps": 60, "variants": 8}))
                aseprite.press("generate")
                bridge.until(
                    lambda: any(
                        "step" in str(entry[1]) for entry in aseprite.painted() if entry[0] == "text"
                    ),
                    what="a step in the progress bar",
                    timeout_s=240,
                )
                running.kill()
                bridge.until_status("in the middle of the work; nothing was placed. Offline")
                assert aseprite.sprite()["undo"] == 0
