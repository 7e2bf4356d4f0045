# SPDX-License-Identifier: Apache-2.0
"""The moving average of the weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class Average(nn.Module):
    """After each step a ← d·a + (1 - d)·w, with d = min(decay, (1 + n) / (10 + n)) after n steps: a short
    run's average is not held back by its random beginning. Floating buffers (statistics of batch norms) are
    averaged too.

    Args:
        network: whose parameters and buffers are averaged.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self._decay = decay
        self.steps = 0
        for number, tensor in enumerate(self._of(network)):
            self.register_buffer(f"mean_{number}", tensor.detach().clone())

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        self.steps += 1
        decay = min(self._decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self._means(), [tensor.detach() for tensor in self._of(network)], 1 - decay)

    @contextmanager
    def in_place(self, network: nn.Module) -> Iterator[None]:
        """Inside, the network has the average, and this has the network's own values."""
        self._swap(network)
        try:
            yield
        finally:
            self._swap(network)

    def _swap(self, network: nn.Module) -> None:
        for mean, own in zip(self._means(), self._of(network), strict=True):
            mean.data, own.data = own.data, mean.data

    def _means(self) -> list[torch.Tensor]:
        return list(self.buffers())

    @staticmethod
    def _of(network: nn.Module) -> list[torch.Tensor]:
        return [
            *network.parameters(),
            *(buffer for buffer in network.buffers() if buffer.is_floating_point()),
        ]
