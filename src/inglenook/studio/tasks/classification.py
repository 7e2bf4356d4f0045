# SPDX-License-Identifier: Apache-2.0
"""Which one of the classes a picture shows. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from inglenook.studio.tasks import augmentations
from inglenook.studio.tasks.model import Backbone, Metric
from inglenook.vision.annotations import Annotation, Label
from inglenook.wire.studio.spec import Hyperparameters, ModelSpec, TrainSpec

ACCURACY = Metric("accuracy", "Accuracy", higher_is_better=True)

METRICS = (
    ACCURACY,
    Metric("balanced_accuracy", "Balanced accuracy", higher_is_better=True),
    Metric("precision_macro", "Precision (mean of the classes)", higher_is_better=True),
    Metric("recall_macro", "Recall (mean of the classes)", higher_is_better=True),
    Metric("f1_macro", "F1 (mean of the classes)", higher_is_better=True),
    Metric("loss", "Loss", higher_is_better=False),
)

BACKBONES: tuple[Backbone, ...] = (
    Backbone("resnet18", "ResNet-18", "ResNet", 11.69, 224, 5.55),
    Backbone("resnet34", "ResNet-34", "ResNet", 21.8, 224, 8.06),
    Backbone("resnet50", "ResNet-50", "ResNet", 25.56, 224, 21.5),
    Backbone("efficientnet_b0", "EfficientNet-B0", "EfficientNet", 5.29, 224, 22.07),
    Backbone("efficientnet_b3", "EfficientNet-B3", "EfficientNet", 12.23, 300, 76.52),
    Backbone("mobilenet_v3_small", "MobileNetV3 small", "MobileNet", 2.54, 224, 4.05),
    Backbone("mobilenet_v3_large", "MobileNetV3 large", "MobileNet", 5.48, 224, 11.04),
    Backbone("convnext_tiny", "ConvNeXt tiny", "ConvNeXt", 28.59, 224, 27.29),
    Backbone("convnext_small", "ConvNeXt small", "ConvNeXt", 50.22, 224, 43.55),
    Backbone("resnet10t", "ResNet-10-T", "ResNet", 5.44, 224, 5.54, "timm"),
    Backbone("efficientnet_lite0", "EfficientNet-Lite0", "EfficientNet", 4.65, 224, 19.74, "timm"),
    Backbone("vit_tiny_patch16_224", "ViT tiny, patches of 16", "ViT", 5.72, 224, 7.51, "timm"),
    Backbone("vit_small_patch16_224", "ViT small, patches of 16", "ViT", 22.05, 224, 14.85, "timm"),
    Backbone("vit_base_patch16_224", "ViT base, patches of 16", "ViT", 86.57, 224, 29.54, "timm"),
    Backbone(
        "vit_small_patch14_dinov2", "DINOv2 ViT small, patches of 14", "DINOv2", 21.63, 224, 21.7, "timm"
    ),
    Backbone(
        "vit_base_patch14_dinov2", "DINOv2 ViT base, patches of 14", "DINOv2", 85.72, 224, 43.23, "timm"
    ),
    Backbone(
        "vit_small_patch16_dinov3", "DINOv3 ViT small, patches of 16", "DINOv3", 21.59, 224, 19.72, "timm"
    ),
    Backbone(
        "vit_base_patch16_dinov3", "DINOv3 ViT base, patches of 16", "DINOv3", 85.64, 224, 39.26, "timm"
    ),
    Backbone(
        "test_resnet", "ResNet of half a million parameters, for trials", "ResNet", 0.47, 160, 1.49, "timm"
    ),
)
"""AI Studio's seven first, then those whose weights are worth having."""


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
