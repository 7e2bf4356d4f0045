# SPDX-License-Identifier: Apache-2.0
"""The VAE's small stand-in, which draws nothing at random (TAESD, Ollin Boer Bohan)."""

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
from mlx import nn

from inglenook.workers.mlx.networks.layers import enlarged

_SQUASH = 3.0
"""The decoder takes no latents beyond this."""


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        conv = [nn.Conv2d(width, width, 3, padding=1) for _ in range(3)]
        self.conv = [conv[0], nn.Identity(), conv[1], nn.Identity(), conv[2]]

    def __call__(self, x: mx.array) -> mx.array:
        hidden = nn.relu(self.conv[2](nn.relu(self.conv[0](x))))
        return nn.relu(self.conv[4](hidden) + x)


class _Relu(nn.Module):
    def __call__(self, x: mx.array) -> mx.array:
        return nn.relu(x)


class _Twice(nn.Module):
    def __call__(self, x: mx.array) -> mx.array:
        return enlarged(x, (2 * x.shape[1], 2 * x.shape[2]))


class _Encoder(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        widths, counts = config["encoder_block_out_channels"], config["num_encoder_blocks"]
        self.layers: list[nn.Module] = []
        for level, (width, count) in enumerate(zip(widths, counts, strict=True)):
            if level == 0:
                self.layers.append(nn.Conv2d(config.get("in_channels", 3), width, 3, padding=1))
            else:
                self.layers.append(nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False))
            self.layers += [_Residual(width) for _ in range(count)]
        self.layers.append(nn.Conv2d(widths[-1], config["latent_channels"], 3, padding=1))

    def __call__(self, x: mx.array) -> mx.array:
        for layer in self.layers:
            x = layer(x)
        return x


class _Decoder(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        widths, counts = config["decoder_block_out_channels"], config["num_decoder_blocks"]
        first = nn.Conv2d(config["latent_channels"], widths[0], 3, padding=1)
        self.layers: list[nn.Module] = [first, _Relu()]
        for level, (width, count) in enumerate(zip(widths, counts, strict=True)):
            last = level == len(counts) - 1
            self.layers += [_Residual(width) for _ in range(count)]
            self.layers += [] if last else [_Twice()]
            out = config.get("out_channels", 3) if last else width
            self.layers.append(nn.Conv2d(width, out, 3, padding=1, bias=last))

    def __call__(self, x: mx.array) -> mx.array:
        x = mx.tanh(x / _SQUASH) * _SQUASH
        for layer in self.layers:
            x = layer(x)
        return x


class AutoencoderTiny(nn.Module):
    """Raises ValueError, naming the field, for a configuration of another network."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        for field, known in (
            ("act_fn", "relu"),
            ("upsample_fn", "nearest"),
            ("upsampling_scaling_factor", 2),
        ):
            if config.get(field, known) != known:
                raise ValueError(f"{field} is {config[field]!r}")
        self.encoder = _Encoder(config)
        self.decoder = _Decoder(config)

    def encode(self, pixels: mx.array) -> tuple[mx.array, mx.array | None]:
        """Pixels in [-1, 1], (batch, height, width, 3) → the latents, of which nothing is uncertain."""
        return self.encoder((pixels + 1) / 2), None

    def decode(self, latents: mx.array) -> mx.array:
        """(batch, height, width, latent channels) → pixels, roughly in [-1, 1]."""
        return self.decoder(latents) * 2 - 1
