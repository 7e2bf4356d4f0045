# SPDX-License-Identifier: Apache-2.0
"""Attention to a text and to the picture itself (Vaswani et al. 2017; Rombach et al. 2022)."""

import math

import mlx.core as mx
from mlx import nn


def attend(
    query: mx.array, key: mx.array, value: mx.array, heads: int, mask: mx.array | None = None
) -> mx.array:
    """Softmax of query and key, over each head's part of the columns.

    Args:
        query: (batch, tokens, width). key, value: (batch, others, width).

    Returns:
        (batch, tokens, width).
    """
    batch, tokens, width = query.shape
    apart = [x.reshape(batch, -1, heads, width // heads).swapaxes(1, 2) for x in (query, key, value)]
    scale = 1 / math.sqrt(width // heads)
    joined = mx.fast.scaled_dot_product_attention(*apart, scale=scale, mask=mask)
    return joined.swapaxes(1, 2).reshape(batch, tokens, width)


class Attention(nn.Module):
    """Args:
    width: of the query's stream.
    reads: width of what is read: the text's; None for the stream itself.
    bias: of query, key and value; the output has one always.
    groups: it normalises its own input, as the VAE's does, and adds it to what it found.
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int,
        reads: int | None = None,
        bias: bool = False,
        groups: int | None = None,
    ) -> None:
        super().__init__()
        self._heads = heads
        if groups is not None:
            self.group_norm = nn.GroupNorm(groups, width, eps=1e-6, pytorch_compatible=True)
        self.to_q = nn.Linear(width, width, bias=bias)
        self.to_k = nn.Linear(reads or width, width, bias=bias)
        self.to_v = nn.Linear(reads or width, width, bias=bias)
        self.to_out = [nn.Linear(width, width)]

    def __call__(self, x: mx.array, text: mx.array | None = None) -> mx.array:
        """(batch, tokens, width), and (batch, others, reads) → (batch, tokens, width)."""
        read = x if text is None else text
        found = attend(self.to_q(x), self.to_k(read), self.to_v(read), self._heads)
        return self.to_out[0](found)

    def over_picture(self, x: mx.array) -> mx.array:
        """(batch, height, width, channels) → the same, itself added."""
        batch, height, width, channels = x.shape
        found = self(self.group_norm(x).reshape(batch, height * width, channels))
        return found.reshape(batch, height, width, channels) + x


class GEGLU(nn.Module):
    """A gate of GELU (Shazeer 2020)."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 2 * inner)

    def __call__(self, x: mx.array) -> mx.array:
        value, gate = mx.split(self.proj(x), 2, axis=-1)
        return value * nn.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = [GEGLU(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width)]

    def __call__(self, x: mx.array) -> mx.array:
        for layer in self.net:
            x = layer(x)
        return x


class BasicTransformerBlock(nn.Module):
    def __init__(self, width: int, *, heads: int, reads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn1 = Attention(width, heads=heads)
        self.norm2 = nn.LayerNorm(width)
        self.attn2 = Attention(width, heads=heads, reads=reads)
        self.norm3 = nn.LayerNorm(width)
        self.ff = FeedForward(width)

    def __call__(self, x: mx.array, text: mx.array) -> mx.array:
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), text)
        return x + self.ff(self.norm3(x))


class Transformer2DModel(nn.Module):
    """Pixels as tokens, through blocks that read the text.

    Args:
        linear: its first and last layer are matrices rather than convolutions of one pixel, which differ in
            the shape of the weights only.
    """

    def __init__(
        self, channels: int, *, heads: int, layers: int, reads: int, groups: int, linear: bool
    ) -> None:
        super().__init__()
        self._linear = linear
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6, pytorch_compatible=True)
        self.proj_in = nn.Linear(channels, channels) if linear else nn.Conv2d(channels, channels, 1)
        self.transformer_blocks = [
            BasicTransformerBlock(channels, heads=heads, reads=reads) for _ in range(layers)
        ]
        self.proj_out = nn.Linear(channels, channels) if linear else nn.Conv2d(channels, channels, 1)

    def __call__(self, x: mx.array, text: mx.array) -> mx.array:
        """(batch, height, width, channels), and (batch, tokens, reads)."""
        batch, height, width, channels = x.shape
        hidden = self.proj_in(self.norm(x)).reshape(batch, height * width, channels)
        for block in self.transformer_blocks:
            hidden = block(hidden, text)
        return self.proj_out(hidden.reshape(batch, height, width, channels)) + x
