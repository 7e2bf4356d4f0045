# SPDX-License-Identifier: Apache-2.0
"""Which parameters each transform has, and what they may be: a wrong one is told when an experiment is made,
and not when its process has been started. Pure.

Names and meanings are those of torchvision's `transforms.v2`; a test compares them with what is installed.
What depends on a picture (a crop larger than it) only the worker finds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from typing import Any, Final

from inglenook.wire.studio.spec import Step

ONE: Final = 0
"""Among `counts`: a number by itself."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """One number or a list of them.

    Attributes:
        counts: how long the list may be; `ONE` for a number by itself.
        low, high: the range, ends included; `above` leaves its own value out.
        alone_low: of a number by itself, where it spans a range around zero.
        ordered: the first of a list is not above the second.
    """

    counts: tuple[int, ...] = (ONE,)
    low: float | None = None
    high: float | None = None
    above: float | None = None
    alone_low: float | None = None
    whole: bool = False
    odd: bool = False
    ordered: bool = False
    null: bool = False
    needed: bool = False

    def wrong(self, value: Any) -> str | None:
        """What it must be, where it is not; else None."""
        if value is None:
            return None if self.null else self.said()
        alone = not isinstance(value, list | tuple)
        values: Sequence[Any] = [value] if alone else value
        fits = (ONE if alone else len(values)) in self.counts and all(self._fits(one) for one in values)
        if not fits or (alone and self.alone_low is not None and values[0] < self.alone_low):
            return self.said()
        if self.ordered and any(first > second for first, second in pairwise(values)):
            return "must be a lower and a higher number, in this order"
        return None

    def _fits(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            return False
        return (
            (not self.whole or value == int(value))
            and (not self.odd or int(value) % 2 == 1)
            and (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
        )

    def said(self) -> str:
        kind = "odd whole" if self.odd else "whole" if self.whole else ""
        article = "an" if kind.startswith("odd") else "a"
        counts = [
            f"{article} {kind} number".replace("  ", " ") if one == ONE else f"a list of {one}"
            for one in self.counts
        ]
        ends = [
            f"from {self.low:g}" if self.low is not None else "",
            f"above {self.above:g}" if self.above is not None else "",
            f"to {self.high:g}" if self.high is not None else "",
        ]
        alone = f"; by itself from {self.alone_low:g}" if self.alone_low is not None else ""
        null = " or null" if self.null else ""
        return " ".join(["must be", " or ".join(counts), *(one for one in ends if one)]) + alone + null


@dataclass(frozen=True, slots=True)
class Switch:
    null: bool = False
    needed: bool = False

    def wrong(self, value: Any) -> str | None:
        return None if isinstance(value, bool) or (value is None and self.null) else "must be true or false"


@dataclass(frozen=True, slots=True)
class Word:
    """One of `words`; or, where `numbers` says so, a whole number below it that stands for one."""

    words: tuple[str, ...]
    numbers: int = 0
    needed: bool = False

    def wrong(self, value: Any) -> str | None:
        if isinstance(value, str) and value in self.words:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < self.numbers:
            return None
        return f"must be one of {', '.join(self.words)}"


Param = Numbers | Switch | Word

_CHANCE: Final = Numbers(low=0, high=1)
_SIZE: Final = Numbers((ONE, 1, 2), low=1, whole=True, needed=True)
_FILL: Final = Numbers((ONE, 1, 3), null=True)
_CENTRE: Final = Numbers((2,), null=True)
_RANGE: Final = Numbers((2,), above=0, ordered=True)
_FACTOR: Final = Numbers((ONE, 2), low=0, ordered=True, null=True)
_ANGLE: Final = Numbers((ONE, 2), alone_low=0, ordered=True, needed=True)
_MODE: Final = Word(
    ("nearest", "nearest-exact", "bilinear", "bicubic", "box", "hamming", "lanczos"),
    numbers=6,  # as Pillow numbers them
)
_MAYBE: Final = Switch(null=True)
_PLACE: Final[Mapping[str, Param]] = {"interpolation": _MODE, "fill": _FILL}

PARAMETERS: Final[Mapping[str, Mapping[str, Param]]] = {
    "Resize": {
        "size": Numbers((ONE, 1, 2), low=1, whole=True, null=True, needed=True),
        "interpolation": _MODE,
        "max_size": Numbers(low=1, whole=True, null=True),
        "antialias": _MAYBE,
    },
    "CenterCrop": {"size": _SIZE},
    "RandomResizedCrop": {
        "size": _SIZE,
        "scale": _RANGE,
        "ratio": _RANGE,
        "interpolation": _MODE,
        "antialias": _MAYBE,
    },
    "RandomHorizontalFlip": {"p": _CHANCE},
    "RandomVerticalFlip": {"p": _CHANCE},
    "RandomRotation": {"degrees": _ANGLE, "expand": Switch(), "center": _CENTRE, **_PLACE},
    "RandomAffine": {
        "degrees": _ANGLE,
        "translate": Numbers((2,), low=0, high=1, null=True),
        "scale": Numbers((2,), above=0, ordered=True, null=True),
        "shear": Numbers((ONE, 2, 4), alone_low=0, null=True),
        "center": _CENTRE,
        **_PLACE,
    },
    "RandomPerspective": {"distortion_scale": Numbers(low=0, high=1), "p": _CHANCE, **_PLACE},
    "RandomCrop": {
        "size": _SIZE,
        "padding": Numbers((ONE, 1, 2, 4), low=0, whole=True, null=True),
        "pad_if_needed": Switch(),
        "fill": _FILL,
        "padding_mode": Word(("constant", "edge", "reflect", "symmetric")),
    },
    "ColorJitter": {
        "brightness": _FACTOR,
        "contrast": _FACTOR,
        "saturation": _FACTOR,
        "hue": Numbers((ONE, 2), low=-0.5, high=0.5, alone_low=0, ordered=True, null=True),
    },
    "RandomPhotometricDistort": {
        "brightness": _RANGE,
        "contrast": _RANGE,
        "saturation": _RANGE,
        "hue": Numbers((2,), low=-0.5, high=0.5, ordered=True),
        "p": _CHANCE,
    },
    "RandomGrayscale": {"p": _CHANCE},
    "GaussianBlur": {
        "kernel_size": Numbers((ONE, 1, 2), low=1, whole=True, odd=True, needed=True),
        "sigma": Numbers((ONE, 1, 2), above=0, ordered=True),
    },
    "RandomAutocontrast": {"p": _CHANCE},
    "RandomEqualize": {"p": _CHANCE},
    "RandomPosterize": {"bits": Numbers(low=0, high=8, whole=True, needed=True), "p": _CHANCE},
    "RandomSolarize": {"threshold": Numbers(low=0, high=255, needed=True), "p": _CHANCE},
    "Normalize": {
        "mean": Numbers((1, 3), needed=True),
        "std": Numbers((1, 3), above=0, needed=True),
        "inplace": Switch(),
    },
    "ToDtype": {
        "dtype": Word(("float32", "float16", "float64", "uint8"), needed=True),
        "scale": Switch(),
    },
    "ToImage": {},
}
"""By the transform's name. Every one has `apply_p` besides: how often it is done at all."""


def wrong_parameter(step: Step) -> tuple[str, str, str | None] | None:
    """The first parameter of a known transform that cannot be accepted: its name, what is wrong as the rest
    of a sentence, and a hint; None where all can.
    """
    known = {**PARAMETERS[step.name], "apply_p": _CHANCE}
    for name, value in step.params.items():
        if name not in known:
            close = get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(known)}"
            return name, "is no parameter of it", hint
        must = known[name].wrong(value)
        if must is not None:
            return name, f"{must}; got {value!r:.60}", None
    for name, param in PARAMETERS[step.name].items():
        if param.needed and name not in step.params:
            return name, "is missing", None
    return None
