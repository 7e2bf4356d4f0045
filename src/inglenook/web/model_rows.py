# SPDX-License-Identifier: Apache-2.0
"""All models as the page lists them: what each is, how it stands, what can be done with it. Pure."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inglenook.base.units import format_bytes, format_seconds
from inglenook.catalog.model import LanguageTask, ModelKind, ModelRecord
from inglenook.chat.model import Counters, ModelState
from inglenook.web.words import about, capfirst, count, sentence

GROUPS: Mapping[str, tuple[ModelKind, ...]] = {
    "Language": (ModelKind.LANGUAGE,),
    "Pictures": (ModelKind.IMAGE,),
    "Speech": (ModelKind.SPEECH,),
    "Vision": (ModelKind.VISION, ModelKind.MATTING),
    "Parts of models": (
        ModelKind.LORA,
        ModelKind.EMBEDDING,
        ModelKind.VAE,
        ModelKind.TEXT_ENCODER,
        ModelKind.PROJECTOR,
    ),
    "Not known here": (ModelKind.OTHER,),
}
LOADABLE = frozenset({ModelKind.LANGUAGE, ModelKind.IMAGE, ModelKind.SPEECH, ModelKind.VISION})
KIND_WORDS: Mapping[ModelKind, str] = {
    ModelKind.IMAGE: "draws",
    ModelKind.SPEECH: "writes down speech",
    ModelKind.VISION: "tells what pictures show",
    ModelKind.MATTING: "tells a subject from its background",
    ModelKind.LORA: "LoRA",
    ModelKind.EMBEDDING: "textual inversion",
    ModelKind.VAE: "VAE",
    ModelKind.TEXT_ENCODER: "text encoder",
    ModelKind.PROJECTOR: "projector",
    ModelKind.OTHER: "not known here",
    ModelKind.LANGUAGE: "language",
}
TASK_WORDS: Mapping[LanguageTask, str] = {
    LanguageTask.CHAT: "chats",
    LanguageTask.EMBEDDING: "makes embeddings",
    LanguageTask.RERANK: "ranks",
}
STATE_WORDS: Mapping[str, str] = {
    "ready": "ready",
    "loading": "being loaded",
    "unloading": "being unloaded",
    "failed": "failed",
    "unloaded": "not loaded",
    "unusable": "cannot be used",
}


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One model.

    Attributes:
        key: for the page's own ids, which may hold no slash.
        facts: what it is, a few words each. now: how it stands, the same.
        tone: `good`, `wait`, `bad` or "": of the state's colour.
    """

    id: str
    key: str
    title: str
    does: str
    facts: tuple[str, ...]
    state: str
    state_words: str
    tone: str
    now: tuple[str, ...]
    problem: str
    hint: str
    builtin: bool
    pinned: bool
    can_load: bool
    can_unload: bool
    can_pin: bool


def row_of(
    record: ModelRecord, state: ModelState, counters: Counters | None, *, sees: bool = False
) -> ModelRow:
    problem, _, hint = (record.problem or state.problem or "").partition("\nhint: ")
    usable = record.kind in LOADABLE and record.problem is None
    held = state.state in ("ready", "loading")
    return ModelRow(
        id=record.id,
        key=key_of(record),
        title=record.title or record.id,
        does=_does(record, sees=sees),
        facts=tuple(_facts(record)),
        state=state.state,
        state_words=_state_words(state) if usable or record.problem else "",
        tone=_tone(state),
        now=tuple(_now(state, counters)),
        problem=problem and sentence(problem),
        hint=hint and capfirst(hint),
        builtin=record.builtin,
        pinned=state.pinned,
        can_load=usable and state.state in ("unloaded", "failed"),
        can_unload=usable and held and not state.leaving,
        can_pin=usable,
    )


def key_of(record: ModelRecord) -> str:
    return f"m-{hashlib.sha256(str(record.id).encode()).hexdigest()[:16]}"


def grouped(rows: Sequence[tuple[ModelRecord, ModelRow]]) -> list[tuple[str, list[ModelRow]]]:
    """By what they do; what is loaded first, then by name. Empty groups are left out."""
    found = []
    for title, kinds in GROUPS.items():
        here = [row for record, row in rows if record.kind in kinds]
        here.sort(key=lambda it: (it.state not in ("ready", "loading"), it.title.casefold(), it.id))
        if here:
            found.append((title, here))
    return found


def _does(record: ModelRecord, *, sees: bool) -> str:
    if record.language is None:
        return KIND_WORDS[record.kind]
    return TASK_WORDS[record.language.task] + (" and sees pictures" if sees else "")


def _facts(record: ModelRecord) -> list[str]:
    found = [record.family] if record.family else []
    language = record.language
    if language is not None:
        found += [language.architecture, language.size_label, language.quantisation]
        found.append(f"trained for {language.context} tokens" if language.context else "")
    elif record.vision is not None:
        found += [record.vision.task, count(len(record.vision.labels), "class", "classes")]
        found.append("8 bits" if record.vision.quantised else record.dtype)
    elif record.dtype not in ("unknown", ""):
        found.append(record.dtype)
    found.append(format_bytes(record.weights_bytes) if record.weights_bytes else "")
    found.append("came with Inglenook" if record.builtin else "")
    return [one for one in found if one]


def _state_words(state: ModelState) -> str:
    if state.leaving:
        return "leaves when its work is done"
    words = STATE_WORDS[state.state]
    if state.state == "ready":
        return "at work" if state.leases else words
    if state.state == "loading" and state.away_s is not None:
        return f"{words}, {about(state.away_s)} left"
    if state.state == "unloaded" and state.away_s is not None:
        return f"{about(state.away_s)} away"
    return words


def _tone(state: ModelState) -> str:
    if state.state in ("failed", "unusable"):
        return "bad"
    if state.state in ("loading", "unloading") or state.leaving:
        return "wait"
    return "good" if state.state == "ready" else ""


def _now(state: ModelState, counters: Counters | None) -> list[str]:
    found = []
    if state.device is not None:
        found.append(f"on {state.device}")
    if state.measured_bytes:
        found.append(f"{format_bytes(state.measured_bytes)} used")
    if state.reserved_bytes:
        found.append(f"{format_bytes(state.reserved_bytes)} reserved")
    if state.leases and state.capacity and state.capacity > 1:
        found.append(f"{state.leases} of {state.capacity} at work")
    if state.waiting:
        found.append(count(state.waiting, "request waits", "requests wait"))
    if counters is not None and counters.tokens_per_s:
        found.append(f"{counters.tokens_per_s:.1f} tokens a second")
    if state.pinned:
        found.append("pinned")
    elif state.unload_in_s is not None:
        found.append(f"goes in {_steps(state.unload_in_s)}")
    if state.stale:
        found.append("options were changed: load it anew")
    return found


def _steps(seconds: float) -> str:
    """In steps, so that the page is not written anew each second."""
    if seconds < 60:
        return "less than a minute"
    return f"about {format_seconds(seconds // 60 * 60)}"
