# SPDX-License-Identifier: Apache-2.0
"""What a language model's GGUF header tells about it. Pure; what is not told is 0 or "", never guessed.

What layers keep of a conversation follows from the fields that llama.cpp itself reads
(`src/llama-hparams.cpp`, `src/llama-model.cpp`), and from which tensors a layer has: keys and values, a
state, or both.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from inglenook.catalog.ggml import quantisation
from inglenook.catalog.gguf import TOKENS, GgufHeader, GgufTensor
from inglenook.catalog.model import LanguageFacts, LanguageTask, LayerCache

MAX_LAYERS: Final = 2048

POOLINGS: Final[Mapping[int, str]] = {0: "none", 1: "mean", 2: "cls", 3: "last", 4: "rank"}
"""`pooling_type`, by llama.cpp's numbers."""

_WINDOWED: Final[Mapping[str, int]] = {
    "gemma2": 2, "gemma3": 6, "gemma-embedding": 6, "cohere2": 4, "gpt-oss": 2, "exaone4": 4, "olmo2": 4,
}  # fmt: skip
"""Architectures whose headers give a sliding window but not which layers have it: all but every nth."""

_LAYER = re.compile(r"blk\.(\d{1,6})\.")
_ATTENTION = re.compile(r"blk\.\d+\.(?:attn_k|attn_qkv|attn_kv_a_mqa|attn_k_b|attn_kv_b)\.")
_RECURRENT = re.compile(r"blk\.\d+\.(?:ssm_|shortconv\.|time_mix_)")
_KEYS_ALONE = re.compile(r"blk\.\d+\.attn_k\.")


@dataclass(frozen=True, slots=True)
class Tensors:
    """A model's tensors by place: the layer, or what stands outside of all."""

    layer_bytes: tuple[int, ...]
    embedding_bytes: int
    output_bytes: int
    other_bytes: int
    tied_bytes: int
    """Of the embeddings, where the model has no output matrix of its own and takes theirs."""

    @property
    def components(self) -> dict[str, int]:
        found = {
            "layers": sum(self.layer_bytes),
            "embeddings": self.embedding_bytes,
            "output": self.output_bytes,
            "other": self.other_bytes,
        }
        return {name: size for name, size in found.items() if size}


def placed(tensors: Mapping[str, GgufTensor], layers: int) -> Tensors:
    """Args:
    layers: as many as the header says; a tensor of a further one counts as standing outside.
    """
    by_layer = [0] * min(layers, MAX_LAYERS)
    outside: Counter[str] = Counter()
    for name, tensor in tensors.items():
        number = layer_of(name)
        if number is not None and number < len(by_layer):
            by_layer[number] += tensor.size_bytes
        else:
            outside[_place(name)] += tensor.size_bytes
    table = tensors.get("token_embd.weight")
    tied = table.size_bytes if table is not None and "output.weight" not in tensors else 0
    return Tensors(tuple(by_layer), outside["embeddings"], outside["output"], outside["other"], tied)


def layer_of(name: str) -> int | None:
    match = _LAYER.match(name)
    return None if match is None else int(match[1])


def _place(name: str) -> str:
    if name.startswith(("token_embd", "per_layer_token_embd", "position_embd", "token_types")):
        return "embeddings"
    return "output" if name.startswith(("output", "cls", "dense_")) else "other"


