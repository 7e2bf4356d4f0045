# SPDX-License-Identifier: Apache-2.0
"""What GGUF files are: by their headers and tensors, never by their names."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from tests import gguf_files
from tests.gguf_files import (
    Shape,
    write,
    write_adapter,
    write_bert,
    write_llama,
    write_projector,
    write_split,
)

from inglenook.catalog.gguf_files import read_gguf_files
from inglenook.catalog.model import LanguageFacts, LanguageTask, LayerCache, ModelKind, ModelRecord
from inglenook.catalog.removal import set_aside
from inglenook.catalog.service import CatalogService

Fields = Mapping[str, Any]
PLAIN: Fields = {
    "block_count": 2, "context_length": 64, "embedding_length": 64, "feed_forward_length": 128,
    "attention.head_count": 4, "attention.head_count_kv": 2,
}  # fmt: skip


def describe(architecture: str, fields: Fields) -> Callable[[gguf.GGUFWriter], None]:
    """Numbers and lists under the architecture's name; names with `general.` or `clip.` as they are."""

    def describing(writer: gguf.GGUFWriter) -> None:
        for name, value in fields.items():
            full = name if name.startswith(("general.", "tokenizer.", "clip.")) else f"{architecture}.{name}"
            if isinstance(value, bool):
                writer.add_bool(full, value)
            elif isinstance(value, int):
                writer.add_uint32(full, value)
            elif isinstance(value, str):
                writer.add_string(full, value)
            else:
                writer.add_array(full, list(value))

    return describing


def layers(count: int, *names: str) -> dict[str, np.ndarray]:
    table = np.zeros((10, 64), np.float16)
    found = {"token_embd.weight": table, "output.weight": table}
    for layer in range(count):
        for name in names:
            found[f"blk.{layer}.{name}.weight"] = np.zeros((64, 64), np.float16)
    return found


def facts(path: Path, architecture: str, *, more: Fields | None = None, tensors: Any = None) -> LanguageFacts:
    fields = {**PLAIN, "tokenizer.ggml.model": "gpt2", **(more or {})}
    if tensors is None:
        tensors = layers(int(fields["block_count"]), "attn_q", "attn_k", "attn_v")
    file = write(path / "m.gguf", architecture, tensors, describe(architecture, fields))
    identity, _ = read_gguf_files(file)
    assert identity.problem is None
    assert identity.language is not None
    return identity.language


def listed(root: Path) -> dict[str, ModelRecord]:
    return {record.id: record for record in CatalogService(roots=[root], builtin=root / "none").list()}


# a model


def test_a_model_s_record_tells_what_its_header_tells(tmp_path: Path) -> None:
    write_llama(tmp_path / "tiny.gguf", shape=Shape(layers=3))
    record = listed(tmp_path)["tiny"]
    assert (record.kind, record.problem, record.dtype) == (ModelKind.LANGUAGE, None, "float16")
    assert (record.title, record.licence, record.description) == (
        "Tiny",
        "cc0-1.0",
        "Random weights, for tests.",
    )
    told = record.language
    assert told is not None
    assert (told.task, told.architecture, told.context, told.layers) == (LanguageTask.CHAT, "llama", 1024, 3)
    assert (told.width, told.heads, told.kv_heads, told.key_width) == (128, 2, 1, 64)
    assert (told.quantisation, told.size_label, told.tokenizer) == ("F16", "0.3M", "gpt2/gpt-2")
    assert told.template == gguf_files.TEMPLATE
    assert told.vocabulary == len(gguf_files.small_tokenizer().tokens)
    assert record.weights_bytes == sum(record.components.values()) == sum(told.layer_bytes) + told.other_bytes
    assert record.parameters * 2 < record.weights_bytes < record.parameters * 2 + 4000
    assert told.caches == (LayerCache(key_values=64, value_values=64),) * 3
    assert len(record.digest) == 64


