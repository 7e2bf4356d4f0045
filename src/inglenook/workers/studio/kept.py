# SPDX-License-Identifier: Apache-2.0
"""The network of a checkpoint, as evaluation and export use it: no optimizer, no training, nothing
fetched.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

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
    input: channels, height, width. about: the rest of the checkpoint, as `training.state.describe` wrote it.
    """

    network: Network
    task: StudioTask
    classes: tuple[str, ...]
    spec: TrainSpec
    steps: tuple[Step, ...]
    input: tuple[int, int, int]
    about: dict[str, Any]

    def pipeline(self) -> Pipeline:
        return Pipeline(self.steps, "val")


def load_kept(path: Path) -> Kept:
    """Raises `BadCheckpoint` when the file is no checkpoint of the studio, or does not fit together."""
    content = read_checkpoint(path)
    weights = content.pop("network")
    content.pop("training", None)
    try:
        spec = msgspec.json.decode(content["spec"], type=TrainSpec)
        steps = msgspec.json.decode(content["preprocessing"], type=tuple[Step, ...])
        channels, height, width = content["input"]
        classes = tuple(content["classes"])
        task = task_of(content["task"], classes)
        facts = facts_of(spec.model.backbone)
        network = task.network(build_backbone(facts, (height, width)), facts.features, spec)
        network.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError, msgspec.MsgspecError) as error:
        raise BadCheckpoint(f"{path.name} does not fit together: {str(error)[:300]}") from error
    network.eval().requires_grad_(False)
    return Kept(network, task, classes, spec, steps, (channels, height, width), content)
