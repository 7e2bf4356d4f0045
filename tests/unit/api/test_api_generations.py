# SPDX-License-Identifier: Apache-2.0
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.unit.api.services import PNG, Workshop

from inglenook.base.errors import Busy
from inglenook.base.ids import JobId, ModelId
from inglenook.base.work import WorkClass
from inglenook.images.model import (
    MAX_PROMPT_CHARS,
    MAX_SEED,
    Engine,
    HiresFix,
    LoraChoice,
    Mode,
    OutputFormat,
)
from inglenook.jobs.model import EventType, JobState

URL = "/v1/images/generations"


def refused(client: TestClient, **fields: Any) -> dict[str, Any]:
    """The error of a request with `fields`; the answer must be a 400 in OpenAI's shape."""
    answer = client.post(URL, json={"prompt": "a fox", **fields})
    assert answer.status_code == 400, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code", "hint"}
    assert error["type"] == "invalid_request_error"
    return error


def test_a_prompt_alone_gives_one_picture_as_base64(client: TestClient, workshop: Workshop) -> None:
    answer = client.post(URL, json={"prompt": "a red fox"})

    assert answer.status_code == 200
    body = answer.json()
    [picture] = body["data"]
    assert base64.b64decode(picture["b64_json"]) == PNG + b"0"
    assert picture["url"] is None
    assert picture["seed"] == 10
    assert picture["picture_id"] in workshop.gallery.pictures
    assert (body["size"], body["output_format"], body["quality"]) == ("64x48", "png", "medium")
    assert body["created"] == 1795262400
    assert body["job_id"] in workshop.jobs.jobs
    [request] = workshop.images.requests
    assert (request.model, request.mode, request.n, request.width) == ("starter", Mode.TEXT, 1, None)
    assert workshop.images.classes == [WorkClass.INTERACTIVE]


def test_every_field_reaches_the_request(client: TestClient, workshop: Workshop) -> None:
    client.post(
        URL,
        json={
            "prompt": "a fox",
            "model": "family/with/slashes",
            "n": 3,
            "size": "128x96",
            "output_format": "webp",
            "output_compression": 40,
            "negative_prompt": "dogs",
            "steps": 7,
            "guidance_scale": 0,
            "seed": MAX_SEED,
            "scheduler": "euler_a",
            "engine": "sdcpp",
            "work_class": "batch",
        },
    )
    [request] = workshop.images.requests
    assert request.model == "family/with/slashes"
    assert (request.n, request.width, request.height, request.steps) == (3, 128, 96, 7)
    assert (request.output_format, request.output_compression) == (OutputFormat.WEBP, 40)
    assert (request.negative_prompt, request.guidance_scale, request.seed) == ("dogs", 0.0, MAX_SEED)
    assert request.scheduler == "euler_a"
    assert request.engine is Engine.SDCPP
    assert workshop.images.classes == [WorkClass.BATCH]


def test_the_answer_says_which_engine_drew_with_which_model(client: TestClient) -> None:
    answer = client.post(URL, json={"prompt": "a fox", "engine": "torch"}).json()
    assert (answer["engine"], answer["model"]) == ("torch", "starter")
    events = events_of(client.post(URL, json={"prompt": "a fox", "stream": True}).text)
    assert [(told["engine"], told["model"]) for _, told in events] == [("torch", "starter")]


def test_an_engine_that_nobody_knows_is_refused_by_its_name(client: TestClient) -> None:
    error = refused(client, engine="cuda")
    assert error["param"] == "engine"
    assert "'auto', 'torch', 'mlx' or 'sdcpp'" in error["message"]


def test_n_pictures_come_in_their_order_with_their_seeds(client: TestClient) -> None:
    data = client.post(URL, json={"prompt": "a fox", "n": 3}).json()["data"]
    assert [picture["index"] for picture in data] == [0, 1, 2]
    assert [picture["seed"] for picture in data] == [10, 11, 12]


