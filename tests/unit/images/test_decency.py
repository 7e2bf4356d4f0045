# SPDX-License-Identifier: Apache-2.0
"""Words never block an innocent sentence."""

import time

import pytest

from inglenook.images.decency import indecent_word

INNOCENT = [
    "a woman riding a horse",
    "wet street at night",
    "horizontal line",
    "spicy curry",
    "dirty hands of a mechanic",
    "assault rifle",
    "intimate cafe",
    "Essex",
    "sextant",
    "poop deck",
    "visible to the naked eye",
    "a naked mole rat",
    "nude lipstick on a marble table",
    "a topless car on a coast road",
    "chicken breast with herbs",
    "a cock crowing at dawn",
    "Scunthorpe and Penistone on a map",
    "an analyst in the assembly hall",
    "the Dick Whittington pantomime",
    "a bird called blue tit",
    "adult education, a sex education poster",
    "Middlesex hospital, class of 1969",
    "pornichet beach",  # a town
    "4 a 5 s 3 models, 1980s p0rcelain",
    "hentaigana, an old Japanese script",
]


@pytest.mark.parametrize("prompt", INNOCENT)
def test_an_innocent_sentence_is_never_blocked(prompt: str) -> None:
    assert indecent_word(prompt) is None
    assert indecent_word(prompt.upper()) is None


@pytest.mark.parametrize(
    ("prompt", "word"),
    [
        ("NSFW, a woman", "nsfw"),
        ("hardcore Porn, 4k", "porn"),
        ("p0rn", "porn"),
        ("h3nta1 girl", "hentai"),
        ("a nude   woman", "nude woman"),
        ("fully_nude", "fully nude"),
        ("ＰＯＲＮ in wide letters", "porn"),
        ("blow-job, blowjob", "blowjob"),
    ],
)
def test_what_says_it_plainly_is_found(prompt: str, word: str) -> None:
    assert indecent_word(prompt) == word


@pytest.mark.parametrize("prompt", ["a1" * 16_000, "a" * 32_000, "@$" * 16_000, "- _" * 10_000])
def test_a_hostile_prompt_costs_little(prompt: str) -> None:
    began = time.process_time()
    assert indecent_word(prompt) is None
    assert time.process_time() - began < 1
