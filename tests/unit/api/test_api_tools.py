# SPDX-License-Identifier: Apache-2.0
"""Tool calls that hold: the schema that is asked for, what is read, and a history in words."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inglenook.api.language import history
from inglenook.api.language.calls import Words, read
from inglenook.api.language.tools import Tool, Wish, bounded, instructions, schema, tools_of, wish_of
from inglenook.base.errors import Invalid

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": CITY}}
CLOCK = {"type": "function", "function": {"name": "get_time"}}
TOOLS = tools_of([WEATHER, CLOCK])


def fits(value: Any, wish: Wish) -> bool:
    return bool(jsonschema.Draft202012Validator(schema(wish)).is_valid(value))


def call(name: str = "get_weather", **arguments: Any) -> dict[str, Any]:
    return {"tool": name, "arguments": arguments}


def test_a_required_call_is_one_of_the_functions_and_nothing_else() -> None:
    wish = wish_of(TOOLS, "required")
    assert fits(call(city="Paris"), wish)
    assert fits(call("get_time"), wish)
    assert not fits(call(), wish)
    assert not fits(call("get_time", zone="UTC"), wish)
    assert not fits(call("rm"), wish)
    assert not fits({"answer": "no"}, wish)


def test_a_named_function_is_the_only_one() -> None:
    wish = wish_of(TOOLS, {"type": "function", "function": {"name": "get_time"}}, several=True)
    assert fits(call("get_time"), wish)
    assert not fits(call(city="Paris"), wish)


def test_a_free_choice_also_allows_an_answer_in_words() -> None:
    wish = wish_of(TOOLS, None)
    assert fits({"answer": "It is sunny."}, wish)
    assert fits(call(city="Paris"), wish)
    assert not fits({"answer": 3}, wish)


def test_words_follow_the_callers_own_schema() -> None:
    form = {"type": "json_schema", "json_schema": {"schema": {"type": "object", "required": ["x"]}}}
    wish = wish_of(TOOLS, "auto", response_format=form)
    assert fits({"answer": {"x": 1}}, wish)
    assert not fits({"answer": "x"}, wish)
    assert fits({"answer": {}}, wish_of(TOOLS, "auto", response_format={"type": "json_object"}))


def test_several_calls_are_a_bounded_list() -> None:
    wish = wish_of(TOOLS, "required", several=True)
    assert fits({"calls": [call(city="Paris"), call("get_time")]}, wish)
    assert not fits({"calls": []}, wish)
    assert not fits({"calls": [call("get_time")] * 9}, wish)


def test_allowed_tools_narrow_the_choice() -> None:
    allowed = {"mode": "required", "tools": [{"type": "function", "name": "get_time"}]}
    wish = wish_of(TOOLS, {"type": "allowed_tools", "allowed_tools": allowed})
    assert wish.mode == "required"
    assert [tool.name for tool in wish.tools] == ["get_time"]


@pytest.mark.parametrize(
    ("tools", "choice", "field"),
    [
        ([{"type": "web_search"}], None, "tools.0"),
        ([{"type": "function", "function": {}}], None, "tools.0"),
        ([WEATHER, WEATHER], None, "tools"),
        ({}, None, "tools"),
        ([WEATHER] * 129, None, "tools"),
        ([WEATHER], "sometimes", "tool_choice"),
        ([WEATHER], {"type": "function", "function": {"name": "other"}}, "tool_choice"),
        ([], "required", "tool_choice"),
    ],
)
def test_tools_that_make_no_sense_are_refused_by_name(tools: Any, choice: Any, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        wish_of(tools_of(tools), choice)
    assert caught.value.field == field


def test_definitions_keep_their_meaning_where_two_functions_use_the_same_name() -> None:
    def pointing(kind: str) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {"x": {"$ref": "#/$defs/X"}},
            "required": ["x"],
            "$defs": {"X": {"type": kind}},
        }

    wish = wish_of((Tool("a", "", pointing("string")), Tool("b", "", pointing("integer"))), "required")
    assert fits(call("a", x="text"), wish)
    assert fits(call("b", x=1), wish)
    assert not fits(call("a", x=1), wish)


def test_a_schema_that_refers_to_itself_still_does() -> None:
    tree = {"type": "object", "properties": {"next": {"$ref": "#"}}, "additionalProperties": False}
    wish = wish_of((Tool("walk", "", tree),), "required")
    assert fits(call("walk", next={"next": {}}), wish)
    assert not fits(call("walk", next={"other": {}}), wish)


def test_bounds_end_every_text_and_list_and_leave_tighter_ones() -> None:
    value = {
        "type": "object",
        "properties": {
            "a": {"type": "string"},
            "b": {"type": "string", "maxLength": 3},
            "c": {"type": "array", "items": {"type": "string"}, "minItems": 5},
            "d": {"type": "string", "enum": ["x"]},
        },
    }
    found = bounded(value, 20)["properties"]
    assert found["a"]["maxLength"] == 20
    assert found["b"]["maxLength"] == 3
    assert found["c"]["maxItems"] == 5
    assert found["c"]["items"]["maxLength"] == 20
    assert "maxLength" not in found["d"]


def test_the_model_is_told_of_every_function_and_how_to_call_it() -> None:
    told = instructions(wish_of(TOOLS, "auto"))
    assert "get_weather" in told
    assert "get_time" in told
    assert '{"tool"' in told
    assert '{"answer"' in told
    assert '{"answer"' not in instructions(wish_of(TOOLS, "required"))


# -- reading ---------------------------------------------------------------------------------------------


def test_calls_are_read_with_ids_of_their_own() -> None:
    said = read(json.dumps({"calls": [call(city="Paris"), call("get_time")]}))
    assert said is not None
    assert [one.name for one in said.calls] == ["get_weather", "get_time"]
    assert json.loads(said.calls[0].arguments) == {"city": "Paris"}
    assert len({one.id for one in said.calls}) == 2


def test_words_of_the_callers_schema_are_read_as_json() -> None:
    said = read('{"answer": {"x": 1}}')
    assert said is not None
    assert json.loads(said.words or "") == {"x": 1}


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"tool": "a"', '{"tool": "a"}', "[]", "3", '{"tool": "a", "arguments": 3}', '{"calls": []}'],
)
def test_what_is_cut_off_or_something_else_is_not_read(text: str) -> None:
    assert read(text) is None


@given(st.text(), st.integers(1, 7), st.booleans())
def test_words_come_out_as_they_are_written_however_they_are_cut(
    text: str, size: int, ascii_only: bool
) -> None:
    written = json.dumps({"answer": text}, ensure_ascii=ascii_only)
    words = Words()
    pieces = [words.feed(written[at : at + size]) for at in range(0, len(written), size)]
    expected = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if ascii_only else text
    assert "".join(pieces) == expected
    assert words.begun


def test_words_that_are_cut_off_are_kept_as_far_as_they_go() -> None:
    words = Words()
    assert words.feed('{ "answer" :"It is \\u00') == "It is "
    assert words.feed("e9t\\") == "ét"
    assert words.begun


def test_a_call_has_no_words() -> None:
    words = Words()
    assert words.feed(json.dumps(call(city="x"))) == ""
    assert not words.begun


# -- history -----------------------------------------------------------------------------------------------

CALLED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {
            "id": "c1",
            "type": "function",
            "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
        }
    ],
}


def test_calls_and_results_become_words_and_neighbours_one_message() -> None:
    messages = [
        {"role": "user", "content": "Weather?"},
        CALLED,
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "20 degrees"}]},
        {"role": "assistant", "content": "Sunny."},
    ]
    assert history.tells_of_calls(messages)
    found = history.in_words(messages, instructions="Call.")
    assert [one["role"] for one in found] == ["system", "user", "assistant", "user", "assistant"]
    assert json.loads(found[2]["content"]) == call(city="Paris")
    assert found[3]["content"] == "Result of get_weather: sunny\nResult of the function: 20 degrees"
    assert not history.tells_of_calls(found)


def test_instructions_join_a_system_prompt_that_is_there() -> None:
    for content, expected in (
        ("Be kind.", "Be kind.\n\nCall."),
        (
            [{"type": "text", "text": "Be kind."}],
            [{"type": "text", "text": t} for t in ("Be kind.", "Call.")],
        ),
    ):
        [first, _] = history.with_system(
            [{"role": "system", "content": content}, {"role": "user", "content": "Hi"}], "Call."
        )
        assert first["content"] == expected
