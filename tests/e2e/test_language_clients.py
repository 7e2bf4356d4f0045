# SPDX-License-Identifier: Apache-2.0
"""Unchanged clients of language models against a real server with the starter models."""

import base64
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import jsonschema
import openai
import pytest
from langchain_core.messages import AIMessageChunk
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from openai import OpenAI
from PIL import Image
from pydantic import BaseModel, Field, SecretStr

from inglenook.testing.server import RunningServer
from tests.starters import with_starters

pytestmark = pytest.mark.slow

CHAT = "smollm2-135m-instruct"
PATIENCE_S = 240.0
# Where a test looks for words the temperature is 0: else now and then a small model has none.
CITY = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "enum": ["Paris", "Rome", "Oslo"]},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
    },
    "required": ["city", "unit"],
    "additionalProperties": False,
}
WEATHER: Any = {
    "type": "function",
    "function": {"name": "get_weather", "description": "The weather in a city.", "parameters": CITY},
}
ASKED: Any = [{"role": "user", "content": "What is the weather in Paris?"}]


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, chat_model: Path, embedding_model: Path
) -> Iterator[RunningServer]:
    data = with_starters(tmp_path_factory.mktemp("data"), chat_model, embedding_model)
    environ = {
        "INGLENOOK_RUNTIME__CPU_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "INGLENOOK_LANGUAGE__CONTEXT": "2048",
        "INGLENOOK_LANGUAGE__PARALLEL": "2",
    }
    with RunningServer.start(data, environ=environ) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[OpenAI]:
    with OpenAI(
        base_url=f"{server.base_url}/v1", api_key="none", max_retries=0, timeout=PATIENCE_S
    ) as client:
        yield client


@pytest.fixture(scope="module")
def claude(server: RunningServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=server.base_url, api_key="none", max_retries=0, timeout=PATIENCE_S
    ) as client:
        yield client


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.base_url, timeout=PATIENCE_S, trust_env=False) as client:
        yield client


# -- openai ------------------------------------------------------------------------------------------


def test_openai_chats_with_the_default_model(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="auto",
        messages=[{"role": "user", "content": "Hello"}],
        max_tokens=6,
        seed=1,
        n=2,
        logprobs=True,
    )
    assert raw.headers["x-inglenook-model"] == CHAT
    assert float(raw.headers["x-inglenook-waited-s"]) >= 0
    answer = raw.parse()
    assert answer.model == CHAT
    assert len(answer.choices) == 2
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("length", "stop")
    assert answer.choices[0].logprobs is not None
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0


def test_openai_streams_and_is_told_the_cost(client: OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model=CHAT,
            messages=[{"role": "user", "content": "Hello"}],
            max_tokens=6,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] in ("length", "stop")
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens <= 6


class Fox(BaseModel):
    colour: str = Field(pattern="^(red|grey|white)$")
    legs: int = Field(ge=4, le=4)


def test_openai_parses_a_structured_answer(client: OpenAI) -> None:
    answer = client.chat.completions.parse(
        model=CHAT,
        messages=[{"role": "user", "content": "Describe a fox."}],
        response_format=Fox,
        max_tokens=60,
        temperature=0,
    )
    assert answer.choices[0].message.parsed is not None
    assert answer.choices[0].message.parsed.legs == 4


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_call_that_is_required_of_the_small_starter_parses_and_validates(
    client: OpenAI, choice: Any
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=CHAT, messages=ASKED, tools=[WEATHER], tool_choice=choice, max_tokens=100
    )
    assert raw.headers["x-inglenook-tools"] == "schema"
    [choice] = raw.parse().choices
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert call.id.startswith("call_")
    jsonschema.validate(json.loads(call.function.arguments), CITY)


def test_a_required_call_is_streamed_as_openais_own_helper_reads_it(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model=CHAT, messages=ASKED, tools=[WEATHER | {"strict": True}], tool_choice="required", max_tokens=100
    ) as stream:
        for _ in stream:
            pass
        [choice] = stream.get_final_completion().choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    jsonschema.validate(json.loads(choice.message.tool_calls[0].function.arguments), CITY)


def test_tools_may_be_left_alone_and_their_results_are_read(client: OpenAI) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    answer = client.chat.completions.create(
        model=CHAT,
        messages=[
            *ASKED,
            {"role": "assistant", "content": None, "tool_calls": [call]},  # type: ignore[list-item]
            {"role": "tool", "tool_call_id": "call_1", "content": "Sunny, 20 degrees"},
        ],
        tools=[WEATHER],
        tool_choice="none",
        max_tokens=12,
        temperature=0,
    )
    assert answer.choices[0].message.content
    assert not answer.choices[0].message.tool_calls


