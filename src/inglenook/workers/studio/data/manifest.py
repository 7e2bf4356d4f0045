# SPDX-License-Identifier: Apache-2.0
"""The manifest of a run: one `Example` a line."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import msgspec

from inglenook.wire.studio.spec import Example
from inglenook.workers.studio.errors import NoData


@dataclass(frozen=True, slots=True)
class Manifest:
    train: tuple[Example, ...]
    val: tuple[Example, ...]
    test: tuple[Example, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over what is learned from and validated on, in its order, wherever the files lie."""
        learned = [(example.id, example.subset, example.target) for example in (*self.train, *self.val)]
        return hashlib.sha256(msgspec.json.encode(learned)).hexdigest()

    @property
    def counts(self) -> dict[str, int]:
        return {"train": len(self.train), "val": len(self.val), "test": len(self.test)}


def read_manifest(path: Path) -> Manifest:
    """Raises `NoData` when the file cannot be read, a line is no example, or nothing is there to train on."""
    decoder = msgspec.json.Decoder(Example)
    parts: dict[str, list[Example]] = {"train": [], "val": [], "test": []}
    number = 0
    try:
        with path.open("rb") as lines:
            for line in lines:
                number += 1
                if line.strip():
                    example = decoder.decode(line)
                    parts[example.subset].append(example)
    except OSError as error:
        raise NoData(f"The manifest {path.name} cannot be read: {error.strerror}.") from error
    except msgspec.MsgspecError as error:
        raise NoData(f"Line {number} of the manifest {path.name} is no example: {error}") from error
    manifest = Manifest(tuple(parts["train"]), tuple(parts["val"]), tuple(parts["test"]))
    if not manifest.train:
        raise NoData(
            f"The training part has no pictures ({manifest.counts}).", hint="make a split that has some"
        )
    repeated = [name for name, times in Counter(e.id for e in manifest.train).items() if times > 1]
    if repeated:
        raise NoData(f"The manifest {path.name} names {repeated[0]} twice in its training part.")
    return manifest
