# SPDX-License-Identifier: Apache-2.0
"""What GGUF files are: a language model (perhaps in several files), a projector, an adapter, or none of
ours."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from inglenook.catalog.errors import CorruptModel
from inglenook.catalog.facts import MAX_LAYERS, language_facts, placed
from inglenook.catalog.gguf import GgufHeader, GgufTensor, read_gguf
from inglenook.catalog.identity import Identity, Weights
from inglenook.catalog.model import LANGUAGE_MODEL, LoraFacts, ModelKind
from inglenook.catalog.projectors import projector_facts
from inglenook.catalog.splits import part_of, parts_of

_PICTURES: Final = {
    "flux": "flux", "flux2": "flux2", "sd1": "sd1", "sd2": "sd2", "sdxl": "sdxl", "sd3": "sd3",
    "qwen_image": "qwen-image", "lumina2": "lumina2", "wan": "wan", "hidream": "hidream", "chroma": "chroma",
    "aura": "auraflow", "cosmos": "cosmos", "ltxv": "ltx-video", "hyvid": "hunyuan-video",
}  # fmt: skip
_ENCODERS: Final = {"t5": "t5", "t5encoder": "t5"}
_DIFFUSING: Final = frozenset({"dream", "llada", "llada-moe", "rnd1"})
"""Language models that fill in a text from noise, which no server of llama.cpp does."""

_DTYPES: Final = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}

INCOMPLETE: Final = "the copy or download did not finish; fetch it again"


@dataclass(frozen=True, slots=True)
class _Model:
    """One model's headers, in order, and its tensors."""

    headers: Sequence[GgufHeader]
    tensors: Mapping[str, GgufTensor]
    shards: tuple[Path, ...]
    problem: str | None

    @property
    def first(self) -> GgufHeader:
        return self.headers[0]

    @property
    def architecture(self) -> str:
        return self.first.text("general.architecture")


def read_gguf_files(path: Path) -> tuple[Identity, Weights]:
    """What a GGUF file is, and its weights; of a split model `path` is the first part that is there.

    Raises:
        CorruptModel: it has no sound header.
        OSError: it cannot be read.
    """
    model = _read(path)
    identity = _identity(model)
    if model.problem is not None:
        identity = replace(identity, problem=model.problem)
    return identity, _weights(model)


# ── several files ─────────────────────────────────────────────────────────────────────────────────────────


def _read(path: Path) -> _Model:
    first = read_gguf(path)
    count, part = first.number("split.count"), part_of(path)
    if count <= 1:
        problem: str | None = _fault(first)
        if part is not None and part.total > 1:
            problem = (
                f"its name says part {part.number} of {part.total}, but its header says that it is whole"
            )
            problem += "\nhint: rename it"
        return _Model([first], first.tensors, (), problem)
    if part is None or part.total != count:
        problem = (
            f"its header says part {first.number('split.no') + 1} of {count}, "
            f"but it is called {path.name[:120]}"
            f"\nhint: llama.cpp wants names that end in -00001-of-{count:05}.gguf"
        )
        return _Model([first], first.tensors, (), problem)
    return _join(path, first)


def _join(path: Path, first: GgufHeader) -> _Model:
    paths, headers, problem = parts_of(path), [], None
    tensors: dict[str, GgufTensor] = {}
    for number, part in enumerate(paths):
        try:
            header = first if part == path else read_gguf(part)
            found = _fault(header) or _misplaced(header, number, len(paths), part.name)
            if tensors.keys() & header.tensors.keys():
                found = found or f"{part.name} holds tensors that another part holds as well"
            tensors |= header.tensors
            headers.append(header)
        except FileNotFoundError:
            found = f"{part.name} is missing: part {number + 1} of {len(paths)}\nhint: {INCOMPLETE}"
        except CorruptModel as error:
            found = str(error)
        problem = problem or found
    said = first.number("split.tensors.count")
    if said and said != len(tensors):
        problem = (
            problem
            or f"its parts hold {len(tensors)} tensors, and its header says {said}\nhint: {INCOMPLETE}"
        )
    return _Model(headers, tensors, () if problem else tuple(paths), problem)


def _misplaced(header: GgufHeader, number: int, count: int, name: str) -> str | None:
    said, of = header.number("split.no"), header.number("split.count")
    if (said, of) == (number, count):
        return None
    return f"{name} says of itself that it is part {said + 1} of {of}\nhint: fetch it again"


def _fault(header: GgufHeader) -> str | None:
    return None if header.fault is None else str(header.fault)


# ── what it is ────────────────────────────────────────────────────────────────────────────────────────────


