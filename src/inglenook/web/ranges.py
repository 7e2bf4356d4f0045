# SPDX-License-Identifier: Apache-2.0
"""What the fields of the form accept with one model, and what of a filled form does not fit it. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from inglenook.catalog.model import ImageDefaults, ModelKind, ModelRecord
from inglenook.images.model import MAX_CLIP_SKIP, MAX_GUIDANCE, MAX_INPUT_PICTURES, Mode
from inglenook.images.request import DEFAULT_STRENGTH, MAX_HIRES_SCALE, Limits
from inglenook.web.form import CUSTOM, Values
from inglenook.wire.families import EDIT, FAMILIES, IMAGE, INPAINT, TEXT, Family
from inglenook.wire.schedulers import SCHEDULERS, SIGMAS, fitting, takes_sigmas

_SHAPES = ((1, 1), (4, 3), (3, 4), (16, 9), (9, 16))
_ENLARGE = (1, 2, 4, 8, 16)
_ENLARGED_UP_TO_PX = 1024
_SENSIBLE_STEPS = 60
"""Where the slider ends; more can be typed."""


@dataclass(frozen=True, slots=True)
class Preset:
    value: str
    words: str


@dataclass(frozen=True, slots=True)
class Sigmas:
    """`fits`: the schedulers that it can be used with."""

    name: str
    words: str
    fits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PartChoice:
    """A LoRA, an embedding or a VAE that fits the model."""

    id: str
    title: str


@dataclass(frozen=True, slots=True)
class Ranges:
    """What the fields of the form accept with one model: (least, most) of each, and what empty ones mean.

    Attributes:
        top_steps, top_guidance: the end of the sensible range, where the sliders end.
        steps, guidance_scale, strength: what an empty field means.
        can_begin: whether it takes an input picture; `can_mask`: whether a part of it can be drawn anew;
            `can_blend`: whether a strength has a meaning; `needs_picture`: whether it draws from words alone.
        max_inputs: input pictures.
        clip: whether `clip_skip` and embeddings mean something.
        hires: whether a second pass can follow.
    """

    default_size: str
    presets: tuple[Preset, ...]
    min_side_px: int
    max_side_px: int
    side_step_px: int
    steps: int
    guidance_scale: float
    max_steps: int
    max_pictures: int
    schedulers: tuple[tuple[str, str], ...]
    sigmas: tuple[Sigmas, ...]
    top_steps: int
    top_guidance: float
    guided: bool = True
    negative_prompt: bool = True
    can_begin: bool = True
    can_mask: bool = True
    can_blend: bool = True
    needs_picture: bool = False
    max_inputs: int = 1
    clip: bool = True
    hires: bool = True
    strength: float = DEFAULT_STRENGTH[Mode.IMAGE]
    max_guidance: float = MAX_GUIDANCE
    max_clip_skip: int = MAX_CLIP_SKIP
    max_hires_scale: float = MAX_HIRES_SCALE
    loras: tuple[PartChoice, ...] = ()
    vaes: tuple[PartChoice, ...] = ()
    embeddings: tuple[PartChoice, ...] = ()


def ranges(defaults: ImageDefaults, family: Family, parts: Sequence[ModelRecord], limits: Limits) -> Ranges:
    """Args:
    parts: LoRAs, embeddings and VAEs of the catalogue; those that do not fit the family are left out.
    """
    modes = defaults.modes
    schedulers = defaults.schedulers or fitting(flow=family.flow)
    steps = min(defaults.steps, limits.max_steps)
    return Ranges(
        default_size=f"{defaults.width} × {defaults.height}",
        presets=tuple(_fixed(defaults, limits) if defaults.fixed else _free(defaults, limits)),
        min_side_px=1 if defaults.fixed else defaults.min_px,
        max_side_px=limits.max_side_px,
        side_step_px=1 if defaults.fixed else defaults.multiple,
        steps=steps,
        guidance_scale=defaults.guidance_scale,
        max_steps=limits.max_steps,
        max_pictures=limits.max_pictures,
        schedulers=tuple((name, SCHEDULERS[name]) for name in schedulers),
        sigmas=tuple(_sigmas(schedulers)),
        top_steps=min(limits.max_steps, max(_SENSIBLE_STEPS, 2 * steps)),
        top_guidance=max(family.guidance_max, defaults.guidance_scale),
        guided=defaults.guided,
        negative_prompt=defaults.negative_prompt,
        can_begin=bool(modes - {TEXT}),
        can_mask=INPAINT in modes,
        can_blend=bool(modes & {IMAGE, INPAINT}),
        needs_picture=TEXT not in modes,
        max_inputs=min(defaults.max_pictures if EDIT in modes else 1, MAX_INPUT_PICTURES),
        clip=family.clip,
        hires=not defaults.fixed and TEXT in modes,
        loras=_parts(parts, ModelKind.LORA, family),
        vaes=_parts(parts, ModelKind.VAE, family),
        embeddings=_parts(parts, ModelKind.EMBEDDING, family) if family.clip else (),
    )


def _sigmas(schedulers: Sequence[str]) -> list[Sigmas]:
    found = [
        Sigmas(name, words, tuple(it for it in schedulers if takes_sigmas(it, name)))
        for name, words in SIGMAS.items()
    ]
    return [it for it in found if it.fits]


def _parts(parts: Sequence[ModelRecord], kind: ModelKind, family: Family) -> tuple[PartChoice, ...]:
    """Sound ones of the family, and those whose family is not known: the worker finds out."""
    return tuple(
        PartChoice(part.id, part.title or part.id)
        for part in sorted(parts, key=lambda it: it.id)
        if part.kind is kind and part.problem is None and family.name in (served(part) or (family.name,))
    )


def served(part: ModelRecord) -> tuple[str, ...]:
    """The families that a LoRA, an embedding or a VAE can serve; none where it does not tell."""
    return part.fits or (() if part.family is None else (part.family,))


# -- sizes -----------------------------------------------------------------------------------------------


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
    """The sizes that it was trained on; where they are not known, the usual shapes at as many pixels."""
    found: dict[str, Preset] = {}
    for width, height in defaults.sizes or [_shaped(shape, defaults) for shape in _SHAPES]:
        value = f"{width}x{height}"
        if max(width, height) > limits.max_side_px or width * height > limits.max_pixels:
            continue
        found.setdefault(value, Preset(value, f"{width} × {height} ({_shape_words(width, height)})"))
    return list(found.values())


def _shaped(shape: tuple[int, int], defaults: ImageDefaults) -> tuple[int, int]:
    stretch = math.sqrt(shape[0] / shape[1])
    return _rounded(defaults.native_px * stretch, defaults), _rounded(defaults.native_px / stretch, defaults)


def _rounded(side_px: float, defaults: ImageDefaults) -> int:
    return max(defaults.min_px, round(side_px / defaults.multiple) * defaults.multiple)


def _shape_words(width: int, height: int) -> str:
    if width == height:
        return "square"
    ratio = max(width, height) / min(width, height)
    if width > height:
        return "wide" if ratio >= 1.6 else "landscape"
    return "tall" if ratio >= 1.6 else "portrait"


# -- another model ---------------------------------------------------------------------------------------


def fitted(values: Values, now: Ranges) -> tuple[Values, tuple[str, ...]]:
    """What was typed, without what the model cannot do, and one sentence for each thing that was let go."""
    changes: dict[str, str] = {}
    said: list[str] = []
    if values["size"] not in ("", CUSTOM, *(preset.value for preset in now.presets)):
        changes |= {"size": "", "width": "", "height": ""}
    for name, able in (
        ("scheduler", [name for name, _ in now.schedulers]),
        ("sigmas", [it.name for it in now.sigmas]),
        ("vae", [it.id for it in now.vaes]),
    ):
        if values[name] and values[name] not in able:
            changes[name] = ""
            said.append(f"{values[name]} does not go with this model: back to the model's own.")
    if values["clip_skip"] and not now.clip:
        changes["clip_skip"] = ""
    if values["hires"] and not now.hires:
        changes["hires"] = ""
        said.append("This model has no second pass.")
    loras = [row for row in values.loras if row.model in {it.id for it in now.loras}]
    gone = [row.model for row in values.loras if row not in loras]
    if gone:
        said.append(f"{', '.join(gone)} {'does' if len(gone) == 1 else 'do'} not go with this model.")
    return values.changed(loras=loras, **changes), tuple(said)


def family_of(record: ModelRecord | None) -> Family:
    """The record's family; a plain one where there is no model, or none that is known."""
    return FAMILIES.get((record.family if record is not None else None) or "sd1", FAMILIES["sd1"])
