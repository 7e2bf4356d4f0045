# SPDX-License-Identifier: Apache-2.0
"""One class a picture. A target is the class's number; the network gives one logit a class."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torchvision.transforms import v2

from inglenook.wire.studio.spec import Example, TrainSpec
from inglenook.wire.studio.training import Sample
from inglenook.workers.studio.errors import NoData, UnknownModel
from inglenook.workers.studio.tasks.losses import ClassLoss
from inglenook.workers.studio.tasks.metrics import ClassMetrics
from inglenook.workers.studio.tasks.model import Network

HEAD = "classification"


class Classification:
    """Args:
    classes: their names, in the order of their numbers.
    """

    name = "classification"
    monitor = "accuracy"
    higher_is_better = True

    def __init__(self, classes: tuple[str, ...]) -> None:
        if len(classes) < 2:
            only = classes[0] if classes else "none"
            raise NoData(
                f"Classification needs two classes at least, and there is {only}.",
                hint="import or label pictures of another class",
            )
        self.classes = classes

    def check(self, examples: Sequence[Example]) -> None:
        for example in examples:
            target = example.target
            if not isinstance(target, int) or isinstance(target, bool) or not 0 <= target < len(self.classes):
                raise NoData(
                    f"The picture {example.id} has the class {target!r}; classes are numbered 0 to"
                    f" {len(self.classes) - 1}."
                )

    def labels(self, examples: Sequence[Example]) -> list[int] | None:
        return [int(example.target) for example in examples]

    def network(self, backbone: nn.Module, features: int, spec: TrainSpec) -> Network:
        if spec.model.head != HEAD:
            raise UnknownModel(f"Classification has no head {spec.model.head!r}.", hint=f"there is {HEAD}")
        share = spec.hyperparameters.dropout
        dropout = nn.Dropout(spec.model.dropout if share is None else share)
        return Network(backbone, nn.Sequential(dropout, nn.Linear(features, len(self.classes))))

    def target(self, target: Any) -> int:
        return int(target)

    def stack(self, targets: list[int]) -> torch.Tensor:
        return torch.tensor(targets, dtype=torch.int64)

    def mixer(self, spec: TrainSpec) -> nn.Module | None:
        chosen = spec.hyperparameters
        mixers: list[nn.Module] = []
        if chosen.mixup > 0:
            mixers.append(v2.MixUp(alpha=chosen.mixup, num_classes=len(self.classes)))
        if chosen.cutmix > 0:
            mixers.append(v2.CutMix(alpha=chosen.cutmix, num_classes=len(self.classes)))
        return v2.RandomChoice(mixers) if len(mixers) > 1 else next(iter(mixers), None)

    def loss(self, spec: TrainSpec, examples: Sequence[Example]) -> ClassLoss:
        counts = Counter(self.labels(examples) or ())
        return ClassLoss.of(spec.hyperparameters, [counts[number] for number in range(len(self.classes))])

    def metrics(self) -> ClassMetrics:
        return ClassMetrics(len(self.classes))

    def samples(self, examples: Sequence[Example], outputs: torch.Tensor) -> list[Sample]:
        logits = outputs.float()
        chances = logits.softmax(1)
        targets = self.stack([self.target(example.target) for example in examples])
        losses = functional.cross_entropy(logits, targets, reduction="none")
        return [
            Sample(
                id=example.id,
                target=self._named(int(target)),
                prediction=self._named(int(chance.argmax())),
                confidence=float(chance.max()),
                loss=float(loss),
            )
            for example, target, chance, loss in zip(examples, targets, chances, losses, strict=True)
        ]

    def _named(self, number: int) -> dict[str, Any]:
        return {"class_id": number, "class_name": self.classes[number]}
