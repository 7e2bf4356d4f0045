# SPDX-License-Identifier: Apache-2.0
"""Prompts in pieces (see the image worker's `clip_pieces`), read by CLIP's text encoders.

Weights of words count as in the image worker: the states are multiplied and scaled back to their mean
(A1111's way).
"""

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from inglenook.workers.image.errors import DrawInvalid
from inglenook.workers.image.families.clip_pieces import Piece, between, between_marks
from inglenook.workers.mlx.networks.clip import CLIPTextModel

_ROWS_AT_ONCE = 32
_MOST_RESCALING = 4.0


def encode(
    encoder: CLIPTextModel,
    tokenizer: Any,
    prompts: Sequence[Sequence[Piece]],
    *,
    layer: int | None,
    normed: bool,
) -> tuple[mx.array, mx.array]:
    """Read prompts of equally many pieces.

    Args:
        layer: 1 reads the states of the last layer, 2 those before it; None the normed states of the last.
        normed: whether the final norm is put over the states of `layer`.

    Returns:
        (prompts, 77 tokens a piece, width), and the pooled text of each first piece.

    Raises:
        DrawInvalid: the encoder has fewer layers.
    """
    _check_layer(encoder, layer)
    rows = [piece for prompt in prompts for piece in prompt]
    read = [
        _read(encoder, tokenizer, rows[at : at + _ROWS_AT_ONCE], layer, normed=normed)
        for at in range(0, len(rows), _ROWS_AT_ONCE)
    ]
    states = mx.concatenate([states for states, _ in read])
    pooled = mx.concatenate([pooled for _, pooled in read])
    return states.reshape(len(prompts), -1, states.shape[-1]), pooled[:: len(prompts[0])]


def _read(
    encoder: CLIPTextModel, tokenizer: Any, rows: Sequence[Piece], layer: int | None, *, normed: bool
) -> tuple[mx.array, mx.array]:
    ids = mx.array([between_marks(tokenizer, piece.ids) for piece in rows])
    found = encoder(ids)
    if layer is None:
        states = found.normed
    else:
        states = found.states[-layer]
        states = encoder.final_layer_norm(states) if normed else states
    weights = np.array([between(piece.weights, ids.shape[1]) for piece in rows], np.float32)
    return weighted(states, weights), found.pooled


def weighted(states: mx.array, weights: np.ndarray) -> mx.array:
    """(rows, tokens, width), each token as often as it counts. A row whose words all weigh 1 is not
    touched."""
    if (weights == 1).all():
        return states
    factors = mx.array(weights)[..., None]
    plain = states.astype(mx.float32)
    multiplied = plain * factors
    scale = plain.mean(axis=(1, 2), keepdims=True) / multiplied.mean(axis=(1, 2), keepdims=True)
    sound = mx.isfinite(scale) & (scale > 1 / _MOST_RESCALING) & (scale < _MOST_RESCALING)
    changed = multiplied * mx.where(sound, scale, mx.ones_like(scale))
    touched = mx.array((weights != 1).any(axis=1))[:, None, None]
    return mx.where(touched, changed, plain).astype(states.dtype)


def _check_layer(encoder: CLIPTextModel, layer: int | None) -> None:
    layers = encoder.layers_in_all
    if layer is not None and not 1 <= layer <= layers:
        raise DrawInvalid(
            f"clip_skip is {layer}; the text encoder of this model has {layers} layers.",
            hint="leave it out to read the layer that the model was trained with",
            field="clip_skip",
        )
