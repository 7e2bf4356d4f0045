# SPDX-License-Identifier: Apache-2.0
"""The network of a checkpoint, as evaluation and export use it: no optimizer, no training, nothing
fetched.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from inglenook.base.errors import InglenookError
from inglenook.wire.studio.spec import Step, TrainSpec
from inglenook.workers.studio.data.transforms import Pipeline
from inglenook.workers.studio.errors import BadCheckpoint
from inglenook.workers.studio.networks.backbones import build_backbone, facts_of
from inglenook.workers.studio.tasks.model import Network, StudioTask
from inglenook.workers.studio.tasks.registry import task_of
from inglenook.workers.studio.training.checkpoints import read_checkpoint


@dataclass(frozen=True, slots=True)
class Kept:
    """Attributes:
    network: in eval mode on the host, with the values that were validated (the average where there was one).
    steps: what was done to pictures that are only looked at; `pipeline` does it.
    input: channels, height, width.
    epoch: that it is of; `values`: of that epoch.
    weights, pretrained: where the first weights were from.
    about: the rest of the checkpoint, as `training.state.describe` wrote it.
    """

    network: Network
    task: StudioTask
    classes: tuple[str, ...]
    spec: TrainSpec
    steps: tuple[Step, ...]
    input: tuple[int, int, int]
    epoch: int
    values: dict[str, float]
    weights: str
    pretrained: bool
    lineage: dict[str, str]
    about: dict[str, Any]

    @property
    def channels(self) -> int:
        return self.input[0]

    @property
    def side_px(self) -> tuple[int, int]:
        """Height and width of what the network sees."""
        return self.input[1:]

    @property
    def parameters(self) -> int:
        return sum(one.numel() for one in self.network.parameters())

    def pipeline(self) -> Pipeline:
        return Pipeline(self.steps, "val")


def load_kept(path: Path) -> Kept:
    """Raises `BadCheckpoint` when the file is no checkpoint of the studio, or does not fit together."""
    content = read_checkpoint(path)
    content.pop("training", None)
    try:
        return _fitted(content)
    except BadCheckpoint:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, InglenookError) as error:
        raise BadCheckpoint(f"{path.name} does not fit together: {str(error)[:300]}") from error


def _fitted(content: dict[str, Any]) -> Kept:
    weights = content.pop("network")
    spec = msgspec.json.decode(content["spec"], type=TrainSpec)
    channels, height, width = (int(side) for side in content["input"])
    classes = tuple(str(name) for name in content["classes"])
    task = task_of(str(content["task"]), classes)
    facts = facts_of(spec.model.backbone)
    network = task.network(build_backbone(facts, (height, width)), facts.features, spec)
    network.load_state_dict(weights)
    network.eval().float().requires_grad_(requires_grad=False)
    return Kept(
        network=network,
        task=task,
        classes=classes,
        spec=spec,
        steps=msgspec.json.decode(content["preprocessing"], type=tuple[Step, ...]),
        input=(channels, height, width),
        epoch=int(content["epoch"]),
        values={str(name): float(value) for name, value in content["values"].items()},
        weights=str(content["weights"]),
        pretrained=bool(content["pretrained"]),
        lineage={str(name): str(value) for name, value in content.get("lineage", {}).items()},
        about=content,
    )
