# SPDX-License-Identifier: Apache-2.0
"""Tiny models with random weights, written to disk in the layouts that real ones have. Offline, in a second.

    write_folder("sd1", tmp_path / "tiny")                  a diffusers folder, about 3 MB
    write_single("sdxl", tmp_path / "tiny.safetensors")     one file with LDM keys, 4 to 12 MB in float16

They draw noise, but they draw: every block is there, prompts and seeds matter, and one latent is 8 x 8 pixels
as in the real ones. A single file holds CLIP's whole vocabulary (that is what it weighs); a folder brings a
tokenizer of single bytes.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

FAMILIES = ("sd1", "sd2", "sdxl")
CLIP_TOKENS = 49408

_BETAS: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "steps_offset": 1,
}


@dataclass
class TinyModel:
    """The parts of one model, before they are written anywhere."""

    family: str
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    scheduler: Any
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    text_encoder_2: CLIPTextModelWithProjection | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def pipeline(self) -> DiffusionPipeline:
        """Diffusers' own pipeline over these parts."""
        if self.text_encoder_2 is None:
            distilled = self.unet.config.time_cond_proj_dim is not None
            return (LatentConsistencyModelPipeline if distilled else StableDiffusionPipeline)(
                vae=self.vae,
                text_encoder=self.text_encoder,
                tokenizer=self.tokenizer,
                unet=self.unet,
                scheduler=self.scheduler,
                safety_checker=None,
                feature_extractor=None,
                requires_safety_checker=False,
            )
        return StableDiffusionXLPipeline(
            vae=self.vae,
            text_encoder=self.text_encoder,
            text_encoder_2=self.text_encoder_2,
            tokenizer=self.tokenizer,
            tokenizer_2=self.more["tokenizer_2"],
            unet=self.unet,
            scheduler=self.scheduler,
            add_watermarker=False,
        )


def build(
    family: str,
    *,
    inpainting: bool = False,
    flow: bool = False,
    few_steps: str = "",
    vocabulary: int | None = None,
    seed: int = 0,
) -> TinyModel:
    """Args:
    family: `sd1`, `sd2` or `sdxl`.
    flow: a model whose scheduler says that it predicts a flow, as the starter model does.
    few_steps: `lcm` for a UNet that is told the guidance, `turbo` for a scheduler of few steps.
    inpainting: a UNet of nine channels, which is shown the mask and the masked picture.
    vocabulary: rows of the token table; None takes as many as the tokenizer of bytes has.
    """
    torch.manual_seed(seed)
    tokenizer = byte_tokenizer()
    rows = len(tokenizer) if vocabulary is None else vocabulary
    model = TinyModel(
        family=family,
        unet=_unet(family, inpainting, told_guidance=few_steps == "lcm"),
        vae=_vae(0.13025 if family == "sdxl" else 0.18215),
        scheduler=_flow_scheduler() if flow else _scheduler(few_steps or family),
        text_encoder=CLIPTextModel(
            _text_config(32, rows, "quick_gelu" if family != "sd2" else "gelu", tokenizer)
        ),
        tokenizer=tokenizer,
    )
    if family == "sdxl":
        model.text_encoder_2 = CLIPTextModelWithProjection(_text_config(40, rows, "gelu", tokenizer))
        model.more["tokenizer_2"] = byte_tokenizer(pad="!")
    return model


def write_folder(
    family: str,
    folder: Path,
    *,
    inpainting: bool = False,
    flow: bool = False,
    few_steps: str = "",
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> Path:
    """Write a diffusers folder and return it."""
    pipeline = build(family, inpainting=inpainting, flow=flow, few_steps=few_steps, seed=seed).pipeline()
    if dtype != torch.float32:
        pipeline.to(dtype=dtype)
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


def write_single(
    family: str,
    path: Path,
    *,
    inpainting: bool = False,
    few_steps: str = "",
    dtype: torch.dtype = torch.float16,
    ema: bool = False,
    metadata: dict[str, str] | None = None,
    seed: int = 0,
) -> Path:
    """Write one `.safetensors` file in the LDM layout and return its path.

    Args:
        ema: add averages of the UNet's weights under `model_ema.`, other than the weights themselves.
    """
    model = build(family, inpainting=inpainting, few_steps=few_steps, vocabulary=CLIP_TOKENS, seed=seed)
    tensors = {key: tensor.to(dtype).contiguous().clone() for key, tensor in ldm_tensors(model).items()}
    if ema:
        unet = {key: tensor for key, tensor in tensors.items() if key.startswith("model.diffusion_model.")}
        tensors |= {
            "model_ema." + key.removeprefix("model.").replace(".", ""): tensor * 0.5
            for key, tensor in unet.items()
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"format": "pt", **(metadata or {})})
    return path


