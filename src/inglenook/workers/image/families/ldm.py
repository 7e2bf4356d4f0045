# SPDX-License-Identifier: Apache-2.0
"""One `.safetensors` file in the layout of the first latent diffusion models ("LDM keys").

Such a file holds tensors and no configuration. What the tensors' shapes say (widths, depths, where attention
is, how many channels go in) is read from them, so pruned and inpainting models load as they are; the rest
comes from `configs/<family>/`. Exponential averages that some files carry beside the weights (`model_ema.`)
are not read.
"""

import re
from collections.abc import Callable, Collection
from typing import Any, Final

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from inglenook.workers.image.errors import LoadUnsupported
from inglenook.workers.image.families.ldm_scheduler import (
    CONFIGS,
    GUIDANCE,
    UNET,
    prediction_type,
    scheduler_config,
)
from inglenook.workers.image.weights import Checkpoint, fitting, require_whole

VAE: Final = "first_stage_model."

__all__ = ["CONFIGS", "GUIDANCE", "UNET", "VAE", "prediction_type", "scheduler_config"]


def require_parts(file: Checkpoint, family: str, text_prefixes: Collection[str]) -> None:
    """Raises `LoadUnsupported` when the file is of another family or holds only a part of a model."""
    for prefix, what in (
        (UNET, "UNet"),
        (VAE, "VAE"),
        *((prefix, "text encoder") for prefix in text_prefixes),
    ):
        if not file.has(prefix):
            raise LoadUnsupported(
                f"{file.path.name} holds no {what} of the family {family}: no tensor begins with {prefix!r}.",
                hint="a checkpoint with all parts is needed, or a diffusers folder",
            )


def heads_of_64(channels: int) -> int:
    return max(1, channels // 64)


def read_unet(
    file: Checkpoint,
    family: str,
    dtype: torch.dtype,
    *,
    heads: Callable[[int], int],
    pooled_width: int | None = None,
) -> torch.nn.Module:
    """Args:
    heads: how many attention heads a block of so many channels has; shapes do not tell.
    pooled_width: of the text that is added to the time, where there is one.
    """
    settings = _unet_settings(file, heads)
    if pooled_width is not None:
        added = file.shape(f"{UNET}label_emb.0.0.weight")[1]
        settings |= {
            "projection_class_embeddings_input_dim": added,
            "addition_time_embed_dim": (added - pooled_width) // 6,
        }
    elif file.has(f"{UNET}label_emb."):
        raise LoadUnsupported(
            f"The UNet in {file.path.name} takes a further input that the family {family} has not."
        )
    unet = _read(UNet2DConditionModel, file, UNET, family, "unet", dtype, settings)
    if GUIDANCE in file.shapes:
        _add_guidance(unet, file.tensors(GUIDANCE)[GUIDANCE].to(dtype))
    return unet


def read_vae(file: Checkpoint, family: str, dtype: torch.dtype) -> torch.nn.Module:
    levels = _count(file, rf"{re.escape(VAE)}encoder\.down\.(\d+)\.")
    widths = [file.shape(f"{VAE}encoder.down.{level}.block.0.conv2.weight")[0] for level in range(levels)]
    settings = {
        "block_out_channels": widths,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "layers_per_block": _count(file, rf"{re.escape(VAE)}encoder\.down\.0\.block\.(\d+)\."),
        "latent_channels": file.shape(f"{VAE}decoder.conv_in.weight")[1],
    }
    return _read(AutoencoderKL, file, VAE, family, "vae", dtype, settings)


def _add_guidance(unet: Any, weight: torch.Tensor) -> None:
    """Give the UNet the layer that reads the guidance scale; diffusers' conversion leaves it out.

    Args:
        weight: (channels of the first block, width of the embedded scale).
    """
    channels, width = weight.shape
    with fitting("unet"):
        layer = torch.nn.Linear(width, channels, bias=False, device="meta", dtype=weight.dtype)
        layer.load_state_dict({"weight": weight}, assign=True)
        if channels != unet.time_embedding.linear_1.in_features:
            raise ValueError(f"{GUIDANCE} has {channels} rows")
    unet.time_embedding.cond_proj = layer
    unet.register_to_config(time_cond_proj_dim=width)


def _unet_settings(file: Checkpoint, heads: Callable[[int], int]) -> dict[str, Any]:
    """The parts of a UNet's configuration that its shapes tell."""
    levels = _levels(file)
    widths = [file.shape(f"{UNET}input_blocks.{blocks[0]}.0.in_layers.2.weight")[0] for blocks in levels]
    depths = [
        _count(file, rf"{re.escape(UNET)}input_blocks\.{b[0]}\.1\.transformer_blocks\.(\d+)\.")
        for b in levels
    ]
    attending = [f"{UNET}input_blocks.{b[0]}.1." for b, depth in zip(levels, depths, strict=True) if depth]
    if not attending:
        raise LoadUnsupported(f"The UNet in {file.path.name} has no block that reads a text.")
    return {
        "in_channels": file.shape(f"{UNET}input_blocks.0.0.weight")[1],
        "out_channels": file.shape(f"{UNET}out.2.weight")[0],
        "block_out_channels": widths,
        "layers_per_block": len(levels[0]),
        "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths],
        "up_block_types": ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(depths)],
        "transformer_layers_per_block": _with_middle(file, depths),
        "cross_attention_dim": file.shape(f"{attending[0]}transformer_blocks.0.attn2.to_k.weight")[1],
        "attention_head_dim": [heads(width) for width in widths],
        "use_linear_projection": len(file.shape(f"{attending[0]}proj_in.weight")) == 2,
    }


def _with_middle(file: Checkpoint, depths: list[int]) -> list[int]:
    """Layers of attention at each level; diffusers gives the middle block as many as the last level."""
    middle = _count(file, rf"{re.escape(UNET)}middle_block\.1\.transformer_blocks\.(\d+)\.")
    last = depths[-1] or middle
    if middle != last:
        raise LoadUnsupported(
            f"The UNet in {file.path.name} has {middle} layers of attention in the middle, {last} above; "
            "such distilled models load from a diffusers folder only."
        )
    return [max(1, depth) for depth in depths[:-1]] + [max(1, last)]


def _levels(file: Checkpoint) -> list[list[int]]:
    """Numbers of the input blocks that hold residual layers, one list a resolution."""
    levels: list[list[int]] = [[]]
    for block in range(1, _count(file, rf"{re.escape(UNET)}input_blocks\.(\d+)\.")):
        if f"{UNET}input_blocks.{block}.0.op.weight" in file.shapes:
            levels.append([])
        else:
            levels[-1].append(block)
    if not all(levels):
        raise LoadUnsupported(
            f"The UNet in {file.path.name} is not built in resolutions with residual layers."
        )
    return levels


def _count(file: Checkpoint, pattern: str) -> int:
    """One more than the highest number that `pattern` finds at the start of a tensor's name."""
    compiled = re.compile(pattern)
    found = (compiled.match(key) for key in file.shapes)
    return max((int(match.group(1)) + 1 for match in found if match), default=0)


def _read(
    model: Any,
    file: Checkpoint,
    prefix: str,
    family: str,
    part: str,
    dtype: torch.dtype,
    settings: dict[str, Any],
) -> torch.nn.Module:
    with fitting(part):
        module: torch.nn.Module = model.from_single_file(
            file.tensors(prefix),
            config=str(CONFIGS / family),
            subfolder=part,
            local_files_only=True,
            dtype=dtype,
            **settings,
        )
    require_whole(module, part)
    return module
