# SPDX-License-Identifier: Apache-2.0
import asyncio
import base64
import io
import json
import math
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient
from tests.unit.api.dialects import House, ended, events, fresh_database, language_model, said

from inglenook.api.ollama.messages import messages_of
from inglenook.api.ollama.models import human
from inglenook.api.ollama.names import spellings
from inglenook.api.ollama.options import options_of
from inglenook.base.errors import InglenookError
from inglenook.chat.model import ModelOptions
from inglenook.runtime.contracts import ChildFailed, Failure
from inglenook.store.database import Database

MODEL = "smollm2-135m-instruct"
TALK = [{"role": "user", "content": "Say hi"}]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    database = fresh_database(tmp_path_factory.mktemp("shared"))
    yield database
    database.close()


@pytest.fixture
def house(shared: Database) -> House:
    return House(shared)


@pytest.fixture
def client(house: House) -> Iterator[TestClient]:
    with TestClient(house.app, base_url="http://127.0.0.1:8190", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def refusing(shared: Database) -> Iterator[TestClient]:
    """One application for all requests that are refused; at the end none has reached a model."""
    house = House(shared)
    with TestClient(house.app, base_url="http://127.0.0.1:8190", raise_server_exceptions=False) as client:
        yield client
    assert house.child.asked == []


def lines(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def chat(client: TestClient, **body: Any) -> httpx.Response:
    return client.post("/api/chat", json={"model": MODEL, "messages": TALK, **body})


# -- names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        MODEL,
        f"{MODEL}:latest",
        f"library/{MODEL}:latest",
        f"registry.ollama.ai/library/{MODEL}",
        "smollm2-135m:instruct",
        "smollm2-135m:q4_1",
        "another-name",
        "another-name:latest",
    ],
)
def test_a_model_is_known_by_our_name_by_a_tag_and_by_an_alias(
    client: TestClient, house: House, name: str
) -> None:
    house.language.aliased["another-name"] = MODEL
    house.child.chats(said("hi"), *ended())
    answer = chat(client, model=name, stream=False)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == name
    assert house.language.held[0]["model"] == MODEL


@pytest.mark.parametrize("name", ["nope", f"{MODEL}:q8_0", "a:b:c", ":latest", "x/" * 200, "\x00"])
def test_an_unknown_model_is_a_404_in_ollamas_shape(client: TestClient, name: str) -> None:
    answer = chat(client, model=name)
    assert answer.status_code == 404
    assert set(answer.json()) == {"error"}
    assert "not found" in answer.json()["error"]


def test_a_model_that_cannot_be_used_says_why(client: TestClient) -> None:
    answer = chat(client, model="broken")
    assert answer.status_code == 400
    assert (
        answer.json()["error"] == "Model broken cannot be used: its header is cut off. Hint: fetch it again."
    )


@given(st.text(max_size=60))
def test_spellings_of_any_name_begin_with_the_name_itself(name: str) -> None:
    assert next(spellings(name)) == name


# -- chat ------------------------------------------------------------------------------------------------


def test_a_chat_streams_objects_line_by_line_and_ends_with_figures(client: TestClient, house: House) -> None:
    house.child.chats(said("Hel"), said("lo"), *ended("length", prompt=32, answer=8))
    answer = chat(client)
    first, second, last = lines(answer)
    assert first["message"] == {"role": "assistant", "content": "Hel"}
    assert (second["message"]["content"], second["done"]) == ("lo", False)
    assert last["message"] == {"role": "assistant", "content": ""}
    assert last["created_at"] == "2026-11-26T12:00:02.000000Z"
    figures = {name: value for name, value in last.items() if name not in ("message", "created_at", "model")}
    assert figures == {
        "done": True,
        "done_reason": "length",
        "total_duration": 2_000_000_000,
        "load_duration": 2_000_000_000,
        "prompt_eval_count": 32,
        "prompt_eval_duration": 20_500_000,
        "eval_count": 8,
        "eval_duration": 40_250_000,
    }
    [usage] = house.language.usages
    assert (usage.prompt_tokens, usage.completion_tokens, usage.seconds) == (32, 8, 0.04025)


