# SPDX-License-Identifier: Apache-2.0
"""Groups of parameters, and who moves them."""

from typing import Any

import torch

from inglenook.wire.studio.spec import TrainSpec
from inglenook.workers.studio.tasks.model import Network


def make_optimizer(network: Network, spec: TrainSpec) -> torch.optim.Optimizer:
    """Two groups: the head, and the backbone with its share of the rate (`scale`). Biases and norms are
    not decayed: weight decay is for what multiplies."""
    chosen = spec.hyperparameters
    scaled = {"head": 1.0, "backbone": spec.model.backbone_lr_scale}
    groups: list[dict[str, Any]] = []
    for name, scale in scaled.items():
        parameters = list(getattr(network, name).parameters())
        for decay, members in (
            (chosen.weight_decay, [p for p in parameters if p.ndim > 1]),
            (0.0, [p for p in parameters if p.ndim <= 1]),
        ):
            if members:
                groups.append(
                    {
                        "params": members,
                        "lr": chosen.learning_rate * scale,
                        "weight_decay": decay,
                        "scale": scale,
                    }
                )
    match chosen.optimizer:
        case "adam":
            return torch.optim.Adam(groups)
        case "adamw":
            return torch.optim.AdamW(groups)
        case "sgd":
            return torch.optim.SGD(groups, momentum=chosen.momentum)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """`rate` of the head; the backbone's follows by its share."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]