def _identity(model: _Model) -> Identity:
    architecture, header = model.architecture, model.first
    if architecture == "":
        return Identity(ModelKind.OTHER, None, "it is a GGUF file that does not say what it holds")
    if architecture in _PICTURES:
        problem = "pictures are not drawn from GGUF files yet\nhint: get the model as .safetensors"
        return Identity(ModelKind.IMAGE, _PICTURES[architecture], problem)
    if architecture in _ENCODERS:
        problem = "text encoders are not read from GGUF files yet\nhint: get it as .safetensors"
        return Identity(ModelKind.TEXT_ENCODER, None, problem, role=_ENCODERS[architecture])
    kind = header.text("general.type")
    if kind == "adapter":
        return _adapter(model)
    if kind == "imatrix":
        return Identity(ModelKind.OTHER, None, "it holds measurements for quantising a model, not a model")
    if architecture == "clip":
        return _projector(model)
    return _language(model)


def _projector(model: _Model) -> Identity:
    facts = projector_facts(model.first, model.tensors)
    if not facts.inputs:
        blind = "it says that it turns neither pictures nor sound into tokens"
        return Identity(ModelKind.TEXT_ENCODER, None, blind, role="clip")
    sort = facts.type or "of a type that it does not name"
    problem = None if facts.width else f"its projection ({sort}) has no width"
    return Identity(ModelKind.PROJECTOR, None, problem, projector=facts)


def _adapter(model: _Model) -> Identity:
    sort = model.first.text("adapter.type")
    pairs = [tensor for name, tensor in model.tensors.items() if name.endswith(".lora_a")]
    ranks = [tensor.sides[1] for tensor in pairs if len(tensor.sides) == 2]
    problem: str | None = None
    if sort != "lora":
        problem = f"it is an adapter of type {sort[:40]!r}; llama.cpp takes LoRAs"
    elif not ranks:
        problem = "it holds no LoRA's tensors"
    facts = LoraFacts(rank=max(ranks, default=0), touches=(LANGUAGE_MODEL,), pairs=len(pairs))
    return Identity(ModelKind.LORA, model.architecture, problem, fits=(model.architecture,), lora=facts)


def _language(model: _Model) -> Identity:
    header, name = model.first, model.architecture
    layers = header.number(f"{name}.block_count")
    if not layers and "tokenizer.ggml.model" not in header.fields:
        problem = f"it says that it is of architecture {name[:60]!r}, which is not known here"
        return Identity(ModelKind.OTHER, None, problem)
    facts = replace(language_facts(header, model.tensors), shards=model.shards)
    return Identity(ModelKind.LANGUAGE, None, _unsound(model, layers), language=facts)


def _unsound(model: _Model, layers: int) -> str | None:
    """Why llama.cpp would not load it."""
    header, name = model.first, model.architecture
    if name in _DIFFUSING:
        return "it is a diffusion language model, which llama.cpp's server does not run"
    if not model.tensors:
        return "it holds a vocabulary and no weights"
    for wanted in ("block_count", "context_length", "embedding_length"):
        if not header.number(f"{name}.{wanted}"):
            return f"its header lacks {name}.{wanted}\nhint: convert it again with llama.cpp's own tools"
    if layers > MAX_LAYERS:
        return f"its header says {layers} layers; at most {MAX_LAYERS} are read"
    if "tokenizer.ggml.model" not in header.fields:
        return "it holds no tokenizer\nhint: convert it again with llama.cpp's own tools"
    there = sum(size > 0 for size in placed(model.tensors, layers).layer_bytes)
    if there < layers:
        return f"its header says {layers} layers, and it has weights of {there}\nhint: {INCOMPLETE}"
    return None


# ── its weights ───────────────────────────────────────────────────────────────────────────────────────────


def _weights(model: _Model) -> Weights:
    header, scalars = model.first, Counter[str]()
    for tensor in model.tensors.values():
        scalars[tensor.type] += tensor.scalars
    layers = header.number(f"{model.architecture}.block_count")
    main = max(sorted(scalars), key=lambda name: scalars[name]) if scalars else "unknown"
    return Weights(
        components=placed(model.tensors, layers).components,
        parameters=sum(scalars.values()),
        dtype=_DTYPES.get(main, main.lower()),
        digest=_digest(model.headers),
        title=header.text("general.name"),
        licence=header.text("general.license") or header.text("general.license.name"),
        description=header.text("general.description"),
    )


def _digest(headers: Sequence[GgufHeader]) -> str:
    """A single file's is its header's own."""
    if len(headers) == 1:
        return headers[0].digest
    return hashlib.sha256("".join(header.digest for header in headers).encode()).hexdigest()
