# SPDX-License-Identifier: Apache-2.0
"""Projectors (`mmproj` files), which turn pictures or sound into tokens of a language model, and the models
that they serve. Pure.

A projector serves the chat models beside it whose stream is as wide as what it writes. Beside: in its own
folder; where none there fits, in the folder above or in one below. Of several models there, those whose
names have most words in common with its own; all of them where the names tell nothing (quantisations of one
model). Of several projectors that serve a model, the one with most words in common is taken, then the
half-precision one.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from inglenook.catalog.gguf import GgufHeader, GgufTensor
from inglenook.catalog.model import LanguageTask, ModelKind, ModelRecord, ProjectorFacts

MMPROJ: Final = "mmproj"
"""The slot in `ModelRecord.parts`."""

_OUTPUTS: Final = (
    ("mm.input_projection.weight", 0),  # Gemma 3 stores it turned over
    ("mm.model.fc.weight", 1),
    ("mm.fc.weight", 1),
    ("resampler.proj.weight", 0),
    ("mm.model.mlp.3.weight", 1),
    ("mm.3.weight", 1),
    ("mm.4.weight", 1),
    ("mm.2.weight", 1),
    ("mm.model.peg.0.bias", 0),
    ("mm.model.mb_block.1.block.2.1.bias", 0),
    ("mm.1.weight", 1),
    ("mm.a.fc.weight", 1),
    ("mm.a.mlp.2.weight", 1),
    ("mm.a.mlp.1.weight", 1),
)
"""The last matrix or bias of each construction, and which of its sides is the width of the language model's
stream; the first that is there counts (`clip_n_mmproj_embd` in llama.cpp's `tools/mtmd/clip.cpp`)."""

_QUANTISED = re.compile(r"^(?:i?q\d.*|t?q\d.*|b?f(?:p)?(?:16|32)|k|[sml]|xs|xxs|nl|\d|ud|imat.*)$")
_IGNORED: Final = frozenset({MMPROJ, "model", "gguf", "ggml", "mm", "proj"})
_PRECISIONS: Final = ("float16", "bfloat16", "q8_0", "float32")


def projector_facts(header: GgufHeader, tensors: Mapping[str, GgufTensor]) -> ProjectorFacts:
    """`inputs` is empty where the header claims neither, `width` 0 where nothing tells it."""
    inputs = tuple(
        sense
        for sense, encoder in (("image", "vision"), ("audio", "audio"))
        if header.flag(f"clip.has_{encoder}_encoder") is True
    )
    sort = next(
        filter(None, (header.text(f"clip.{place}projector_type") for place in ("", "vision.", "audio."))), ""
    )
    return ProjectorFacts(
        type=sort[:60],
        inputs=inputs,
        width=_width(header, tensors),
        layers=header.number("clip.vision.block_count") + header.number("clip.audio.block_count"),
        encoder_width=max(
            header.number("clip.vision.embedding_length"), header.number("clip.audio.embedding_length")
        ),
        side_px=header.number("clip.vision.image_size"),
        patch_px=header.number("clip.vision.patch_size"),
    )


def _width(header: GgufHeader, tensors: Mapping[str, GgufTensor]) -> int:
    for name, side in _OUTPUTS:
        tensor = tensors.get(name)
        if tensor is not None and len(tensor.sides) > side:
            return tensor.sides[side]
    return header.number("clip.vision.projection_dim") or header.number("clip.audio.projection_dim")


def fits(projector: ModelRecord, model: ModelRecord) -> bool:
    """Whether the projector writes what the model reads."""
    facts, language = projector.projector, model.language
    return (
        facts is not None
        and language is not None
        and language.task is LanguageTask.CHAT
        and facts.width == language.width
    )


def with_projectors(records: Sequence[ModelRecord]) -> list[ModelRecord]:
    """The records in their order; language models that a projector serves have it in `parts["mmproj"]`, and
    say in `inputs` what it reads."""
    projectors = [one for one in records if one.kind is ModelKind.PROJECTOR and one.problem is None]
    if not projectors:
        return list(records)
    models = [one for one in records if one.kind is ModelKind.LANGUAGE and one.problem is None]
    offers: dict[str, list[ModelRecord]] = {}
    for projector in projectors:
        for model in _served(projector, models):
            offers.setdefault(model.id, []).append(projector)
    return [_equipped(record, offers[record.id]) if record.id in offers else record for record in records]


def _served(projector: ModelRecord, models: Iterable[ModelRecord]) -> list[ModelRecord]:
    able = [model for model in models if model.root == projector.root and fits(projector, model)]
    folder = projector.path.parent
    beside = [model for model in able if model.path.parent == folder]
    beside = beside or [model for model in able if _is_above_or_below(model.path.parent, folder)]
    best = max((_likeness(projector, model) for model in beside), default=0)
    return [model for model in beside if _likeness(projector, model) == best]


def _is_above_or_below(one: Path, other: Path) -> bool:
    return one.parent == other or other.parent == one


def _equipped(model: ModelRecord, offers: Sequence[ModelRecord]) -> ModelRecord:
    best = min(offers, key=lambda one: (-_likeness(one, model), _precision(one), one.id))
    assert model.language is not None
    assert best.projector is not None
    language = replace(model.language, inputs=best.projector.inputs)
    return replace(model, parts={**model.parts, MMPROJ: best.path}, language=language)


def _precision(projector: ModelRecord) -> int:
    return _PRECISIONS.index(projector.dtype) if projector.dtype in _PRECISIONS else len(_PRECISIONS)


def _likeness(one: ModelRecord, other: ModelRecord) -> int:
    return len(_words(one) & _words(other))


def _words(record: ModelRecord) -> frozenset[str]:
    """Of the file's name, without those that tell a quantisation or what every such file is called."""
    name = record.id.rpartition("/")[2].casefold()
    return frozenset(
        word
        for word in re.split(r"[-_. ~]+", name)
        if word and word not in _IGNORED and not _QUANTISED.match(word)
    )
