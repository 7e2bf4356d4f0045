# SPDX-License-Identifier: Apache-2.0
"""Sprites from the real server: drawn by the starter, made by the real child, kept in the gallery."""

import base64
import io
import json
import signal
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from inglenook.testing.server import RunningServer
from tests.e2e.conftest import ENVIRON
from tests.e2e.workbench import Workbench

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LOCKED = ["#000000", "#ffffff", "#f08c1e", "#3c3c50", "#78a0c8"]
LONG = {"prompt": "a fox", "steps": 100, "n": 8, "seed": 1}
"""Some minutes of drawing."""


@pytest.fixture
def bench(server: RunningServer) -> Workbench:
    return Workbench(server)


@pytest.fixture(scope="module")
def made(server: RunningServer) -> dict[str, Any]:
    """The first sprite of a fresh server, drawn when the first test asks for it."""
    with httpx.Client(base_url=server.base_url, timeout=300, trust_env=False) as http:
        answer = http.post("/v1/pixel/sprites?wait=true", json={"prompt": "a red car", "seed": 1})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


def sprites(bench: Workbench, **asked: Any) -> dict[str, Any]:
    answer = bench.http.post("/v1/pixel/sprites?wait=true", json=asked, timeout=300)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def opened(encoded: str | bytes) -> Image.Image:
    data = base64.b64decode(encoded) if isinstance(encoded, str) else encoded
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        return picture


def colors(picture: Image.Image) -> set[str]:
    found = picture.convert("RGBA").getcolors(1 << 16) or []
    return {"#{:02x}{:02x}{:02x}".format(*color[:3]) for _, color in found if color[3]}  # type: ignore[index]


def sent(picture: Image.Image) -> str:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def test_a_prompt_alone_makes_a_sprite_that_proves_itself(bench: Workbench, made: dict[str, Any]) -> None:
    assert (made["engine"], made["model"], made["device"]) == ("torch", "starter-339", "cpu")
    (sprite,) = made["sprites"]
    picture = opened(sprite["frames"][0]["png"])
    assert (picture.size, picture.mode) == ((32, 32), "P")
    found = colors(picture)
    assert 2 <= len(found) <= 16
    proof = sprite["proofs"][0]
    assert (proof["width"], proof["height"], proof["off_palette"]) == (32, 32, 0)
    assert proof["colors"] == len(found)
    assert found <= set(sprite["palette"])
    kept = opened(bench.http.get(sprite["url"]).content)
    assert kept.mode == "P"
    assert kept.convert("RGBA").tobytes() == picture.convert("RGBA").tobytes()


def test_the_same_seed_makes_the_same_sprite(bench: Workbench, made: dict[str, Any]) -> None:
    again = sprites(bench, prompt="a red car", seed=1)
    assert again["sprites"][0]["frames"] == made["sprites"][0]["frames"]


def test_a_walk_keeps_to_a_locked_palette_in_every_frame(bench: Workbench) -> None:
    walk = sprites(
        bench,
        prompt="a penguin",
        seed=3,
        frames=4,
        motion="walk",
        frame_ms=90,
        recipe={"width": 32, "height": 32, "palette": LOCKED},
    )
    frames = [opened(one["png"]) for one in walk["sprites"][0]["frames"]]
    assert [frame.size for frame in frames] == [(32, 32)] * 4
    assert all(colors(frame) <= set(LOCKED) for frame in frames)
    assert len({frame.convert("RGB").tobytes() for frame in frames}) == 4
    assert walk["tags"] == [{"name": "walk", "first": 0, "last": 3}]
    assert any("larger model" in note for note in walk["notes"])
    gif = opened(bench.http.get(walk["sprites"][0]["url"]).content)
    assert (gif.format, gif.n_frames) == ("GIF", 4)  # type: ignore[attr-defined]


def test_an_animation_of_the_gallery_becomes_an_aseprite_file(bench: Workbench) -> None:
    walk = sprites(bench, prompt="a dog", seed=3, frames=2, frame_ms=90)
    spec = {"format": "aseprite", "tags": [{"name": "run", "first": 0, "last": 1}]}
    form = {"picture_id": (None, walk["sprites"][0]["picture_id"]), "spec": (None, json.dumps(spec))}
    answer = bench.http.post("/v1/pixel/export", files=form)
    assert answer.status_code == 200, answer.text
    assert answer.content[4:6] == b"\xe0\xa5", "the mark of an Aseprite file"
    assert int.from_bytes(answer.content[6:8], "little") == 2, "frames"


def test_a_canvas_is_drawn_over(bench: Workbench, made: dict[str, Any]) -> None:
    canvas = made["sprites"][0]["frames"][0]["png"]
    blue = sprites(bench, prompt="a blue car", seed=1, image=canvas, strength=0.7)
    before, after = (
        opened(canvas).convert("RGB"),
        opened(blue["sprites"][0]["frames"][0]["png"]).convert("RGB"),
    )
    assert after.size == before.size
    assert after.tobytes() != before.tobytes()


