# SPDX-License-Identifier: Apache-2.0
"""A map of heat over the picture that it belongs to, in the part that the network saw."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from inglenook.vision.preprocessing import CenterCrop, Resize, resized
from inglenook.wire.studio.spec import Step
from inglenook.workers.studio.export.errors import CannotPreprocess
from inglenook.workers.studio.export.steps import as_preprocessing

STRENGTH: Final = 0.7
"""How much of the picture the greatest heat covers."""
_STOPS: Final = np.array(
    [[13, 8, 135], [126, 3, 168], [204, 71, 120], [248, 149, 64], [240, 249, 33]], np.float32
)
"""Colours from cold to hot, evenly spaced: dark blue to yellow, lighter all the way."""


@dataclass(frozen=True, slots=True)
class Region:
    """In pixels of the picture; may reach beyond it where it was padded."""

    left: float
    top: float
    right: float
    bottom: float


def seen_region(steps: Sequence[Step], width: int, height: int) -> Region:
    """What of a picture of that size the network gets to see. The whole of it where a step is not known."""
    whole = Region(0, 0, width, height)
    try:
        made = as_preprocessing(steps)
    except CannotPreprocess:
        return whole
    now_width, now_height, seen = width, height, whole
    for step in made.steps:
        if isinstance(step, Resize):
            now_height, now_width = resized(step.size, now_height, now_width, step.max_size)
        elif isinstance(step, CenterCrop):
            across, down = (seen.right - seen.left) / now_width, (seen.bottom - seen.top) / now_height
            high, wide = step.size
            left = seen.left + (now_width - wide) / 2 * across
            top = seen.top + (now_height - high) / 2 * down
            seen = Region(left, top, left + wide * across, top + high * down)
            now_width, now_height = wide, high
    return seen


def overlay(picture: Image.Image, heat: np.ndarray, seen: Region) -> Image.Image:
    """RGB of the picture's size. `heat`: float32 (h, w) in [0, 1]."""
    size = (max(1, round(seen.right - seen.left)), max(1, round(seen.bottom - seen.top)))
    small = Image.fromarray(np.rint(heat * 255).astype(np.uint8))
    mask = Image.new("L", picture.size, 0)
    mask.paste(small.resize(size, Image.Resampling.BILINEAR), (round(seen.left), round(seen.top)))
    cover = mask.point([round(STRENGTH * level) for level in range(256)])
    return Image.composite(_coloured(mask), picture.convert("RGB"), cover)


def _coloured(mask: Image.Image) -> Image.Image:
    levels = np.linspace(0, 1, 256)
    places = np.linspace(0, 1, len(_STOPS))
    channels = [np.interp(levels, places, _STOPS[:, channel]).round().astype(int) for channel in range(3)]
    return Image.merge("RGB", [mask.point([int(value) for value in channel]) for channel in channels])


def write_png(picture: Image.Image, path: Path) -> None:
    """Whole or not at all."""
    unfinished = path.with_name(f".{path.name}.part")
    picture.save(unfinished, "PNG", compress_level=1)
    unfinished.replace(path)