def test_tools_with_a_free_choice_give_words_or_a_valid_call(client: OpenAI) -> None:
    [choice] = client.chat.completions.create(
        model=CHAT,
        messages=[{"role": "user", "content": "Hi"}],
        tools=[WEATHER],
        max_tokens=60,
        temperature=0,
    ).choices
    if choice.finish_reason == "tool_calls":
        [call] = choice.message.tool_calls or []
        jsonschema.validate(json.loads(call.function.arguments), CITY)  # type: ignore[union-attr]
    else:
        assert choice.message.content


def test_openai_responds(client: OpenAI) -> None:
    answer = client.responses.create(
        model=CHAT, input="Hello", instructions="Be short.", max_output_tokens=6, temperature=0
    )
    assert answer.output_text
    assert answer.usage is not None
    assert answer.usage.output_tokens > 0


def test_openais_helper_reads_a_streamed_response(client: OpenAI) -> None:
    with client.responses.stream(model=CHAT, input="Hello", max_output_tokens=6, temperature=0) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert "response.output_text.delta" in kinds
    assert final.output_text


@pytest.mark.parametrize("streamed", [False, True])
def test_a_response_makes_a_required_call(client: OpenAI, streamed: bool) -> None:
    function: Any = {"type": "function", "strict": True, **WEATHER["function"]}
    asked: dict[str, Any] = {
        "model": CHAT,
        "input": ASKED,
        "tools": [function],
        "tool_choice": "required",
        "max_output_tokens": 100,
    }
    if streamed:
        with client.responses.stream(**asked) as stream:
            for _ in stream:
                pass
            answer: Any = stream.get_final_response()
    else:
        answer = client.responses.create(**asked)
    [call] = [item for item in answer.output if item.type == "function_call"]
    assert call.name == "get_weather"
    jsonschema.validate(json.loads(call.arguments), CITY)


def test_openai_completes_a_text(client: OpenAI) -> None:
    answer = client.completions.create(model=CHAT, prompt="The sky is", max_tokens=4, temperature=0)
    assert answer.choices[0].text


def test_openai_embeds_in_order(client: OpenAI) -> None:
    texts = ["a cat", "a kitten", "stock exchange"]
    answer = client.embeddings.create(model="auto", input=texts)  # the client asks for base64 by itself
    assert [datum.index for datum in answer.data] == [0, 1, 2]
    cat, kitten, stocks = (datum.embedding for datum in answer.data)
    assert len(cat) == 384
    assert dot(cat, kitten) > dot(cat, stocks) + 0.2
    assert answer.usage.prompt_tokens > 0
    plain = client.embeddings.create(model="auto", input="a cat", encoding_format="float")
    assert plain.data[0].embedding == pytest.approx(cat, abs=1e-3)


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_an_embedding_model_does_not_chat_and_says_what_it_is_for(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="all-minilm-l6-v2", messages=ASKED)
    assert caught.value.code == "model.wrong_task"
    assert "embeddings" in caught.value.message


def test_a_conversation_that_is_too_long_has_openais_code_and_both_numbers(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model=CHAT, messages=[{"role": "user", "content": "hello world " * 3000}], stream=True
        )
    assert caught.value.code == "context_length_exceeded"
    assert "2048" in caught.value.message


def test_a_picture_for_a_model_without_a_projector_is_a_400_in_words(client: OpenAI) -> None:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(out, "PNG")
    red = "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
    content: Any = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": red}},
    ]
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=CHAT, messages=[{"role": "user", "content": content}])
    assert caught.value.code == "model.no_vision"


def test_an_embedding_model_ranks_and_says_how(http: httpx.Client) -> None:
    body = {"query": "pets", "documents": ["the stock exchange", "a kitten"], "top_n": 1}
    answer = http.post("/v1/rerank", json=body).json()
    assert answer["method"] == "embedding-cosine"
    assert [result["index"] for result in answer["results"]] == [1]


def test_texts_become_tokens_and_texts_again(http: httpx.Client) -> None:
    tokens = http.post("/tokenize", json={"content": "hello world"}).json()["tokens"]
    assert http.post("/v1/detokenize", json={"tokens": tokens}).json()["content"] == "hello world"
    prompt = http.post("/apply-template", json={"messages": ASKED}).json()["prompt"]
    assert "What is the weather" in prompt


