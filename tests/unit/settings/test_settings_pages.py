# SPDX-License-Identifier: Apache-2.0
"""The generated files are current, complete and true."""

import re
from pathlib import Path

import pytest

from inglenook.settings import Settings, load
from inglenook.settings.pages import example, pages, reference
from inglenook.settings.problems import all_keys
from inglenook.settings.sources import variable_of

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("page", sorted(pages()))
def test_a_generated_file_is_current(page: Path) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert text == pages()[page], "run `inglenook config generate`"


def test_the_example_as_it_is_sets_nothing(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(example(), encoding="utf-8")
    assert set(load(file=file, environ={}).origin.values()) == {"default"}


def test_the_example_with_every_line_switched_on_is_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    switched = re.sub(r"(?m)^  # ([a-z_]+:( .*)?)$", lambda line: f"  {line[1]}", example())
    file.write_text(switched, encoding="utf-8")
    loaded = load(file=file, environ={})
    assert [key for key in all_keys() if loaded.origin[key] == "default"] == []
    named = loaded.settings.model_dump()
    named["server"]["data"] = Settings().server.data  # the one that differs from machine to machine
    assert named == Settings().model_dump()


def test_the_reference_names_every_setting_and_its_variable() -> None:
    page = reference()
    for key in all_keys():
        assert f"| `{key.partition('.')[2]}`<br>`{variable_of(key)}` |" in page


def test_the_pages_are_the_same_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(pages())
    monkeypatch.setenv("HOME", "/nowhere/else")
    monkeypatch.setenv("XDG_DATA_HOME", "/nowhere/data")
    assert dict(pages()) == before
    assert not any("/nowhere" in text for text in before.values())
