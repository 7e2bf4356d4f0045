# SPDX-License-Identifier: Apache-2.0
"""A converted folder, every file checked by its SHA-256 before anything of it is used."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn

from inglenook.wire.mlx import MANIFEST, Manifest, read_manifest
from inglenook.workers.image.errors import LoadCorrupt
from inglenook.workers.mlx.build import network
from inglenook.workers.mlx.networks.layers import array_tree

AGAIN = "convert the model again: inglenook models convert MODEL --to mlx --force"
_MAX_MANIFEST_BYTES = 2**20


class Converted:
    """Raises `LoadCorrupt` where the manifest is missing or wrong, or a file is not the one that it lists."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = _manifest(folder)
        for name, facts in self.manifest.files.items():
            self._check(name, facts.sha256, facts.size_bytes)

    def _check(self, name: str, sha256: str, size_bytes: int) -> None:
        path = self.folder / name
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest() if size == size_bytes else ""
        except OSError as error:
            raise LoadCorrupt(
                f"{self.folder.name}/{name} cannot be read: {error.strerror or error}.", hint=AGAIN
            ) from error
        if size != size_bytes:
            raise LoadCorrupt(
                f"{self.folder.name}/{name} has {size} bytes; its manifest says {size_bytes}.", hint=AGAIN
            )
        if found != sha256:
            raise LoadCorrupt(
                f"{self.folder.name}/{name} is not what was converted: its SHA-256 begins {found[:12]}, the "
                f"manifest's {sha256[:12]}.",
                hint=AGAIN,
            )

    def has(self, part: str) -> bool:
        return f"{part}.safetensors" in self.manifest.files

    def read_json(self, name: str) -> Mapping[str, Any]:
        """Raises `LoadCorrupt` where the manifest does not list it, or it holds no JSON object."""
        if f"{name}.json" not in self.manifest.files:
            raise LoadCorrupt(f"{self.folder.name} holds no {name}.json.", hint=AGAIN)
        try:
            found = json.loads((self.folder / f"{name}.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise LoadCorrupt(
                f"{self.folder.name}/{name}.json cannot be read: {error}.", hint=AGAIN
            ) from error
        if not isinstance(found, dict):
            raise LoadCorrupt(f"{self.folder.name}/{name}.json holds no JSON object.", hint=AGAIN)
        return found

    def network(self, part: str, dtype: mx.Dtype) -> nn.Module:
        """With its weights, on the default device. Raises `LoadCorrupt`, `LoadUnsupported`."""
        built = network(part, self.read_json(part))
        if not self.has(part):
            raise LoadCorrupt(f"{self.folder.name} holds no {part}.safetensors.", hint=AGAIN)
        found = mx.load(str(self.folder / f"{part}.safetensors"), format="safetensors")
        assert isinstance(found, dict)
        wanted = {name: array.shape for name, array in array_tree(built).items()}
        if wanted != {name: array.shape for name, array in found.items()}:
            raise LoadCorrupt(f"The weights of the {part} do not fit its configuration.", hint=AGAIN)
        built.load_weights([(name, array.astype(dtype)) for name, array in found.items()])
        built.eval()
        mx.eval(built.parameters())
        return built


def _manifest(folder: Path) -> Manifest:
    try:
        with (folder / MANIFEST).open("rb") as file:
            return read_manifest(file.read(_MAX_MANIFEST_BYTES))
    except (OSError, ValueError) as error:
        raise LoadCorrupt(f"{folder.name}/{MANIFEST} cannot be read: {error}.", hint=AGAIN) from error