def language_facts(header: GgufHeader, tensors: Mapping[str, GgufTensor]) -> LanguageFacts:
    """Args:
    header: of the first file. tensors: of all files.
    """
    architecture = header.text("general.architecture")
    told = _Told(header, architecture)
    layers = min(told.number("block_count"), MAX_LAYERS)
    places = placed(tensors, layers)
    heads, width = told.number("attention.head_count"), told.number("embedding_length")
    kv_heads = told.number("attention.head_count_kv") or heads
    causal = told.flag("attention.causal") is not False and architecture not in _BIDIRECTIONAL
    pooling = POOLINGS.get(told.number("pooling_type")) if told.has("pooling_type") else None
    return LanguageFacts(
        task=_task(told, tensors, pooling, causal=causal),
        architecture=architecture,
        context=told.number("context_length"),
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        key_width=told.number("attention.key_length") or width // max(heads, 1),
        value_width=told.number("attention.value_length") or width // max(heads, 1),
        vocabulary=_vocabulary(header, told, tensors),
        layer_bytes=places.layer_bytes,
        other_bytes=places.embedding_bytes + places.output_bytes + places.other_bytes,
        quantisation=quantisation(header.fields.get("general.file_type"), _layer_scalars(tensors)),
        template=header.text("tokenizer.chat_template"),
        pooling=pooling,
        experts=told.number("expert_count"),
        sliding_window=told.number("attention.sliding_window"),
        recurrent=any(_RECURRENT.match(name) for name in tensors),
        size_label=header.text("general.size_label")[:40],
        causal=causal,
        feed_forward=_feed_forward(told),
        experts_used=told.number("expert_used_count"),
        type_bytes=_type_bytes(tensors),
        output_bytes=places.output_bytes + (places.tied_bytes if causal else 0),
        embedding_bytes=places.embedding_bytes + places.other_bytes,
        caches=_caches(told, tensors, layers),
        tokenizer=_tokenizer(header),
        token_marks=header.token_marks,
    )


@dataclass(frozen=True, slots=True)
class _Told:
    """The header's fields under the architecture's name."""

    header: GgufHeader
    architecture: str

    def number(self, name: str) -> int:
        return self.header.number(f"{self.architecture}.{name}")

    def numbers(self, name: str) -> tuple[int, ...]:
        return self.header.numbers(f"{self.architecture}.{name}")

    def flag(self, name: str) -> bool | None:
        return self.header.flag(f"{self.architecture}.{name}")

    def has(self, name: str) -> bool:
        full = f"{self.architecture}.{name}"
        return full in self.header.fields or full in self.header.lengths

    def by_layer(self, name: str, layers: int) -> Sequence[int]:
        """One number a layer; a single one is every layer's."""
        found = self.numbers(name)
        if isinstance(self.header.fields.get(f"{self.architecture}.{name}"), tuple):
            return (*found[:layers], *(max(found, default=0) for _ in range(layers - len(found))))
        return (*found, 0)[:1] * layers


# ── what it is for ────────────────────────────────────────────────────────────────────────────────────────

_BIDIRECTIONAL: Final = frozenset({
    "bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "neo-bert", "modern-bert",
    "eurobert", "gemma-embedding", "llama-embed",
})  # fmt: skip
"""Architectures that read a text at once, and make nothing but embeddings or a class of it."""


def _task(
    told: _Told, tensors: Mapping[str, GgufTensor], pooling: str | None, *, causal: bool
) -> LanguageTask:
    """A head that classifies makes it a reranker; a way to pool, or reading a text at once, an embedding
    model."""
    heads = any(name.startswith("cls.") or name == "cls" for name in tensors)
    if pooling == "rank" or heads or told.has("classifier.output_labels"):
        return LanguageTask.RERANK
    if pooling in ("mean", "cls", "last") or not causal:
        return LanguageTask.EMBEDDING
    return LanguageTask.CHAT


# ── what its layers keep ──────────────────────────────────────────────────────────────────────────────────


def _caches(told: _Told, tensors: Mapping[str, GgufTensor], layers: int) -> tuple[LayerCache, ...]:
    heads = told.by_layer("attention.head_count", layers)
    kv_heads = (
        told.by_layer("attention.head_count_kv", layers) if told.has("attention.head_count_kv") else heads
    )
    width = told.number("embedding_length") // max(told.number("attention.head_count"), 1)
    keys, values = (told.number(f"attention.{name}_length") or width for name in ("key", "value"))
    keys_windowed = told.number("attention.key_length_swa") or keys
    values_windowed = told.number("attention.value_length_swa") or values
    if told.number("attention.kv_lora_rank") and told.number("attention.key_length_mla"):
        values = values_windowed = 0  # compressed: values are made of the same row as keys
    windows = _windows(told, layers)
    attending, states = _sorts(tensors, layers)
    state = _state_values(told)
    keeping = layers - told.number("attention.shared_kv_layers") - told.number("nextn_predict_layers")
    causal = told.flag("attention.causal") is not False and told.architecture not in _BIDIRECTIONAL
    found = []
    for layer in range(layers):
        count = kv_heads[layer] if attending[layer] and layer < keeping and causal else 0
        windowed = windows[layer] > 0
        found.append(
            LayerCache(
                key_values=count * (keys_windowed if windowed else keys),
                value_values=count * (values_windowed if windowed else values),
                window=windows[layer],
                state_values=state if states[layer] else 0,
            )
        )
    return tuple(found)


