# SPDX-License-Identifier: Apache-2.0
"""PixelAI's table and the issue's bad input, against a real server that draws with the model that ships."""

import base64
import concurrent.futures
import io
import json
import re
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from PIL import Image
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from inglenook.testing.server import RunningServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ENVIRON = {
    "INGLENOOK_RUNTIME__CPU_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "INGLENOOK_PIXELS__PIXELAI_PORT": "0",
}
CAT = {
    "prompt": "a cat", "steps": 3, "width": 128, "height": 64, "pixel_width": 32, "pixel_height": 32,
    "colors": 8, "seed": 5,
}  # fmt: skip
LONG = CAT | {"steps": 150, "n": 8}
"""Takes several seconds: there is a middle to hit."""
EXTENSION = {
    "prompt": "a red fox, café 猫",
    "negative_prompt": "blurry",
    "width": 512,
    "height": 512,
    "pixel_width": 64,
    "pixel_height": 64,
    "steps": 10,
    "guidance_scale": 7.5,
    "colors": 16,
    "lora_model": "None",
    "remove_background": False,
    "lora_strength": 0.8,
}
"""What the original's extension sends, seed left out as it does for -1."""
PATIENCE_S = 300.0


def get(address: str, **more: Any) -> httpx.Response:
    return httpx.get(address, timeout=PATIENCE_S, trust_env=False, **more)


def post(address: str, **more: Any) -> httpx.Response:
    return httpx.post(address, timeout=PATIENCE_S, trust_env=False, **more)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer.start(tmp_path_factory.mktemp("data"), environ=ENVIRON, timeout_s=180) as running:
        yield running


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{server.base_url}/pixel", timeout=400, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def root(server: RunningServer) -> str:
    """Where the dialect stands at the root."""
    found = re.search(r"PixelAI's API stands at (http://\S+)", server.output)
    assert found is not None
    return found[1]


def rows(image: dict[str, Any]) -> list[list[tuple[int, ...]]]:
    data = base64.b64decode(image["base64"])
    width = image["width"]
    assert len(data) == width * image["height"] * 4
    pixels = [tuple(data[i : i + 4]) for i in range(0, len(data), 4)]
    return [pixels[i : i + width] for i in range(0, len(pixels), width)]


def flat(image: dict[str, Any]) -> list[tuple[int, ...]]:
    return [pixel for row in rows(image) for pixel in row]


def poll(
    http: httpx.Client, generation_id: str, enough: Callable[[dict[str, Any]], bool]
) -> list[dict[str, Any]]:
    """Everything that /progress said until it was enough."""
    seen: list[dict[str, Any]] = []
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        seen.append(http.get(f"/progress/{generation_id}").json())
        if enough(seen[-1]):
            return seen
    raise AssertionError(f"it never came to that: {seen[-1]}")


def ended(told: dict[str, Any]) -> bool:
    return bool(told["status"] != "generating")


def begin(http: httpx.Client, body: dict[str, Any]) -> str:
    """A generation that has drawn its first step; its id."""
    answer = http.post("/generate", json=body | {"wait": False})
    assert answer.status_code == 202, answer.text
    generation_id = str(answer.json()["generation_id"])
    poll(http, generation_id, lambda told: told["current_step"] > 0 or ended(told))
    return generation_id


# -- the table -------------------------------------------------------------------------------------------


def test_health_models_and_loras(http: httpx.Client) -> None:
    health = http.get("/health").json()
    assert {"status", "model_loaded", "current_model", "device", "engine", "version"} <= set(health)
    assert (health["status"], health["engine"]) == ("healthy", "auto")
    assert health["current_model"] in http.get("/models").json()["models"]
    loras = http.get("/loras").json()
    assert all(loras[name][0] == "None" for name in ("loras", "compatible_loras"))
    assert loras["incompatible_loras"] == []


