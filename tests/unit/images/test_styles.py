# SPDX-License-Identifier: Apache-2.0
"""Styles: words around a prompt."""

import pytest

from inglenook.images.errors import BadRequest
from inglenook.images.styles import HERE, STYLES, styled


@pytest.mark.parametrize("name", STYLES)
def test_each_style_puts_its_words_around_the_prompt_once(name: str) -> None:
    style = STYLES[name]
    assert style.prompt.count(f" of {HERE}") == 1
    prompt, negative = styled(name, " a red fox ", "")
    assert prompt.count("a red fox") == 1
    assert prompt.replace("a red fox", HERE) == style.prompt
    assert negative == style.negative_prompt


def test_the_style_adds_to_what_the_person_does_not_want() -> None:
    assert styled("ink", "a fox", "snow")[1] == f"snow, {STYLES['ink'].negative_prompt}"


def test_a_style_without_words_of_ones_own_reads_as_a_phrase() -> None:
    assert styled("oil", " ", "")[0].startswith("oil painting, visible brush strokes")


def test_without_a_style_nothing_is_touched() -> None:
    assert styled(None, " a fox ", " snow ") == (" a fox ", " snow ")


def test_a_name_that_nobody_knows_is_refused_with_all_that_there_are() -> None:
    with pytest.raises(BadRequest) as caught:
        styled("oils", "a fox", "")
    assert caught.value.field == "style"
    assert all(name in str(caught.value.hint) for name in STYLES)
