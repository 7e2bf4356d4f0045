# SPDX-License-Identifier: Apache-2.0
"""The network that denoises: Stable Diffusion 1.x, 2.x and XL (Ronneberger et al. 2015; Podell et al.
2023)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx import nn

from inglenook.workers.mlx.networks.attention import Transformer2DModel
from inglenook.workers.mlx.networks.conditions import TextTimeEmbedding, TimestepEmbedding, waves
from inglenook.workers.mlx.networks.layers import Downsample2D, ResnetBlock2D, Upsample2D


@dataclass(frozen=True)
class UNetPlan:
    """What a `config.json` of diffusers says, every list as long as there are resolutions.

    Attributes:
        widths: channels at each resolution.
        down, up: whether it reads the text.
        layers: residual blocks down.
        depths, up_depths: layers of attention.
        heads: of attention.
        reads: width of the text.
        told: width of a guidance scale that is told; None where none is.
        sizes: width of each of the six numbers of SDXL; None where the size is not told.
        pooled: width of SDXL's vector with the sizes.
        text_heads: the text is told as a vector too, pooled by so many heads; None where it is not.
    """

    channels: int
    out: int
    widths: tuple[int, ...]
    down: tuple[bool, ...]
    up: tuple[bool, ...]
    layers: tuple[int, ...]
    depths: tuple[int, ...]
    up_depths: tuple[int, ...]
    heads: tuple[int, ...]
    reads: int
    linear: bool
    groups: int
    eps: float
    temb: int
    told: int | None
    sizes: int | None
    pooled: int | None
    text_heads: int | None
    scale_shift: bool
    cosines_first: bool
    shift: float


def planned(config: Mapping[str, Any]) -> UNetPlan:
    """Raises ValueError, naming the field, for what this network is not."""
    _require_known(config)
    widths = tuple(config["block_out_channels"])
    levels = len(widths)
    heads = config.get("num_attention_heads") or config.get("attention_head_dim") or 8
    depths = _each(config.get("transformer_layers_per_block") or 1, levels, "transformer_layers_per_block")
    extra = config.get("addition_embed_type")
    up_depths = config.get("reverse_transformer_layers_per_block") or depths[::-1]
    return UNetPlan(
        channels=config["in_channels"],
        out=config["out_channels"],
        widths=widths,
        down=_attending(config["down_block_types"], "CrossAttnDownBlock2D", "DownBlock2D"),
        up=_attending(config["up_block_types"], "CrossAttnUpBlock2D", "UpBlock2D"),
        layers=_each(config.get("layers_per_block") or 2, levels, "layers_per_block"),
        depths=depths,
        up_depths=_each(up_depths, levels, "reverse_transformer_layers_per_block"),
        heads=_each(heads, levels, "attention_head_dim"),
        reads=_same(config.get("cross_attention_dim") or 1280),
        linear=bool(config.get("use_linear_projection")),
        groups=config.get("norm_num_groups") or 32,
        eps=config.get("norm_eps") or 1e-5,
        temb=config.get("time_embedding_dim") or 4 * widths[0],
        told=config.get("time_cond_proj_dim"),
        sizes=config.get("addition_time_embed_dim") if extra == "text_time" else None,
        pooled=config.get("projection_class_embeddings_input_dim") if extra == "text_time" else None,
        text_heads=(config.get("addition_embed_type_num_heads") or 64) if extra == "text" else None,
        scale_shift=config.get("resnet_time_scale_shift") == "scale_shift",
        cosines_first=config.get("flip_sin_to_cos", True),
        shift=float(config.get("freq_shift") or 0),
    )


_PLAIN: Mapping[str, tuple[Any, ...]] = {
    "act_fn": (None, "silu", "swish"),
    "addition_embed_type": (None, "text", "text_time"),
    "attention_type": (None, "default"),
    "center_input_sample": (None, False),
    "class_embed_type": (None,),
    "class_embeddings_concat": (None, False),
    "conv_in_kernel": (None, 3),
    "conv_out_kernel": (None, 3),
    "cross_attention_norm": (None,),
    "downsample_padding": (None, 1),
    "dual_cross_attention": (None, False),
    "encoder_hid_dim": (None,),
    "mid_block_only_cross_attention": (None, False),
    "mid_block_scale_factor": (None, 1, 1.0),
    "mid_block_type": (None, "UNetMidBlock2DCrossAttn"),
    "num_class_embeds": (None,),
    "only_cross_attention": (None, False),
    "resnet_out_scale_factor": (None, 1, 1.0),
    "resnet_skip_time_act": (None, False),
    "resnet_time_scale_shift": (None, "default", "scale_shift"),
    "time_embedding_act_fn": (None,),
    "time_embedding_type": (None, "positional"),
    "timestep_post_act": (None,),
}
"""What each of these may be; networks that say something else are built otherwise."""


def _require_known(config: Mapping[str, Any]) -> None:
    for field, known in _PLAIN.items():
        if config.get(field) not in known:
            raise ValueError(f"{field} is {config.get(field)!r}")


def _each(value: Any, levels: int, field: str) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * levels
    if len(value) != levels or not all(isinstance(one, int) for one in value):
        raise ValueError(f"{field} is {value!r}, with {levels} resolutions")
    return tuple(value)


def _same(value: Any) -> int:
    if isinstance(value, int):
        return value
    if len(set(value)) != 1:
        raise ValueError(f"cross_attention_dim is {value!r}")
    return int(value[0])


def _attending(kinds: Sequence[str], attends: str, plain: str) -> tuple[bool, ...]:
    for kind in kinds:
        if kind not in (attends, plain):
            raise ValueError(f"it has a block of type {kind}")
    return tuple(kind == attends for kind in kinds)


class Block(nn.Module):
    """One resolution: residual blocks, attention after each where it reads the text, and a change of size."""

    def __init__(
        self, plan: UNetPlan, channels: Sequence[int], out: int, *, depth: int, heads: int, attends: bool
    ) -> None:
        super().__init__()
        self.resnets = [
            ResnetBlock2D(
                own, out, temb=plan.temb, groups=plan.groups, eps=plan.eps, scale_shift=plan.scale_shift
            )
            for own in channels
        ]
        if attends:
            self.attentions = [
                Transformer2DModel(
                    out, heads=heads, layers=depth, reads=plan.reads, groups=plan.groups, linear=plan.linear
                )
                for _ in channels
            ]

    def layer(self, number: int, x: mx.array, temb: mx.array, text: mx.array) -> mx.array:
        x = self.resnets[number](x, temb)
        return self.attentions[number](x, text) if "attentions" in self else x


class MidBlock(nn.Module):
    def __init__(self, plan: UNetPlan) -> None:
        super().__init__()
        width = plan.widths[-1]
        self.resnets = [
            ResnetBlock2D(
                width, width, temb=plan.temb, groups=plan.groups, eps=plan.eps, scale_shift=plan.scale_shift
            )
            for _ in range(2)
        ]
        self.attentions = [
            Transformer2DModel(
                width, heads=plan.heads[-1], layers=plan.depths[-1], reads=plan.reads, groups=plan.groups,
                linear=plan.linear,
            )
        ]  # fmt: skip

    def __call__(self, x: mx.array, temb: mx.array, text: mx.array) -> mx.array:
        x = self.attentions[0](self.resnets[0](x, temb), text)
        return self.resnets[1](x, temb)


class UNet2DConditionModel(nn.Module):
    """Raises ValueError, naming the field, for a configuration of another network."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.plan = plan = planned(config)
        self.conv_in = nn.Conv2d(plan.channels, plan.widths[0], 3, padding=1)
        self.time_embedding = TimestepEmbedding(plan.widths[0], plan.temb, told=plan.told)
        if plan.pooled is not None:
            self.add_embedding: nn.Module = TimestepEmbedding(plan.pooled, plan.temb)
        elif plan.text_heads is not None:
            self.add_embedding = TextTimeEmbedding(plan.reads, plan.temb, plan.text_heads)
        self.down_blocks = _down(plan)
        self.mid_block = MidBlock(plan)
        self.up_blocks = _up(plan)
        self.conv_norm_out = nn.GroupNorm(plan.groups, plan.widths[0], eps=plan.eps, pytorch_compatible=True)
        self.conv_out = nn.Conv2d(plan.widths[0], plan.out, 3, padding=1)

    def __call__(
        self,
        x: mx.array,
        timestep: mx.array,
        text: mx.array,
        *,
        told: mx.array | None = None,
        pooled: mx.array | None = None,
        sizes: mx.array | None = None,
    ) -> mx.array:
        """One question.

        Args:
            x: (batch, height, width, channels).
            timestep: (batch,).
            text: (batch, tokens, reads).
            told: (1, width) of a model that is told the guidance.
            pooled, sizes: (batch, width) and (batch, 6), of SDXL.

        Returns:
            (batch, height, width, out).
        """
        temb = self._vector(x, timestep, text, told, pooled, sizes)
        x = self.conv_in(x)
        skips = [x]
        for block in self.down_blocks:
            for number in range(len(block.resnets)):
                x = block.layer(number, x, temb, text)
                skips.append(x)
            if "downsamplers" in block:
                x = block.downsamplers[0](x)
                skips.append(x)
        x = self.mid_block(x, temb, text)
        for block in self.up_blocks:
            for number in range(len(block.resnets)):
                x = block.layer(number, mx.concatenate([x, skips.pop()], axis=-1), temb, text)
            if "upsamplers" in block:
                x = block.upsamplers[0](x, (skips[-1].shape[1], skips[-1].shape[2]))
        return self.conv_out(nn.silu(self.conv_norm_out(x)))

    def _vector(
        self,
        x: mx.array,
        timestep: mx.array,
        text: mx.array,
        told: mx.array | None,
        pooled: mx.array | None,
        sizes: mx.array | None,
    ) -> mx.array:
        plan = self.plan
        time = waves(timestep, plan.widths[0], cosines_first=plan.cosines_first, shift=plan.shift).astype(
            x.dtype
        )
        temb = self.time_embedding(time, told)
        if plan.sizes is not None and pooled is not None and sizes is not None:
            each = waves(sizes.reshape(-1), plan.sizes, cosines_first=plan.cosines_first, shift=plan.shift)
            both = mx.concatenate([pooled, each.reshape(len(sizes), -1).astype(pooled.dtype)], axis=-1)
            temb = temb + self.add_embedding(both.astype(x.dtype))
        elif plan.text_heads is not None:
            temb = temb + self.add_embedding(text)
        return temb


