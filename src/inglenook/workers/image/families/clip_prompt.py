# SPDX-License-Identifier: Apache-2.0
"""Prompts as CLIP's text encoders read them: of any length, with weighted words and textual inversions.

A prompt is read in pieces of 75 tokens between a start and an end mark, each by itself, and their states
stand side by side along the token axis; the other prompt is filled up with empty pieces to as many. A piece
that is full is cut after its last comma, when that is among its last 20 tokens, else where it is full;
`BREAK` cuts it at once. This is how A1111 reads long prompts, and what people write them for.

A weight multiplies the states of its tokens after they were read, and the states of the whole piece are then
scaled so that their mean is what it was: A1111's way, again because the numbers in people's prompts were
found with it. (ComfyUI moves states away from those of an empty prompt instead; the same number does less
there.) Where the mean is too near to zero to say anything, the states are left as multiplied.

A piece whose words all weigh 1 is not touched, so that a plain short prompt gives exactly what the encoder
says.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from inglenook.workers.image.errors import DrawInvalid
from inglenook.workers.image.weighting import spans

_COMMA = ",</w>"
_BACK_TOKENS = 20
_ROWS_AT_ONCE = 32
"""Pieces that are read in one question to the encoder: what bounds its memory for a very long prompt."""

_PLACE = 0
"""Stands where a vector is put; a token of every vocabulary, and never the end mark that CLIP looks for."""

_MOST_RESCALING = 4.0

Vectors = Mapping[str, torch.Tensor]
"""The word of a textual inversion as it stands in the prompt → float (vectors, width)."""


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


def encode(
    encoder: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[Piece]],
    vectors: Vectors,
    *,
    layer: int | None,
    normed: bool,
    device: torch.device,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Read prompts of equally many pieces.

    Args:
        layer: 1 reads the states of the last layer, 2 those before it; None what the encoder gives.
        normed: whether the final norm is put over the states of `layer`.

    Returns:
        (prompts, 77 tokens a piece, width), and the encoder's pooled text of each first piece.

    Raises:
        DrawInvalid: the encoder has fewer layers.
    """
    rows = [piece for prompt in prompts for piece in prompt]
    _check_layer(encoder, layer)
    read = [
        _read(encoder, tokenizer, rows[at : at + _ROWS_AT_ONCE], vectors, layer, normed, device)
        for at in range(0, len(rows), _ROWS_AT_ONCE)
    ]
    states = torch.cat([states for states, _ in read]) if len(read) > 1 else read[0][0]
    pooled = torch.cat([pooled for _, pooled in read]) if len(read) > 1 else read[0][1]
    count = len(prompts[0])
    return states.reshape(len(prompts), -1, states.shape[-1]), pooled[::count]


def evened(prompts: Sequence[list[Piece]], count: int) -> list[list[Piece]]:
    """Each filled up with empty pieces to `count`."""
    return [prompt + [Piece()] * (count - len(prompt)) for prompt in prompts]


def _read(
    encoder: Any,
    tokenizer: Any,
    rows: Sequence[Piece],
    vectors: Vectors,
    layer: int | None,
    normed: bool,
    device: torch.device,
) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.tensor([_between_marks(tokenizer, piece.ids) for piece in rows], device=device)
    with _put_in(encoder, rows, vectors):
        read = encoder(ids, output_hidden_states=layer is not None)
    if layer is None:
        states = read.last_hidden_state
    else:
        states = read.hidden_states[-layer]
        if normed:
            states = getattr(encoder, "text_model", encoder).final_layer_norm(states)
    pooled = read.text_embeds if hasattr(read, "text_embeds") else read.pooler_output
    return _weighted(states, [_between(piece.weights, ids.shape[1]) for piece in rows]), pooled


def _between_marks(tokenizer: Any, ids: Sequence[int]) -> list[int]:
    padding = tokenizer.model_max_length - 2 - len(ids)
    return [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id, *[tokenizer.pad_token_id] * padding]


def _between(weights: Sequence[float], length: int) -> list[float]:
    return [1.0, *weights, *[1.0] * (length - 1 - len(weights))]


@contextmanager
def _put_in(encoder: Any, rows: Sequence[Piece], vectors: Vectors) -> Iterator[None]:
    """While it lasts, the vectors stand in their places of the embedded tokens. Nothing is left behind."""
    places = [(row, 1 + place, word, n) for row, piece in enumerate(rows) for place, word, n in piece.slots]
    if not places:
        yield
        return

    def put(_module: Any, _given: Any, embedded: torch.Tensor) -> torch.Tensor:
        embedded = embedded.clone()
        for row, place, word, number in places:
            embedded[row, place] = vectors[word][number].to(embedded)
        return embedded

    handle = encoder.get_input_embeddings().register_forward_hook(put)
    try:
        yield
    finally:
        handle.remove()


def _weighted(states: torch.Tensor, weights: Sequence[Sequence[float]]) -> torch.Tensor:
    """(rows, tokens, width), each token as often as it counts; see the module's docstring."""
    if all(weight == 1.0 for row in weights for weight in row):
        return states
    factors = torch.tensor(weights, device=states.device)[..., None]
    plain = states.float()
    multiplied = plain * factors
    before, after = plain.mean((1, 2), keepdim=True), multiplied.mean((1, 2), keepdim=True)
    scale = before / after
    sound = torch.isfinite(scale) & (scale > 1 / _MOST_RESCALING) & (scale < _MOST_RESCALING)
    changed = multiplied * torch.where(sound, scale, torch.ones_like(scale))
    touched = (factors != 1).any(dim=1, keepdim=True)
    return torch.where(touched, changed, plain).to(states.dtype)


def _check_layer(encoder: Any, layer: int | None) -> None:
    layers = encoder.config.num_hidden_layers
    if layer is not None and not 1 <= layer <= layers:
        raise DrawInvalid(
            f"clip_skip is {layer}; the text encoder of this model has {layers} layers.",
            hint="leave it out to read the layer that the model was trained with",
            field="clip_skip",
        )


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
