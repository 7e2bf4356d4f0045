# SPDX-License-Identifier: Apache-2.0
"""The transforms that can be chosen, and what is done with pictures unless somebody says otherwise. Pure.

Names and parameters are those of torchvision's `transforms.v2`, with AI Studio's `ToImage` (a tensor of
floats in [0, 1]).
"""

from typing import Any, Final

from inglenook.wire.studio.spec import Augmentations, Step

GEOMETRY: Final = (
    "Resize",
    "CenterCrop",
    "RandomResizedCrop",
    "RandomHorizontalFlip",
    "RandomVerticalFlip",
    "RandomRotation",
    "RandomAffine",
    "RandomPerspective",
    "RandomCrop",
)
COLOUR: Final = (
    "ColorJitter",
    "RandomPhotometricDistort",
    "RandomGrayscale",
    "GaussianBlur",
    "RandomAutocontrast",
    "RandomEqualize",
    "RandomPosterize",
    "RandomSolarize",
)
NUMBERS: Final = ("Normalize", "ToDtype", "ToImage")
BOXES: Final = ("RandomIoUCrop", "RandomZoomOut", "SanitizeBoundingBoxes")

IMAGENET_MEAN: Final = [0.485, 0.456, 0.406]
IMAGENET_STD: Final = [0.229, 0.224, 0.225]
"""Of ImageNet's pictures, with which published weights were trained (torchvision's documentation)."""


def step(name: str, **params: Any) -> Step:
    return Step(name=name, params=params)


def to_numbers() -> tuple[Step, ...]:
    """What every pipeline ends with."""
    return step("ToImage"), step("Normalize", mean=IMAGENET_MEAN, std=IMAGENET_STD)


def looked_at(side_px: int) -> tuple[Step, ...]:
    """How a picture is looked at: resized by an eighth more than `side_px`, the middle of it taken."""
    larger = round(side_px * 256 / 224)
    return step("Resize", size=[larger, larger]), step("CenterCrop", size=side_px), *to_numbers()


def usual(side_px: int) -> Augmentations:
    """AI Studio's for classification."""
    return Augmentations(
        train=(
            step("RandomResizedCrop", size=side_px, scale=[0.8, 1.0]),
            step("RandomHorizontalFlip", p=0.5),
            step("RandomRotation", degrees=15),
            step("ColorJitter", brightness=0.2, contrast=0.2, saturation=0.1, hue=0.05),
            *to_numbers(),
        ),
        val=looked_at(side_px),
    )


def light(side_px: int) -> Augmentations:
    return Augmentations(
        train=(
            step("RandomResizedCrop", size=side_px, scale=[0.8, 1.0]),
            step("RandomHorizontalFlip", p=0.5),
            *to_numbers(),
        ),
        val=looked_at(side_px),
    )


def strong(side_px: int) -> Augmentations:
    return Augmentations(
        train=(
            step("RandomResizedCrop", size=side_px, scale=[0.5, 1.0]),
            step("RandomHorizontalFlip", p=0.5),
            step("RandomRotation", degrees=15, apply_p=0.5),
            step("ColorJitter", brightness=0.3, contrast=0.3, saturation=0.2, hue=0.05, apply_p=0.8),
            step("GaussianBlur", kernel_size=5, apply_p=0.1),
            *to_numbers(),
        ),
        val=looked_at(side_px),
    )
