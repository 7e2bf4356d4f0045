# SPDX-License-Identifier: Apache-2.0
"""The unchanged `ollama` package against a real server with a real model."""

import asyncio
import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest

from inglenook.testing.server import RunningServer
from tests.e2e.workbench import eventually
from tests.starters import with_starters

pytestmark = pytest.mark.slow

CHAT = "smollm2-135m-instruct"
EMBEDDING = "all-minilm-l6-v2"
TALK = [{"role": "user", "content": "Say hi"}]
SHORT: dict[str, Any] = {"num_predict": 8, "temperature": 0, "seed": 1}
ENVIRON = {
    "INGLENOOK_RUNTIME__CPU_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "INGLENOOK_LANGUAGE__MAX_CONTEXT": "1024",
    "INGLENOOK_LANGUAGE__PARALLEL": "2",
}


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, chat_model: Path, embedding_model: Path
) -> Iterator[RunningServer]:
    data = with_starters(tmp_path_factory.mktemp("data"), chat_model, embedding_model)
    with RunningServer.start(data, environ=ENVIRON, timeout_s=180) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> ollama.Client:
    return ollama.Client(host=server.base_url, timeout=300)


def loaded(client: ollama.Client) -> list[str]:
    return [str(one.model) for one in client.ps().models]


def test_models_are_listed_and_shown(client: ollama.Client) -> None:
    names = [one.model for one in client.list().models]
    assert {f"{CHAT}:latest", f"{EMBEDDING}:latest"} <= set(names)
    shown = client.show(CHAT)
    assert shown.details is not None
    assert (shown.details.family, shown.details.format) == ("llama", "gguf")
    assert shown.modelinfo is not None
    assert shown.modelinfo["llama.context_length"] == 8192
    assert shown.capabilities is not None
    assert "completion" in shown.capabilities


def test_a_chat_is_answered_with_figures(client: ollama.Client) -> None:
    answer = client.chat(f"{CHAT}:latest", TALK, options=SHORT)
    assert answer.message.content
    assert (answer.done, answer.done_reason) == (True, "length")
    assert answer.eval_count == 8
    assert answer.prompt_eval_count
    assert answer.prompt_eval_count > 10
    assert answer.total_duration
    assert answer.eval_duration
    assert answer.total_duration >= answer.eval_duration > 0
    assert answer.load_duration is not None


