# SPDX-License-Identifier: Apache-2.0
"""A short script that runs an exported ONNX file elsewhere: with nothing of ours. Pure."""

from collections.abc import Sequence
from typing import Final

import msgspec

from inglenook.studio.export.model import ExportRecord
from inglenook.vision.preprocessing import CenterCrop, Grayscale, Normalize, Preprocessing, Resize

NAME: Final = "predict.py"

_FILTERS: Final = {"nearest-exact": "NEAREST"}
_HEAD: Final = """\
# What pictures show:  python {name} PICTURE ...      Needs:  pip install onnxruntime numpy pillow
import json, pathlib, sys
import numpy as np, onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(str(pathlib.Path(__file__).with_name("{file}")))
labels = json.loads(session.get_modelmeta().custom_metadata_map["inglenook.labels"])
for path in sys.argv[1:]:
    picture = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
"""


def script(record: ExportRecord) -> str:
    """The script for a completed export to ONNX."""
    assert record.preprocessing is not None
    assert record.output_file is not None
    wanted = msgspec.convert(record.preprocessing, Preprocessing)
    steps = wanted.geometry
    lines = [line for place, step in enumerate(steps) for line in _step(step, steps[:place])]
    batch, layout = record.input_shape[0], "[None]" if wanted.raw else ".transpose(2, 0, 1)[None]"
    lines.append(
        _pixels(wanted, gray=any(isinstance(s, Grayscale) and s.channels == 1 for s in wanted.steps))
    )
    lines += _numbers(wanted.normalize)
    given = f"x{layout}" if batch <= 1 else f"np.repeat(x{layout}, {batch}, axis=0)"
    lines += [
        f'logits = session.run(["output"], {{"input": {given}}})[0][0]',
        "scores = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()",
        'print(path, *(f"{labels[n]} {scores[n]:.4f}" for n in scores.argsort()[::-1][:3]), sep="  ")',
    ]
    head = _HEAD.format(name=NAME, file=record.output_file)
    return head + "".join(f"    {line}\n" for line in lines)


Made = Resize | CenterCrop | Grayscale


def _step(step: Made, before: Sequence[Made]) -> list[str]:
    if isinstance(step, Grayscale):
        return ['picture = picture.convert("L")' + ("" if step.channels == 1 else '.convert("RGB")')]
    if isinstance(step, CenterCrop):
        return _crop(step, before)
    kind = f"Image.Resampling.{_FILTERS.get(step.interpolation, step.interpolation.upper())}"
    if len(step.size) == 2:
        return [f"picture = picture.resize(({step.size[1]}, {step.size[0]}), {kind})"]
    return _shorter(step, kind)


def _crop(step: CenterCrop, before: Sequence[Made]) -> list[str]:
    """Where the picture may be smaller than the middle that is wanted, the black around it is rounded down,
    as torchvision does."""
    height, width = step.size
    sizes = [one.size for one in before if isinstance(one, Resize)]
    large = bool(sizes) and sizes[-1][0] >= height and sizes[-1][-1] >= width
    across, down = f"(picture.width - {width})", f"(picture.height - {height})"
    if large and len(sizes[-1]) == 1:
        large = sizes[-1][0] >= max(height, width)
    left, top = (
        f"round({given} / 2)" if large else f"round({given} / 2) if {given} > 0 else int({given} / 2)"
        for given in (across, down)
    )
    return [
        f"left, top = {left}, {top}",
        f"picture = picture.crop((left, top, left + {width}, top + {height}))",
    ]


def _shorter(step: Resize, kind: str) -> list[str]:
    short = step.size[0]
    lines = [f"short, long = {short}, int({short} * max(picture.size) / min(picture.size))"]
    if step.max_size is not None:
        most = step.max_size
        lines.append(
            f"short, long = (int({most} * short / long), {most}) if long > {most} else (short, long)"
        )
    lines.append("size = (short, long) if picture.width <= picture.height else (long, short)")
    return [*lines, f"picture = picture.resize(size, {kind})"]


def _pixels(wanted: Preprocessing, *, gray: bool) -> str:
    values = "np.asarray(picture)" if wanted.raw else "np.asarray(picture, np.float32) * np.float32(1 / 255)"
    return f"x = ({values})[:, :, None]" if gray else f"x = {values}"


def _numbers(normal: Normalize | None) -> list[str]:
    if normal is None:
        return []
    return [f"x = (x - np.float32({list(normal.mean)})) / np.float32({list(normal.std)})"]