def test_without_streaming_the_pieces_are_one_object(client: TestClient, house: House) -> None:
    house.child.chats(said("", reasoning_content="hm"), said("Hel"), said("lo"), *ended())
    answer = chat(client, stream=False)
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body["message"] == {"role": "assistant", "content": "Hello", "thinking": "hm"}
    assert (body["done"], body["done_reason"], body["eval_count"]) == (True, "stop", 3)


def test_options_reach_the_child_in_its_words_over_those_of_the_models_owner(
    client: TestClient, house: House
) -> None:
    house.language.kept[MODEL] = ModelOptions(temperature=0.1, top_k=5, max_tokens=9, system="Be brief.")
    house.child.chats(said("x"), *ended())
    options = {
        "num_predict": -2,
        "temperature": 0,
        "top_p": 0.5,
        "min_p": 0.1,
        "seed": 7,
        "stop": ["a", "b"],
        "repeat_penalty": 1.1,
        "presence_penalty": 0.2,
        "frequency_penalty": 0.3,
        "num_keep": 4,
        "num_ctx": 512,
        "num_gpu": 99,
        "mystery": True,
        "top_k": None,
    }
    answer = chat(client, options=options, keep_alive="5m")
    assert answer.headers["x-inglenook-ignored"] == "num_gpu, mystery"
    body = house.child.body_of("/v1/chat/completions")
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert body["messages"][1:] == TALK
    wanted = {
        "n_predict": -1,
        "temperature": 0.0,
        "top_p": 0.5,
        "min_p": 0.1,
        "seed": 7,
        "stop": ["a", "b"],
        "repeat_penalty": 1.1,
        "presence_penalty": 0.2,
        "frequency_penalty": 0.3,
        "n_keep": 4,
        "top_k": 5,
    }
    assert {name: body[name] for name in wanted} == wanted
    [held] = house.language.held
    assert (held["keep_s"], held["context"]) == (300.0, 512)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"top_k": "x"}, 'option "top_k" must be of type integer'),
        ({"temperature": True}, 'option "temperature" must be of type float'),
        ({"temperature": float("nan")}, 'option "temperature" must be of type float'),
        ({"seed": 1e300}, 'option "seed" must be of type integer'),
        ({"stop": [1]}, 'option "stop" must be of type array of strings'),
        ({"num_ctx": 0}, 'option "num_ctx" must be at least 1'),
        ([], "options must be an object"),
    ],
)
def test_an_option_of_the_wrong_type_is_refused_by_name(client: TestClient, options: Any, words: str) -> None:
    answer = client.post(
        "/api/chat", content=json.dumps({"model": MODEL, "messages": TALK, "options": options})
    )
    assert answer.status_code == 400
    assert words in answer.json()["error"]


@given(
    st.dictionaries(st.text(max_size=20), st.none() | st.booleans() | st.integers() | st.floats() | st.text())
)
def test_no_options_break_the_reader(options: dict[str, Any]) -> None:
    try:
        read = options_of(options)
    except InglenookError:
        return
    assert all(name.isascii() for name in read.headers.get("x-inglenook-ignored", ""))
    assert all(value == value for value in read.parameters.values())


def test_a_schema_and_json_are_asked_for(client: TestClient, house: House) -> None:
    house.child.chats(said("{}"), *ended())
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}}
    for form in (schema, json.dumps(schema)):
        assert chat(client, format=form).status_code == 200
        wanted = {"type": "json_schema", "json_schema": {"schema": schema}}
        assert house.child.body_of("/v1/chat/completions")["response_format"] == wanted
    chat(client, format="json")
    assert house.child.body_of("/v1/chat/completions")["response_format"] == {"type": "json_object"}
    refused = chat(client, format="xml")
    assert (refused.status_code, "invalid format" in refused.json()["error"]) == (400, True)


def test_thinking_is_asked_of_models_that_can(client: TestClient, house: House) -> None:
    house.child.chats(said("", reasoning_content="so"), said("4"), *ended())
    first = lines(chat(client, model="family/thinker", think="high"))[0]
    assert first["message"] == {"role": "assistant", "content": "", "thinking": "so"}
    body = house.child.body_of("/v1/chat/completions")
    assert body["chat_template_kwargs"] == {"enable_thinking": True, "reasoning_effort": "high"}
    refused = chat(client, think=True)
    assert (refused.status_code, refused.json()["error"]) == (400, f"'{MODEL}' does not support thinking")
    assert chat(client, think=False).status_code == 200


