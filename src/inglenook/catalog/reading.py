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
from inglenook.catalog import converted, sidecar
from inglenook.catalog.alice import read_alice
from inglenook.catalog.defaults import image_defaults
from inglenook.catalog.errors import CorruptModel, pickled
from inglenook.catalog.evidence import told_side_px
from inglenook.catalog.gguf_files import read_gguf_files
from inglenook.catalog.identify import identify_tensors
from inglenook.catalog.identity import Identity, Shapes, Weights
from inglenook.catalog.model import ImageDefaults, ModelKind, ModelRecord, VisionFacts
from inglenook.catalog.onnx import SUFFIX as ONNX
from inglenook.catalog.pipelines import INDEX, identify_pipeline, pipeline_of
from inglenook.catalog.safetensors import DTYPE_BITS, Header, read_header
from inglenook.catalog.speech import is_ctranslate2, read_ctranslate2, read_ggml
from inglenook.catalog.splits import whole_stem
from inglenook.catalog.vision import described, read_vision
from inglenook.wire.families import FAMILIES
from inglenook.wire.mlx import MANIFEST, Manifest

GGUF = ".gguf"
GGML = ".bin"
PICKLES = (".ckpt", ".pt", ".pth")
MAX_CONFIG_BYTES = 1024 * 1024
MAX_SHARDS = 1000
MAX_DESCRIPTION = 500
_WITHOUT_WEIGHTS = frozenset({"tokenizer", "tokenizer_2", "tokenizer_3", "processor", "scheduler"})
_WEIGHTS = ("diffusion_pytorch_model", "model")
"""What diffusers and transformers call a component's weights."""

_DTYPES = {
    "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
}  # fmt: skip

_UNKNOWN = Identity(ModelKind.OTHER, None)


@dataclass
class _Contents:
    """What was found so far. `problem` is the first thing that was wrong.

    `headers`: by file; `of`: the component that a file of a diffusers folder belongs to; `weights`: of files
    that are no safetensors, instead of `headers`. `manifest`: of a model that was converted for MLX.
    """

    headers: dict[str, Header] = field(default_factory=dict)
    of: dict[str, str] = field(default_factory=dict)
    identity: Identity = _UNKNOWN
    configs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    weights: Weights | None = None
    manifest: Manifest | None = None
    problem: str | None = None

    def note(self, problem: str | None) -> None:
        if self.problem is None:
            self.problem = problem

    def components(self) -> dict[str, int]:
        """Bytes by component: of a folder by its folders, of a single file by the prefixes of its names."""
        found: Counter[str] = Counter()
        for name, header in self.headers.items():
            places = (("", self.of[name]),) if name in self.of else (*self.identity.places, ("", "other"))
            if places[0][0] == "":
                found[places[0][1]] += header.data_bytes
                continue
            for key, tensor in header.tensors.items():
                found[next(part for prefix, part in places if key.startswith(prefix))] += tensor.size_bytes
        return dict(found)

    def metadata(self) -> Mapping[str, str]:
        """Of the only file, where it is only one."""
        return next(iter(self.headers.values())).metadata if len(self.headers) == 1 and not self.of else {}


@dataclass(frozen=True, slots=True)
class _Notes:
    """What a person says of a model, by its sidecar or by the file's own metadata, and what follows."""

    sidecar: sidecar.Sidecar
    variant: str
    image: ImageDefaults | None
    vision: VisionFacts | None


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
    identity = contents.identity
    contents.note(identity.problem)
    notes = _notes(path, contents)
    weights = contents.weights or _weights(contents)
    if contents.manifest is not None:
        weights = converted.described(weights, contents.manifest)
    return ModelRecord(
        id=model_id,
        kind=identity.kind,
        family=identity.family,
        variant=notes.variant,
        path=path,
        layout=layout,
        weights_bytes=sum(weights.components.values()),
        parameters=weights.parameters,
        dtype=weights.dtype,
        digest=weights.digest,
        root=root,
        title=_title(path, notes.sidecar.title or weights.title[:MAX_DESCRIPTION], contents),
        builtin=builtin,
        created=created,
        licence=notes.sidecar.licence or weights.licence[:MAX_DESCRIPTION] or None,
        description=notes.sidecar.description or weights.description[:MAX_DESCRIPTION],
        image=notes.image,
        problem=contents.problem,
        components=dict(weights.components),
        fits=identity.fits,
        role=identity.role,
        widths=dict(identity.widths),
        needs=identity.needs,
        named_parts=notes.sidecar.image.parts,
        lora=identity.lora,
        language=identity.language,
        speech=identity.speech,
        projector=identity.projector,
        vision=notes.vision,
        engine="diffusers" if contents.manifest is None else "mlx",
        converted_from="" if contents.manifest is None else contents.manifest.source.digest,
    )


def _title(path: Path, told: str, contents: _Contents) -> str:
    title = told or (path.name if path.is_dir() else whole_stem(path))
    return title if contents.manifest is None else f"{title} (MLX)"


def _weights(contents: _Contents) -> Weights:
    scalars, told = _scalars(contents.headers), contents.metadata()
    return Weights(
        components=contents.components(),
        parameters=sum(scalars.values()),
        dtype=_main_dtype(scalars),
        digest=_digest(contents.headers),
        licence=told.get("modelspec.license", ""),
        description=told.get("modelspec.description", ""),
    )


