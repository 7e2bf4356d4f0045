# SPDX-License-Identifier: Apache-2.0
"""From files to a record: reads headers and configurations of one model, never its tensors.

What is wrong with a model becomes its record's `problem`, so that a person sees the model and the reason in
the list, rather than missing it.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from inglenook.base.errors import InglenookError
from inglenook.base.ids import ModelId
from inglenook.catalog import sidecar
from inglenook.catalog.defaults import image_defaults
from inglenook.catalog.errors import CorruptModel, pickled
from inglenook.catalog.identify import (
    COMPONENTS,
    PIPELINES,
    Identity,
    Shapes,
    identify_pipeline,
    identify_tensors,
)
from inglenook.catalog.model import ImageDefaults, ModelKind, ModelRecord
from inglenook.catalog.safetensors import Header, read_header
from inglenook.wire.families import FAMILIES

INDEX = "model_index.json"
PICKLES = (".ckpt", ".pt", ".pth")
MAX_CONFIG_BYTES = 1024 * 1024
MAX_SHARDS = 1000
_WITHOUT_WEIGHTS = frozenset({"tokenizer", "tokenizer_2", "scheduler"})
_WEIGHTS = ("diffusion_pytorch_model", "model")
"""What diffusers and transformers call a component's weights."""

_DTYPES = {
    "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
}  # fmt: skip

_PREFIXES = (
    ("model.diffusion_model.", "unet"),
    ("first_stage_model.", "vae"),
    ("conditioner.embedders.1.", "text_encoder_2"),
    ("conditioner.embedders.", "text_encoder"),
    ("cond_stage_model.", "text_encoder"),
    ("model_ema.", "ema"),
)
"""Where a single file keeps its components; the first that fits."""


_UNKNOWN = Identity(ModelKind.OTHER, None)


@dataclass
class _Contents:
    """What was found so far. `problem` is the first thing that was wrong."""

    headers: dict[str, Header] = field(default_factory=dict)
    components: Counter[str] = field(default_factory=Counter)
    identity: Identity = _UNKNOWN
    configs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    problem: str | None = None

    def note(self, problem: str | None) -> None:
        if self.problem is None:
            self.problem = problem

    def add(self, name: str, header: Header, component: str | None) -> None:
        """Count a file's tensors, all to one component, or each to the one that its prefix says."""
        self.headers[name] = header
        for key, tensor in header.tensors.items():
            self.components[_component_of(key) if component is None else component] += tensor.size_bytes


def read_model(path: Path, *, model_id: ModelId, root: Path, builtin: bool) -> ModelRecord:
    """The record of a model folder or file. Whatever is wrong with it stands in `problem`.

    Raises:
        FileNotFoundError: it went away meanwhile.
    """
    created = path.stat().st_mtime
    layout: Literal["folder", "single"] = "folder" if path.is_dir() else "single"
    contents = _Contents()
    try:
        _read_contents(path, contents)
    except (InglenookError, OSError) as error:
        contents.note(_reason(error, path))
    contents.note(contents.identity.problem)
    notes, image = _sidecar(path, contents)
    tensors = [tensor for header in contents.headers.values() for tensor in header.tensors.values()]
    return ModelRecord(
        id=model_id,
        kind=contents.identity.kind,
        family=contents.identity.family,
        variant=contents.identity.variant,
        path=path,
        layout=layout,
        weights_bytes=sum(tensor.size_bytes for tensor in tensors),
        parameters=sum(tensor.scalars for tensor in tensors),
        dtype=_main_dtype(contents.headers),
        digest=_digest(contents.headers),
        root=root,
        title=notes.title or (path.name if layout == "folder" else path.stem),
        builtin=builtin,
        created=created,
        licence=notes.licence,
        description=notes.description,
        image=image,
        problem=contents.problem,
        components=dict(contents.components),
    )


def _reason(error: InglenookError | OSError, path: Path) -> str:
    """What to tell a person; `path` is named where the error itself names no file."""
    if isinstance(error, InglenookError):
        return str(error)
    name = Path(os.fsdecode(error.filename)).name if isinstance(error.filename, (str, bytes)) else path.name
    return f"{name} cannot be read: {error.strerror}"


def _read_contents(path: Path, contents: _Contents) -> None:
    if path.is_dir():
        if (path / INDEX).is_file():
            _read_pipeline(path, contents)
        else:
            _read_component_folder(path, contents)
    elif path.suffix.lower() in PICKLES:
        raise pickled(path, "a PyTorch checkpoint")
    else:
        header = read_header(path)
        contents.add(path.name, header, None)
        contents.identity = identify_tensors(_shapes(header))


def _shapes(*headers: Header) -> Shapes:
    return {key: tensor.shape for header in headers for key, tensor in header.tensors.items()}


def _component_of(key: str) -> str:
    return next((component for prefix, component in _PREFIXES if key.startswith(prefix)), "other")


# ── folders ───────────────────────────────────────────────────────────────────────────────────────────────


def _read_component_folder(path: Path, contents: _Contents) -> None:
    """A folder with `config.json` and weights, but no pipeline around them: a VAE, a language model."""
    for file in sorted(path.glob("*.safetensors")):
        if not file.name.startswith("."):
            contents.add(file.name, read_header(file), path.name)
    contents.identity = identify_tensors(_shapes(*contents.headers.values()))


