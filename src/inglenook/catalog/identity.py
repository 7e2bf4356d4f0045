# SPDX-License-Identifier: Apache-2.0
"""What was found out about a set of tensors. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from inglenook.catalog.model import (
    LanguageFacts,
    LoraFacts,
    ModelKind,
    Need,
    ProjectorFacts,
    SpeechFacts,
    VisionFacts,
)

Shapes = Mapping[str, tuple[int, ...]]
"""Tensor names to shapes, as a header gives them."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Attributes:
    family: a name from `wire.families` where it is one of ours, the common name of others, or None.
    problem: why the model cannot be used, or None.
    variant: one of the family's; "" is the plain one.
    shaped: the variant follows from shapes, and nobody may say otherwise.
    fits, role, widths, needs, lora, language, speech, projector, vision: see `ModelRecord`.
    places: prefixes of a single file's tensor names → the component below each, the first that fits.
    """

    kind: ModelKind
    family: str | None
    problem: str | None = None
    variant: str = ""
    shaped: bool = False
    fits: tuple[str, ...] = ()
    role: str | None = None
    widths: Mapping[str, int] = field(default_factory=dict)
    needs: tuple[Need, ...] = ()
    lora: LoraFacts | None = None
    language: LanguageFacts | None = None
    speech: SpeechFacts | None = None
    projector: ProjectorFacts | None = None
    vision: VisionFacts | None = None
    places: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Weights:
    """The tensors of files that are no safetensors, summed up, and what these files say of themselves.

    Attributes:
        components, parameters, dtype, digest: as `ModelRecord` has them.
        title, licence, description: "" where they say nothing.
    """

    components: Mapping[str, int]
    parameters: int
    dtype: str
    digest: str
    title: str = ""
    licence: str = ""
    description: str = ""


def unsupported(family: str) -> str:
    return f"family {family} is not supported yet"


def anywhere(pattern: re.Pattern[str], names: Iterable[str]) -> bool:
    """Whether the pattern fits in any of the names; `^` and `$` of a multi-line pattern are a name's ends.
    Names are looked at all together, which is ten times as fast as one after another."""
    return pattern.search("\n".join(names)) is not None


def any_startswith(names: Iterable[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)


def below(shapes: Shapes, prefix: str) -> Shapes:
    """The tensors under `prefix`, without it."""
    if not prefix:
        return shapes
    return {name[len(prefix) :]: shape for name, shape in shapes.items() if name.startswith(prefix)}
