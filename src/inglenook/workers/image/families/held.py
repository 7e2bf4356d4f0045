# SPDX-License-Identifier: Apache-2.0
"""One component within a `.safetensors` file, and the empty model that it fills."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import init_empty_weights

from inglenook.workers.image.errors import LoadCorrupt
from inglenook.workers.image.weights import Checkpoint, fitting, in_dtype, require_whole


@dataclass(frozen=True)
class Held:
    """All tensors whose name begins with `prefix`; names are meant without it."""

    file: Checkpoint
    prefix: str

    def has(self, name: str) -> bool:
        return self.prefix + name in self.file.shapes

    def shape(self, name: str) -> tuple[int, ...]:
        """Raises `LoadUnsupported` when there is no such tensor."""
        return self.file.shape(self.prefix + name)

    def count(self, pattern: str) -> int:
        """One more than the highest number that `pattern` finds at the start of a name."""
        return count(pattern, (key.removeprefix(self.prefix) for key in self.names()))

    def names(self) -> list[str]:
        """Whole names, with the prefix."""
        return [key for key in self.file.shapes if key.startswith(self.prefix)]

    def tensors(self, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        found = self.file.tensors(self.prefix)
        return in_dtype({key.removeprefix(self.prefix): tensor for key, tensor in found.items()}, dtype)


def held_in(file: Checkpoint, prefixes: tuple[str, ...], *names: str) -> Held | None:
    """The component at the first prefix under which one of `names` stands."""
    for prefix in prefixes:
        if any(prefix + name in file.shapes for name in names):
            return Held(file, prefix)
    return None


def count(pattern: str, names: Any) -> int:
    """One more than the highest number that `pattern` finds at the start of a name."""
    compiled = re.compile(pattern)
    found = (compiled.match(name) for name in names)
    return max((int(match.group(1)) + 1 for match in found if match), default=0)


def empty(make: Callable[[Any], Any], config: Any, part: str) -> torch.nn.Module:
    """A model of that configuration whose weights have shapes and no storage."""
    with fitting(part), init_empty_weights():
        model: torch.nn.Module = make(config)
    return model


def filled(
    model: torch.nn.Module, tensors: Mapping[str, torch.Tensor], part: str, source: str
) -> torch.nn.Module:
    """The model with these weights. Raises `LoadCorrupt` when one is absent, too many, or of another shape.

    Args:
        source: the file's name, for messages.
    """
    with fitting(f"{part} in {source}"):
        report = model.load_state_dict(tensors, strict=False, assign=True)
    lacks, knows_not = report.missing_keys, report.unexpected_keys
    if lacks or knows_not:
        raise LoadCorrupt(
            f"The {part} in {source} lacks {len(lacks)} tensors ({', '.join(lacks[:1]) or 'none'}) "
            f"and has {len(knows_not)} that do not belong to it ({', '.join(knows_not[:1]) or 'none'})."
        )
    require_whole(model, part)
    return model.eval()
