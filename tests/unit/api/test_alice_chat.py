# SPDX-License-Identifier: Apache-2.0
"""A message to a model that draws, as ALICE's clients send it."""

import asyncio
import base64
import json
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.unit.api.services import PNG, Workshop, model
from tests.unit.api.test_api_hang_up import Connection

from inglenook.base.cancel import StopReason
from inglenook.catalog.model import ModelKind
from inglenook.images.model import ImageRequest, LoraChoice, Mode
from inglenook.jobs.model import EventType, Job, JobState

B64 = base64.b64encode(b"a picture").decode()


def chat(client: TestClient, *, content: Any = "a red fox", model: str = "starter", **body: Any) -> Any:
    messages = body.pop("messages", [{"role": "user", "content": content}])
    return client.post("/v1/chat/completions", json={"model": model, "messages": messages, **body})


def asked(workshop: Workshop) -> ImageRequest:
    [request] = workshop.images.requests
    return request


def test_the_answer_has_both_spellings_and_addresses_that_need_no_header(
    client: TestClient, workshop: Workshop
) -> None:
    body = chat(client, model="sd/starter", sam_config={"num_images": 2, "steps": 4}).json()
    assert body["id"].startswith("chatcmpl-")
    assert len(body["id"]) == len("chatcmpl-") + 12
    assert body["object"] == "chat.completion"
    assert body["model"] == "sd/starter"
    [choice] = body["choices"]
    assert choice["finish_reason"] == choice["finishReason"] == "stop"
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"] == "2 image(s) generated successfully."
    assert {"prompt_tokens", "completion_tokens", "total_tokens"} <= set(body["usage"])
    assert {"promptTokens", "completionTokens", "totalTokens"} <= set(body["usage"])
    urls = choice["message"]["image_urls"]
    assert len(set(urls)) == 2
    assert urls[0].startswith("http://127.0.0.1:8190/images/pic_")
    answer = client.get(urls[0])
    assert answer.content == PNG + b"0"
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_metadata_tells_what_was_used(client: TestClient) -> None:
    config = {"negative_prompt": "blur", "steps": 7, "guidance_scale": 0, "scheduler": "euler_ancestral"}
    metadata = chat(client, sam_config=config).json()["choices"][0]["message"]["metadata"]
    assert metadata["prompt"] == "a red fox"
    assert metadata["negative_prompt"] == "blur"
    assert metadata["steps"] == 7
    assert metadata["guidance_scale"] == 0
    assert metadata["seed"] == 10
    assert metadata["model"] == "starter"
    assert (metadata["width"], metadata["height"]) == (64, 48)
    assert metadata["mode"] == "txt2img"
    assert metadata["input_image_count"] == 0


ALL_FIELDS = {
    "negative_prompt": "blur",
    "steps": 30,
    "guidance_scale": 8.0,
    "width": 768,
    "height": 512,
    "seed": 42,
    "scheduler": "euler_a",
    "num_images": 3,
    "lora_paths": ["a-lora"],
    "lora_scales": [0.8],
    "input_images": [B64],
    "strength": 0.75,
}


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


@pytest.mark.parametrize("place", ["sam_config", "samConfig", "metadata"])
@pytest.mark.parametrize("spelling", [str, camel])
def test_every_field_counts_under_every_name_and_spelling(
    client: TestClient, workshop: Workshop, place: str, spelling: Any
) -> None:
    assert chat(client, **{place: {spelling(name): v for name, v in ALL_FIELDS.items()}}).status_code == 200
    request = asked(workshop)
    assert request.negative_prompt == "blur"
    assert (request.steps, request.guidance_scale, request.seed, request.n) == (30, 8.0, 42, 3)
    assert (request.width, request.height) == (768, 512)
    assert (request.scheduler, request.strength, request.mode) == ("euler_a", 0.75, Mode.IMAGE)
    assert request.loras == (LoraChoice(workshop.catalog.records[3].id, 0.8),)
    assert workshop.images.inputs == [b"a picture"]


def test_sam_config_wins_over_its_other_names_field_by_field(client: TestClient, workshop: Workshop) -> None:
    chat(
        client,
        metadata={"steps": 1, "width": 100, "height": 100, "seed": 5},
        samConfig={"steps": 2, "width": 200},
        sam_config={"steps": 3, "seed": None},
    )
    request = asked(workshop)
    assert (request.steps, request.width, request.height, request.seed) == (3, 200, 100, 5)


