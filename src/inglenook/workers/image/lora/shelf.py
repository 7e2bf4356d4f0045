# SPDX-License-Identifier: Apache-2.0
"""The LoRAs of one loaded model: read once, kept while there is room, attached to the Draw that asks.

`apply` is called at the beginning of every attempt at every Draw, with what that Draw names, also with
nothing: so what one Draw had attached cannot reach the next, however the first one ended.
"""

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from inglenook.base.units import GIB
from inglenook.wire.image import LoraUse
from inglenook.workers.image.errors import DrawInvalid
from inglenook.workers.image.lora.adapted import Swaps, Weighted
from inglenook.workers.image.lora.files import Lora, read
from inglenook.workers.image.lora.names import NETWORK
from inglenook.workers.image.lora.targets import Table, table_of

CACHE_BYTES = GIB
"""Of host memory for LoRAs that were read: four to twenty of the usual sizes."""

Key = tuple[str, int, int]
"""Path, time of the last change in ns, size in bytes."""


class LoraShelf:
    """Args:
    parts: the modules of the model, by name: `unet` or `transformer`, and the text encoders.
    family: its name, for the words of a refusal.
    cache_bytes: how much is kept of what was read, beside what is in use.
    """

    def __init__(
        self, parts: Mapping[str, torch.nn.Module], family: str, *, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self._parts = {_role(name): module for name, module in parts.items() if _role(name)}
        self._family = family
        self._cache_bytes = cache_bytes
        self._kept: OrderedDict[Key, Lora] = OrderedDict()
        self._tables: dict[str, Table] = {}
        self._attached: tuple[tuple[Key, float], ...] = ()
        self._text: tuple[tuple[Key, float], ...] = ()
        self._swaps = Swaps()

    @property
    def text_fingerprint(self) -> tuple[tuple[Key, float], ...]:
        """The attached LoRAs that change how a prompt is read; equal fingerprints read it alike."""
        return self._text

    @property
    def kept_bytes(self) -> int:
        return sum(lora.size_bytes for lora in self._kept.values())

    def apply(self, uses: Sequence[LoraUse]) -> None:
        """Attach these and no others. Nothing is done where they are attached already.

        Raises `DrawInvalid` before anything is attached, or what an allocator raises; then none is attached.
        """
        wanted = tuple((_key(use), _checked(use)) for use in uses)
        if wanted == self._attached:
            return
        self.detach()
        if not wanted:
            return
        loras = self._read_all([key for key, _ in wanted])
        try:
            self._attach([(lora, weight) for lora, (_, weight) in zip(loras, wanted, strict=True)])
        except BaseException:
            self.detach()
            raise
        self._attached = wanted
        self._text = tuple(
            one for lora, one in zip(loras, wanted, strict=True) if lora.touches_text and one[1] != 0
        )

    def detach(self) -> None:
        """Take all of them off: the model is as it was loaded."""
        self._attached = self._text = ()
        self._swaps.undo()

    def _attach(self, loras: Sequence[tuple[Lora, float]]) -> None:
        by_module: dict[tuple[str, str], list[Weighted]] = {}
        for lora, weight in loras:
            for place, adapter in lora.adapters.items():
                if weight != 0:
                    by_module.setdefault(place, []).append((adapter, weight))
        for (part, path), adapters in by_module.items():
            self._swaps.put(self._parts[part], path, adapters)

    def _read_all(self, keys: Sequence[Key]) -> list[Lora]:
        """From memory or from their files; those in use are kept before others."""
        loras = {}
        for key in keys:
            if key not in loras:
                known = self._kept.pop(key, None)
                loras[key] = self._read(Path(key[0])) if known is None else known
        self._kept.update(loras)
        while self._kept and self.kept_bytes > self._cache_bytes:
            self._kept.popitem(last=False)
        return [loras[key] for key in keys]

    def _read(self, path: Path) -> Lora:
        if not self._tables:
            self._tables = {part: table_of(module) for part, module in self._parts.items()}
        with torch.inference_mode(mode=False), torch.no_grad():
            return read(path, self._tables, self._family)


def _role(part: str) -> str:
    """The name of a part as LoRA files have it; empty for parts that no LoRA changes."""
    if part in {"unet", "transformer"}:
        return NETWORK
    return part if part.startswith("text_encoder") else ""


def _key(use: LoraUse) -> Key:
    try:
        found = Path(use.path).stat()
    except OSError as error:
        reason = error.strerror or str(error)
        raise DrawInvalid(
            f"The LoRA {Path(use.path).name} cannot be read: {reason}.", field="loras"
        ) from error
    return use.path, found.st_mtime_ns, found.st_size


def _checked(use: LoraUse) -> float:
    if not math.isfinite(use.weight):
        raise DrawInvalid(
            f"The weight of the LoRA {Path(use.path).name} is {use.weight}; a number is needed.",
            field="loras",
        )
    return use.weight
