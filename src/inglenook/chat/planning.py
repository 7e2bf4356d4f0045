# SPDX-License-Identifier: Apache-2.0
"""From a model's header, its options and the settings to a plan for the ledger. Pure."""

from inglenook.base.units import MIB
from inglenook.catalog.model import LanguageTask, ModelRecord
from inglenook.chat.model import Choice, Defaults, ModelOptions
from inglenook.engines.llamacpp.engine import NAME
from inglenook.runtime.contracts import LoadPlan
from inglenook.wire.llama import LoadLanguageModel

FALLBACK_CONTEXT = 4096


def load_plan(
    record: ModelRecord,
    options: ModelOptions,
    defaults: Defaults,
    *,
    pinned: bool,
    context: int | None = None,
) -> tuple[LoadPlan, tuple[Choice, ...]]:
    """The plan, and what was chosen for it.

    Args:
        context: tokens that a request needs at least.
    """
    facts = record.language
    assert facts is not None
    native = facts.context or FALLBACK_CONTEXT
    wanted = context or options.context or defaults.context or native
    tokens = min(wanted, native, defaults.max_context)
    parallel = options.parallel or defaults.parallel
    load = LoadLanguageModel(
        path=str(facts.shards[0] if facts.shards else record.path),
        alias=str(record.id),
        mode="embedding" if facts.task is LanguageTask.EMBEDDING else "chat",
        context=tokens,
        parallel=parallel,
    )
    cache = (
        2 * 2 * facts.layers * facts.kv_heads * max(facts.key_width, facts.value_width) * tokens * parallel
    )
    needed = record.path.stat().st_size + cache + 256 * MIB
    plan = LoadPlan(
        model=record.id,
        engine=NAME,
        footprint_bytes=dict.fromkeys(("cuda", "rocm", "mps", "vulkan", "cpu"), needed),
        load_s=2.0,
        pinned=pinned,
        capacity=parallel,
        options={"load": load},
    )
    return plan, (Choice("context", tokens, "header"),)
