# SPDX-License-Identifier: Apache-2.0
"""FLUX's transformer out of a single file, in the names of Black Forest Labs or of diffusers."""

from collections.abc import Mapping
from typing import Any, Final

import torch
from diffusers import FluxTransformer2DModel

from inglenook.workers.image.errors import LoadUnsupported
from inglenook.workers.image.families.held import Held, count, empty, filled, held_in
from inglenook.workers.image.families.ldm import CONFIGS
from inglenook.workers.image.families.renaming import Layout, Table, renamed, thirds
from inglenook.workers.image.weights import Checkpoint, read_json

_AT: Final = ("model.diffusion_model.", "diffusion_model.", "transformer.", "")
_THEIRS, _OURS = "double_blocks.0.img_mod.lin.weight", "single_transformer_blocks.0.proj_mlp.weight"

_TIME: Final = "time_text_embed."
_TOP: Table = {
    "time_in.in_layer": f"{_TIME}timestep_embedder.linear_1",
    "time_in.out_layer": f"{_TIME}timestep_embedder.linear_2",
    "vector_in.in_layer": f"{_TIME}text_embedder.linear_1",
    "vector_in.out_layer": f"{_TIME}text_embedder.linear_2",
    "guidance_in.in_layer": f"{_TIME}guidance_embedder.linear_1",
    "guidance_in.out_layer": f"{_TIME}guidance_embedder.linear_2",
    "txt_in": "context_embedder",
    "img_in": "x_embedder",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
}
_DOUBLE: Table = {
    "img_mod.lin": "norm1.linear",
    "txt_mod.lin": "norm1_context.linear",
    "img_attn.qkv": thirds("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": thirds("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "img_attn.norm.query_norm": "attn.norm_q",
    "img_attn.norm.key_norm": "attn.norm_k",
    "txt_attn.norm.query_norm": "attn.norm_added_q",
    "txt_attn.norm.key_norm": "attn.norm_added_k",
    "img_attn.proj": "attn.to_out.0",
    "txt_attn.proj": "attn.to_add_out",
    "img_mlp.0": "ff.net.0.proj",
    "img_mlp.2": "ff.net.2",
    "txt_mlp.0": "ff_context.net.0.proj",
    "txt_mlp.2": "ff_context.net.2",
}
_SINGLE: Table = {
    "modulation.lin": "norm.linear",
    "linear1": (("attn.to_q", 1), ("attn.to_k", 1), ("attn.to_v", 1), ("proj_mlp", 4)),
    "linear2": "proj_out",
    "norm.query_norm": "attn.norm_q",
    "norm.key_norm": "attn.norm_k",
}
_LAYOUT: Final = Layout(
    _TOP,
    {
        "double_blocks": ("transformer_blocks", _DOUBLE),
        "single_blocks": ("single_transformer_blocks", _SINGLE),
    },
    frozenset({"final_layer.adaLN_modulation.1"}),
)


def find_transformer(file: Checkpoint) -> Held:
    """Raises `LoadUnsupported` when the file holds none."""
    held = held_in(file, _AT, _THEIRS, _OURS)
    if held is None:
        raise LoadUnsupported(
            f"{file.path.name} holds no transformer of the family flux: neither {_THEIRS!r} nor {_OURS!r} "
            "is there."
        )
    return held


def read_transformer(held: Held, dtype: torch.dtype) -> torch.nn.Module:
    """Raises `LoadCorrupt`, `LoadUnsupported`."""
    tensors = held.tensors(dtype)
    if held.has(_THEIRS):
        tensors = renamed(tensors, _LAYOUT)
    config = {**read_json(CONFIGS / "flux" / "transformer" / "config.json"), **settings(tensors)}
    model = empty(FluxTransformer2DModel.from_config, config, "transformer")
    return filled(model, tensors, "transformer", held.file.path.name)


def settings(tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """What the shapes say of the configuration. Raises `LoadUnsupported` when a tensor is absent."""
    try:
        inner, channels = tensors["x_embedder.weight"].shape
        head = tensors["transformer_blocks.0.attn.norm_q.weight"].shape[0]
        texts = tensors["context_embedder.weight"].shape[1]
        pooled = tensors[f"{_TIME}text_embedder.linear_1.weight"].shape[1]
        out = tensors["proj_out.weight"].shape[0]
    except KeyError as error:
        raise LoadUnsupported(
            f"The transformer has no tensor {error.args[0]!r}, which every FLUX.1 has; it may be a "
            "model that was built from FLUX."
        ) from None
    return {
        "in_channels": channels,
        "out_channels": out,
        "num_layers": count(r"transformer_blocks\.(\d+)\.", tensors),
        "num_single_layers": count(r"single_transformer_blocks\.(\d+)\.", tensors),
        "attention_head_dim": head,
        "num_attention_heads": inner // head,
        "joint_attention_dim": texts,
        "pooled_projection_dim": pooled,
        "guidance_embeds": f"{_TIME}guidance_embedder.linear_1.weight" in tensors,
        "axes_dims_rope": _axes(head),
    }


def _axes(head: int) -> list[int]:
    """An eighth of each head's numbers say which picture, the rest row and column: 16, 56, 56."""
    first = head // 8
    return [first, (head - first) // 2, (head - first) // 2]
