# SPDX-License-Identifier: Apache-2.0
"""The pure parts of conversations: parameters, prompts, pieces of an answer, the tree."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inglenook.base.ids import MessageId
from inglenook.chat.conversations.chunks import Answer, summed, tools_of
from inglenook.chat.conversations.errors import BadMessage
from inglenook.chat.conversations.model import (
    Image,
    Message,
    MessageState,
    Reasoning,
    Role,
    Text,
    Tool,
    newest_below,
    path_to,
    title_from,
)
from inglenook.chat.conversations.parameters import Parameters, parameters_of
from inglenook.chat.conversations.prompt import GONE, NO_PICTURES, body_of, chat_messages

NOW = datetime(2026, 11, 26, tzinfo=UTC)
PNG = b"\x89PNG rest"


def message(
    name: str, *parts: Any, parent: str | None = None, role: Role = Role.USER, **more: Any
) -> Message:
    fields = {"state": MessageState.DONE, "created_at": NOW} | more
    return Message(
        id=MessageId(name),
        parent=None if parent is None else MessageId(parent),
        role=role,
        parts=parts,
        **fields,
    )


# -- parameters ------------------------------------------------------------------------------------------


def test_parameters_come_back_as_they_were_and_say_only_what_was_set() -> None:
    sent = {"temperature": 0, "top_k": 40, "stop": ["a", "b"], "tools": ["edit_image"], "json_mode": True}
    assert parameters_of({**sent, "seed": None}).as_json() == sent
    assert Parameters().as_json() == {}
    assert parameters_of({"stop": "END"}).stop == ("END",)


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        ({"temprature": 1}, "did you mean temperature"),
        ({"temperature": "hot"}, "must be a number"),
        ({"temperature": True}, "must be a number"),
        ({"temperature": float("nan")}, "0 to 5"),
        ({"top_p": 1.01}, "0 to 1"),
        ({"top_k": 1.5}, "whole number"),
        ({"max_tokens": 0}, "1 to"),
        ({"stop": [""]}, "not empty"),
        ({"stop": ["x"] * 3 + [str(n) for n in range(17)]}, "16 stop texts"),
        ({"tools": ["rm"]}, "no tool"),
        ({"json_mode": 1}, "true or false"),
    ],
)
def test_a_parameter_that_cannot_be_is_refused_at_its_field(sent: dict[str, Any], says: str) -> None:
    with pytest.raises(BadMessage) as refused:
        parameters_of(sent)
    assert says in str(refused.value)
    assert refused.value.field == f"parameters.{next(iter(sent))}"


# -- prompts ---------------------------------------------------------------------------------------------


def test_a_conversation_is_sent_with_its_system_prompt_and_without_the_models_thoughts() -> None:
    path = [
        message("1", Text("hello")),
        message("2", Reasoning("hm"), Text("hi"), role=Role.ASSISTANT),
        message("3", Text("again")),
    ]
    sent = chat_messages(path, system="Be brief.", pictures={}, sees=False)
    assert sent == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": "again"},
    ]
    assert chat_messages(path[:1], system=" ", pictures={}, sees=False)[0]["role"] == "user"


def test_pictures_go_to_models_that_see_and_are_named_to_the_others() -> None:
    here, gone = Image(picture="pic_1"), Image(blob="ab")
    path = [message("1", Text("look"), here, gone)]
    (seen,) = chat_messages(path, system="", pictures={here: PNG}, sees=True)
    kinds = [part["type"] for part in seen["content"]]
    assert kinds == ["text", "text", "image_url", "text"]
    assert seen["content"][2]["image_url"]["url"].startswith("data:image/png;base64,")
    assert seen["content"][3]["text"] == GONE
    (told,) = chat_messages(path, system="", pictures={here: PNG}, sees=False)
    assert told["content"] == f"look\n\nPicture pic_1: {NO_PICTURES}\n\n{GONE}"


def test_tool_calls_are_sent_as_they_were_made_each_with_its_result() -> None:
    parts = (
        Text("I draw."),
        Tool("c1", "generate_image", '{"prompt": "fox"}', "done"),
        Tool("c2", "generate_image", "{}"),
        Text("There."),
    )
    sent = chat_messages([message("1", *parts, role=Role.ASSISTANT)], system="", pictures={}, sees=False)
    assert [one["role"] for one in sent] == ["assistant", "tool", "tool", "assistant"]
    assert [call["id"] for call in sent[0]["tool_calls"]] == ["c1", "c2"]
    assert sent[0]["content"] == "I draw."
    assert sent[2] == {"role": "tool", "tool_call_id": "c2", "content": "(it was stopped)"}
    assert sent[3]["content"] == "There."


def test_every_parameter_reaches_the_engine_under_its_own_name() -> None:
    given = Parameters(
        temperature=0.0, top_p=0.5, top_k=3, min_p=0.1, repeat_penalty=1.1, presence_penalty=0.2,
        frequency_penalty=0.3, max_tokens=9, seed=7, context=512, stop=("END",), json_mode=True,
    )  # fmt: skip
    body = body_of([], given, model="m", system="", pictures={}, sees=False, tools=[{"type": "function"}])
    assert body["temperature"] == 0.0
    assert (body["top_p"], body["top_k"], body["min_p"], body["repeat_penalty"]) == (0.5, 3, 0.1, 1.1)
    assert (body["presence_penalty"], body["frequency_penalty"]) == (0.2, 0.3)
    assert (body["max_tokens"], body["seed"], body["stop"]) == (9, 7, ["END"])
    assert body["response_format"] == {"type": "json_object"}
    assert body["tools"] == [{"type": "function"}]
    assert body["stream_options"] == {"include_usage": True}
    assert "context" not in body  # it is the load's, not the request's
    plain = body_of([], Parameters(), model="m", system="", pictures={}, sees=False)
    assert not {"temperature", "stop", "response_format", "tools"} & plain.keys()


# -- pieces ----------------------------------------------------------------------------------------------


def piece(**delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta}]}


def test_an_answer_is_put_together_with_reasoning_usage_and_its_end() -> None:
    answer = Answer()
    assert answer.take(piece(role="assistant", content=None)) == []
    assert answer.take(piece(reasoning_content="hm")) == [("reasoning", "hm")]
    answer.take(piece(content="Hel"))
    answer.take(
        {"choices": [{"delta": {"content": "lo"}, "finish_reason": "stop"}], "timings": {"predicted_n": 2}}
    )
    answer.take({"choices": [], "usage": {"completion_tokens": 2}})
    assert answer.parts == [Reasoning("hm"), Text("Hello")]
    assert (answer.finish_reason, answer.usage, answer.timings) == (
        "stop",
        {"completion_tokens": 2},
        {"predicted_n": 2},
    )


@given(st.lists(st.integers(1, 9), max_size=30), st.sampled_from(["<think>", "\n <think>\n"]))
def test_thoughts_written_into_the_text_are_parted_wherever_the_pieces_break(
    lengths: list[int], opening: str
) -> None:
    text = f"{opening}I <b>think</b> so.</think>\n\nYes <think> no"
    answer, at, told = Answer(), 0, list[tuple[str, str]]()
    for length in lengths:
        told += answer.take(piece(content=text[at : at + length]))
        at += length
    told += answer.take(piece(content=text[at:])) if at < len(text) else []
    told += answer.end()
    assert [type(part) for part in answer.parts] == [Reasoning, Text]
    assert answer.parts[0].text.strip() == "I <b>think</b> so."  # type: ignore[union-attr]
    assert answer.parts[1].text.strip() == "Yes <think> no"  # type: ignore[union-attr]
    for kind, part in (("reasoning", answer.parts[0]), ("text", answer.parts[1])):
        assert "".join(words for of, words in told if of == kind) == part.text  # type: ignore[union-attr]


@pytest.mark.parametrize("text", ["<thin", "<", "  <think", "<thinking> is a word", "plain"])
def test_what_only_looks_like_a_thought_is_text(text: str) -> None:
    answer = Answer()
    for char in text:
        answer.take(piece(content=char))
    answer.end()
    assert answer.parts == [Text(text)]


def test_a_thought_that_does_not_end_is_kept_as_one() -> None:
    answer = Answer()
    answer.take(piece(content="<think>still at it </thi"))
    answer.end()
    assert answer.parts == [Reasoning("still at it </thi")]


def test_tool_calls_come_in_pieces() -> None:
    answer = Answer()
    answer.take(piece(tool_calls=[{"index": 0, "id": "c", "function": {"name": "generate_image"}}]))
    answer.take(piece(tool_calls=[{"index": 0, "function": {"arguments": '{"prompt":'}}]))
    answer.take(piece(tool_calls=[{"index": 0, "function": {"arguments": '"x"}'}}]))
    answer.take(piece(tool_calls=[{"index": 1, "function": {"name": "edit_image"}}]))
    answer.take(piece(tool_calls=[{"index": 9999, "function": {"name": "too_many"}}]))
    assert tools_of(answer, 2)[:2] == [
        Tool("c", "generate_image", '{"prompt":"x"}'),
        Tool("call_2_1", "edit_image", "{}"),
    ]
    assert len(answer.calls) <= 32


def test_the_figures_of_several_requests_are_added_up() -> None:
    one = {"predicted_n": 10, "predicted_ms": 1000.0, "prompt_n": 4, "prompt_ms": 100.0}
    both = summed(one, {"predicted_n": 30, "predicted_ms": 1000.0, "prompt_n": 0, "prompt_ms": 0.0})
    assert (both["predicted_n"], both["predicted_per_second"]) == (40, 20.0)
    assert summed({}, one) == one


# -- the tree --------------------------------------------------------------------------------------------


def test_a_path_goes_from_the_root_and_knows_the_brothers() -> None:
    said = [
        message("a"),
        message("b", parent="a"),
        message("c", parent="a"),
        message("d", parent="b"),
        message("e"),
    ]
    path = path_to(said, MessageId("d"))
    assert [turn.message.id for turn in path] == ["a", "b", "d"]
    assert [turn.brothers for turn in path] == [("a", "e"), ("b", "c"), ("d",)]
    assert path_to(said, None) == path_to(said, MessageId("x")) == []
    assert newest_below(said, MessageId("a")) == "c"
    assert newest_below(said, MessageId("b")) == "d"


def test_a_tree_that_bites_its_tail_comes_to_an_end() -> None:
    said = [message("a", parent="b"), message("b", parent="a")]
    assert len(path_to(said, MessageId("a"))) == 2
    assert newest_below(said, MessageId("a")) in ("a", "b")


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("  two\n words ", "two words"),
        ("x" * 90, "x" * 59 + "…"),
        ("word " * 20, "word word word word word word word word word word word…"),
        ("", ""),
    ],
)
def test_a_title_is_the_first_words(text: str, title: str) -> None:
    assert title_from(text) == title
    assert len(title_from(text)) <= 60
