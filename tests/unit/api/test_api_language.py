# SPDX-License-Identifier: Apache-2.0
"""The routes of language models over a child whose answers the test writes."""

import base64
import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.unit.api.relayed import COST, DEAD, DONE, Asked, ScriptedLanguage, piece, stream, writes
from tests.unit.api.services import Workshop, model

from inglenook.base.ids import ModelId
from inglenook.catalog.model import LanguageFacts, LanguageTask, ModelKind, ModelRecord
from inglenook.chat.service import Usage

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": CITY}}
CALL = json.dumps({"tool": "get_weather", "arguments": {"city": "Paris"}})
HELLO = [{"role": "user", "content": "Hello"}]
ANSWER = (
    b'{"id":"chatcmpl-1","choices":[{"index":0,"message":{"content":"Hi"}}],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}'
)


def llama(name: str, task: LanguageTask, architecture: str = "llama") -> ModelRecord:
    facts = LanguageFacts(task=task, architecture=architecture, context=2048, template="{{ messages }}")
    return replace(model(name, kind=ModelKind.LANGUAGE), language=facts, image=None)


@pytest.fixture
def language(workshop: Workshop) -> ScriptedLanguage:
    workshop.language.records |= {
        "chatty": llama("chatty", LanguageTask.CHAT),
        "embedder": llama("embedder", LanguageTask.EMBEDDING, "bert"),
        "nomic": llama("nomic", LanguageTask.EMBEDDING, "nomic-bert"),
        "ranker": llama("ranker", LanguageTask.RERANK, "bert"),
    }
    workshop.language.names = {"gpt-4o": ModelId("chatty")}
    workshop.language.answers = lambda _: (200, ANSWER)
    return workshop.language


def chat(client: TestClient, **body: Any) -> Any:
    return client.post("/v1/chat/completions", json={"model": "auto", "messages": HELLO, **body})


def sent(language: ScriptedLanguage, index: int = -1) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(language.asked[index].body)
    return found


def events(text: str) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


# -- what is refused at once --------------------------------------------------------------------------


@pytest.mark.parametrize("messages", ["hi", [], {}])
def test_messages_must_be_a_list_that_holds_one(
    client: TestClient, language: ScriptedLanguage, messages: object
) -> None:
    answer = chat(client, messages=messages)
    assert answer.status_code == 422  # as for a field that is missing: other servers' clients expect that
    assert answer.json()["error"]["param"] == "messages"
    assert language.asked == []


@pytest.mark.usefixtures("language")
def test_a_value_of_a_wrong_type_is_shown_as_it_was_sent(client: TestClient) -> None:
    assert 'must be a list; got "hi".' in chat(client, messages="hi").json()["error"]["message"]


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("tool_choice", {"tool_choice": "required"}),
        ("tool_choice", {"tool_choice": {"type": "function", "function": {"name": "f"}}}),
        ("functions", {"functions": [{"name": "f"}]}),
    ],
)
def test_a_call_that_nobody_could_make_is_refused(
    client: TestClient, language: ScriptedLanguage, field: str, body: Any
) -> None:
    answer = chat(client, **body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)
    assert language.asked == []
    assert chat(client, tool_choice="auto").status_code == 200, "which asks for nothing"


@pytest.mark.parametrize("field", [{"echo": True}, {"suffix": "the end"}, {"best_of": 3}])
def test_what_llama_cpp_would_pass_over_in_a_completion_is_refused(
    client: TestClient, language: ScriptedLanguage, field: dict[str, Any]
) -> None:
    body = {"model": "auto", "prompt": "The sky"}
    [name] = field
    answer = client.post("/v1/completions", json=body | field)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, name)
    assert language.asked == []
    nothing = {"echo": False, "suffix": None, "best_of": 1}
    assert client.post("/v1/completions", json=body | nothing).status_code == 200


@pytest.mark.parametrize(
    "form", ["json", {"type": "json_schema"}, {"type": "json_schema", "json_schema": {}}]
)
def test_a_form_of_answers_without_its_schema_is_refused(
    client: TestClient, language: ScriptedLanguage, form: object
) -> None:
    answer = chat(client, response_format=form)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "response_format"
    assert language.asked == []