def test_metadata_may_hold_a_clients_own_notes_and_numbers_as_texts(
    client: TestClient, workshop: Workshop
) -> None:
    answer = chat(client, metadata={"steps": "12", "guidanceScale": "2.5", "conversation": "x", "n": None})
    assert answer.status_code == 200
    assert (asked(workshop).steps, asked(workshop).guidance_scale) == (12, 2.5)


def test_what_the_sam_client_sends_is_honoured(client: TestClient, workshop: Workshop) -> None:
    settings = {"steps": 20, "guidance_scale": 6.5, "scheduler": "ddim", "width": 640, "height": 512}
    more = {"negative_prompt": "text", "seed": 99}
    assert chat(client, model="sd/starter", metadata=settings | more).status_code == 200
    assert (asked(workshop).steps, asked(workshop).seed, asked(workshop).scheduler) == (20, 99, "ddim")


def test_fields_of_language_models_and_of_alices_own_page_are_let_through(client: TestClient) -> None:
    answer = chat(
        client,
        temperature=0.7,
        top_p=1,
        max_tokens=10,
        tools=[],
        sam_config={"privacy": "public", "expirationHours": 24},
    )
    assert answer.status_code == 200


def test_the_number_of_choices_is_a_number_of_pictures(client: TestClient, workshop: Workshop) -> None:
    assert len(chat(client, n=2).json()["choices"][0]["message"]["image_urls"]) == 2


def test_the_last_message_of_the_user_is_the_prompt(client: TestClient, workshop: Workshop) -> None:
    messages = [
        {"role": "system", "content": "You draw."},
        {"role": "user", "content": "a cat"},
        {"role": "assistant", "content": "1 image(s) generated successfully."},
        {"role": "user", "content": "a dog"},
        {"role": "tool", "content": None},
    ]
    assert chat(client, messages=messages).status_code == 200
    assert asked(workshop).prompt == "a dog"


def test_a_message_may_be_parts_with_pictures(client: TestClient, workshop: Workshop) -> None:
    workshop.outgoing.pages["https://example.org/b.png"] = b"fetched"
    content = [
        {"type": "text", "text": "make it"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{B64}"}},
        {"type": "image_url", "image_url": "https://example.org/b.png"},
        {"type": "text", "text": "blue"},
    ]
    metadata = chat(client, content=content).json()["choices"][0]["message"]["metadata"]
    assert asked(workshop).prompt == "make it\nblue"
    assert workshop.images.inputs == [b"a picture", b"fetched"]
    assert len(asked(workshop).more_images) == 1
    assert (metadata["mode"], metadata["input_image_count"]) == ("img2img", 2)


def test_input_pictures_come_by_address_through_the_one_way_out(
    client: TestClient, workshop: Workshop
) -> None:
    workshop.outgoing.pages["https://example.org/a.png"] = b"fetched"
    config = {
        "input_images": [f"data:image/png;base64,{B64}"],
        "input_image_urls": ["https://example.org/a.png"],
    }
    assert chat(client, sam_config=config).status_code == 200
    assert workshop.images.inputs == [b"a picture", b"fetched"]
    assert [entry.purpose for entry in workshop.outgoing.entries] == ["an input picture"]


def test_an_address_that_gives_no_picture_is_named(client: TestClient) -> None:
    answer = chat(client, sam_config={"inputImageUrls": ["https://example.org/none.png"]})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "sam_config.input_image_urls.0"
    assert "404" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "value",
    ["not base64!", "data:image/png,raw", "data:image/svg+xml;utf8,<svg/>", "", "AAA", "data:;base64,"],
)
def test_what_is_no_base64_is_a_400_that_names_the_place(refusing: TestClient, value: str) -> None:
    answer = chat(refusing, sam_config={"input_images": [B64, value]})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "sam_config.input_images.1"


def test_loras_are_found_as_alice_finds_them(client: TestClient, workshop: Workshop) -> None:
    for name in ("lora/a-lora", "a-lora", "loras/Water_Colour v2", "WATER-COLOUR", "lora/water colour"):
        assert chat(client, sam_config={"lora_paths": [name]}).status_code == 200, name
    ids = [request.loras[0].model for request in workshop.images.requests]
    assert ids == ["a-lora", "a-lora", *["loras/Water_Colour v2"] * 3]
    assert {request.loras[0].weight for request in workshop.images.requests} == {1.0}