def test_a_wide_picture_on_a_square_canvas_keeps_its_shape_in_eight_colours(http: httpx.Client) -> None:
    answer = http.post("/generate", json=CAT)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    made = rows(told["image"])
    assert (len(made), len(made[0])) == (32, 32)
    assert all(pixel[3] == 0 for row in [*made[:8], *made[24:]] for pixel in row)
    assert all(pixel[3] == 255 for row in made[8:24] for pixel in row)
    assert 2 <= len({pixel for row in made for pixel in row}) <= 8
    assert (told["seed"], told["prompt"], told["image"]["mode"]) == (5, "a cat", "rgba")
    assert (told["engine"], told["device"]) == ("torch", "cpu")
    assert told["proof"]["within_palette"] is True
    assert http.get("/health").json()["model_loaded"] is True
    assert http.post("/generate", json=CAT).json()["image"] == told["image"], "the seed says all"


@pytest.mark.parametrize("how", [{"fit_mode": "cover"}, {"fit_mode": "stretch"}, {"preserve_aspect": False}])
def test_a_picture_that_fills_the_canvas_leaves_nothing_transparent(
    http: httpx.Client, how: dict[str, Any]
) -> None:
    image = http.post("/generate", json=CAT | how).json()["image"]
    assert {pixel[3] for pixel in flat(image)} == {255}
    assert len(set(flat(image))) <= 8


@pytest.mark.parametrize(("colors", "most"), [(0, None), (1, 2), (256, 256)])
def test_from_one_colour_to_all(http: httpx.Client, colors: int, most: int | None) -> None:
    image = http.post("/generate", json=CAT | {"colors": colors}).json()["image"]
    count = len(set(flat(image)))
    assert count > 16 if most is None else count <= most


def test_two_at_once_queue_and_the_old_way_is_refused(http: httpx.Client) -> None:
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(http.post, "/generate", json=CAT | {"seed": seed}) for seed in range(3)]
        assert [one.result().status_code for one in asked] == [200] * 3
    running = begin(http, LONG)
    refused = http.post("/generate", json=CAT | {"single_flight": True})
    assert (refused.status_code, refused.json()["error"]) == (409, "another generation in progress")
    assert http.post(f"/cancel/{running}").status_code == 202
    poll(http, running, ended)
    assert http.post("/generate", json=CAT | {"single_flight": True}).status_code == 200


def test_progress_goes_from_0_to_100_while_it_draws(http: httpx.Client) -> None:
    body = CAT | {"steps": 150, "generation_id": str(uuid.uuid4())}
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(http.post, "/generate", json=body)
        deadline = time.monotonic() + 60
        while http.get(f"/progress/{body['generation_id']}").status_code != 200:
            assert time.monotonic() < deadline
        seen = poll(http, body["generation_id"], ended)
        assert waiting.result().status_code == 200
    progress = [told["progress"] for told in seen]
    assert progress == sorted(progress)
    assert progress[-1] == 100
    assert any(40 <= one < 75 for one in progress), "it was seen while it drew"
    assert any(told["eta_seconds"] is not None for told in seen)
    assert max(told["total_steps"] for told in seen) == 150


def test_a_cancel_ends_the_waiting_call_with_499(http: httpx.Client) -> None:
    generation_id = str(uuid.uuid4())
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(http.post, "/generate", json=LONG | {"generation_id": generation_id})
        deadline = time.monotonic() + 60
        while http.get(f"/progress/{generation_id}").status_code != 200:
            assert time.monotonic() < deadline
        poll(http, generation_id, lambda told: told["current_step"] > 0)
        answer = http.post(f"/cancel/{generation_id}")
        assert (answer.status_code, answer.json()["status"]) == (202, "canceling")
        end = waiting.result()
    assert (end.status_code, end.json()["code"]) == (499, "CANCELED")
    assert http.post(f"/cancel/{generation_id}").status_code == 409
    assert http.get(f"/progress/{generation_id}").json()["status"] == "canceled"


def test_ids_that_are_none_and_engines_that_are_none(http: httpx.Client) -> None:
    for path in ("progress", "result"):
        assert http.get(f"/{path}/not-a-uuid").status_code == 400
        assert http.get(f"/{path}/{uuid.uuid4()}").status_code == 404
    assert http.post("/cancel/not-a-uuid").status_code == 400
    assert http.post(f"/cancel/{uuid.uuid4()}").status_code == 404
    for body in ({}, {"engine": "x"}):
        assert http.post("/set_engine", json=body).status_code == 400