def test_outside_the_selection_every_pixel_stays(bench: Workbench, made: dict[str, Any]) -> None:
    canvas = made["sprites"][0]["frames"][0]["png"]
    selection = Image.new("RGBA", (32, 32))
    selection.paste("white", (8, 2, 24, 14))
    crown = sprites(bench, prompt="a crown", seed=1, image=canvas, mask=sent(selection))
    before = opened(canvas).convert("RGBA")
    after = opened(crown["sprites"][0]["frames"][0]["png"]).convert("RGBA")
    places = [(x, y) for y in range(32) for x in range(32)]
    changed = {place for place in places if before.getpixel(place) != after.getpixel(place)}
    assert changed
    assert all(8 <= x < 24 and 2 <= y < 14 for x, y in changed)


def test_a_tile_is_continued_in_its_own_colours(bench: Workbench, made: dict[str, Any]) -> None:
    sprite = made["sprites"][0]
    tile = sprites(bench, prompt="a leaf", seed=1, image=sprite["frames"][0]["png"], continue_tile="right")
    after = opened(tile["sprites"][0]["frames"][0]["png"])
    assert after.size == (32, 32)
    assert colors(after) <= set(sprite["palette"])


def test_a_picture_of_the_gallery_is_reduced_with_another_recipe(
    bench: Workbench, made: dict[str, Any]
) -> None:
    recipe = {"width": 16, "height": 16, "colors": 4, "dither": "bayer-2"}
    form = {"picture_id": (None, made["sprites"][0]["picture_id"]), "recipe": (None, json.dumps(recipe))}
    answer = bench.http.post("/v1/pixel/convert", files=form).json()
    assert (answer["width"], answer["height"]) == (16, 16)
    assert len(answer["palette"]) <= 4
    assert answer["proof"]["within_palette"] is True


def test_openai_s_sdk_makes_a_gif(bench: Workbench) -> None:
    sdk = openai.OpenAI(api_key="x", base_url=f"{bench.server.base_url}/v1", max_retries=0)
    answer = sdk.images.generate(prompt="a duck", output_format="gif", frame_count=2, size="512x512")
    assert answer.data is not None
    gif = opened(answer.data[0].b64_json or "")
    assert (gif.format, gif.size) == ("GIF", (512, 512))


def test_a_drawing_that_is_cancelled_stops_and_the_next_is_made(bench: Workbench) -> None:
    job = bench.http.post("/v1/pixel/sprites", json=LONG).json()
    bench.until(job["id"], lambda kind, data: kind == "progress" and data["stage"] == "denoise")
    after = bench.http.post(f"/v1/jobs/{job['id']}/cancel").json()
    assert after["state"] == "cancelled"
    assert after["receipt"]["how"].startswith("stopped before step")
    assert sprites(bench, prompt="a star", steps=4)["sprites"]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_that_ends_in_mid_sprite_says_so_when_it_is_back(
    tmp_path: Path, end: signal.Signals
) -> None:
    with RunningServer.start(tmp_path, environ=ENVIRON) as first:
        bench = Workbench(first)
        job = bench.http.post("/v1/pixel/sprites", json=LONG).json()
        bench.until(job["id"], lambda kind, data: kind == "progress" and data["stage"] == "denoise")
        first.signal(end)
        first.wait()
    with RunningServer.start(tmp_path, environ=ENVIRON) as second:
        found = Workbench(second).http.get(f"/v1/jobs/{job['id']}").json()
        assert found["state"] == "interrupted"
        assert "in the middle of this job" in found["error"]["message"]
        assert found["result"].get("parts", []) == []


def test_bad_sizes_and_palettes_are_refused_by_name(bench: Workbench) -> None:
    for recipe, field in (
        ({"width": 0}, "width"),
        ({"width": 4097}, "width"),
        ({"colors": 300}, "colors"),
        ({"palette": []}, "palette"),
        ({"palette": ["#000000"] * 257}, "palette"),
    ):
        answer = bench.http.post("/v1/pixel/sprites", json={"prompt": "a fox", "recipe": recipe})
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == f"recipe.{field}"


EXTREME = {
    "transparent": Image.new("RGBA", (64, 64)),
    "one colour": Image.new("RGB", (64, 64), "teal"),
    "one pixel": Image.new("RGB", (1, 1), "teal"),
    "a line": Image.new("RGB", (300, 1), "teal"),
}


def test_pictures_at_the_edge_become_sprites(bench: Workbench) -> None:
    for name, picture in EXTREME.items():
        for recipe in ({"width": 8, "height": 8, "colors": 1}, {"colors": 2}, {"width": 1, "height": 1}):
            files = {"image": base64.b64decode(sent(picture))}
            answer = bench.http.post("/v1/pixel/convert", files=files, data={"recipe": json.dumps(recipe)})
            assert answer.status_code == 200, (name, recipe, answer.text)
            proof = answer.json()["proof"]
            assert proof["colors"] <= recipe.get("colors", 16)
            assert set(proof["alphas"]) <= {0, 255}
