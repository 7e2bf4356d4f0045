# SPDX-License-Identifier: Apache-2.0
"""Prompts that were read before, so that the same words with another seed need no text encoder.

Entries lie in host memory: they are at most a few MiB and are moved to the device in well under a
millisecond, while on the device they would take room that the server's ledger does not know of. That spares
most where text encoders are large or have to be brought to the device first.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from inglenook.wire.image import Draw

LIMIT_BYTES = 64 * 2**20

T = TypeVar("T")


class TextCache:
    """The least recently used entries go first.

    Args:
        device: where texts are needed.
        limit_bytes: of all tensors that are kept.
    """

    def __init__(self, device: torch.device, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self._device = device
        self._limit_bytes = limit_bytes
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self.kept_bytes = 0

    def recall(self, key: Hashable, make: Callable[[], T]) -> T:
        """What was made for this key, or what `make` gives, which is then kept.

        Args:
            key: everything that `make` depends on.
        """
        if key in self._entries:
            self._entries.move_to_end(key)
            return moved(self._entries[key][0], self._device)
        made = make()
        size = sum(tensor.numel() * tensor.element_size() for tensor in _tensors(made))
        if size <= self._limit_bytes:
            self._entries[key] = (moved(made, torch.device("cpu")), size)
            self.kept_bytes += size
            while self.kept_bytes > self._limit_bytes:
                self.kept_bytes -= self._entries.popitem(last=False)[1][1]
        return made


def text_key(
    draw: Draw,
    told: Mapping[str, Any],
    *,
    sized: bool,
    scaled: bool,
    fingerprint: Hashable,
    pictures: Hashable = (),
) -> Hashable:
    """Everything that a text depends on.

    Args:
        told: what the family is told besides the prompts.
        sized: whether the text depends on the picture's size.
        scaled: whether it depends on how strongly the prompt is followed, and not only on whether at all.
        fingerprint: of the LoRAs that change the text encoders.
        pictures: of the pictures that the prompt speaks about.
    """
    left_out = {
        "embeddings",
        *(() if scaled else ("guidance_scale",)),
        *(() if sized else ("width", "height")),
    }
    return (
        draw.prompt,
        draw.negative_prompt,
        told.get("guidance_scale") is None,
        *sorted((name, value) for name, value in told.items() if name not in left_out),
        tuple((use.word, file_key(use.path)) for use in draw.embeddings),
        fingerprint,
        pictures,
    )


def file_key(path: str) -> tuple[str, int, int]:
    """What tells one state of a file from another; a file that is not there has a key too."""
    try:
        found = Path(path).stat()
    except OSError:
        return path, 0, 0
    return path, found.st_mtime_ns, found.st_size


def picture_key(pixels: np.ndarray) -> bytes:
    """What tells one picture from another: its shape and its bytes, hashed."""
    told = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    told.update(np.ascontiguousarray(pixels).data)
    return told.digest()


def moved(value: T, device: torch.device) -> T:
    """The value, a dataclass, mapping or sequence of such, with its tensors on `device`."""
    found: Any = value
    if isinstance(value, torch.Tensor):
        found = value.to(device)
    elif isinstance(value, Mapping):
        found = {name: moved(inner, device) for name, inner in value.items()}
    elif isinstance(value, tuple | list):
        found = type(value)(moved(inner, device) for inner in value)
    elif is_dataclass(value) and not isinstance(value, type):
        found = replace(value, **{f.name: moved(getattr(value, f.name), device) for f in fields(value)})
    return found


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _tensors(inner)
    elif isinstance(value, tuple | list):
        for inner in value:
            yield from _tensors(inner)
    elif is_dataclass(value) and not isinstance(value, type):
        for each in fields(value):
            yield from _tensors(getattr(value, each.name))
