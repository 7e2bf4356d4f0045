# SPDX-License-Identifier: Apache-2.0
"""Captions and vocabulary: true of the picture, and silent about what is held out."""

import re

import numpy as np
import pytest
from training.starter import captions
from training.starter.captions import Subject
from training.starter.vocabulary import COLOUR_NAMES, HELD_OUT_PAIRS, Noun, read_vocabulary, with_article


def test_the_vocabulary_names_each_thing_once_and_knows_every_held_out_noun() -> None:
    nouns = read_vocabulary()
    assert len({noun.name for noun in nouns}) == len(nouns) >= 200
    names = {noun.name for noun in nouns}
    assert {noun for noun, _ in HELD_OUT_PAIRS} <= names
    assert {colour for _, colour in HELD_OUT_PAIRS} <= set(COLOUR_NAMES)
    assert sum(bool(noun.trial_name) for noun in nouns) == 100


def test_a_name_with_two_owners_is_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "vocabulary.tsv"
    file.write_text(
        "emoji\tnoun\tother names\tname in starter-100\theld-out names\n1\tcat\tpet\t\t\n2\tdog\tpet\t\t\n"
    )
    with pytest.raises(ValueError, match="'pet' names both 'cat' and 'dog'"):
        read_vocabulary(file)


def test_articles_follow_the_sound() -> None:
    assert [with_article(w) for w in ("cat", "owl", "unicorn")] == ["a cat", "an owl", "a unicorn"]


def test_no_caption_is_made_of_a_held_out_pair() -> None:
    with pytest.raises(ValueError, match="held out"):
        Subject("cat", "cat", "blue")


def test_a_caption_says_the_name_the_colour_and_the_background() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        text = captions.one_object(rng, Subject("cat", "cat", "red", "small"), "blue")
        assert re.search(r"small .*red cat", text)
        assert "blue background" in text
        assert "{" not in text


def test_templates_of_evaluation_are_not_trained() -> None:
    rng = np.random.default_rng(0)
    texts = [captions.one_object(rng, Subject("cat", "cat"), None) for _ in range(2000)]
    assert not any("painting" in text or "sharp focus" in text or "lovely" in text for text in texts)
    assert any("masterpiece" in text for text in texts)


def test_an_empty_or_negative_caption_names_no_noun() -> None:
    rng = np.random.default_rng(0)
    words = {
        word for text in (captions.nothing(rng) for _ in range(300)) for word in re.findall("[a-z]+", text)
    }
    named: set[str] = {name for noun in read_vocabulary() for name in _all_names(noun)}
    assert words
    assert not words & named


def _all_names(noun: Noun) -> tuple[str, ...]:
    return (*noun.names, *noun.held_out_names)
