# SPDX-License-Identifier: Apache-2.0

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inglenook.workers.image.weighting import MAX_WEIGHT, Span, spans


def read(prompt: str) -> list[tuple[str, float]]:
    return [(span.text, round(span.weight, 6)) for span in spans(prompt)]


@pytest.mark.parametrize(
    ("prompt", "meant"),
    [
        ("a red fox", [("a red fox", 1.0)]),
        ("", [("", 1.0)]),
        ("a (red) fox", [("a ", 1.0), ("red", 1.1), (" fox", 1.0)]),
        ("((red)) fox", [("red", 1.21), (" fox", 1.0)]),
        ("(red:1.3)", [("red", 1.3)]),
        ("(red: 1.3 )", [("red", 1.3)]),
        ("(red:.5)", [("red", 0.5)]),
        ("(red:-1)", [("red", -1.0)]),
        ("(red:0)", [("red", 0.0)]),
        ("((red:1.5) fox:2)", [("red", 3.0), (" fox", 2.0)]),
        ("[red]", [("red", 0.909091)]),
        ("[[red] fox]", [("red", 0.826446), (" fox", 0.909091)]),
        ("([red])", [("red", 1.0)]),
        ("(a [b) c]", [("a ", 1.1), ("b", 1.0), (" c", 0.909091)]),
        (r"fox \(animal\)", [("fox (animal)", 1.0)]),
        (r"(fox \(animal\):1.2)", [("fox (animal)", 1.2)]),
        (r"\[a\] \\(b)", [("[a] \\", 1.0), ("b", 1.1)]),
        ("(red", [("(red", 1.0)]),
        ("red)", [("red)", 1.0)]),
        ("red:1.3)", [("red:1.3)", 1.0)]),
        ("(red:1.3", [("(red:1.3", 1.0)]),
        ("a ] b (c", [("a ] b (c", 1.0)]),
        ("((red)", [("(", 1.0), ("red", 1.1)]),
        ("(red:warm)", [("red:warm", 1.1)]),
        ("(16:9)", [("16", 9.0)]),
        ("(embedding:bad:1.2)", [("embedding:bad", 1.2)]),
        ("(embedding:2)", [("embedding:2", 1.1)]),
        ("()", [("", 1.0)]),
        ("back\\slash", [("back\\slash", 1.0)]),
    ],
)
def test_brackets_say_how_much_a_word_counts(prompt: str, meant: list[tuple[str, float]]) -> None:
    assert read(prompt) == meant


def test_break_begins_a_new_piece() -> None:
    assert spans("a fox BREAK a wolf") == [Span("a fox "), Span(" a wolf", begins_piece=True)]
    assert spans("(a BREAK b:2)") == [Span("a ", 2.0), Span(" b", 2.0, begins_piece=True)]
    assert spans("BREAKFAST") == [Span("BREAKFAST")]
    assert spans("a break b") == [Span("a break b")]


@pytest.mark.parametrize(
    "hostile",
    [
        "(" * 32_000,
        ")" * 32_000,
        "(" * 16_000 + ")" * 16_000,
        "(" * 10_000 + "fox" + ")" * 10_000,
        "[" * 10_000 + "fox" + "]" * 10_000,
        "(:9" * 10_000 + ")",
        "(a:9)" * 6_400,
        "(" * 5_000 + "fox" + ":99)" * 5_000,
        "a," * 16_000,
        "(a)," * 8_000,
        "\\" * 32_000,
        ":" * 32_000,
        ("(" + ":" + " " * 3_000) * 10,
        "BREAK " * 5_000,
        ":" + "9" * 31_000,
    ],
)
@pytest.mark.timeout(60)
def test_hostile_prompts_are_read_in_one_pass(hostile: str) -> None:
    found = spans(hostile)
    assert all(abs(span.weight) <= MAX_WEIGHT for span in found)


@given(st.text())
def test_a_prompt_without_brackets_is_untouched(prompt: str) -> None:
    plain = prompt.translate({ord(mark): None for mark in "()[]"}).replace("BREAK", "")
    if "BREAK" not in plain:
        assert spans(plain) == [Span(plain)]


@given(st.text(alphabet="ab()[]:.12\\ ", max_size=60))
def test_any_brackets_give_finite_weights_and_lose_no_letter(prompt: str) -> None:
    found = spans(prompt)
    assert found
    assert all(abs(span.weight) <= MAX_WEIGHT for span in found)
    letters = "".join(letter for letter in prompt if letter in "ab")
    assert "".join(letter for span in found for letter in span.text if letter in "ab") == letters


@given(st.text(alphabet="()[]\\ab:1", max_size=40))
def test_escaped_brackets_are_text(words: str) -> None:
    escaped = "".join(f"\\{letter}" if letter in "()[]\\" else letter for letter in words)
    if any(mark in words for mark in "()[]"):
        assert spans(escaped) == [Span(words)]