CALL = {"index": 0, "id": "c1", "function": {"name": "weather", "arguments": '{"city": '}}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]


def test_a_tool_call_comes_whole_with_its_arguments_as_an_object(client: TestClient, house: House) -> None:
    rest = {"index": 0, "function": {"arguments": '"Paris"}'}}
    house.child.chats(said("", tool_calls=[CALL]), said("", tool_calls=[rest]), *ended("tool_calls"))
    call, last = lines(chat(client, tools=TOOLS))
    assert call["message"]["tool_calls"] == [
        {"id": "c1", "function": {"index": 0, "name": "weather", "arguments": {"city": "Paris"}}}
    ]
    assert last["done_reason"] == "stop"
    assert house.child.body_of("/v1/chat/completions")["tools"] == TOOLS
    body = chat(client, tools=TOOLS, stream=False).json()
    assert body["message"]["tool_calls"][0]["function"]["arguments"] == {"city": "Paris"}


def test_a_model_without_tools_in_its_template_is_asked_through_a_schema(
    client: TestClient, house: House
) -> None:
    house.child.props["chat_template_caps"] = {"supports_tools": False}
    text = json.dumps({"tool": "weather", "arguments": {"city": "Paris"}})
    house.child.answers["/v1/chat/completions"] = lambda body: (
        events(said(text), *ended()) + b"data: [DONE]\n\n" if "json_schema" in body else b""
    )
    body = chat(client, tools=TOOLS, stream=False).json()
    [call] = body["message"]["tool_calls"]
    assert (call["function"]["name"], call["function"]["arguments"]) == ("weather", {"city": "Paris"})


def test_arguments_that_are_no_json_are_an_error_and_not_half_a_call(
    client: TestClient, house: House
) -> None:
    house.child.chats(said("", tool_calls=[CALL]), *ended("length"))
    answer = chat(client, tools=TOOLS, stream=False)
    assert answer.status_code == 500
    assert "weather" in answer.json()["error"]


def test_tool_answers_find_their_calls() -> None:
    sent = [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "a", "arguments": {"x": 1}}}] * 2,
        },
        {"role": "tool", "tool_name": "a", "content": "1"},
        {"role": "tool", "content": "2"},
    ]
    asked, first, second = messages_of(sent)
    assert [call["id"] for call in asked["tool_calls"]] == ["call_1", "call_2"]
    assert asked["tool_calls"][0]["function"]["arguments"] == '{"x": 1}'
    assert (first["tool_call_id"], second["tool_call_id"]) == ("call_1", "call_2")


def picture() -> str:
    out = io.BytesIO()
    Image.new("RGB", (4, 3), "red").save(out, "JPEG")
    return base64.b64encode(out.getvalue()).decode()


def test_a_picture_is_refused_where_the_model_does_not_see(client: TestClient, house: House) -> None:
    answer = chat(client, messages=[{"role": "user", "content": "what?", "images": [picture()]}])
    assert (answer.status_code, "does not support images" in answer.json()["error"]) == (400, True)


def test_a_picture_reaches_the_child_as_a_png_of_our_own(client: TestClient, house: House) -> None:
    house.child.props["modalities"] = {"vision": True}
    house.child.chats(said("red"), *ended())
    talk = [
        {"role": "user", "content": "what?", "images": [picture(), f"data:image/jpeg;base64,{picture()}"]}
    ]
    assert chat(client, messages=talk).status_code == 200
    first, second, words = house.child.body_of("/v1/chat/completions")["messages"][0]["content"]
    for part in (first, second):
        head, _, data = part["image_url"]["url"].partition(",")
        assert head == "data:image/png;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (4, 3)
    assert words == {"type": "text", "text": "what?"}
    body = generate(client, images=[picture()])
    assert "context" not in body


@pytest.mark.parametrize("bad", ["%%%", base64.b64encode(b"no picture").decode(), 7])
def test_what_is_no_picture_is_refused_before_anything_is_loaded(
    client: TestClient, house: House, bad: Any
) -> None:
    answer = chat(client, messages=[{"role": "user", "content": "x", "images": [bad]}])
    assert answer.status_code == 400
    assert house.language.held == []