def test_the_name_of_a_file_says_nothing(tmp_path: Path) -> None:
    write_llama(tmp_path / "bge-reranker-embedding-mmproj-lora.gguf")
    (record,) = listed(tmp_path).values()
    assert record.language is not None
    assert record.language.task is LanguageTask.CHAT


def test_a_file_that_is_cut_off_is_listed_with_both_numbers(tmp_path: Path) -> None:
    path = write_llama(tmp_path / "tiny.gguf")
    whole = path.stat().st_size
    with path.open("rb+") as file:
        file.truncate(whole - 1000)
    record = listed(tmp_path)["tiny"]
    assert record.kind is ModelKind.LANGUAGE
    assert "is cut off" in str(record.problem)
    assert f"{record.weights_bytes}" in str(record.problem)


@pytest.mark.parametrize(
    ("architecture", "fields", "says"),
    [
        ("llama", {}, "not known here"),
        ("llama", {"block_count": 2}, "vocabulary and no weights"),
        ("llada", {"block_count": 2}, "diffusion language model"),
    ],
)
def test_what_llama_cpp_would_not_load_has_a_problem(
    tmp_path: Path, architecture: str, fields: Fields, says: str
) -> None:
    file = write(tmp_path / "m.gguf", architecture, {}, describe(architecture, fields))
    assert says in str(read_gguf_files(file)[0].problem)


@pytest.mark.parametrize(
    ("without", "says"),
    [
        ("context_length", "lacks llama.context_length"),
        ("embedding_length", "lacks llama.embedding_length"),
        ("tokenizer.ggml.model", "holds no tokenizer"),
    ],
)
def test_a_header_without_what_is_needed_names_it(tmp_path: Path, without: str, says: str) -> None:
    fields = {**PLAIN, "tokenizer.ggml.model": "gpt2"}
    fields.pop(without)
    path = write(tmp_path / "m.gguf", "llama", layers(2, "attn_k"), describe("llama", fields))
    assert says in str(read_gguf_files(path)[0].problem)


def test_layers_that_are_missing_are_counted(tmp_path: Path) -> None:
    fields = {**PLAIN, "block_count": 5, "tokenizer.ggml.model": "gpt2"}
    path = write(tmp_path / "m.gguf", "llama", layers(3, "attn_k"), describe("llama", fields))
    assert "says 5 layers, and it has weights of 3" in str(read_gguf_files(path)[0].problem)


def test_a_claim_of_a_billion_layers_is_refused_and_not_counted(tmp_path: Path) -> None:
    fields = {**PLAIN, "block_count": 2**31, "tokenizer.ggml.model": "gpt2"}
    path = write(tmp_path / "m.gguf", "llama", layers(3, "attn_k"), describe("llama", fields))
    identity, _ = read_gguf_files(path)
    assert "says 2147483648 layers" in str(identity.problem)
    assert identity.language is not None
    assert identity.language.layers <= 2048


@pytest.mark.parametrize(
    ("architecture", "kind", "family", "says"),
    [
        ("flux", ModelKind.IMAGE, "flux", "not drawn from GGUF files yet"),
        ("sd3", ModelKind.IMAGE, "sd3", "not drawn"),
        ("qwen_image", ModelKind.IMAGE, "qwen-image", "not drawn"),
        ("t5encoder", ModelKind.TEXT_ENCODER, None, "text encoders"),
    ],
)
def test_pictures_and_their_encoders_are_named(
    tmp_path: Path, architecture: str, kind: ModelKind, family: str | None, says: str
) -> None:
    identity, _ = read_gguf_files(write(tmp_path / "m.gguf", architecture, {}))
    assert (identity.kind, identity.family) == (kind, family)
    assert says in str(identity.problem)


# what it is for


