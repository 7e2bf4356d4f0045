# SPDX-License-Identifier: Apache-2.0
"""From a model and what is asked of it to the plan that the scheduler gets. Pure, but for files' sizes."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec

from inglenook.catalog.model import LanguageTask, ModelRecord
from inglenook.chat.companions import Find
from inglenook.chat.model import Choice, Defaults, ModelOptions
from inglenook.chat.planning import KINDS, load_plan
from inglenook.runtime.contracts import LoadPlan
from inglenook.wire.llama import LoadLanguageModel, Mode

FORM_CHARS: Final = 12


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a model is to be loaded.

    Attributes:
        options: from which that was made: what was set for the model.
        context_asked: whether the request named the context that it needs.
    """

    plan: LoadPlan
    load: LoadLanguageModel
    choices: tuple[Choice, ...]
    options: ModelOptions
    context_asked: bool


def wanted_plan(
    record: ModelRecord,
    options: ModelOptions,
    defaults: Defaults,
    *,
    own: LanguageTask,
    asked: LanguageTask,
    pinned: bool,
    keep_s: float | None,
    context: int | None,
    find: Find,
    kinds: Collection[str] = KINDS,
) -> Wanted:
    """Args:
        own: what the model is for. asked: what it is asked for: where that takes another mode than its own,
            it is loaded a second time, as a resident of its own beside the first.
        keep_s: as the runtime takes it.
        context: tokens that the request needs at least.
        find: the record of an id, or of a file. kinds: of device, on which it can be loaded.

    Raises Invalid, ModelNotFound: as `load_plan`.
    """
    mode = _mode(own, asked)
    given = replace(options, task=mode)
    plan, choices = load_plan(record, given, defaults, pinned=pinned, context=context, find=find, kinds=kinds)
    load: LoadLanguageModel = plan.options["load"]
    if load.mode != mode:
        load = msgspec.structs.replace(load, mode=mode)
    if mode == "embedding" and own is LanguageTask.CHAT and load.pooling in (None, "none"):
        load = msgspec.structs.replace(load, pooling="mean")  # its header says nothing of embeddings
    plan = replace(
        plan,
        variant="" if mode == _mode(own, own) else mode,
        form=_form(load),
        fixed=True,
        keep_s=keep_s,
        files=plan.files or _files(load, record),
        options={**plan.options, "load": load, "choices": choices, "set": options},
    )
    return Wanted(plan, load, choices, options, context is not None)


def _mode(own: LanguageTask, asked: LanguageTask) -> Mode:
    """An embedding model that is to rank embeds; whoever asked compares."""
    if asked is LanguageTask.RERANK and own is LanguageTask.EMBEDDING:
        return "embedding"
    return asked.value


def _form(load: LoadLanguageModel) -> str:
    """Changes with everything that may change what the process needs."""
    return hashlib.sha256(msgspec.json.encode(load)).hexdigest()[:FORM_CHARS]


def _files(load: LoadLanguageModel, record: ModelRecord) -> tuple[Path, ...]:
    """What the process reads, in the order in which it does."""
    shards = record.language.shards if record.language is not None else ()
    more = (load.mmproj, load.draft, *(adapter.path for adapter in load.loras))
    return (*(shards or (Path(load.path),)), *(Path(path) for path in more if path is not None))
