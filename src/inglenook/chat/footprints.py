# SPDX-License-Identifier: Apache-2.0
"""What a load of a language model needs, by kind of device and by saving level. Pure.

A saving level is a number of layers on the accelerator: all of them at level 0, none at the last, so that the
ledger's grant decides how many there are.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from inglenook.base.units import MIB, format_bytes
from inglenook.catalog.language import (
    DRIVER_BYTES,
    Estimate,
    Use,
    all_layers,
    estimate,
    process_bytes,
    projector_bytes,
    shared_memory,
)
from inglenook.catalog.model import LanguageFacts
from inglenook.chat.companions import Companions
from inglenook.chat.model import Choice
from inglenook.runtime.contracts import LoadPlan
from inglenook.wire.llama import LoadLanguageModel

MAX_LEVELS: Final = 16
"""Between all layers and none: each has a footprint of its own to be learned."""
ACCELERATORS: Final = ("cuda", "rocm", "vulkan")
KINDS: Final = frozenset({*ACCELERATORS, "mps", "cpu"})


def use_of(load: LoadLanguageModel, facts: LanguageFacts) -> Use:
    """A load as the estimates take it."""
    return Use(
        context=load.context,
        parallel=load.parallel,
        batch=load.ubatch,
        flash_attention=load.flash_attention != "off",
        cache_type_k=load.cache_type_k,
        cache_type_v=load.cache_type_v,
        all_outputs=load.mode != "chat" and facts.causal,
        host_cache_bytes=load.prompt_cache_mib * MIB,
    )


def levels(facts: LanguageFacts) -> tuple[int, ...]:
    """Layers on an accelerator at each saving level, most first."""
    most = all_layers(facts)
    step = -(-most // MAX_LEVELS)
    return (*range(most, 0, -step), 0)


@dataclass(frozen=True, slots=True)
class Footprints:
    """Of a load. `beside`: bytes of what is loaded with it, which lies where the model's last layers do."""

    needed: Estimate
    layers: Sequence[int]
    beside: int

    @property
    def cpu_bytes(self) -> int:
        return self.needed.cpu_bytes + self.beside

    def by_level(self, kinds: Collection[str]) -> list[dict[str, int]]:
        """Bytes by kind of device, of those among `kinds`. A CPU, and a device that shares the machine's
        memory, spare nothing by holding fewer layers: they have level 0 alone."""
        found = [self._accelerators(count) for count in self.layers]
        unified = self.needed.at(self.layers[0]).together + process_bytes(self.needed.facts) + self.beside
        found[0] |= {"mps": unified, "cpu": self.cpu_bytes}
        return [{kind: size for kind, size in level.items() if kind in kinds} for level in found]

    def _accelerators(self, layers: int) -> dict[str, int]:
        """Without any layer there, large batches are still computed on it."""
        device = self.needed.at(layers).device or self.needed.compute
        return {kind: device + self.beside + DRIVER_BYTES[kind] for kind in ACCELERATORS}

    def in_words(self) -> str:
        facts = self.needed.facts
        parts = {
            "weights": sum(facts.layer_bytes) + facts.other_bytes,
            "cache": sum(self.needed.caches),
            "compute": self.needed.compute,
            "what is loaded beside it": self.beside,
        }
        listed = ", ".join(f"{name} {format_bytes(size)}" for name, size in parts.items() if size)
        return f"estimated, on the CPU: {listed}"


def beside_bytes(use: Use, beside: Companions) -> int:
    """Of projector, draft model and adapters."""
    found = sum(one.weights_bytes for one in beside.adapter_records)
    if beside.projector is not None and beside.projector.projector is not None:
        found += projector_bytes(beside.projector.projector, beside.projector.weights_bytes)
    if beside.draft is not None and beside.draft.language is not None:
        facts = beside.draft.language
        found += estimate(facts, shared_memory(use, facts)).at(all_layers(facts)).together
    return found


# ── what was granted ──────────────────────────────────────────────────────────────────────────────────────


def granted(
    choices: Sequence[Choice], plan: LoadPlan, *, device: str, saving: int, budget_bytes: int | None = None
) -> tuple[Choice, ...]:
    """The choices with what the ledger has made of `gpu_layers`.

    Args:
        device: that was granted (`cuda:0`). saving: the level at which the model was loaded there.
        budget_bytes: of the device.
    """
    if not plan.options.get("layers"):
        return tuple(choices)
    return tuple(
        _layers_choice(one, plan, device, saving, budget_bytes) if one.name == "gpu_layers" else one
        for one in choices
    )


def _layers_choice(
    choice: Choice, plan: LoadPlan, device: str, saving: int, budget_bytes: int | None
) -> Choice:
    layers: Sequence[int] = plan.options["layers"]
    if device == "cpu":
        return Choice("gpu_layers", 0, "memory", "it runs on the CPU")
    count, most = layers[min(saving, len(layers) - 1)], plan.options["all_layers"]
    if choice.source == "model":
        return replace(
            choice, value=count, reason=f"{count} of {most} layers on {device}, as set for this model"
        )
    reason = f"{count} of {most} layers on {device}"
    if count < most:
        room = "there" if budget_bytes is None else f"into {format_bytes(budget_bytes)}"
        reason += f": more do not fit {room}"
    return Choice("gpu_layers", count, "memory", reason)
