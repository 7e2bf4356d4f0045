# SPDX-License-Identifier: Apache-2.0
"""CLIP text encoders out of single files, and the tokenizer that all of them share.

The vocabulary is CLIP's own byte pair encoding: 256 bytes, the same at the end of a word, 48,894 merges, and
two marks. `configs/clip/merges.txt.gz` holds the merges; see NOTICE for where they come from.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from accelerate import init_empty_weights
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from inglenook.workers.image.errors import LoadCorrupt, LoadUnsupported
from inglenook.workers.image.families.clip_words import END, START, byte_letters, vocabulary
from inglenook.workers.image.families.ldm import CONFIGS
from inglenook.workers.image.weights import Checkpoint, read_json

__all__ = ["END", "START", "byte_letters", "of_tensors", "read_openai", "read_openclip", "tokenizer"]

_LENGTH_TOKENS = 77

_OPENCLIP_LAYER: Mapping[str, str] = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_OPENCLIP_TOP: Mapping[str, str] = {
    "positional_embedding": "embeddings.position_embedding.weight",
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}


def tokenizer(*, pad: str) -> CLIPTokenizer:
    """CLIP's tokenizer. `pad` fills up to 77 tokens: OpenAI's models take the end mark, OpenCLIP's `!`."""
    words, merges = vocabulary()
    return CLIPTokenizer(vocab=words, merges=merges, pad_token=pad, model_max_length=_LENGTH_TOKENS)


def read_openai(file: Checkpoint, prefix: str, family: str, dtype: torch.dtype) -> torch.nn.Module:
    """The text encoder of OpenAI's CLIP, whose names are those of transformers already."""
    tensors = {
        key.removeprefix(prefix).removeprefix("text_model."): tensor
        for key, tensor in file.tensors(prefix).items()
    }
    tensors.pop("embeddings.position_ids", None)
    return _build(CLIPTextModel, tensors, family, "text_encoder", dtype)


def read_openclip(
    file: Checkpoint,
    prefix: str,
    family: str,
    dtype: torch.dtype,
    *,
    part: str = "text_encoder",
    layers_left_out: int = 0,
) -> torch.nn.Module:
    """A text encoder of OpenCLIP, renamed and its joint query, key and value taken apart.

    Args:
        layers_left_out: from the top; Stable Diffusion 2 reads the states before the last layer.
    """
    found = {key.removeprefix(prefix): tensor for key, tensor in file.tensors(prefix).items()}
    tensors = {name: found[key] for key, name in _OPENCLIP_TOP.items() if key in found}
    layers = 1 + max((int(n) for key in found for n in re.findall(r"resblocks\.(\d+)\.", key)), default=-1)
    for layer in range(layers - layers_left_out):
        tensors |= _openclip_layer(found, layer)
    if part == "text_encoder":
        return _build(CLIPTextModel, tensors, family, part, dtype)
    if "text_projection" in found:
        tensors["text_projection.weight"] = found["text_projection"].T.contiguous()
    return _build(CLIPTextModelWithProjection, tensors, family, part, dtype)


def of_tensors(
    tensors: dict[str, torch.Tensor], family: str, part: str, dtype: torch.dtype, *, projected: bool
) -> torch.nn.Module:
    """A text encoder from tensors in the names of transformers, without `text_model.` before them.

    Args:
        projected: whether the pooled text goes through a last matrix.
    """
    model = CLIPTextModelWithProjection if projected else CLIPTextModel
    return _build(model, tensors, family, part, dtype)


def _openclip_layer(found: Mapping[str, torch.Tensor], layer: int) -> dict[str, torch.Tensor]:
    old, new = f"transformer.resblocks.{layer}.", f"encoder.layers.{layer}."
    tensors: dict[str, torch.Tensor] = {}
    for kind in ("weight", "bias"):
        for theirs, ours in _OPENCLIP_LAYER.items():
            tensors[f"{new}{ours}.{kind}"] = _taken(found, f"{old}{theirs}.{kind}")
        joint = _taken(found, f"{old}attn.in_proj_{kind}").chunk(3)
        for name, tensor in zip(("q_proj", "k_proj", "v_proj"), joint, strict=True):
            tensors[f"{new}self_attn.{name}.{kind}"] = tensor.contiguous()
    return tensors


def _taken(found: Mapping[str, torch.Tensor], key: str) -> torch.Tensor:
    if key not in found:
        raise LoadCorrupt(f"The text encoder lacks the tensor {key!r}.")
    return found[key]


def _build(
    model: Any, tensors: dict[str, torch.Tensor], family: str, part: str, dtype: torch.dtype
) -> torch.nn.Module:
    """An encoder of the size that the tensors have, filled with them."""
    config = CLIPTextConfig(
        **{**read_json(CONFIGS / family / part / "config.json"), **_text_settings(tensors)}
    )
    with init_empty_weights():
        encoder = model(config)
    wanted = set(encoder.state_dict())
    inside = any(key.startswith("text_model.") for key in wanted)
    named = {
        f"text_model.{key}" if inside and not key.startswith("text_projection") else key: tensor.to(dtype)
        for key, tensor in tensors.items()
    }
    report = encoder.load_state_dict(
        {k: v for k, v in named.items() if k in wanted}, strict=False, assign=True
    )
    if report.missing_keys:
        raise LoadCorrupt(
            f"The {part} lacks {len(report.missing_keys)} tensors, such as {report.missing_keys[0]!r}."
        )
    return encoder


def _text_settings(tensors: Mapping[str, torch.Tensor]) -> dict[str, int]:
    try:
        rows, width = tensors["embeddings.token_embedding.weight"].shape
        positions = tensors["embeddings.position_embedding.weight"].shape[0]
        inner = tensors["encoder.layers.0.mlp.fc1.weight"].shape[0]
    except KeyError as error:
        raise LoadCorrupt(f"The text encoder lacks the tensor {error.args[0]!r}.") from None
    if rows != len(vocabulary()[0]):
        raise LoadUnsupported(
            f"The text encoder knows {rows} tokens; CLIP's vocabulary has {len(vocabulary()[0])}.",
            hint="a diffusers folder brings its own tokenizer",
        )
    settings = {
        "vocab_size": rows,
        "hidden_size": width,
        "intermediate_size": inner,
        "max_position_embeddings": positions,
        "num_hidden_layers": 1
        + max(int(n) for key in tensors for n in re.findall(r"^encoder\.layers\.(\d+)\.", key)),
        "num_attention_heads": max(1, width // 64),
    }
    if "text_projection.weight" in tensors:
        settings["projection_dim"] = tensors["text_projection.weight"].shape[0]
    return settings