def _reason(error: InglenookError | OSError, path: Path) -> str:
    """What to tell a person; `path` is named where the error itself names no file."""
    if isinstance(error, InglenookError):
        return str(error)
    name = Path(os.fsdecode(error.filename)).name if isinstance(error.filename, (str, bytes)) else path.name
    return f"{name} cannot be read: {error.strerror}"


def _read_contents(path: Path, contents: _Contents) -> None:
    if path.is_dir():
        names = {entry.name for entry in path.iterdir()}
        if MANIFEST in names:
            _read_converted(path, contents)
        elif INDEX in names:
            _read_pipeline(path, contents)
        elif is_ctranslate2(names):
            contents.identity, contents.weights = read_ctranslate2(path)
        else:
            _read_component_folder(path, contents)
    elif path.suffix.lower() == GGML:
        contents.identity, contents.weights = read_ggml(path)
    elif path.suffix.lower() in PICKLES:
        raise pickled(path, "a PyTorch checkpoint")
    elif path.suffix.lower() == GGUF:
        contents.identity, contents.weights = read_gguf_files(path)
    elif path.suffix.lower() == ONNX:
        contents.identity, contents.weights = read_vision(path)
    else:
        header = read_header(path)
        contents.headers[path.name] = header
        contents.identity = identify_tensors(_shapes(header), header.metadata)


def _shapes(*headers: Header) -> Shapes:
    return {key: tensor.shape for header in headers for key, tensor in header.tensors.items()}


# ── folders ───────────────────────────────────────────────────────────────────────────────────────────────


def _read_component_folder(path: Path, contents: _Contents) -> None:
    """A folder with `config.json` and weights, but no pipeline around them: a VAE, a text encoder, a language
    model."""
    config = read_json(path / "config.json")
    for file in _weight_files(path):
        contents.headers[file.name] = read_header(file)
    contents.identity = identify_tensors(_shapes(*contents.headers.values()), config=config)


def _read_converted(path: Path, contents: _Contents) -> None:
    contents.manifest = manifest = converted.manifest_of(path)
    shapes: dict[str, Shapes] = {}
    for part in converted.parts_of(manifest):
        header = read_header(path / f"{part}.safetensors")
        contents.headers[f"{part}/{part}.safetensors"] = header
        contents.of[f"{part}/{part}.safetensors"] = part
        shapes[part] = _shapes(header)
    for name in ("unet", "vae", "scheduler"):
        contents.configs[name] = read_json(path / f"{name}.json")
    contents.identity = converted.identify_converted(manifest, shapes)


def _read_pipeline(path: Path, contents: _Contents) -> None:
    index = read_json(path / INDEX)
    pipeline = pipeline_of(index)
    tensors: dict[str, Shapes] = {}
    for component in () if pipeline is None else pipeline.components(index):
        try:
            headers = _read_component(path / component, component, contents)
        except (InglenookError, OSError) as error:
            contents.note(f"{component}: {_reason(error, path / component)}")
            continue
        if headers:
            tensors[component] = _shapes(*headers)
    contents.identity = identify_pipeline(index, contents.configs, tensors)


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
        contents.headers[f"{component}/{file.name}"] = header
        contents.of[f"{component}/{file.name}"] = component
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


def _notes(path: Path, contents: _Contents) -> _Notes:
    """The sidecar (an empty one where there is none or it is wrong), the variant, and the defaults if it is a
    picture model of ours."""
    notes, identity = sidecar.Sidecar(schema=1), contents.identity
    variant, image, vision = identity.variant, _defaults(contents, identity.variant), identity.vision
    try:
        found = sidecar.read_sidecar(path)
        if found is None and image is not None:
            found = read_alice(path, identity.needs)
        if found is not None and image is not None and identity.family is not None:
            name = sidecar.sidecar_path(path).name
            variant = sidecar.chosen_variant(
                identity.family, found.image, found=variant, shaped=identity.shaped, name=name
            )
            image = sidecar.apply(_defaults(contents, variant) or image, found.image, name=name)
        if found is not None and vision is not None:
            vision = described(vision, found.vision, name=sidecar.sidecar_path(path).name)
        notes = notes if found is None else found
    except (InglenookError, OSError) as error:
        contents.note(_reason(error, sidecar.sidecar_path(path)))
    return _Notes(notes, variant, image, vision)


def _defaults(contents: _Contents, variant: str) -> ImageDefaults | None:
    family = contents.identity.family
    if contents.identity.kind is not ModelKind.IMAGE or family not in FAMILIES:
        return None
    network = contents.configs.get("unet") or contents.configs.get("transformer", {})
    vae, scheduler = (contents.configs.get(name, {}) for name in ("vae", "scheduler"))
    side_px = told_side_px(contents.metadata()) if not FAMILIES[family].flow else None
    image = image_defaults(family, network, vae, scheduler, variant, side_px)
    return image if contents.manifest is None else converted.for_mlx(image)


def _scalars(headers: Mapping[str, Header]) -> Counter[str]:
    """Number of scalars by the type that they are stored as."""
    found: Counter[str] = Counter()
    for header in headers.values():
        for tensor in header.tensors.values():
            begin, end = tensor.data_offsets
            found[tensor.dtype] += end - begin
    return Counter({dtype: count * 8 // DTYPE_BITS[dtype] for dtype, count in found.items()})


def _main_dtype(scalars: Mapping[str, int]) -> str:
    """The stored type of most scalars, in the tensor library's words; `unknown` where there are none."""
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