def test_probabilities_come_beside_their_pieces(client: TestClient, house: House) -> None:
    token = {"id": 1, "token": "hi", "bytes": [104, 105], "logprob": -0.5}
    chunk = said("hi")
    chunk["choices"][0]["logprobs"] = {"content": [{**token, "top_logprobs": [token]}]}
    house.child.chats(chunk, *ended())
    body = chat(client, stream=False, logprobs=True, top_logprobs=1).json()
    seen = {"token": "hi", "logprob": -0.5, "bytes": [104, 105]}
    assert body["logprobs"] == [{**seen, "top_logprobs": [seen]}]
    assert chat(client, logprobs=True, top_logprobs=21).status_code == 400


# -- without words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
def test_a_request_without_words_loads_and_with_keep_alive_0_unloads(
    client: TestClient, house: House, path: str
) -> None:
    loaded = client.post(path, json={"model": MODEL, "keep_alive": -1}).json()
    assert (loaded["done"], loaded["done_reason"]) == (True, "load")
    assert house.language.held[0]["keep_s"] == -1.0
    assert house.child.asked == []
    gone = client.post(path, json={"model": MODEL, "keep_alive": 0}).json()
    assert (gone["done"], gone["done_reason"]) == (True, "unload")
    assert house.runtime.residents == []
    assert client.post(path, json={"model": MODEL, "keep_alive": "0s"}).json()["done_reason"] == "unload"


@pytest.mark.parametrize("keep", ["soon", [], "5 minutes", 1e300])
def test_a_keep_alive_that_is_no_duration_is_refused(client: TestClient, keep: Any) -> None:
    assert chat(client, keep_alive=keep).status_code == 400


# -- generate --------------------------------------------------------------------------------------------


def generate(client: TestClient, **body: Any) -> dict[str, Any]:
    answer = client.post("/api/generate", json={"model": MODEL, "prompt": "The sky", "stream": False, **body})
    assert answer.status_code == 200, answer.text
    said: dict[str, Any] = answer.json()
    return said


def test_generate_puts_prompt_and_system_into_the_template_and_gives_the_context(
    client: TestClient, house: House
) -> None:
    house.child.chats(said("is "), said("blue"), *ended())
    body = generate(client, system="Be brief.")
    asked = house.child.body_of("/v1/chat/completions")["messages"]
    assert asked == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "The sky"}]
    assert body["response"] == "is blue"
    whole = "<system> Be brief. <user> The sky <assistant> is blue"
    assert body["context"] == [len(word) for word in whole.split()]


COMPLETION = (
    {"content": "is", "tokens": [5], "stop": False},
    {"content": " blue", "tokens": [6], "stop": False},
    {
        "content": "",
        "tokens": [],
        "stop": True,
        "stop_type": "limit",
        "tokens_evaluated": 4,
        "tokens_predicted": 2,
        "timings": {"prompt_n": 4, "predicted_n": 2, "prompt_ms": 1, "predicted_ms": 2},
    },
)


def test_raw_prompts_go_as_they_are(client: TestClient, house: House) -> None:
    house.child.answers["/completion"] = lambda _: events(*COMPLETION)
    body = generate(client, raw=True, format="json", options={"num_predict": 2})
    assert (body["response"], body["done_reason"], body["eval_count"]) == ("is blue", "length", 2)
    assert "context" not in body
    assert [usage.completion_tokens for usage in house.language.usages] == [2], "it is counted, and once"
    asked = house.child.body_of("/completion")
    assert (asked["prompt"], asked["n_predict"], asked["json_schema"]) == ("The sky", 2, {"type": "object"})


def test_a_context_is_gone_on_with_from_the_end_of_the_last_answer(client: TestClient, house: House) -> None:
    house.child.answers["/completion"] = lambda _: events(*COMPLETION)
    body = generate(client, context=[1, 2, 3])
    prompt = house.child.body_of("/completion")["prompt"]
    after = "<user> The sky <assistant>"
    assert prompt == [1, 2, 3, *[len(word) for word in after.split()]]
    assert body["context"] == [*prompt, 5, 6]


