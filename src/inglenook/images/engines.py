# SPDX-License-Identifier: Apache-2.0
"""Which programs can draw, and what each of them can do. `app.py` fills the registry."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from inglenook.catalog.errors import ModelUnusable
from inglenook.catalog.model import ModelRecord
from inglenook.images.errors import EngineMissing, NoLoras, NotConverted
from inglenook.images.model import Engine

Missing = tuple[str, str | None]
"""Why an engine cannot draw here, as a sentence, and what to do about it."""


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
        models: catalogue ids that it can draw with; for one that needs conversions, those that have one.
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
        missing: why it cannot draw here, or None when it can. Cheap; may block.
        draws: the record that this engine draws with when that model is asked for (itself, or its
            conversion), or None. Blocks.
        lacks: what a picture may ask for and this engine refuses: `vae`, `embeddings`, `hires`.
    """

    engine: Engine
    title: str
    missing: Callable[[], Missing | None]
    draws: Callable[[ModelRecord], ModelRecord | None]
    needs_conversion: bool
    modes: tuple[str, ...]
    loras: bool
    previews: bool
    negative_prompt: bool = True
    families: tuple[str, ...] = ()
    devices: Sequence[str] = ()
    lacks: frozenset[str] = frozenset()


class Engines:
    """Args:
    registered: in the order in which `auto` prefers them.
    """

    def __init__(self, registered: Sequence[DrawingEngine]) -> None:
        self._registered = tuple(registered)

    def choose(
        self, wanted: Engine, model: ModelRecord, *, loras: bool, needs: frozenset[str] = frozenset()
    ) -> tuple[Engine, ModelRecord]:
        """The engine, and the record that it draws with. Blocks.

        Args:
            loras: whether the request has any.
            needs: what else it asks for, of `DrawingEngine.lacks`: `auto` takes an engine that has it.

        Raises:
            EngineMissing: the engine that is asked for is not here.
            NotConverted: it draws with conversions, and the model has none.
            NoLoras: it takes none.
            ModelUnusable: it, or with `auto` every engine, cannot draw with the model.
        """
        if wanted is not Engine.AUTO:
            return self._named(wanted, model, loras=loras)
        for one in self._registered:
            if one.missing() is None and (one.loras or not loras) and one.lacks.isdisjoint(needs):
                record = one.draws(model)
                if record is not None:
                    return one.engine, record
        raise self._nobody(model)

    def _named(self, wanted: Engine, model: ModelRecord, *, loras: bool) -> tuple[Engine, ModelRecord]:
        one = next((one for one in self._registered if one.engine is wanted), None)
        if one is None:
            here = ", ".join(one.engine for one in self._registered)
            raise EngineMissing(
                f"The engine {wanted} is not part of this program.",
                field="engine",
                hint=f"choose auto or one of {here}",
            )
        missing = one.missing()
        if missing is not None:
            raise EngineMissing(missing[0], hint=missing[1], field="engine")
        record = one.draws(model)
        if record is None and one.needs_conversion:
            raise NotConverted(
                f"{model.id} has not been converted for {one.title}.",
                field="model",
                hint=f"`inglenook models convert {model.id} --to {one.engine}` does it",
            )
        if record is None:
            raise ModelUnusable(
                f"{one.title} cannot draw with {model.id}.",
                field="model",
                hint="choose another model, or engine auto",
            )
        if loras and not one.loras:
            raise NoLoras(
                f"{one.title} applies no LoRAs.", field="loras", hint="leave them out, or take engine torch"
            )
        return wanted, record

    def _nobody(self, model: ModelRecord) -> EngineMissing:
        absent = [(one, missing) for one in self._registered if (missing := one.missing()) is not None]
        fitting = [missing for one, missing in absent if one.draws(model) is not None]
        facts = fitting or [missing for _, missing in absent]
        fact, hint = facts[0] if facts else (f"No engine here can draw with {model.id}.", None)
        return EngineMissing(fact, hint=hint, field="engine")

    def statuses(self, models: Sequence[ModelRecord]) -> tuple[EngineStatus, ...]:
        """The matrix. Blocks.

        Args:
            models: the picture models of the catalogue that can be used.
        """
        return tuple(self._status(one, models) for one in self._registered)

    def _status(self, one: DrawingEngine, models: Sequence[ModelRecord]) -> EngineStatus:
        missing = one.missing()
        why_not, hint = (None, None) if missing is None else missing
        return EngineStatus(
            name=one.engine,
            title=one.title,
            available=missing is None,
            why_not=why_not,
            hint=hint,
            needs_conversion=one.needs_conversion,
            modes=one.modes,
            loras=one.loras,
            previews=one.previews,
            negative_prompt=one.negative_prompt,
            families=one.families,
            devices=tuple(one.devices),
            models=tuple(str(model.id) for model in models if one.draws(model) is not None),
        )