def test_an_engine_that_is_not_here_says_what_is_missing(http: httpx.Client) -> None:
    matrix = {one["name"]: one for one in http.get("/engines").json()["engines"]}
    assert matrix["torch"]["available"]
    told = http.post("/generate", json=CAT | {"engine": "mlx"}).json()
    assert told["code"] in ("MLX_NOT_INSTALLED", "MODEL_NOT_CONVERTED")
    assert http.post("/generate", json=CAT).status_code == 200, "and nothing has changed for others"


# -- the unchanged extension -----------------------------------------------------------------------------


def test_the_originals_extension_finds_everything_at_the_root_of_its_port(root: str, tmp_path: Path) -> None:
    """It calls curl with files, as `http-client.lua` does, and looks at the JSON alone."""
    for path, keys in (
        ("models", {"models"}),
        ("loras", {"loras", "compatible_loras", "incompatible_loras"}),
        ("health", {"status", "model_loaded", "current_model", "device", "engine"}),
    ):
        assert keys <= set(curl(f"{root}/{path}"))
    body = tmp_path / "body.json"
    body.write_text(json.dumps(EXTENSION, ensure_ascii=False), "utf-8")
    post = ("-X", "POST", "-H", "Content-Type: application/json", "--data-binary", f"@{body}")
    told = curl(f"{root}/generate", *post)
    assert told["success"] is True
    assert told["prompt"] == EXTENSION["prompt"]
    image = told["image"]
    assert (image["width"], image["height"], image["mode"]) == (64, 64, "rgba")
    assert len(set(flat(image))) <= 16
    assert isinstance(told["seed"], int)


def curl(address: str, *more: str) -> dict[str, Any]:
    run = subprocess.run(
        ["curl", "-s", "-k", "--max-time", "300", *more, address], capture_output=True, check=True
    )
    told: dict[str, Any] = json.loads(run.stdout)
    return told


def test_its_port_has_nothing_else(root: str) -> None:
    for path in ("/v1/models", "/pixel/health", "/", "/admin/status", "/static/app.css", "/openapi.json"):
        assert get(root + path).status_code == 404


# -- who may ---------------------------------------------------------------------------------------------


def test_another_sites_page_gets_nothing(http: httpx.Client, server: RunningServer, root: str) -> None:
    evil = {"origin": "https://evil.example"}
    for base in (f"{server.base_url}/pixel", root):
        answer = post(f"{base}/generate", json=CAT, headers=evil)
        assert (answer.status_code, answer.json()["success"]) == (403, False)
        assert "access-control-allow-origin" not in answer.headers
        socket = base.replace("http", "ws", 1) + "/ws"
        with pytest.raises(InvalidStatus), connect(socket, origin="https://evil.example"):
            pass


# -- bad input -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((side, value) for side in ("pixel_width", "height") for value in (0, -1, 4097)),
        ("width", 4096),
        ("colors", 257),
        ("colors", 300),
        ("palette", []),
        ("palette", ["#102030"] * 257),
        ("palette", "no-such-palette"),
        ("steps", 0),
        ("steps", 500),
        ("n", 33),
        ("frames", 65),
        ("preset", "no-such"),
        ("style", "no-such"),
    ],
)
def test_what_cannot_be_is_refused_by_name(http: httpx.Client, field: str, value: Any) -> None:
    answer = http.post("/generate", json=CAT | {field: value})
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == "VALIDATION_ERROR"
    assert answer.json()["field"]


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 40), (33, 17), (320, 180), (4096, 16)])
def test_any_size_is_made_exactly(http: httpx.Client, width: int, height: int) -> None:
    body = CAT | {"pixel_width": width, "pixel_height": height, "width": None, "height": None}
    told = http.post("/generate", json=body).json()
    assert (told["image"]["width"], told["image"]["height"]) == (width, height)
    assert told["proof"]["within_palette"] is True


def test_a_background_that_is_removed_leaves_hard_edges(http: httpx.Client) -> None:
    told = http.post("/generate", json=CAT | {"remove_background": True, "width": 64}).json()
    assert told["success"] is True, told
    assert {pixel[3] for pixel in flat(told["image"])} <= {0, 255}
    assert len(set(flat(told["image"]))) <= 8


