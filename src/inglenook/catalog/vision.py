# SPDX-License-Identifier: Apache-2.0
"""ONNX files that look at pictures: what each takes and gives, by its own content.

The studio's exports say everything in their metadata (the names below). Of a model by anybody else the shapes
tell: one input of four sides with one or three channels, a first output of one number a class. Its labels are
read where exporters are known to put them; else classes are numbered.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from inglenook.catalog.errors import CorruptModel
from inglenook.catalog.identity import Identity, Weights
from inglenook.catalog.model import ModelKind, VisionFacts
from inglenook.catalog.onnx import OnnxHeader, OnnxValue, read_onnx
from inglenook.catalog.sidecar import SidecarVision
from inglenook.vision.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Normalize,
    Preprocessing,
    Resize,
    customary,
    sound,
)

SCHEMA: Final = "inglenook.schema"
TASK: Final = "inglenook.task"
LABELS: Final = "inglenook.labels"
PREPROCESSING: Final = "inglenook.preprocessing"
SCORES: Final = "inglenook.scores"
LINEAGE: Final = "inglenook.lineage"
TITLE: Final = "inglenook.title"
LICENCE: Final = "inglenook.licence"
DESCRIPTION: Final = "inglenook.description"
KNOWN_SCHEMA: Final = "1"

FOREIGN_LABELS: Final = ("names", "labels", "classes", "class_names", "id2label")
"""Metadata in which other exporters put a JSON list, or an object from number to name."""
MAX_LABELS: Final = 50_000
MAX_LABEL: Final = 200
CHANNELS: Final = (1, 3)
MAX_SIDE: Final = 4_096
MIN_MATTE_PX: Final = 64
"""Of a matte's side; a smaller one tells no subject."""
_INTEGER: Final = frozenset(
    {
        "QuantizeLinear",
        "ConvInteger",
        "MatMulInteger",
        "QLinearConv",
        "QLinearMatMul",
        "DynamicQuantizeLinear",
    }
)
_TYPES: Final[Mapping[str, Literal["float32", "float16", "uint8"]]] = {
    "float32": "float32",
    "float16": "float16",
    "uint8": "uint8",
}


def read_vision(path: Path) -> tuple[Identity, Weights]:
    """What an ONNX file is, and its weights.

    Raises:
        CorruptModel: it is no ONNX model, is cut off, or its metadata contradict it.
        OSError: it cannot be read.
    """
    header = read_onnx(path)
    outside = _outside(path, header)
    weights = _weights(header, outside)
    if _is_matting(header):
        facts = replace(_matting(header), outside=outside)
        return Identity(ModelKind.MATTING, None, None, vision=facts), weights
    reason = _strange(header)
    if reason is not None:
        return Identity(ModelKind.OTHER, None, reason), weights
    facts = replace(_facts(header), outside=outside)
    task = header.metadata.get(TASK, "classification")
    problem = None if task == "classification" else f"it is for {task[:60]}, which is not served yet"
    return Identity(ModelKind.VISION, None, problem, vision=replace(facts, task=task[:60])), weights


def _is_matting(header: OnnxHeader) -> bool:
    """U2-Net and its like: colour in, one number for each pixel of it out, which a sigmoid has made."""
    if len(header.inputs) != 1 or not header.outputs:
        return False
    taken, given = header.inputs[0], header.outputs[0]
    if taken.shape is None or taken.dtype != "float32" or _layout(taken) != "NCHW" or given.shape is None:
        return False
    sides = taken.shape[2:]
    whole = taken.shape[1] == 3 and min(sides) >= MIN_MATTE_PX
    made = header.made_by.get(given.name) == "Sigmoid" and given.dtype == "float32"
    return whole and made and given.shape[1:] == (1, *sides)


