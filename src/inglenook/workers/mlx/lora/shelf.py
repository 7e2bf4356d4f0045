# SPDX-License-Identifier: Apache-2.0
"""The LoRAs of one loaded model: read once, kept while there is room, attached to the Draw that asks.

`apply` is called at the beginning of every attempt at every Draw, also of those that name none, so what one
had attached never reaches the next.
"""

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlx import nn

from inglenook.base.units import GIB
from inglenook.wire.image import LoraUse
from inglenook.workers.image.errors import DrawInvalid
from inglenook.workers.image.lora.names import NETWORK
from inglenook.workers.mlx.lora.adapted import Adapter, Swaps
from inglenook.workers.mlx.lora.files import Lora, Table, read, table_of

CACHE_BYTES = GIB

Key = tuple[str, int, int]
"""Path, time of the last change in ns, size in bytes."""


class LoraShelf:
    """Args:
    parts: the networks by name.
    family: for the words of a refusal.
    """

    def __init__(self, parts: Mapping[str, nn.Module], family: str) -> None:
        self._parts = {
            NETWORK if name == "unet" else name: part for name, part in parts.items() if name != "vae"
        }
        self._family = family
        self._tables: dict[str, Table] = {}
        self._kept: OrderedDict[Key, Lora] = OrderedDict()
        self._attached: tuple[tuple[Key, float], ...] = ()
        self._swaps = Swaps()

    def apply(self, uses: Sequence[LoraUse]) -> None:
        """Attach these and no others. Raises `DrawInvalid` before anything is attached."""
        wanted = tuple((_key(use), _checked(use)) for use in uses)
        if wanted == self._attached:
            return
        self.detach()
        if not wanted:
            return
        loras = [self._read(key) for key, _ in wanted]
        by_layer: dict[tuple[str, str], list[tuple[Adapter, float]]] = {}
        for lora, (_, weight) in zip(loras, wanted, strict=True):
            for place, adapter in lora.adapters.items():
                if weight != 0:
                    by_layer.setdefault(place, []).append((adapter, weight))
        for (part, path), adapters in by_layer.items():
            self._swaps.put(self._parts[part], path, adapters)
        self._attached = wanted

    def detach(self) -> None:
        """Take all of them off: the model is as it was loaded."""
        self._attached = ()
        self._swaps.undo()

    def _read(self, key: Key) -> Lora:
        if not self._tables:
            self._tables = {part: table_of(network) for part, network in self._parts.items()}
        known = self._kept.pop(key, None)
        self._kept[key] = read(Path(key[0]), self._tables, self._family) if known is None else known
        while len(self._kept) > 1 and sum(lora.size_bytes for lora in self._kept.values()) > CACHE_BYTES:
            self._kept.popitem(last=False)
        return self._kept[key]


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
