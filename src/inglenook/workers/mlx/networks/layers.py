# SPDX-License-Identifier: Apache-2.0
"""Residual convolutions, halving and doubling (He et al. 2016; Ho et al. 2020)."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
from mlx import nn


class ResnetBlock2D(nn.Module):
    """Two convolutions beside a shortcut, told the time in between.

    Args:
        temb: width of the time's vector; None for a block that is told none (in a VAE).
        scale_shift: the time scales and shifts what is normalised, rather than being added before.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        *,
        temb: int | None,
        groups: int,
        eps: float,
        scale_shift: bool = False,
    ) -> None:
        super().__init__()
        self._scale_shift = scale_shift
        self.norm1 = nn.GroupNorm(groups, channels, eps=eps, pytorch_compatible=True)
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        if temb is not None:
            self.time_emb_proj = nn.Linear(temb, 2 * out if scale_shift else out)
        self.norm2 = nn.GroupNorm(groups, out, eps=eps, pytorch_compatible=True)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        if channels != out:
            self.conv_shortcut = nn.Conv2d(channels, out, 1)

    def __call__(self, x: mx.array, temb: mx.array | None = None) -> mx.array:
        """(batch, height, width, channels) → (batch, height, width, out); `temb`: (batch, width)."""
        hidden = self.conv1(nn.silu(self.norm1(x)))
        if temb is None:
            hidden = self.norm2(hidden)
        else:
            told = self.time_emb_proj(nn.silu(temb))[:, None, None, :]
            if self._scale_shift:
                scale, shift = mx.split(told, 2, axis=-1)
                hidden = self.norm2(hidden) * (1 + scale) + shift
            else:
                hidden = self.norm2(hidden + told)
        hidden = self.conv2(nn.silu(hidden))
        return (self.conv_shortcut(x) if "conv_shortcut" in self else x) + hidden


class Downsample2D(nn.Module):
    """Half of each side.

    Args:
        around: a pixel of zeros on every side; else only right and below, as the VAE's encoder was trained.
    """

    def __init__(self, channels: int, *, around: bool) -> None:
        super().__init__()
        self._around = around
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1 if around else 0)

    def __call__(self, x: mx.array) -> mx.array:
        if not self._around:
            x = mx.pad(x, [(0, 0), (0, 1), (0, 1), (0, 0)])
        return self.conv(x)


class Upsample2D(nn.Module):
    """Twice each side, or the size that is given: that of the skip which comes next, where a side was odd."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def __call__(self, x: mx.array, size: tuple[int, int] | None = None) -> mx.array:
        return self.conv(enlarged(x, (2 * x.shape[1], 2 * x.shape[2]) if size is None else size))


def enlarged(x: mx.array, size: tuple[int, int]) -> mx.array:
    """By the nearest pixel: (batch, height, width, channels) → (batch, *size, channels)."""
    for axis, wanted in zip((1, 2), size, strict=True):
        has = x.shape[axis]
        if wanted != has:
            x = mx.take(x, mx.array([i * has // wanted for i in range(wanted)]), axis=axis)
    return x


Activation = Callable[[mx.array], mx.array]

ACTIVATIONS: dict[str, Activation] = {
    "quick_gelu": nn.gelu_fast_approx,
    "gelu": nn.gelu,
    "silu": nn.silu,
    "swish": nn.silu,
    "relu": nn.relu,
    "gelu_new": nn.gelu_approx,
}


def array_tree(module: nn.Module) -> dict[str, Any]:
    """All weights of a module by their whole names."""
    from mlx.utils import tree_flatten

    return dict(tree_flatten(module.parameters()))