def test_messages_that_the_child_cannot_read_are_the_callers_mistake(
    client: TestClient, language: ScriptedLanguage
) -> None:
    words = "Failed to parse messages: Missing 'role' in message"
    language.answers = lambda _: (500, json.dumps({"error": {"code": 500, "message": words}}).encode())
    answer = chat(client)
    assert answer.status_code == 400
    assert (answer.json()["error"]["param"], answer.json()["error"]["message"]) == ("messages", words)


# -- what is passed on ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["auto", "chatty", "gpt-4o"])
def test_a_chat_reaches_the_child_byte_for_byte_whatever_it_holds(
    client: TestClient, language: ScriptedLanguage, name: str
) -> None:
    body = (
        f'{{"model" : "{name}", "messages": [{{"role": "user", "content": "\\u00e9 €"}}],'
        '"grammar":"root ::= \\"y\\"","seed":1,"unheard_of":{"a":[1.0e3]}, "logprobs":true}'
    ).encode()
    headers = {"content-type": "application/json"}
    answer = client.post("/v1/chat/completions", content=body, headers=headers)
    assert answer.status_code == 200
    assert answer.content == ANSWER
    assert answer.headers["x-inglenook-model"] == "chatty"
    assert answer.headers["x-inglenook-load-s"] == "0.000"
    [asked] = language.asked
    assert (asked.path, asked.body) == ("/v1/chat/completions", body)


def test_defaults_of_the_owner_are_added_only_where_the_caller_says_nothing(
    client: TestClient, language: ScriptedLanguage
) -> None:
    language.defaults = {"temperature": 0.2, "top_k": 5, "max_tokens": 50, "system": "Be short."}
    chat(client, temperature=1, max_completion_tokens=3)
    body = sent(language)
    assert (body["temperature"], body["top_k"], body["max_completion_tokens"]) == (1, 5, 3)
    assert "max_tokens" not in body
    assert body["messages"][0] == {"role": "system", "content": "Be short."}
    chat(client, messages=[{"role": "system", "content": "Mine."}, *HELLO], top_k=None)
    assert sent(language)["messages"][0]["content"] == "Mine."
    assert sent(language)["top_k"] is None


def test_what_nobody_limits_is_not_limited(client: TestClient, language: ScriptedLanguage) -> None:
    chat(client)
    assert "max_tokens" not in sent(language)


@pytest.mark.parametrize(
    ("body", "headers", "keep_s"),
    [
        ({}, {}, None),
        ({"keep_alive": "5m"}, {}, 300.0),
        ({"keep_alive": -1}, {}, -1.0),
        ({}, {"x-inglenook-keep-alive": "30s"}, 30.0),
        ({"keep_alive": 0}, {"x-inglenook-keep-alive": "30s"}, 0.0),
    ],
)
def test_how_long_it_stays_loaded_can_be_said_in_body_and_header(
    client: TestClient,
    language: ScriptedLanguage,
    body: dict[str, Any],
    headers: dict[str, str],
    keep_s: float | None,
) -> None:
    answer = client.post(
        "/v1/chat/completions", json={"model": "auto", "messages": HELLO, **body}, headers=headers
    )
    assert answer.status_code == 200
    assert language.asked[0].keep_s == keep_s


def test_the_cost_of_an_answer_is_counted_whole_and_streamed(
    client: TestClient, language: ScriptedLanguage
) -> None:
    chat(client)
    language.answers = lambda _: stream(piece(content="Hi"), COST, DONE)
    chat(client, stream=True)
    assert language.used == [Usage(3, 1), Usage(7, 5, 0.5)]


def test_the_cost_is_counted_where_a_schema_makes_the_call_too(
    client: TestClient, language: ScriptedLanguage
) -> None:
    language.answers = lambda _: writes(CALL)
    for body in ({}, {"stream": True}):
        chat(client, tools=[WEATHER], tool_choice="required", **body)
    function = {"type": "function", **WEATHER["function"]}
    client.post("/v1/responses", json={"input": "Hello", "tools": [function], "tool_choice": "required"})
    assert language.used == [Usage(7, 5, 0.5)] * 3


