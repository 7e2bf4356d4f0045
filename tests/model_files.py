# SPDX-License-Identifier: Apache-2.0
"""Small model files for tests, written with the real `safetensors` package: the right names, tiny tensors."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

Shapes = Mapping[str, tuple[int, ...]]

UNET_KEY = "attn2.to_k.weight"
SD_UNET: dict[str, tuple[int, ...]] = {
    "conv_in.weight": (32, 4, 3, 3),
    f"down_blocks.0.attentions.0.transformer_blocks.0.{UNET_KEY}": (32, 32),
}
TINY_UNET: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "sample_size": 8,
    "in_channels": 4,
    "block_out_channels": [32, 64],
    "cross_attention_dim": 32,
}
TINY_VAE: dict[str, Any] = {"_class_name": "AutoencoderKL", "block_out_channels": [32, 64]}


def write_tensors(path: Path, shapes: Shapes, dtype: str = "float16") -> Path:
    """A real safetensors file of zeros."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.zeros(shape, dtype) for name, shape in shapes.items()}, path)
    return path


def write_json(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def ldm_shapes(family: str, *, channels: int = 4) -> dict[str, tuple[int, ...]]:
    """A single file's tensors as that family's first release names them; only the telling widths are real."""
    width, encoder = {
        "sd1": (768, "cond_stage_model.transformer.text_model.final_layer_norm.weight"),
        "sd2": (1024, "cond_stage_model.model.transformer.resblocks.0.ln_1.weight"),
        "sdxl": (2048, "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight"),
    }[family]
    return {
        "model.diffusion_model.input_blocks.0.0.weight": (4, channels, 3, 3),
        f"model.diffusion_model.input_blocks.1.1.transformer_blocks.0.{UNET_KEY}": (4, width),
        "first_stage_model.decoder.conv_in.weight": (4, 4, 3, 3),
        "first_stage_model.encoder.conv_in.weight": (4, 3, 3, 3),
        encoder: (4,),
    }


def write_pipeline(
    folder: Path,
    *,
    class_name: str = "StableDiffusionPipeline",
    unet: Mapping[str, Any] = TINY_UNET,
    unet_shapes: Shapes = SD_UNET,
    vae: Mapping[str, Any] = TINY_VAE,
    variant: str = "",
) -> Path:
    """A diffusers folder with everything that a loader looks for; tensors are tiny and zero."""
    index: dict[str, Any] = {
        "_class_name": class_name,
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "safety_checker": [None, None],
    }
    encoders = ["text_encoder"]
    if "XL" in class_name:
        index |= {"text_encoder_2": ["transformers", "CLIPTextModelWithProjection"]}
        index |= {"tokenizer_2": ["transformers", "CLIPTokenizer"]}
        encoders.append("text_encoder_2")
    write_json(folder / "model_index.json", index)
    write_json(folder / "unet" / "config.json", unet)
    write_tensors(folder / "unet" / f"diffusion_pytorch_model{variant}.safetensors", unet_shapes)
    write_json(folder / "vae" / "config.json", vae)
    write_tensors(
        folder / "vae" / f"diffusion_pytorch_model{variant}.safetensors",
        {"decoder.conv_in.weight": (8, 4, 3, 3)},
    )
    for encoder in encoders:
        write_json(folder / encoder / "config.json", {"hidden_size": 32})
        write_tensors(
            folder / encoder / f"model{variant}.safetensors", {"embeddings.token_embedding.weight": (16, 32)}
        )
        write_json(folder / encoder.replace("text_encoder", "tokenizer") / "vocab.json", {})
    write_json(folder / "scheduler" / "scheduler_config.json", {"_class_name": "DDIMScheduler"})
    return folder


def raw_safetensors(header: bytes, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A file with exactly this header; `length` lies about how long it is."""
    return (len(header) if length is None else length).to_bytes(8, "little") + header + data
