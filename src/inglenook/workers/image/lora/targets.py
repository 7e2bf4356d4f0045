# SPDX-License-Identifier: Apache-2.0
"""Which modules of a loaded model a LoRA can change, under every name that trainers have for them.

The names are made from the modules that are there, so a model of any depth, also a pruned one, has its own.
Where the first release of a model had one matrix for what diffusers keeps apart (query, key and value), one
name means several modules, each with its rows of the upper matrix.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

Rows = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Target:
    """Attributes:
    path: of the module, as `named_modules` gives it.
    rows: ranges of the upper matrix that belong to it, in the module's own order; None takes all.
    """

    path: str
    rows: Rows | None = None


@dataclass(frozen=True)
class Table:
    """One part of a model.

    Attributes:
        modules: that can be changed, by path.
        names: what a name (dots as underscores) means.
    """

    modules: Mapping[str, torch.nn.Module]
    names: Mapping[str, tuple[Target, ...]]


def table_of(part: torch.nn.Module) -> Table:
    modules = {
        path: module
        for path, module in part.named_modules()
        if isinstance(module, torch.nn.Linear)
        or (isinstance(module, torch.nn.Conv2d) and module.groups == 1 and module.padding_mode == "zeros")
    }
    names: dict[str, tuple[Target, ...]] = {_flat(path): (Target(path),) for path in modules}
    for alias, targets in _aliases(part, modules):
        names.setdefault(_flat(alias), targets)
    return Table(modules, names)


def _flat(path: str) -> str:
    return path.replace(".", "_")


def _aliases(
    part: torch.nn.Module, modules: Mapping[str, torch.nn.Module]
) -> Iterator[tuple[str, tuple[Target, ...]]]:
    for path in modules:
        for alias in (path.removeprefix("text_model."), f"text_model.{path}"):
            yield alias, (Target(path),)  # with and without what transformers calls CLIP's inner model
    for kind, names in _BY_CLASS.items():
        if type(part).__name__ == kind:
            yield from _known(names(part), modules)


def _known(
    pairs: Iterator[tuple[str, Sequence[str]]], modules: Mapping[str, Any]
) -> Iterator[tuple[str, tuple[Target, ...]]]:
    """Aliases whose modules all exist; several modules share the rows in their order."""
    for alias, paths in pairs:
        if not all(path.removesuffix(_SWAPPED) in modules for path in paths):
            continue
        if len(paths) == 1:
            yield alias, (_single(paths[0], modules),)
            continue
        targets, begin = [], 0
        for path in paths:
            end = begin + int(modules[path].out_features)
            targets.append(Target(path, ((begin, end),)))
            begin = end
        yield alias, tuple(targets)


_SWAPPED = "#swapped"
"""After a path: diffusers has scale before shift where the first release has shift before scale."""


def _single(path: str, modules: Mapping[str, Any]) -> Target:
    if not path.endswith(_SWAPPED):
        return Target(path)
    path = path.removesuffix(_SWAPPED)
    rows = int(modules[path].out_features)
    return Target(path, ((rows // 2, rows), (0, rows // 2)))


# ── the names of the first releases ───────────────────────────────────────────────────────────────────────

_RESNET = {
    "conv1": "in_layers.2",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_UNET_TOP = {
    "input_blocks.0.0": "conv_in",
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "middle_block.1": "mid_block.attentions.0",
    "out.2": "conv_out",
}


def _unet(unet: Any) -> Iterator[tuple[str, Sequence[str]]]:
    places = {**_unet_blocks(unet), **{old: new for old, new in _UNET_TOP.items() if "block.1" in old}}
    for old, new in _UNET_TOP.items():
        yield old, (new,)
    for number, place in enumerate(("middle_block.0", "middle_block.2")):
        yield from ((f"{place}.{theirs}", (f"mid_block.resnets.{number}.{ours}",))
                    for ours, theirs in _RESNET.items())  # fmt: skip
    for old, new in places.items():
        if ".resnets." in new:
            yield from ((f"{old}.{theirs}", (f"{new}.{ours}",)) for ours, theirs in _RESNET.items())
        elif "samplers." in new:
            yield old, (new,)
        else:
            inside = unet.get_submodule(new)
            yield from ((f"{old}.{path}", (f"{new}.{path}",)) for path, _ in inside.named_modules() if path)


def _unet_blocks(unet: Any) -> dict[str, str]:
    """Numbers of the input and output blocks → where diffusers keeps them."""
    places: dict[str, str] = {}
    number = 1
    for level, block in enumerate(unet.down_blocks):
        for layer in range(len(block.resnets)):
            places[f"input_blocks.{number}.0"] = f"down_blocks.{level}.resnets.{layer}"
            if getattr(block, "attentions", None):
                places[f"input_blocks.{number}.1"] = f"down_blocks.{level}.attentions.{layer}"
            number += 1
        if block.downsamplers:
            places[f"input_blocks.{number}.0.op"] = f"down_blocks.{level}.downsamplers.0.conv"
            number += 1
    number = 0
    for level, block in enumerate(unet.up_blocks):
        attending = bool(getattr(block, "attentions", None))
        for layer in range(len(block.resnets)):
            places[f"output_blocks.{number}.0"] = f"up_blocks.{level}.resnets.{layer}"
            if attending:
                places[f"output_blocks.{number}.1"] = f"up_blocks.{level}.attentions.{layer}"
            number += 1
        if block.upsamplers:
            place = f"output_blocks.{number - 1}.{1 + attending}.conv"
            places[place] = f"up_blocks.{level}.upsamplers.0.conv"
    return places


def _attention(name: str) -> tuple[str, ...]:
    return tuple(f"{name}.to_{one}" for one in "qkv")


def _added(name: str) -> tuple[str, ...]:
    return tuple(f"{name}.add_{one}_proj" for one in "qkv")


_FLUX_TOP = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": f"norm_out.linear{_SWAPPED}",
}


def _flux(model: Any) -> Iterator[tuple[str, Sequence[str]]]:
    for old, new in _FLUX_TOP.items():
        yield old, (new,)
    for number in range(len(model.transformer_blocks)):
        old, new = f"double_blocks.{number}", f"transformer_blocks.{number}"
        yield f"{old}.img_attn.qkv", _attention(f"{new}.attn")
        yield f"{old}.txt_attn.qkv", _added(f"{new}.attn")
        yield f"{old}.img_attn.proj", (f"{new}.attn.to_out.0",)
        yield f"{old}.txt_attn.proj", (f"{new}.attn.to_add_out",)
        for theirs, ours in (("img", ""), ("txt", "_context")):
            yield f"{old}.{theirs}_mlp.0", (f"{new}.ff{ours}.net.0.proj",)
            yield f"{old}.{theirs}_mlp.2", (f"{new}.ff{ours}.net.2",)
            yield f"{old}.{theirs}_mod.lin", (f"{new}.norm1{ours}.linear",)
    for number in range(len(model.single_transformer_blocks)):
        old, new = f"single_blocks.{number}", f"single_transformer_blocks.{number}"
        yield f"{old}.linear1", (*_attention(f"{new}.attn"), f"{new}.proj_mlp")
        yield f"{old}.linear2", (f"{new}.proj_out",)
        yield f"{old}.modulation.lin", (f"{new}.norm.linear",)


_SD3_TOP = {
    "x_embedder.proj": "pos_embed.proj",
    "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
    "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
    "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": f"norm_out.linear{_SWAPPED}",
}


def _sd3(model: Any) -> Iterator[tuple[str, Sequence[str]]]:
    for old, new in _SD3_TOP.items():
        yield old, (new,)
    last = len(model.transformer_blocks) - 1
    for number in range(last + 1):
        old, new = f"joint_blocks.{number}", f"transformer_blocks.{number}"
        yield f"{old}.x_block.attn.qkv", _attention(f"{new}.attn")
        yield f"{old}.x_block.attn2.qkv", _attention(f"{new}.attn2")
        yield f"{old}.context_block.attn.qkv", _added(f"{new}.attn")
        yield f"{old}.x_block.attn.proj", (f"{new}.attn.to_out.0",)
        yield f"{old}.x_block.attn2.proj", (f"{new}.attn2.to_out.0",)
        yield f"{old}.context_block.attn.proj", (f"{new}.attn.to_add_out",)
        for theirs, ours in (("x", ""), ("context", "_context")):
            # The last block's context is only normalised, and that by scale and shift.
            swapped = _SWAPPED if number == last and ours else ""
            yield f"{old}.{theirs}_block.mlp.fc1", (f"{new}.ff{ours}.net.0.proj",)
            yield f"{old}.{theirs}_block.mlp.fc2", (f"{new}.ff{ours}.net.2",)
            yield f"{old}.{theirs}_block.adaLN_modulation.1", (f"{new}.norm1{ours}.linear{swapped}",)


_BY_CLASS: Mapping[str, Callable[[Any], Iterator[tuple[str, Sequence[str]]]]] = {
    "UNet2DConditionModel": _unet,
    "FluxTransformer2DModel": _flux,
    "SD3Transformer2DModel": _sd3,
}
