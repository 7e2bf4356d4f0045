# SPDX-License-Identifier: Apache-2.0
"""Sprite sheets: all frames in one PNG and a JSON file, in Aseprite's or TexturePacker's layout, as a zip."""

import json
import math
from collections.abc import Sequence
from io import BytesIO
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import numpy as np

from inglenook.pixels.files.png import png
from inglenook.pixels.files.spec import Spec, Tag, enlarged
from inglenook.pixels.oklab import Bytes

_DIRECTIONS = {"forward": "forward", "reverse": "reverse", "ping-pong": "pingpong"}  # Aseprite's words


def sheet(frames: Sequence[Bytes], spec: Spec) -> bytes:
    """A zip with `name.png` and `name.json`.

    Raises:
        Invalid: a pixel has a colour that is not in the palette.
    """
    cells = [enlarged(frame, spec.scale) for frame in frames]
    height, width = cells[0].shape[:2]
    places, (across, down) = layout(len(cells), width, height, spec.columns, spec.padding)
    canvas = np.zeros((down, across, 4), np.uint8)
    for cell, (x, y) in zip(cells, places, strict=True):
        canvas[y : y + height, x : x + width] = cell
    boxes = [{"x": x, "y": y, "w": width, "h": height} for x, y in places]
    told = (
        _aseprite(boxes, canvas, spec)
        if spec.format == "sheet-aseprite"
        else _texture_packer(boxes, canvas, spec)
    )
    words = json.dumps(told, ensure_ascii=False, indent=1).encode()
    return archive({f"{spec.name}.png": png(canvas, spec.palette), f"{spec.name}.json": words})


def layout(
    count: int, width: int, height: int, columns: int | None, padding: int
) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """Where each cell's upper left pixel lies, row by row, and the size of the whole."""
    square = math.sqrt(count * (height + padding) / (width + padding))
    columns = min(count, columns or math.ceil(square - 1e-9) or 1)
    rows = math.ceil(count / columns)
    places = [
        (number % columns * (width + padding), number // columns * (height + padding))
        for number in range(count)
    ]
    return places, (columns * (width + padding) - padding, rows * (height + padding) - padding)


def archive(files: dict[str, bytes]) -> bytes:
    """A zip of `files` in their order; the same files give the same bytes."""
    out = BytesIO()
    with ZipFile(out, "w", ZIP_DEFLATED) as zipped:
        for name, data in files.items():
            one = ZipInfo(name)  # dated 1980, the earliest that a zip knows
            one.compress_type = ZIP_DEFLATED
            one.external_attr = 0o644 << 16
            zipped.writestr(one, data)
    return out.getvalue()


def _meta(canvas: Bytes, spec: Spec) -> dict[str, Any]:
    return {
        "app": "inglenook",
        "version": "1.0",
        "image": f"{spec.name}.png",
        "format": "RGBA8888",
        "size": {"w": canvas.shape[1], "h": canvas.shape[0]},
        "scale": str(spec.scale),
    }


def _untrimmed(box: dict[str, int]) -> dict[str, Any]:
    size = {"w": box["w"], "h": box["h"]}
    return {
        "frame": box,
        "rotated": False,
        "trimmed": False,
        "spriteSourceSize": {"x": 0, "y": 0, **size},
        "sourceSize": size,
    }


def _aseprite(boxes: Sequence[dict[str, int]], canvas: Bytes, spec: Spec) -> dict[str, Any]:
    """Aseprite's "array" layout: frames with durations, tags in the meta part."""
    durations = spec.durations(len(boxes))
    frames = [
        {"filename": f"{spec.name} {number}.aseprite", **_untrimmed(box), "duration": durations[number]}
        for number, box in enumerate(boxes)
    ]
    tags = [
        {"name": tag.name, "from": tag.first, "to": tag.last, "direction": _DIRECTIONS[tag.direction]}
        for tag in spec.tags
    ]
    layers = [{"name": spec.name, "opacity": 255, "blendMode": "normal"}]
    meta = {**_meta(canvas, spec), "frameTags": tags, "layers": layers, "slices": []}
    return {"frames": frames, "meta": meta}


def _texture_packer(boxes: Sequence[dict[str, int]], canvas: Bytes, spec: Spec) -> dict[str, Any]:
    """TexturePacker's "hash" layout, with the list of animations that PixiJS and others read.

    It knows no durations; ours stand beside each frame, where readers pass over them.
    """
    digits = len(str(len(boxes) - 1))
    names = [f"{spec.name}_{number:0{digits}}.png" for number in range(len(boxes))]
    durations = spec.durations(len(boxes))
    frames = {
        name: {**_untrimmed(box), "pivot": {"x": 0.5, "y": 0.5}, "duration": duration}
        for name, box, duration in zip(names, boxes, durations, strict=True)
    }
    animations = {tag.name: [names[number] for number in _played(tag)] for tag in spec.tags}
    return {"frames": frames, "animations": animations, "meta": _meta(canvas, spec)}


def _played(tag: Tag) -> list[int]:
    """The frames of a tag in the order in which they are shown."""
    run = list(range(tag.first, tag.last + 1))
    if tag.direction == "reverse":
        return run[::-1]
    return run + run[-2:0:-1] if tag.direction == "ping-pong" else run