# -- the socket ------------------------------------------------------------------------------------------


class Dialog:
    def __init__(self, server: RunningServer, key: str | None = None) -> None:
        address = server.base_url.replace("http", "ws", 1) + "/pixel/ws"
        self._open = connect(address, max_size=1 << 27, open_timeout=60)
        self._key = key
        self.socket: ClientConnection
        self.first: dict[str, Any] = {}

    def send(self, message: dict[str, Any], pixels: bytes | None = None) -> None:
        self.socket.send(json.dumps(message))
        if pixels is not None:
            self.socket.send(pixels)

    def upload(self, name: str, image: Image.Image) -> None:
        width, height = image.size
        head = {"type": "upload", "name": name, "width": width, "height": height, "format": "rgba"}
        self.send(head, image.tobytes())

    def hear(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.socket.recv(timeout=300))
        if "bytes" in told:
            told["pixels"] = self.socket.recv(timeout=60)
            assert len(told["pixels"]) == told["bytes"] == told["width"] * told["height"] * 4
        return told

    def generate(self, **fields: Any) -> list[dict[str, Any]]:
        """Everything until its end."""
        generation_id = str(uuid.uuid4())
        self.send(
            {"type": "generate", "id": generation_id, "prompt": "a cat", "seed": 5, "steps": 4, **fields}
        )
        heard = [self.hear()]
        while heard[-1]["type"] not in ("done", "error"):
            heard.append(self.hear())
        assert {one["id"] for one in heard} == {generation_id}
        return heard

    def until_closed(self) -> None:
        while True:
            self.hear()

    def __enter__(self) -> Self:
        self.socket = self._open.__enter__()
        self.send({"type": "hello", "key": self._key, "client": "aseprite", "version": 1})
        self.first = self.hear()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.__exit__(None, None, None)


@pytest.fixture
def dialog(server: RunningServer) -> Iterator[Dialog]:
    with Dialog(server) as dialog:
        yield dialog


def picture(frame: dict[str, Any]) -> Image.Image:
    return Image.frombytes("RGBA", (frame["width"], frame["height"]), frame["pixels"])


def test_the_dialog_is_offered_what_is_here(dialog: Dialog) -> None:
    ready = dialog.first
    assert ready["type"] == "ready"
    for name in ("models", "engines", "palettes", "presets", "sizes", "base_sizes", "limits"):
        assert ready[name], name
    assert ready["models"][0]["can"]
    assert [64, 64] in ready["sizes"]
    assert all("prompt" in preset for preset in ready["presets"])


def test_a_sprite_of_a_locked_palette_comes_with_previews(dialog: Dialog) -> None:
    palette = ["#000000", "#ffffff", "#ff004d", "#29adff"]
    heard = dialog.generate(pixel_width=24, pixel_height=24, palette=palette, previews=True)
    assert heard[-1]["type"] == "done", heard[-1]
    kinds = [one["type"] for one in heard]
    assert kinds[0] == "queued"
    assert "preview" in kinds
    frame = next(one for one in heard if one["type"] == "frame")
    pixels = [frame["pixels"][at : at + 4] for at in range(0, frame["bytes"], 4)]
    found = {f"#{pixel[:3].hex()}" for pixel in pixels if pixel[3] == 255}
    assert found <= set(palette)
    progress = [one["progress"] for one in heard if one["type"] == "progress"]
    assert progress == sorted(progress)
    assert heard[-1]["seed"] == 5


def test_a_selection_is_redrawn_and_the_rest_of_the_canvas_stays(dialog: Dialog) -> None:
    canvas = Image.new("RGBA", (32, 32), (40, 90, 200, 255))
    canvas.paste((0, 0, 0, 0), (0, 0, 32, 8))
    selection = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    selection.paste((255, 255, 255, 255), (8, 16, 24, 28))
    dialog.upload("canvas", canvas)
    dialog.upload("sel", selection)
    heard = dialog.generate(
        init_image="canvas", mask="sel", strength=0.9, pixel_width=32, pixel_height=32, colors=8
    )
    assert heard[-1]["type"] == "done", heard[-1]
    made = picture(next(one for one in heard if one["type"] == "frame"))
    assert made.size == (32, 32)
    outside = [(x, y) for x in range(32) for y in range(32) if not (8 <= x < 24 and 16 <= y < 28)]
    assert all(made.getpixel(at) == canvas.getpixel(at) for at in outside)


