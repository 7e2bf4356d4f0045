# SPDX-License-Identifier: Apache-2.0
"""The `openai` package against a real server that draws with the model that ships."""

import base64
import io
import json
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import openai
import pytest
from openai import OpenAI
from PIL import Image, ImageDraw

from inglenook.testing.server import RunningServer

pytestmark = pytest.mark.slow

MODEL = "auto"
DEADLINE_S = 180.0


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[OpenAI]:
    with OpenAI(
        base_url=f"{server.base_url}/v1", api_key="none", max_retries=0, timeout=DEADLINE_S
    ) as client:
        yield client


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.base_url, timeout=DEADLINE_S, trust_env=False) as client:
        yield client


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def decoded(b64: str | None) -> Image.Image:
    assert b64 is not None
    return opened(base64.b64decode(b64))


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def red() -> bytes:
    return png(Image.new("RGB", (64, 64), "red"))


def until(done: object, what: str) -> None:
    """Wait for what another process does; there is nothing to subscribe to from here."""
    deadline = time.monotonic() + DEADLINE_S
    while not done():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.02)


def test_two_pictures_as_base64_each_with_its_seed(client: OpenAI) -> None:
    answer = client.images.generate(model=MODEL, prompt="a red fox", n=2, extra_body={"seed": 7, "steps": 4})
    assert answer.data is not None
    first, second = (decoded(datum.b64_json) for datum in answer.data)
    assert answer.size == f"{first.width}x{first.height}"
    assert first.tobytes() != second.tobytes()
    assert [datum.seed for datum in answer.data] == [7, 8]  # type: ignore[attr-defined]
    assert answer.usage is not None
    assert answer.usage.total_tokens == 0


def test_the_same_seed_gives_the_same_picture(client: OpenAI) -> None:
    def once() -> bytes:
        answer = client.images.generate(prompt="a blue cat", extra_body={"seed": 3, "steps": 4})
        assert answer.data is not None
        return decoded(answer.data[0].b64_json).tobytes()

    assert once() == once()


def test_a_picture_as_an_address_in_another_format(client: OpenAI, http: httpx.Client) -> None:
    answer = client.images.generate(
        model=MODEL,
        prompt="a green horse",
        response_format="url",
        output_format="jpeg",
        output_compression=60,
        extra_body={"steps": 4, "guidance_scale": 0, "scheduler": "unipc", "negative_prompt": "a house"},
    )
    assert answer.data is not None
    url = answer.data[0].url
    assert url is not None
    file = http.get(url)
    assert file.headers["content-type"] == "image/jpeg"
    assert opened(file.content).format == "JPEG"
    record = http.get(url.removesuffix("/file")).json()
    assert record["parameters"]["guidance_scale"] == 0
    assert record["parameters"]["scheduler"] == "unipc"
    assert record["prompt"] == "a green horse"


def test_an_edit_changes_what_the_mask_opens_and_little_else(client: OpenAI, red: bytes) -> None:
    mask = Image.new("RGBA", (64, 64), "black")
    ImageDraw.Draw(mask).rectangle((32, 0, 63, 63), fill=(0, 0, 0, 0))
    answer = client.images.edit(
        image=red, mask=png(mask), prompt="a blue cat", extra_body={"steps": 8, "seed": 1}
    )
    assert answer.data is not None
    image = decoded(answer.data[0].b64_json).convert("RGB").resize((64, 64))
    assert mean_distance_to_red(image.crop((0, 0, 24, 64))) < mean_distance_to_red(
        image.crop((40, 0, 64, 64))
    )


def mean_distance_to_red(image: Image.Image) -> float:
    pixels = [image.getpixel((x, y)) for x in range(image.width) for y in range(image.height)]
    return sum(abs(255 - r) + g + b for r, g, b in pixels) / len(pixels)  # type: ignore[misc]


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # OpenAI has closed its own route
def test_a_variation_needs_only_a_picture(client: OpenAI, red: bytes) -> None:
    answer = client.images.create_variation(
        image=red, n=2, response_format="b64_json", extra_body={"steps": 4}
    )
    assert answer.data is not None
    assert len(answer.data) == 2
    decoded(answer.data[0].b64_json)


def test_a_stream_shows_the_picture_while_it_is_drawn(client: OpenAI) -> None:
    stream = client.images.generate(
        model=MODEL, prompt="a yellow bird", stream=True, partial_images=2, extra_body={"steps": 12}
    )
    events = list(stream)
    assert [event.type for event in events] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    assert [event.partial_image_index for event in events[:2]] == [0, 1]  # type: ignore[union-attr]
    for event in events:
        decoded(event.b64_json)


def test_a_streamed_edit_has_the_names_of_an_edit(client: OpenAI, red: bytes) -> None:
    events = list(
        client.images.edit(image=red, prompt="a cat", stream=True, partial_images=1, extra_body={"steps": 8})
    )
    assert [event.type for event in events] == ["image_edit.partial_image", "image_edit.completed"]


def test_the_models_are_listed_and_each_is_found_by_its_id(client: OpenAI) -> None:
    models = list(client.models.list())
    assert models
    for model in models:
        assert client.models.retrieve(model.id).id == model.id


