# SPDX-License-Identifier: Apache-2.0
"""Tiny FLUX and Stable Diffusion 3 models with random weights, in the layouts that real ones have.

    write_flux("kontext", tmp_path / "tiny")       a diffusers folder, about 2 MB
    write_sd3(tmp_path / "tiny", t5=False)

They draw noise, but they draw: every block is there, prompts, guidance, sizes and reference pictures matter.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxFillPipeline,
    FluxKontextPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from tests.tiny_models import byte_tokenizer
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

FLUX_VARIANTS = ("", "schnell", "fill", "kontext")
CHANNELS = 16
HEAD = 32
"""Numbers a head of attention; the positions of FLUX take 4, 14 and 14 of them."""

T5_WIDTH = 96


def flux_parts(
    variant: str, *, seed: int = 0, clip_rows: int | None = None, t5_rows: int | None = None
) -> Any:
    """The parts of one model by the names that diffusers gives them."""
    torch.manual_seed(seed)
    tokenizer, tokenizer_2 = byte_tokenizer(), t5_tokenizer()
    return {
        "transformer": flux_transformer(variant),
        "vae": vae(),
        "scheduler": FlowMatchEulerDiscreteScheduler(
            shift=1.0 if variant == "schnell" else 3.0, use_dynamic_shifting=variant != "schnell"
        ),
        "text_encoder": CLIPTextModel(clip_config(48, clip_rows or len(tokenizer))).eval(),
        "tokenizer": tokenizer,
        "text_encoder_2": t5(t5_rows or len(tokenizer_2)),
        "tokenizer_2": tokenizer_2,
    }


def flux_transformer(variant: str) -> FluxTransformer2DModel:
    return FluxTransformer2DModel(
        patch_size=1,
        in_channels=4 * CHANNELS * 2 + 4 * 64 if variant == "fill" else 4 * CHANNELS,
        out_channels=4 * CHANNELS,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=HEAD,
        num_attention_heads=2,
        joint_attention_dim=T5_WIDTH,
        pooled_projection_dim=48,
        guidance_embeds=variant != "schnell",
        axes_dims_rope=(4, 14, 14),
    ).eval()


def sd3_parts(
    *,
    t5_too: bool = True,
    dynamic: bool = False,
    medium: bool = False,
    seed: int = 0,
    clip_rows: int | None = None,
    t5_rows: int | None = None,
) -> Any:
    """Args:
    dynamic: a scheduler that shifts by the picture's size.
    medium: as 3.5 medium is: normed queries and keys, and a second attention in the first layer.
    """
    torch.manual_seed(seed)
    tokenizer, tokenizer_3 = byte_tokenizer(), t5_tokenizer()
    rows = clip_rows or len(tokenizer)
    return {
        "transformer": sd3_transformer(medium=medium),
        "vae": vae(),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=dynamic),
        "text_encoder": CLIPTextModelWithProjection(clip_config(32, rows)).eval(),
        "tokenizer": tokenizer,
        "text_encoder_2": CLIPTextModelWithProjection(clip_config(48, rows, "gelu")).eval(),
        "tokenizer_2": byte_tokenizer(pad="!"),
        "text_encoder_3": t5(t5_rows or len(tokenizer_3)) if t5_too else None,
        "tokenizer_3": tokenizer_3 if t5_too else None,
    }


def sd3_transformer(*, medium: bool) -> SD3Transformer2DModel:
    return SD3Transformer2DModel(
        sample_size=32,
        patch_size=2,
        in_channels=CHANNELS,
        num_layers=2,
        attention_head_dim=64,
        num_attention_heads=2,
        joint_attention_dim=T5_WIDTH,
        caption_projection_dim=128,
        pooled_projection_dim=32 + 48,
        out_channels=CHANNELS,
        pos_embed_max_size=24,
        dual_attention_layers=(0,) if medium else (),
        qk_norm="rms_norm" if medium else None,
    ).eval()


def write_flux(variant: str, folder: Path, **parts: Any) -> Path:
    """Write a diffusers folder and return it."""
    pipeline = {"fill": FluxFillPipeline, "kontext": FluxKontextPipeline}.get(variant, FluxPipeline)
    pipeline(**flux_parts(variant, **parts)).save_pretrained(folder, safe_serialization=True)
    return folder


def write_sd3(folder: Path, **parts: Any) -> Path:
    StableDiffusion3Pipeline(**sd3_parts(**parts)).save_pretrained(folder, safe_serialization=True)
    return folder


def vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=CHANNELS,
        norm_num_groups=4,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
        sample_size=64,
    ).eval()


def t5(rows: int) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(
            vocab_size=rows,
            d_model=T5_WIDTH,
            d_kv=64,
            d_ff=64,
            num_layers=2,
            num_heads=2,
            feed_forward_proj="gated-gelu",
            tie_word_embeddings=False,
        )
    ).eval()


def t5_tokenizer() -> T5Tokenizer:
    """A tokenizer of T5 that knows letters and no words."""
    letters = [(letter, -3.0) for letter in sorted(ByteLevel.alphabet())]
    return T5Tokenizer(
        vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *letters],
        extra_ids=0,
        model_max_length=512,
    )


def clip_config(width: int, rows: int, activation: str = "quick_gelu") -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=rows,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=3,
        num_attention_heads=1,
        max_position_embeddings=77,
        projection_dim=width,
        hidden_act=activation,
        bos_token_id=rows - 2,
        eos_token_id=rows - 1,
        pad_token_id=rows - 1,
    )