def byte_tokenizer(*, pad: str = "<|endoftext|>") -> CLIPTokenizer:
    """A CLIP tokenizer that knows bytes and no words: 514 tokens."""
    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={word: number for number, word in enumerate(words)},
        merges=[],
        pad_token=pad,
        model_max_length=77,
    )


def ldm_tensors(model: TinyModel) -> dict[str, torch.Tensor]:
    """All weights of a model under the names of the LDM layout."""
    tensors = {**_unet_to_ldm(model.unet), **_vae_to_ldm(model.vae)}
    if model.family == "sd1":
        tensors |= _openai_to_ldm(model.text_encoder, "cond_stage_model.transformer.")
    elif model.family == "sd2":
        tensors |= _openclip_to_ldm(model.text_encoder, "cond_stage_model.model.")
        tensors |= _last_layer_again(tensors, "cond_stage_model.model.")
    else:
        assert model.text_encoder_2 is not None
        tensors |= _openai_to_ldm(model.text_encoder, "conditioner.embedders.0.transformer.")
        tensors |= _openclip_to_ldm(model.text_encoder_2, "conditioner.embedders.1.model.")
    return tensors


def _unet(family: str, inpainting: bool, *, told_guidance: bool = False) -> UNet2DConditionModel:
    config: dict[str, Any] = {
        "time_cond_proj_dim": 16 if told_guidance else None,
        "sample_size": 8,
        "in_channels": 9 if inpainting else 4,
        "out_channels": 4,
        "layers_per_block": 1,
        "block_out_channels": (32, 64),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 32,
        "attention_head_dim": 8,
    }
    if family == "sd2":
        config |= {"attention_head_dim": (1, 1), "use_linear_projection": True}
    if family == "sdxl":
        config |= {
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            "attention_head_dim": (1, 1),
            "use_linear_projection": True,
            "transformer_layers_per_block": (1, 2),
            "cross_attention_dim": 32 + 40,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 40 + 6 * 8,
        }
    return UNet2DConditionModel(**config).eval()


def _vae(scaling_factor: float) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=32,
        scaling_factor=scaling_factor,
        sample_size=64,
    ).eval()


def _scheduler(kind: str) -> Any:
    match kind:
        case "lcm":
            return LCMScheduler(**_BETAS, original_inference_steps=50)
        case "turbo":
            return EulerAncestralDiscreteScheduler(**_BETAS, timestep_spacing="trailing")
        case "sd1":
            return PNDMScheduler(**_BETAS, skip_prk_steps=True, set_alpha_to_one=False)
        case "sd2":
            return DDIMScheduler(
                **_BETAS, clip_sample=False, set_alpha_to_one=False, prediction_type="v_prediction"
            )
        case _:
            return EulerDiscreteScheduler(**_BETAS, timestep_spacing="leading")


def _flow_scheduler() -> Any:
    return DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=1.5
    )


def _text_config(width: int, vocabulary: int, activation: str, tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    last = vocabulary - 1
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=3,
        num_attention_heads=1,
        max_position_embeddings=tokenizer.model_max_length,
        projection_dim=width,
        hidden_act=activation,
        bos_token_id=last - 1,
        eos_token_id=last,
        pad_token_id=last,
    )


# The way back: from the names of diffusers to those of the LDM layout.

