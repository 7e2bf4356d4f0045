# SPDX-License-Identifier: Apache-2.0
"""A Stable Diffusion 1 file of full size with random weights: stable-diffusion.cpp reads no smaller one."""

import json
import math
import os
import struct
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from inglenook.workers.image.families.ldm import CONFIGS
from tests.tiny_models import _openai_to_ldm, _unet_to_ldm, _vae_to_ldm

_BLOCK = 1 << 16


def sd1_shapes() -> dict[str, tuple[int, ...]]:
    """Every tensor of a Stable Diffusion 1 file in the LDM layout."""
    told = {
        part: json.loads((CONFIGS / "sd1" / part / "config.json").read_text())
        for part in ("unet", "vae", "text_encoder")
    }
    with torch.device("meta"):
        tensors = {
            **_unet_to_ldm(UNet2DConditionModel.from_config(told["unet"])),
            **_vae_to_ldm(AutoencoderKL.from_config(told["vae"])),
            **_openai_to_ldm(
                CLIPTextModel(CLIPTextConfig(**told["text_encoder"])), "cond_stage_model.transformer."
            ),
        }
    return {key: tuple(tensor.shape) for key, tensor in tensors.items()}


def write_sd1(path: Path, *, seed: int = 0) -> Path:
    """2.1 GB of float16: norms are 1, biases 0, all else random with unit gain; the same block of random
    numbers again and again, for nobody looks at them twice."""
    shapes = sd1_shapes()
    block = np.random.Generator(np.random.PCG64(seed)).standard_normal(_BLOCK, np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(_header(shapes)[0])
        for key, shape in shapes.items():
            file.write(_values(key, shape, block))
    return path


def _values(key: str, shape: tuple[int, ...], block: np.ndarray) -> bytes:
    count = math.prod(shape)
    if len(shape) == 1:
        return np.full(count, 0 if key.endswith("bias") else 1, np.float16).tobytes()
    fan_in = 1 if "embedding" in key else math.prod(shape[1:])
    gain = 0.02 if "embedding" in key else 0.7 / fan_in**0.5
    whole = (block * np.float32(gain)).astype(np.float16).tobytes()
    repeats, rest = divmod(2 * count, len(whole))
    return whole * repeats + whole[:rest]


def write_flux_without_encoders(path: Path) -> Path:
    """A small network in FLUX.1's layout with a VAE, all zeros, and no text encoders: stable-diffusion.cpp
    loads it, and its process dies when it is to draw. A sparse file: it takes no room on the disk."""
    hidden, context = 128, 4096
    linears = {
        "img_in": (hidden, 64),
        "txt_in": (hidden, context),
        "time_in.in_layer": (hidden, 256),
        "time_in.out_layer": (hidden, hidden),
        "vector_in.in_layer": (hidden, 768),
        "vector_in.out_layer": (hidden, hidden),
        "final_layer.linear": (64, hidden),
        "final_layer.adaLN_modulation.1": (2 * hidden, hidden),
        "single_blocks.0.linear1": (7 * hidden, hidden),
        "single_blocks.0.linear2": (hidden, 5 * hidden),
        "single_blocks.0.modulation.lin": (3 * hidden, hidden),
    }
    scales = ["single_blocks.0.norm.query_norm.scale", "single_blocks.0.norm.key_norm.scale"]
    for kind in ("img", "txt"):
        at = f"double_blocks.0.{kind}"
        linears |= {
            f"{at}_mod.lin": (6 * hidden, hidden),
            f"{at}_attn.qkv": (3 * hidden, hidden),
            f"{at}_attn.proj": (hidden, hidden),
            f"{at}_mlp.0": (4 * hidden, hidden),
            f"{at}_mlp.2": (hidden, 4 * hidden),
        }
        scales += [f"{at}_attn.norm.query_norm.scale", f"{at}_attn.norm.key_norm.scale"]
    told = json.loads((CONFIGS / "sd1" / "vae" / "config.json").read_text()) | {"latent_channels": 16}
    with torch.device("meta"):
        vae = _vae_to_ldm(AutoencoderKL.from_config(told))
    shapes: dict[str, tuple[int, ...]] = {f"{name}.weight": shape for name, shape in linears.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in linears.items()} | dict.fromkeys(scales, (128,))
    shapes = {f"model.diffusion_model.{name}": shape for name, shape in shapes.items()}
    shapes |= {name: tuple(tensor.shape) for name, tensor in vae.items() if "quant_conv" not in name}
    text, size = _header(shapes)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    os.truncate(path, len(text) + size)
    return path


def _header(shapes: dict[str, tuple[int, ...]]) -> tuple[bytes, int]:
    """What stands before the numbers of a float16 file, and their bytes."""
    header: dict[str, object] = {}
    at = 0
    for key, shape in shapes.items():
        size = 2 * math.prod(shape)
        header[key] = {"dtype": "F16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, at
