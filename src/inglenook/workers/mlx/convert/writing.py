# SPDX-License-Identifier: Apache-2.0
"""Safetensors, written and hashed tensor by tensor, beside where they shall stand; moved there when all is
whole."""

import functools
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import mlx.core as mx
import msgspec
import numpy as np

from inglenook.base.errors import Conflict, Failed
from inglenook.base.units import format_bytes
from inglenook.wire.mlx import MANIFEST, FileFacts, Manifest
from inglenook.workers.mlx.convert.source import Model, Part, Weight
from inglenook.workers.telling import FULL

DTYPES: Mapping[str, mx.Dtype] = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}
_STORED = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_SPARE_BYTES = 32 * 2**20
"""For what is no weight, and so that the disk is not filled to the brim."""
_PIECE_BYTES = 64 * 2**20

Tell = Callable[[str, int, int], None]


class DiskFull(Failed):
    default_code = "convert.disk_full"


class Exists(Conflict):
    default_code = "convert.exists"


@dataclass
class Progress:
    """Attributes:
    total: bytes of all weights. tell: told of the part, the bytes that are written, and all of them.
    check: raises when the work is to stop.
    """

    total: int
    tell: Tell
    check: Callable[[], None]
    done: int = 0
    told: int = 0

    def wrote(self, part: str, size: int) -> None:
        """Told of a hundred times at most, and of the end."""
        self.done += size
        if self.done - self.told >= self.total / 100 or self.done == self.total:
            self.told = self.done
            self.tell(part, self.done, self.total)
        self.check()


def weights_bytes(model: Model, dtype: str) -> int:
    return sum(part_bytes(part, dtype) for part in model.parts)


def part_bytes(part: Part, dtype: str) -> int:
    each = _BYTES[stored_dtype(part, dtype)]
    return sum(int(np.prod(weight.shape)) * each for weight in part.weights.values())


def stored_dtype(part: Part, dtype: str) -> str:
    """A VAE that overflows in half precision stays in single; bfloat16 reaches as far."""
    return "float32" if part.full and dtype == "float16" else dtype


@contextmanager
def room_for(target: Path, needed: int, *, replace: bool) -> Iterator[Path]:
    """A folder beside `target` to write into, moved there at the end of the block; nothing is left of it
    otherwise.

    Args:
        replace: a converted model that stands there goes, once the new one is whole.

    Raises:
        Exists: something stands there that is not to go, or is no converted model.
        DiskFull: the disk has not that many bytes free, or runs full meanwhile.
    """
    _require_free_place(target, replace=replace)
    target.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free
    if free < needed + _SPARE_BYTES:
        raise DiskFull(
            f"The disk of {target.parent} has {format_bytes(free)} free; "
            f"{format_bytes(needed + _SPARE_BYTES)} are needed.",
            hint="make room, or take a smaller --dtype",
        )
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield folder
        folder.chmod(0o755)
        _move(folder, target)
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull(
                f"The disk of {target.parent} ran full while {target.name} was written.",
                hint="make room and convert again",
            ) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _require_free_place(target: Path, *, replace: bool) -> None:
    if not target.exists():
        return
    if not replace:
        raise Exists(
            f"There is a {target.name} in {target.parent} already.",
            hint="convert with --force to replace it, or with --name to another",
        )
    if not (target / MANIFEST).is_file():
        raise Exists(f"{target} is no converted model, so it is not replaced.", hint="choose another --name")


def _move(folder: Path, target: Path) -> None:
    """Into place. What stood there goes after it, so that one of the two is always whole."""
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
        target.replace(old / target.name)
        folder.replace(target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        folder.replace(target)
    _sync(target.parent)


def write_model(model: Model, folder: Path, dtype: str, progress: Progress) -> dict[str, FileFacts]:
    """All files but the manifest; facts by name."""
    facts: dict[str, FileFacts] = {}
    for part in model.parts:
        stored = stored_dtype(part, dtype)
        facts[f"{part.name}.safetensors"] = _write_weights(
            folder / f"{part.name}.safetensors",
            part.weights,
            stored,
            functools.partial(progress.wrote, part.name),
        )
        facts[f"{part.name}.json"] = write_json(folder / f"{part.name}.json", dict(part.config))
    for name, told in model.tokenizers.items():
        facts[f"{name}.json"] = write_json(folder / f"{name}.json", dict(told))
    facts["scheduler.json"] = write_json(folder / "scheduler.json", dict(model.scheduler))
    facts["model.json"] = write_json(folder / "model.json", dict(model.options))
    return facts


def write_manifest(manifest: Manifest, folder: Path) -> None:
    _write(folder / MANIFEST, [msgspec.json.format(msgspec.json.encode(manifest), indent=1)])


def write_json(path: Path, told: Mapping[str, Any]) -> FileFacts:
    return _write(path, [json.dumps(told, ensure_ascii=False).encode()])


def _write_weights(
    path: Path, weights: Mapping[str, Weight], dtype: str, wrote: Callable[[int], None]
) -> FileFacts:
    header: dict[str, Any] = {"__metadata__": {"format": "mlx"}}
    at = 0
    for name, weight in weights.items():
        end = at + int(np.prod(weight.shape)) * _BYTES[dtype]
        header[name] = {"dtype": _STORED[dtype], "shape": list(weight.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)

    def pieces() -> Iterator[bytes | memoryview]:
        yield len(text).to_bytes(8, "little") + text
        for weight in weights.values():
            data = _bytes_of(weight, dtype)
            yield data
            wrote(data.nbytes)

    return _write(path, pieces())


def _bytes_of(weight: Weight, dtype: str) -> memoryview:
    array = mx.contiguous(weight.make().astype(DTYPES[dtype]))
    assert tuple(array.shape) == weight.shape, "what is announced is what is written"
    raw = np.asarray(array.view(mx.uint8) if array.ndim else array[None].view(mx.uint8))
    return np.ascontiguousarray(raw).data.cast("B")


def _write(path: Path, pieces: Iterator[bytes | memoryview] | list[bytes]) -> FileFacts:
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for piece in pieces:
            view = memoryview(piece)
            for at in range(0, len(view), _PIECE_BYTES):
                file.write(view[at : at + _PIECE_BYTES])
            digest.update(view)
            size += len(view)
        _flush(file)
    return FileFacts(sha256=digest.hexdigest(), size_bytes=size)


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """The name of what was moved into a folder survives a loss of power as well."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
