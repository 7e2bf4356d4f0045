# SPDX-License-Identifier: Apache-2.0
"""What training asks of a task. Everything else (data, steps, checkpoints, parking) is the same for all of
them."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import nn

from inglenook.wire.studio.spec import Example, TrainSpec
from inglenook.wire.studio.training import Sample


class Network(nn.Module):
    """A backbone and a head. Both are trained; the head always, the backbone as the spec says."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, pixels: torch.Tensor) -> Any:
        return self.head(self.backbone(pixels))


class Metrics(Protocol):
    """Sums over one part of one epoch. A module whose buffers are its state, so that it is saved, parked and
    moved with the network."""

    def update(self, outputs: Any, targets: Any) -> None:
        """`outputs`: of the network, detached."""
        ...

    def values(self) -> dict[str, float]:
        """By name, without the part's."""
        ...

    def reset(self) -> None: ...


class StudioTask(Protocol):
    """One kind of task, for one run.

    Attributes:
        name: as in `Train.task`.
        monitor: the value of the validation part that tells the best epoch, and whether more of it is better.
    """

    name: str
    monitor: str
    higher_is_better: bool

    def check(self, examples: Sequence[Example]) -> None:
        """Raises `NoData` when a target is not what this task learns from."""
        ...

    def labels(self, examples: Sequence[Example]) -> list[int] | None:
        """Each example's class, for balanced sampling; None where there are no classes."""
        ...

    def network(self, backbone: nn.Module, features: int, spec: TrainSpec) -> Network: ...

    def target(self, target: Any) -> Any:
        """One example's, from the manifest, to what `stack` takes. Runs in loader processes."""
        ...

    def stack(self, targets: list[Any]) -> Any: ...

    def mixer(self, spec: TrainSpec) -> nn.Module | None:
        """(pixels, targets) to (pixels, targets) where the spec mixes examples; None where it does not."""
        ...

    def loss(self, spec: TrainSpec, examples: Sequence[Example]) -> nn.Module:
        """(outputs, targets) to one number. `examples`: the training part, for weights of classes."""
        ...

    def metrics(self) -> Any:
        """A new `Metrics`, which is an `nn.Module`."""
        ...

    def samples(self, examples: Sequence[Example], outputs: Any) -> list[Sample]:
        """What is predicted for some examples. `outputs`: of the network, in their order."""
        ...