def test_a_selection_that_opens_nothing_or_lies_elsewhere_is_refused(dialog: Dialog) -> None:
    dialog.upload("canvas", Image.new("RGBA", (16, 16), (40, 90, 200, 255)))
    for selection in (Image.new("RGBA", (16, 16), (0, 0, 0, 0)), Image.new("RGBA", (17, 16), "white")):
        dialog.upload("sel", selection)
        told = dialog.generate(init_image="canvas", mask="sel")[-1]
        assert (told["code"], told["field"]) == ("VALIDATION_ERROR", "mask")


def test_an_empty_canvas_and_a_huge_one(dialog: Dialog) -> None:
    dialog.upload("canvas", Image.new("RGBA", (16, 16), (0, 0, 0, 0)))
    told = dialog.generate(init_image="canvas", strength=0.8, pixel_width=16, pixel_height=16)[-1]
    assert told["type"] == "done", told
    dialog.upload("canvas", Image.new("RGBA", (2048, 2048), (9, 9, 9, 255)))
    told = dialog.generate(init_image="canvas", strength=0.5, pixel_width=64, pixel_height=64)[-1]
    assert told["type"] == "done", told
    dialog.send({"type": "upload", "name": "canvas", "width": 2049, "height": 2048, "format": "rgba"})
    assert dialog.hear()["code"] == "VALIDATION_ERROR"


def test_frames_come_with_a_tag(dialog: Dialog) -> None:
    heard = dialog.generate(frames=2, n=2, motion="walk", pixel_width=16, pixel_height=16, colors=6)
    assert heard[-1]["type"] == "done", heard[-1]
    frames = [one for one in heard if one["type"] == "frame"]
    assert [(one["index"], one["count"]) for one in frames] == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert heard[-1]["tags"][0] | {"direction": None} == {
        "name": "walk",
        "from": 0,
        "to": 1,
        "direction": None,
    }
    assert len(heard[-1]["variants"]) == 2


def test_two_dialogs_do_not_disturb_each_other(server: RunningServer, dialog: Dialog) -> None:
    with Dialog(server) as other, concurrent.futures.ThreadPoolExecutor(2) as pool:
        both = [pool.submit(one.generate, pixel_width=16, pixel_height=16) for one in (dialog, other)]
        frames = [next(m for m in one.result() if m["type"] == "frame")["pixels"] for one in both]
    assert frames[0] == frames[1], "the same seed, the same sprite"


def test_a_dialog_that_is_closed_stops_the_drawing(server: RunningServer, http: httpx.Client) -> None:
    generation_id = str(uuid.uuid4())
    with Dialog(server) as dialog:
        dialog.send({"type": "generate", "id": generation_id, "prompt": "a cat", "steps": 150, "n": 8})
        while dialog.hear().get("step", 0) < 1:
            pass
    assert poll(http, generation_id, ended)[-1]["status"] == "canceled"


def test_a_worker_that_dies_is_told_and_the_next_sprite_is_made(
    server: RunningServer, dialog: Dialog
) -> None:
    from tests.e2e.workbench import Workbench, command

    generation_id = str(uuid.uuid4())
    dialog.send({"type": "generate", "id": generation_id, "prompt": "a cat", "steps": 150, "n": 8})
    while dialog.hear().get("step", 0) < 1:
        pass
    family = Workbench(server).family()
    for child in family:
        if "inglenook.workers.image" in command(child) and "guard.py" not in command(child):
            child.kill()
    heard = dialog.hear()
    while heard["type"] != "error":
        heard = dialog.hear()
    assert (heard["id"], heard["code"]) == (generation_id, "ENGINE_INTERNAL")
    assert dialog.generate(pixel_width=16, pixel_height=16)[-1]["type"] == "done"


# -- across restarts, with a password --------------------------------------------------------------------


