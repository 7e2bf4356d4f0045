# SPDX-License-Identifier: Apache-2.0
"""Tiny FLUX and Stable Diffusion 3 models with random weights, in the layouts that real ones have.

    write_flux("kontext", tmp_path / "tiny")       a diffusers folder, about 2 MB
    write_sd3(tmp_path / "tiny", t5_too=False)
    write_single(tmp_path / "m.safetensors", all_in_one("flux", flux_parts("", **WHOLE)))

They draw noise, but they draw: every block is there, prompts, guidance, sizes and reference pictures matter.
"""

from collections.abc import Mapping
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
from safetensors.torch import save_file
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from tests.tiny_models import CLIP_TOKENS, _vae_to_ldm, byte_tokenizer

FLUX_VARIANTS = ("", "schnell", "fill", "kontext")
CHANNELS = 16
HEAD = 32
"""Numbers a head of attention; the positions of FLUX take 4, 14 and 14 of them."""

T5_WIDTH = 96
T5_TOKENS = 32128
WHOLE: dict[str, Any] = {"clip_rows": CLIP_TOKENS, "t5_rows": T5_TOKENS}
"""For models that are written as single files, which are read with the whole vocabularies."""


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
        block_out_channels=(32, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=CHANNELS,
        norm_num_groups=32,
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


# The way back: from the names of diffusers to those of the makers.

_FLUX_TOP = {
    "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
    "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
    "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
    "context_embedder": "txt_in",
    "x_embedder": "img_in",
    "proj_out": "final_layer.linear",
}


def flux_to_bfl(transformer: FluxTransformer2DModel) -> dict[str, torch.Tensor]:
    """FLUX's transformer under the names of Black Forest Labs."""
    ours = transformer.state_dict()
    tensors: dict[str, torch.Tensor] = {}
    for kind in ("weight", "bias"):
        for name, theirs in _FLUX_TOP.items():
            if f"{name}.{kind}" in ours:
                tensors[f"{theirs}.{kind}"] = ours[f"{name}.{kind}"]
        tensors[f"final_layer.adaLN_modulation.1.{kind}"] = halves_swapped(ours[f"norm_out.linear.{kind}"])
        for block in range(transformer.config.num_layers):
            tensors |= _double_block(ours, block, kind)
        for block in range(transformer.config.num_single_layers):
            tensors |= _single_block(ours, block, kind)
    return tensors


def _double_block(ours: Mapping[str, torch.Tensor], block: int, kind: str) -> dict[str, torch.Tensor]:
    old, new = f"transformer_blocks.{block}.", f"double_blocks.{block}."
    tensors = {}
    for stream, ending, joint, out, norm in (
        ("img", "", "to_{}", "to_out.0", "norm_{}"),
        ("txt", "_context", "add_{}_proj", "to_add_out", "norm_added_{}"),
    ):
        first = "1" + ending
        tensors[f"{new}{stream}_mod.lin.{kind}"] = ours[f"{old}norm{first}.linear.{kind}"]
        for layer in ("0.proj", "2"):
            number = layer.split(".", maxsplit=1)[0]
            tensors[f"{new}{stream}_mlp.{number}.{kind}"] = ours[f"{old}ff{ending}.net.{layer}.{kind}"]
        tensors[f"{new}{stream}_attn.proj.{kind}"] = ours[f"{old}attn.{out}.{kind}"]
        parts = [ours[f"{old}attn.{joint.format(name)}.{kind}"] for name in "qkv"]
        tensors[f"{new}{stream}_attn.qkv.{kind}"] = torch.cat(parts)
        if kind == "weight":
            for name, theirs in (("q", "query"), ("k", "key")):
                scale = ours[f"{old}attn.{norm.format(name)}.weight"]
                tensors[f"{new}{stream}_attn.norm.{theirs}_norm.scale"] = scale
    return tensors


def _single_block(ours: Mapping[str, torch.Tensor], block: int, kind: str) -> dict[str, torch.Tensor]:
    old, new = f"single_transformer_blocks.{block}.", f"single_blocks.{block}."
    parts = [ours[f"{old}{name}.{kind}"] for name in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")]
    tensors = {
        f"{new}modulation.lin.{kind}": ours[f"{old}norm.linear.{kind}"],
        f"{new}linear1.{kind}": torch.cat(parts),
        f"{new}linear2.{kind}": ours[f"{old}proj_out.{kind}"],
    }
    if kind == "weight":
        tensors[f"{new}norm.query_norm.scale"] = ours[f"{old}attn.norm_q.weight"]
        tensors[f"{new}norm.key_norm.scale"] = ours[f"{old}attn.norm_k.weight"]
    return tensors


_SD3_TOP = {
    "pos_embed.proj": "x_embedder.proj",
    "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
    "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    "context_embedder": "context_embedder",
    "proj_out": "final_layer.linear",
}
_SD3_BLOCK = {
    "x_block.attn.proj": "attn.to_out.0",
    "x_block.attn.ln_q": "attn.norm_q",
    "x_block.attn.ln_k": "attn.norm_k",
    "x_block.attn2.proj": "attn2.to_out.0",
    "x_block.attn2.ln_q": "attn2.norm_q",
    "x_block.attn2.ln_k": "attn2.norm_k",
    "x_block.adaLN_modulation.1": "norm1.linear",
    "x_block.mlp.fc1": "ff.net.0.proj",
    "x_block.mlp.fc2": "ff.net.2",
    "context_block.attn.proj": "attn.to_add_out",
    "context_block.attn.ln_q": "attn.norm_added_q",
    "context_block.attn.ln_k": "attn.norm_added_k",
    "context_block.adaLN_modulation.1": "norm1_context.linear",
    "context_block.mlp.fc1": "ff_context.net.0.proj",
    "context_block.mlp.fc2": "ff_context.net.2",
}
_SD3_JOINT = {
    "x_block.attn.qkv": "attn.to_{}",
    "x_block.attn2.qkv": "attn2.to_{}",
    "context_block.attn.qkv": "attn.add_{}_proj",
}


def sd3_to_stability(transformer: SD3Transformer2DModel) -> dict[str, torch.Tensor]:
    """Stable Diffusion 3's transformer under the names of Stability."""
    ours = transformer.state_dict()
    layers = transformer.config.num_layers
    tensors = {"pos_embed": ours["pos_embed.pos_embed"]}
    for kind in ("weight", "bias"):
        tensors |= {f"{new}.{kind}": ours[f"{old}.{kind}"] for old, new in _SD3_TOP.items()}
        tensors[f"final_layer.adaLN_modulation.1.{kind}"] = halves_swapped(ours[f"norm_out.linear.{kind}"])
        for layer in range(layers):
            old, new = f"transformer_blocks.{layer}.", f"joint_blocks.{layer}."
            for theirs, name in _SD3_BLOCK.items():
                if f"{old}{name}.{kind}" in ours:
                    tensors[f"{new}{theirs}.{kind}"] = ours[f"{old}{name}.{kind}"]
            for theirs, name in _SD3_JOINT.items():
                if f"{old}{name.format('q')}.{kind}" in ours:
                    parts = [ours[f"{old}{name.format(part)}.{kind}"] for part in "qkv"]
                    tensors[f"{new}{theirs}.{kind}"] = torch.cat(parts)
        last = f"joint_blocks.{layers - 1}.context_block.adaLN_modulation.1.{kind}"
        tensors[last] = halves_swapped(tensors[last])
    return tensors


def halves_swapped(tensor: torch.Tensor) -> torch.Tensor:
    first, second = tensor.chunk(2)
    return torch.cat([second, first])


def clip_tensors(encoder: Any) -> dict[str, torch.Tensor]:
    """CLIP's text encoder in the names that files give it, whatever this version of transformers says."""
    projected = {key: t for key, t in encoder.state_dict().items() if key.startswith("text_projection")}
    return projected | {
        f"text_model.{key.removeprefix('text_model.')}": tensor
        for key, tensor in encoder.state_dict().items()
        if key not in projected
    }


def vae_tensors(one: AutoencoderKL) -> dict[str, torch.Tensor]:
    """The VAE in the names of the first latent diffusion models, without a prefix."""
    return {key.removeprefix("first_stage_model."): tensor for key, tensor in _vae_to_ldm(one).items()}


def network_tensors(family: str, parts: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    return (flux_to_bfl if family == "flux" else sd3_to_stability)(parts["transformer"])


def all_in_one(family: str, parts: Mapping[str, Any], *, vae_at: str = "vae.") -> dict[str, torch.Tensor]:
    """A whole model as ComfyUI keeps it."""
    t5_part = "text_encoder_2" if family == "flux" else "text_encoder_3"
    pieces = {
        "model.diffusion_model.": network_tensors(family, parts),
        vae_at: vae_tensors(parts["vae"]),
        "text_encoders.clip_l.transformer.": clip_tensors(parts["text_encoder"]),
    }
    if parts[t5_part] is not None:
        pieces["text_encoders.t5xxl.transformer."] = parts[t5_part].state_dict()
    if family == "sd3":
        pieces["text_encoders.clip_g.transformer."] = clip_tensors(parts["text_encoder_2"])
    return {prefix + key: tensor for prefix, piece in pieces.items() for key, tensor in piece.items()}


def write_single(
    path: Path, tensors: Mapping[str, torch.Tensor], *, dtype: torch.dtype | None = None
) -> Path:
    """Write one `.safetensors` file; tensors that share memory are written twice."""
    save_file(
        {key: tensor.detach().to(dtype or tensor.dtype).clone() for key, tensor in tensors.items()},
        path,
        metadata={"format": "pt"},
    )
    return path
