# SPDX-License-Identifier: Apache-2.0
"""Time, size and text as one vector, which every residual block is told."""

import math

import mlx.core as mx
from mlx import nn

from inglenook.workers.mlx.networks.attention import attend


def waves(values: mx.array, width: int, *, cosines_first: bool = True, shift: float = 0.0) -> mx.array:
    """Numbers as waves of falling frequency (Vaswani et al. 2017): (n,) → float32 (n, width)."""
    half = width // 2
    falling = mx.exp(mx.arange(half, dtype=mx.float32) * (-math.log(10_000.0) / (half - shift)))
    angles = values.astype(mx.float32)[:, None] * falling[None]
    parts = [mx.cos(angles), mx.sin(angles)]
    return mx.concatenate(parts if cosines_first else parts[::-1], axis=-1)


class TimestepEmbedding(nn.Module):
    """Args:
    told: width of a guidance scale that is told with the time; None where none is.
    """

    def __init__(self, width: int, out: int, *, told: int | None = None) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width, out)
        self.linear_2 = nn.Linear(out, out)
        if told is not None:
            self.cond_proj = nn.Linear(told, width, bias=False)

    def __call__(self, x: mx.array, told: mx.array | None = None) -> mx.array:
        if told is not None:
            x = x + self.cond_proj(told)
        return self.linear_2(nn.silu(self.linear_1(x)))


class AttentionPooling(nn.Module):
    """A text as one vector: its mean asks all its words."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.positional_embedding = mx.zeros((1, width))
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)

    def __call__(self, x: mx.array) -> mx.array:
        """(batch, tokens, width) → (batch, width)."""
        mean = x.mean(axis=1, keepdims=True) + self.positional_embedding
        words = mx.concatenate([mean, x], axis=1)
        return attend(self.q_proj(mean), self.k_proj(words), self.v_proj(words), self._heads)[:, 0]


class TextTimeEmbedding(nn.Module):
    def __init__(self, width: int, out: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.pool = AttentionPooling(width, heads)
        self.proj = nn.Linear(width, out)
        self.norm2 = nn.LayerNorm(out)

    def __call__(self, text: mx.array) -> mx.array:
        """(batch, tokens, width) → (batch, out)."""
        return self.norm2(self.proj(self.pool(self.norm1(text))))
