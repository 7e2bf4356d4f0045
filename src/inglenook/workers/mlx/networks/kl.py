# SPDX-License-Identifier: Apache-2.0
"""The VAE: pictures to latents and back (Kingma & Welling 2013; Rombach et al. 2022)."""

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
from mlx import nn

from inglenook.workers.mlx.networks.attention import Attention
from inglenook.workers.mlx.networks.layers import Downsample2D, ResnetBlock2D, Upsample2D

_EPS = 1e-6
_LOG_VARIANCE = (-30.0, 20.0)
_KINDS = frozenset({"DownEncoderBlock2D", "UpDecoderBlock2D"})


class _Block(nn.Module):
    def __init__(self, channels: int, out: int, layers: int, groups: int) -> None:
        super().__init__()
        widths = [channels] + [out] * (layers - 1)
        self.resnets = [ResnetBlock2D(own, out, temb=None, groups=groups, eps=_EPS) for own in widths]

    def __call__(self, x: mx.array) -> mx.array:
        for resnet in self.resnets:
            x = resnet(x)
        for change in (*self.get("downsamplers", ()), *self.get("upsamplers", ())):
            x = change(x)
        return x


class _Middle(nn.Module):
    def __init__(self, width: int, groups: int, *, attends: bool) -> None:
        super().__init__()
        self.resnets = [ResnetBlock2D(width, width, temb=None, groups=groups, eps=_EPS) for _ in range(2)]
        if attends:
            self.attentions = [Attention(width, heads=1, bias=True, groups=groups)]

    def __call__(self, x: mx.array) -> mx.array:
        x = self.resnets[0](x)
        if "attentions" in self:
            x = self.attentions[0].over_picture(x)
        return self.resnets[1](x)


class _Encoder(nn.Module):
    def __init__(self, config: Mapping[str, Any], groups: int, *, attends: bool) -> None:
        super().__init__()
        widths = config["block_out_channels"]
        self.conv_in = nn.Conv2d(config.get("in_channels", 3), widths[0], 3, padding=1)
        self.down_blocks, before = [], widths[0]
        for level, width in enumerate(widths):
            block = _Block(before, width, config["layers_per_block"], groups)
            if level < len(widths) - 1:
                block.downsamplers = [Downsample2D(width, around=False)]
            self.down_blocks.append(block)
            before = width
        self.mid_block = _Middle(widths[-1], groups, attends=attends)
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], eps=_EPS, pytorch_compatible=True)
        self.conv_out = nn.Conv2d(widths[-1], 2 * config["latent_channels"], 3, padding=1)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        return self.conv_out(nn.silu(self.conv_norm_out(self.mid_block(x))))


class _Decoder(nn.Module):
    def __init__(self, config: Mapping[str, Any], groups: int, *, attends: bool) -> None:
        super().__init__()
        widths = config["block_out_channels"][::-1]
        self.conv_in = nn.Conv2d(config["latent_channels"], widths[0], 3, padding=1)
        self.mid_block = _Middle(widths[0], groups, attends=attends)
        self.up_blocks, before = [], widths[0]
        for level, width in enumerate(widths):
            block = _Block(before, width, config["layers_per_block"] + 1, groups)
            if level < len(widths) - 1:
                block.upsamplers = [Upsample2D(width)]
            self.up_blocks.append(block)
            before = width
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], eps=_EPS, pytorch_compatible=True)
        self.conv_out = nn.Conv2d(widths[-1], config.get("out_channels", 3), 3, padding=1)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.mid_block(self.conv_in(x))
        for block in self.up_blocks:
            x = block(x)
        return self.conv_out(nn.silu(self.conv_norm_out(x)))


class AutoencoderKL(nn.Module):
    """Raises ValueError, naming the field, for a configuration of another network."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        kinds = {*config["down_block_types"], *config["up_block_types"]}
        if not kinds <= _KINDS or config.get("act_fn", "silu") not in ("silu", "swish"):
            raise ValueError(f"its blocks are {', '.join(sorted(kinds))} with {config.get('act_fn', 'silu')}")
        groups, latents = config.get("norm_num_groups", 32), config["latent_channels"]
        attends = config.get("mid_block_add_attention", True)
        self.encoder = _Encoder(config, groups, attends=attends)
        self.decoder = _Decoder(config, groups, attends=attends)
        if config.get("use_quant_conv", True):
            self.quant_conv = nn.Conv2d(2 * latents, 2 * latents, 1)
        if config.get("use_post_quant_conv", True):
            self.post_quant_conv = nn.Conv2d(latents, latents, 1)

    def encode(self, pixels: mx.array) -> tuple[mx.array, mx.array | None]:
        """Pixels in [-1, 1], (batch, height, width, 3) → mean and standard deviation of the latents."""
        moments = self.encoder(pixels)
        if "quant_conv" in self:
            moments = self.quant_conv(moments)
        mean, log_variance = mx.split(moments, 2, axis=-1)
        return mean, mx.exp(0.5 * mx.clip(log_variance, *_LOG_VARIANCE))

    def decode(self, latents: mx.array) -> mx.array:
        """(batch, height, width, latent channels) → pixels, roughly in [-1, 1]."""
        return self.decoder(self.post_quant_conv(latents) if "post_quant_conv" in self else latents)
