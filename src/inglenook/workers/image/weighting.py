# SPDX-License-Identifier: Apache-2.0
"""How much each word of a prompt counts, as A1111's prompts say it. Pure; linear in the prompt's length.

    a (red) fox          red counts 1.1 times
    a ((red)) fox        1.1 * 1.1
    a (red:1.3) fox      1.3
    a [red] fox          1 / 1.1
    a \\(red\\) fox        plain brackets; so is every bracket that has no partner
    a fox BREAK a wolf   the wolf begins a new piece of 75 tokens

Round and square brackets are matched each with its own kind, so they may overlap. A weight counts only before
the bracket that closes; `embedding:1` in brackets is an embedding of that name and no weight.
"""

import re
from dataclasses import dataclass

STEP = 1.1
MAX_WEIGHT = 100.0
"""What nesting and numbers come to at most; more would only be numbers that are not finite."""

_BOUND = 1e6
"""Of the products on the way there."""

_MARK = re.compile(
    r"\\[()\[\]\\]"
    r"|:[ \t]*(?P<weight>[+-]?(?:\d{1,18}(?:\.\d{0,18})?|\.\d{1,18}))[ \t]*\)"
    r"|[()\[\]]"
    r"|\bBREAK\b"
)
_NEEDS_READING = re.compile(r"[()\[\]]|\bBREAK\b")
_OWN_COLON = re.compile(r"\bembedding\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of text of one weight. `begins_piece`: a BREAK stands before it."""

    text: str
    weight: float = 1.0
    begins_piece: bool = False


@dataclass(slots=True)
class _Mark:
    """One mark of the text. `partner`: the index of the bracket it closes or is closed by; None for plain
    text."""

    kind: str
    start: int
    end: int
    weight: float | None = None
    partner: int | None = None


def spans(prompt: str) -> list[Span]:
    """The prompt in stretches of one weight each, in order; at least one. A prompt without brackets and BREAK
    is one stretch, untouched."""
    if _NEEDS_READING.search(prompt) is None:
        return [Span(prompt)]
    marks = _matched(_marks(prompt))
    return _stretches(prompt, marks) or [Span("")]


def _marks(prompt: str) -> list[_Mark]:
    found = []
    for match in _MARK.finditer(prompt):
        number = match["weight"]
        if number is None:
            kind = "escape" if match[0][0] == "\\" else match[0]
            found.append(_Mark(kind, *match.span()))
        elif _OWN_COLON.search(prompt, max(0, match.start() - 10), match.start()):
            found.append(_Mark(")", match.end() - 1, match.end()))
        else:
            found.append(_Mark(")", *match.span(), weight=float(number)))
    return found


def _matched(marks: list[_Mark]) -> list[_Mark]:
    """Each closing bracket with the nearest open one of its kind."""
    opened: dict[str, list[int]] = {"(": [], "[": []}
    for index, mark in enumerate(marks):
        if mark.kind in opened:
            opened[mark.kind].append(index)
        elif mark.kind in ")]":
            before = opened["(" if mark.kind == ")" else "["]
            if before:
                mark.partner = before.pop()
                marks[mark.partner].partner = index
    return marks


def _stretches(prompt: str, marks: list[_Mark]) -> list[Span]:
    written = _Writer()
    round_weights, squares, at = [1.0], 0, 0
    for mark in marks:
        written.add(prompt[at : mark.start])
        at = mark.end
        if mark.kind == "escape":
            written.add(prompt[mark.end - 1])
        elif mark.kind == "BREAK":
            written.break_here()
        elif mark.partner is None:
            written.add(prompt[mark.start : mark.end])
        else:
            if mark.kind == "(":
                own = marks[mark.partner].weight
                round_weights.append(_bounded(round_weights[-1] * (STEP if own is None else own), _BOUND))
            elif mark.kind == ")":
                round_weights.pop()
            else:
                squares += 1 if mark.kind == "[" else -1
            written.weigh(_bounded(round_weights[-1] * STEP**-squares, MAX_WEIGHT))
    written.add(prompt[at:])
    return written.done()


def _bounded(weight: float, most: float) -> float:
    return max(-most, min(weight, most))


class _Writer:
    """Puts texts of one weight together."""

    def __init__(self) -> None:
        self._spans: list[Span] = []
        self._texts: list[str] = []
        self._weight = 1.0
        self._broken = False

    def add(self, text: str) -> None:
        if text:
            self._texts.append(text)

    def weigh(self, weight: float) -> None:
        if weight != self._weight:
            self._finish()
            self._weight = weight

    def break_here(self) -> None:
        self._finish()
        self._broken = True

    def done(self) -> list[Span]:
        self._finish()
        return self._spans

    def _finish(self) -> None:
        if self._texts:
            self._spans.append(Span("".join(self._texts), self._weight, self._broken))
            self._broken = False
        self._texts = []
