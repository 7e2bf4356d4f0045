# SPDX-License-Identifier: Apache-2.0
"""What is loaded beside a language model: a projector, a draft model, adapters. Found, and refused where it
does not fit. Pure, but for the callable that finds."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inglenook.base.errors import Invalid
from inglenook.catalog.errors import ModelNotFound
from inglenook.catalog.gguf import MARKED_TEXTS, UNMARKED_TOKENS
from inglenook.catalog.model import LanguageFacts, LanguageTask, ModelKind, ModelRecord
from inglenook.catalog.projectors import MMPROJ, fits
from inglenook.chat.model import Choice, ModelOptions
from inglenook.wire.llama import Adapter, Mode

NONE: Final = "none"
MOST_WORDS_APART: Final = 128
"""By so many words may a draft model's tokenizer be longer or shorter: models of a kind are padded
differently."""

Find = Callable[[str | Path], ModelRecord]
"""The record of an id, or of a file that was found beside the model. Raises ModelNotFound."""


def no_such(name: str | Path) -> ModelRecord:
    """Finds nothing."""
    raise ModelNotFound(f"There is no model {str(name)[:200]!r}.", field="model")


@dataclass(frozen=True, slots=True)
class Companions:
    projector: ModelRecord | None = None
    draft: ModelRecord | None = None
    adapters: tuple[Adapter, ...] = ()
    adapter_records: tuple[ModelRecord, ...] = ()

    @property
    def records(self) -> tuple[ModelRecord, ...]:
        return tuple(one for one in (self.projector, self.draft, *self.adapter_records) if one is not None)


def companions(
    choices: list[Choice], record: ModelRecord, options: ModelOptions, *, mode: Mode, find: Find
) -> Companions:
    """What the options name, and the projector that lies beside the model; why stands in `choices`
    afterwards.

    Embeddings and ranking need no projector and no draft model: none is loaded for them.

    Raises:
        Invalid: something does not fit; `field` names the option.
        ModelNotFound: there is nothing of that name.
    """
    adapters = tuple((_adapter(record, name, find), scale) for name, scale in options.loras)
    for one, scale in adapters:
        choices.append(Choice("loras", f"{one.id} × {scale:g}", "model", "as set for this model"))
    chats = mode == "chat"
    return Companions(
        projector=_projector(choices, record, options, find) if chats else None,
        draft=_draft(choices, record, options, find) if chats else None,
        adapters=tuple(Adapter(path=str(one.path), scale=scale) for one, scale in adapters),
        adapter_records=tuple(one for one, _ in adapters),
    )


def _usable(record: ModelRecord, kind: ModelKind, field: str) -> ModelRecord:
    if record.problem is not None:
        fact, _, hint = record.problem.partition("\nhint: ")
        raise Invalid(f"{record.id} cannot be used: {fact}", field=field, hint=hint or None)
    if record.kind is not kind:
        raise Invalid(
            f"{record.id} is of kind {record.kind}; {field} takes one of kind {kind}.",
            field=field,
            hint="`inglenook models` lists them by kind",
        )
    return record


# ── projectors ────────────────────────────────────────────────────────────────────────────────────────────


def _projector(
    choices: list[Choice], record: ModelRecord, options: ModelOptions, find: Find
) -> ModelRecord | None:
    beside = record.parts.get(MMPROJ)
    if options.mmproj == NONE:
        choices.append(Choice("mmproj", NONE, "model", "switched off for this model"))
        return None
    if options.mmproj is None:
        return None if beside is None else _found_beside(choices, beside, find)
    projector = _usable(find(options.mmproj), ModelKind.PROJECTOR, "mmproj")
    if not fits(projector, record):
        raise Invalid(
            f"{projector.id} writes {_width(projector)} columns, and {record.id} reads {_width(record)}.",
            field="mmproj",
            hint="take the projector that was made for this model",
        )
    choices.append(Choice("mmproj", projector.id, "model", "as set for this model"))
    return projector


def _found_beside(choices: list[Choice], path: Path, find: Find) -> ModelRecord | None:
    try:
        projector = find(path)
    except ModelNotFound:  # it went away since the folders were looked at
        return None
    width = _width(projector)
    choices.append(
        Choice("mmproj", projector.id, "header", f"lies beside it and writes {width} columns, as it reads")
    )
    return projector


def _width(record: ModelRecord) -> int:
    if record.projector is not None:
        return record.projector.width
    return 0 if record.language is None else record.language.width


# ── draft models ──────────────────────────────────────────────────────────────────────────────────────────


def _draft(
    choices: list[Choice], record: ModelRecord, options: ModelOptions, find: Find
) -> ModelRecord | None:
    if options.draft in (None, NONE):
        return None
    draft = _usable(find(str(options.draft)), ModelKind.LANGUAGE, "draft")
    mine, its = record.language, draft.language
    assert mine is not None
    assert its is not None
    problem = "it is the model itself" if draft.id == record.id else _other_words(mine, its)
    if its.task is not LanguageTask.CHAT:
        problem = "it does not write"
    if problem is not None:
        raise Invalid(
            f"{draft.id} cannot guess ahead for {record.id}: {problem}.",
            field="draft",
            hint="take a smaller model of the same family",
        )
    choices.append(Choice("draft", draft.id, "model", "as set for this model; it has the same words"))
    return draft


def _other_words(mine: LanguageFacts, its: LanguageFacts) -> str | None:
    """Why a guess of one model means nothing to the other, or None."""
    if mine.tokenizer != its.tokenizer:
        return f"its tokenizer is {its.tokenizer or 'none'}, not {mine.tokenizer or 'none'}"
    if abs(mine.vocabulary - its.vocabulary) > MOST_WORDS_APART:
        return f"it knows {its.vocabulary} words, not {mine.vocabulary}"
    marks = list(zip(mine.token_marks, its.token_marks, strict=False))
    if mine.vocabulary != its.vocabulary:
        whole = (min(mine.vocabulary, its.vocabulary) - UNMARKED_TOKENS) // MARKED_TEXTS
        marks = marks[: max(whole, 0)]  # the last is of fewer words
    if any(one != other for one, other in marks):
        return "its words are others"
    return None


# ── adapters ──────────────────────────────────────────────────────────────────────────────────────────────


def _adapter(record: ModelRecord, name: str, find: Find) -> ModelRecord:
    adapter = _usable(find(name), ModelKind.LORA, "loras")
    assert record.language is not None
    if record.language.architecture not in adapter.fits:
        made_for = ", ".join(adapter.fits) or "an architecture that it does not name"
        raise Invalid(
            f"{adapter.id} was made for {made_for}; {record.id} is {record.language.architecture}.",
            field="loras",
            hint="take an adapter that was made for this model",
        )
    return adapter
