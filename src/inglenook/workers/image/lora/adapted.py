# SPDX-License-Identifier: Apache-2.0
"""A module with what LoRAs add to it, put in its place and taken out again.

The module itself is not touched: nothing is merged into its weights, so taking a LoRA off gives back the
very same model, bit for bit. Several LoRAs on one module are one pair of matrices, however many they are.
"""

from collections.abc import Sequence
from typing import Any

import torch

from inglenook.workers.image.lora.files import Adapter

Weighted = tuple[Adapter, float]


class Adapted(torch.nn.Module):
    """`base(x) + up @ (down @ x)`. What is asked of it besides (`weight`, `in_features`) is the base's.

    Args:
        base: a linear layer or a convolution; where it is, the matrices are put.
        adapters: each with its weight, none of them 0.
    """

    def __init__(self, base: Any, adapters: Sequence[Weighted]) -> None:
        super().__init__()
        self.base = base
        where = {"device": base.weight.device, "dtype": base.weight.dtype}
        down = torch.cat([adapter.down.to(**where) for adapter, _ in adapters])
        up = torch.cat([adapter.up.to(**where) * weight for adapter, weight in adapters], dim=1)
        self.down = torch.nn.Parameter(down, requires_grad=False)
        self.up = torch.nn.Parameter(up, requires_grad=False)

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        base = self.base
        result: torch.Tensor = base(x, *args, **kwargs)
        down, up = self.down.to(x.dtype), self.up.to(x.dtype)
        if isinstance(base, torch.nn.Conv2d):
            low = torch.nn.functional.conv2d(x, down, None, base.stride, base.padding, base.dilation)
            return result + torch.nn.functional.conv2d(low, up[:, :, None, None])
        return result + torch.nn.functional.linear(torch.nn.functional.linear(x, down), up)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base"), name)


class Swaps:
    """The modules of one model that are replaced at the moment."""

    def __init__(self) -> None:
        self._done: list[tuple[torch.nn.Module, str, torch.nn.Module]] = []

    def put(self, part: torch.nn.Module, path: str, adapters: Sequence[Weighted]) -> None:
        """Replace the module at `path` of `part`; it must not be replaced already."""
        place, _, name = path.rpartition(".")
        parent = part.get_submodule(place)
        base = parent.get_submodule(name)
        # Plain tensors, so that they can be moved outside of inference mode too.
        with torch.inference_mode(mode=False), torch.no_grad():
            adapted = Adapted(base, adapters).eval()
        self._done.append((parent, name, base))
        setattr(parent, name, adapted)

    def undo(self) -> None:
        """Put every module back; whatever happened before, the model is then as it was loaded."""
        while self._done:
            parent, name, base = self._done[-1]
            setattr(parent, name, base)
            self._done.pop()