def test_a_suffix_is_filled_in_by_models_that_can(client: TestClient, house: House) -> None:
    house.child.answers["/infill"] = lambda _: events(*COMPLETION)
    assert generate(client, suffix="today")["response"] == "is blue"
    asked = house.child.body_of("/infill")
    assert (asked["input_prefix"], asked["input_suffix"]) == ("The sky", "today")
    del house.child.answers["/infill"]
    answer = client.post("/api/generate", json={"model": MODEL, "prompt": "a", "suffix": "b"})
    assert (answer.status_code, answer.json()["error"]) == (400, f"'{MODEL}' does not support insert")


@pytest.mark.parametrize(
    "body",
    [
        {"template": "{{ .Prompt }}"},
        {"raw": True, "system": "x"},
        {"raw": True, "context": [1]},
        {"raw": True, "images": ["aaaa"]},
        {"suffix": "b", "context": [1]},
        {"context": [-1]},
        {"context": ["a"]},
        {"prompt": 7},
        {"stream": "yes"},
        {"think": 3},
    ],
)
def test_what_excludes_each_other_and_what_is_not_offered_is_refused(
    client: TestClient, house: House, body: dict[str, Any]
) -> None:
    answer = client.post("/api/generate", json={"model": MODEL, "prompt": "a", **body})
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert house.language.held == []


# -- when it goes wrong ----------------------------------------------------------------------------------

DEAD = ChildFailed(Failure("child.killed", "smollm2 was killed by the system (signal 9).", "try again"))


async def dying(*parts: bytes) -> AsyncGenerator[bytes, None]:
    for part in parts:
        yield part
    raise DEAD


def test_a_child_that_dies_in_mid_stream_ends_it_with_an_error_line_and_never_with_done(
    client: TestClient, house: House
) -> None:
    house.child.answers["/v1/chat/completions"] = lambda _: dying(events(said("Hel")))
    first, last = lines(chat(client))
    assert first["message"]["content"] == "Hel"
    assert set(last) == {"error"}
    assert "killed by the system" in last["error"]
    assert chat(client, stream=False).status_code == 500


def test_an_answer_that_just_stops_is_an_error_too(client: TestClient, house: House) -> None:
    house.child.answers["/v1/chat/completions"] = lambda _: events(said("Hel"))
    assert set(lines(chat(client))[-1]) == {"error"}


def test_what_fails_before_the_first_piece_has_its_status(client: TestClient, house: House) -> None:
    told = {"error": {"code": 400, "type": "exceed_context_size_error", "message": "too long"}}
    house.child.answers["/v1/chat/completions"] = lambda _: (400, json.dumps(told).encode())
    answer = chat(client)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("too long")


def test_a_client_that_goes_away_stops_the_generation(house: House) -> None:
    async def forever() -> AsyncGenerator[bytes, None]:
        yield events(said("a"))
        await asyncio.Event().wait()

    house.child.answers["/v1/chat/completions"] = lambda _: forever()

    async def talk() -> None:
        seen = asyncio.Event()
        sent = [{"type": "http.request", "body": json.dumps({"model": MODEL, "messages": TALK}).encode()}]

        async def receive() -> dict[str, Any]:
            if sent:
                return sent.pop()
            await seen.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message.get("body"):
                seen.set()

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/api/chat",
            "raw_path": b"/api/chat",
            "query_string": b"",
            "headers": [(b"host", b"127.0.0.1")],
            "scheme": "http",
            "http_version": "1.1",
            "server": ("127.0.0.1", 80),
            "client": ("127.0.0.1", 1),
            "root_path": "",
            "asgi": {"version": "3.0"},
        }
        await asyncio.wait_for(house.app(scope, receive, send), 60)  # type: ignore[arg-type]

    asyncio.run(talk())
    asked = [one for one in house.child.asked if one.path == "/v1/chat/completions"]
    assert [one.stopped for one in asked] == [True]
    assert house.runtime.residents[0]["leases"] == []


# -- embeddings ------------------------------------------------------------------------------------------


def embeds(house: House, *vectors: list[float]) -> None:
    told = [{"index": index, "embedding": [vector]} for index, vector in enumerate(vectors)]
    house.child.answers["/embeddings"] = lambda _: json.dumps(told).encode()