def test_the_cost_of_a_streamed_message_stands_at_its_beginning_and_at_its_end(
    client: TestClient, language: ScriptedLanguage
) -> None:
    begin = b'{"message":{"usage":{"cache_read_input_tokens":20,"input_tokens":1,"output_tokens":0}}}'
    words = [b'event: content_block_delta\ndata: {"delta":{"text":"Hi"}}\n\n'] * 6
    end = b'event: message_delta\ndata: {"usage":{"output_tokens":5}}\n\nevent: message_stop\ndata: {}\n\n'
    language.answers = lambda _: stream(b"event: message_start\ndata: " + begin + b"\n\n", *words, end)
    client.post("/v1/messages", json={"model": "auto", "messages": HELLO, "stream": True})
    assert language.used == [Usage(21, 5)]


@pytest.mark.parametrize(
    ("status", "said", "code", "words"),
    [
        (400, {"code": 400, "message": "bad grammar", "type": "x"}, "model.refused", "bad grammar"),
        (500, {"code": 500, "message": "it broke", "type": "server_error"}, "model.refused", "it broke"),
        (
            400,
            {"message": "Field 'top_p': [json.exception.type_error.302] type must be number"},
            "model.refused",
            "top_p: type must be number.",
        ),
        (503, {"code": 503, "message": "Loading model"}, "model.refused", "Loading model"),
        (404, {"code": 404, "message": "no such slot"}, "model.refused", "no such slot"),
    ],
)
def test_a_refusal_of_the_child_keeps_its_status_and_words(
    client: TestClient, language: ScriptedLanguage, status: int, said: Any, code: str, words: str
) -> None:
    language.answers = lambda _: (status, json.dumps({"error": said}).encode())
    for streamed in (False, True):
        answer = chat(client, stream=streamed)
        assert answer.status_code == status
        assert answer.json()["error"]["code"] == code
        assert answer.json()["error"]["message"].startswith(words)


def test_more_answers_at_once_than_the_model_gives_is_told_with_the_option(
    client: TestClient, language: ScriptedLanguage
) -> None:
    words = "Field 'n': Value must be between 1 <= value <= 2, but got 5"
    language.answers = lambda _: (400, json.dumps({"error": {"code": 400, "message": words}}).encode())
    error = chat(client, n=5).json()["error"]
    assert error["param"] == "n"
    assert "parallel" in error["hint"]


def test_a_conversation_longer_than_the_context_has_openais_code(
    client: TestClient, language: ScriptedLanguage
) -> None:
    told = {
        "code": 400,
        "message": "too long",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": 99,
        "n_ctx": 64,
    }
    language.answers = lambda _: (400, json.dumps({"error": told}).encode())
    error = chat(client).json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert "99 tokens" in error["message"]
    assert "64" in error["message"]


def test_what_a_process_was_not_started_for_is_told_in_words_that_help(
    client: TestClient, language: ScriptedLanguage
) -> None:
    told = {"code": 501, "message": "Start it with `--embeddings`", "type": "not_supported_error"}
    language.answers = lambda _: (501, json.dumps({"error": told}).encode())
    answer = chat(client)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "model.wrong_task"


def test_a_child_that_dies_in_mid_stream_gives_an_error_and_no_done(
    client: TestClient, language: ScriptedLanguage
) -> None:
    language.answers = lambda _: stream(piece(content="Hi"), then=DEAD)
    text = chat(client, stream=True).text
    assert "signal 9" in events(text)[-1]["error"]["message"]
    assert "[DONE]" not in text
    assert '"stop"' not in text


@pytest.mark.parametrize("heat", [5.0, -1, "hot", True])
def test_a_temperature_out_of_bounds_is_a_422(
    client: TestClient, language: ScriptedLanguage, heat: Any
) -> None:
    answer = chat(client, temperature=heat)
    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == "temperature"
    assert language.asked == []


def test_a_picture_of_sam_config_is_drawn_where_no_model_is_named(
    client: TestClient, language: ScriptedLanguage, workshop: Workshop
) -> None:
    chat(client, sam_config={"steps": 2})
    assert language.asked == []
    assert len(workshop.images.requests) == 1


# -- tools -----------------------------------------------------------------------------------------------