_UNET_TOP = {
    "time_embedding.cond_proj": "time_embed.cond_proj",
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_RESIDUAL = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def _unet_to_ldm(unet: UNet2DConditionModel) -> dict[str, torch.Tensor]:
    return {
        f"model.diffusion_model.{_unet_name(key, unet)}": tensor for key, tensor in unet.state_dict().items()
    }


def _unet_name(key: str, unet: UNet2DConditionModel) -> str:
    for ours, theirs in _UNET_TOP.items():
        if key.startswith(f"{ours}."):
            return theirs + key[len(ours) :]
    block, *rest = key.split(".")
    if block == "mid_block":
        kind, number, *inner = rest
        place = f"middle_block.{2 * int(number) + (kind == 'attentions')}"
    else:
        level, kind, number, *inner = rest
        place = _place(block, int(level), kind, int(number), unet)
        inner = inner[1:] if kind == "downsamplers" else inner  # LDM calls it `op`, diffusers `conv`
    if kind == "resnets":
        inner = [_RESIDUAL[inner[0]], *inner[1:]]
    return ".".join([place, *inner])


def _place(block: str, level: int, kind: str, number: int, unet: UNet2DConditionModel) -> str:
    layers = int(unet.config.layers_per_block)
    if block == "down_blocks":
        if kind == "downsamplers":
            return f"input_blocks.{(layers + 1) * (level + 1)}.0.op"
        return f"input_blocks.{(layers + 1) * level + number + 1}.{int(kind == 'attentions')}"
    first = (layers + 1) * level
    if kind == "upsamplers":
        attends = str(unet.config.up_block_types[level]).startswith("CrossAttn")
        return f"output_blocks.{first + layers}.{2 if attends else 1}"
    return f"output_blocks.{first + number}.{int(kind == 'attentions')}"


_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def _vae_to_ldm(vae: AutoencoderKL) -> dict[str, torch.Tensor]:
    levels = len(vae.config.block_out_channels)
    tensors = {}
    for key, tensor in vae.state_dict().items():
        name, given = _vae_name(key, levels), tensor
        if ".attn_1." in name and name.endswith("weight") and tensor.ndim == 2:
            given = tensor[..., None, None]  # there these are convolutions of one pixel
        tensors[f"first_stage_model.{name}"] = given
    return tensors


def _vae_name(key: str, levels: int) -> str:
    name = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    if "mid_block.attentions.0" in name:
        name = name.replace("mid_block.attentions.0", "mid.attn_1")
        for ours, theirs in _VAE_ATTENTION.items():
            name = name.replace(f".{ours}.", f".{theirs}.")
        return name
    name = name.replace("mid_block.resnets.0", "mid.block_1").replace("mid_block.resnets.1", "mid.block_2")
    half, *rest = name.split(".")
    if not rest or rest[0] not in ("down_blocks", "up_blocks"):
        return name
    direction = rest[0].removesuffix("_blocks")
    level = int(rest[1]) if direction == "down" else levels - 1 - int(rest[1])
    inner = ["block", *rest[3:]] if rest[2] == "resnets" else [f"{direction}sample", *rest[4:]]
    return ".".join([half, direction, str(level), *inner])


def _openai_to_ldm(encoder: CLIPTextModel, prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}text_model.{_bare(key)}": tensor for key, tensor in encoder.state_dict().items()}


def _bare(key: str) -> str:
    return key.removeprefix("text_model.")


_OPENCLIP = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def _openclip_to_ldm(encoder: Any, prefix: str) -> dict[str, torch.Tensor]:
    ours = {_bare(key): tensor for key, tensor in encoder.state_dict().items()}
    tensors = {
        "positional_embedding": ours["embeddings.position_embedding.weight"],
        "token_embedding.weight": ours["embeddings.token_embedding.weight"],
        "ln_final.weight": ours["final_layer_norm.weight"],
        "ln_final.bias": ours["final_layer_norm.bias"],
        "logit_scale": torch.tensor(4.6),
    }
    # Stable Diffusion 2 files carry the projection as well, though nothing reads it.
    projection = ours.get("text_projection.weight", torch.eye(encoder.config.hidden_size))
    tensors["text_projection"] = projection.T
    for layer in range(encoder.config.num_hidden_layers):
        old, new = f"encoder.layers.{layer}.", f"transformer.resblocks.{layer}."
        for kind in ("weight", "bias"):
            tensors |= {
                f"{new}{theirs}.{kind}": ours[f"{old}{name}.{kind}"] for name, theirs in _OPENCLIP.items()
            }
            joint = [ours[f"{old}self_attn.{name}_proj.{kind}"] for name in "qkv"]
            tensors[f"{new}attn.in_proj_{kind}"] = torch.cat(joint)
    return {prefix + key: tensor for key, tensor in tensors.items()}


def _last_layer_again(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """One more layer on top, which Stable Diffusion 2 does not read: zeros, so that reading it shows."""
    numbers = {
        int(key.split("resblocks.")[1].split(".")[0]) for key in tensors if f"{prefix}transformer." in key
    }
    last = max(numbers)
    old, new = f"{prefix}transformer.resblocks.{last}.", f"{prefix}transformer.resblocks.{last + 1}."
    return {
        key.replace(old, new): torch.zeros_like(tensor)
        for key, tensor in tensors.items()
        if key.startswith(old)
    }
