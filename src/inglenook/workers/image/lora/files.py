# SPDX-License-Identifier: Apache-2.0
"""One LoRA file: looked at from outside, compared with the model, and only then read.

Everything is checked before a tensor is touched: that it is a whole safetensors file with a header of sane
length, that every key is of a form that is known, that every module is in this model, that ranks and widths
fit. What is read then is at most what the model's own widths allow.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import torch
from safetensors import safe_open

from inglenook.workers.image.errors import DrawInvalid, LoadCorrupt, LoadUnsupported
from inglenook.workers.image.lora.names import NETWORK, Name, looks_like, other_kind, parsed
from inglenook.workers.image.lora.targets import Rows, Table
from inglenook.workers.image.weights import Checkpoint, refuse_pickle

MAX_HEADER_BYTES = 16 * 2**20
"""The largest models' LoRAs have headers below one MiB."""
MAX_TENSORS = 20_000
MAX_RANK = 4096
_SHOWN = 3


@dataclass(frozen=True)
class Adapter:
    """What one LoRA adds to one module: `up @ (down @ x)`, alpha and rank counted into `up`.

    Attributes:
        down: (rank, in), or (rank, in, height, width) for a convolution.
        up: (out, rank).
    """

    down: torch.Tensor
    up: torch.Tensor


@dataclass(frozen=True)
class Lora:
    """One file as this model reads it, in host memory.

    Attributes:
        name: of the file.
        adapters: by part of the model and path of the module.
        size_bytes: of all tensors.
    """

    name: str
    adapters: Mapping[tuple[str, str], Adapter]
    size_bytes: int

    @property
    def touches_text(self) -> bool:
        return any(part != NETWORK for part, _ in self.adapters)


@dataclass(frozen=True, slots=True)
class _Triple:
    """The keys of one module in the file."""

    down: str
    up: str
    alpha: str | None


def read(path: Path, tables: Mapping[str, Table], family: str) -> Lora:
    """Args:
    tables: by part: `NETWORK` and the text encoders.
    family: of the model, for the words of a refusal.

    Raises:
        DrawInvalid: what is wrong with the file, or why it does not fit this model.
    """
    file = _opened(path)
    kind = other_kind(file.shapes)
    if kind is not None:
        raise _invalid(path, f"holds {kind}, which is not drawn with here",
                       "take a plain LoRA, or merge it into a checkpoint")  # fmt: skip
    triples = _triples(file)
    _require_fit(file, triples, tables, family)
    return _taken(file, triples, tables)


def _invalid(path: Path, what: str, hint: str | None = None) -> DrawInvalid:
    return DrawInvalid(f"The LoRA {path.name} {what}.", hint=hint, field="loras")


def _opened(path: Path) -> Checkpoint:
    try:
        refuse_pickle(path)
        with path.open("rb") as raw:
            header = int.from_bytes(raw.read(8), "little")
        if header > MAX_HEADER_BYTES:
            raise _invalid(
                path, f"says that its header has {header} bytes; at most {MAX_HEADER_BYTES} are read"
            )
        file = Checkpoint(path)
    except (LoadCorrupt, LoadUnsupported) as error:
        raise DrawInvalid(f"The LoRA {path.name}: {error.message}", hint=error.hint, field="loras") from error
    if len(file.shapes) > MAX_TENSORS:
        raise _invalid(path, f"holds {len(file.shapes)} tensors; at most {MAX_TENSORS} are read")
    return file