def test_a_template_that_knows_tools_gets_them_as_they_were_sent(
    client: TestClient, language: ScriptedLanguage
) -> None:
    language.knows_tools = True
    answer = chat(client, tools=[WEATHER])
    assert answer.content == ANSWER
    assert "x-inglenook-tools" not in answer.headers
    assert sent(language)["tools"] == [WEATHER]


def test_a_required_call_is_asked_for_by_schema_and_answered_as_a_call(
    client: TestClient, language: ScriptedLanguage
) -> None:
    language.knows_tools = True
    language.answers = lambda _: writes(CALL)
    answer = chat(client, tools=[WEATHER], tool_choice="required", temperature=0.5)
    assert answer.headers["x-inglenook-tools"] == "schema"
    body = answer.json()
    [choice] = body["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    [call] = choice["message"]["tool_calls"]
    assert call["type"] == "function"
    assert call["function"] == {"name": "get_weather", "arguments": '{"city":"Paris"}'}
    assert body["usage"]["total_tokens"] == 12
    assert body["object"] == "chat.completion"
    asked = sent(language)
    assert asked["temperature"] == 0.5
    assert "tools" not in asked
    assert asked["json_schema"]["properties"]["tool"] == {"const": "get_weather"}
    assert "get_weather" in asked["messages"][0]["content"]


def test_words_are_streamed_as_they_are_written_and_a_call_when_it_is_whole(
    client: TestClient, language: ScriptedLanguage
) -> None:
    language.answers = lambda _: writes('{"answer": "It is sunny."}')
    told = events(chat(client, tools=[WEATHER], stream=True).text)
    words = [part["choices"][0]["delta"].get("content") for part in told]
    assert "".join(word for word in words if word) == "It is sunny."
    assert len([word for word in words if word]) > 2
    assert told[-1]["choices"][0]["finish_reason"] == "stop"
    language.answers = lambda _: writes(CALL)
    text = chat(client, tools=[WEATHER], stream=True, stream_options={"include_usage": True}).text
    told = events(text)
    assert told[-1]["usage"]["total_tokens"] == 12
    assert told[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert told[-3]["choices"][0]["delta"]["tool_calls"][0]["function"]["name"] == "get_weather"
    assert text.endswith("data: [DONE]\n\n")


def test_a_call_without_an_end_is_asked_for_once_more_with_bounds(
    client: TestClient, language: ScriptedLanguage
) -> None:
    cut = '{"tool": "get_weather", "arguments": {"city": "Par'
    language.answers = lambda asked: writes(CALL) if len(language.asked) > 1 else writes(cut, finish="length")
    body = chat(client, tools=[WEATHER], tool_choice="required", max_tokens=60).json()
    assert body["choices"][0]["finish_reason"] == "tool_calls"
    assert body["usage"]["total_tokens"] == 24
    again = sent(language)["json_schema"]["properties"]["arguments"]["properties"]["city"]
    assert again["maxLength"] == 20


def test_a_call_in_circles_is_cut_off_and_asked_for_once_more(
    client: TestClient, language: ScriptedLanguage
) -> None:
    circles = '{"tool": "get_weather", "arguments": {"city": "' + "Paris " * 2000
    language.answers = lambda asked: writes(CALL) if len(language.asked) > 1 else writes(circles)
    body = chat(client, tools=[WEATHER], tool_choice="required").json()
    assert body["choices"][0]["finish_reason"] == "tool_calls"
    assert language.asked[0].stopped


def test_too_few_tokens_for_a_call_are_a_400_that_says_so(
    client: TestClient, language: ScriptedLanguage
) -> None:
    language.answers = lambda _: writes('{"tool": "get', finish="length")
    answer = chat(client, tools=[WEATHER], tool_choice="required", max_tokens=5)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "max_tokens"
    assert "5 tokens are too few" in answer.json()["error"]["message"]


def test_words_that_are_cut_off_end_with_length(client: TestClient, language: ScriptedLanguage) -> None:
    language.answers = lambda _: writes('{"answer": "It is su', finish="length")
    [choice] = chat(client, tools=[WEATHER]).json()["choices"]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["content"] == "It is su"


def test_results_in_the_history_are_told_in_words_where_the_template_knows_none(
    client: TestClient, language: ScriptedLanguage
) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    messages = [
        *HELLO,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]
    chat(client, messages=messages)
    assert [one["role"] for one in sent(language)["messages"]] == ["user", "assistant", "user"]
    assert sent(language)["messages"][2]["content"] == "Result of get_weather: sunny"


# -- pictures ----------------------------------------------------------------------------------------------


def picture(kind: str = "PNG", size: tuple[int, int] = (8, 6)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, "red").save(out, kind)
    return out.getvalue()


def looking(address: str) -> list[dict[str, Any]]:
    return [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What?"},
                {"type": "image_url", "image_url": {"url": address, "detail": "low"}},
            ],
        }
    ]


