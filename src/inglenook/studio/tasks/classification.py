# SPDX-License-Identifier: Apache-2.0
"""Which one of the classes a picture shows. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from inglenook.studio.tasks import augmentations
from inglenook.studio.tasks.backbones import BACKBONES
from inglenook.studio.tasks.model import Backbone, Metric
from inglenook.vision.annotations import Annotation, Label
from inglenook.wire.studio.spec import Hyperparameters, ModelSpec, TrainSpec

ACCURACY = Metric("accuracy", "Accuracy", higher_is_better=True)

METRICS = (
    ACCURACY,
    Metric("precision_macro", "Precision (mean of the classes)", higher_is_better=True),
    Metric("recall_macro", "Recall (mean of the classes)", higher_is_better=True),
    Metric("f1_macro", "F1 (mean of the classes)", higher_is_better=True),
    Metric("loss", "Loss", higher_is_better=False),
)


@dataclass(frozen=True, slots=True)
class Classification:
    """Implements `tasks.model.Task`."""

    name: str = "classification"
    title: str = "Classification"
    available: bool = True
    annotation: type[Annotation] = Label
    formats: tuple[str, ...] = ("image_folders", "csv", "coco", "imagefolder", "parquet")
    backbones: tuple[Backbone, ...] = BACKBONES
    losses: tuple[str, ...] = ("cross_entropy", "focal", "label_smoothing_cross_entropy", "default")
    metrics: tuple[Metric, ...] = METRICS
    monitor: Metric = ACCURACY
    head: str = "classification"
    transforms: tuple[str, ...] = (
        *augmentations.GEOMETRY,
        *augmentations.COLOUR,
        *augmentations.NUMBERS,
    )

    def defaults(self) -> TrainSpec:
        return TrainSpec(augmentations=augmentations.usual(224))

    def presets(self) -> dict[str, TrainSpec]:
        """`quick` for a first look in minutes, also without a GPU; `balanced` for most work; `best` takes
        several times as long and holds back over-fitting."""
        return {"quick": _quick(), "balanced": _balanced(), "best": _best()}

    def label(self, annotations: Sequence[Annotation], classes: Sequence[str]) -> str | None:
        first = _first(annotations)
        return None if first is None or first.class_name not in classes else first.class_name

    def target(self, annotations: Sequence[Annotation], classes: Sequence[str]) -> int | None:
        """The number of the class, from 0."""
        name = self.label(annotations, classes)
        return None if name is None else list(classes).index(name)


def _first(annotations: Sequence[Annotation]) -> Label | None:
    return next((one for one in annotations if isinstance(one, Label)), None)


def _quick() -> TrainSpec:
    return TrainSpec(
        model=ModelSpec(backbone="mobilenet_v3_small", freeze_backbone=True),
        hyperparameters=Hyperparameters(
            optimizer="adamw", learning_rate=0.003, warmup_epochs=0, max_epochs=5, early_stopping_patience=0
        ),
        augmentations=augmentations.light(224),
    )


def _balanced() -> TrainSpec:
    return TrainSpec(
        model=ModelSpec(backbone="resnet18"),
        hyperparameters=Hyperparameters(
            optimizer="adamw", learning_rate=0.0005, weight_decay=0.01, warmup_epochs=2, max_epochs=30
        ),
        augmentations=augmentations.usual(224),
    )


def _best() -> TrainSpec:
    return TrainSpec(
        model=ModelSpec(backbone="convnext_tiny", backbone_lr_scale=0.1),
        hyperparameters=Hyperparameters(
            optimizer="adamw",
            learning_rate=0.0005,
            weight_decay=0.05,
            warmup_epochs=5,
            max_epochs=60,
            early_stopping_patience=15,
            loss="label_smoothing_cross_entropy",
            label_smoothing=0.1,
            mixup=0.2,
            ema_decay=0.999,
            gradient_clip=1.0,
        ),
        augmentations=augmentations.strong(224),
    )
