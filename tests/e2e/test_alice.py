# SPDX-License-Identifier: Apache-2.0
"""ALICE's tests, scripts and documents, call by call, and the SAM client, against a real server."""

import base64
import importlib.util
import io
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from PIL import Image

from inglenook.testing.server import RunningServer
from tests.e2e.workbench import eventually

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

DEADLINE_S = 300.0
CHAT = "/v1/chat/completions"
WATCH = """
import sys
def note(event, what):
    with open({file!r}, "a") as out:
        out.write(f"{{event}} {{what}}\\n")
def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        note(event, arguments[1] if event == "socket.connect" else arguments[0])
sys.addaudithook(hook)
import uvloop
class Watched(uvloop.Loop):
    async def create_connection(self, factory, host=None, port=None, **more):
        if host is not None:
            note("socket.connect", (host, port))
        return await super().create_connection(factory, host, port, **more)
    async def create_datagram_endpoint(self, factory, local=None, remote=None, **more):
        note("socket.connect", remote or more.get("remote_addr"))
        return await super().create_datagram_endpoint(factory, local, remote, **more)
    async def sock_connect(self, sock, address):
        note("socket.connect", address)
        return await super().sock_connect(sock, address)
    async def getaddrinfo(self, host, port, **more):
        note("socket.getaddrinfo", host)
        return await super().getaddrinfo(host, port, **more)
uvloop.new_event_loop = Watched
"""
"""Put into every Python process of the server: it writes down each look-up of a name and each connection.
uvloop makes them in C, where Python's audit does not see them."""


def png(size: tuple[int, int] = (64, 64), mode: str = "RGB", colour: Any = "red") -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, colour).save(out, "PNG")
    return out.getvalue()


