# SPDX-License-Identifier: Apache-2.0
"""Prompts in pieces (see `clip_pieces`), read by CLIP's text encoders of transformers.

A weight multiplies the states of its tokens after they were read, and the states of the whole piece are then
scaled so that their mean is what it was: A1111's way, again because the numbers in people's prompts were
found with it. (ComfyUI moves states away from those of an empty prompt instead; the same number does less
there.) Where the mean is too near to zero to say anything, the states are left as multiplied.

A piece whose words all weigh 1 is not touched, so that a plain short prompt gives exactly what the encoder
says.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from inglenook.workers.image.errors import DrawInvalid
from inglenook.workers.image.families.clip_pieces import Piece, between, between_marks, evened, pieces

__all__ = ["Piece", "Vectors", "encode", "evened", "pieces"]

_ROWS_AT_ONCE = 32
"""Pieces that are read in one question to the encoder: what bounds its memory for a very long prompt."""

_MOST_RESCALING = 4.0

Vectors = Mapping[str, torch.Tensor]
"""The word of a textual inversion as it stands in the prompt → float (vectors, width)."""


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


def _read(
    encoder: Any,
    tokenizer: Any,
    rows: Sequence[Piece],
    vectors: Vectors,
    layer: int | None,
    normed: bool,
    device: torch.device,
) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.tensor([between_marks(tokenizer, piece.ids) for piece in rows], device=device)
    with _put_in(encoder, rows, vectors):
        read = encoder(ids, output_hidden_states=layer is not None)
    if layer is None:
        states = read.last_hidden_state
    else:
        states = read.hidden_states[-layer]
        if normed:
            states = getattr(encoder, "text_model", encoder).final_layer_norm(states)
    pooled = read.text_embeds if hasattr(read, "text_embeds") else read.pooler_output
    return _weighted(states, [between(piece.weights, ids.shape[1]) for piece in rows]), pooled


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
