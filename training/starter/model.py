# SPDX-License-Identifier: Apache-2.0
"""The network: stock diffusers and transformers parts only, so that the export is an ordinary pipeline.

- UNet at 32 x 32 in pixel space, four levels of 16, 48, 96, 128 channels: 4.8 million parameters. The top
  level is narrow because it costs most.
- Text reaches it twice: by cross-attention at 8 x 8 and 4 x 4, and pooled, added to the time embedding, which
  shifts and scales every residual block. Without the second way, nouns were learned far more slowly.
- A one-layer CLIP text encoder, trained along; its word table starts from MiniLM (words.py).
- The "VAE" is an identity: three channels are RGB, the fourth is their mean. Four, because stock inpainting
  expects four; no compression, because 32 x 32 needs none.
- Rectified flow: x_u = (1 - u) x + u noise, the network predicts noise - x, u in [0, 1] is passed as 1000 u.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import (
    AutoencoderTiny,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

LATENT_SCALE = 0.1  # AutoencoderTiny's ReLUs and tanh are linear enough only for small numbers


@dataclass(frozen=True)
class ModelConfig:
    """Sizes. The defaults are the shipped model's; tests use smaller ones."""

    channels: tuple[int, ...] = (16, 48, 96, 128)
    attention: tuple[bool, ...] = (False, False, True, False)  # cross-attention at each level, top first
    norm_groups: int = 8
    time_width: int = 256
    text_width: int = 192
    text_heads: int = 4
    tokens: int = 24
    size_px: int = 32

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        plain = asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Self:
        """The inverse of as_dict."""
        known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
        return cls(**known)

    @property
    def shift(self) -> float:
        """By how much noise must grow for larger pictures to hide as much: the ratio of the sides, after
        Esser et al. 2024 (resolution-dependent shifting of timesteps)."""
        return self.size_px / 32


SIZES: dict[str, ModelConfig] = {
    "small": ModelConfig(),
    "wide": ModelConfig(channels=(24, 64, 128, 192)),
    "large": ModelConfig(
        channels=(16, 32, 64, 128, 160), attention=(False, False, False, True, False), size_px=64
    ),
}
"""The networks that were trained, by name: 4.8 million parameters; 10 million; 64 pixels a side."""


class TextToImage(nn.Module):
    """Text encoder and UNet, trained together."""

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        down = tuple("CrossAttnDownBlock2D" if here else "DownBlock2D" for here in config.attention)
        up = tuple("CrossAttnUpBlock2D" if here else "UpBlock2D" for here in reversed(config.attention))
        self.unet = UNet2DConditionModel(
            sample_size=config.size_px,
            in_channels=4,
            out_channels=4,
            down_block_types=down,
            up_block_types=up,
            mid_block_type="UNetMidBlock2DCrossAttn",
            block_out_channels=config.channels,
            layers_per_block=1,
            cross_attention_dim=config.text_width,
            # Trap: diffusers reads attention_head_dim as the NUMBER of heads.
            attention_head_dim=[max(1, width // 32) for width in config.channels],
            norm_num_groups=config.norm_groups,
            addition_embed_type="text",
            addition_embed_type_num_heads=config.text_heads,
            resnet_time_scale_shift="scale_shift",
            time_embedding_dim=config.time_width,
        )
        self.text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=vocabulary_size,
                hidden_size=config.text_width,
                intermediate_size=2 * config.text_width,
                num_hidden_layers=1,
                num_attention_heads=config.text_heads,
                max_position_embeddings=config.tokens,
                projection_dim=config.text_width,
                bos_token_id=0,
                eos_token_id=1,
                pad_token_id=1,
            )
        )

    def forward(self, noisy: torch.Tensor, u: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """noisy (B, 4, H, W), u (B,) in [0, 1], ids (B, T) -> predicted noise - x, (B, 4, H, W)."""
        hidden = self.text(ids).last_hidden_state  # (B, T, text_width)
        prediction: torch.Tensor = self.unet(noisy, 1000 * u, hidden, return_dict=False)[0]
        return prediction

    def set_word_table(self, table: torch.Tensor) -> None:
        """Put a word table, (vocabulary, text_width), in place."""
        with torch.no_grad():
            self.text.get_input_embeddings().weight.copy_(table)


def warm_start(model: TextToImage, pipeline: Path) -> None:
    """Take a trained pipeline's weights, but not its word table: that is for words.py --align.

    Where the position table has grown, the old rows come first and the new ones keep their random start.
    """
    unet = UNet2DConditionModel.from_pretrained(pipeline / "unet").float()
    model.unet.load_state_dict(unet.state_dict())
    theirs = CLIPTextModel.from_pretrained(pipeline / "text_encoder", dtype=torch.float32).state_dict()
    ours = model.text.state_dict()
    for name, value in theirs.items():
        if name.endswith("token_embedding.weight") or name not in ours or value.dtype == torch.long:
            continue
        ours[name][: value.shape[0]] = value
    model.text.load_state_dict(ours)


def to_latents(pictures: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) in [-1, 1] -> (B, 4, H, W): the mean of RGB is the fourth channel."""
    return torch.cat([pictures, pictures.mean(1, keepdim=True)], 1)


def identity_vae() -> AutoencoderTiny:
    """An AutoencoderTiny that only scales: encode gives LATENT_SCALE * to_latents(x), decode undoes it."""
    vae = AutoencoderTiny(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        encoder_block_out_channels=(8,),
        decoder_block_out_channels=(8,),
        num_encoder_blocks=(0,),
        num_decoder_blocks=(0,),
        scaling_factor=1 / LATENT_SCALE,
    )
    k = LATENT_SCALE
    encode_in, encode_out = (layer for layer in vae.encoder.modules() if isinstance(layer, nn.Conv2d))
    decode_in, decode_out = (layer for layer in vae.decoder.modules() if isinstance(layer, nn.Conv2d))
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.zero_()
        # The encoder first maps [-1, 1] to [0, 1], so one copy of each channel survives its ReLU. The
        # decoder's first ReLU would lose the negative half: it gets each channel twice, with both signs.
        encode_out.bias[:] = -k
        for c in range(3):
            encode_in.weight[c, c, 1, 1] = 1
            encode_out.weight[c, c, 1, 1] = 2 * k
            encode_out.weight[3, c, 1, 1] = 2 * k / 3
            decode_in.weight[c, c, 1, 1] = 1
            decode_in.weight[c + 3, c, 1, 1] = -1
            decode_out.weight[c, c, 1, 1] = 0.5 / k
            decode_out.weight[c, c + 3, 1, 1] = -0.5 / k
            decode_out.bias[c] = 0.5
    return vae.eval()


def sampler(shift: float = 1.0) -> DPMSolverMultistepScheduler:
    """The scheduler that is saved with the model; shift as `ModelConfig.shift`."""
    return DPMSolverMultistepScheduler(
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        flow_shift=1.5 * shift,
        algorithm_type="dpmsolver++",
        solver_order=2,
        lower_order_final=True,
        steps_offset=1,
    )


def pipeline(model: TextToImage, tokenizer: CLIPTokenizer, shift: float = 1.0) -> StableDiffusionPipeline:
    """Wrap the parts as an ordinary pipeline."""
    return StableDiffusionPipeline(
        vae=identity_vae(),
        text_encoder=model.text,
        tokenizer=tokenizer,
        unet=model.unet,
        scheduler=sampler(shift),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