def data_address(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def shown_to_the_child(language: ScriptedLanguage) -> Image.Image:
    url = sent(language)["messages"][0]["content"][1]["image_url"]["url"]
    assert url.startswith("data:image/png;base64,")
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_picture_is_decoded_and_written_anew_before_the_child_sees_it(
    client: TestClient, language: ScriptedLanguage, kind: str
) -> None:
    language.has_eyes = True
    answer = chat(client, messages=looking(data_address(picture(kind), "image/anything")))
    assert answer.status_code == 200, answer.text
    assert shown_to_the_child(language).size == (8, 6)


def test_an_address_is_fetched_by_us_and_never_by_the_child(
    client: TestClient, language: ScriptedLanguage, workshop: Workshop
) -> None:
    language.has_eyes = True
    workshop.outgoing.pages["https://example.org/a.png"] = picture()
    assert chat(client, messages=looking("https://example.org/a.png")).status_code == 200
    assert shown_to_the_child(language).size == (8, 6)
    assert [entry.purpose for entry in workshop.outgoing.entries] == ["a picture in a message"]
    answer = chat(client, messages=looking("https://example.org/none.png"))
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "messages.0.content.1"


def test_pictures_of_the_gallery_need_no_connection(
    client: TestClient, language: ScriptedLanguage, workshop: Workshop
) -> None:
    language.has_eyes = True
    kept = workshop.gallery.add(picture())
    name = workshop.links.name(kept.id, "image/png")
    for address in (
        str(kept.id),
        f"/v1/pictures/{kept.id}/file",
        f"/images/{name}",
        f"http://127.0.0.1:8190/images/{name}",
    ):
        assert chat(client, messages=looking(address)).status_code == 200, address
        assert shown_to_the_child(language).size == (8, 6)
    assert workshop.outgoing.entries == []
    assert chat(client, messages=looking(f"/images/{kept.id}.wrong.png")).status_code == 404


def test_a_model_without_a_projector_says_that_it_sees_nothing(
    client: TestClient, language: ScriptedLanguage
) -> None:
    for streamed in (False, True):
        answer = chat(client, messages=looking(data_address(picture())), stream=streamed)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "model.no_vision"
    assert language.asked == []


@pytest.mark.parametrize(
    "address", ["data:image/png;base64,AAAA", "data:text/plain,hello", "no base64!", data_address(b"<svg/>")]
)
def test_what_is_no_picture_never_reaches_the_child(
    client: TestClient, language: ScriptedLanguage, address: str
) -> None:
    language.has_eyes = True
    answer = chat(client, messages=looking(address))
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "messages.0.content.1"
    assert language.asked == []


def test_more_pixels_than_allowed_are_refused_by_the_header_alone(
    client: TestClient, language: ScriptedLanguage
) -> None:
    assert chat(client, messages=looking(data_address(picture(size=(2000, 1000))))).status_code == 413


@pytest.mark.parametrize("kind", ["input_audio", "file", "video_url"])
def test_sound_and_files_are_refused_in_words(
    client: TestClient, language: ScriptedLanguage, kind: str
) -> None:
    answer = chat(client, messages=[{"role": "user", "content": [{"type": kind}]}])
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "request.part"
    assert language.asked == []


# -- embeddings and ranking ----------------------------------------------------------------------------------


def embeds(asked: Asked) -> tuple[int, bytes]:
    """Vectors of which the first column tells which input it was, in no order."""
    inputs = json.loads(asked.body)["input"]
    data = [{"index": i, "embedding": [float(len(text)), 1.0, 2.0, 2.0]} for i, text in enumerate(inputs)]
    usage = {"prompt_tokens": len(inputs), "total_tokens": len(inputs)}
    return 200, json.dumps({"data": data[::-1], "usage": usage}).encode()


def test_many_inputs_go_to_the_child_in_batches_and_come_back_in_order(
    client: TestClient, language: ScriptedLanguage
) -> None:
    language.answers = embeds
    inputs = ["x" * length for length in range(1, 151)]
    body = client.post("/v1/embeddings", json={"input": inputs}).json()
    assert [len(json.loads(asked.body)["input"]) for asked in language.asked] == [64, 64, 22]
    assert [datum["embedding"][0] for datum in body["data"]] == list(range(1, 151))
    assert [datum["index"] for datum in body["data"]] == list(range(150))
    assert body["usage"] == {"prompt_tokens": 150, "total_tokens": 150}
    assert body["model"] == "embedder"


def test_base64_holds_the_same_numbers(client: TestClient, language: ScriptedLanguage) -> None:
    language.answers = embeds
    body = client.post("/v1/embeddings", json={"input": "abc", "encoding_format": "base64"}).json()
    assert np.frombuffer(base64.b64decode(body["data"][0]["embedding"]), "<f4").tolist() == [3, 1, 2, 2]


def test_tokens_are_passed_as_tokens(client: TestClient, language: ScriptedLanguage) -> None:
    language.answers = embeds
    client.post("/v1/embeddings", json={"input": [1, 2, 3]})
    client.post("/v1/embeddings", json={"input": [[1, 2], [3]]})
    assert [sent(language, index)["input"] for index in (0, 1)] == [[[1, 2, 3]], [[1, 2], [3]]]


def test_fewer_dimensions_are_for_models_that_are_made_for_it(
    client: TestClient, language: ScriptedLanguage
) -> None:
    language.answers = embeds
    body = client.post("/v1/embeddings", json={"model": "nomic", "input": "ab", "dimensions": 2}).json()
    assert body["data"][0]["embedding"] == pytest.approx([2 / 5**0.5, 1 / 5**0.5])
    for name, dimensions in (("nomic", 5), ("embedder", 2)):
        answer = client.post("/v1/embeddings", json={"model": name, "input": "ab", "dimensions": dimensions})
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "dimensions"


@pytest.mark.parametrize("inputs", [None, [], "", [""], [1, "a"], [[]], [True], {}, ["x"] * 2049])
def test_inputs_that_are_none_are_refused(
    client: TestClient, language: ScriptedLanguage, inputs: Any
) -> None:
    answer = client.post("/v1/embeddings", json={"input": inputs})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "input"
    assert language.asked == []


def test_a_model_for_ranking_ranks(client: TestClient, language: ScriptedLanguage) -> None:
    language.mode = "rerank"
    results = [{"index": i, "relevance_score": score} for i, score in enumerate((-3.0, 2.0, 0.5))]
    language.answers = lambda _: (200, json.dumps({"results": results}).encode())
    body = {"query": "q", "documents": ["a", {"text": "b"}, "c"], "top_n": 2, "return_documents": True}
    answer = client.post("/v1/rerank", json=body).json()
    assert answer["method"] == "rerank"
    assert [(one["index"], one["document"]["text"]) for one in answer["results"]] == [(1, "b"), (2, "c")]


def test_an_embedding_model_ranks_by_cosine_and_says_so(
    client: TestClient, language: ScriptedLanguage
) -> None:
    language.mode = "embedding"
    vectors = {"q": [1.0, 0.0], "near": [2.0, 0.1], "far": [-1.0, 0.0], "none": [0.0, 0.0]}

    def answers(asked: Asked) -> tuple[int, bytes]:
        inputs = json.loads(asked.body)["input"]
        return 200, json.dumps(
            {"data": [{"index": i, "embedding": vectors[one]} for i, one in enumerate(inputs)]}
        ).encode()

    language.answers = answers
    answer = client.post("/rerank", json={"query": "q", "documents": ["far", "none", "near"]}).json()
    assert answer["method"] == "embedding-cosine"
    assert [one["index"] for one in answer["results"]] == [2, 1, 0]
    assert answer["results"][0]["relevance_score"] == pytest.approx(0.99875, abs=1e-4)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"documents": ["a"]}, "query"),
        ({"query": "q"}, "documents"),
        ({"query": "q", "documents": []}, "documents"),
        ({"query": "q", "documents": [3]}, "documents"),
        ({"query": "q", "documents": ["a"], "top_n": 0}, "top_n"),
    ],
)
def test_a_ranking_without_sense_is_refused_by_name(
    client: TestClient, language: ScriptedLanguage, body: Any, field: str
) -> None:
    answer = client.post("/v1/rerank", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == field


# -- the other dialects ------------------------------------------------------------------------------------


def test_a_response_with_tools_becomes_a_chat_and_comes_back(
    client: TestClient, language: ScriptedLanguage
) -> None:
    language.answers = lambda _: writes(CALL)
    function = {"type": "function", **WEATHER["function"]}
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
        {"type": "function_call", "call_id": "c0", "name": "get_weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c0", "output": "rain"},
    ]
    body = {"input": items, "instructions": "Be short.", "tools": [function], "max_output_tokens": 50}
    answer = client.post("/v1/responses", json=body).json()
    [call] = answer["output"]
    assert (call["type"], call["name"], call["arguments"]) == (
        "function_call",
        "get_weather",
        '{"city":"Paris"}',
    )
    assert answer["usage"]["output_tokens"] == 5
    assert (answer["instructions"], answer["tools"], answer["max_output_tokens"]) == (
        "Be short.",
        [function],
        50,
    )
    assert (answer["tool_choice"], answer["parallel_tool_calls"], answer["temperature"]) == (
        "auto",
        False,
        None,
    )
    asked = sent(language)
    assert asked["max_tokens"] == 50
    assert asked["messages"][0]["content"].startswith("Be short.")
    assert asked["messages"][-1]["content"] == "Result of get_weather: rain"