def test_a_stream_says_the_same_piece_by_piece(client: ollama.Client) -> None:
    whole = client.chat(CHAT, TALK, options=SHORT).message.content
    pieces = list(client.chat(CHAT, TALK, options=SHORT, stream=True))
    assert len(pieces) > 3
    assert "".join(piece.message.content or "" for piece in pieces) == whole
    assert [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [True]


def test_the_asynchronous_client_works_too(server: RunningServer) -> None:
    async def talk() -> tuple[str, int, int]:
        client = ollama.AsyncClient(host=server.base_url, timeout=300)
        text = ""
        async for piece in await client.chat(CHAT, TALK, options=SHORT, stream=True):
            text += piece.message.content or ""
        vectors = (await client.embed(EMBEDDING, ["a", "b"])).embeddings
        return text, len((await client.list()).models), len(vectors)

    text, models, vectors = asyncio.run(talk())
    assert text
    assert (models >= 2, vectors) == (True, 2)


def test_generate_with_template_raw_and_context(client: ollama.Client) -> None:
    first = client.generate(CHAT, "My name is Bob.", options=SHORT)
    assert first.response
    assert first.context
    second = client.generate(CHAT, "What is my name?", context=first.context, options=SHORT)
    assert second.context is not None
    assert list(second.context[: len(first.context)]) == list(first.context)
    assert second.prompt_eval_count is not None
    assert second.prompt_eval_count > len(first.context)
    raw = client.generate(CHAT, "Once upon a", raw=True, options=SHORT, logprobs=True, top_logprobs=2)
    assert raw.prompt_eval_count
    assert raw.prompt_eval_count < 10, "no template around it"
    assert raw.logprobs is not None
    assert len(raw.logprobs) == 8


def test_structured_output_fits_its_schema(client: ollama.Client) -> None:
    schema = {
        "type": "object",
        "properties": {"age": {"type": "integer"}, "ok": {"type": "boolean"}},
        "required": ["age", "ok"],
    }
    answer = client.chat(
        CHAT,
        [{"role": "user", "content": "Bob is 40. Answer as JSON."}],
        format=schema,
        options={"num_predict": 60, "temperature": 0},
    )
    told = json.loads(answer.message.content or "")
    assert isinstance(told["age"], int)
    assert isinstance(told["ok"], bool)


def weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: its name
    """
    return f"sunny in {city}"


def test_tools_end_in_a_call_or_in_words_and_their_answers_are_taken(client: ollama.Client) -> None:
    question = {"role": "user", "content": "Call the tool weather for the city Paris."}
    answer = client.chat(CHAT, [question], tools=[weather], options={"temperature": 0, "num_predict": 128})
    calls = answer.message.tool_calls or []
    assert calls or answer.message.content
    for call in calls:
        assert call.function.name == "weather"
        assert isinstance(call.function.arguments["city"], str)
    made = {"role": "assistant", "content": "", "tool_calls": [
        {"function": {"name": "weather", "arguments": {"city": "Paris"}}}
    ]}  # fmt: skip
    told = {"role": "tool", "tool_name": "weather", "content": weather("Paris")}
    after = client.chat(
        CHAT, [question, made, told], tools=[weather], options={"temperature": 0, "num_predict": 64}
    )
    assert after.done


def test_embeddings_have_length_1_and_know_what_is_alike(client: ollama.Client) -> None:
    answer = client.embed(EMBEDDING, ["a cat", "a kitten", "the tax office"])
    cat, kitten, tax = answer.embeddings
    assert len(cat) == 384
    assert math.isclose(sum(value * value for value in cat), 1.0, rel_tol=1e-3)
    assert dot(cat, kitten) > dot(cat, tax) + 0.2
    [short] = client.embed(EMBEDDING, "a cat", dimensions=64).embeddings
    assert len(short) == 64
    assert math.isclose(sum(value * value for value in short), 1.0, rel_tol=1e-3)
    older = client.embeddings(EMBEDDING, "a cat").embedding
    assert dot(older, cat) / math.sqrt(dot(older, older)) > 0.999


def dot(a: Any, b: Any) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_a_text_longer_than_the_model_is_cut_off_or_refused(client: ollama.Client) -> None:
    long = "word " * 3000
    assert len(client.embed(EMBEDDING, long).embeddings[0]) == 384
    with pytest.raises(ollama.ResponseError) as caught:
        client.embed(EMBEDDING, long, truncate=False)
    assert caught.value.status_code == 400


def test_keep_alive_says_when_a_model_goes(client: ollama.Client) -> None:
    client.generate(CHAT, "", keep_alive="10m")
    [running] = [one for one in client.ps().models if one.model == f"{CHAT}:latest"]
    assert running.expires_at is not None
    assert timedelta(minutes=8) < running.expires_at - datetime.now(UTC) < timedelta(minutes=11)
    assert running.size
    assert running.context_length
    client.generate(CHAT, "", keep_alive=-1)
    [running] = [one for one in client.ps().models if one.model == f"{CHAT}:latest"]
    assert running.expires_at is not None
    assert running.expires_at - datetime.now(UTC) > timedelta(days=365)
    gone = client.generate(CHAT, "", keep_alive=0)
    assert gone.done_reason == "unload"
    eventually(lambda: f"{CHAT}:latest" not in loaded(client), "it is unloaded")


def test_keep_alive_0_lets_a_model_go_after_its_answer(client: ollama.Client) -> None:
    assert client.chat(CHAT, TALK, options=SHORT, keep_alive=0).message.content
    eventually(lambda: f"{CHAT}:latest" not in loaded(client), "it is unloaded")


def test_num_ctx_loads_with_as_much_as_is_asked_for(client: ollama.Client) -> None:
    client.generate(CHAT, "", keep_alive=0)
    eventually(lambda: f"{CHAT}:latest" not in loaded(client), "it is unloaded")
    client.chat(CHAT, TALK, options=SHORT | {"num_ctx": 300})
    [running] = [one for one in client.ps().models if one.model == f"{CHAT}:latest"]
    assert running.context_length
    assert 300 <= running.context_length <= 1024


@pytest.mark.parametrize(
    ("call", "status"),
    [
        (lambda client: client.chat("nope", TALK), 404),
        (lambda client: client.chat(CHAT, TALK, think=True), 400),
        (lambda client: client.chat(CHAT, TALK, options={"top_k": "x"}), 400),
        (lambda client: client.chat(EMBEDDING, TALK), 400),
        (lambda client: client.generate(CHAT, "def f(", suffix=")"), 400),
        (lambda client: client.chat(CHAT, [{"role": "user", "content": "word " * 3000}]), 400),
        (lambda client: client.pull("llama3.2"), 501),
        (lambda client: client.create("mine", from_=CHAT), 501),
        (lambda client: client.copy(CHAT, "mine"), 501),
        (lambda client: client.delete(CHAT), 403),
    ],
)
def test_errors_are_those_that_the_package_knows(client: ollama.Client, call: Any, status: int) -> None:
    with pytest.raises(ollama.ResponseError) as caught:
        call(client)
    assert caught.value.status_code == status
    assert caught.value.error


def test_a_pull_of_what_is_here_succeeds(client: ollama.Client) -> None:
    assert client.pull(CHAT).status == "success"
    assert [one.status for one in client.pull(f"{CHAT}:latest", stream=True)][-1] == "success"


def test_a_client_that_goes_away_frees_its_place(server: RunningServer, client: ollama.Client) -> None:
    body = {"model": CHAT, "messages": TALK, "options": {"num_predict": 900}}
    with httpx.stream("POST", f"{server.base_url}/api/chat", json=body, timeout=120) as answer:
        next(answer.iter_lines())
    runtime = f"{server.base_url}/v1/runtime"
    eventually(lambda: httpx.get(runtime, timeout=60).json()["leases"] == [], "the generation has stopped")