def test_a_lora_in_the_prompt_is_found_the_same_way(client: TestClient, workshop: Workshop) -> None:
    assert chat(client, content="a cat <lora:water-colour:0.8>, blue").status_code == 200
    assert asked(workshop).prompt == "a cat <lora:loras/Water_Colour v2:0.8>, blue"


def test_an_unknown_lora_is_never_skipped(client: TestClient, workshop: Workshop) -> None:
    answer = chat(client, sam_config={"lora_paths": ["a-lora", "sparkle"]})
    assert answer.status_code == 404
    assert "sparkle" in answer.json()["error"]["message"]
    assert chat(client, content="a cat <lora:sparkle>").status_code == 404
    assert workshop.images.requests == []


def test_a_piece_of_a_name_that_fits_several_loras_is_refused(client: TestClient, workshop: Workshop) -> None:
    workshop.catalog.records.append(model("water-2", kind=ModelKind.LORA))
    answer = chat(client, sam_config={"lora_paths": ["water"]})
    assert answer.status_code == 400
    assert "loras/Water_Colour v2, water-2" in answer.json()["error"]["message"]


def test_a_strength_without_a_picture_is_noted(client: TestClient, workshop: Workshop) -> None:
    metadata = chat(client, sam_config={"strength": 0.5}).json()["choices"][0]["message"]["metadata"]
    assert asked(workshop).strength is None
    assert metadata["notes"] == ["strength has no effect without an input picture."]


def test_one_side_alone_goes_with_the_models_other_side(client: TestClient, workshop: Workshop) -> None:
    chat(client, sam_config={"width": 640})
    assert (asked(workshop).width, asked(workshop).height) == (640, 48)


def test_a_seed_of_minus_one_is_any_seed(client: TestClient, workshop: Workshop) -> None:
    chat(client, sam_config={"seed": -1})
    assert asked(workshop).seed is None


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": 1000}, "steps"),
        ({"steps": "many"}, "steps"),
        ({"steps": 2.5}, "steps"),
        ({"steps": True}, "steps"),
        ({"guidance_scale": -1}, "guidance_scale"),
        ({"guidance_scale": "7"}, "guidance_scale"),
        ({"width": 10**9}, "width"),
        ({"seed": 2**63}, "seed"),
        ({"seed": -2}, "seed"),
        ({"num_images": 0}, "num_images"),
        ({"num_images": 101}, "num_images"),
        ({"lora_paths": "a-lora"}, "lora_paths"),
        ({"lora_paths": [1]}, "lora_paths.0"),
        ({"lora_paths": ["a-lora"] * 17}, "lora_paths"),
        ({"lora_scales": [1.0]}, "lora_scales"),
        ({"lora_paths": ["a-lora"], "lora_scales": [1e9]}, "lora_scales.0"),
        ({"strength": 2}, "strength"),
        ({"input_images": [B64] * 17}, "input_images"),
        ({"input_image_urls": ["file:///etc/passwd"]}, "input_image_urls.0"),
        ({"negative_prompt": "x" * 40_000}, "negative_prompt"),
        ({"negative_prompt": "\x00"}, "negative_prompt"),
        ({"step": 4}, "step"),
        ({"steps": 4, "Steps": 4}, "Steps"),
    ],
)
def test_a_value_that_cannot_be_is_a_422_that_names_the_field(
    refusing: TestClient, config: dict[str, Any], field: str
) -> None:
    answer = chat(refusing, sam_config=config)
    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == f"sam_config.{field}"
    [detail] = answer.json()["detail"]
    assert detail["loc"] == ["body", "sam_config", *field.split(".")]


