# SPDX-License-Identifier: Apache-2.0
"""A checkpoint as a network, with all that is needed to use it. Nothing in the file is run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from torch import nn

from inglenook.base.errors import InglenookError
from inglenook.wire.studio.spec import Step, TrainSpec
from inglenook.workers.studio.errors import BadCheckpoint
from inglenook.workers.studio.networks.backbones import build_backbone, facts_of
from inglenook.workers.studio.tasks.registry import task_of
from inglenook.workers.studio.training.checkpoints import read_checkpoint


@dataclass(frozen=True, slots=True)
class Kept:
    """Attributes:
    network: ready to predict, on the CPU, in float32.
    steps: what happens to a picture before.
    side_px: height and width of what the network sees.
    weights, pretrained: where the first weights were from.
    values: of the checkpoint's epoch.
    """

    network: nn.Module
    task: str
    classes: tuple[str, ...]
    steps: tuple[Step, ...]
    channels: int
    side_px: tuple[int, int]
    epoch: int
    weights: str
    pretrained: bool
    values: dict[str, float]
    spec: TrainSpec
    lineage: dict[str, str]

    @property
    def parameters(self) -> int:
        return sum(one.numel() for one in self.network.parameters())


def open_kept(path: Path) -> Kept:
    """Raises BadCheckpoint: the file is none of the studio's, or does not hold what it says."""
    content = read_checkpoint(path)
    try:
        return _open(content)
    except BadCheckpoint:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, InglenookError) as error:
        raise BadCheckpoint(f"{path.name} does not hold what it says: {str(error)[:300]}") from error


def _open(content: dict[str, Any]) -> Kept:
    spec = msgspec.json.decode(content["spec"], type=TrainSpec)
    classes = tuple(str(name) for name in content["classes"])
    channels, height, width = (int(side) for side in content["input"])
    facts = facts_of(str(content["backbone"]))
    task = task_of(str(content["task"]), classes)
    network = task.network(build_backbone(facts, (height, width)), facts.features, spec)
    network.load_state_dict(content["network"])
    network.eval().float().requires_grad_(requires_grad=False)
    return Kept(
        network=network,
        task=str(content["task"]),
        classes=classes,
        steps=msgspec.json.decode(content["preprocessing"], type=tuple[Step, ...]),
        channels=channels,
        side_px=(height, width),
        epoch=int(content["epoch"]),
        weights=str(content["weights"]),
        pretrained=bool(content["pretrained"]),
        values={str(name): float(value) for name, value in content["values"].items()},
        spec=spec,
        lineage={str(name): str(value) for name, value in content.get("lineage", {}).items()},
    )