class Pictures(BaseHTTPRequestHandler):
    """A small site on this machine."""

    def do_GET(self) -> None:
        if self.path.startswith("/inwards"):
            self.send_response(302)
            self.send_header("Location", "http://localhost/secret")
            self.end_headers()
            return
        body = {"/red.png": png(), "/page": b"<html>", "/huge": b"x" * (40 << 20)}.get(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Type", "text/html" if self.path == "/page" else "image/png")
        self.end_headers()
        with suppress(OSError):  # the other side has had enough
            self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pictures)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def write_lora(path: Path) -> None:
    """A LoRA for the tiny model, as kohya's trainer names things."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(3)
    place = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_"
    tensors = {}
    for name in ("k", "v"):
        tensors[f"{place}{name}.lora_down.weight"] = torch.randn(4, 32)
        tensors[f"{place}{name}.lora_up.weight"] = torch.randn(32, 4)
        tensors[f"{place}{name}.alpha"] = torch.tensor(4.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"ss_base_model_version": "sd_v1"})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tiny_models import write_folder

    folder = tmp_path_factory.mktemp("data")
    write_folder("sd1", folder / "models" / "tiny")
    write_lora(folder / "models" / "loras" / "my-lora-file.safetensors")
    return folder


@contextmanager
def started(data: Path, watch: Path, **settings: str) -> Iterator[RunningServer]:
    """A server whose connections are written into `watch`."""
    watch.mkdir()
    (watch / "sitecustomize.py").write_text(WATCH.format(file=str(watch / "calls")))
    path = os.pathsep.join(filter(None, (str(watch), os.environ.get("PYTHONPATH"))))
    environ = {"INGLENOOK_RUNTIME__CPU_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    with RunningServer.start(data, environ=environ | settings, timeout_s=180) as running:
        yield running


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("watch") / "site"


@pytest.fixture(scope="module")
def server(data: Path, site: str, watch: Path) -> Iterator[RunningServer]:
    ports = f"80,443,{site.rpartition(':')[2]}"
    settings = {"INGLENOOK_OUTGOING__PRIVATE_HOSTS": "127.0.0.1", "INGLENOOK_OUTGOING__PORTS": ports}
    settings |= {"INGLENOOK_IMAGES__BLOCK_NSFW": "true", "INGLENOOK_SERVER__HEALTH": "alice"}
    with started(data, watch, **settings) as running:
        yield running


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.base_url, timeout=DEADLINE_S, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def sdk(server: RunningServer) -> Iterator[OpenAI]:
    base_url = f"{server.base_url}/v1"
    with OpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=DEADLINE_S) as client:
        yield client


def ask(http: httpx.Client, prompt: Any = "a cat", *, model: str = "sd/tiny", **body: Any) -> httpx.Response:
    messages = body.pop("messages", [{"role": "user", "content": prompt}])
    return http.post(CHAT, json={"model": model, "messages": messages, **body})


def drawn(http: httpx.Client, prompt: Any = "a cat", **body: Any) -> dict[str, Any]:
    """The message of an answer."""
    answer = ask(http, prompt, **body)
    assert answer.status_code == 200, answer.text
    message: dict[str, Any] = answer.json()["choices"][0]["message"]
    return message


def planned(http: httpx.Client, **config: Any) -> dict[str, Any]:
    """What would be drawn. The job is called off."""
    body = {"model": "sd/tiny", "messages": [{"role": "user", "content": "x"}], "samConfig": config}
    answer = http.post(CHAT, json=body, headers={"prefer": "respond-async"})
    assert answer.status_code == 202, answer.text
    job = answer.json()
    http.post(f"/v1/jobs/{job['id']}/cancel")
    payload: dict[str, Any] = job["payload"]
    return payload


def seen(url: str) -> Image.Image:
    """A picture by its address, asked for without anything that says who asks."""
    data = httpx.get(url, trust_env=False, timeout=60).raise_for_status().content
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


# ── tests/test_api.py ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["/health", "/api/health"])
def test_a1_health(http: httpx.Client, path: str) -> None:
    body = http.get(path).json()
    assert body["status"] in ("ok", "starting")
    assert isinstance(body["gpuAvailable"], bool)
    assert isinstance(body["gpuStatsAvailable"], bool)
    assert isinstance(body["modelsLoaded"], int)
    assert isinstance(body["version"], str)
    assert isinstance(body["uptimeSeconds"], float)
    assert isinstance(body["backend"], str)


def test_a2_models(http: httpx.Client) -> None:
    body = http.get("/v1/models").json()
    assert body["object"] == "list"
    assert {"tiny"} <= {model["id"] for model in body["data"]}
    for model in body["data"]:
        assert model["object"] == "model"
        assert isinstance(model["created"], int)
        assert model["owned_by"] == model["ownedBy"]


def test_a3_refresh(http: httpx.Client) -> None:
    answer = http.post("/v1/models/refresh")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
    assert answer.json()["models_found"] >= 2
    assert answer.json()["loras_found"] == 1


def test_a4_metrics(http: httpx.Client) -> None:
    answer = http.get("/metrics")  # with the client's own `Accept: */*`
    body = answer.json()
    for name in ("queueDepth", "modelsLoaded", "totalGenerations", "activeGenerations"):
        assert isinstance(body[name], int), name
    for name in ("avgGenerationTime", "gpuUtilization"):
        assert isinstance(body[name], int | float), name
    prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
    text = http.get("/metrics", headers={"accept": prometheus})
    assert text.headers["content-type"].startswith("text/plain")
    assert "inglenook_http_requests_total" in text.text


def test_a5_unknown_model(http: httpx.Client) -> None:
    answer = ask(http, model="sd/nonexistent-model")
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert error["message"]
    assert error["type"]
    assert error["code"] == "model_not_found"


def test_a6_no_message(http: httpx.Client) -> None:
    answer = ask(http, model="sd/nonexistent-model", messages=[])
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_a7_no_json(http: httpx.Client) -> None:
    answer = http.post(CHAT, content="not valid json", headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["detail"]


def test_a8_and_a9_all_fields_are_known(http: httpx.Client) -> None:
    talk = [{"role": "system", "content": "You draw."}, {"role": "user", "content": "a cat"}]
    plain = {"steps": 25, "guidance_scale": 7.5, "width": 512, "height": 512}
    assert ask(http, model="sd/none", messages=talk, sam_config=plain).status_code == 404
    more = {
        "negative_prompt": "blurry", "steps": 30, "guidance_scale": 8.0, "width": 768, "height": 768,
        "seed": 42, "scheduler": "euler_a", "num_images": 1,
    }  # fmt: skip
    assert ask(http, model="sd/none", sam_config=more).status_code == 404


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/web/index.html", "text/html"), ("/web/style.css", "text/css"), ("/web/app.js", "javascript")],
)
def test_a10_pages(http: httpx.Client, path: str, kind: str) -> None:
    answer = http.get(path, follow_redirects=True)
    assert answer.status_code == 200
    assert kind in answer.headers["content-type"]


def test_a11_description(http: httpx.Client) -> None:
    assert CHAT in http.get("/openapi.json").json()["paths"]
    for path in ("/docs", "/redoc"):
        answer = http.get(path, follow_redirects=True)
        assert answer.status_code == 200
        assert CHAT in answer.text
        assert "sam_config" in answer.text
        assert "://" not in answer.text.replace('xmlns="http://www.w3.org', "")


# ── scripts ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("scheduler", ["ddim", "dpm++_sde_karras", "euler", "euler_a", "pndm"])
def test_quick_test_script(http: httpx.Client, scheduler: str) -> None:
    """With the first model of the list. The one that ships, which stands last, predicts a flow, which most of
    these cannot follow: see the next test."""
    model = http.get("/v1/models").json()["data"][0]["id"]
    config = {"steps": 4, "width": 512, "height": 512, "scheduler": scheduler}
    message = drawn(http, "a cute cat", model=model, sam_config=config)
    data = httpx.get(message["image_urls"][0], trust_env=False, timeout=60)
    assert data.status_code == 200
    assert len(data.content) > 1000
    assert message["metadata"]["scheduler"] == scheduler


def test_a_scheduler_that_does_not_fit_is_refused_and_never_replaced(http: httpx.Client) -> None:
    answer = ask(http, model="starter-339", sam_config={"scheduler": "pndm"})
    assert answer.status_code == 400
    assert "pndm" in answer.json()["error"]["message"]
    assert ask(http, sam_config={"scheduler": "made_up"}).status_code == 400


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ((512, 512), (512, 512)),
        ((1024, 768), (1024, 768)),
        ((768, 1024), (768, 1024)),
        ((1920, 1080), (1920, 1080)),
        ((640, 480), (640, 480)),
        ((1000, 750), (1000, 752)),
        ((511, 511), (512, 512)),
        ((1023, 767), (1024, 768)),
        ((1366, 768), (1368, 768)),
    ],
)
def test_aspect_ratios_script(http: httpx.Client, asked: tuple[int, int], given: tuple[int, int]) -> None:
    payload = planned(http, width=asked[0], height=asked[1], steps=5)
    assert (payload["out_width"], payload["out_height"]) == given


def test_the_metadata_and_the_file_show_the_rounding(http: httpx.Client) -> None:
    message = drawn(http, samConfig={"width": 511, "height": 255, "steps": 2})
    assert (message["metadata"]["width"], message["metadata"]["height"]) == (512, 256)
    assert seen(message["image_urls"][0]).size == (512, 256)


# ── documents ───────────────────────────────────────────────────────────────────────────────────────────


def test_b1_text_to_image(http: httpx.Client) -> None:
    config = {
        "steps": 30, "guidance_scale": 10.0, "width": 64, "height": 64, "negative_prompt": "blurry",
        "seed": 12345, "scheduler": "euler_ancestral", "num_images": 1,
    }  # fmt: skip
    answer = ask(http, samConfig=config)
    body = answer.json()
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["finish_reason"] == body["choices"][0]["finishReason"] == "stop"
    assert set(body["usage"]) >= {"prompt_tokens", "promptTokens", "totalTokens", "total_tokens"}
    metadata = body["choices"][0]["message"]["metadata"]
    assert metadata["seed"] == 12345
    assert metadata["steps"] == 30
    assert metadata["guidance_scale"] == 10.0
    assert metadata["scheduler"] == "euler_a"
    assert metadata["mode"] == "txt2img"


def test_b2_and_b3_image_to_image(http: httpx.Client, site: str) -> None:
    config = {"guidance_scale": 2.5, "width": 64, "height": 64, "scheduler": "euler", "strength": 0.75}
    config |= {"steps": 4, "seed": 1}
    encoded = base64.b64encode(png()).decode()
    by_value = drawn(http, sam_config=config | {"input_images": [encoded]})
    by_data = drawn(http, sam_config=config | {"input_images": [f"data:image/png;base64,{encoded}"]})
    by_url = drawn(http, sam_config=config | {"input_image_urls": [f"{site}/red.png"]})
    in_parts = drawn(
        http,
        [{"type": "text", "text": "a cat"}, {"type": "image_url", "image_url": {"url": f"{site}/red.png"}}],
        sam_config=config,
    )
    pictures = [seen(one["image_urls"][0]).tobytes() for one in (by_value, by_data, by_url, in_parts)]
    assert len(set(pictures)) == 1
    assert by_url["metadata"]["mode"] == "img2img"
    assert by_url["metadata"]["input_image_count"] == 1
    assert by_url["metadata"]["strength"] == 0.75
    entry = http.get("/v1/outgoing").json()["data"][0]
    assert (entry["host"], entry["status"], entry["purpose"]) == ("127.0.0.1", 200, "an input picture")
    assert entry["received_bytes"] == len(png())


def test_b4_and_b5_a_lora_by_field_and_by_tag(http: httpx.Client) -> None:
    by_field = planned(http, lora_paths=["my-lora-file"], lora_scales=[0.8])
    assert by_field["loras"] == [{"model": "loras/my-lora-file", "weight": 0.8}]
    body = {"model": "tiny", "messages": [{"role": "user", "content": "a cat <lora:My_Lora file:0.8>"}]}
    answer = http.post(CHAT, json=body, headers={"prefer": "respond-async"})
    http.post(f"/v1/jobs/{answer.json()['id']}/cancel")
    assert answer.json()["payload"]["loras"] == by_field["loras"]
    assert answer.json()["payload"]["prompt"] == "a cat"
    unknown = ask(http, sam_config={"lora_paths": ["my-lora-files"], "steps": 1})
    assert unknown.status_code == 404
    assert "loras/my-lora-file" in unknown.json()["error"]["message"]


@pytest.mark.skipif(
    importlib.util.find_spec("inglenook.workers.image.lora") is None, reason="the worker takes no LoRAs yet"
)
def test_b4_and_b5_draw_the_same_picture_and_another_than_without(http: httpx.Client) -> None:
    config = {"steps": 3, "width": 64, "height": 64, "seed": 5}
    plain = drawn(http, sam_config=config)
    by_field = drawn(http, sam_config=config | {"lora_paths": ["lora/my-lora-file"], "lora_scales": [0.8]})
    by_tag = drawn(http, "a cat <lora:my-lora-file:0.8>", sam_config=config)
    again = drawn(http, sam_config=config)
    pictures = [seen(one["image_urls"][0]).tobytes() for one in (plain, by_field, by_tag, again)]
    assert pictures[1] == pictures[2]
    assert pictures[0] == pictures[3]
    assert pictures[0] != pictures[1]
    assert by_tag["metadata"]["prompt"] == "a cat"
    assert by_tag["metadata"]["loras"] == ["loras/my-lora-file"]


def test_b6_a_size_of_its_own(http: httpx.Client) -> None:
    message = drawn(http, sam_config={"width": 192, "height": 128, "seed": 42, "steps": 2})
    assert message["metadata"]["seed"] == 42
    assert seen(message["image_urls"][0]).size == (192, 128)


# ── what ALICE fails ────────────────────────────────────────────────────────────────────────────────────


def test_without_a_seed_pictures_differ_and_tell_theirs(http: httpx.Client) -> None:
    config = {"steps": 2, "width": 64, "height": 64}
    first, second = (drawn(http, sam_config=config) for _ in range(2))
    assert first["metadata"]["seed"] != second["metadata"]["seed"]
    assert seen(first["image_urls"][0]).tobytes() != seen(second["image_urls"][0]).tobytes()
    again = drawn(http, sam_config=config | {"seed": first["metadata"]["seed"]})
    assert seen(again["image_urls"][0]).tobytes() == seen(first["image_urls"][0]).tobytes()


def test_a_guidance_of_zero_is_honoured(http: httpx.Client) -> None:
    config = {"steps": 3, "width": 64, "height": 64, "seed": 3}
    zero = drawn(http, sam_config=config | {"guidance_scale": 0})
    usual = drawn(http, sam_config=config | {"guidance_scale": 7.5})
    assert zero["metadata"]["guidance_scale"] == 0
    assert seen(zero["image_urls"][0]).tobytes() != seen(usual["image_urls"][0]).tobytes()


def test_three_pictures_are_three_addresses(http: httpx.Client) -> None:
    message = drawn(http, sam_config={"num_images": 3, "steps": 2, "width": 64, "height": 64, "seed": 9})
    assert message["content"] == "3 image(s) generated successfully."
    assert len({seen(url).tobytes() for url in message["image_urls"]}) == 3
    assert message["metadata"]["seeds"] == [9, 10, 11]


def test_three_requests_at_once_share_one_process(http: httpx.Client) -> None:
    config = {"steps": 4, "width": 64, "height": 64}
    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(drawn, http, sam_config=config) for _ in range(3)]
        assert all(one.result()["image_urls"] for one in asking)
    residents = http.get("/v1/runtime").json()["residents"]
    assert [one["model"] for one in residents].count("tiny") <= 1


def test_a_word_is_refused_with_the_reason_and_a_negative_prompt_never(http: httpx.Client) -> None:
    answer = ask(http, "porn", sam_config={"steps": 1})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "image.nsfw"
    assert "porn" in answer.json()["error"]["message"]
    wanted = {"steps": 1, "width": 64, "height": 64, "negative_prompt": "nsfw, nude woman"}
    assert drawn(http, "a woman riding a horse", sam_config=wanted)


def test_info_is_found_with_slashes_encoded_or_not(http: httpx.Client) -> None:
    for model in ("tiny", "sd/tiny", "sd%2Ftiny"):
        info = http.get(f"/v1/models/{model}/info")
        assert info.status_code == 200, model
        assert info.json()["model_type"] == "sd15"
        assert info.json()["recommended_resolutions"][0]["width"] > 0
    assert http.get("/v1/models/sd/none/info").status_code == 404


@pytest.mark.parametrize("path", ["bootstrap", "register?name=x", "keys/generate", "sessions", "invites"])
def test_no_door_hands_out_keys_as_long_as_there_are_no_accounts(http: httpx.Client, path: str) -> None:
    """ALICE's opens again when its file of keys is lost."""
    answer = http.post(f"/v1/auth/{path}", json={"name": "x", "is_admin": True})
    assert answer.status_code == 404
    assert "sd-" not in answer.text


