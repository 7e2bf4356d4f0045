# SPDX-License-Identifier: Apache-2.0
"""The augmentations of a spec as torchvision's transforms (v2)."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image
from torchvision.transforms import v2

from inglenook.wire.studio.backbones import BackboneFacts
from inglenook.wire.studio.spec import Step
from inglenook.workers.image.device import Device
from inglenook.workers.image.memory import evidence_of
from inglenook.workers.studio.errors import BadAugmentation


class ToImage(torch.nn.Module):
    """A picture to float32 (channels, height, width) in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self._steps = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])

    def forward(self, picture: Any) -> Any:
        return self._steps(picture)


STEPS: dict[str, Callable[..., torch.nn.Module]] = {
    "ToImage": ToImage,
    **{
        name: getattr(v2, name)
        for name in (
            "Resize", "CenterCrop", "RandomResizedCrop", "RandomHorizontalFlip", "RandomVerticalFlip",
            "RandomRotation", "RandomAffine", "RandomPerspective", "RandomCrop", "RandomIoUCrop",
            "RandomZoomOut", "ColorJitter", "RandomPhotometricDistort", "RandomGrayscale", "GaussianBlur",
            "RandomAutocontrast", "RandomEqualize", "RandomPosterize", "RandomSolarize", "Normalize",
            "SanitizeBoundingBoxes", "ToDtype", "Pad", "RandomInvert", "RandomAdjustSharpness",
            "ElasticTransform", "GaussianNoise", "RandomErasing", "RandAugment", "TrivialAugmentWide",
            "AugMix",
        )
    },
}  # fmt: skip

DTYPES = {"float16": torch.float16, "float32": torch.float32, "float64": torch.float64, "uint8": torch.uint8}


class Pipeline:
    """Steps in their order. Calling it gives float32 (channels, height, width).

    Args:
        part: `train` or `val`, for messages.
    """

    def __init__(self, steps: Sequence[Step], part: str) -> None:
        self.part = part
        self.steps = tuple(steps)
        self.names = [step.name for step in steps]
        built = [_built(step, part) for step in steps]
        self._always = [step for step, _ in built]
        self._steps = [step if chance == 1 else v2.RandomApply([step], p=chance) for step, chance in built]

    def __call__(self, picture: Image.Image) -> torch.Tensor:
        value: Any = picture
        for step in self._steps:
            value = step(value)
        return value.as_subclass(torch.Tensor).contiguous()

    def tried(self, picture: Image.Image) -> torch.Tensor:
        """The same, step by step, and each step whatever its `apply_p`. Raises `BadAugmentation` with the
        name of the step that cannot be done, or when what comes out is not what a network takes."""
        value: Any = picture
        for number, (name, step) in enumerate(zip(self.names, self._always, strict=True), 1):
            try:
                value = step(value)
            except (TypeError, ValueError, RuntimeError, NotImplementedError, AttributeError) as error:
                if evidence_of(error, Device("cpu")) is not None:
                    raise
                raise BadAugmentation(
                    f"Step {number} of the {self.part} pipeline, {name}, cannot be done to a picture of"
                    f" {picture.width} x {picture.height} pixels: {error}"
                ) from error
        if not isinstance(value, torch.Tensor) or value.dtype != torch.float32 or value.ndim != 3:
            what = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, torch.Tensor) else "a picture"
            raise BadAugmentation(
                f"The {self.part} pipeline ({' → '.join(self.names)}) ends in {what}, not in float32"
                " numbers.",
                hint="put ToImage after the steps on pictures and before Normalize",
            )
        return value.as_subclass(torch.Tensor)


def _built(step: Step, part: str) -> tuple[torch.nn.Module, float]:
    make = STEPS.get(step.name)
    if make is None:
        raise BadAugmentation(
            f"There is no step {step.name!r} (in the {part} pipeline).",
            hint=f"there are {', '.join(sorted(STEPS))}",
        )
    params = dict(step.params)
    chance = params.pop("apply_p", 1.0)
    if isinstance(chance, bool) or not isinstance(chance, int | float) or not 0 <= chance <= 1:
        raise BadAugmentation(f"{step.name}: apply_p is {chance!r}; it must be a number from 0 to 1.")
    known = inspect.signature(make).parameters
    unknown = sorted(set(params) - set(known))
    if unknown:
        raise BadAugmentation(
            f"{step.name} has no parameter {unknown[0]!r}.", hint=f"it has {', '.join(known) or 'none'}"
        )
    try:
        return make(**{name: _value(name, value) for name, value in params.items()}), float(chance)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise BadAugmentation(f"{step.name} (in the {part} pipeline): {error}") from error


def _value(name: str, value: Any) -> Any:
    """JSON has no tuples, types and enumerations; torchvision wants them."""
    if name == "interpolation" and isinstance(value, str):
        return v2.InterpolationMode(value)
    if name == "dtype" and isinstance(value, str):
        return DTYPES[value]
    return tuple(_value("", item) for item in value) if isinstance(value, list) else value


def default_steps(facts: BackboneFacts) -> tuple[Step, ...]:
    """What is done where a spec says nothing: resized and normalised as the pictures were that the
    backbone's weights saw."""
    side = [facts.input_px, facts.input_px]
    return (
        Step(name="Resize", params={"size": side, "antialias": True}),
        Step(name="ToImage"),
        Step(name="Normalize", params={"mean": list(facts.mean), "std": list(facts.std)}),
    )
