# SPDX-License-Identifier: Apache-2.0
"""What an epoch's predictions are worth: torchmetrics counts and computes, we say when."""

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)

from inglenook.vision.metrics import wilson

LEADER = "recall_macro"
"""The one that counts; the others compute from its counts."""
BATCHES_TOGETHER = 64
"""An update of torchmetrics costs about 0.3 ms of a processor however small the batch is, which would be
felt beside a small network's step."""


class ClassMetrics(nn.Module):
    """Of one part of one epoch: accuracy, and precision, recall and F1 as means over classes ("macro").

    A macro mean is over the classes that occur or were predicted, each counted alike, 0 where nothing can be
    divided by. `precision`, `recall` and `f1` are AI Studio's names for the macro ones.

    Predictions wait, and are counted some batches at a time; whoever reads the state sees all counted.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        asked: dict[str, Any] = {
            "num_classes": classes,
            "validate_args": False,  # classes were checked when the manifest was read
            "sync_on_compute": False,
            "compute_with_cache": False,
        }
        found = {
            LEADER: MulticlassRecall(average="macro", **asked),
            "precision_macro": MulticlassPrecision(average="macro", **asked),
            "f1_macro": MulticlassF1Score(average="macro", **asked),
            "accuracy": MulticlassAccuracy(average="micro", **asked),
        }
        self.counted = MetricCollection(found, compute_groups=[list(found)])
        self.counted[LEADER].persistent(mode=True)
        self._waiting: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.register_state_dict_pre_hook(lambda *_: self._count())

    def update(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """`outputs`: (N, classes). `targets`: int64 (N,), or shares (N, classes), of which the largest
        counts."""
        truth = targets if targets.ndim == 1 else targets.argmax(1)
        self._waiting.append((outputs.argmax(1), truth))
        if len(self._waiting) >= BATCHES_TOGETHER:
            self._count()

    def values(self) -> dict[str, float]:
        self._count()
        exact = copy.deepcopy(self.counted).cpu()
        exact.set_dtype(torch.float64)  # it would divide in single precision
        with warnings.catch_warnings():
            # Counts out of a checkpoint came by no update.
            warnings.filterwarnings("ignore", message="The ``compute`` method")
            found = {name: float(value) for name, value in exact.compute().items()}
        return found | {name: found[f"{name}_macro"] for name in ("precision", "recall", "f1")}

    def intervals(self) -> dict[str, float]:
        """`accuracy_low`, `accuracy_high`: what 95 % of such measurements would hold the true accuracy
        between (Wilson's interval)."""
        self._count()
        leader: Any = self.counted[LEADER]
        right = int(leader.tp.sum())
        sure = wilson(right, right + int(leader.fn.sum()))
        return {"accuracy_low": sure.low, "accuracy_high": sure.high}

    def tensors(self) -> Iterator[torch.Tensor]:
        """All that lies on the device: torchmetrics has its counts in no buffers."""
        self._count()
        for metric in self.counted.values(copy_state=False):
            yield from metric.metric_state.values()
            yield from metric._defaults.values()

    def reset(self) -> None:
        self._waiting.clear()
        self.counted.reset()

    def _count(self) -> None:
        if self._waiting:
            guesses, truths = zip(*self._waiting, strict=True)
            self._waiting = []
            self.counted.update(torch.cat(guesses), torch.cat(truths))
