# SPDX-License-Identifier: Apache-2.0
"""Finding models below a folder: by names; of `.bin` files, which may be anything, four bytes are read."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from inglenook.catalog import alice
from inglenook.catalog.onnx import SUFFIX as ONNX
from inglenook.catalog.pipelines import INDEX
from inglenook.catalog.reading import GGML, GGUF, PICKLES
from inglenook.catalog.sidecar import sidecar_path
from inglenook.catalog.speech import is_ctranslate2, is_ggml
from inglenook.catalog.splits import part_of, parts_of, whole_stem
from inglenook.wire.mlx import MANIFEST

MAX_DEPTH = 6
MAX_FOLDERS = 20_000
"""Where the walk ends, should somebody register their whole disk."""

_WEIGHTS = re.compile(r"(diffusion_pytorch_)?model[-.\w]*\.safetensors$")

Fingerprint = tuple[tuple[str, int, int], ...]
"""Name, modification time in ns and size of every file that a record depends on."""


@dataclass(frozen=True, slots=True)
class Found:
    """`name`: the path below the root without suffix, with slashes; a root that is a model: its own name."""

    name: str
    path: Path


def find_models(root: Path) -> list[Found]:
    """Models below `root`, sorted by name; of equal names a folder first, then safetensors, GGUF, ONNX,
    pickles.

    A folder with `model_index.json`, with the manifest of a model that was converted for MLX, or with
    `config.json` beside weights of the names that libraries write (also CTranslate2's `model.bin` with its
    vocabulary), is one model, and not entered: a `config.json` among a person's own files does not make them
    one.
    Of a model that was split into files the first part that is there stands for all.
    Hidden entries are skipped; symbolic links are followed, but no folder is visited twice.
    """
    found = [Found(_name(root, path), path) for path in _walk(root)]
    return sorted(found, key=lambda one: (one.name, _rank(one.path)))


def _rank(path: Path) -> int:
    suffixes = (".safetensors", GGUF, ONNX, GGML)
    return 0 if path.is_dir() else 1 + (*suffixes, path.suffix.lower()).index(path.suffix.lower())


def _name(root: Path, path: Path) -> str:
    """Undecodable bytes of a file name become U+FFFD: an id must be text that can be sent."""
    relative = path.relative_to(root)
    if relative == Path():
        text = root.resolve().name
    else:
        text = relative.as_posix() if path.is_dir() else relative.with_name(whole_stem(path)).as_posix()
    return os.fsencode(text).decode("utf-8", "replace")


def _walk(root: Path) -> Iterator[Path]:
    visited: set[tuple[int, int]] = set()
    waiting = [(root, 0)]
    while waiting and len(visited) < MAX_FOLDERS:
        folder, depth = waiting.pop()
        entries = _entries(folder, visited)
        if _is_model_folder(entries):
            yield folder
            continue
        names = {entry.name for entry in entries}
        split: set[tuple[str, int]] = set()
        for entry in entries:
            path = folder / entry.name
            if _is_dir(entry):
                if depth < MAX_DEPTH:
                    waiting.append((path, depth + 1))
            elif _is_model_file(path, names) and _is_first(path, split):
                yield path


def _entries(folder: Path, visited: set[tuple[int, int]]) -> list[os.DirEntry[str]]:
    """Visible entries by name; none for a folder that was visited before or cannot be read."""
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in visited:
            return []
        visited.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as listing:
            return sorted(
                (entry for entry in listing if not entry.name.startswith(".")), key=lambda one: one.name
            )
    except OSError:
        return []


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_model_folder(entries: list[os.DirEntry[str]]) -> bool:
    names = {entry.name for entry in entries}
    weights = any(_WEIGHTS.match(name) for name in names)
    return (
        INDEX in names or MANIFEST in names or ("config.json" in names and weights) or is_ctranslate2(names)
    )


def _is_model_file(path: Path, names: set[str]) -> bool:
    """A pickle beside a safetensors file of the same name is the original of a conversion: left out."""
    suffix = path.suffix.lower()
    if suffix in (".safetensors", GGUF, ONNX):
        return path.is_file()
    if suffix == GGML:
        return path.is_file() and is_ggml(path)
    return suffix in PICKLES and f"{path.stem}.safetensors" not in names and path.is_file()


def _is_first(path: Path, seen: set[tuple[str, int]]) -> bool:
    """Whether no part of the same split model was seen before; of anything else, True."""
    part = part_of(path)
    if part is None:
        return True
    if (part.stem, part.total) in seen:
        return False
    seen.add((part.stem, part.total))
    return True


def fingerprint(path: Path) -> Fingerprint:
    """Changes when anything changes that a record is made of. Costs one `stat` a file.

    Raises:
        FileNotFoundError: the model went away meanwhile.
    """
    files = _files_of(path) if path.is_dir() else [*parts_of(path), *beside(path)]
    marks = [(path.name, path.stat().st_mtime_ns, 0)]
    for file in files:
        try:
            status = file.stat()
        except OSError:
            continue
        marks.append((str(file), status.st_mtime_ns, status.st_size))
    return tuple(marks)


def beside(path: Path) -> Iterator[Path]:
    """Files that may lie beside a single file and say or hold more."""
    yield sidecar_path(path)
    if path.suffix.lower() == ONNX:
        yield outside_of(path)
    yield from alice.places(path)


def outside_of(path: Path) -> Path:
    """Where exporters put the weights of an ONNX file that are not in it."""
    return path.with_name(f"{path.name}.data")


def _files_of(folder: Path) -> list[Path]:
    """Files of a model folder and of the folders in it."""
    visited: set[tuple[int, int]] = set()
    files = []
    for entry in _entries(folder, visited):
        path = folder / entry.name
        files += [path / inner.name for inner in _entries(path, visited)] if _is_dir(entry) else [path]
    return files