def test_a_streamed_response_numbers_its_events(client: TestClient, language: ScriptedLanguage) -> None:
    language.answers = lambda _: stream(
        b'event: response.created\ndata: {"type":"response.created","response":{}}\n\n',
        b"event: response.output_text.delta\n"
        b'data: {"type":"response.output_text.delta","item_id":"m","delta":"Hi"}\n\n',
    )
    told = events(client.post("/v1/responses", json={"input": "Hello", "stream": True}).text)
    assert [one["sequence_number"] for one in told] == [0, 1]
    assert (told[1]["output_index"], told[1]["content_index"]) == (0, 0)


def test_what_would_be_kept_between_requests_is_refused(
    client: TestClient, language: ScriptedLanguage
) -> None:
    body = {"input": "x", "previous_response_id": "resp_1", "tools": [{"type": "function", "name": "f"}]}
    answer = client.post("/v1/responses", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "previous_response_id"


def test_a_message_is_passed_on_byte_for_byte(client: TestClient, language: ScriptedLanguage) -> None:
    body = b'{"model":"auto", "max_tokens":5, "messages":[{"role":"user","content":"Hello"}]}'
    headers = {"content-type": "application/json", "x-api-key": "k", "anthropic-version": "2023-06-01"}
    answer = client.post("/v1/messages", content=body, headers=headers)
    assert answer.content == ANSWER
    assert answer.headers["request-id"].startswith("req_")
    [asked] = language.asked
    assert (asked.path, asked.body) == ("/v1/messages", body)


def test_a_message_with_tools_becomes_a_chat_and_comes_back(
    client: TestClient, language: ScriptedLanguage
) -> None:
    language.answers = lambda _: writes(CALL)
    blocks = [
        {"type": "tool_result", "tool_use_id": "t0", "content": [{"type": "text", "text": "rain"}]},
        {"type": "text", "text": "And now?"},
    ]
    use: Any = {"type": "tool_use", "id": "t0", "name": "get_weather", "input": {}}
    body = {
        "max_tokens": 60,
        "system": [{"type": "text", "text": "Be short."}],
        "messages": [
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "t0", "name": "get_weather", "input": {}}],
            },
            {"role": "user", "content": blocks},
        ],
        "tools": [{"name": "get_weather", "input_schema": CITY}],
        "tool_choice": {"type": "any"},
    }
    answer = client.post("/v1/messages", json=body).json()
    assert answer["stop_reason"] == "tool_use"
    [use] = answer["content"]
    assert (use["type"], use["name"], use["input"]) == ("tool_use", "get_weather", {"city": "Paris"})
    assert answer["usage"] == {"input_tokens": 7, "output_tokens": 5}
    roles = [one["role"] for one in sent(language)["messages"]]
    assert roles == ["system", "user", "assistant", "user", "user"]
    kinds = [one["type"] for one in events(client.post("/v1/messages", json=body | {"stream": True}).text)]
    assert kinds == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_a_picture_in_a_message_is_inlined_also_in_the_result_of_a_tool(
    client: TestClient, language: ScriptedLanguage, workshop: Workshop
) -> None:
    language.has_eyes = True
    workshop.outgoing.pages["https://example.org/a.png"] = picture("JPEG")
    source = {"type": "url", "url": "https://example.org/a.png"}
    image = {"type": "image", "source": source}
    content = [image, {"type": "tool_result", "tool_use_id": "t", "content": [image]}]
    language.knows_tools = True
    body = {"max_tokens": 5, "messages": [{"role": "user", "content": content}]}
    assert client.post("/v1/messages", json=body).status_code == 200
    blocks = sent(language)["messages"][0]["content"]
    for block in (blocks[0], blocks[1]["content"][0]):
        assert block["source"]["media_type"] == "image/png"
        assert Image.open(io.BytesIO(base64.b64decode(block["source"]["data"]))).size == (8, 6)


