# SPDX-License-Identifier: Apache-2.0
"""How a language model is to be used, as values. Pure."""

from dataclasses import dataclass, field
from typing import Literal

from inglenook.wire.llama import FlashAttention, Pooling


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """What a person has set for one language model; None everywhere: what the settings and the header say.

    Attributes:
        context: tokens of one conversation. parallel: conversations at once.
        gpu_layers: on the device; None: as many as fit.
        mmproj, draft: ids of a projector and of a smaller model; "none" turns a projector that was found off.
        loras: (id, scale) of adapters.
        task: against what the header says.
        chat_template: id or path of a Jinja file.
        keep_s: seconds that it stays loaded unused; -1 for ever.
        pinned: never unloaded for others.
        temperature … max_tokens: for requests that do not name them.
        system: a system prompt for conversations without one.
        aliases: further names.
    """

    context: int | None = None
    parallel: int | None = None
    gpu_layers: int | None = None
    threads: int | None = None
    flash_attention: FlashAttention | None = None
    cache_type_k: str | None = None
    cache_type_v: str | None = None
    mmproj: str | None = None
    draft: str | None = None
    loras: tuple[tuple[str, float], ...] = ()
    pooling: Pooling | None = None
    task: Literal["chat", "embedding", "rerank"] | None = None
    chat_template: str | None = None
    keep_s: float | None = None
    pinned: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    max_tokens: int | None = None
    system: str | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """One thing that was chosen for a load, and why, for people.

    `source`: `request`, `model` (its options), `settings`, `header`, or `memory` (so that it fits).
    """

    name: str
    value: object
    source: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the settings say for all language models."""

    context: int | None = None
    max_context: int = 32_768
    parallel: int = 4
    flash_attention: FlashAttention = "auto"
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    options: dict[str, ModelOptions] = field(default_factory=dict)