def _triples(file: Checkpoint) -> dict[tuple[str, str], _Triple]:
    """The file's keys by part and module. Raises `DrawInvalid` where one is unknown, twice or alone."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    unknown = []
    for key in file.shapes:
        name = parsed(key)
        if name is None:
            unknown.append(key)
            continue
        roles = found.setdefault((name.part, name.module), {})
        if name.role in roles:
            raise _invalid(file.path, f"names one module twice: {roles[name.role]!r} and {key!r}")
        roles[name.role] = key
    if unknown:
        raise _invalid(
            file.path, f"has {_counted(len(unknown), 'key')} of no known form, such as {_some(unknown)}"
        )
    if not found:
        raise _invalid(file.path, "holds no tensors")
    triples = {}
    for module, roles in found.items():
        if "down" not in roles or "up" not in roles:
            have = next(iter(roles.values()))
            raise _invalid(file.path, f"is not whole: {have!r} lacks its other half (down or up)")
        triples[module] = _Triple(roles["down"], roles["up"], roles.get("alpha"))
    return triples


def _require_fit(
    file: Checkpoint, triples: Mapping[tuple[str, str], _Triple], tables: Mapping[str, Table], family: str
) -> None:
    for triple in triples.values():
        _require_rank(file, triple)
    absent = [triple.down for (part, module), triple in triples.items() if not _named(tables, part, module)]
    misfits = [
        text
        for (part, module), triple in triples.items()
        for text in _misfits(file, triple, part, module, tables)
    ]
    if not absent and not misfits:
        return
    looks = looks_like(file.shapes)
    told = f"; it looks like one for {looks}" if looks not in (None, family) else ""
    reasons = []
    if absent:
        reasons.append(
            f"{len(absent)} of its {len(triples)} modules are not in the model, such as {_some(absent)}"
        )
    if misfits:
        reasons.append(f"{len(misfits)} have other widths, such as " + ", ".join(sorted(misfits)[:_SHOWN]))
    raise _invalid(
        file.path,
        f"does not fit this model ({family}){told}: {'; '.join(reasons)}",
        "choose a LoRA that was trained for the same family",
    )


def _require_rank(file: Checkpoint, triple: _Triple) -> None:
    down, up = file.shape(triple.down), file.shape(triple.up)
    for key, shape in ((triple.down, down), (triple.up, up)):
        if len(shape) not in (2, 4):
            raise _invalid(
                file.path, f"has a tensor {key!r} of shape {list(shape)}; two or four axes are needed"
            )
    if down[0] != up[1]:
        raise _invalid(
            file.path,
            f"has two ranks for one module: {triple.down!r} {list(down)} and {triple.up!r} {list(up)}",
        )
    if not 1 <= down[0] <= MAX_RANK:
        raise _invalid(file.path, f"has the rank {down[0]} at {triple.down!r}; 1 to {MAX_RANK} are read")
    if triple.alpha is not None and math.prod(file.shape(triple.alpha)) != 1:
        found = list(file.shape(triple.alpha))
        raise _invalid(file.path, f"has an alpha of shape {found} at {triple.alpha!r}; one number is needed")


def _named(tables: Mapping[str, Table], part: str, module: str) -> bool:
    return module in _table(tables, part).names


def _table(tables: Mapping[str, Table], part: str) -> Table:
    """A family with two text encoders has as its second what one with three has as its third (T5)."""
    if part == "text_encoder_3" and part not in tables:
        part = "text_encoder_2"
    return tables.get(part, Table({}, {}))


def _part(tables: Mapping[str, Table], part: str) -> str:
    return "text_encoder_2" if part == "text_encoder_3" and part not in tables else part


def _misfits(
    file: Checkpoint, triple: _Triple, part: str, module: str, tables: Mapping[str, Table]
) -> list[str]:
    """How the shapes differ from those of the module; nothing where they do not, or where it is absent."""
    table = _table(tables, part)
    targets = table.names.get(module, ())
    if not targets:
        return []
    down, up = file.shape(triple.down), file.shape(triple.up)
    weight = _weight_shape(table.modules[targets[0].path])
    rows = sum(_row_count(table, target.path, target.rows) for target in targets)
    told = []
    if not _same_columns(down[1:], weight[1:]):
        told.append(f"{triple.down!r} {list(down)} (the model's has {[down[0], *weight[1:]]})")
    if up[0] != rows or any(axis != 1 for axis in up[2:]):
        told.append(f"{triple.up!r} {list(up)} (the model's has {[rows, up[1]]})")
    return told


def _weight_shape(module: Any) -> tuple[int, ...]:
    if isinstance(module, torch.nn.Conv2d):
        return (module.out_channels, module.in_channels, *module.kernel_size)
    return (module.out_features, module.in_features)


def _row_count(table: Table, path: str, rows: Rows | None) -> int:
    if rows is None:
        return _weight_shape(table.modules[path])[0]
    return sum(end - begin for begin, end in rows)


def _same_columns(theirs: tuple[int, ...], ours: tuple[int, ...]) -> bool:
    """A linear layer is also kept as a convolution of one pixel, and the other way round."""
    return theirs[0] == ours[0] and (theirs[1:] or (1, 1)) == (ours[1:] or (1, 1))


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────


def _taken(file: Checkpoint, triples: Mapping[tuple[str, str], _Triple], tables: Mapping[str, Table]) -> Lora:
    adapters: dict[tuple[str, str], Adapter] = {}
    scale_of = _Scales(file)
    with safe_open(file.path, framework="pt") as tensors:
        for (part, module), triple in triples.items():
            table = _table(tables, part)
            down = _finite(file, triple.down, tensors.get_tensor(triple.down))
            up = _finite(file, triple.up, tensors.get_tensor(triple.up)).flatten(1)
            up = up * scale_of(triple, Name(part, module, "alpha"), down.shape[0], tensors)
            for target in table.names[module]:
                owner: Any = table.modules[target.path]
                key = (_part(tables, part), target.path)
                if key in adapters:
                    raise _invalid(file.path, f"changes the module {target.path!r} under two names")
                rows = up if target.rows is None else torch.cat([up[a:b] for a, b in target.rows])
                adapters[key] = Adapter(
                    down.reshape(-1, *_weight_shape(owner)[1:]).to(owner.weight.dtype),
                    rows.to(owner.weight.dtype).contiguous(),
                )
    return Lora(file.path.name, adapters, _bytes(adapters))


def _finite(file: Checkpoint, key: str, tensor: torch.Tensor) -> torch.Tensor:
    if not tensor.dtype.is_floating_point:
        raise _invalid(
            file.path,
            f"holds {key!r} as {str(tensor.dtype).removeprefix('torch.')}, not as numbers with a point",
        )
    tensor = tensor.float()
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        raise _invalid(
            file.path,
            f"is damaged: {_counted(bad, 'number')} of {tensor.numel()} in {key!r} are not finite",
            "fetch the file again, or train it again",
        )
    return tensor


class _Scales:
    """alpha / rank of each module: from its own tensor, from what PEFT wrote beside the weights, or 1."""

    def __init__(self, file: Checkpoint) -> None:
        self._file = file
        self._peft = _peft_settings(file)

    def __call__(self, triple: _Triple, name: Name, rank: int, tensors: Any) -> float:
        if triple.alpha is not None:
            alpha = float(tensors.get_tensor(triple.alpha).flatten()[0])
        else:
            alpha = self._told(name, rank)
        if not math.isfinite(alpha):
            where = triple.alpha if triple.alpha is not None else "the metadata"
            raise _invalid(self._file.path, f"is damaged: alpha is {alpha} in {where!r}")
        rooted = triple.alpha is None and self._peft.get(name.part, {}).get("use_rslora") is True
        return alpha / (math.sqrt(rank) if rooted else rank)

    def _told(self, name: Name, rank: int) -> float:
        settings = self._peft.get(name.part, {})
        patterns = settings.get("alpha_pattern")
        if isinstance(patterns, dict):
            for pattern, alpha in patterns.items():
                flat = str(pattern).strip("^$").replace(".", "_")
                if (name.module == flat or name.module.endswith(f"_{flat}")) and _number(alpha):
                    return float(alpha)
        alpha = settings.get("lora_alpha")
        return float(alpha) if _number(alpha) else float(rank)


def _number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


_PEFT_PARTS = {"unet": NETWORK, "transformer": NETWORK, "text_encoder": "text_encoder",
               "text_encoder_2": "text_encoder_2", "text_encoder_3": "text_encoder_3"}  # fmt: skip


def _peft_settings(file: Checkpoint) -> dict[str, dict[str, Any]]:
    """PEFT's configuration of each part, where diffusers wrote it into the metadata."""
    text = file.metadata.get("lora_adapter_metadata")
    if text is None:
        return {}
    try:
        told = json.loads(text)
    except ValueError as error:
        raise _invalid(file.path, f"has metadata that cannot be read ({error})") from error
    settings: dict[str, dict[str, Any]] = {}
    for key, value in told.items() if isinstance(told, dict) else ():
        part, _, field = str(key).partition(".")
        if part in _PEFT_PARTS:
            settings.setdefault(_PEFT_PARTS[part], {})[field] = value
    return settings


def _bytes(adapters: Mapping[tuple[str, str], Adapter]) -> int:
    tensors = [tensor for one in adapters.values() for tensor in (one.down, one.up)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _some(keys: list[str]) -> str:
    """The first few, each short enough to be read."""
    return ", ".join(repr(key if len(key) <= 120 else f"{key[:117]}…") for key in sorted(keys)[:_SHOWN])