def test_the_list_of_models_tells_what_each_is_for(client: OpenAI) -> None:
    models: dict[str, Any] = {model.id: model.model_dump() for model in client.models.list()}
    assert models[CHAT]["language"]["task"] == "chat"
    assert models[CHAT]["language"]["tools"] == "schema"
    assert models["all-minilm-l6-v2"]["language"]["task"] == "embedding"
    assert models[CHAT]["context_length"] == 2048


# -- anthropic ---------------------------------------------------------------------------------------

CLAUDE_TOOL: Any = {"name": "get_weather", "description": "The weather in a city.", "input_schema": CITY}


def test_anthropic_gets_a_message(claude: anthropic.Anthropic) -> None:
    answer = claude.messages.create(
        model=CHAT, messages=ASKED, max_tokens=6, system="Be short.", extra_body={"temperature": 0}
    )
    assert answer.content[0].type == "text"
    assert answer.stop_reason in ("max_tokens", "end_turn")
    assert answer.usage.output_tokens > 0
    assert answer._request_id


def test_anthropic_streams(claude: anthropic.Anthropic) -> None:
    coldly = {"temperature": 0}
    with claude.messages.stream(model=CHAT, messages=ASKED, max_tokens=6, extra_body=coldly) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text
    assert final.content[0].type == "text"
    assert final.content[0].text == text


@pytest.mark.parametrize("streamed", [False, True])
def test_anthropic_requires_a_call(claude: anthropic.Anthropic, streamed: bool) -> None:
    asked: dict[str, Any] = {
        "model": CHAT,
        "messages": ASKED,
        "max_tokens": 100,
        "tools": [CLAUDE_TOOL],
        "tool_choice": {"type": "any"},
    }
    if streamed:
        with claude.messages.stream(**asked) as stream:
            answer = stream.get_final_message()
    else:
        answer = claude.messages.create(**asked)
    assert answer.stop_reason == "tool_use"
    [use] = [block for block in answer.content if block.type == "tool_use"]
    assert use.name == "get_weather"
    jsonschema.validate(use.input, CITY)
    follow: Any = [
        *ASKED,
        {"role": "assistant", "content": [block.model_dump() for block in answer.content]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "20 degrees"}],
        },
    ]
    after = claude.messages.create(
        model=CHAT, messages=follow, max_tokens=8, tools=[CLAUDE_TOOL], tool_choice={"type": "none"}
    )
    assert after.stop_reason in ("max_tokens", "end_turn")


def test_anthropic_counts_what_tools_add(claude: anthropic.Anthropic) -> None:
    plain = claude.messages.count_tokens(model=CHAT, messages=ASKED).input_tokens
    with_tools = claude.messages.count_tokens(model=CHAT, messages=ASKED, tools=[CLAUDE_TOOL]).input_tokens
    assert with_tools > plain + 20


def test_anthropics_errors_have_its_shape(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        claude.messages.create(model="nobody", messages=ASKED, max_tokens=4)
    assert caught.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]


# -- langchain ---------------------------------------------------------------------------------------


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def test_langchain_invokes_streams_calls_tools_and_embeds(server: RunningServer) -> None:
    address, key = f"{server.base_url}/v1", SecretStr("none")
    model = ChatOpenAI(
        model=CHAT, base_url=address, api_key=key, max_retries=0, timeout=PATIENCE_S, temperature=0
    )
    assert model.invoke("Hello", max_tokens=6).content
    chunks: list[Any] = list(model.stream("Hello", max_tokens=6))
    assert all(isinstance(chunk, AIMessageChunk) for chunk in chunks)
    assert "".join(chunk.content for chunk in chunks)
    called = model.bind_tools([get_weather], tool_choice="get_weather").invoke(
        "What is the weather in Paris?", max_tokens=120
    )
    assert [call["name"] for call in called.tool_calls] == ["get_weather"]
    assert isinstance(called.tool_calls[0]["args"]["city"], str)
    embeddings = OpenAIEmbeddings(
        model="auto", base_url=address, api_key=key, check_embedding_ctx_length=False, max_retries=0
    )
    assert len(embeddings.embed_documents(["a cat", "a dog"])) == 2


# -- llm ---------------------------------------------------------------------------------------------


def test_the_llm_command_chats(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: nook\n  model_name: {CHAT}\n  api_base: {server.base_url}/v1\n  api_key_name: nook\n"
    )
    (tmp_path / "keys.json").write_text('{"nook": "none"}')
    environ = os.environ | {"LLM_USER_PATH": str(tmp_path)}
    options = ["-o", "max_tokens", "6", "-o", "temperature", "0"]
    for more in ([], ["--no-stream"]):
        done = subprocess.run(
            [sys.executable, "-m", "llm", "-m", "nook", *options, *more, "Hello"],
            env=environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()