def test_defaults_can_be_sent_back(http: httpx.Client) -> None:
    defaults = http.get("/v1/generation/defaults").json()
    assert {"steps", "guidance_scale", "scheduler", "width", "height"} <= set(defaults)
    sent = {name: value for name, value in defaults.items() if name != "model"}
    assert planned(http, **sent)["steps"] == defaults["steps"]


def test_loras_are_listed(http: httpx.Client) -> None:
    [lora] = http.get("/v1/loras").json()["data"]
    assert lora["id"] == "lora/my-lora-file"
    assert {"name", "created", "sizeMb", "baseModel"} <= set(lora)
    assert http.get("/v1/models/loras").json()["data"] == [lora]


def test_a_model_is_deleted_after_it_has_drawn(http: httpx.Client, data: Path) -> None:
    import shutil

    shutil.copytree(data / "models" / "tiny", data / "models" / "passing")
    assert drawn(http, model="sd/passing", sam_config={"steps": 1, "width": 64, "height": 64})
    assert http.delete("/v1/models/starter-339").status_code == 403
    answer = http.delete("/v1/models/sd/passing")
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"status": "deleted", "model_id": "sd/passing", "modelId": "sd/passing"}
    assert not (data / "models" / "passing").exists()
    assert not list((data / "models").glob(".deleted*"))
    eventually(
        lambda: "passing" not in [one["model"] for one in http.get("/v1/runtime").json()["residents"]],
        "its process has ended",
    )
    assert ask(http, model="sd/passing").status_code == 404


