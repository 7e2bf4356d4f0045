# SPDX-License-Identifier: Apache-2.0
"""Options of a model: what may be set, in words where it may not, and what is kept of it."""

import math
from dataclasses import fields
from typing import Any

import pytest

from inglenook.base.errors import Invalid
from inglenook.base.ids import OWNER, ModelId
from inglenook.chat.model import ModelOptions
from inglenook.chat.options import (
    AT_LOAD,
    OF_EVERY_KIND,
    RULES,
    as_json,
    changed,
    description,
    differing,
    from_json,
    request_defaults,
)
from inglenook.chat.records import OptionRecords
from inglenook.store.database import Database
from inglenook.testing.clock import FakeClock

EMPTY = ModelOptions()
ALL: dict[str, Any] = {
    "context": 8192,
    "parallel": 2,
    "gpu_layers": 0,
    "threads": 3,
    "flash_attention": "off",
    "cache_type_k": "q8_0",
    "cache_type_v": "q4_0",
    "mmproj": "none",
    "draft": "small",
    "loras": [{"id": "style", "scale": 0.5}],
    "pooling": "mean",
    "task": "embedding",
    "chat_template": "my.jinja",
    "keep_s": -1.0,
    "pinned": True,
    "temperature": 0.2,
    "top_p": 0.9,
    "top_k": 40,
    "min_p": 0.05,
    "repeat_penalty": 1.1,
    "max_tokens": 100,
    "system": "Be brief.",
    "aliases": ["gpt-4"],
}


def test_every_option_has_a_rule_and_every_rule_an_option() -> None:
    assert set(RULES) == {field.name for field in fields(ModelOptions)} == set(ALL)
    assert [one["name"] for one in description()] == list(RULES)


def test_what_is_set_comes_out_as_it_went_in() -> None:
    options = changed(EMPTY, ALL)
    assert as_json(options) == ALL
    assert from_json(as_json(options)) == (options, ())
    assert as_json(EMPTY) == {}


@pytest.mark.parametrize("name", list(ALL))
def test_null_clears_an_option_and_leaves_the_others(name: str) -> None:
    cleared = as_json(changed(changed(EMPTY, ALL), {name: None}))
    assert cleared == {other: value for other, value in ALL.items() if other != name}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("context", 255),
        ("context", 4096.5),
        ("context", "4096"),
        ("context", True),
        ("context", math.nan),
        ("context", 10**400),
        ("parallel", 0),
        ("parallel", 65),
        ("flash_attention", "yes"),
        ("cache_type_k", "q2"),
        ("task", "speech"),
        ("keep_s", -2),
        ("keep_s", math.inf),
        ("keep_s", False),
        ("pinned", 1),
        ("temperature", -0.1),
        ("temperature", 5.1),
        ("temperature", math.nan),
        ("top_p", 1.01),
        ("min_p", "0.1"),
        ("max_tokens", 0),
        ("system", "  "),
        ("system", "x" * 100_001),
        ("mmproj", ""),
        ("chat_template", "a\0b"),
        ("aliases", "gpt-4"),
        ("aliases", ["a", "A"]),
        ("aliases", [""]),
        ("aliases", ["two\nlines"]),
        ("aliases", [f"a{n}" for n in range(17)]),
        ("aliases", [3]),
        ("loras", "style"),
        ("loras", [{"id": "style", "strength": 1}]),
        ("loras", [{"id": "style", "scale": 11}]),
        ("loras", [{"scale": 1}]),
        ("loras", [["style", 1, 2]]),
    ],
)
def test_what_may_not_be_is_refused_with_what_may(name: str, value: Any) -> None:
    with pytest.raises(Invalid, match=f"^{name} must be ") as refused:
        changed(EMPTY, {name: value})
    assert refused.value.field == name
    assert RULES[name].accepts in refused.value.message
    assert len(refused.value.message) < 300


def test_a_name_that_there_is_not_is_refused_with_the_nearest() -> None:
    with pytest.raises(Invalid, match="There is no option 'temprature'") as refused:
        changed(EMPTY, {"temprature": 1})
    assert str(refused.value.hint).startswith("nearest: temperature")
    with pytest.raises(Invalid, match="There is no option") as refused:
        changed(EMPTY, {"zzz": 1})
    assert "context, parallel" in str(refused.value.hint)


def test_models_of_other_kinds_have_no_options_of_language_models() -> None:
    assert changed(EMPTY, {"pinned": True, "keep_s": 5}, known=OF_EVERY_KIND).pinned is True
    with pytest.raises(Invalid, match="context is an option of language models only") as refused:
        changed(EMPTY, {"context": 512}, known=OF_EVERY_KIND)
    assert refused.value.hint == "there are: keep_s, pinned, aliases"


def test_a_whole_number_may_be_written_with_a_point() -> None:
    assert changed(EMPTY, {"context": 4096.0}).context == 4096


def test_a_lora_may_be_written_shortly() -> None:
    assert changed(EMPTY, {"loras": ["a", ["b", 2]]}).loras == (("a", 1.0), ("b", 2.0))


def test_only_what_is_set_stands_in_for_what_a_request_does_not_name() -> None:
    assert request_defaults(EMPTY) == {}
    options = changed(EMPTY, {"temperature": 0.0, "top_k": 0, "system": "Be brief.", "context": 512})
    assert request_defaults(options) == {"temperature": 0.0, "top_k": 0, "system": "Be brief."}


def test_what_works_at_a_load_is_told_apart() -> None:
    assert differing(EMPTY, changed(EMPTY, ALL)) == AT_LOAD
    assert "temperature" not in AT_LOAD
    assert "keep_s" not in AT_LOAD
    assert {"context", "mmproj", "loras", "cache_type_k"} < set(AT_LOAD)


def test_what_another_version_has_kept_is_left_out_and_named() -> None:
    options, dropped = from_json({"context": 1024, "telepathy": True, "parallel": "many"})
    assert options == ModelOptions(context=1024)
    assert dropped == ("telepathy", "parallel")


def test_options_are_kept_with_who_changed_them_and_when(database: Database, clock: FakeClock) -> None:
    records = OptionRecords(database=database, clock=clock)
    records.put(ModelId("a/b"), changed(EMPTY, ALL), person=OWNER)
    clock.advance(60.0)
    kept = records.put(ModelId("a/b"), changed(EMPTY, {"context": 512}), person=OWNER)
    records.put(ModelId("c"), EMPTY, person=OWNER)
    found = records.all()
    assert found[ModelId("a/b")] == kept
    assert kept.options == ModelOptions(context=512)
    assert (kept.person, kept.changed_at) == (OWNER, clock.now())
    assert found[ModelId("c")].options == EMPTY
