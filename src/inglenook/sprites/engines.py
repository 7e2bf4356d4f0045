# SPDX-License-Identifier: Apache-2.0
"""Which programs can draw a sprite, and what each of them can do. `app.py` fills the registry."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from inglenook.catalog.model import ModelRecord
from inglenook.sprites.model import Engine


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """One row of the capability matrix.

    Attributes:
        available: it can draw here and now. why_not: the fact in words where it cannot.
        hint: what to do about that.
        needs_conversion: its models are made from others by `inglenook models convert`.
        modes: what it can be asked for: `text`, `image`, `inpaint`, `edit`.
        loras, previews, negative_prompt: whether it takes them, or has them.
        families: of models, as `wire.families` names them; empty for every family we know.
        devices: kinds that it draws on here, the best first.
        models: catalogue ids that it can draw with.
    """

    name: Engine
    title: str
    available: bool
    why_not: str | None
    hint: str | None
    needs_conversion: bool
    modes: tuple[str, ...]
    loras: bool
    previews: bool
    negative_prompt: bool
    families: tuple[str, ...]
    devices: tuple[str, ...]
    models: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class DrawingEngine:
    """What `app.py` registers for each engine that the program knows.

    Attributes:
        engine: the name of the engine in `ModelRecord`'s terms is `runtime_name` (`Engine.name` of the
            scheduler, e.g. `diffusers`, `mlx`).
        missing: why it cannot draw here, as (fact, hint), or None when it can. Cheap; may block.
        draws: the record that this engine draws with when that model is asked for (itself, or its
            conversion), or None.
    """

    engine: Engine
    title: str
    runtime_name: str
    missing: Callable[[], tuple[str, str] | None]
    draws: Callable[[ModelRecord], ModelRecord | None]
    needs_conversion: bool
    modes: tuple[str, ...]
    loras: bool
    previews: bool
    negative_prompt: bool = True
    families: tuple[str, ...] = ()
    devices: Sequence[str] = ()