def test_a_client_that_goes_away_stops_its_drawing(server: RunningServer, http: httpx.Client) -> None:
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "a long story"}],
        "sam_config": {"num_images": 10, "steps": 100, "width": 256, "height": 256},
        "stream": True,
    }
    with httpx.Client(base_url=server.base_url, trust_env=False, timeout=60) as hung_up:
        with hung_up.stream("POST", CHAT, json=body) as answer:
            for line in answer.iter_lines():
                if '"step"' in line and '"waiting"' not in line.partition('"progress"')[2][:40]:
                    break
    eventually(lambda: http.get("/v1/jobs").json()["data"][0]["state"] == "cancelled", "it is cancelled")
    eventually(lambda: http.get("/v1/runtime").json()["leases"] == [], "the lease is given back")


# ── bad input ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("picture", "status"),
    [
        (png(mode="L", colour=9), 200),
        (png(mode="LA", colour=(9, 9)), 200),
        (png(mode="1", colour=1), 200),
        (png(mode="P", colour=1), 200),
        (png(mode="I;16", colour=999), 200),
        (png(size=(1, 1)), 200),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 400),
        (b"\x89PNG\r\n\x1a\n cut off", 400),
        (b"GIF89a", 400),
        (png(size=(20_000, 20_000), mode="1", colour=1), 413),
    ],
)
def test_input_pictures_of_any_mode_are_taken_and_nothing_else(
    http: httpx.Client, picture: bytes, status: int
) -> None:
    encoded = base64.b64encode(picture).decode()
    config = {"steps": 2, "width": 64, "height": 64, "input_images": [f"data:image/png;base64,{encoded}"]}
    answer = ask(http, sam_config=config)
    assert answer.status_code == status, answer.text
    if status != 200:
        assert answer.json()["error"]["param"] == "sam_config.input_images.0"


