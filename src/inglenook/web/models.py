# SPDX-License-Identifier: Apache-2.0
"""The picture models as the page offers them: which there are, how they stand, what they accept. Pure."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from inglenook.base.ids import ModelId
from inglenook.catalog.model import ImageDefaults, ModelKind, ModelRecord
from inglenook.images.model import MAX_GUIDANCE
from inglenook.images.request import Limits
from inglenook.images.work import guessed_load_s
from inglenook.web.words import about, capfirst

_SHAPES = ((1, 1), (4, 3), (3, 4), (16, 9), (9, 16))
_SHAPE_WORDS = {(1, 1): "square", (4, 3): "landscape", (3, 4): "portrait", (16, 9): "wide", (9, 16): "tall"}
_ENLARGE = (1, 2, 4, 8, 16)
_ENLARGED_UP_TO_PX = 1024


class Standing(StrEnum):
    """How soon a model can draw."""

    READY = "ready"
    STARTING = "starting"
    COLD = "cold"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Warmth:
    """What the runtime knows of a model: `load_s` seconds, None where it was never measured."""

    standing: Standing = Standing.COLD
    load_s: float | None = None


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """One line of the picker."""

    id: ModelId
    title: str
    standing: Standing
    words: str
    usable: bool
    description: str = ""


@dataclass(frozen=True, slots=True)
class Preset:
    value: str
    words: str


@dataclass(frozen=True, slots=True)
class Ranges:
    """What the fields of the form accept with one model: (least, most) of each, and what empty ones mean."""

    default_size: str
    presets: tuple[Preset, ...]
    min_side_px: int
    max_side_px: int
    side_step_px: int
    steps: int
    guidance_scale: float
    max_steps: int
    max_pictures: int
    max_guidance: float = MAX_GUIDANCE


def picture_models(records: Sequence[ModelRecord], default: ModelId | None) -> list[ModelRecord]:
    """Those that draw, the default first, then those that came with the package, then by name."""
    found = [record for record in records if record.kind is ModelKind.IMAGE]
    return sorted(found, key=lambda it: (it.id != default, it.problem is not None, not it.builtin, it.id))


def choices(records: Sequence[ModelRecord], warmth: Mapping[ModelId, Warmth]) -> list[ModelChoice]:
    found = [choice(record, warmth.get(record.id, Warmth())) for record in records]
    named = Counter(it.title for it in found)
    return [it if named[it.title] == 1 else replace(it, title=f"{it.title} ({it.id})") for it in found]


def choice(record: ModelRecord, warmth: Warmth) -> ModelChoice:
    standing = warmth.standing if record.problem is None else Standing.PROBLEM
    load_s = guessed_load_s(record) if warmth.load_s is None else warmth.load_s
    return ModelChoice(
        id=record.id,
        title=record.title or record.id,
        standing=standing,
        words=_standing_words(standing, load_s, record.problem),
        usable=record.problem is None and record.image is not None,
        description=record.description,
    )


def _standing_words(standing: Standing, load_s: float, problem: str | None) -> str:
    if standing is Standing.PROBLEM:
        fact, _, hint = str(problem).partition("\nhint: ")
        return f"problem: {fact}" + (f" {capfirst(hint)}." if hint else "")
    if standing is Standing.READY:
        return "ready"
    if standing is Standing.STARTING:
        return "being loaded"
    return f"loads in {about(load_s)}"


def ranges(defaults: ImageDefaults, limits: Limits) -> Ranges:
    return Ranges(
        default_size=f"{defaults.width} × {defaults.height}",
        presets=tuple(_fixed(defaults, limits) if defaults.fixed else _free(defaults, limits)),
        min_side_px=1 if defaults.fixed else defaults.min_px,
        max_side_px=limits.max_side_px,
        side_step_px=1 if defaults.fixed else defaults.multiple,
        steps=min(defaults.steps, limits.max_steps),
        guidance_scale=defaults.guidance_scale,
        max_steps=limits.max_steps,
        max_pictures=limits.max_pictures,
    )


def _fixed(defaults: ImageDefaults, limits: Limits) -> list[Preset]:
    """The sizes that it can draw, and each enlarged by whole factors."""
    sizes = {
        (width * factor, height * factor, factor)
        for width, height in defaults.fixed
        for factor in _ENLARGE
        if factor == 1 or max(width, height) * factor <= min(_ENLARGED_UP_TO_PX, limits.max_side_px)
    }
    return [
        Preset(f"{width}x{height}", f"{width} × {height}" + (f" (enlarged {factor} ×)" if factor > 1 else ""))
        for width, height, factor in sorted(sizes)
    ]


def _free(defaults: ImageDefaults, limits: Limits) -> list[Preset]:
    """The usual shapes at about as many pixels as the model was trained on, in multiples that it can do."""
    found: dict[str, Preset] = {}
    for shape in _SHAPES:
        stretch = math.sqrt(shape[0] / shape[1])
        width = _rounded(defaults.native_px * stretch, defaults)
        height = _rounded(defaults.native_px / stretch, defaults)
        value = f"{width}x{height}"
        if max(width, height) > limits.max_side_px or width * height > limits.max_pixels:
            continue
        found.setdefault(value, Preset(value, f"{width} × {height} ({_SHAPE_WORDS[shape]})"))
    return list(found.values())


def _rounded(side_px: float, defaults: ImageDefaults) -> int:
    return max(defaults.min_px, round(side_px / defaults.multiple) * defaults.multiple)
