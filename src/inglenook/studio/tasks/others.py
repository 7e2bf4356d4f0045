# SPDX-License-Identifier: Apache-2.0
"""The tasks that are known by name and cannot be trained here yet. Their data is told apart, and says so."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inglenook.base.errors import Invalid
from inglenook.studio.tasks.model import Backbone, Metric
from inglenook.vision.annotations import Annotation, Anomaly, Box
from inglenook.wire.studio.spec import TrainSpec


@dataclass(frozen=True, slots=True)
class KnownTask:
    """Implements `tasks.model.Task` as far as a task goes that is not available: it has a name, and knows
    the annotation that it will learn from."""

    name: str
    title: str
    annotation: type[Annotation]
    monitor: Metric
    formats: tuple[str, ...] = ()
    available: bool = False
    backbones: tuple[Backbone, ...] = ()
    losses: tuple[str, ...] = ()
    metrics: tuple[Metric, ...] = ()
    head: str = ""
    transforms: tuple[str, ...] = ()

    def defaults(self) -> TrainSpec:
        raise not_available(self.title)

    def presets(self) -> dict[str, TrainSpec]:
        return {}

    def label(self, annotations: Sequence[Annotation], classes: Sequence[str]) -> str | None:
        """The first object's class, or `normal` or `anomalous`."""
        for one in annotations:
            match one:
                case Anomaly():
                    return "anomalous" if one.is_anomalous else "normal"
                case _ if one.class_name in classes:
                    return one.class_name
        return None

    def target(self, annotations: Sequence[Annotation], classes: Sequence[str]) -> Any:  # noqa: ARG002 - the protocol's
        raise not_available(self.title)


def not_available(title: str) -> Invalid:
    return Invalid(
        f"{title} cannot be trained by this version.",
        code="task.not_available",
        field="task",
        hint="classification can; GET /api/tasks lists what is there",
    )


OTHERS = (
    KnownTask("anomaly_detection", "Anomaly detection", Anomaly, Metric("auroc", "AUROC", True)),
    KnownTask("object_detection", "Object detection", Box, Metric("map_50", "mAP at IoU 0.5", True)),
    KnownTask(
        "oriented_object_detection",
        "Oriented object detection",
        Box,
        Metric("map_50", "mAP at IoU 0.5", True),
    ),
    KnownTask("segmentation", "Segmentation", Box, Metric("miou", "Mean IoU", True)),
    KnownTask(
        "instance_segmentation", "Instance segmentation", Box, Metric("map_50", "mAP at IoU 0.5", True)
    ),
    KnownTask("regression", "Regression", Box, Metric("mae", "Mean absolute error", False)),
)