def test_an_unknown_model_is_a_not_found_error(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.images.generate(model="gpt-image-2", prompt="a fox")
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"
    assert caught.value.request_id is not None
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("family/with/slashes")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x" * 100_000}, "prompt"),
        ({"size": "0x0"}, "size"),
        ({"size": "63x63", "extra_body": {"steps": 0}}, "steps"),
        ({"size": "10000x10000"}, "size"),
        ({"extra_body": {"steps": 100_000}}, "steps"),
        ({"extra_body": {"seed": 2**64}}, "seed"),
        ({"extra_body": {"gidance_scale": 3}}, "gidance_scale"),
        ({"n": 0}, "n"),
    ],
)
def test_a_bad_value_is_a_bad_request_error_that_names_it(
    client: OpenAI, fields: dict[str, object], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(**{"prompt": "a fox", **fields})  # type: ignore[call-overload]
    assert caught.value.param == param


@pytest.mark.parametrize(
    "data", [b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\x89PNG\r\n\x1a\n cut off"]
)
def test_a_file_that_is_no_picture_is_a_bad_request_error(client: OpenAI, data: bytes) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.edit(image=("x.png", data), prompt="a fox")
    assert caught.value.param == "image"


def test_two_pictures_to_edit_are_refused(client: OpenAI, red: bytes) -> None:
    with pytest.raises(openai.BadRequestError, match="takes 1"):
        client.images.edit(image=[red, red], prompt="a fox")


def test_an_upload_over_the_limit_is_a_413(client: OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.images.edit(image=b"x" * (33 << 20), prompt="a fox")
    assert caught.value.status_code == 413


def long_drawing(**fields: object) -> dict[str, object]:
    """Far longer than any test waits, unless it is cancelled."""
    return {"prompt": "a long story", "n": 10, "steps": 100, **fields}


def states(http: httpx.Client, title: str) -> list[str]:
    return [job["state"] for job in http.get("/v1/jobs").json()["data"] if job["title"] == title]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_client_that_hangs_up_leaves_nothing_running(
    server: RunningServer, http: httpx.Client, streamed: bool
) -> None:
    title = f"hang up {streamed}"
    body = json.dumps(long_drawing(prompt=title, stream=streamed)).encode()
    address = urlsplit(server.base_url)
    with socket.create_connection((address.hostname, address.port), timeout=DEADLINE_S) as connection:
        connection.sendall(
            f"POST /v1/images/generations HTTP/1.1\r\nHost: {address.netloc}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        until(lambda: states(http, title) == ["running"], "it is drawn")
    until(lambda: states(http, title) == ["cancelled"], "it is cancelled")
    until(lambda: http.get("/v1/runtime").json()["leases"] == [], "the lease is given back")


def test_a_job_in_the_background_is_followed_and_cancelled(http: httpx.Client) -> None:
    answer = http.post("/v1/images/generations", json=long_drawing(), headers={"prefer": "respond-async"})
    assert answer.status_code == 202
    where = answer.headers["location"]
    with http.stream("GET", f"{where}/events") as events:
        for line in events.iter_lines():
            if line == "event: progress":
                break
    stopped = http.post(f"{where}/cancel").json()
    assert stopped["state"] == "cancelled"
    assert stopped["receipt"]["how"].startswith("stopped before step")
    assert http.get(where).json()["state"] == "cancelled"
    again = http.post(f"{where}/retry").json()
    assert again["state"] in {"queued", "waiting", "running"}
    http.post(f"/v1/jobs/{again['id']}/cancel")


def test_the_same_key_is_the_same_job(client: OpenAI) -> None:
    def once() -> str:
        answer = client.images.generate(
            prompt="a fox", extra_headers={"idempotency-key": "one"}, extra_body={"steps": 4}
        )
        return str(answer.job_id)  # type: ignore[attr-defined]

    assert once() == once()
    with pytest.raises(openai.ConflictError):
        client.images.generate(prompt="a cat", extra_headers={"idempotency-key": "one"})


def test_a_full_queue_is_a_rate_limit_error(tmp_path_factory: pytest.TempPathFactory) -> None:
    environ = {"INGLENOOK_JOBS__PERSON_LIMIT": "1", "INGLENOOK_RUNTIME__CPU_THREADS": "1"}
    with RunningServer.start(tmp_path_factory.mktemp("full"), environ=environ) as full:
        with httpx.Client(base_url=full.base_url, trust_env=False, timeout=DEADLINE_S) as http:
            headers = {"prefer": "respond-async"}
            assert (
                http.post("/v1/images/generations", json=long_drawing(), headers=headers).status_code == 202
            )
        with OpenAI(base_url=f"{full.base_url}/v1", api_key="none", max_retries=0) as client:
            with pytest.raises(openai.RateLimitError) as caught:
                client.images.generate(prompt="a fox")
        assert int(caught.value.response.headers["retry-after"]) >= 1
        assert caught.value.response.headers["x-should-retry"] == "true"
        assert caught.value.code == "rate_limit_exceeded"
