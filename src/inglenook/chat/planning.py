# SPDX-License-Identifier: Apache-2.0
"""From a model's header, its options and the settings to a plan for the ledger. Pure.

Each thing that is chosen is a `Choice`, with where it comes from and why, in words for people. What cannot
be is refused here, before a process is started for it."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from inglenook.base.errors import Invalid
from inglenook.base.units import GIB
from inglenook.catalog.language import all_layers, estimate
from inglenook.catalog.model import LanguageFacts, LanguageTask, ModelRecord
from inglenook.chat.companions import Companions, Find, companions, no_such
from inglenook.chat.context import chosen_context
from inglenook.chat.footprints import KINDS, Footprints, beside_bytes, levels, use_of
from inglenook.chat.model import Choice, Defaults, ModelOptions
from inglenook.engines.llamacpp.engine import NAME
from inglenook.runtime.contracts import LoadPlan
from inglenook.wire.llama import CACHE_TYPES, FlashAttention, LoadLanguageModel, Mode, Pooling

BATCH: Final = 2048
UBATCH: Final = 512
READ_BYTES_PER_S: Final = GIB
"""A guess for the first load, of a file that is not in memory yet."""
UNQUANTISED: Final = ("f32", "f16", "bf16")


@dataclass(frozen=True, slots=True)
class _Draft:
    """A load in the making. `choices` grows as things are chosen."""

    record: ModelRecord
    facts: LanguageFacts
    options: ModelOptions
    defaults: Defaults
    choices: list[Choice] = field(default_factory=list)

    def choose(self, name: str, value: object, source: str, reason: str = "") -> None:
        self.choices.append(Choice(name, value, source, reason))


def load_plan(
    record: ModelRecord,
    options: ModelOptions,
    defaults: Defaults,
    *,
    pinned: bool,
    context: int | None = None,
    find: Find = no_such,
    kinds: Collection[str] = KINDS,
) -> tuple[LoadPlan, tuple[Choice, ...]]:
    """The plan, and what was chosen for it.

    `LoadPlan.options` holds `load` (a `LoadLanguageModel`), `all_layers` and `layers`: how many lie on an
    accelerator at each saving level, 0 first.

    Args:
        context: tokens that a request needs at least.
        find: the record of an id that the options name; raises ModelNotFound.
        kinds: of device, for which the llama.cpp that will run it was built; on others it is not loaded.

    Raises:
        Invalid: an option that cannot be: a context below 1, a type of the cache that there is not, a draft
            model with other words, an adapter or a projector that does not fit.
        ModelNotFound: an id that the options name is nobody's.
    """
    facts = record.language
    assert facts is not None, f"{record.id} is no language model"
    draft = _Draft(record, facts, options, defaults)
    mode = _mode(draft)
    pooling = _pooling(draft, mode)
    tokens = chosen_context(
        draft.choices, facts, options, defaults, asked=context, whole=_whole(facts, mode, pooling)
    )
    parallel = _parallel(draft)
    flash, cache_k, cache_v = _attention(draft)
    batch, ubatch = _batches(draft, mode, pooling, tokens)
    beside = companions(draft.choices, record, options, mode=mode, find=find)
    load = LoadLanguageModel(
        path=str(facts.shards[0] if facts.shards else record.path),
        alias=str(record.id),
        mode=mode,
        context=tokens,
        parallel=parallel,
        gpu_layers=all_layers(facts) if options.gpu_layers is None else options.gpu_layers,
        threads=options.threads,
        batch=batch,
        ubatch=ubatch,
        flash_attention=flash,
        cache_type_k=cache_k,
        cache_type_v=cache_v,
        mmproj=None if beside.projector is None else str(beside.projector.path),
        draft=None if beside.draft is None else str(_first(beside.draft)),
        draft_gpu_layers=_draft_layers(beside),
        loras=beside.adapters,
        pooling=pooling,
        chat_template=options.chat_template,
    )
    if options.threads is not None:
        draft.choose("threads", options.threads, "model", "as set for this model")
    if options.chat_template is not None:
        draft.choose("chat_template", options.chat_template, "model", "as set for this model")
    plan = _plan(draft, load, beside, pinned=pinned, kinds=kinds)
    return plan, tuple(draft.choices)


def _draft_layers(beside: Companions) -> int:
    if beside.draft is None or beside.draft.language is None:
        return 0
    return all_layers(beside.draft.language)


def _first(record: ModelRecord) -> object:
    shards = record.language.shards if record.language is not None else ()
    return shards[0] if shards else record.path


# ── what it does ──────────────────────────────────────────────────────────────────────────────────────────

_MODES: Final = {
    LanguageTask.CHAT: "answers chats",
    LanguageTask.EMBEDDING: "makes embeddings",
    LanguageTask.RERANK: "ranks",
}


def _mode(draft: _Draft) -> Mode:
    own = draft.facts.task
    if draft.options.task is None or draft.options.task == own.value:
        draft.choose("task", own.value, "header", f"by its header it {_MODES[own]}")
        return own.value
    draft.choose("task", draft.options.task, "model", f"asked of it; by its header it {_MODES[own]}")
    return draft.options.task


def _pooling(draft: _Draft, mode: Mode) -> Pooling | None:
    """None leaves it to the header."""
    if mode == "chat":
        return None
    wanted, own = draft.options.pooling, draft.facts.pooling
    if mode == "rerank":
        if wanted not in (None, "rank"):
            raise Invalid(
                f"{draft.record.id} is to rank; pooling {wanted!r} makes embeddings.",
                field="pooling",
                hint="leave pooling out, or set the task to embedding",
            )
        draft.choose("pooling", "rank", "header", "a reranker gives one number for each text")
        return "rank"
    if wanted is not None:
        draft.choose("pooling", wanted, "model", "as set for this model")
        return wanted
    if own in (None, "none", "rank"):
        draft.choose("pooling", "mean", "header", "its header names none that makes embeddings")
        return "mean"
    draft.choose("pooling", own, "header", "as its header says")
    return None


def _whole(facts: LanguageFacts, mode: Mode, pooling: Pooling | None) -> bool:
    """Whether a text is computed in one batch: all that looks at every token at once, or gathers all of
    them."""
    if mode == "chat":
        return False
    return not facts.causal or (pooling or facts.pooling) != "last"


def _batches(draft: _Draft, mode: Mode, pooling: Pooling | None, context: int) -> tuple[int, int]:
    if not _whole(draft.facts, mode, pooling):
        return BATCH, UBATCH
    draft.choose("batch", context, "header", "each text is read at once, so that the batch must hold it")
    return context, context


def _parallel(draft: _Draft) -> int:
    if draft.options.parallel is not None:
        _at_least_one("parallel", draft.options.parallel)
        draft.choose("parallel", draft.options.parallel, "model", "as set for this model")
        return draft.options.parallel
    draft.choose("parallel", draft.defaults.parallel, "settings", _says("settings", "parallel"))
    return draft.defaults.parallel


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise Invalid(f"{name} must be at least 1, not {value}.", field=name)


# ── attention and its cache ───────────────────────────────────────────────────────────────────────────────


def _attention(draft: _Draft) -> tuple[FlashAttention, str, str]:
    """Flash attention, and the types of keys and values.

    Values of a quantised type need flash attention: it is switched on where nobody has said otherwise, and
    refused where somebody has."""
    options, defaults = draft.options, draft.defaults
    cache_k = _cache_type(draft, "cache_type_k", options.cache_type_k, defaults.cache_type_k)
    cache_v = _cache_type(draft, "cache_type_v", options.cache_type_v, defaults.cache_type_v)
    wanted: FlashAttention = options.flash_attention or defaults.flash_attention
    source = "model" if options.flash_attention else "settings"
    if cache_v in UNQUANTISED:
        reason = "left to llama.cpp" if wanted == "auto" else _says(source, "flash_attention")
        draft.choose("flash_attention", wanted, source, reason)
        return wanted, cache_k, cache_v
    if wanted == "off":
        raise Invalid(
            f"Values in {cache_v} need flash attention, which is off for {draft.record.id}.",
            field="cache_type_v",
            hint="set flash_attention to auto or on, or cache_type_v to f16",
        )
    draft.choose("flash_attention", "on", source, f"values in {cache_v} need it")
    return "on", cache_k, cache_v


def _cache_type(draft: _Draft, name: str, own: str | None, default: str) -> str:
    value, source = (default, "settings") if own is None else (own, "model")
    if value not in CACHE_TYPES:
        raise Invalid(
            f"{name} cannot be {value[:40]!r}.", field=name, hint=f"one of {', '.join(CACHE_TYPES)}"
        )
    draft.choose(name, value, source, _says(source, name))
    return value


def _says(source: str, name: str) -> str:
    return "as set for this model" if source == "model" else f"the setting language.{name}"


# ── layers ────────────────────────────────────────────────────────────────────────────────────────────────


def _layers(draft: _Draft) -> tuple[int, ...]:
    """On an accelerator at each saving level."""
    most, wanted = all_layers(draft.facts), draft.options.gpu_layers
    if wanted is None:
        reason = f"all {most} on an accelerator, or as many as fit; none on the CPU"
        draft.choose("gpu_layers", most, "memory", reason)
        return levels(draft.facts)
    if wanted < 0:
        raise Invalid(f"gpu_layers must be at least 0, not {wanted}.", field="gpu_layers")
    more = f"; it has {most}" if wanted > most else ""
    draft.choose("gpu_layers", min(wanted, most), "model", f"as set for this model{more}")
    return (min(wanted, most),)


def _plan(
    draft: _Draft, load: LoadLanguageModel, beside: Companions, *, pinned: bool, kinds: Collection[str]
) -> LoadPlan:
    facts, record = draft.facts, draft.record
    use, layers = use_of(load, facts), _layers(draft)
    footprints = Footprints(estimate(facts, use), layers, beside_bytes(use, beside))
    first, *more = footprints.by_level(kinds)
    draft.choose("memory", footprints.cpu_bytes, "memory", footprints.in_words())
    read = record.weights_bytes + sum(one.weights_bytes for one in beside.records)
    return LoadPlan(
        model=record.id,
        engine=NAME,
        footprint_bytes=first,
        saving_bytes=tuple(level for level in more if level),
        load_s=1.0 + read / READ_BYTES_PER_S,
        pinned=pinned,
        capacity=load.parallel,
        scale=(load.context * load.parallel - 1).bit_length(),
        options={"load": load, "layers": layers, "all_layers": all_layers(facts)},
    )