def test_tasks_follow_from_the_header_and_the_tensors(tmp_path: Path) -> None:
    write_bert(tmp_path / "embeds.gguf")
    write_bert(tmp_path / "says-nothing.gguf", pooling=None)
    write_bert(tmp_path / "ranks.gguf", pooling=gguf.PoolingType.RANK)
    write_bert(tmp_path / "has-a-head.gguf", pooling=None, head=True)
    tasks = {name: record.language.task for name, record in listed(tmp_path).items() if record.language}
    assert tasks == {
        "embeds": LanguageTask.EMBEDDING,
        "says-nothing": LanguageTask.EMBEDDING,
        "ranks": LanguageTask.RERANK,
        "has-a-head": LanguageTask.RERANK,
    }


@pytest.mark.parametrize(
    ("more", "task", "pooling"),
    [
        ({}, LanguageTask.CHAT, None),
        ({"pooling_type": 0}, LanguageTask.CHAT, "none"),
        ({"pooling_type": 3}, LanguageTask.EMBEDDING, "last"),
        ({"pooling_type": 4}, LanguageTask.RERANK, "rank"),
        ({"classifier.output_labels": ["yes", "no"]}, LanguageTask.RERANK, None),
        ({"attention.causal": False}, LanguageTask.EMBEDDING, None),
    ],
)
def test_a_model_of_a_chat_architecture_may_be_for_something_else(
    tmp_path: Path, more: Fields, task: LanguageTask, pooling: str | None
) -> None:
    told = facts(tmp_path, "qwen3", more=more)
    assert (told.task, told.pooling) == (task, pooling)


# what its layers keep


def test_heads_may_differ_from_layer_to_layer(tmp_path: Path) -> None:
    more = {
        "attention.head_count": [4, 8], "attention.head_count_kv": [1, 2],
        "attention.key_length": 16, "attention.value_length": 32,
    }  # fmt: skip
    told = facts(tmp_path, "openelm", more=more)
    assert (told.heads, told.kv_heads) == (8, 2)
    assert [(one.key_values, one.value_values) for one in told.caches] == [(16, 32), (32, 64)]


def test_a_compressed_cache_is_as_wide_as_the_header_says(tmp_path: Path) -> None:
    """Multi-head latent attention: one narrow row for all heads."""
    more = {
        "attention.head_count": 16, "attention.head_count_kv": 1, "attention.kv_lora_rank": 512,
        "attention.key_length": 576, "attention.value_length": 512, "attention.key_length_mla": 192,
    }  # fmt: skip
    told = facts(tmp_path, "deepseek2", more=more, tensors=layers(2, "attn_q", "attn_kv_a_mqa", "attn_k_b"))
    assert told.caches == (LayerCache(key_values=576),) * 2


@pytest.mark.parametrize(
    ("architecture", "pattern", "windows"),
    [
        ("gemma3", {}, [512] * 5 + [0] + [512] * 2),
        ("gpt-oss", {}, [512, 0] * 4),
        (
            "gemma3n",
            {"attention.sliding_window_pattern": [True, True, False, True] * 2},
            [512, 512, 0, 512] * 2,
        ),
        ("gemma4", {"attention.sliding_window_pattern": 4}, [512, 512, 512, 0] * 2),
        ("unheard-of", {}, [0] * 8),
    ],
)
def test_windows_are_those_of_the_layers_that_have_them(
    tmp_path: Path, architecture: str, pattern: Fields, windows: list[int]
) -> None:
    told = facts(tmp_path, architecture, more={"block_count": 8, "attention.sliding_window": 512, **pattern})
    assert [one.window for one in told.caches] == windows
    assert told.sliding_window == 512


def test_layers_that_share_the_cache_of_others_keep_none(tmp_path: Path) -> None:
    told = facts(tmp_path, "gemma3n", more={"block_count": 4, "attention.shared_kv_layers": 1})
    assert [one.key_values for one in told.caches] == [32, 32, 32, 0]


def test_a_recurrent_model_keeps_a_state_instead(tmp_path: Path) -> None:
    more = {"ssm.conv_kernel": 4, "ssm.inner_size": 128, "ssm.state_size": 16, "ssm.time_step_rank": 4,
            "attention.head_count": 0}  # fmt: skip
    told = facts(tmp_path, "mamba", more=more, tensors=layers(2, "ssm_in", "ssm_conv1d"))
    assert told.recurrent
    assert told.caches == (LayerCache(state_values=3 * 128 + 128 * 16),) * 2


