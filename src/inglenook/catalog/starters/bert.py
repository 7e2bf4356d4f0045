# SPDX-License-Identifier: Apache-2.0
"""A BERT of Hugging Face's layout (config.json, model.safetensors, vocab.txt) as a GGUF file.

llama.cpp serves it as an embedding model. Weights become Q8_0 (blocks of 32 numbers of 8 bits and their
scale), whatever is small or added up stays float32. numpy alone; about a second for 23 million numbers.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from inglenook.catalog.errors import CorruptModel
from inglenook.catalog.safetensors import Header, read_header

_MODEL: Final = {
    "embeddings.word_embeddings.weight": "token_embd.weight",
    "embeddings.position_embeddings.weight": "position_embd.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.LayerNorm": "token_embd_norm",
}
_LAYER: Final = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
"""A layer's parts as Hugging Face and as llama.cpp call them; each has a weight and a bias."""

_WHOLE: Final = frozenset({"position_embd.weight", "token_types.weight"})
"""Matrices that llama.cpp adds up instead of multiplying with."""

_SPECIAL: Final = {"[UNK]": "unk", "[SEP]": "sep", "[PAD]": "pad", "[MASK]": "mask", "[CLS]": "bos"}
"""llama.cpp knows BERT's [CLS] as what begins a text."""

_NORMAL, _CONTROL = 1, 3
_WORD: Final = "\u2581"
_PIECE: Final = "##"


def convert_bert(folder: Path, target: Path, *, name: str, licence: str) -> None:
    """Write the model in `folder` to `target`.

    Args:
        name: of the model, for its header. licence: as SPDX writes it.

    Raises:
        CorruptModel: a file contradicts itself or another, or a tensor is missing.
        OSError: the disk.
    """
    import gguf

    config = json.loads((folder / "config.json").read_bytes())
    tokens = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    if len(tokens) != config["vocab_size"]:
        raise CorruptModel(f"vocab.txt has {len(tokens)} tokens, config.json {config['vocab_size']}.")
    writer = gguf.GGUFWriter(target, "bert")
    try:
        _describe(writer, config, name=name, licence=licence)
        _add_tokens(writer, tokens)
        for tensor, values in _tensors(folder / "model.safetensors", config["num_hidden_layers"]):
            _add(writer, tensor, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _describe(writer: Any, config: dict[str, Any], *, name: str, licence: str) -> None:
    import gguf

    writer.add_type("model")
    writer.add_name(name)
    writer.add_license(licence)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_token_type_count(config["type_vocab_size"])


def _add_tokens(writer: Any, tokens: Sequence[str]) -> None:
    """WordPiece as llama.cpp expects it: a token that begins a word carries U+2581, one that goes on with it
    carries nothing (where BERT writes `##`), and special ones stay as they are."""
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([_as_llama_writes(token) for token in tokens])
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([_CONTROL if token in _SPECIAL else _NORMAL for token in tokens])
    for token, role in _SPECIAL.items():
        if token not in tokens:
            raise CorruptModel(f"vocab.txt lacks the token {token}.")
        getattr(writer, f"add_{role}_token_id")(tokens.index(token))
    writer.add_eos_token_id(tokens.index("[SEP]"))


def _as_llama_writes(token: str) -> str:
    if token.startswith("[") and token.endswith("]"):
        return token
    return token.removeprefix(_PIECE) if token.startswith(_PIECE) else _WORD + token


def _names(layers: int) -> Iterator[tuple[str, str]]:
    """Each tensor's name in the one layout and in the other. The pooler behind [CLS] is not used."""
    both = ("weight", "bias")
    for theirs, ours in _MODEL.items():
        parts = both if theirs.endswith("Norm") else ()
        yield from ((f"{theirs}.{part}", f"{ours}.{part}") for part in parts)
        if not parts:
            yield theirs, ours
    for layer in range(layers):
        for theirs, ours in _LAYER.items():
            for part in both:
                yield f"encoder.layer.{layer}.{theirs}.{part}", f"blk.{layer}.{ours}.{part}"


def _tensors(path: Path, layers: int) -> Iterator[tuple[str, "np.ndarray[Any, np.dtype[np.float32]]"]]:
    header = read_header(path)
    data = np.memmap(path, dtype=np.uint8, mode="r", offset=path.stat().st_size - header.data_bytes)
    prefix = "bert." if "bert.embeddings.word_embeddings.weight" in header.tensors else ""
    for theirs, ours in _names(layers):
        yield ours, _values(header, data, prefix + theirs)


def _values(header: Header, data: Any, name: str) -> "np.ndarray[Any, np.dtype[np.float32]]":
    tensor = header.tensors.get(name)
    if tensor is None:
        raise CorruptModel(f"model.safetensors lacks the tensor {name}.")
    dtype = {"F32": np.float32, "F16": np.float16}.get(tensor.dtype)
    if dtype is None:
        raise CorruptModel(f"Tensor {name} has the dtype {tensor.dtype}; F32 and F16 are converted.")
    values = np.frombuffer(data[tensor.begin : tensor.end], dtype=dtype).reshape(tensor.shape)
    return values.astype(np.float32)


def _add(writer: Any, name: str, values: "np.ndarray[Any, np.dtype[np.float32]]") -> None:
    import gguf

    if values.ndim == 2 and name not in _WHOLE:
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
    else:
        writer.add_tensor(name, values)
