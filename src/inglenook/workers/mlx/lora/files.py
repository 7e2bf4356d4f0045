# SPDX-License-Identifier: Apache-2.0
"""One LoRA file: compared with the model by names and shapes, and only then read.

Names are those that the image worker knows (`workers/image/lora/names`): kohya's, those of diffusers and
PEFT, and those of the first latent diffusion models.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn

from inglenook.workers.image.errors import DrawInvalid, LoadCorrupt, LoadUnsupported
from inglenook.workers.image.lora.names import NETWORK, looks_like, other_kind, parsed
from inglenook.workers.mlx.convert import ldm_names
from inglenook.workers.mlx.convert.source import Weights
from inglenook.workers.mlx.lora.adapted import Adapter
from inglenook.workers.mlx.networks.unet import UNet2DConditionModel

MAX_TENSORS = 20_000
MAX_RANK = 4096
MAX_HEADER_BYTES = 16 * 2**20
_SHOWN = 3


@dataclass(frozen=True)
class Table:
    """Layers of one part that can be changed.

    Attributes:
        layers: by path. names: what a name (dots as underscores) means.
    """

    layers: Mapping[str, nn.Module]
    names: Mapping[str, str]


@dataclass(frozen=True)
class Lora:
    """Attributes:
    adapters: by part of the model and path of the layer.
    """

    name: str
    adapters: Mapping[tuple[str, str], Adapter]

    @property
    def size_bytes(self) -> int:
        return sum(int(one.down.nbytes + one.up.nbytes) for one in self.adapters.values())


def table_of(part: nn.Module) -> Table:
    layers = {path: layer for path, layer in part.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}
    names = {path.replace(".", "_"): path for path in layers}
    for alias, path in _aliases(part, layers):
        names.setdefault(alias.replace(".", "_"), path)
    return Table(layers, names)


def _aliases(part: nn.Module, layers: Mapping[str, nn.Module]) -> Iterator[tuple[str, str]]:
    for path in layers:
        yield f"text_model.{path}", path
    if not isinstance(part, UNet2DConditionModel):
        return
    plan = part.plan
    for old, new in ldm_names.TOP.items():
        yield old, new
    for old, new in ldm_names.unet_places(plan.layers, plan.down, plan.up).items():
        if ".resnets." in new:
            yield from ((f"{old}.{theirs}", f"{new}.{ours}") for theirs, ours in ldm_names.RESIDUAL.items())
        elif "samplers." in new:
            yield old, new
        else:
            yield from ((old + path[len(new) :], path) for path in layers if path.startswith(f"{new}."))


def read(path: Path, tables: Mapping[str, Table], family: str) -> Lora:
    """Raises `DrawInvalid`: what is wrong with the file, or why it does not fit this model."""
    file = _opened(path)
    kind = other_kind(file.shapes)
    if kind is not None:
        raise _invalid(path, f"holds {kind}, which is not drawn with here",
                       "take a plain LoRA, or merge it into a checkpoint")  # fmt: skip
    found = _roles(file)
    _require_fit(file, found, tables, family)
    alphas = _Alphas(file)
    adapters: dict[tuple[str, str], Adapter] = {}
    for (part, module), roles in found.items():
        table = tables[part]
        target = table.names[module]
        if (part, target) in adapters:
            raise _invalid(path, f"changes the layer {target!r} under two names")
        adapters[part, target] = _adapter(file, roles, table.layers[target], alphas.of(part, module, roles))
    mx.eval([array for one in adapters.values() for array in (one.down, one.up)])
    return Lora(path.name, adapters)


def _invalid(path: Path, what: str, hint: str | None = None) -> DrawInvalid:
    return DrawInvalid(f"The LoRA {path.name} {what}.", hint=hint, field="loras")


def _opened(path: Path) -> Weights:
    try:
        with path.open("rb") as raw:
            head = raw.read(9)
    except OSError as error:
        raise _invalid(path, f"cannot be read: {error.strerror or error}") from error
    if head[8:9] != b"{" or int.from_bytes(head[:8], "little") > MAX_HEADER_BYTES:
        raise _invalid(path, "is no safetensors file of a sane header", "take the .safetensors file")
    try:
        file = Weights(path)
    except (LoadCorrupt, LoadUnsupported) as error:
        raise DrawInvalid(f"The LoRA {path.name}: {error.message}", hint=error.hint, field="loras") from error
    if not 0 < len(file.shapes) <= MAX_TENSORS:
        raise _invalid(path, f"holds {len(file.shapes)} tensors; 1 to {MAX_TENSORS} are read")
    return file


Roles = dict[str, str]
"""`down`, `up`, perhaps `alpha` → the key in the file."""


def _roles(file: Weights) -> dict[tuple[str, str], Roles]:
    found: dict[tuple[str, str], Roles] = {}
    for key in file.shapes:
        name = parsed(key)
        if name is None:
            raise _invalid(file.path, f"has a key of no known form: {key[:120]!r}")
        roles = found.setdefault((name.part, name.module), {})
        if name.role in roles:
            raise _invalid(file.path, f"names one layer twice: {roles[name.role]!r} and {key!r}")
        roles[name.role] = key
    for roles in found.values():
        if "down" not in roles or "up" not in roles:
            have = next(iter(roles.values()))
            raise _invalid(file.path, f"is not whole: {have!r} lacks its other half (down or up)")
    return found


def _require_fit(
    file: Weights, found: Mapping[tuple[str, str], Roles], tables: Mapping[str, Table], family: str
) -> None:
    absent = [roles["down"] for (part, module), roles in found.items() if module not in _names(tables, part)]
    misfits = [] if absent else [
        text
        for (part, module), roles in found.items()
        if (text := _misfit(file, roles, tables[part].layers[tables[part].names[module]]))
    ]  # fmt: skip
    if not absent and not misfits:
        return
    looks = looks_like(file.shapes)
    told = f"; it looks like one for {looks}" if looks not in (None, family) else ""
    reason = (
        f"{len(absent)} of its {len(found)} layers are not in the model, such as {min(absent)[:120]!r}"
        if absent
        else f"{len(misfits)} have other widths, such as {', '.join(sorted(misfits)[:_SHOWN])}"
    )
    raise _invalid(
        file.path,
        f"does not fit this model ({family}){told}: {reason}",
        "choose a LoRA that was trained for the same family",
    )


def _names(tables: Mapping[str, Table], part: str) -> Mapping[str, str]:
    return tables[part].names if part in tables else {}


def _misfit(file: Weights, roles: Roles, layer: nn.Module) -> str | None:
    down, up = file.shape(roles["down"]), file.shape(roles["up"])
    if len(down) not in (2, 4) or len(up) not in (2, 4) or down[0] != up[1] or not 1 <= down[0] <= MAX_RANK:
        return f"{roles['down']!r} {list(down)} with {list(up)}"
    rows, columns = _shape(layer)
    fits = (*down[1:], 1, 1)[:3] == columns and up[0] == rows and all(axis == 1 for axis in up[2:])
    if "alpha" in roles and math.prod(file.shape(roles["alpha"])) != 1:
        return f"an alpha of shape {list(file.shape(roles['alpha']))}"
    return None if fits else f"{roles['down']!r} {list(down)} (the model's has {[down[0], *columns]})"


def _shape(layer: nn.Module) -> tuple[int, tuple[int, int, int]]:
    """Rows, and (columns, height, width)."""
    if isinstance(layer, nn.Conv2d):
        rows, height, width, columns = layer.weight.shape
        return rows, (columns, height, width)
    rows, columns = layer.weight.shape
    return rows, (columns, 1, 1)


def _adapter(file: Weights, roles: Roles, layer: nn.Module, scale: float) -> Adapter:
    down, up = _finite(file, roles["down"]), _finite(file, roles["up"])
    rank = down.shape[0]
    if isinstance(layer, nn.Conv2d):
        _, (columns, height, width) = _shape(layer)
        down = down.reshape(rank, columns, height, width).transpose(0, 2, 3, 1)
    else:
        down = down.reshape(rank, -1)
    up = up.reshape(up.shape[0], rank) * scale
    dtype = layer.weight.dtype
    return Adapter(mx.contiguous(down).astype(dtype), up.astype(dtype))


def _finite(file: Weights, key: str) -> mx.array:
    array = file.read(key).astype(mx.float32)
    if not bool(mx.isfinite(array).all()):
        raise _invalid(
            file.path, f"is damaged: {key!r} holds numbers that are not finite", "fetch the file again"
        )
    return array


class _Alphas:
    """alpha / rank of each layer: from its own tensor, from what PEFT wrote beside the weights, or 1."""

    def __init__(self, file: Weights) -> None:
        self._file = file
        text = file.metadata.get("lora_adapter_metadata")
        try:
            told = {} if text is None else json.loads(text)
        except ValueError as error:
            raise _invalid(file.path, f"has metadata that cannot be read ({error})") from error
        self._told: Mapping[str, Any] = told if isinstance(told, dict) else {}

    def of(self, part: str, module: str, roles: Roles) -> float:
        rank = self._file.shape(roles["down"])[0]
        if "alpha" in roles:
            alpha = float(np.array(self._file.read(roles["alpha"]).astype(mx.float32)).reshape(-1)[0])
            return self._sane(alpha) / rank
        prefix = "unet" if part == NETWORK else part
        patterns = self._told.get(f"{prefix}.alpha_pattern")
        told = self._told.get(f"{prefix}.lora_alpha")
        for pattern, alpha in (patterns if isinstance(patterns, dict) else {}).items():
            flat = str(pattern).strip("^$").replace(".", "_")
            told = alpha if module == flat or module.endswith(f"_{flat}") else told
        if not isinstance(told, int | float) or isinstance(told, bool):
            return 1.0
        rooted = self._told.get(f"{prefix}.use_rslora") is True
        return self._sane(float(told)) / (math.sqrt(rank) if rooted else rank)

    def _sane(self, alpha: float) -> float:
        if not math.isfinite(alpha):
            raise _invalid(self._file.path, f"is damaged: alpha is {alpha}")
        return alpha
