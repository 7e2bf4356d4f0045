# SPDX-License-Identifier: Apache-2.0
"""From a model's header, its options and the settings to a plan: what is chosen, why, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inglenook.base.errors import Invalid
from inglenook.base.ids import DeviceId, ModelId
from inglenook.base.units import GIB, MIB
from inglenook.catalog.errors import ModelNotFound
from inglenook.catalog.model import (
    LanguageFacts,
    LanguageTask,
    LayerCache,
    LoraFacts,
    ModelKind,
    ModelRecord,
    ProjectorFacts,
)
from inglenook.chat.model import Choice, Defaults, ModelOptions
from inglenook.chat.planning import MAX_LEVELS, granted, load_plan
from inglenook.runtime.contracts import Device, LoadPlan
from inglenook.runtime.scheduler.ledger import Ledger
from inglenook.wire.llama import Adapter, LoadLanguageModel

LLAMA = LanguageFacts(
    task=LanguageTask.CHAT,
    architecture="llama",
    context=8192,
    width=4096,
    heads=32,
    kv_heads=8,
    key_width=128,
    value_width=128,
    vocabulary=128_256,
    layer_bytes=(130 * MIB,) * 32,
    other_bytes=700 * MIB,
    embedding_bytes=300 * MIB,
    output_bytes=400 * MIB,
    feed_forward=14_336,
    caches=(LayerCache(1024, 1024),) * 32,
    tokenizer="gpt2/llama-bpe",
    token_marks=tuple(range(126)),
)
BERT = replace(
    LLAMA, task=LanguageTask.EMBEDDING, architecture="bert", context=512, causal=False, pooling="mean",
    caches=(LayerCache(),) * 32,
)  # fmt: skip


def record(name: str = "model", facts: LanguageFacts | None = LLAMA, **more: Any) -> ModelRecord:
    weights = 0 if facts is None else sum(facts.layer_bytes) + facts.other_bytes
    values: dict[str, Any] = {"kind": ModelKind.LANGUAGE, "weights_bytes": weights, "language": facts, **more}
    return ModelRecord(
        id=ModelId(name), family=None, path=Path(f"/models/{name}.gguf"), layout="single", parameters=1,
        dtype="q4_k", digest="", root=Path("/models"), **values,
    )  # fmt: skip


def planned(
    facts: LanguageFacts = LLAMA,
    options: ModelOptions | None = None,
    defaults: Defaults | None = None,
    **more: Any,
) -> tuple[LoadPlan, LoadLanguageModel, dict[str, Choice]]:
    plan, choices = load_plan(
        more.pop("record", record(facts=facts)), options or ModelOptions(), defaults or Defaults(),
        pinned=False, **more,
    )  # fmt: skip
    return plan, plan.options["load"], {choice.name: choice for choice in choices}


def among(*records: ModelRecord) -> Callable[[str | Path], ModelRecord]:
    def find(name: str | Path) -> ModelRecord:
        for one in records:
            if name in (one.id, one.path):
                return one
        raise ModelNotFound(f"no {name}")

    return find


# the context


@pytest.mark.parametrize(
    ("options", "defaults", "asked", "tokens", "source", "says"),
    [
        ({}, {}, None, 8192, "header", "trained for 8192"),
        ({}, {"max_context": 4096}, None, 4096, "settings", "max_context is 4096; the model was trained"),
        ({}, {"context": 2048}, None, 2048, "settings", "language.context"),
        ({"context": 1024}, {"context": 2048}, None, 1024, "model", "as set for this model"),
        ({"context": 100_000}, {}, None, 8192, "header", "trained for 8192; 100000 were asked for"),
        ({"context": 1024}, {}, 3000, 3000, "request", "3000 were asked for"),
        ({"context": 4096}, {}, 3000, 4096, "model", "as set for this model"),
        ({"context": 1024}, {}, 9000, 8192, "header", "trained for 8192; 9000 were asked for"),
        ({"context": 1024}, {"max_context": 2000}, 9000, 2000, "settings", "is 2000; 9000 were asked for"),
    ],
)  # fmt: skip
def test_the_context_is_what_was_wanted_as_far_as_the_model_and_the_settings_go(
    options: dict[str, Any], defaults: dict[str, Any], asked: int | None, tokens: int, source: str, says: str
) -> None:
    _, load, choices = planned(options=ModelOptions(**options), defaults=Defaults(**defaults), context=asked)
    assert load.context == tokens
    assert (choices["context"].value, choices["context"].source) == (tokens, source)
    assert says in choices["context"].reason


def test_a_header_without_a_context_gets_a_usual_one() -> None:
    _, load, choices = planned(replace(LLAMA, context=0))
    assert load.context == 4096
    assert "does not say" in choices["context"].reason


@pytest.mark.parametrize("value", [0, -5])
def test_a_context_below_one_is_refused(value: int) -> None:
    for options, asked in ((ModelOptions(context=value), None), (ModelOptions(), value)):
        with pytest.raises(Invalid, match=f"at least 1 token, not {value}") as refused:
            planned(options=options, context=asked)
        assert refused.value.field == "context"


def test_no_conversation_at_once_is_refused() -> None:
    with pytest.raises(Invalid, match="parallel must be at least 1"):
        planned(options=ModelOptions(parallel=0))


def test_slots_are_the_leases_that_it_can_serve() -> None:
    plan, load, _ = planned(options=ModelOptions(parallel=3))
    assert (load.parallel, plan.capacity) == (3, 3)
    plan, load, _ = planned(defaults=Defaults(parallel=2))
    assert (load.parallel, plan.capacity) == (2, 2)


# attention


def test_values_of_a_quantised_type_switch_flash_attention_on_and_say_so() -> None:
    _, load, choices = planned(options=ModelOptions(cache_type_v="q8_0"))
    assert (load.flash_attention, load.cache_type_v, load.cache_type_k) == ("on", "q8_0", "f16")
    assert choices["flash_attention"].reason == "values in q8_0 need it"


def test_and_are_refused_where_somebody_switched_it_off() -> None:
    options = ModelOptions(cache_type_v="q4_0", flash_attention="off")
    with pytest.raises(Invalid, match="Values in q4_0 need flash attention, which is off"):
        planned(options=options)
    with pytest.raises(Invalid, match="need flash attention"):
        planned(options=ModelOptions(cache_type_v="q4_0"), defaults=Defaults(flash_attention="off"))


def test_keys_of_a_quantised_type_do_not_need_it() -> None:
    _, load, _ = planned(options=ModelOptions(cache_type_k="q8_0", flash_attention="off"))
    assert (load.flash_attention, load.cache_type_k) == ("off", "q8_0")


@pytest.mark.parametrize("field", ["cache_type_k", "cache_type_v"])
def test_a_type_that_there_is_not_is_refused(field: str) -> None:
    with pytest.raises(Invalid, match=f"{field} cannot be 'q9_9'") as refused:
        planned(options=ModelOptions(**{field: "q9_9"}))
    assert refused.value.field == field
    assert "q8_0" in str(refused.value.hint)


def test_a_smaller_type_needs_less() -> None:
    full, _, _ = planned()
    small, _, _ = planned(options=ModelOptions(cache_type_k="q8_0", cache_type_v="q8_0"))
    assert small.footprint_bytes["cpu"] < full.footprint_bytes["cpu"]


# embeddings and ranking


def test_what_reads_a_text_at_once_gets_a_batch_that_holds_it() -> None:
    _, load, choices = planned(BERT)
    assert (load.mode, load.context, load.batch, load.ubatch, load.pooling) == (
        "embedding",
        512,
        512,
        512,
        None,
    )
    assert choices["pooling"].value == "mean"
    assert "the batch must hold it" in choices["batch"].reason


def test_a_chat_model_that_is_to_embed_is_pooled_and_kept_short() -> None:
    _, load, choices = planned(options=ModelOptions(task="embedding"))
    assert (load.mode, load.pooling, load.context, load.ubatch) == ("embedding", "mean", 2048, 2048)
    assert "reads each text at once" in choices["context"].reason
    assert choices["task"].source == "model"
    _, load, _ = planned(options=ModelOptions(task="embedding", context=4096))
    assert (load.context, load.ubatch) == (4096, 4096)


def test_the_last_token_s_embedding_is_computed_batch_by_batch() -> None:
    _, load, _ = planned(replace(LLAMA, task=LanguageTask.EMBEDDING, pooling="last"))
    assert (load.context, load.ubatch, load.pooling) == (8192, 512, None)


def test_a_reranker_ranks() -> None:
    _, load, choices = planned(replace(BERT, task=LanguageTask.RERANK))
    assert (load.mode, load.pooling, load.ubatch) == ("rerank", "rank", 512)
    assert choices["task"].reason == "by its header it ranks"


def test_a_reranker_is_not_to_pool_otherwise() -> None:
    with pytest.raises(Invalid, match="is to rank; pooling 'mean' makes embeddings"):
        planned(replace(BERT, task=LanguageTask.RERANK), ModelOptions(pooling="mean"))


def test_pooling_is_as_a_person_says() -> None:
    _, load, choices = planned(BERT, ModelOptions(pooling="cls"))
    assert (load.pooling, choices["pooling"].source) == ("cls", "model")


# memory and layers


def test_levels_go_from_all_layers_to_none() -> None:
    plan, load, choices = planned()
    layers = plan.options["layers"]
    assert (layers[0], layers[-1], load.gpu_layers) == (33, 0, 33)
    assert list(layers) == sorted(layers, reverse=True)
    assert len(layers) == 1 + len(plan.saving_bytes) <= MAX_LEVELS + 2
    needed = [plan.footprint_bytes["cuda"], *(level["cuda"] for level in plan.saving_bytes)]
    assert needed == sorted(needed, reverse=True)
    assert needed[-1] < 2 * GIB < needed[0]
    assert all("cpu" not in level and "mps" not in level for level in plan.saving_bytes)
    assert choices["gpu_layers"].source == "memory"


@pytest.mark.parametrize(("wanted", "layers"), [(0, 0), (10, 10), (500, 33)])
def test_layers_that_a_person_names_are_one_level(wanted: int, layers: int) -> None:
    plan, load, choices = planned(options=ModelOptions(gpu_layers=wanted))
    assert plan.options["layers"] == (layers,)
    assert plan.saving_bytes == ()
    assert choices["gpu_layers"].source == "model"
    assert load.gpu_layers == wanted


def test_less_than_no_layers_is_refused() -> None:
    with pytest.raises(Invalid, match="gpu_layers must be at least 0"):
        planned(options=ModelOptions(gpu_layers=-1))


def device(kind: Any, budget: int) -> Device:
    return Device(DeviceId("cpu" if kind == "cpu" else f"{kind}:0"), kind, kind, budget, budget)


@given(budget=st.integers(GIB, 16 * GIB))
def test_the_ledger_grants_as_many_layers_as_fit(budget: int) -> None:
    plan, _, choices = planned()
    card = device("cuda", budget)
    need = Ledger([card]).need(plan, card)
    assert need is not None
    levels = [plan.footprint_bytes, *plan.saving_bytes]
    fitting = [place for place, level in enumerate(levels) if level["cuda"] <= budget]
    assert need.saving == (fitting[0] if fitting else len(levels) - 1)
    (choice,) = [
        one
        for one in granted(
            list(choices.values()), plan, device="cuda:0", saving=need.saving, budget_bytes=budget
        )
        if one.name == "gpu_layers"
    ]
    assert choice.value == plan.options["layers"][need.saving]
    assert f"{choice.value} of 33 layers on cuda:0" in choice.reason
    assert ("more do not fit into" in choice.reason) == (need.saving > 0)


def test_a_cpu_has_one_footprint_and_no_layers_on_a_device() -> None:
    plan, _, choices = planned()
    host = device("cpu", GIB)
    need = Ledger([host]).need(plan, host)
    assert need is not None
    assert (need.saving, need.bytes) == (0, plan.footprint_bytes["cpu"])
    (choice,) = granted([choices["gpu_layers"]], plan, device="cpu", saving=0)
    assert (choice.value, choice.reason) == (0, "it runs on the CPU")


def test_what_a_person_has_set_is_said_as_theirs_when_it_is_granted() -> None:
    plan, _, choices = planned(options=ModelOptions(gpu_layers=10))
    (choice,) = granted([choices["gpu_layers"]], plan, device="cuda:0", saving=0, budget_bytes=GIB)
    assert choice == Choice("gpu_layers", 10, "model", "10 of 33 layers on cuda:0, as set for this model")


def test_longer_conversations_are_larger_work() -> None:
    scales = [
        planned(options=ModelOptions(context=tokens, parallel=1))[0].scale for tokens in (256, 4096, 8192)
    ]
    assert scales == sorted(set(scales))


def test_the_reason_of_the_estimate_names_its_parts() -> None:
    plan, _, choices = planned()
    assert choices["memory"].value == plan.footprint_bytes["cpu"]
    assert "weights 4.75 GiB, cache 4 GiB, compute" in choices["memory"].reason


def test_a_split_model_is_loaded_by_its_first_part() -> None:
    shards = (Path("/models/big-00001-of-00002.gguf"), Path("/models/big-00002-of-00002.gguf"))
    _, load, _ = planned(replace(LLAMA, shards=shards))
    assert load.path == str(shards[0])


# projectors

EYES = record("eyes", None, kind=ModelKind.PROJECTOR, weights_bytes=600 * MIB,
              projector=ProjectorFacts("mlp", ("image",), 4096, 24, 1024, 336, 14))  # fmt: skip


def test_a_projector_beside_the_model_is_loaded_with_it_and_paid_for() -> None:
    seeing = record(parts={"mmproj": EYES.path})
    plan, load, choices = planned(record=seeing, find=among(EYES))
    assert load.mmproj == str(EYES.path)
    assert choices["mmproj"] == Choice(
        "mmproj", "eyes", "header", "lies beside it and writes 4096 columns, as it reads"
    )
    assert plan.footprint_bytes["cuda"] >= planned()[0].footprint_bytes["cuda"] + EYES.weights_bytes


def test_it_can_be_switched_off() -> None:
    _, load, choices = planned(
        record=record(parts={"mmproj": EYES.path}), options=ModelOptions(mmproj="none")
    )
    assert load.mmproj is None
    assert choices["mmproj"].reason == "switched off for this model"


def test_one_that_went_away_is_done_without() -> None:
    _, load, _ = planned(record=record(parts={"mmproj": EYES.path}))
    assert load.mmproj is None


def test_a_projector_by_name_must_be_as_wide() -> None:
    narrow = replace(EYES, projector=replace(EYES.projector, width=576))  # type: ignore[type-var]
    _, load, _ = planned(options=ModelOptions(mmproj="eyes"), find=among(EYES))
    assert load.mmproj == str(EYES.path)
    with pytest.raises(Invalid, match="eyes writes 576 columns, and model reads 4096") as refused:
        planned(options=ModelOptions(mmproj="eyes"), find=among(narrow))
    assert refused.value.field == "mmproj"


def test_something_else_is_no_projector() -> None:
    with pytest.raises(Invalid, match="other is of kind language; mmproj takes one of kind projector"):
        planned(options=ModelOptions(mmproj="other"), find=among(record("other")))


def test_embeddings_need_no_projector() -> None:
    seeing = record(parts={"mmproj": EYES.path})
    _, load, _ = planned(record=seeing, options=ModelOptions(task="embedding"), find=among(EYES))
    assert load.mmproj is None


# draft models

SMALL = record("small", replace(LLAMA, layer_bytes=(20 * MIB,) * 8, caches=(LayerCache(256, 256),) * 8))


def test_a_draft_model_with_the_same_words_is_loaded_with_it_and_paid_for() -> None:
    plan, load, choices = planned(options=ModelOptions(draft="small"), find=among(SMALL))
    assert load.draft == str(SMALL.path)
    assert choices["draft"].value == "small"
    assert plan.footprint_bytes["cpu"] > planned()[0].footprint_bytes["cpu"] + SMALL.weights_bytes


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tokenizer": "gpt2/qwen2"}, "its tokenizer is gpt2/qwen2, not gpt2/llama-bpe"),
        ({"vocabulary": 32_000}, "it knows 32000 words, not 128256"),
        ({"token_marks": (9, *range(1, 126))}, "its words are others"),
        ({"task": LanguageTask.EMBEDDING}, "it does not write"),
    ],
)
def test_a_draft_model_of_other_words_is_refused(changes: dict[str, Any], says: str) -> None:
    other = record("other", replace(LLAMA, **changes))
    with pytest.raises(Invalid, match=f"other cannot guess ahead for model: {says}") as refused:
        planned(options=ModelOptions(draft="other"), find=among(other))
    assert refused.value.field == "draft"


def test_a_few_words_more_at_the_end_do_no_harm() -> None:
    padded = record("padded", replace(LLAMA, vocabulary=128_256 + 100, token_marks=(*range(125), 77)))
    _, load, _ = planned(options=ModelOptions(draft="padded"), find=among(padded))
    assert load.draft is not None


def test_a_model_does_not_guess_for_itself() -> None:
    with pytest.raises(Invalid, match="it is the model itself"):
        planned(options=ModelOptions(draft="model"), find=among(record()))


def test_a_draft_model_that_is_broken_says_why() -> None:
    broken = replace(SMALL, problem="is cut off\nhint: fetch it again")
    with pytest.raises(Invalid, match="small cannot be used: is cut off") as refused:
        planned(options=ModelOptions(draft="small"), find=among(broken))
    assert refused.value.hint == "fetch it again"


def test_a_name_that_is_nobody_s_is_not_found() -> None:
    with pytest.raises(ModelNotFound):
        planned(options=ModelOptions(draft="nobody"))


# adapters

TONE = record("tone", None, kind=ModelKind.LORA, fits=("llama",), weights_bytes=50 * MIB,
              lora=LoraFacts(8, ("language_model",), 4))  # fmt: skip


def test_adapters_are_loaded_with_it_and_paid_for() -> None:
    plan, load, choices = planned(options=ModelOptions(loras=(("tone", 0.5),)), find=among(TONE))
    assert load.loras == (Adapter(path=str(TONE.path), scale=0.5),)
    assert choices["loras"].value == "tone × 0.5"
    assert plan.footprint_bytes["cpu"] == planned()[0].footprint_bytes["cpu"] + TONE.weights_bytes


def test_an_adapter_of_another_architecture_is_refused() -> None:
    other = replace(TONE, fits=("qwen3",))
    with pytest.raises(Invalid, match="tone was made for qwen3; model is llama") as refused:
        planned(options=ModelOptions(loras=(("tone", 1.0),)), find=among(other))
    assert refused.value.field == "loras"


def test_a_picture_s_lora_is_refused() -> None:
    drawing = replace(TONE, fits=("sdxl",))
    with pytest.raises(Invalid, match="was made for sdxl"):
        planned(options=ModelOptions(loras=(("tone", 1.0),)), find=among(drawing))


# what the llama.cpp here can use


def test_a_build_for_the_cpu_alone_is_planned_for_the_cpu_alone() -> None:
    plan, _, _ = planned(kinds={"cpu"})
    assert set(plan.footprint_bytes) == {"cpu"}
    assert Ledger([device("cuda", 16 * GIB)]).need(plan, device("cuda", 16 * GIB)) is None
    assert set(planned(kinds={"cpu", "cuda"})[0].saving_bytes[0]) == {"cuda"}