def test_numbers_that_json_has_not_are_refused(client: TestClient) -> None:
    body = (
        '{"model":"starter","messages":[{"role":"user","content":"x"}],"sam_config":{"guidance_scale":NaN}}'
    )
    headers = {"content-type": "application/json"}
    assert client.post("/v1/chat/completions", content=body, headers=headers).status_code == 422


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "model"),
        ({"model": 3, "messages": []}, "model"),
        ({"model": "starter"}, "messages"),
        ({"model": "starter", "messages": {}}, "messages"),
        ({"model": "starter", "messages": ["x"]}, "messages.0"),
        ({"model": "starter", "messages": [{"content": "x"}]}, "messages.0.role"),
        ({"model": "starter", "messages": [{"role": "user", "content": 3}]}, "messages.0.content"),
        ({"model": "starter", "messages": [{"role": "user", "content": [3]}]}, "messages.0.content.0"),
        (
            {"model": "starter", "messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "messages.0.content.0",
        ),
        ({"model": "starter", "messages": [{"role": "user", "content": "x"}], "stream": "yes"}, "stream"),
        (
            {"model": "starter", "messages": [{"role": "user", "content": "x"}], "sam_config": []},
            "sam_config",
        ),
        ({"model": "starter", "messages": [{"role": "user", "content": "x"}], "n": "2"}, "n"),
    ],
)
def test_a_body_of_another_shape_is_a_422(refusing: TestClient, body: dict[str, Any], field: str) -> None:
    answer = refusing.post("/v1/chat/completions", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == field


@pytest.mark.parametrize("body", [b"not valid json", b"[]", b"", b"[" * 100_000])
def test_what_is_no_json_object_is_a_422(refusing: TestClient, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = refusing.post("/v1/chat/completions", content=body, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["msg"]


def test_a_body_that_is_mostly_structure_is_refused_unread(client: TestClient) -> None:
    headers = {"content-type": "application/json"}
    body = b'{"model": [' + b"[]," * 300_000 + b"[]]}"
    assert client.post("/v1/chat/completions", content=body, headers=headers).status_code == 413


def test_no_message_of_the_user_is_a_400_whatever_the_model(client: TestClient) -> None:
    for messages in ([], [{"role": "system", "content": "x"}]):
        answer = chat(client, model="sd/nonexistent-model", messages=messages)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "request.no_user_message"


def test_an_unknown_model_is_a_404(client: TestClient) -> None:
    error = chat(client, model="sd/nonexistent-model").json()["error"]
    assert error["code"] == "model_not_found"
    assert error["type"]
    assert "nonexistent-model" in error["message"]


def test_a_model_that_neither_chats_nor_draws_says_so(client: TestClient) -> None:
    answer = chat(client, model="a-lora")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "model.no_chat"
    assert "kind lora" in answer.json()["error"]["message"]


def test_a_failed_drawing_tells_why(client: TestClient, workshop: Workshop) -> None:
    workshop.images.plan = workshop.images.fail
    answer = chat(client, sam_config={"num_images": 2})
    assert answer.status_code == 500
    assert "6 GiB" in answer.json()["error"]["message"]
    assert "1 of its pictures" in answer.json()["error"]["hint"]


# ── in pieces ───────────────────────────────────────────────────────────────────────────────────────────


def chunks(answer: Any) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def draw_slowly(workshop: Workshop) -> Any:
    def plan(job: Job, request: ImageRequest) -> None:
        workshop.jobs.tell(
            job.id,
            EventType.WAIT,
            {"position": 2, "waiting": 3, "reason": {"kind": "memory", "text": "no room"}, "estimate_s": 9.0},
        )
        step = {"picture": 0, "pictures": 1, "step": 2, "steps": 4}
        workshop.jobs.tell(
            job.id, EventType.PROGRESS, {**step, "progress": 0.5, "stage": "denoise", "estimate_s": 1.5}
        )
        workshop.images.succeed(job, request)

    return plan


def test_a_stream_tells_the_progress_and_ends_with_the_pictures(
    client: TestClient, workshop: Workshop
) -> None:
    workshop.images.plan = draw_slowly(workshop)
    answer = chat(client, stream=True, stream_options={"include_usage": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    first, waiting, drawing, last, end, usage, done = chunks(answer)
    assert first["object"] == "chat.completion.chunk"
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert waiting["choices"][0]["delta"] == {}
    assert (waiting["progress"]["stage"], waiting["progress"]["position"]) == ("waiting", 2)
    assert waiting["progress"]["reason"] == "no room"
    assert (drawing["progress"]["step"], drawing["progress"]["steps"]) == (2, 4)
    assert drawing["progress"]["progress"] == 0.5
    delta = last["choices"][0]["delta"]
    [url] = delta["image_urls"]
    assert delta["content"] == f"1 image(s) generated successfully.\n\n![picture 1]({url})"
    assert delta["metadata"]["seed"] == 10
    assert end["choices"][0]["finish_reason"] == "stop"
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] == 0
    assert done == "[DONE]"
    assert len({chunk["id"] for chunk in (first, waiting, drawing, last, end, usage)}) == 1
    assert client.get(url).status_code == 200


def test_a_stream_that_fails_ends_with_the_error(client: TestClient, workshop: Workshop) -> None:
    workshop.images.plan = workshop.images.fail
    said = chunks(chat(client, stream=True))
    assert "6 GiB" in said[-1]["error"]["message"]


def test_a_refusal_before_the_stream_is_a_plain_error(client: TestClient) -> None:
    assert chat(client, stream=True, model="none").status_code == 404


def test_the_job_itself_can_be_asked_for(client: TestClient, workshop: Workshop) -> None:
    body = {"model": "starter", "messages": [{"role": "user", "content": "a fox"}]}
    later = {"prefer": "respond-async"}
    answer = client.post("/v1/chat/completions", json=body, headers=later)
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    refused = client.post("/v1/chat/completions", json=body | {"stream": True}, headers=later)
    assert refused.status_code == 422


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("key", [None, "k-1"])
def test_a_hang_up_cancels_the_drawing_unless_the_client_means_to_come_back(
    streamed: bool, key: str | None
) -> None:
    async def main() -> None:
        workshop = Workshop()
        submitted = asyncio.Event()
        workshop.images.plan = lambda job, request: submitted.set()
        body = {"model": "starter", "messages": [{"role": "user", "content": "x"}], "stream": streamed}
        connection = Connection(body, {} if key is None else {"idempotency-key": key})
        connection.scope |= {"path": "/v1/chat/completions", "raw_path": b"/v1/chat/completions"}
        serving = asyncio.create_task(workshop.app(connection.scope, connection.receive, connection.send))
        await submitted.wait()
        connection.gone.set()
        await serving
        [job] = workshop.jobs.jobs.values()
        if key is None:
            assert workshop.jobs.cancelled == [(job.id, StopReason.CLIENT_GONE)]
        else:
            assert job.state is JobState.QUEUED

    asyncio.run(asyncio.wait_for(main(), 30))


# ── addresses of pictures ───────────────────────────────────────────────────────────────────────────────


def test_the_address_has_the_clients_host_and_the_proxys_scheme(client: TestClient) -> None:
    headers = {"host": "inglenook.example", "x-forwarded-proto": "https"}
    body = {"model": "starter", "messages": [{"role": "user", "content": "x"}]}
    answer = client.post("/v1/chat/completions", json=body, headers=headers)
    [url] = answer.json()["choices"][0]["message"]["image_urls"]
    assert url.startswith("https://inglenook.example/images/")
    headers["x-forwarded-proto"] = "javascript"
    answer = client.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.json()["choices"][0]["message"]["image_urls"][0].startswith("http://inglenook.example/")


def test_a_wrong_signature_is_a_404(client: TestClient) -> None:
    [url] = chat(client).json()["choices"][0]["message"]["image_urls"]
    picture, signature, ending = url.rpartition("/")[2].split(".")
    other = "A" if signature[0] != "A" else "B"
    for name in (
        f"{picture}.{other}{signature[1:]}.{ending}",
        f"{picture}.{ending}",
        picture,
        f"{picture}.9999999999.{signature}.{ending}",
        f"{picture}..{ending}",
        "x" * 500,
        f"{picture}.{signature}é.{ending}",
    ):
        assert client.get(f"/images/{name}").status_code == 404, name


def test_a_picture_that_was_deleted_is_a_404(client: TestClient, workshop: Workshop) -> None:
    [url] = chat(client).json()["choices"][0]["message"]["image_urls"]
    workshop.gallery.pictures.clear()
    assert client.get(url).status_code == 404


def test_a_picture_by_address_is_asked_for_again_only_when_it_changed(client: TestClient) -> None:
    [url] = chat(client).json()["choices"][0]["message"]["image_urls"]
    first = client.get(url)
    assert first.headers["cross-origin-resource-policy"] == "cross-origin"
    assert client.get(url, headers={"if-none-match": first.headers["etag"]}).status_code == 304
    assert client.head(url).status_code == 200