def test_embeddings_are_brought_to_length_1_and_cut_to_the_dimensions_asked_for(
    client: TestClient, house: House
) -> None:
    embeds(house, [3.0, 4.0, 12.0], [0.0, 0.0, 0.0])
    body = client.post("/api/embed", json={"model": "minilm", "input": ["a b", "c"], "dimensions": 2}).json()
    assert body["embeddings"] == [[0.6, 0.8], [0.0, 0.0]]
    assert (body["model"], body["prompt_eval_count"], body["load_duration"]) == ("minilm", 3, 2_000_000_000)
    whole = client.post("/api/embed", json={"model": "minilm", "input": "a b"}).json()["embeddings"][0]
    assert math.isclose(sum(value * value for value in whole), 1.0)
    raw = client.post("/api/embeddings", json={"model": "minilm", "prompt": "a b"}).json()
    assert raw == {"embedding": [3.0, 4.0, 12.0]}


def test_a_text_that_is_too_long_is_cut_off_or_refused(client: TestClient, house: House) -> None:
    embeds(house, [1.0])
    long = " ".join(["word"] * 20 + ["end"])
    assert client.post("/api/embed", json={"model": "minilm", "input": long}).status_code == 200
    [sent] = house.child.body_of("/embeddings")["content"]
    assert sent == [4] * 7 + [3]
    refused = client.post("/api/embed", json={"model": "minilm", "input": long, "truncate": False})
    assert refused.status_code == 400
    assert "exceeds the context length" in refused.json()["error"]


def test_no_text_loads_the_model_and_gives_no_vector(client: TestClient, house: House) -> None:
    assert client.post("/api/embed", json={"model": "minilm", "input": []}).json()["embeddings"] == []
    assert client.post("/api/embeddings", json={"model": "minilm"}).json() == {"embedding": []}
    assert house.runtime.of("minilm") is not None


@pytest.mark.parametrize(
    "body", [{"input": 7}, {"input": ["a", 7]}, {"input": "a", "dimensions": -1}, {"input": ["a"] * 5000}]
)
def test_inputs_that_are_none_are_refused(client: TestClient, body: dict[str, Any]) -> None:
    assert client.post("/api/embed", json={"model": "minilm", **body}).status_code == 400


# -- lists and what is refused ---------------------------------------------------------------------------


def test_the_lists_have_ollamas_shape(client: TestClient, house: House) -> None:
    tags = client.get("/api/tags").json()["models"]
    assert [one["name"] for one in tags] == [
        f"{MODEL}:latest", "family/thinker:latest", "minilm:latest",
    ]  # fmt: skip
    assert tags[0]["details"] == {
        "parent_model": "",
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "134.52M",
        "quantization_level": "Q4_1",
    }
    assert client.get("/api/ps").json() == {"models": []}
    client.post("/api/chat", json={"model": MODEL, "keep_alive": 60, "options": {"num_ctx": 512}})
    [loaded] = client.get("/api/ps").json()["models"]
    assert (loaded["name"], loaded["size"], loaded["size_vram"]) == (f"{MODEL}:latest", 200 << 20, 0)
    assert (loaded["expires_at"], loaded["context_length"]) == ("2026-11-26T12:01:02.000000Z", 512)
    house.runtime.devices.append({"id": "cuda:0", "kind": "cuda", "total_bytes": 1, "budget_bytes": 1})
    house.runtime.residents[0] |= {"device": "cuda:0", "keep_s": -1}
    [loaded] = client.get("/api/ps").json()["models"]
    assert loaded["size_vram"] == 200 << 20
    assert loaded["expires_at"].startswith("2126")


def test_show_tells_what_the_owner_has_set_and_whether_it_sees(client: TestClient, house: House) -> None:
    shown = client.post("/api/show", json={"model": MODEL}).json()
    assert (shown["parameters"], "system" in shown, "vision" in shown["capabilities"]) == ("", False, False)
    house.language.kept[MODEL] = ModelOptions(
        temperature=0.2, max_tokens=64, context=4096, system="Be short."
    )
    house.language.projectors[MODEL] = language_model("mmproj")
    shown = client.post("/api/show", json={"model": MODEL}).json()
    assert [line.split() for line in shown["parameters"].splitlines()] == [
        ["temperature", "0.2"], ["num_predict", "64"], ["num_ctx", "4096"],
    ]  # fmt: skip
    assert shown["system"] == "Be short."
    assert "vision" in shown["capabilities"]


