# SPDX-License-Identifier: Apache-2.0
"""What `inglenook models options` asks the server for, without one."""

import sys
from typing import Any

import pytest
from click.testing import CliRunner

from inglenook.cli import program

FOUND = {"known": [], "options": {}, "changed_by": None, "changed_at": None, "stale": []}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    calls: list[tuple[Any, ...]] = []

    def ask(_config: object, _data: object, *call: object) -> dict[str, Any]:
        calls.append(call)
        return FOUND

    monkeypatch.setattr(sys.modules["inglenook.cli.models"], "_ask", ask)
    return calls


def test_the_model_comes_first_and_its_options_after_it(asked: list[tuple[Any, ...]]) -> None:
    done = CliRunner().invoke(program, ["models", "options", "fox", "context=8192", "system=Be brief."])
    assert done.exit_code == 0, done.stderr
    assert asked[-1] == ("PATCH", "fox", "options", {"context": 8192, "system": "Be brief."})


def test_a_word_that_sets_nothing_is_named(asked: list[tuple[Any, ...]]) -> None:
    done = CliRunner().invoke(program, ["models", "options", "fox", "context"])
    assert done.exit_code == 2
    assert "'context' is not NAME=VALUE" in done.stderr
    assert asked == []