def _sorts(tensors: Mapping[str, GgufTensor], layers: int) -> tuple[list[bool], list[bool]]:
    """Which layers attend, and which keep a state. One that has a state attends only if it has keys of its
    own; one of which nothing is known attends."""
    states, keyed, attends = [False] * layers, [False] * layers, [False] * layers
    for name in tensors:
        number = layer_of(name)
        if number is None or number >= layers:
            continue
        states[number] |= _RECURRENT.match(name) is not None
        keyed[number] |= _KEYS_ALONE.match(name) is not None
        attends[number] |= _ATTENTION.match(name) is not None
    some = any(attends) or any(states)
    return [
        keyed[layer] if states[layer] else (attends[layer] or not some) for layer in range(layers)
    ], states


def _windows(told: _Told, layers: int) -> list[int]:
    """Of each layer; 0 where it looks at everything, also where the header leaves that open."""
    window = told.number("attention.sliding_window")
    pattern = told.numbers("attention.sliding_window_pattern")
    if not window:
        return [0] * layers
    if len(pattern) > 1:
        return [window if layer < len(pattern) and pattern[layer] else 0 for layer in range(layers)]
    period = pattern[0] if pattern else _WINDOWED.get(told.architecture, 1)
    if period <= 1:
        return [0] * layers
    return [window if layer % period < period - 1 else 0 for layer in range(layers)]


def _state_values(told: _Told) -> int:
    """Numbers that one recurrent layer keeps: of its convolution, and of its state."""
    width = told.number("embedding_length")
    if told.has("wkv.head_size"):
        return width * (max(told.number("token_shift_count"), 2) + told.number("wkv.head_size"))
    if told.has("shortconv.l_cache"):
        return width * max(told.number("shortconv.l_cache") - 1, 0)
    kernel = max(told.number("ssm.conv_kernel") - 1, 0)
    if told.has("kda.head_dim"):
        columns = told.number("kda.head_dim") * told.number("attention.head_count")
        return 3 * kernel * columns + told.number("kda.head_dim") * columns
    inner, state = told.number("ssm.inner_size"), told.number("ssm.state_size")
    groups = told.number("ssm.group_count")
    return kernel * (inner + 2 * groups * state) + inner * state


# ── the rest ──────────────────────────────────────────────────────────────────────────────────────────────


def _vocabulary(header: GgufHeader, told: _Told, tensors: Mapping[str, GgufTensor]) -> int:
    table = tensors.get("token_embd.weight")
    rows = table.sides[1] if table is not None and len(table.sides) > 1 else 0
    return header.lengths.get(TOKENS, 0) or told.number("vocab_size") or rows


def _tokenizer(header: GgufHeader) -> str:
    model, before = header.text("tokenizer.ggml.model"), header.text("tokenizer.ggml.pre")
    return "/".join(part[:60] for part in (model, before) if part)


def _layer_scalars(tensors: Mapping[str, GgufTensor]) -> Counter[str]:
    """Scalars by type, of the layers' matrices; of all tensors where there are none."""
    inside, all_of_them = Counter[str](), Counter[str]()
    for name, tensor in tensors.items():
        all_of_them[tensor.type] += tensor.scalars
        if layer_of(name) is not None and len(tensor.sides) > 1:
            inside[tensor.type] += tensor.scalars
    return inside or all_of_them


def _type_bytes(tensors: Mapping[str, GgufTensor]) -> dict[str, int]:
    found = Counter[str]()
    for name, tensor in tensors.items():
        if layer_of(name) is not None and len(tensor.sides) > 1:
            found[tensor.type] += tensor.size_bytes
    return dict(found)


def _feed_forward(told: _Told) -> int:
    dense = told.number("feed_forward_length")
    used = told.number("expert_used_count")
    shared = told.number("expert_shared_count") or (1 if told.has("expert_shared_feed_forward_length") else 0)
    each = told.number("expert_feed_forward_length") or (dense if told.number("expert_count") else 0)
    shared_each = told.number("expert_shared_feed_forward_length") or each
    return max(dense, used * each + shared * shared_each)
