# SPDX-License-Identifier: Apache-2.0
"""Small model files for tests, written with the real `safetensors` package: the right names, tiny tensors."""

import json
from collections.abc import Collection, Mapping
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


def write_tensors(
    path: Path, shapes: Shapes, dtype: str = "float16", metadata: dict[str, str] | None = None
) -> Path:
    """A real safetensors file of zeros."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.zeros(shape, dtype) for name, shape in shapes.items()}, path, metadata)
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


def flux_shapes(
    prefix: str = "", *, columns: int = 64, guided: bool = True, diffusers: bool = False
) -> dict[str, tuple[int, ...]]:
    """The telling tensors of a FLUX.1 transformer; `columns` go in: 64 plain, 384 fill, 128 control."""
    names: dict[str, tuple[int, ...]]
    if diffusers:
        names = {
            "x_embedder.weight": (3, columns),
            "context_embedder.weight": (3, 4096),
            "time_text_embed.text_embedder.linear_1.weight": (3, 768),
            "transformer_blocks.0.attn.add_q_proj.weight": (3, 3),
            "single_transformer_blocks.0.attn.to_q.weight": (3, 3),
            "proj_out.weight": (64, 3),
        }
        guidance = "time_text_embed.guidance_embedder.linear_1.weight"
    else:
        names = {
            "img_in.weight": (3, columns),
            "txt_in.weight": (3, 4096),
            "vector_in.in_layer.weight": (3, 768),
            "double_blocks.0.img_attn.qkv.weight": (9, 3),
            "single_blocks.0.linear1.weight": (21, 3),
            "final_layer.linear.weight": (64, 3),
        }
        guidance = "guidance_in.in_layer.weight"
    if guided:
        names[guidance] = (3, 256)
    return {prefix + name: shape for name, shape in names.items()}


def sd3_shapes(prefix: str = "", *, width: int = 3, diffusers: bool = False) -> dict[str, tuple[int, ...]]:
    """The telling tensors of a Stable Diffusion 3 transformer."""
    names: dict[str, tuple[int, ...]]
    if diffusers:
        names = {
            "pos_embed.proj.weight": (width, 16, 2, 2),
            "context_embedder.weight": (width, 4096),
            "time_text_embed.text_embedder.linear_1.weight": (width, 2048),
            "transformer_blocks.0.attn.add_q_proj.weight": (width, width),
        }
    else:
        names = {
            "x_embedder.proj.weight": (width, 16, 2, 2),
            "context_embedder.weight": (width, 4096),
            "y_embedder.mlp.0.weight": (width, 2048),
            "joint_blocks.0.x_block.attn.qkv.weight": (3 * width, width),
        }
    return {prefix + name: shape for name, shape in names.items()}


def qwen_shapes(prefix: str = "") -> dict[str, tuple[int, ...]]:
    """The telling tensors of a Qwen-Image transformer."""
    names: dict[str, tuple[int, ...]] = {
        "img_in.weight": (3, 64),
        "txt_in.weight": (3, 3584),
        "proj_out.weight": (64, 3),
        "transformer_blocks.0.img_mod.1.weight": (18, 3),
        "transformer_blocks.0.attn.add_q_proj.weight": (3, 3),
    }
    return {prefix + name: shape for name, shape in names.items()}


def clip_shapes(width: int = 768, prefix: str = "") -> dict[str, tuple[int, ...]]:
    return {f"{prefix}text_model.embeddings.token_embedding.weight": (2, width)}


def t5_shapes(width: int = 4096, prefix: str = "") -> dict[str, tuple[int, ...]]:
    return {
        f"{prefix}shared.weight": (2, width),
        f"{prefix}encoder.block.0.layer.0.SelfAttention.q.weight": (2, width),
        f"{prefix}encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": (2, 2),
    }


def qwen_vl_shapes(width: int = 3584, prefix: str = "") -> dict[str, tuple[int, ...]]:
    return {
        f"{prefix}model.embed_tokens.weight": (2, width),
        f"{prefix}model.layers.0.self_attn.q_proj.weight": (2, width),
        f"{prefix}visual.blocks.0.mlp.gate_proj.weight": (2, 2),
    }


def vae_shapes(channels: int = 16, prefix: str = "") -> dict[str, tuple[int, ...]]:
    return {
        f"{prefix}encoder.conv_in.weight": (2, 3, 3, 3),
        f"{prefix}decoder.conv_in.weight": (2, channels, 3, 3),
    }


def wan_vae_shapes(channels: int = 16, prefix: str = "") -> dict[str, tuple[int, ...]]:
    """Qwen-Image's VAE as Wan's own code names it."""
    return {
        f"{prefix}encoder.conv1.weight": (2, 3, 3, 3, 3),
        f"{prefix}decoder.conv1.weight": (2, channels, 3, 3, 3),
        f"{prefix}decoder.middle.0.residual.0.gamma": (2, 1, 1, 1),
    }


_FOLDERS: Mapping[str, tuple[Shapes, Mapping[str, Shapes]]] = {
    "flux": (
        flux_shapes(diffusers=True),
        {"vae": vae_shapes(), "text_encoder": clip_shapes(), "text_encoder_2": t5_shapes()},
    ),
    "sd3": (
        sd3_shapes(diffusers=True),
        {
            "vae": vae_shapes(),
            "text_encoder": clip_shapes(),
            "text_encoder_2": clip_shapes(1280),
            "text_encoder_3": t5_shapes(),
        },
    ),
    "qwen-image": (
        qwen_shapes(),
        {
            "vae": {"encoder.conv_in.weight": (2, 3, 3, 3, 3), "decoder.conv_in.weight": (2, 16, 3, 3, 3)},
            "text_encoder": qwen_vl_shapes(),
        },
    ),
}


def write_transformer_pipeline(
    folder: Path,
    family: str,
    class_name: str,
    *,
    transformer: Shapes | None = None,
    config: Mapping[str, Any] | None = None,
    without: Collection[str] = (),
) -> Path:
    """A diffusers folder of a family with a transformer.

    Args:
        transformer, config: its tensors and its `config.json`, where they are not the plain ones.
        without: components that the index names as none.
    """
    shapes, others = _FOLDERS[family]
    parts = {"transformer": shapes if transformer is None else transformer, **others}
    index: dict[str, Any] = {"_class_name": class_name, "scheduler": ["diffusers", "Scheduler"]}
    for part, tensors in parts.items():
        index[part] = [None, None] if part in without else ["library", "Class"]
        if part in without:
            continue
        name = "diffusion_pytorch_model" if part in ("transformer", "vae") else "model"
        write_tensors(folder / part / f"{name}.safetensors", tensors)
        write_json(folder / part / "config.json", {"_class_name": "Class", **(config or {})})
        if part.startswith("text_encoder"):
            tokenizer = part.replace("text_encoder", "tokenizer")
            index[tokenizer] = ["transformers", "Tokenizer"]
            write_json(folder / tokenizer / "tokenizer.json", {})
    write_json(folder / "scheduler" / "scheduler_config.json", {"_class_name": "Scheduler"})
    write_json(folder / "model_index.json", index)
    return folder


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
        {"encoder.conv_in.weight": (8, 3, 3, 3), "decoder.conv_in.weight": (8, 4, 3, 3)},
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