def _read_pipeline(path: Path, contents: _Contents) -> None:
    index = read_json(path / INDEX)
    class_name = index.get("_class_name")
    pipeline = PIPELINES.get(class_name) if isinstance(class_name, str) else None
    if pipeline is None:
        contents.identity = identify_pipeline(index, {}, {})
        return
    unet: Shapes = {}
    for component in COMPONENTS[pipeline]:
        try:
            headers = _read_component(path / component, component, contents)
        except (InglenookError, OSError) as error:
            contents.note(f"{component}: {_reason(error, path / component)}")
            continue
        if component == "unet":
            unet = _shapes(*headers)
    contents.identity = identify_pipeline(index, contents.configs, unet)


def _read_component(folder: Path, component: str, contents: _Contents) -> list[Header]:
    """Configuration and headers of one component.

    Raises:
        CorruptModel, PickledModel: a file is missing or unsound.
    """
    if not folder.is_dir():
        raise CorruptModel(
            "the folder is missing.", hint="the copy or download did not finish; fetch it again"
        )
    if component in _WITHOUT_WEIGHTS:
        if not any(folder.iterdir()):
            raise CorruptModel("the folder is empty.", hint="fetch it again")
        if component == "scheduler":
            contents.configs[component] = read_json(folder / "scheduler_config.json")
        return []
    contents.configs[component] = read_json(folder / "config.json")
    headers = []
    for file in _weight_files(folder):
        header = read_header(file)
        contents.add(f"{component}/{file.name}", header, component)
        headers.append(header)
    return headers


def _weight_files(folder: Path) -> list[Path]:
    """The files that a loader would read: plain ones, else the half-precision variant, never both.

    Raises:
        CorruptModel: there are none of a name that a loader looks for, or the list of shards is unsound.
        PickledModel: there are pickles only.
    """
    for variant in ("", ".fp16"):
        for name in _WEIGHTS:
            if (folder / f"{name}{variant}.safetensors").is_file():
                return [folder / f"{name}{variant}.safetensors"]
            index = folder / f"{name}.safetensors.index{variant}.json"
            if index.is_file():
                return _shards(folder, index)
    for pickle in sorted(folder.glob("*.bin")):
        raise pickled(pickle, "a PyTorch checkpoint")
    raise CorruptModel(
        f"there is no {_WEIGHTS[0]}.safetensors or {_WEIGHTS[1]}.safetensors.",
        hint="the copy or download did not finish; fetch it again",
    )


def _shards(folder: Path, index: Path) -> list[Path]:
    """The files that an index names: plain names only, each of them there."""
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CorruptModel(f"{index.name} holds no weight_map.")
    names = {name for name in weight_map.values() if isinstance(name, str)}
    if len(names) > MAX_SHARDS:
        raise CorruptModel(f"{index.name} names {len(names)} files; at most {MAX_SHARDS} are read.")
    for name in sorted(names):
        if name != Path(name).name or not name.endswith(".safetensors"):
            raise CorruptModel(f"{index.name} names {name[:80]!r}, which is no plain file name.")
        if not (folder / name).is_file():
            raise CorruptModel(
                f"{name} is missing.", hint="the copy or download did not finish; fetch it again"
            )
    return [folder / name for name in sorted(names)]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of at most `MAX_CONFIG_BYTES`.

    Raises:
        CorruptModel: it is missing, too long, or holds no JSON object.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
    except FileNotFoundError:
        raise CorruptModel(f"{path.name} is missing.", hint="fetch it again") from None
    if len(data) > MAX_CONFIG_BYTES:
        raise CorruptModel(f"{path.name} is longer than {MAX_CONFIG_BYTES} bytes.")
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise CorruptModel(f"{path.name} is not JSON: {str(error)[:120]}.") from None
    if not isinstance(document, dict):
        raise CorruptModel(f"{path.name} does not hold a JSON object.")
    return document


# ── what follows from it ──────────────────────────────────────────────────────────────────────────────────


def _sidecar(path: Path, contents: _Contents) -> tuple[sidecar.Sidecar, ImageDefaults | None]:
    """The sidecar (an empty one where there is none), and the defaults if it is a picture model of ours."""
    notes = sidecar.Sidecar(schema=1)
    family = contents.identity.family
    image = None
    if contents.identity.kind is ModelKind.IMAGE and family in FAMILIES:
        unet, vae, scheduler = (contents.configs.get(name, {}) for name in ("unet", "vae", "scheduler"))
        image = image_defaults(family, unet, vae, scheduler, contents.identity.variant)
    try:
        found = sidecar.read_sidecar(path)
        if found is not None:
            notes = found
            if image is not None:
                image = sidecar.apply(image, notes.image, name=sidecar.sidecar_path(path).name)
    except (InglenookError, OSError) as error:
        contents.note(_reason(error, sidecar.sidecar_path(path)))
    return notes, image


def _main_dtype(headers: Mapping[str, Header]) -> str:
    """The stored type of most scalars, in the tensor library's words; `unknown` where there are none."""
    scalars: Counter[str] = Counter()
    for tensor in (tensor for header in headers.values() for tensor in header.tensors.values()):
        scalars[tensor.dtype] += tensor.scalars
    if not scalars:
        return "unknown"
    dtype = max(sorted(scalars), key=lambda name: scalars[name])
    return _DTYPES.get(dtype, dtype.lower())


def _digest(headers: Mapping[str, Header]) -> str:
    """SHA-256 over file names and headers, each after its length, so that no two sets run together."""
    digest = hashlib.sha256()
    for part in _digest_parts(headers):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def _digest_parts(headers: Mapping[str, Header]) -> Iterator[bytes]:
    """A single file's name does not count: renaming a file does not make it another model."""
    for name in sorted(headers):
        if "/" in name:
            yield name.encode("utf-8", "replace")
        yield headers[name].raw