@pytest.mark.parametrize(
    ("status", "kind"), [(400, "invalid_request_error"), (500, "api_error"), (503, "overloaded_error")]
)
def test_errors_have_anthropics_shape_before_and_in_a_stream(
    client: TestClient, language: ScriptedLanguage, status: int, kind: str
) -> None:
    language.answers = lambda _: (status, b'{"error":{"message":"no"}}')
    body = {"max_tokens": 5, "messages": HELLO}
    answer = client.post("/v1/messages", json=body)
    assert answer.status_code == status
    assert answer.json()["type"] == "error"
    assert answer.json()["error"]["type"] == kind
    language.answers = lambda _: stream(
        b'event: message_start\ndata: {"type":"message_start"}\n\n', then=DEAD
    )
    text = client.post("/v1/messages", json=body | {"stream": True}).text
    assert text.split("\n\n")[-2].startswith("event: error\n")
    assert events(text)[-1]["error"]["type"] == "api_error"
    assert "message_stop" not in text


def test_tokens_are_asked_of_the_model_that_is_named(client: TestClient, language: ScriptedLanguage) -> None:
    for path in ("/tokenize", "/v1/tokenize"):
        assert client.post(path, json={"model": "embedder", "content": "x"}).status_code == 200
    assert client.post("/detokenize", json={"tokens": [1]}).status_code == 200
    assert client.post("/apply-template", json={"messages": HELLO}).status_code == 200
    assert [(str(asked.model.id), asked.path) for asked in language.asked] == [
        ("embedder", "/tokenize"),
        ("embedder", "/tokenize"),
        ("chatty", "/detokenize"),
        ("chatty", "/apply-template"),
    ]
    assert client.post("/tokenize", json={}).json()["error"]["param"] == "content"


def test_the_list_tells_what_a_model_is_for(
    client: TestClient, language: ScriptedLanguage, workshop: Workshop
) -> None:
    workshop.catalog.records.append(language.records["chatty"])
    told = client.get("/v1/models/gpt-4o").json()
    assert told["id"] == "chatty"
    assert told["state"] == "available"
    assert told["context_length"] == 2048
    assert told["language"]["task"] == "chat"
    assert told["language"]["aliases"] == ["gpt-4o"]
    assert told["language"]["tools"] == "schema"
    assert told["language"]["vision"] is False
    language.has_eyes = True
    assert client.get("/v1/models/gpt-4o").json()["language"]["vision"] is True