def _down(plan: UNetPlan) -> list[Block]:
    blocks, before = [], plan.widths[0]
    for level, width in enumerate(plan.widths):
        channels = [before] + [width] * (plan.layers[level] - 1)
        block = Block(
            plan, channels, width, depth=plan.depths[level], heads=plan.heads[level], attends=plan.down[level]
        )
        if level < len(plan.widths) - 1:
            block.downsamplers = [Downsample2D(width, around=True)]
        blocks.append(block)
        before = width
    return blocks


def _up(plan: UNetPlan) -> list[Block]:
    """From the lowest resolution on: each block gets the skips of the one down, last first."""
    blocks = []
    widths, layers, heads = plan.widths[::-1], plan.layers[::-1], plan.heads[::-1]
    before = widths[0]
    for level, width in enumerate(widths):
        below = widths[min(level + 1, len(widths) - 1)]
        skips = [width] * layers[level] + [below]
        comes = [before] + [width] * layers[level]
        channels = [a + b for a, b in zip(comes, skips, strict=True)]
        block = Block(
            plan, channels, width, depth=plan.up_depths[level], heads=heads[level], attends=plan.up[level]
        )
        if level < len(widths) - 1:
            block.upsamplers = [Upsample2D(width)]
        blocks.append(block)
        before = width
    return blocks