def _matting(header: OnnxHeader) -> VisionFacts:
    """Preprocessing as U2-Net's authors published it; a picture is squeezed into the square, not cut."""
    taken = header.inputs[0]
    assert taken.shape is not None
    _, channels, height, width = taken.shape
    squeezed = Resize(size=(height, width), interpolation="lanczos")
    steps = (squeezed, Normalize(mean=IMAGENET_MEAN, std=IMAGENET_STD))
    return VisionFacts(
        task="matting",
        input=taken.name,
        output=header.outputs[0].name,
        layout="NCHW",
        dtype="float32",
        channels=channels,
        height=height,
        width=width,
        batch=1,
        labels=(),
        labelled=False,
        preprocessing=Preprocessing(steps=steps),
        told=False,
        scores="probabilities",
        opset=header.opset,
        quantised=not _INTEGER.isdisjoint(header.operators),
    )


def _outside(path: Path, header: OnnxHeader) -> tuple[Path, ...]:
    """The files that hold weights: plain names beside the model, and nothing else.

    Raises:
        CorruptModel: one has another name, or is missing.
    """
    found = []
    for name in sorted(header.outside):
        if name != Path(name).name or name in ("", ".", "..") or set(name) & set("/\\:\0"):
            raise CorruptModel(f"its weights are to be read from {name[:80]!r}, which is no plain file name.")
        file = path.with_name(name)
        if not file.is_file():
            raise CorruptModel(f"{name} is missing, which holds weights.", hint="copy it beside the model")
        found.append(file)
    return tuple(found)


def _weights(header: OnnxHeader, outside: tuple[Path, ...]) -> Weights:
    inside = sum(header.bytes_of.values()) if not outside else 0
    scalars = header.scalars
    told = header.metadata
    return Weights(
        components={"all": inside + sum(file.stat().st_size for file in outside)},
        parameters=sum(scalars.values()),
        dtype=max(sorted(scalars), key=lambda name: scalars[name]) if scalars else "unknown",
        digest=header.digest,
        title=told.get(TITLE, ""),
        licence=told.get(LICENCE, ""),
        description=told.get(DESCRIPTION, ""),
    )


def _strange(header: OnnxHeader) -> str | None:
    """Why it is no model that tells classes of pictures; None where it is one."""
    shown = f"inputs {_listed(header.inputs)}, outputs {_listed(header.outputs)}"
    if len(header.inputs) != 1 or not header.outputs:
        return f"it is an ONNX model that is no classifier of pictures: {shown}"
    taken, given = header.inputs[0], header.outputs[0]
    if _layout(taken) is None or taken.dtype not in _TYPES:
        return f"it is an ONNX model that takes no pictures: {shown}"
    if _classes(given) is None or given.dtype not in ("float32", "float16"):
        return f"it is an ONNX model that gives no scores of classes: {shown}"
    return None


def _listed(values: tuple[OnnxValue, ...]) -> str:
    shown = [
        f"{one.name[:40]} {one.dtype or '?'}"
        + ("" if one.shape is None else "[" + ",".join(str(side or "?") for side in one.shape) + "]")
        for one in values[:4]
    ]
    return ", ".join(shown) + (" …" if len(values) > 4 else "") if shown else "none"


def _layout(value: OnnxValue) -> Literal["NCHW", "NHWC"] | None:
    """The order of an input's sides; None where it is no picture."""
    shape = value.shape
    if shape is None or len(shape) != 4 or max(shape[1:]) > MAX_SIDE:
        return None
    if shape[1] in CHANNELS:
        return "NCHW"
    return "NHWC" if shape[3] in CHANNELS else None


def _classes(value: OnnxValue) -> int | None:
    """How many classes an output has: (N, C), also (N, C, 1, 1); None where it has another shape."""
    shape = value.shape
    if shape is None or len(shape) not in (2, 4) or (len(shape) == 4 and shape[2:] != (1, 1)):
        return None
    return shape[1] if 1 <= shape[1] <= MAX_LABELS else None


def _facts(header: OnnxHeader) -> VisionFacts:
    taken, given = header.inputs[0], header.outputs[0]
    layout, classes = _layout(taken), _classes(given)
    assert layout is not None
    assert classes is not None
    assert taken.shape is not None
    channels, height, width = _picture_sides(taken.shape, layout)
    dtype = _TYPES[taken.dtype]
    labels = _labels(header.metadata, classes)
    told = _preprocessing(header.metadata, channels, height, width)
    return VisionFacts(
        task="classification",
        input=taken.name,
        output=given.name,
        layout=layout,
        dtype=dtype,
        channels=channels,
        height=height,
        width=width,
        batch=taken.shape[0],
        labels=labels or tuple(str(number) for number in range(classes)),
        labelled=bool(labels),
        preprocessing=told or customary(height, width, channels, raw=dtype == "uint8"),
        told=told is not None,
        scores=_scores(header, given.name),
        lineage=_lineage(header.metadata),
        opset=header.opset,
        quantised=not _INTEGER.isdisjoint(header.operators),
    )


