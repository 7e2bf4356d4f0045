# SPDX-License-Identifier: Apache-2.0
"""What there is to read: safetensors only, looked at before their numbers are opened."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
from safetensors import SafetensorError, safe_open

from inglenook.workers.image.errors import LoadCorrupt, LoadUnsupported

_FLOATS = {"F16", "BF16", "F32", "F64"}
_WHOLE = {"I64", "I32", "U8", "BOOL"}
"""Types of numbers that are no weights: places of tokens, marks of trainers."""

MAX_CONFIG_BYTES = 64 * 2**20

Make = Callable[[], mx.array]


@dataclass(frozen=True)
class Weight:
    """One tensor to be written.

    Attributes:
        shape: as it will be written. make: reads it, in its final shape.
    """

    shape: tuple[int, ...]
    make: Make


@dataclass(frozen=True)
class Part:
    """One network to be written.

    Attributes:
        name: `unet`, `vae`, `text_encoder`, `text_encoder_2`.
        config: as diffusers or transformers have it.
        weights: by their names in `networks`.
        full: kept in float32 whatever the others are.
    """

    name: str
    config: Mapping[str, Any]
    weights: Mapping[str, Weight]
    full: bool = False


@dataclass(frozen=True)
class Model:
    """Attributes:
    tokenizers: by the name of their file without suffix; see `tokenizer.ClipTokenizer`.
    scheduler: the model's own configuration.
    options: what the index says besides the parts.
    revision: of the repository that it came from, where its files tell.
    """

    parts: tuple[Part, ...]
    tokenizers: Mapping[str, Mapping[str, Any]]
    scheduler: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    revision: str | None = None


class Weights:
    """One or more safetensors files as one; `path` is the first of them.

    Raises `LoadCorrupt` for a file that is cut short or is no safetensors file, `LoadUnsupported` for weights
    that are stored in fewer than 16 bits.
    """

    def __init__(self, *paths: Path) -> None:
        self.path = paths[0]
        self.metadata: dict[str, str] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._files: dict[str, Path] = {}
        self._open: dict[Path, dict[str, mx.array]] = {}
        for path in paths:
            self._look(path)

    def _look(self, path: Path) -> None:
        try:
            with safe_open(path, framework="np") as file:
                self.metadata |= dict(file.metadata() or {})
                for key in file.keys():  # noqa: SIM118 - no mapping
                    told = file.get_slice(key)
                    _require_plain(path, key, told.get_dtype())
                    self.shapes[key] = tuple(told.get_shape())
                    self._files[key] = path
        except SafetensorError as error:
            raise LoadCorrupt(
                f"{path.name} is not a whole safetensors file: {error}.",
                hint="the download was probably interrupted: fetch the file again",
            ) from error
        except OSError as error:
            raise LoadCorrupt(f"{path.name} cannot be read: {error.strerror or error}.") from error

    def has(self, prefix: str) -> bool:
        return any(key.startswith(prefix) for key in self.shapes)

    def shape(self, key: str) -> tuple[int, ...]:
        """Raises `LoadUnsupported` when there is no such tensor."""
        if key not in self.shapes:
            raise LoadUnsupported(
                f"{self.path.name} holds no tensor {key!r}, which every model of this family has."
            )
        return self.shapes[key]

    def read(self, key: str) -> mx.array:
        """The numbers, which are not kept here: a model may be larger than the memory."""
        path = self._files[key]
        if key not in self._open.get(path, ()):
            self._open[path] = _mapped(path)
        return self._open[path].pop(key)

    def weight(self, key: str, *, linear: bool = False) -> Weight:
        """As it is, but for a convolution, whose channels go last.

        Args:
            linear: a convolution of one pixel that is a matrix in our networks.
        """
        shape = self.shapes[key]
        if len(shape) != 4:
            return Weight(shape, lambda: self.read(key))
        if linear:
            return Weight(shape[:2], lambda: self.read(key).reshape(shape[:2]))
        out, channels, height, width = shape
        return Weight((out, height, width, channels), lambda: self.read(key).transpose(0, 2, 3, 1))


def _mapped(path: Path) -> dict[str, mx.array]:
    found = mx.load(str(path), format="safetensors")
    assert isinstance(found, dict)
    return found


def _require_plain(path: Path, key: str, dtype: str) -> None:
    if dtype not in _FLOATS | _WHOLE:
        raise LoadUnsupported(
            f"{path.name} stores {key!r} as {dtype}; only floats of 16 bits and more are converted for MLX.",
            hint="take the file of the same model in float16",
        )


def read_json(path: Path) -> dict[str, Any]:
    """Raises `LoadCorrupt` when the file is missing, too long or holds no JSON object."""
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise LoadCorrupt(f"{path.parent.name}/{path.name} is longer than {MAX_CONFIG_BYTES} bytes.")
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise LoadCorrupt(f"{path.parent.name}/{path.name} cannot be read: {error}.") from error
    if not isinstance(found, dict):
        raise LoadCorrupt(f"{path.parent.name}/{path.name} holds no JSON object.")
    return found


def wanted_of(part: str, names: Mapping[str, Any], weights: Mapping[str, Weight]) -> dict[str, Weight]:
    """Those weights that the network has, each of the shape that it has there.

    Args:
        names: the network's weights by name, of any numbers.

    Raises:
        LoadCorrupt: one is absent or of another shape.
    """
    absent = sorted(names.keys() - weights.keys())
    if absent:
        raise LoadCorrupt(f"The {part} lacks {len(absent)} tensors, the first of them {absent[0]!r}.")
    for name, array in names.items():
        if tuple(array.shape) != weights[name].shape:
            raise LoadCorrupt(
                f"The {part} has {name!r} of shape {list(weights[name].shape)}; its configuration asks for "
                f"{list(array.shape)}."
            )
    return {name: weights[name] for name in names}


def renamed(keys: Iterator[str] | Mapping[str, Any], change: Callable[[str], str | None]) -> dict[str, str]:
    """New name → old name, of those that have a new one."""
    pairs = ((change(key), key) for key in keys)
    return {new: old for new, old in pairs if new is not None}
