# SPDX-License-Identifier: Apache-2.0
"""CLIP's text encoders: OpenAI's ViT-L, OpenCLIP's ViT-H and ViT-bigG (Radford et al. 2021)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx import nn

from inglenook.workers.mlx.networks.attention import attend
from inglenook.workers.mlx.networks.layers import ACTIVATIONS

_HIGHEST_IS_END = 2
"""Early configurations give this as the end mark; there the highest token of a text is its end."""


@dataclass(frozen=True)
class Read:
    """Attributes:
    states: (batch, tokens, width) after each layer, what comes in first.
    normed: the last of them through the last norm.
    pooled: (batch, width): the end mark's, through the projection where there is one.
    """

    states: tuple[mx.array, ...]
    normed: mx.array
    pooled: mx.array


class _SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def __call__(self, x: mx.array, mask: mx.array) -> mx.array:
        return self.out_proj(attend(self.q_proj(x), self.k_proj(x), self.v_proj(x), self._heads, mask))


class _Mlp(nn.Module):
    def __init__(self, width: int, inner: int, activation: str) -> None:
        super().__init__()
        self._activation = ACTIVATIONS[activation]
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)

    def __call__(self, x: mx.array) -> mx.array:
        return self.fc2(self._activation(self.fc1(x)))


class _Layer(nn.Module):
    def __init__(self, config: Mapping[str, Any], eps: float) -> None:
        super().__init__()
        width = config["hidden_size"]
        self.self_attn = _SelfAttention(width, config["num_attention_heads"])
        self.layer_norm1 = nn.LayerNorm(width, eps=eps)
        self.mlp = _Mlp(width, config["intermediate_size"], config.get("hidden_act", "quick_gelu"))
        self.layer_norm2 = nn.LayerNorm(width, eps=eps)

    def __call__(self, x: mx.array, mask: mx.array) -> mx.array:
        x = x + self.self_attn(self.layer_norm1(x), mask)
        return x + self.mlp(self.layer_norm2(x))


class _Embeddings(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width = config["hidden_size"]
        self.token_embedding = nn.Embedding(config["vocab_size"], width)
        self.position_embedding = nn.Embedding(config["max_position_embeddings"], width)


class _Encoder(nn.Module):
    def __init__(self, config: Mapping[str, Any], eps: float) -> None:
        super().__init__()
        self.layers = [_Layer(config, eps) for _ in range(config["num_hidden_layers"])]


class CLIPTextModel(nn.Module):
    """Raises ValueError, naming the field, for a configuration of another network.

    Args:
        projected: whether the pooled text goes through a last matrix.
    """

    def __init__(self, config: Mapping[str, Any], *, projected: bool) -> None:
        super().__init__()
        activation = config.get("hidden_act", "quick_gelu")
        if activation not in ACTIVATIONS:
            raise ValueError(f"hidden_act is {activation!r}")
        eps = config.get("layer_norm_eps", 1e-5)
        self._end = config.get("eos_token_id", _HIGHEST_IS_END)
        self.layers_in_all = config["num_hidden_layers"]
        self.width = config["hidden_size"]
        self.embeddings = _Embeddings(config)
        self.encoder = _Encoder(config, eps)
        self.final_layer_norm = nn.LayerNorm(self.width, eps=eps)
        if projected:
            self.text_projection = nn.Linear(self.width, config["projection_dim"], bias=False)

    def embedded(self, ids: mx.array) -> mx.array:
        """Token ids (batch, tokens) → (batch, tokens, width), without their places."""
        return self.embeddings.token_embedding(ids)

    def __call__(self, ids: mx.array, embedded: mx.array | None = None) -> Read:
        """Args:
        ids: token ids (batch, tokens).
        embedded: what is read instead of these ids' own vectors.
        """
        tokens = ids.shape[1]
        x = self.embedded(ids) if embedded is None else embedded
        x = x + self.embeddings.position_embedding.weight[:tokens]
        mask = nn.MultiHeadAttention.create_additive_causal_mask(tokens).astype(x.dtype)
        states = [x]
        for layer in self.encoder.layers:
            x = layer(x, mask)
            states.append(x)
        normed = self.final_layer_norm(x)
        ends = mx.argmax(ids if self._end == _HIGHEST_IS_END else ids == self._end, axis=-1)
        pooled = normed[mx.arange(len(ids)), ends]
        if "text_projection" in self:
            pooled = self.text_projection(pooled)
        return Read(tuple(states), normed, pooled)