def _picture_sides(shape: tuple[int, ...], layout: str) -> tuple[int, int, int]:
    return (shape[1], shape[2], shape[3]) if layout == "NCHW" else (shape[3], shape[1], shape[2])


def _labels(told: Mapping[str, str], classes: int) -> tuple[str, ...]:
    """Names of the classes; () where nothing names as many as there are. Raises CorruptModel: the studio's
    own do not fit."""
    if LABELS in told:
        found = _names(told[LABELS])
        if len(found) != classes:
            raise CorruptModel(f"its metadata name {len(found)} classes and its output has {classes}.")
        return found
    for key in FOREIGN_LABELS:
        found = _names(told.get(key, ""))
        if len(found) == classes:
            return found
    return ()


def _names(text: str) -> tuple[str, ...]:
    """A JSON list, or an object from number to name, as names in order; () for anything else."""
    if text[:1] not in ("[", "{"):
        return ()
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return ()
    if isinstance(found, dict):
        found = [found.get(str(number)) for number in range(min(len(found), MAX_LABELS))]
    names = found[:MAX_LABELS] if isinstance(found, list) else []
    sound_names = all(isinstance(name, str) and 0 < len(name) <= MAX_LABEL for name in names)
    return tuple(names) if sound_names else ()


def _preprocessing(told: Mapping[str, str], channels: int, height: int, width: int) -> Preprocessing | None:
    """Raises CorruptModel: what stands there is not it."""
    text = told.get(PREPROCESSING)
    if text is None:
        return None
    if told.get(SCHEMA, KNOWN_SCHEMA) != KNOWN_SCHEMA:
        raise CorruptModel(
            f"its metadata are of version {told[SCHEMA][:20]}; {KNOWN_SCHEMA} is known here.",
            hint="bring Inglenook up to date",
        )
    try:
        found = msgspec.json.decode(text, type=Preprocessing)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CorruptModel(f"its metadata, {PREPROCESSING}: {str(error)[:200]}.") from None
    problem = sound(found, channels=channels, height=height, width=width)
    if problem is not None:
        raise CorruptModel(f"its metadata, {PREPROCESSING}: {problem}.")
    return found


def _scores(header: OnnxHeader, output: str) -> Literal["logits", "probabilities"]:
    """What the file says, else whether its last operator is a softmax."""
    told = header.metadata.get(SCORES)
    if told in ("logits", "probabilities"):
        return "probabilities" if told == "probabilities" else "logits"
    return "probabilities" if header.made_by.get(output) in ("Softmax", "Sigmoid") else "logits"


def _lineage(told: Mapping[str, str]) -> Mapping[str, Any]:
    text = told.get(LINEAGE, "")
    try:
        found = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def described(facts: VisionFacts, notes: SidecarVision, *, name: str) -> VisionFacts:
    """`facts` with what a person says instead.

    Raises:
        CorruptModel: it does not fit the model.
    """
    if notes.labels is not None:
        if len(notes.labels) != len(facts.labels):
            raise CorruptModel(
                f"{name}: vision.labels: there are {len(notes.labels)}; "
                f"the model has {len(facts.labels)} classes."
            )
        facts = replace(facts, labels=notes.labels, labelled=True)
    if notes.preprocessing is not None:
        wanted = {"channels": facts.channels, "height": facts.height, "width": facts.width}
        problem = sound(notes.preprocessing, **wanted)
        if problem is not None:
            raise CorruptModel(f"{name}: vision.preprocessing: {problem}.")
        facts = replace(facts, preprocessing=notes.preprocessing, told=True)
    return facts if notes.scores is None else replace(facts, scores=notes.scores)
