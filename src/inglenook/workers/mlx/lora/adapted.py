# SPDX-License-Identifier: Apache-2.0
"""A layer with LoRAs beside it, and the exchange of layers in a network (Hu et al. 2021)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx import nn


@dataclass(frozen=True)
class Adapter:
    """What one LoRA adds to one layer: `up(down(x))`, alpha and rank counted into `up`.

    Attributes:
        down: (rank, in), or (rank, height, width, in) for a convolution. up: (out, rank).
    """

    down: mx.array
    up: mx.array


class Adapted(nn.Module):
    """Args:
    base: a `Linear` or a `Conv2d`; its weights stay as they are.
    adapters: each with how strongly it counts.
    """

    def __init__(self, base: nn.Module, adapters: Sequence[tuple[Adapter, float]]) -> None:
        super().__init__()
        self.base = base
        self._pairs = [(one.down, one.up * weight) for one, weight in adapters]

    def __call__(self, x: mx.array) -> mx.array:
        found = self.base(x)
        for down, up in self._pairs:
            if isinstance(self.base, nn.Conv2d):
                narrow = mx.conv2d(x, down, self.base.stride, self.base.padding)
            else:
                narrow = x @ down.T
            found = found + narrow @ up.T
        return found


class Swaps:
    """Layers that stand in the place of others, and how to put those back."""

    def __init__(self) -> None:
        self._undo: list[tuple[Any, Any, nn.Module]] = []

    def put(self, network: nn.Module, path: str, adapters: Sequence[tuple[Adapter, float]]) -> None:
        owner: Any = network
        *places, last = [int(name) if name.isdigit() else name for name in path.split(".")]
        for place in places:
            owner = owner[place]
        base = owner[last]
        self._undo.append((owner, last, base))
        owner[last] = Adapted(base, adapters)

    def undo(self) -> None:
        while self._undo:
            owner, place, base = self._undo.pop()
            owner[place] = base
