# SPDX-License-Identifier: Apache-2.0
"""The parameters of each transform that a form offers, as torchvision's `transforms.v2` has them. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

Kind = Literal["number", "whole", "numbers", "choice", "switch"]


@dataclass(frozen=True, slots=True)
class Param:
    """`numbers` is one number, or several with commas between them. `start`: what a new step begins with;
    None leaves it out, and torchvision's own default holds."""

    name: str
    label: str
    kind: Kind = "number"
    start: Any = None
    low: float | None = None
    high: float | None = None
    options: tuple[str, ...] = ()


SIZE: Final = Param("size", "Size (px)", "numbers", 224, low=1)
CHANCE: Final = Param("p", "Chance", start=0.5, low=0, high=1)
OFTEN: Final = Param("apply_p", "Done so often", low=0, high=1)
"""Every step has it; empty means always."""

PARAMS: Final[Mapping[str, tuple[Param, ...]]] = {
    "Resize": (
        SIZE,
        Param("interpolation", "Interpolation", "choice", options=("bilinear", "bicubic", "nearest")),
    ),
    "CenterCrop": (SIZE,),
    "RandomResizedCrop": (
        SIZE,
        Param("scale", "Share of the area", "numbers", [0.8, 1.0], low=0),
        Param("ratio", "Width to height", "numbers", low=0),
    ),
    "RandomHorizontalFlip": (CHANCE,),
    "RandomVerticalFlip": (CHANCE,),
    "RandomRotation": (Param("degrees", "Degrees", "numbers", 15),),
    "RandomAffine": (
        Param("degrees", "Degrees", "numbers", 10),
        Param("translate", "Shift (share)", "numbers", [0.1, 0.1], low=0, high=1),
        Param("scale", "Scale", "numbers", low=0),
        Param("shear", "Shear (degrees)", "numbers"),
    ),
    "RandomPerspective": (Param("distortion_scale", "Distortion", start=0.3, low=0, high=1), CHANCE),
    "RandomCrop": (SIZE, Param("padding", "Padding (px)", "numbers", low=0)),
    "ColorJitter": (
        Param("brightness", "Brightness", "numbers", 0.2, low=0),
        Param("contrast", "Contrast", "numbers", 0.2, low=0),
        Param("saturation", "Saturation", "numbers", 0.1, low=0),
        Param("hue", "Hue", "numbers", 0.05, low=-0.5, high=0.5),
    ),
    "RandomPhotometricDistort": (CHANCE,),
    "RandomGrayscale": (Param("p", "Chance", start=0.1, low=0, high=1),),
    "GaussianBlur": (
        Param("kernel_size", "Kernel (odd, px)", "whole", 5, low=1),
        Param("sigma", "Sigma", "numbers", low=0),
    ),
    "RandomAutocontrast": (CHANCE,),
    "RandomEqualize": (CHANCE,),
    "RandomPosterize": (Param("bits", "Bits kept", "whole", 4, low=1, high=8), CHANCE),
    "RandomSolarize": (Param("threshold", "Threshold", start=128, low=0, high=255), CHANCE),
    "Normalize": (
        Param("mean", "Mean of each channel", "numbers", [0.485, 0.456, 0.406]),
        Param("std", "Deviation of each channel", "numbers", [0.229, 0.224, 0.225], low=0),
    ),
    "ToDtype": (
        Param("dtype", "Type", "choice", "float32", options=("float32", "float16", "uint8")),
        Param("scale", "Scaled to its range", "switch", True),
    ),
    "ToImage": (),
}

TITLES: Final[Mapping[str, str]] = {
    "Resize": "Resize",
    "CenterCrop": "Crop the middle",
    "RandomResizedCrop": "Random crop, resized",
    "RandomHorizontalFlip": "Mirror left and right",
    "RandomVerticalFlip": "Mirror top and bottom",
    "RandomRotation": "Rotate",
    "RandomAffine": "Shift, scale and shear",
    "RandomPerspective": "Perspective",
    "RandomCrop": "Random crop",
    "ColorJitter": "Brightness and colour",
    "RandomPhotometricDistort": "Photometric distortion",
    "RandomGrayscale": "To grey",
    "GaussianBlur": "Blur",
    "RandomAutocontrast": "Stretch the contrast",
    "RandomEqualize": "Equalise",
    "RandomPosterize": "Posterise",
    "RandomSolarize": "Solarise",
    "Normalize": "Normalise",
    "ToDtype": "Type of the numbers",
    "ToImage": "To numbers from 0 to 1",
}


def declared(names: tuple[str, ...]) -> list[dict[str, Any]]:
    """What the form's script builds the rows of these steps from."""
    return [
        {
            "name": name,
            "title": TITLES[name],
            "params": [asdict(one) for one in (*PARAMS[name], OFTEN)],
        }
        for name in names
    ]


def in_words(name: str, params: Mapping[str, Any]) -> str:
    """``size 224, scale 0.8 to 1``: a step's parameters, to be read."""
    labels = {one.name: one.label for one in (*PARAMS.get(name, ()), OFTEN)}
    return ", ".join(f"{labels.get(key, key)}: {_said(value)}" for key, value in params.items())


def _said(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " / ".join(_said(one) for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
