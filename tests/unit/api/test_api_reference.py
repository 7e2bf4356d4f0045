# SPDX-License-Identifier: Apache-2.0
"""The reference page knows every route, field, alias and refusal that the code knows."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from inglenook.api.openai.fields import ALIASES, NOT_HERE, EditFields, GenerationFields
from inglenook.api.openai.requests import STEPS_FACTOR

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
WORDS = [*GenerationFields.model_fields, *EditFields.model_fields, *NOT_HERE, *STEPS_FACTOR]


@pytest.mark.parametrize("word", sorted({*WORDS, *ALIASES}))
def test_every_word_of_a_request_is_on_the_page(word: str) -> None:
    assert f"`{word}`" in PAGE


def test_every_route_is_on_the_page(client: TestClient) -> None:
    missing = [path for path in client.get("/openapi.json").json()["paths"] if path.split(":")[0] not in PAGE]
    assert not missing
