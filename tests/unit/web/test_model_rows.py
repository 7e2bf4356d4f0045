# SPDX-License-Identifier: Apache-2.0
"""How the page tells what a model is and how it stands, and how its options become fields and back."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from inglenook.base.errors import Invalid
from inglenook.base.ids import ModelId
from inglenook.catalog.model import LanguageFacts, LanguageTask, ModelKind, ModelRecord
from inglenook.chat.model import Counters, ModelOptions, ModelState
from inglenook.web.model_rows import grouped, row_of
from inglenook.web.option_fields import option_fields, typed, written


def record(name: str = "m", kind: ModelKind = ModelKind.LANGUAGE, **more: Any) -> ModelRecord:
    facts = LanguageFacts(task=LanguageTask.CHAT, architecture="llama", context=8192, quantisation="Q4_K_M")
    return ModelRecord(
        id=ModelId(name),
        kind=kind,
        family=None,
        path=Path(f"/models/{name}"),
        layout="single",
        weights_bytes=2**20,
        parameters=10,
        dtype="unknown",
        digest="",
        root=Path("/models"),
        language=facts if kind is ModelKind.LANGUAGE else None,
        **more,
    )


def state(**more: Any) -> ModelState:
    return replace(ModelState(ModelId("m"), "unloaded"), **more)


def test_a_model_tells_how_far_away_it_is() -> None:
    row = row_of(record(), state(away_s=4.2), None)
    assert row.state_words == "about 4 s away"
    assert (row.can_load, row.can_unload, row.can_pin) == (True, False, True)


def test_a_model_at_work_tells_how_many_places_are_taken_and_how_fast_it_is() -> None:
    busy = state(state="ready", leases=2, capacity=4, device="cpu", measured_bytes=2**30, waiting=1)
    row = row_of(record(), busy, Counters(tokens_per_s=31.26, last_used=datetime.now(UTC)))
    assert row.state_words == "at work"
    assert row.now == ("on cpu", "1 GiB used", "2 of 4 at work", "1 request waits", "31.3 tokens a second")
    assert row.can_unload


def test_a_model_that_is_leaving_cannot_be_unloaded_once_more() -> None:
    row = row_of(record(), state(state="ready", leases=1, leaving=True), None)
    assert row.state_words == "leaves when its work is done"
    assert not row.can_unload


def test_a_problem_is_told_with_what_to_do() -> None:
    broken = record(problem="it is cut off\nhint: fetch it again")
    row = row_of(broken, state(state="unusable"), None)
    assert (row.problem, row.hint) == ("It is cut off", "Fetch it again")
    assert (row.can_load, row.can_unload, row.can_pin) == (False, False, False)


def test_a_part_of_other_models_has_nothing_to_load() -> None:
    row = row_of(record(kind=ModelKind.LORA), state(), None)
    assert (row.state_words, row.can_load, row.can_pin) == ("", False, False)


def test_what_is_loaded_comes_first() -> None:
    names = {"a": "unloaded", "b": "ready", "c": "unloaded"}
    rows = [(one := record(name), row_of(one, state(state=said), None)) for name, said in names.items()]
    [(title, here)] = grouped(rows)
    assert (title, [row.id for row in here]) == ("Language", ["b", "a", "c"])


def test_options_survive_the_form() -> None:
    options = ModelOptions(
        context=512,
        temperature=0.25,
        pinned=True,
        aliases=("a", "b"),
        loras=(("my lora", 0.5),),
        system="Be\nbrief.",
    )
    fields = written(options)
    assert fields["loras"] == "my lora 0.5"
    changes = typed(record(), fields)
    assert changes["context"] == 512
    assert changes["pinned"] is True
    assert changes["aliases"] == ["a", "b"]
    assert changes["loras"] == [{"id": "my lora", "scale": 0.5}]
    assert changes["system"] == "Be\nbrief."


def test_an_empty_field_clears_its_option() -> None:
    assert typed(record(), {"context": " ", "pinned": ""}) == {"context": None, "pinned": None}


def test_a_number_that_is_none_is_told_at_its_field() -> None:
    with pytest.raises(Invalid) as caught:
        typed(record(), {"top_p": "much"})
    assert caught.value.field == "top_p"


def test_a_picture_model_has_only_what_every_kind_has() -> None:
    topics = option_fields(record(kind=ModelKind.IMAGE), {}, [])
    assert [(title, [one.name for one in fields]) for title, fields in topics] == [
        ("Keeping", ["pinned", "keep_s", "aliases"])
    ]
    assert typed(record(kind=ModelKind.IMAGE), {"pinned": "true", "context": "5"}) == {"pinned": True}


def test_projectors_and_draft_models_are_offered() -> None:
    others = [record(), record("draft"), record("eye", ModelKind.PROJECTOR)]
    fields = {one.name: one for _, group in option_fields(record(), {}, others) for one in group}
    assert fields["mmproj"].ids == ("eye",)
    assert fields["draft"].ids == ("draft",)
