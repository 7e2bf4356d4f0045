# SPDX-License-Identifier: Apache-2.0
"""What happens to a picture before a model sees it, as a value that travels inside an ONNX file.

The steps are a subset of torchvision's transforms v2, with its meaning on Pillow pictures: it is what the
studio does to a picture that is only looked at. `vision.applying` carries them out. Nothing heavy is
imported.
"""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec

Side = Annotated[int, msgspec.Meta(ge=1, le=16_384)]
Interpolation = Literal["nearest", "nearest-exact", "bilinear", "bicubic", "lanczos", "box", "hamming"]
Numbers = Annotated[tuple[float, ...], msgspec.Meta(min_length=1, max_length=4)]

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
USUAL_PX: Final = 224
MAX_STEPS: Final = 16


class Step(msgspec.Struct, frozen=True, kw_only=True, tag_field="step", forbid_unknown_fields=True):
    """One step; `step` names it."""


class Resize(Step, frozen=True, kw_only=True, tag="resize"):
    """Attributes:
    size: one number for the shorter side, the other in proportion (rounded down); or height and width.
    max_size: of the longer side, where `size` is one number.
    """

    size: Annotated[tuple[Side, ...], msgspec.Meta(min_length=1, max_length=2)]
    interpolation: Interpolation = "bilinear"
    max_size: Side | None = None


class CenterCrop(Step, frozen=True, kw_only=True, tag="center_crop"):
    """The middle, black around it where the picture is smaller. `size`: height and width."""

    size: tuple[Side, Side]


class Grayscale(Step, frozen=True, kw_only=True, tag="grayscale"):
    """ITU-R 601-2 luma, as one channel or three equal ones."""

    channels: Literal[1, 3] = 1


class Normalize(Step, frozen=True, kw_only=True, tag="normalize"):
    """`(x - mean) / std` for each channel, of numbers in 0..1."""

    mean: Numbers
    std: Annotated[
        tuple[Annotated[float, msgspec.Meta(gt=0.0)], ...], msgspec.Meta(min_length=1, max_length=4)
    ]


class Preprocessing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A picture as RGB (turned as its EXIF says), then the steps in order. Numbers are multiplied by 1/255
    before `Normalize`, and where there is none at the end.

    Attributes:
        raw: the model takes the pixels as they are, 0..255, and does the rest itself.
    """

    steps: Annotated[
        tuple[Resize | CenterCrop | Grayscale | Normalize, ...], msgspec.Meta(max_length=MAX_STEPS)
    ]
    raw: bool = False

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of what comes out; None where it depends on the picture."""
        for step in reversed(self.steps):
            if isinstance(step, CenterCrop):
                return step.size
            if isinstance(step, Resize):
                return None if len(step.size) == 1 else (step.size[0], step.size[1])
        return None

    @property
    def geometry(self) -> tuple[Resize | CenterCrop | Grayscale, ...]:
        """The steps that are made on pixels."""
        return tuple(step for step in self.steps if not isinstance(step, Normalize))

    @property
    def normalize(self) -> Normalize | None:
        return next((step for step in self.steps if isinstance(step, Normalize)), None)


def sound(found: Preprocessing, *, channels: int, height: int, width: int) -> str | None:
    """What is wrong with the steps for a model whose input has these sides (0: any), or None."""
    size = found.size
    if size is None and (height or width):
        return f"what it makes depends on the picture; the model takes {width} x {height} pixels"
    if size is not None and (size[0] != (height or size[0]) or size[1] != (width or size[1])):
        return f"it makes {size[1]} x {size[0]} pixels; the model takes {width} x {height}"
    gray = [step.channels for step in found.steps if isinstance(step, Grayscale)]
    if (gray[-1] if gray else 3) != channels:
        return f"it makes {gray[-1] if gray else 3} channels; the model takes {channels}"
    return _unsound_numbers(found, channels)


def _unsound_numbers(found: Preprocessing, channels: int) -> str | None:
    places = [place for place, step in enumerate(found.steps) if isinstance(step, Normalize)]
    if len(places) > 1 or (places and places[0] != len(found.steps) - 1):
        return "normalize must stand once, and last"
    normal = found.normalize
    if normal is None:
        return None
    if found.raw:
        return "pixels as they are cannot be normalised"
    if not {len(normal.mean), len(normal.std)} <= {1, channels}:
        return f"normalize has {len(normal.mean)} means, {len(normal.std)} deviations for {channels} channels"
    return None


def customary(height: int, width: int, channels: int, *, raw: bool) -> Preprocessing:
    """What models of unknown origin are mostly given: 8/7 of the side, the middle of it, ImageNet's mean and
    deviation; small inputs and raw pixels are only resized.

    Args:
        height, width: of the model's input; 0 where it takes any.
    """
    size = (height or USUAL_PX, width or USUAL_PX)
    steps: list[Resize | CenterCrop | Grayscale | Normalize] = (
        [Grayscale(channels=1)] if channels == 1 else []
    )
    if raw or min(size) < 128 or size[0] != size[1]:
        steps.append(Resize(size=size))
    else:
        steps += [Resize(size=(size[0] * 8 // 7,)), CenterCrop(size=size)]
    if channels == 3 and not raw:
        steps.append(Normalize(mean=IMAGENET_MEAN, std=IMAGENET_STD))
    return Preprocessing(steps=tuple(steps), raw=raw)


def resized(size: Sequence[int], height: int, width: int, max_size: int | None = None) -> tuple[int, int]:
    """Height and width after `Resize`. The shorter side is exact; the longer one is rounded down."""
    if len(size) == 2:
        return size[0], size[1]
    short, long = sorted((height, width))
    new_short, new_long = size[0], int(size[0] * long / short)
    if max_size is not None and new_long > max_size:
        new_short, new_long = int(max_size * new_short / new_long), max_size
    return (new_short, new_long) if height <= width else (new_long, new_short)
