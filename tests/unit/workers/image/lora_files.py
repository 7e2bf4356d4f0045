# SPDX-License-Identifier: Apache-2.0
"""LoRA files with random weights for the tiny models, in the forms that trainers write."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from inglenook.workers.image.lora.targets import Table, table_of

Tensors = dict[str, torch.Tensor]
RANK = 4
FULL = ("attn1", "attn2", "ff.net", "proj_in", "proj_out")
EVERYTHING = (*FULL, "resnets", "samplers", "conv_in", "conv_out", "time_emb", "add_embedding")
TEXT = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")


def pairs(
    table: Table, wanted: Iterable[str], *, seed: int, strength: float = 0.5, rank: int = RANK
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Down and up, by the path of the module; strong enough that a picture changes."""
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for path, module in table.modules.items():
        if not any(part in path for part in wanted):
            continue
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        out, columns = weight.shape[0], weight.shape[1:]
        down = torch.randn((rank, *columns), generator=generator) / (columns.numel() ** 0.5)
        up = torch.randn((out, rank, *[1] * (len(columns) - 1)), generator=generator) * strength
        made[path] = (down, up)
    return made


def modules_of(family: Any) -> dict[str, torch.nn.Module]:
    """The parts of a loaded family, without any LoRA."""
    family.loras.detach()
    return dict(family._parts.modules)


def kohya(
    family: Any,
    path: Path,
    *,
    seed: int = 1,
    wanted: Iterable[str] = FULL,
    text: bool = True,
    alpha: float | None = 2.0,
    strength: float = 0.5,
) -> Path:
    """As kohya's trainer: SDXL's UNet by its first names, SD1's by those of diffusers."""
    parts = modules_of(family)
    first_names = family.name == "sdxl"
    tensors: Tensors = {}
    unet = table_of(parts["unet"])
    names = _first_names(unet) if first_names else {}
    for module, (down, up) in pairs(unet, wanted, seed=seed, strength=strength).items():
        name = names.get(module, module.replace(".", "_"))
        tensors |= _kohya_module(f"lora_unet_{name}", down, up, alpha)
    for part, prefix in _text_prefixes(parts).items() if text else ():
        table = table_of(parts[part])
        for module, (down, up) in pairs(table, TEXT, seed=seed + 1, strength=0.2).items():
            inner = module.removeprefix("text_model.").replace(".", "_")
            tensors |= _kohya_module(f"{prefix}text_model_{inner}", down, up, alpha)
    return written(tensors, path)


def peft(
    family: Any,
    path: Path,
    *,
    seed: int = 1,
    text: bool = True,
    settings: Mapping[str, Any] | None = None,
    wanted: Iterable[str] = FULL,
) -> Path:
    """As diffusers' own training scripts write it."""
    parts = modules_of(family)
    tensors: Tensors = {}
    chosen = {"unet": wanted, **(dict.fromkeys(_text_prefixes(parts), TEXT) if text else {})}
    for number, (part, modules) in enumerate(chosen.items()):
        strength = 0.5 if part == "unet" else 0.2
        for module, (down, up) in pairs(
            table_of(parts[part]), modules, seed=seed + number, strength=strength
        ).items():
            tensors |= {f"{part}.{module}.lora_A.weight": down, f"{part}.{module}.lora_B.weight": up}
    metadata = None if settings is None else {"format": "pt", "lora_adapter_metadata": json.dumps(settings)}
    return written(tensors, path, metadata)


def written(tensors: Tensors, path: Path, metadata: dict[str, str] | None = None) -> Path:
    save_file({key: tensor.contiguous().clone() for key, tensor in tensors.items()}, path, metadata)
    return path


def _kohya_module(name: str, down: torch.Tensor, up: torch.Tensor, alpha: float | None) -> Tensors:
    tensors = {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
    return tensors if alpha is None else {**tensors, f"{name}.alpha": torch.tensor(alpha)}


def _first_names(table: Table) -> dict[str, str]:
    """Path of a module → its name in the first release of its family."""
    own = {path.replace(".", "_") for path in table.modules}
    return {
        targets[0].path: name
        for name, targets in table.names.items()
        if name not in own and not name.startswith("text_model")
    }


def _text_prefixes(parts: Mapping[str, Any]) -> dict[str, str]:
    texts = [part for part in parts if part.startswith("text_encoder")]
    return (
        {"text_encoder": "lora_te_"}
        if len(texts) == 1
        else {"text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}
    )


def read(path: Path) -> Tensors:
    return load_file(path)
