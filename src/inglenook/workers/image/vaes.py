# SPDX-License-Identifier: Apache-2.0
"""Another VAE than the model's own, for one Draw: read once, kept, and put in the place of the own one.

It encodes, decodes and gives the colours of the previews, as the own one does. `apply` is called at the
beginning of every attempt at every Draw, also of those that name none, so it never reaches the next.
"""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from inglenook.workers.image.errors import DrawInvalid, LoadCorrupt, LoadUnsupported

KEPT = 2
"""How many are kept in host memory beside the own one: 160 to 340 MiB each."""

Key = tuple[str, int, int]
Latents = tuple[int, int]
"""Channels of the latents, and the side in pixels of the square that one of them stands for."""


class VaeShelf:
    """Args:
    own: the model's VAE.
    latents: of a VAE.
    read: loads one from a file or a folder into host memory; raises `LoadCorrupt`, `LoadUnsupported`.
    put: makes this module the one that works.
    """

    def __init__(
        self,
        own: torch.nn.Module,
        *,
        latents: Callable[[Any], Latents],
        read: Callable[[Path], torch.nn.Module],
        put: Callable[[torch.nn.Module], None],
    ) -> None:
        self._own = own
        self._latents = latents
        self._read = read
        self._put = put
        self._kept: OrderedDict[Key, torch.nn.Module] = OrderedDict()
        self._applied: Key | None = None

    def apply(self, path: str | None) -> None:
        """Work with this VAE; None is the model's own.

        Raises `DrawInvalid` when it cannot be read or is one for other latents, or what an allocator raises;
        the own one works then.
        """
        key = None if path is None else _key(Path(path))
        if key == self._applied:
            return
        if self._applied is not None:
            self._put(self._own)
            self._applied = None
        if key is not None:
            self._put(self._module(key))
            self._applied = key

    def _module(self, key: Key) -> torch.nn.Module:
        if key not in self._kept:
            self._kept[key] = self._read_fitting(Path(key[0]))
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def _read_fitting(self, path: Path) -> torch.nn.Module:
        try:
            with torch.no_grad():
                module = self._read(path).eval()
        except (LoadCorrupt, LoadUnsupported) as error:
            raise DrawInvalid(
                f"The VAE {path.name} cannot be used: {error.message}", hint=error.hint, field="vae"
            ) from error
        theirs, ours = self._latents(module), self._latents(self._own)
        if theirs != ours:
            raise DrawInvalid(
                f"The VAE {path.name} does not fit this model: its latents have {theirs[0]} channels and "
                f"stand for {theirs[1]} x {theirs[1]} pixels each, the model's have {ours[0]} and "
                f"{ours[1]} x {ours[1]}.",
                hint="choose one that was made for the model's family",
                field="vae",
            )
        return module


def _key(path: Path) -> Key:
    """Changes when the files do: of a folder, those that hold weights."""
    try:
        places = sorted(path.rglob("*.safetensors")) if path.is_dir() else [path]
        found = [place.stat() for place in places]
    except OSError as error:
        reason = error.strerror or str(error)
        raise DrawInvalid(f"The VAE {path.name} cannot be read: {reason}.", field="vae") from error
    newest = max((one.st_mtime_ns for one in found), default=0)
    return str(path), newest, sum(one.st_size for one in found)