def test_show_tells_what_the_header_says_and_what_it_can(client: TestClient) -> None:
    shown = client.post("/api/show", json={"model": MODEL}).json()
    assert shown["capabilities"] == ["completion", "tools"]
    assert shown["model_info"]["llama.context_length"] == 2048
    assert shown["model_info"]["llama.block_count"] == 30
    thinker = client.post("/api/show", json={"name": "family/thinker"}).json()
    assert "thinking" in thinker["capabilities"]
    assert client.post("/api/show", json={"model": "minilm"}).json()["capabilities"] == ["embedding"]
    assert client.post("/api/show", json={}).status_code == 400


@pytest.mark.parametrize(("count", "words"), [(999, "999"), (22_713_216, "22.71M"), (8_030_261_248, "8.0B")])
def test_parameters_are_counted_as_ollama_does(count: int, words: str) -> None:
    assert human(count) == words


def test_clients_find_the_server(client: TestClient) -> None:
    assert client.head("/").status_code == 200
    assert client.head("/api/version").status_code == 200
    assert client.head("/api/tags").status_code == 200
    assert client.get("/api/version").json()["inglenook"] == "1.2.3"


def test_a_pull_of_what_is_here_succeeds_and_nothing_else_is_fetched(client: TestClient) -> None:
    assert lines(client.post("/api/pull", json={"model": f"{MODEL}:latest"}))[-1] == {"status": "success"}
    assert client.post("/api/pull", json={"name": MODEL, "stream": False}).json() == {"status": "success"}
    refused = client.post("/api/pull", json={"model": "llama3.2"})
    assert refused.status_code == 501
    assert "cannot be downloaded yet" in refused.json()["error"]


@pytest.mark.parametrize("name", ["copy", "create", "push"])
def test_the_rest_is_refused_in_words(client: TestClient, name: str) -> None:
    answer = client.post(f"/api/{name}", json={"model": MODEL})
    assert answer.status_code == 501
    assert set(answer.json()) == {"error"}
    assert client.head("/api/blobs/sha256:00").status_code == 404


def test_only_what_lies_in_our_own_folder_is_deleted(shared: Database, tmp_path: Path) -> None:
    house = House(shared, own_models=tmp_path)
    file = tmp_path / "mine.gguf"
    file.write_bytes(b"x")
    house.catalog.records.append(language_model("mine", path=file))
    with TestClient(house.app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        refused = client.request("DELETE", "/api/delete", json={"model": MODEL})
        assert (refused.status_code, set(refused.json())) == (403, {"error"})
        assert client.request("DELETE", "/api/delete", json={"model": "mine:latest"}).status_code == 200
        assert not file.exists()
        assert client.request("DELETE", "/api/delete", json={"model": "mine"}).status_code == 404


def test_deleting_needs_the_administrator_where_there_is_one(shared: Database) -> None:
    house = House(shared, password="a long enough word")
    with TestClient(house.app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        answer = client.request("DELETE", "/api/delete", json={"model": MODEL})
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        house.child.chats(said("hi"), *ended())
        assert chat(client).status_code == 200


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff", b'{"model": 7}', b'{"model": ""}', b"[" * 100_000, b'{"model": null}'],
)
@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/embed", "/api/show", "/api/pull"])
def test_a_body_that_is_none_is_refused_in_ollamas_shape(
    refusing: TestClient, path: str, content: bytes
) -> None:
    answer = refusing.post(path, content=content)
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}


def test_a_body_of_any_declared_type_is_read_as_json(client: TestClient, house: House) -> None:
    house.child.chats(said("hi"), *ended())
    body = json.dumps({"model": MODEL, "messages": TALK})
    for kind in ("application/x-www-form-urlencoded", "text/plain"):
        assert client.post("/api/chat", content=body, headers={"content-type": kind}).status_code == 200
    foreign = {"content-type": "text/plain", "origin": "https://evil.example"}
    assert client.post("/api/chat", content=body, headers=foreign).status_code == 403