@pytest.mark.parametrize(
    ("url", "status", "code"),
    [
        ("http://localhost/x.png", 403, "outgoing.private"),
        ("http://[::1]/x.png", 403, "outgoing.private"),
        ("http://169.254.169.254/latest/meta-data/", 403, "outgoing.private"),
        ("http://192.168.1.1/x.png", 403, "outgoing.private"),
        ("http://2130706433/x.png", 403, "outgoing.private"),
        ("http://[::ffff:10.0.0.1]/x.png", 403, "outgoing.private"),
        ("http://127.0.0.1:22/x.png", 403, "outgoing.port"),
        ("http://user:password@127.0.0.1/x.png", 400, "outgoing.address"),
        ("{site}/inwards", 403, "outgoing.private"),
        ("{site}/page", 400, "outgoing.media_type"),
        ("{site}/none.png", 400, "outgoing.status"),
        ("{site}/huge", 413, "outgoing.too_large"),
    ],
)
def test_addresses_that_lead_inwards_are_refused(
    http: httpx.Client, site: str, url: str, status: int, code: str
) -> None:
    answer = ask(http, sam_config={"input_image_urls": [url.format(site=site)]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["error"]["param"] == "sam_config.input_image_urls.0"


def test_a_picture_larger_than_a_body_may_be_is_refused(http: httpx.Client) -> None:
    answer = ask(http, sam_config={"input_images": ["A" * (33 << 20)]})
    assert answer.status_code == 413


# ── the openai package ──────────────────────────────────────────────────────────────────────────────────


CONFIG = {"sam_config": {"steps": 6, "width": 64, "height": 64, "seed": 4}}
TALK: Any = [{"role": "user", "content": "a cat"}]


def test_the_openai_package_reads_the_answer(sdk: OpenAI) -> None:
    answer = sdk.chat.completions.create(model="sd/tiny", messages=TALK, extra_body=CONFIG)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    [url] = answer.choices[0].message.image_urls  # type: ignore[attr-defined]
    assert seen(url).size == (64, 64)


def test_the_openai_package_reads_the_stream(sdk: OpenAI) -> None:
    slowly = {"sam_config": CONFIG["sam_config"] | {"steps": 60, "width": 128, "height": 128}}  # to be seen
    stream = sdk.chat.completions.create(
        model="sd/tiny", messages=TALK, extra_body=slowly, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text.startswith("1 image(s) generated successfully.\n\n![picture 1](http://127.0.0.1")
    reached = [chunk.progress for chunk in chunks if hasattr(chunk, "progress")]  # type: ignore[attr-defined]
    steps = [one["step"] for one in reached if one["stage"] == "denoise"]
    assert steps
    assert steps == sorted(steps)
    [total] = {one["steps"] for one in reached if one["stage"] == "denoise"}
    assert total in (60, 61)  # the model's own scheduler asks once more than it steps
    assert [one["progress"] for one in reached if one["progress"] is not None][-1] == 1
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    [url] = [chunk for chunk in chunks if chunk.choices][-2].choices[0].delta.image_urls  # type: ignore[attr-defined]
    assert seen(url).size == (128, 128)


def test_the_openai_package_knows_the_errors(sdk: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        sdk.chat.completions.create(model="sd/none", messages=TALK)
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        sdk.chat.completions.create(model="tiny", messages=TALK, extra_body={"sam_config": {"steps": 0}})
    assert caught.value.param == "sam_config.steps"
    assert sdk.models.retrieve("sd/tiny").id == "tiny"


# ── the SAM client ──────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Sam:
    """Decodes as strictly as the SAM client does: a key that it reads must be there and of its type."""

    base_url: str  # ends in /v1

    def get(self, path: str, **headers: str) -> Any:
        base = self.base_url.removesuffix("/v1") if path == "/health" else self.base_url
        return httpx.get(base + path, headers=headers, trust_env=False, timeout=60).raise_for_status().json()

    def health(self) -> tuple[str, bool]:
        body = self.get("/health")
        available = body["gpuAvailable"] if "gpuAvailable" in body else body["gpu_available"]
        assert isinstance(available, bool)
        return str(body["status"]), available

    def models(self) -> list[tuple[str, str]]:
        body = self.get("/models", **{"X-Api-Key": "sd-any"})
        return [(one["id"], one.get("ownedBy") or one["owned_by"]) for one in body["data"]]

    def draw(self, model: str, prompt: str, **settings: Any) -> tuple[bytes, dict[str, Any]]:
        model = model if model.startswith("sd/") else f"sd/{model}"
        body = {"model": model, "messages": [{"role": "user", "content": prompt}], "metadata": settings}
        answer = httpx.post(
            f"{self.base_url}/chat/completions",
            json=body,
            headers={"X-Api-Key": "sd-any"},
            trust_env=False,
            timeout=600,
        ).raise_for_status()
        said = answer.json()
        assert isinstance(said["id"], str)
        assert isinstance(said["created"], int)
        if "usage" in said:
            for name in ("promptTokens", "completionTokens", "totalTokens"):
                assert type(said["usage"][name]) is int
        [choice] = said["choices"]
        assert isinstance(choice.get("finishReason", ""), str)
        message = choice["message"]
        assert isinstance(message["content"], str)
        [url] = message["image_urls"]
        data = httpx.get(url, trust_env=False, timeout=60).raise_for_status().content
        return data, message["metadata"]


def test_the_sam_client_works_and_its_settings_count(server: RunningServer) -> None:
    sam = Sam(f"{server.base_url}/v1")
    assert sam.health()[0] == "ok"
    names = [name for name, owner in sam.models() if owner]
    settings = {"steps": 3, "guidance_scale": 5.0, "scheduler": "ddim", "width": 128, "height": 64}
    data, metadata = sam.draw(names[names.index("tiny")], "a cat", negative_prompt="blur", seed=7, **settings)
    assert Image.open(io.BytesIO(data)).size == (128, 64)
    for name, value in {**settings, "seed": 7, "negative_prompt": "blur"}.items():
        assert metadata[name] == value, name


# ── nothing leaves ──────────────────────────────────────────────────────────────────────────────────────


def connections(watch: Path) -> list[str]:
    """What the server's processes connected to or looked up, but for each other on this machine's sockets."""
    calls = (watch / "calls").read_text().splitlines() if (watch / "calls").exists() else []
    return [call for call in calls if call.startswith("socket.get") or "('" in call]


def test_offline_opens_no_connection_to_anybody(
    data: Path, site: str, watch: Path, server: RunningServer, http: httpx.Client, tmp_path: Path
) -> None:
    ask(http, sam_config={"steps": 1, "width": 64, "height": 64, "input_image_urls": [f"{site}/red.png"]})
    port = site.rpartition(":")[2]
    assert any(port in call for call in connections(watch)), "the watch is blind"
    settings = {
        "INGLENOOK_OUTGOING__OFFLINE": "true",
        "INGLENOOK_OUTGOING__PRIVATE_HOSTS": "127.0.0.1",
        "INGLENOOK_OUTGOING__PORTS": port,
    }
    with started(tmp_path / "data", tmp_path / "watch", **settings) as offline:
        with httpx.Client(base_url=offline.base_url, timeout=DEADLINE_S, trust_env=False) as client:
            answer = ask(client, model="auto", sam_config={"input_image_urls": [f"{site}/red.png"]})
            assert answer.status_code == 403
            assert answer.json()["error"]["code"] == "outgoing.offline"
            assert drawn(client, model="auto", sam_config={"steps": 2})
            client.post("/v1/models/refresh")
            ledger = client.get("/v1/outgoing").json()
            assert (ledger["offline"], ledger["data"]) == (True, [])
    outside = [call for call in connections(tmp_path / "watch") if "127.0.0.1" not in call or port in call]
    assert outside == []