def test_an_address_is_whole_and_leads_to_the_file(client: TestClient) -> None:
    [picture] = client.post(URL, json={"prompt": "a fox", "response_format": "url"}).json()["data"]
    assert picture["b64_json"] is None
    assert picture["url"].startswith("http://127.0.0.1:8190/v1/pictures/pic_")
    assert client.get(picture["url"]).content == PNG + b"0"


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("prompt", "", "empty"),
        ("prompt", "x" * 100_000, f"{MAX_PROMPT_CHARS} characters"),
        ("prompt", 7, "must be a text"),
        ("prompt", "a\0b", "NUL"),
        ("steps", 0, "at least 1; got 0"),
        ("steps", 100_000, "at most 500; got 100000"),
        ("steps", 2.5, "whole number"),
        ("n", True, "whole number"),
        ("n", 0, "at least 1"),
        ("n", 1000, "at most"),
        ("guidance_scale", -1, "at least 0"),
        ("guidance_scale", "7", "must be a number"),
        ("seed", 2**64, str(MAX_SEED)),
        ("seed", 10**80, str(MAX_SEED)),
        ("seed", -1, "at least 0"),
        ("size", "big", "WIDTHxHEIGHT"),
        ("size", "64x", "WIDTHxHEIGHT"),
        ("size", "-64x64", "WIDTHxHEIGHT"),
        ("size", "1e3x64", "WIDTHxHEIGHT"),
        ("response_format", "file", "'b64_json' or 'url'"),
        ("output_format", "tiff", "'png', 'jpeg', 'webp' or 'gif'"),
        ("output_compression", 101, "at most 100"),
        ("output_compression", 50, "never compressed with loss"),
        ("complexity", "high", "cannot be honoured"),
        ("frame_count", 9, "output_format is png"),
        ("frame_count", 17, "at most 16"),
        ("frame_duration_ms", 100, "output_format is png"),
        ("quality", "best", "must be one of"),
        ("style", "cubist", "There is no style 'cubist'"),
        ("moderation", "high", "'auto' or 'low'"),
        ("stream", "yes", "true or false"),
        ("partial_images", 2, "not streamed"),
        ("scheduler", "euler-b", "There is no scheduler"),
        ("work_class", "training", "'interactive' or 'batch'"),
        ("strength", 0.5, "cannot be honoured"),
        ("svg", {"model": "x"}, "cannot be honoured"),
    ],
)
def test_a_bad_value_is_refused_by_name(refusing: TestClient, field: str, value: object, says: str) -> None:
    error = refused(refusing, **{field: value})
    assert error["param"] == field
    assert says in error["message"]
    assert len(error["message"]) < 400


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_guidance_that_is_no_finite_number_is_refused(refusing: TestClient, word: str) -> None:
    body = f'{{"prompt": "a fox", "guidance_scale": {word}}}'
    answer = refusing.post(URL, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "guidance_scale"


def test_a_lone_surrogate_is_refused(client: TestClient) -> None:
    body = '{"prompt": "a \\ud800 fox"}'
    answer = client.post(URL, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "prompt"


@pytest.mark.parametrize(
    "body", ["", "{", "[1]", '"text"', "[" * 100_000, b"\xff\xfe", '{"seed": ' + "9" * 5000 + "}"]
)
def test_a_body_that_is_no_json_object_is_refused(client: TestClient, body: str | bytes) -> None:
    answer = client.post(URL, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "request.not_json"


def test_another_media_type_is_refused_with_what_to_send(client: TestClient) -> None:
    answer = client.post(
        URL, content="prompt=x", headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert answer.status_code == 400
    assert "Content-Type: application/json" in answer.json()["error"]["hint"]


def test_an_unknown_field_is_refused_with_the_nearest_name(client: TestClient) -> None:
    error = refused(client, guidence_scale=3)
    assert error["param"] == "guidence_scale"
    assert "guidance_scale" in error["hint"]


def test_other_programs_names_are_understood(client: TestClient, workshop: Workshop) -> None:
    client.post(
        URL, json={"prompt": "a fox", "cfg_scale": 5, "num_inference_steps": 9, "sampler_name": "ddim"}
    )
    [request] = workshop.images.requests
    assert (request.guidance_scale, request.steps, request.scheduler) == (5.0, 9, "ddim")


def test_one_thing_under_two_names_is_refused(client: TestClient) -> None:
    assert "cfg_scale and guidance_scale" in refused(client, cfg_scale=5, guidance_scale=5)["message"]


def test_null_means_not_given(client: TestClient, workshop: Workshop) -> None:
    answer = client.post(
        URL, json={"prompt": "a fox", "size": None, "n": None, "quality": None, "user": None}
    )
    assert answer.status_code == 200
    assert workshop.images.requests[0].n == 1


@pytest.mark.parametrize(
    ("quality", "steps", "answered"),
    [
        ("auto", None, "medium"),
        ("low", 10, "low"),
        ("standard", 20, "medium"),
        ("hd", 30, "high"),
        ("xhigh", 40, "xhigh"),
        ("max", 60, "max"),
    ],
)
def test_quality_is_a_share_of_the_models_steps(
    client: TestClient, workshop: Workshop, quality: str, steps: int | None, answered: str
) -> None:
    body = client.post(URL, json={"prompt": "a fox", "quality": quality}).json()
    assert workshop.images.requests[0].steps == steps
    assert body["quality"] == answered


def test_quality_and_steps_together_are_refused(client: TestClient) -> None:
    assert refused(client, quality="high", steps=3)["param"] == "quality"


def test_a_style_of_ours_is_asked_for_by_its_name_and_its_words_are_told(
    client: TestClient, workshop: Workshop
) -> None:
    body = client.post(URL, json={"prompt": "a fox", "style": "oil"}).json()
    request = workshop.images.requests[0]
    assert (request.prompt, request.style) == ("a fox", "oil")
    assert body["data"][0]["revised_prompt"].startswith("oil painting of a fox, ")


def test_style_is_added_to_the_prompt_and_told(client: TestClient, workshop: Workshop) -> None:
    body = client.post(URL, json={"prompt": "a fox", "style": "vivid"}).json()
    assert workshop.images.requests[0].prompt == "a fox, vivid style"
    assert body["data"][0]["revised_prompt"] == "a fox, vivid style"


def test_an_end_users_label_comes_back_as_the_sdk_says(client: TestClient) -> None:
    assert client.post(URL, json={"prompt": "a fox", "user": "u1"}).json()["safety_identifier"] == "u1"
    both = {"prompt": "a fox", "user": "u1", "safety_identifier": "s1"}
    assert client.post(URL, json=both).json()["safety_identifier"] == "s1"


def test_a_lossless_png_accepts_the_sdks_default_compression(client: TestClient, workshop: Workshop) -> None:
    assert client.post(URL, json={"prompt": "a fox", "output_compression": 100}).status_code == 200
    assert workshop.images.requests[0].output_compression is None


def test_an_unknown_model_is_a_404_with_openais_code(client: TestClient) -> None:
    answer = client.post(URL, json={"prompt": "a fox", "model": "dall-e-3"})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"
    assert answer.json()["error"]["param"] == "model"


def test_a_full_queue_is_a_429_that_says_when_to_come_back(
    client: TestClient, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*args: object, **kwargs: object) -> None:
        raise Busy("There are 1000 unfinished jobs.", code="job.queue_full", retry_after_s=2.2)

    monkeypatch.setattr(workshop.images, "submit", full)
    answer = client.post(URL, json={"prompt": "a fox"})
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "3"
    assert answer.headers["x-should-retry"] == "true"
    assert answer.json()["error"]["code"] == "rate_limit_exceeded"


def test_a_picture_that_failed_is_a_500_that_no_client_repeats(
    client: TestClient, workshop: Workshop
) -> None:
    workshop.images.plan = workshop.images.fail
    answer = client.post(URL, json={"prompt": "a fox", "n": 2})
    assert answer.status_code == 500
    assert answer.headers["x-should-retry"] == "false"
    error = answer.json()["error"]
    assert error["code"] == "draw.out_of_memory"
    assert "6 GiB" in error["message"]
    assert "draw smaller; 1 of its pictures were finished" in error["hint"]


def test_a_job_that_somebody_cancelled_is_no_success(client: TestClient, workshop: Workshop) -> None:
    workshop.images.plan = lambda job, request: workshop.jobs.end(job.id, JobState.CANCELLED)
    answer = client.post(URL, json={"prompt": "a fox"})
    assert answer.status_code == 499
    assert answer.json()["error"]["type"] == "cancelled_error"


def test_respond_async_gives_the_job_at_once(client: TestClient, workshop: Workshop) -> None:
    workshop.images.plan = workshop.images.hang
    answer = client.post(URL, json={"prompt": "a fox"}, headers={"prefer": "wait=5, respond-async"})
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert answer.headers["preference-applied"] == "respond-async"
    assert client.get(answer.headers["location"]).json()["state"] == "queued"


def test_a_stream_and_respond_async_exclude_each_other(client: TestClient) -> None:
    answer = client.post(URL, json={"prompt": "a fox", "stream": True}, headers={"prefer": "respond-async"})
    assert answer.status_code == 400


def test_the_idempotency_key_reaches_the_job(client: TestClient, workshop: Workshop) -> None:
    client.post(URL, json={"prompt": "a fox"}, headers={"idempotency-key": "abc-1"})
    [job] = workshop.jobs.jobs.values()
    assert job.idempotency_key == "abc-1"


@pytest.mark.parametrize("key", ["x" * 256, "two words", "\u00e9".encode("latin-1")])
def test_a_bad_idempotency_key_is_refused(client: TestClient, key: str | bytes) -> None:
    answer = client.post(URL, json={"prompt": "a fox"}, headers={"idempotency-key": key})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "Idempotency-Key"


def events_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def test_a_stream_sends_views_then_each_picture(client: TestClient) -> None:
    answer = client.post(URL, json={"prompt": "a fox", "n": 2, "stream": True, "partial_images": 2})

    assert answer.headers["content-type"].startswith("text/event-stream")
    events = events_of(answer.text)
    partial, completed = "image_generation.partial_image", "image_generation.completed"
    assert [name for name, _ in events] == [partial, partial, completed] * 2
    assert all(name == data["type"] for name, data in events)
    assert [data["partial_image_index"] for name, data in events if name == partial] == [0, 1, 0, 1]
    made = [data for name, data in events if name == completed]
    assert [base64.b64decode(data["b64_json"]) for data in made] == [PNG + b"0", PNG + b"1"]
    assert made[0]["size"] == "64x48"
    assert made[0]["usage"]["total_tokens"] == 0


def test_a_stream_of_a_failure_ends_in_one_error(client: TestClient, workshop: Workshop) -> None:
    workshop.images.plan = workshop.images.fail
    events = events_of(client.post(URL, json={"prompt": "a fox", "stream": True}).text)
    [(name, data)] = events
    assert name == "error"
    assert data["error"]["code"] == "draw.out_of_memory"


def test_a_stream_that_a_stopping_server_ends_says_so(
    client: TestClient, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cut_off(job: str, last_event_id: int | None = None) -> AsyncIterator[Any]:
        for event in workshop.jobs.events[JobId(job)]:
            if event.type is not EventType.STATE:
                yield event

    monkeypatch.setattr(workshop.jobs, "subscribe", cut_off)
    events = events_of(client.post(URL, json={"prompt": "a fox", "stream": True}).text)
    assert [name for name, _ in events] == ["image_generation.completed", "error"]
    assert events[1][1]["error"]["code"] == "job.stopping"


def test_a_streamed_picture_is_never_an_address(client: TestClient) -> None:
    assert refused(client, stream=True, response_format="url")["param"] == "response_format"


def test_more_views_than_asked_for_are_not_sent(client: TestClient, workshop: Workshop) -> None:
    def generous(job: Any, request: Any) -> None:
        workshop.images.succeed(job, replace(request, previews=5))

    workshop.images.plan = generous
    text = client.post(URL, json={"prompt": "a fox", "stream": True, "partial_images": 1}).text
    assert [name for name, _ in events_of(text)] == [
        "image_generation.partial_image",
        "image_generation.completed",
    ]


def test_a_transparent_background_is_asked_for_and_told(client: TestClient, workshop: Workshop) -> None:
    body = {"prompt": "a fox", "background": "transparent", "output_format": "webp"}
    answer = client.post(URL, json=body).json()
    assert workshop.images.requests[0].transparent
    assert answer["background"] == "transparent"
    assert answer["data"][0]["matted_by"] == "u2netp"


def test_a_background_that_could_not_be_cut_away_is_not_called_transparent(
    client: TestClient, workshop: Workshop
) -> None:
    workshop.images.matted_by = None
    body = {"prompt": "a fox", "background": "transparent"}
    answer = client.post(URL, json=body).json()
    assert (answer["background"], answer["data"][0]["matted_by"]) == ("opaque", None)
    events = events_of(client.post(URL, json=body | {"stream": True}).text)
    assert [told["background"] for _, told in events] == ["opaque"]


def test_a_jpeg_cannot_be_transparent(client: TestClient) -> None:
    assert refused(client, background="transparent", output_format="jpeg")["param"] == "background"


def test_our_own_fields_reach_the_request(client: TestClient, workshop: Workshop) -> None:
    body = {
        "prompt": "a fox",
        "sigmas": "karras",
        "scheduler": "euler",
        "loras": [{"model": "watercolour", "weight": -0.5}],
        "vae": "soft",
        "clip_skip": 2,
        "hires": {"scale": 1.5, "strength": 0.4, "steps": 9, "upscaler": "latent"},
    }
    assert client.post(URL, json=body).status_code == 200
    [request] = workshop.images.requests
    assert (request.scheduler, request.sigmas, request.vae, request.clip_skip) == (
        "euler",
        "karras",
        "soft",
        2,
    )
    assert request.loras == (LoraChoice(ModelId("watercolour"), -0.5),)
    assert request.hires == HiresFix(scale=1.5, strength=0.4, steps=9, upscaler="latent")


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("loras", "watercolour", "loras"),
        ("loras", [{"weight": 1}], "loras.0.model"),
        ("loras", [{"model": "a", "strength": 1}], "loras.0.strength"),
        ("loras", [{"model": "a"}] * 17, "loras"),
        ("hires", {"scale": 1}, "hires.scale"),
        ("hires", 2, "hires"),
        ("clip_skip", 13, "clip_skip"),
    ],
)
def test_a_bad_value_inside_a_field_is_named(
    client: TestClient, field: str, value: object, param: str
) -> None:
    assert refused(client, **{field: value})["param"] == param
