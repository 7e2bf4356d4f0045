# SPDX-License-Identifier: Apache-2.0
"""Stable Diffusion 3's transformer out of a single file, in the names of Stability or of diffusers."""

import math
import re
from collections.abc import Mapping
from typing import Any, Final

import torch
from diffusers import SD3Transformer2DModel

from inglenook.workers.image.errors import LoadUnsupported
from inglenook.workers.image.families.held import Held, count, empty, filled, held_in
from inglenook.workers.image.families.ldm import CONFIGS
from inglenook.workers.image.families.renaming import Layout, Table, renamed, thirds
from inglenook.workers.image.weights import Checkpoint, read_json

_AT: Final = ("model.diffusion_model.", "diffusion_model.", "transformer.", "")
_THEIRS, _OURS = "joint_blocks.0.x_block.attn.qkv.weight", "transformer_blocks.0.norm1_context.linear.weight"
_HEAD: Final = 64
"""Numbers a head of attention, where no norm of queries tells."""

_TIME: Final = "time_text_embed."
_TOP: Table = {
    "pos_embed": "pos_embed.pos_embed",
    "x_embedder.proj": "pos_embed.proj",
    "t_embedder.mlp.0": f"{_TIME}timestep_embedder.linear_1",
    "t_embedder.mlp.2": f"{_TIME}timestep_embedder.linear_2",
    "y_embedder.mlp.0": f"{_TIME}text_embedder.linear_1",
    "y_embedder.mlp.2": f"{_TIME}text_embedder.linear_2",
    "context_embedder": "context_embedder",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
}
_JOINT: Table = {
    "x_block.attn.qkv": thirds("attn.to_q", "attn.to_k", "attn.to_v"),
    "x_block.attn.ln_q": "attn.norm_q",
    "x_block.attn.ln_k": "attn.norm_k",
    "x_block.attn.proj": "attn.to_out.0",
    "x_block.attn2.qkv": thirds("attn2.to_q", "attn2.to_k", "attn2.to_v"),
    "x_block.attn2.ln_q": "attn2.norm_q",
    "x_block.attn2.ln_k": "attn2.norm_k",
    "x_block.attn2.proj": "attn2.to_out.0",
    "x_block.adaLN_modulation.1": "norm1.linear",
    "x_block.mlp.fc1": "ff.net.0.proj",
    "x_block.mlp.fc2": "ff.net.2",
    "context_block.attn.qkv": thirds("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "context_block.attn.ln_q": "attn.norm_added_q",
    "context_block.attn.ln_k": "attn.norm_added_k",
    "context_block.attn.proj": "attn.to_add_out",
    "context_block.adaLN_modulation.1": "norm1_context.linear",
    "context_block.mlp.fc1": "ff_context.net.0.proj",
    "context_block.mlp.fc2": "ff_context.net.2",
}


def find_transformer(file: Checkpoint) -> Held:
    """Raises `LoadUnsupported` when the file holds none."""
    held = held_in(file, _AT, _THEIRS, _OURS)
    if held is None:
        raise LoadUnsupported(
            f"{file.path.name} holds no transformer of the family sd3: neither {_THEIRS!r} nor {_OURS!r} "
            "is there."
        )
    return held


def read_transformer(held: Held, dtype: torch.dtype) -> torch.nn.Module:
    """Raises `LoadCorrupt`, `LoadUnsupported`."""
    tensors = held.tensors(dtype)
    if held.has(_THEIRS):
        tensors = renamed(tensors, _layout(held.count(r"joint_blocks\.(\d+)\.")))
    config = {**read_json(CONFIGS / "sd3" / "transformer" / "config.json"), **settings(tensors)}
    model = empty(SD3Transformer2DModel.from_config, config, "transformer")
    return filled(model, tensors, "transformer", held.file.path.name)


def settings(tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """What the shapes say of the configuration. Raises `LoadUnsupported` when a tensor is absent."""
    try:
        inner, channels, patch, _ = tensors["pos_embed.proj.weight"].shape
        caption, texts = tensors["context_embedder.weight"].shape
        pooled = tensors[f"{_TIME}text_embedder.linear_1.weight"].shape[1]
        places = tensors["pos_embed.pos_embed"].shape[1]
        out = tensors["proj_out.weight"].shape[0]
    except KeyError as error:
        raise LoadUnsupported(
            f"The transformer has no tensor {error.args[0]!r}, which every Stable Diffusion 3 has."
        ) from None
    norm = tensors.get("transformer_blocks.0.attn.norm_q.weight")
    head = _HEAD if norm is None else norm.shape[0]
    twice = (re.match(r"transformer_blocks\.(\d+)\.attn2\.", key) for key in tensors)
    return {
        "patch_size": patch,
        "in_channels": channels,
        "out_channels": out // patch**2,
        "num_layers": count(r"transformer_blocks\.(\d+)\.", tensors),
        "attention_head_dim": head,
        "num_attention_heads": inner // head,
        "joint_attention_dim": texts,
        "caption_projection_dim": caption,
        "pooled_projection_dim": pooled,
        "pos_embed_max_size": math.isqrt(places),
        "dual_attention_layers": sorted({int(match.group(1)) for match in twice if match}),
        "qk_norm": None if norm is None else "rms_norm",
    }


def _layout(layers: int) -> Layout:
    """The last layer's text is not used again, so its modulation is built as the final one."""
    last = f"joint_blocks.{layers - 1}.context_block.adaLN_modulation.1"
    return Layout(
        _TOP,
        {"joint_blocks": ("transformer_blocks", _JOINT)},
        frozenset({"final_layer.adaLN_modulation.1", last}),
    )