def test_a_choice_survives_a_server_that_was_killed_in_the_middle(tmp_path: Path) -> None:
    with RunningServer.start(tmp_path, environ=ENVIRON, timeout_s=180) as first:
        base = f"{first.base_url}/pixel"
        name = get(f"{base}/models").json()["models"][0]
        loaded = post(f"{base}/load_model", json={"model_name": name}).json()
        assert loaded == {"success": True, "model": name, "device": "cpu"}
        assert get(f"{base}/health").json()["model_loaded"] is True
        post(f"{base}/set_engine", json={"engine": "torch"})
        with Dialog(first) as dialog:
            dialog.send(
                {"type": "generate", "id": str(uuid.uuid4()), "prompt": "a cat", "steps": 150, "n": 8}
            )
            while dialog.hear().get("step", 0) < 1:
                pass
            first.signal(signal.SIGKILL)
            with pytest.raises(ConnectionClosed):
                dialog.until_closed()
        first.wait()
    with RunningServer.start(tmp_path, environ=ENVIRON, timeout_s=180) as second:
        health = get(f"{second.base_url}/pixel/health").json()
        assert (health["current_model"], health["engine"]) == (name, "torch")
        with Dialog(second) as dialog:
            assert dialog.generate(pixel_width=8, pixel_height=8)[-1]["type"] == "done"


def test_a_server_that_stops_says_so_to_its_dialogs(tmp_path: Path) -> None:
    with RunningServer.start(tmp_path, environ=ENVIRON, timeout_s=180) as server, Dialog(server) as dialog:
        dialog.send({"type": "generate", "id": str(uuid.uuid4()), "prompt": "a cat", "steps": 150, "n": 8})
        while dialog.hear().get("step", 0) < 1:
            pass
        server.signal(signal.SIGTERM)
        heard = dialog.hear()
        while heard["type"] != "error":
            heard = dialog.hear()
        assert heard["code"] in ("INTERRUPTED", "UNAVAILABLE")
        with pytest.raises(ConnectionClosed):
            dialog.hear()
        assert server.wait(60) == 0


def test_with_a_password_a_wrong_key_is_refused_everywhere(tmp_path: Path) -> None:
    password = "a long enough word"
    environ = ENVIRON | {"INGLENOOK_SERVER__ADMIN_PASSWORD": password}
    with RunningServer.start(tmp_path, environ=environ, timeout_s=180) as server:
        base = f"{server.base_url}/pixel"
        login = {"password": password}
        token = post(f"{server.base_url}/admin/login", json=login).json()["access_token"]
        wrong, right = ({"authorization": f"Bearer {key}"} for key in ("wrong", token))
        assert get(f"{base}/health", headers=wrong).status_code == 401
        body = {"model_name": "auto"}
        assert post(f"{base}/load_model", json=body).status_code == 401
        assert post(f"{base}/set_engine", json={"engine": "x"}, headers=right).status_code == 400
        for key, kind in (("wrong", "error"), (token, "ready"), (password, "ready"), (None, "ready")):
            with Dialog(server, key) as dialog:
                assert dialog.first["type"] == kind
                if kind == "error":
                    assert dialog.first["code"] == "UNAUTHORIZED"
                    with pytest.raises(ConnectionClosed):
                        dialog.hear()


def test_a_port_that_is_taken_stops_the_start_in_words(tmp_path: Path, root: str) -> None:
    environ = ENVIRON | {"INGLENOOK_PIXELS__PIXELAI_PORT": root.rpartition(":")[2]}
    with pytest.raises(RuntimeError) as caught:
        RunningServer.start(tmp_path, environ=environ, timeout_s=180)
    assert "pixels.pixelai_port" in str(caught.value)


def png(image: Image.Image) -> str:
    out = io.BytesIO()
    image.save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def test_a_picture_over_http_is_drawn_over(http: httpx.Client) -> None:
    body = CAT | {"init_image": png(Image.new("RGBA", (32, 32), (200, 30, 30, 255))), "strength": 0.5}
    told = http.post("/generate", json=body).json()
    assert told["success"] is True, told
    broken = base64.b64encode(b"\x89PNG\r\n\x1a\nnothing more").decode()
    refused = http.post("/generate", json=CAT | {"init_image": broken})
    assert (refused.status_code, refused.json()["code"]) == (400, "VALIDATION_ERROR")
