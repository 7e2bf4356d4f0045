# SPDX-License-Identifier: Apache-2.0
"""How a language model is to be used, as values. Pure."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from inglenook.base.ids import ModelId, PersonId
from inglenook.wire.llama import FlashAttention, Mode, Pooling


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
class KeptOptions:
    """A model's options as they are kept; `person` and `changed_at` are None where nobody has set any."""

    options: ModelOptions
    person: PersonId | None = None
    changed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Counters:
    """What a model has done since the server started, as far as its requests have told.

    Attributes:
        requests: that got a lease. failures: of those, how many saw the model's process end.
        prompt_tokens, completion_tokens: of requests that told.
        tokens_per_s: of completions, smoothed over the last few.
        last_used: when the last one ended.
    """

    requests: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    tokens_per_s: float | None = None
    last_used: datetime | None = None


@dataclass(frozen=True, slots=True)
class ModelState:
    """How a model is now.

    Attributes:
        state: `ready`, `loading`, `unloading`, `failed` (it could not be loaded, or its process died: see
            `problem`; it is tried again when it is asked for), `unloaded`, or `unusable` (its files are).
        away_s: seconds until it could answer if it were asked for now and had the device to itself: 0 when it
            is ready, the rest of the load while that lasts, else how long a load takes. None: not known.
        since_s: seconds since its process was started. expected_load_s: that a load takes.
        device, reserved_bytes, measured_bytes: of its process.
        leases, capacity: conversations now, and at most. waiting: requests that wait for it.
        pinned: never unloaded for others.
        keep_s: seconds that it stays loaded unused; -1 for ever. unload_in_s: of those, what is left; None
            while it is at work, and where it stays.
        leaving: it is unloaded when its work is done.
        context, mode: as it is loaded; the context that a load would have where it is not.
        choices: how it is loaded, and why; how it would be where it is not.
        stale: names of options that were changed since: it must be loaded anew for them.
    """

    model: ModelId
    state: Literal["ready", "loading", "unloading", "failed", "unloaded", "unusable"]
    away_s: float | None = None
    problem: str | None = None
    since_s: float | None = None
    expected_load_s: float | None = None
    device: str | None = None
    reserved_bytes: int | None = None
    measured_bytes: int | None = None
    leases: int = 0
    capacity: int | None = None
    waiting: int = 0
    pinned: bool = False
    keep_s: float | None = None
    unload_in_s: float | None = None
    leaving: bool = False
    context: int | None = None
    mode: Mode | None = None
    choices: tuple["Choice", ...] = ()
    stale: tuple[str, ...] = ()


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