def test_a_hybrid_keeps_either_or_both(tmp_path: Path) -> None:
    tensors = {
        **layers(0),
        "blk.0.ssm_in.weight": np.zeros((4, 64), np.float16),
        "blk.1.attn_k.weight": np.zeros((4, 64), np.float16),
        "blk.2.ssm_in.weight": np.zeros((4, 64), np.float16),
        "blk.2.attn_k.weight": np.zeros((4, 64), np.float16),
        "blk.3.ssm_in.weight": np.zeros((4, 64), np.float16),
        "blk.3.attn_qkv.weight": np.zeros((4, 64), np.float16),  # a linear layer's, which keeps no keys
    }
    more = {"block_count": 4, "ssm.conv_kernel": 4, "ssm.inner_size": 64, "ssm.state_size": 8}
    told = facts(tmp_path, "falcon-h1", more=more, tensors=tensors)
    assert [(one.key_values > 0, one.state_values > 0) for one in told.caches] == [
        (False, True), (True, False), (True, True), (False, True),
    ]  # fmt: skip


def test_rwkv_keeps_a_matrix_for_each_head(tmp_path: Path) -> None:
    more = {"wkv.head_size": 16, "token_shift_count": 2}
    told = facts(tmp_path, "rwkv7", more=more, tensors=layers(2, "time_mix_key"))
    assert told.caches[0] == LayerCache(state_values=64 * (2 + 16))


def test_experts_are_counted_and_those_at_work_are_as_wide_together(tmp_path: Path) -> None:
    more = {"expert_count": 8, "expert_used_count": 2, "expert_feed_forward_length": 96}
    told = facts(tmp_path, "qwen3moe", more=more)
    assert (told.experts, told.experts_used, told.feed_forward) == (8, 2, 192)


# quantisation


