# SPDX-License-Identifier: Apache-2.0
"""Tiny models of the family qwen-image with random weights, as folders and as single files."""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLQwenImage,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    QwenImageEditPipeline,
    QwenImageEditPlusPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
)
from safetensors.torch import save_file
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)

PIPELINES: dict[str, Any] = {
    "": QwenImagePipeline,
    "edit": QwenImageEditPipeline,
    "edit-plus": QwenImageEditPlusPipeline,
}
SCHEDULER: dict[str, Any] = {
    "base_image_seq_len": 256,
    "base_shift": 0.5,
    "max_image_seq_len": 8192,
    "max_shift": 0.9,
    "shift": 1.0,
    "shift_terminal": 0.02,
    "use_dynamic_shifting": True,
}
_MARKS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)


def build(variant: str = "", *, zero_for_references: bool = False, **transformer: Any) -> DiffusionPipeline:
    """Diffusers' own pipeline over random weights: 16 channels of latents of 8 pixels, heads as the real.

    Args:
        zero_for_references: as Qwen-Image-Edit of November 2025.
        transformer: further settings of its configuration.
    """
    torch.manual_seed(0)
    tokenizer = byte_tokenizer()
    parts: dict[str, Any] = {
        "scheduler": FlowMatchEulerDiscreteScheduler(**SCHEDULER),
        "vae": _vae(),
        "text_encoder": _encoder(tokenizer),
        "tokenizer": tokenizer,
        "transformer": QwenImageTransformer2DModel(
            **{
                "in_channels": 64,
                "out_channels": 16,
                "num_layers": 2,
                "attention_head_dim": 128,
                "num_attention_heads": 1,
                "joint_attention_dim": 128,
                "zero_cond_t": zero_for_references,
                **transformer,
            }
        ).eval(),
    }
    if variant:
        parts["processor"] = Qwen2VLProcessor(
            image_processor=Qwen2VLImageProcessor(),
            tokenizer=tokenizer,
            video_processor=Qwen2VLVideoProcessor(),
        )
    return PIPELINES[variant](**parts)


def write_folder(variant: str, folder: Path, **kind: Any) -> Path:
    build(variant, **kind).save_pretrained(folder, safe_serialization=True)
    return folder


def transformer_tensors(model: Any, prefix: str = "") -> dict[str, torch.Tensor]:
    return {prefix + key: tensor for key, tensor in model.transformer.state_dict().items()}


def encoder_tensors(model: Any, prefix: str = "") -> dict[str, torch.Tensor]:
    """Under the names that Qwen2.5-VL was published with."""
    return {
        prefix + key.replace("model.language_model.", "model.").replace("model.visual.", "visual."): tensor
        for key, tensor in model.text_encoder.state_dict().items()
    }


def vae_tensors(model: Any, prefix: str = "") -> dict[str, torch.Tensor]:
    """Under the names that Wan gave them."""
    return {prefix + _wan_name(key): tensor for key, tensor in model.vae.state_dict().items()}


_WAN_RESIDUAL = {
    "norm1": "residual.0",
    "conv1": "residual.2",
    "norm2": "residual.3",
    "conv2": "residual.6",
    "conv_shortcut": "shortcut",
}
_WAN_TOP = {
    "quant_conv": "conv1",
    "post_quant_conv": "conv2",
    "conv_in": "conv1",
    "norm_out": "head.0",
    "conv_out": "head.2",
}


def _wan_name(key: str) -> str:
    half, *rest = key.split(".")
    if half in _WAN_TOP:
        return ".".join([_WAN_TOP[half], *rest])
    kind, *inner = rest
    if kind in _WAN_TOP:
        return ".".join([half, _WAN_TOP[kind], *inner])
    if kind == "mid_block":
        number = {"resnets": 2 * int(inner[1]), "attentions": 1}[inner[0]]
        return ".".join([half, "middle", str(number), *_wan_residual(inner[2:])])
    if kind == "down_blocks":
        return ".".join([half, "downsamples", inner[0], *_wan_residual(inner[1:])])
    number = 4 * int(inner[0]) + (int(inner[2]) if inner[1] == "resnets" else 3)
    return ".".join([half, "upsamples", str(number), *_wan_residual(inner[3:])])


def _wan_residual(inner: list[str]) -> list[str]:
    return [_WAN_RESIDUAL.get(inner[0], inner[0]), *inner[1:]]


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], dtype: torch.dtype = torch.float32) -> Path:
    """One file; biases and norms stay in float32, as in files of 8 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = {
        key: tensor.to(dtype if tensor.ndim > 1 else torch.float32).contiguous().clone()
        for key, tensor in tensors.items()
    }
    save_file(stored, path)
    return path


def byte_tokenizer() -> Qwen2Tokenizer:
    """Qwen2's tokenizer, with bytes for its only words."""
    words = [*sorted(ByteLevel.alphabet()), *_MARKS]
    return Qwen2Tokenizer(
        vocab={word: number for number, word in enumerate(words)},
        merges=[],
        additional_special_tokens=list(_MARKS[1:]),
        model_max_length=4096,
    )


def _vae() -> AutoencoderKLQwenImage:
    return AutoencoderKLQwenImage(base_dim=8, z_dim=16, num_res_blocks=2).eval()


def _encoder(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLForConditionalGeneration:
    numbers = tokenizer.get_vocab()
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(numbers),
            "hidden_size": 128,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 1,
            "num_key_value_heads": 1,
            "bos_token_id": numbers["<|endoftext|>"],
            "eos_token_id": numbers["<|im_end|>"],
            "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
        },
        vision_config={
            "depth": 2,
            "hidden_size": 80,
            "intermediate_size": 48,
            "num_heads": 1,
            "out_hidden_size": 128,
            "fullatt_block_indexes": [1],
            "tokens_per_second": 2,
        },
        vision_start_token_id=numbers["<|vision_start|>"],
        vision_end_token_id=numbers["<|vision_end|>"],
        image_token_id=numbers["<|image_pad|>"],
        video_token_id=numbers["<|video_pad|>"],
    )
    return Qwen2_5_VLForConditionalGeneration(config).eval()
