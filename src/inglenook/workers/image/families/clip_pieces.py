# SPDX-License-Identifier: Apache-2.0
"""Prompts in pieces, as CLIP's text encoders read them: of any length, with weighted words and textual
inversions.

A prompt is read in pieces of 75 tokens between a start and an end mark, each by itself, and their states
stand side by side along the token axis; the other prompt is filled up with empty pieces to as many. A piece
that is full is cut after its last comma, when that is among its last 20 tokens, else where it is full;
`BREAK` cuts it at once. This is how A1111 reads long prompts, and what people write them for.

Nothing here needs a tensor library: `clip_prompt` reads the pieces with torch, `workers/mlx` with MLX.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from inglenook.workers.image.weighting import spans

_COMMA = ",</w>"
_BACK_TOKENS = 20
_PLACE = 0
"""Stands where a vector is put; a token of every vocabulary, and never the end mark that CLIP looks for."""


@dataclass
class Piece:
    """Attributes:
    ids, weights: of the tokens between the marks, at most 75.
    slots: places of vectors among them: (place, word, number of the vector).
    """

    ids: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    slots: list[tuple[int, str, int]] = field(default_factory=list)

    def cut(self, at: int) -> "Piece":
        """Take off what stands from `at` on, and return it."""
        rest = Piece(
            self.ids[at:],
            self.weights[at:],
            [(place - at, word, number) for place, word, number in self.slots if place >= at],
        )
        self.ids, self.weights = self.ids[:at], self.weights[:at]
        self.slots = [slot for slot in self.slots if slot[0] < at]
        return rest


def pieces(tokenizer: Any, prompt: str, vectors: Mapping[str, int]) -> list[Piece]:
    """The prompt in pieces, at least one.

    Args:
        vectors: the words of textual inversions, and how many tokens each takes.
    """
    text, words = _with_one_letter_each(prompt, list(vectors))
    found = spans(text)
    parts = [_parts(span.text, words) for span in found]
    ids = iter(_token_ids(tokenizer, [part for own in parts for part in own if part not in words]))
    built = _Builder(tokenizer)
    for span, own in zip(found, parts, strict=True):
        if span.begins_piece:
            built.next_piece()
        for part in own:
            if part in words:
                built.insert(words[part], vectors[words[part]], span.weight)
            else:
                built.add(next(ids), span.weight)
    return built.done()


class _Builder:
    def __init__(self, tokenizer: Any) -> None:
        self._comma = tokenizer.convert_tokens_to_ids(_COMMA)
        self._most = tokenizer.model_max_length - 2
        self._done: list[Piece] = []
        self._piece = Piece()
        self._after_comma: int | None = None

    def add(self, ids: Sequence[int], weight: float) -> None:
        for token in ids:
            if len(self._piece.ids) == self._most:
                self._turn_over()
            self._piece.ids.append(token)
            self._piece.weights.append(weight)
            if token == self._comma:
                self._after_comma = len(self._piece.ids)

    def insert(self, word: str, vectors: int, weight: float) -> None:
        """A textual inversion, whole in one piece."""
        if len(self._piece.ids) + vectors > self._most:
            self.next_piece()
        start = len(self._piece.ids)
        self._piece.ids += [_PLACE] * vectors
        self._piece.weights += [weight] * vectors
        self._piece.slots += [(start + number, word, number) for number in range(vectors)]

    def next_piece(self) -> None:
        if self._piece.ids:
            self._done.append(self._piece)
        self._piece, self._after_comma = Piece(), None

    def done(self) -> list[Piece]:
        self.next_piece()
        return self._done or [Piece()]

    def _turn_over(self) -> None:
        at = self._after_comma
        near = at is not None and self._most - at < _BACK_TOKENS
        rest = self._piece.cut(at) if near and at is not None else Piece()
        self.next_piece()
        self._piece = rest


def evened(prompts: Sequence[list[Piece]], count: int) -> list[list[Piece]]:
    """Each filled up with empty pieces to `count`."""
    return [prompt + [Piece()] * (count - len(prompt)) for prompt in prompts]


def between_marks(tokenizer: Any, ids: Sequence[int]) -> list[int]:
    padding = tokenizer.model_max_length - 2 - len(ids)
    return [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id, *[tokenizer.pad_token_id] * padding]


def between(weights: Sequence[float], length: int) -> list[float]:
    return [1.0, *weights, *[1.0] * (length - 1 - len(weights))]


def _token_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    if not texts:
        return []
    return list(tokenizer(list(texts), add_special_tokens=False, verbose=False).input_ids)


def _with_one_letter_each(prompt: str, words: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The prompt with one private letter for each word of a textual inversion, so that no bracket or colon
    in the word is taken for a weight; and what each letter stands for."""
    if not words:
        return prompt, {}
    taken = set(prompt)
    free = (chr(code) for code in range(0xF0000, 0xFFFFE) if chr(code) not in taken)
    letters = dict(zip(sorted(words, key=len, reverse=True), free, strict=False))
    pattern = "|".join(re.escape(word) for word in letters)
    return (
        re.sub(pattern, lambda match: letters[match[0]], prompt),
        {letter: word for word, letter in letters.items()},
    )


def _parts(text: str, words: Mapping[str, str]) -> list[str]:
    """The text, cut at the letters of `words`, which stay as parts of their own."""
    if not words:
        return [text]
    return [part for part in re.split(f"([{''.join(words)}])", text) if part]