def quantised(path: Path, file_type: int, **kinds: str) -> str:
    """A model whose layers' matrices are of these types, and its embeddings in Q8_0."""
    writer = gguf.GGUFWriter(path / "m.gguf", "llama")
    describe("llama", {**PLAIN, "tokenizer.ggml.model": "gpt2"})(writer)
    writer.add_file_type(file_type)
    for name, kind in {"token_embd": "Q8_0", **kinds}.items():
        block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
        rows = 40 if name == "token_embd" else 4
        full = name if name == "token_embd" else f"blk.{len(name) % 2}.{name}"
        data = np.zeros((rows, 256 // block * size), np.uint8)
        writer.add_tensor(f"{full}.weight", data, raw_dtype=gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    language = read_gguf_files(path / "m.gguf")[0].language
    assert language is not None
    return language.quantisation


@pytest.mark.parametrize(
    ("file_type", "kinds", "called"),
    [
        (15, {"attn_q": "Q4_K", "attn_k": "Q4_K", "ffn_down": "Q6_K"}, "Q4_K_M"),
        (12, {"attn_q": "Q3_K", "attn_k": "Q3_K", "attn_v": "Q5_K"}, "Q3_K_M"),
        (15, {"attn_q": "Q5_0", "attn_k": "Q5_0", "ffn_down": "Q6_K"}, "Q4_K_M"),
        (3, {"attn_q": "Q4_1"}, "Q4_1"),
        (32, {"attn_q": "BF16"}, "BF16"),
        (38, {"attn_q": "MXFP4", "attn_k": "MXFP4", "attn_v": "BF16"}, "MXFP4"),
        (36, {"attn_q": "TQ1_0"}, "TQ1_0"),
        (23, {"attn_q": "IQ3_XXS", "attn_k": "IQ3_XXS", "attn_v": "IQ3_S"}, "IQ3_XXS"),
        (30, {"attn_q": "IQ4_XS"}, "IQ4_XS"),
        (1, {"attn_q": "Q4_K"}, "Q4_K"),
        (999, {"attn_q": "Q5_K"}, "Q5_K"),
    ],
)
def test_a_quantisation_is_called_as_its_users_do_if_the_tensors_bear_it_out(
    tmp_path: Path, file_type: int, kinds: dict[str, str], called: str
) -> None:
    assert quantised(tmp_path, file_type, **kinds) == called


# split models


def test_a_split_model_is_one(tmp_path: Path) -> None:
    parts = write_split(tmp_path, "big", parts=3)
    whole = listed(write_llama(tmp_path / "one" / "big.gguf").parent)["big"]
    record = listed(tmp_path)["big"]
    assert [one for one in listed(tmp_path) if one.startswith("big")] == ["big"]
    assert record.problem is None
    assert (record.path, record.layout) == (parts[0], "single")
    assert record.language is not None
    assert record.language.shards == tuple(parts)
    assert (record.weights_bytes, record.parameters) == (whole.weights_bytes, whole.parameters)
    assert record.components == whole.components


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_part_that_is_missing_is_named_and_found_when_it_comes(tmp_path: Path, missing: int) -> None:
    parts = write_split(tmp_path, "big", parts=3)
    aside = parts[missing].rename(tmp_path / "aside")
    catalog = CatalogService(roots=[tmp_path], builtin=tmp_path / "none")
    (record,) = catalog.list()
    assert record.id == "big"
    assert f"big-0000{missing + 1}-of-00003.gguf is missing: part {missing + 1} of 3" in str(record.problem)
    aside.rename(parts[missing])
    (record,) = catalog.list()
    assert record.problem is None


def test_a_part_that_is_cut_off_is_named(tmp_path: Path) -> None:
    parts = write_split(tmp_path, "big", parts=2)
    with parts[1].open("rb+") as file:
        file.truncate(parts[1].stat().st_size - 100)
    assert "big-00002-of-00002.gguf is cut off" in str(listed(tmp_path)["big"].problem)


def test_a_part_of_another_model_is_noticed(tmp_path: Path) -> None:
    write_split(tmp_path, "big", parts=2)
    other = write_split(tmp_path / "other", "big", parts=3)
    (tmp_path / "big-00002-of-00002.gguf").write_bytes(other[1].read_bytes())
    assert "says of itself that it is part 2 of 3" in str(listed(tmp_path)["big"].problem)


def test_a_part_by_its_header_needs_a_part_s_name(tmp_path: Path) -> None:
    first, _ = write_split(tmp_path, "big", parts=2)
    first.rename(tmp_path / "small.gguf")
    (tmp_path / "big-00002-of-00002.gguf").unlink()
    assert "part 1 of 2, but it is called small.gguf" in str(listed(tmp_path)["small"].problem)


def test_a_part_by_its_name_alone_is_told_to_be_renamed(tmp_path: Path) -> None:
    write_llama(tmp_path / "big-00001-of-00002.gguf")
    assert "its header says that it is whole" in str(listed(tmp_path)["big"].problem)


def test_a_split_model_is_taken_away_whole(tmp_path: Path) -> None:
    parts = write_split(tmp_path, "big", parts=2)
    set_aside(listed(tmp_path)["big"]).destroy()
    assert not any(part.exists() for part in parts)


# projectors


def inputs(record: ModelRecord) -> tuple[str, ...]:
    assert record.language is not None
    return record.language.inputs


def test_a_projector_serves_the_model_beside_it_that_is_as_wide(tmp_path: Path) -> None:
    projector = write_projector(tmp_path / "sees" / "mmproj-f16.gguf", width=128)
    write_llama(tmp_path / "sees" / "one-q4_0.gguf")
    write_llama(tmp_path / "sees" / "one-q8_0.gguf")
    write_llama(tmp_path / "sees" / "wide.gguf", shape=Shape(width=192))
    write_llama(tmp_path / "elsewhere" / "blind.gguf")
    records = listed(tmp_path)
    facts = records["sees/mmproj-f16"].projector
    assert records["sees/mmproj-f16"].kind is ModelKind.PROJECTOR
    assert facts is not None
    assert (facts.width, facts.inputs, facts.type, facts.side_px) == (128, ("image",), "mlp", 64)
    for name in ("sees/one-q4_0", "sees/one-q8_0"):
        assert records[name].parts == {"mmproj": projector}
        assert inputs(records[name]) == ("image",)
    for name in ("sees/wide", "elsewhere/blind"):
        assert records[name].parts == {}
        assert inputs(records[name]) == ()


def test_of_models_that_fit_those_with_most_of_its_name_are_served(tmp_path: Path) -> None:
    write_projector(tmp_path / "mmproj-SmolVLM-500M-Instruct-f16.gguf")
    write_llama(tmp_path / "SmolVLM-500M-Instruct-Q8_0.gguf")
    write_llama(tmp_path / "SmolLM2-360M-Instruct-Q8_0.gguf")
    served = [name for name, record in listed(tmp_path).items() if record.parts]
    assert served == ["SmolVLM-500M-Instruct-Q8_0"]


def test_of_projectors_that_fit_the_half_precise_one_is_taken(tmp_path: Path) -> None:
    write_projector(tmp_path / "mmproj-a-f32.gguf", audio=True)
    write_projector(tmp_path / "mmproj-b-f32.gguf")
    write_llama(tmp_path / "b.gguf")
    assert listed(tmp_path)["b"].parts["mmproj"].name == "mmproj-b-f32.gguf"


def test_one_in_a_folder_below_serves_too_and_hears(tmp_path: Path) -> None:
    write_projector(tmp_path / "model" / "projector" / "f16.gguf", audio=True)
    write_llama(tmp_path / "model" / "q4.gguf")
    assert inputs(listed(tmp_path)["model/q4"]) == ("image", "audio")


def test_embedding_models_see_nothing(tmp_path: Path) -> None:
    write_projector(tmp_path / "mmproj.gguf", width=64)
    write_bert(tmp_path / "bert.gguf")
    assert listed(tmp_path)["bert"].parts == {}


def test_a_clip_that_turns_nothing_into_tokens_is_a_text_encoder(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.gguf", "clip", {}, describe("clip", {"clip.has_text_encoder": True}))
    identity, _ = read_gguf_files(path)
    assert (identity.kind, identity.role) == (ModelKind.TEXT_ENCODER, "clip")


@pytest.mark.parametrize(
    ("name", "shape"),
    [("mm.input_projection.weight", (32, 96)), ("mm.model.fc.weight", (96, 32)), ("mm.2.weight", (96, 32))],
)
def test_the_width_of_a_projection_follows_from_its_last_matrix(
    tmp_path: Path, name: str, shape: tuple[int, int]
) -> None:
    fields = {"clip.has_vision_encoder": True, "clip.vision.projection_dim": 7}
    path = write(tmp_path / "m.gguf", "clip", {name: np.zeros(shape, np.float16)}, describe("clip", fields))
    projector = read_gguf_files(path)[0].projector
    assert projector is not None
    assert projector.width == 96


# adapters


def test_an_adapter_is_a_lora_for_its_architecture(tmp_path: Path) -> None:
    write_adapter(tmp_path / "tone.gguf", rank=6)
    record = listed(tmp_path)["tone"]
    assert (record.kind, record.fits, record.problem) == (ModelKind.LORA, ("llama",), None)
    assert record.lora is not None
    assert (record.lora.rank, record.lora.pairs, record.lora.touches) == (6, 2, ("language_model",))


def test_an_adapter_of_another_sort_has_a_problem(tmp_path: Path) -> None:
    write_adapter(tmp_path / "odd.gguf", sort="control_vector")
    assert "adapter of type 'control_vector'" in str(listed(tmp_path)["odd"].problem)
