# SPDX-License-Identifier: Apache-2.0
"""The picture models as the page offers them: which there are, and how they stand. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from inglenook.base.ids import ModelId
from inglenook.catalog.model import ModelKind, ModelRecord
from inglenook.images.work import guessed_load_s
from inglenook.web.words import about, capfirst


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
    return f"{about(load_s)} away"
