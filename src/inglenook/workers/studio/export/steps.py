# SPDX-License-Identifier: Apache-2.0
"""torchvision's steps, as a checkpoint names them, as the value that travels with an exported file."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from inglenook.vision.preprocessing import (
    CenterCrop,
    Grayscale,
    Interpolation,
    Normalize,
    Preprocessing,
    Resize,
)
from inglenook.wire.studio.spec import Step
from inglenook.workers.studio.export.errors import CannotPreprocess

_ALWAYS: Final = frozenset({"ToImage", "ToTensor"})
_FLOATS: Final = frozenset({"float32", "torch.float32"})
Made = Resize | CenterCrop | Grayscale | Normalize


def as_preprocessing(steps: Sequence[Step]) -> Preprocessing:
    """Raises CannotPreprocess: a step cannot be done with Pillow and numpy alone, or not in this place."""
    found: list[Made] = []
    numbers = False
    for step in steps:
        if step.params.get("apply_p", 1) != 1:
            raise _cannot(step, "it happens only so often")
        if step.name in _ALWAYS or step.name == "ToDtype":
            _check_numbers(step)
            numbers = True
            continue
        made = _made(step)
        if isinstance(made, Normalize) != numbers:
            raise _cannot(step, f"it comes {'after' if numbers else 'before'} ToImage")
        found.append(made)
    try:
        return msgspec.convert(msgspec.to_builtins(Preprocessing(steps=tuple(found))), Preprocessing)
    except msgspec.ValidationError as error:
        raise CannotPreprocess(f"The val pipeline cannot be exported: {error}.") from error


def _check_numbers(step: Step) -> None:
    """`ToDtype` to float32 with scaling is what `ToImage` does here anyway."""
    if step.name == "ToDtype" and str(step.params.get("dtype", "float32")) not in _FLOATS:
        raise _cannot(step, f"its dtype is {step.params.get('dtype')}")


def _made(step: Step) -> Made:
    params = step.params
    match step.name:
        case "Resize":
            _only(step, "size", "interpolation", "max_size", "antialias")
            if params.get("antialias", True) is False:
                raise _cannot(step, "antialias is off, which pictures do not know")
            return Resize(
                size=_sides(step), interpolation=_interpolation(step), max_size=params.get("max_size")
            )
        case "CenterCrop":
            _only(step, "size")
            sides = _sides(step)
            return CenterCrop(size=(sides[0], sides[-1]))
        case "Grayscale":
            _only(step, "num_output_channels")
            return Grayscale(channels=params.get("num_output_channels", 1))
        case "Normalize":
            _only(step, "mean", "std", "inplace")
            return Normalize(mean=_numbers(params, "mean"), std=_numbers(params, "std"))
        case _:
            raise _cannot(step, "only Resize, CenterCrop, Grayscale, ToImage, ToDtype and Normalize can be")


def _only(step: Step, *known: str) -> None:
    for name in step.params:
        if name not in (*known, "apply_p"):
            raise _cannot(step, f"its {name} is not known here")


def _sides(step: Step) -> tuple[int, ...]:
    size = step.params.get("size")
    if isinstance(size, int) and not isinstance(size, bool):
        return (size,)
    if isinstance(size, list | tuple) and 1 <= len(size) <= 2 and all(isinstance(it, int) for it in size):
        return tuple(size)
    raise _cannot(step, f"its size is {size!r}")


def _interpolation(step: Step) -> Interpolation:
    given = step.params.get("interpolation", "bilinear")
    try:
        return msgspec.convert(given, Interpolation)
    except msgspec.ValidationError:
        raise _cannot(step, f"its interpolation is {given!r}") from None


def _numbers(params: Mapping[str, Any], name: str) -> tuple[float, ...]:
    given = params.get(name, ())
    return tuple(float(value) for value in (given if isinstance(given, list | tuple) else (given,)))


def _cannot(step: Step, why: str) -> CannotPreprocess:
    return CannotPreprocess(
        f"The step {step.name} of the val pipeline cannot be exported: {why}.",
        hint="train with a val pipeline of Resize, CenterCrop, ToImage and Normalize",
    )
