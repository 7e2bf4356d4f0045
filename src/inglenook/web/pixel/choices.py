# SPDX-License-Identifier: Apache-2.0
"""What the drawing form offers: models, the LoRAs that fit them, engines and what each can do. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from inglenook.base.ids import ModelId
from inglenook.catalog.model import ModelRecord
from inglenook.images.engines import EngineStatus
from inglenook.sprites.presets import is_tiny, known_lora
from inglenook.web.ranges import family_of, served
from inglenook.web.words import capfirst

_MODES: Final[Mapping[str, str]] = {
    "text": "from words",
    "image": "over a sprite",
    "inpaint": "inside a mask",
    "edit": "by an instruction",
}


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Attributes:
    plain: it knows single things by plain words (`sprites.presets.TINY`).
    masks: it draws inside a mask.
    """

    id: str
    title: str
    family: str
    plain: bool
    masks: bool


@dataclass(frozen=True, slots=True)
class LoraChoice:
    """Attributes:
    families: that it can serve; none where it does not tell: it is offered with every model.
    weight: to begin with.
    about: what is known of it, as a sentence; "" for nothing.
    """

    id: str
    title: str
    families: tuple[str, ...]
    weight: float
    about: str


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """Attributes:
    words: what it can do, or why it cannot draw here and what to do about that.
    models: ids that it can draw with.
    convert: the command that makes a model fit, its place for the id; "" where none does.
    """

    name: str
    title: str
    available: bool
    words: str
    models: tuple[str, ...]
    loras: bool
    masks: bool
    convert: str


def model_choices(records: Sequence[ModelRecord]) -> list[ModelChoice]:
    return [
        ModelChoice(
            id=one.id,
            title=one.title or one.id,
            family=family_of(one).name,
            plain=is_tiny(one),
            masks=one.image is not None and "inpaint" in one.image.modes,
        )
        for one in records
        if one.problem is None
    ]


def default_first(models: Sequence[ModelChoice], default: ModelId | None) -> ModelChoice | None:
    """The model that draws where none is chosen."""
    return next((one for one in models if one.id == default), None)


def lora_choices(records: Sequence[ModelRecord]) -> list[LoraChoice]:
    return [_lora(one) for one in sorted(records, key=lambda it: it.id) if one.problem is None]


def _lora(record: ModelRecord) -> LoraChoice:
    known = known_lora(record.id)
    title = record.title or record.id
    if known is None:
        return LoraChoice(record.id, title, served(record), 1.0, "")
    cell = "" if known.cell_px is None else f", {known.cell_px} drawn pixels for each of the sprite"
    about = f"{known.title} was made for pixel art: weight {known.weight:g} to begin with{cell}."
    return LoraChoice(record.id, title, served(record) or (known.family,), known.weight, about)


def engine_choices(statuses: Sequence[EngineStatus]) -> list[EngineChoice]:
    return [
        EngineChoice(
            name=one.name.value,
            title=one.title,
            available=one.available,
            words=_can(one) if one.available else _cannot(one),
            models=one.models,
            loras=one.loras,
            masks="inpaint" in one.modes,
            convert=f"inglenook models convert MODEL --to {one.name.value}" if one.needs_conversion else "",
        )
        for one in statuses
    ]


def _can(status: EngineStatus) -> str:
    draws = ", ".join(_MODES.get(mode, mode) for mode in status.modes)
    extras = {
        "LoRAs": status.loras,
        "previews": status.previews,
        "a negative prompt": status.negative_prompt,
    }
    has = [name for name, there in extras.items() if there]
    lacks = [name for name, there in extras.items() if not there]
    count = len(status.models)
    said = [
        f"Draws {draws}",
        f"with {', '.join(has)}" if has else "",
        f"no {', no '.join(lacks)}" if lacks else "",
    ]
    on = f" on {', '.join(status.devices)}" if status.devices else ""
    models = f"{count or 'none'} of your models" if count != 1 else "one of your models"
    return f"{'; '.join(filter(None, said))}. Can draw with {models}{on}."


def _cannot(status: EngineStatus) -> str:
    why = (status.why_not or "It is not here.").rstrip(". ")
    return f"{why}." + ("" if not status.hint else f" {capfirst(status.hint).rstrip('.')}.")
