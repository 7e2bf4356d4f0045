# SPDX-License-Identifier: Apache-2.0
"""Colours made of two palette entries side by side."""

from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from inglenook.pixels.nearest import nearest_points
from inglenook.pixels.oklab import Bytes, Floats, to_linear, to_oklab

Indices = npt.NDArray[np.intp]

_ROUGHNESS: Final = 0.05
"""How much of the squared distance between two mixed colours counts against mixing them. Without it, colours
far apart that happen to lie on either side win over a single near one, and the result is noise."""
_CHUNK: Final = 256  # colours whose table of mixtures fits the processor's second cache
_OUTSIDE: Final = 1e-6  # linear light; rounding is below


def pairs(rgb: Bytes, palette: Bytes) -> tuple[Indices, Indices, Floats]:
    """For each colour (n, 3): its nearest entry, the entry that completes it best, and that one's share."""
    lab, entries = to_oklab(rgb), to_oklab(palette)
    first, _ = nearest_points(entries, lab)
    second = first.copy()
    by_entry = np.argsort(first, kind="stable")
    ends = np.searchsorted(first[by_entry], np.arange(len(entries) + 1))
    for number, (start, end) in enumerate(pairwise(ends)):
        for begin in range(start, end, _CHUNK):
            part = by_entry[begin : min(begin + _CHUNK, end)]
            second[part] = _completing(lab[part] - entries[number], entries - entries[number], number)
    return first, second, _share_of_light(to_linear(rgb), to_linear(palette), first, second)


def _completing(gaps: Floats, spans: Floats, base: int) -> Indices:
    """Which of `spans` (k, 3), all from entry `base`, goes nearest to each of `gaps` (n, 3); `base` if none.

    The squared distance of the gap g from the foot s on the span d is g² - 2 s (g·d) + s² d².
    """
    along = _outer(gaps, spans)
    length = _dot(spans, spans)
    share = np.clip(along / np.maximum(length, np.float32(1e-12)), 0, 1)
    cost = share * ((_ROUGHNESS * length - 2 * along) + share * ((1 - _ROUGHNESS) * length))
    found = cost.argmin(axis=1)
    return np.where(np.take_along_axis(cost, found[:, None], 1)[:, 0] < 0, found, base)


def _outer(one: Floats, other: Floats) -> Floats:
    product: Floats = one[:, None, 0] * other[None, :, 0]
    for axis in (1, 2):
        product += one[:, None, axis] * other[None, :, axis]
    return product


def _dot(one: Floats, other: Floats) -> Floats:
    product: Floats = one[:, 0] * other[:, 0] + one[:, 1] * other[:, 1] + one[:, 2] * other[:, 2]
    return product


def _share_of_light(light: Floats, entries: Floats, first: Indices, second: Indices) -> Floats:
    """How much of `second` mixes with `first` to come nearest to `light`, 0 to 1; 0 where both are one."""
    span = entries[second] - entries[first]
    along = _dot(light - entries[first], span)
    return np.clip(along / np.maximum(_dot(span, span), np.float32(1e-12)), 0, 1)


def within_reach(rgb: Bytes, palette: Bytes) -> Floats:
    """The linear light (n, 3) of colours (n, 3), of those that no mixture of entries gives a mixture nearby.

    Those lie outside of the convex hull of the palette: there is a direction in which they go farther than
    any entry. The one from their best mixture of two is tried; what it does not show to be outside stays.
    """
    light, entries = to_linear(rgb), to_linear(palette)
    first, second, share = pairs(rgb, palette)
    mixed = entries[first] + share[:, None] * (entries[second] - entries[first])
    out = light - mixed
    farthest = np.full(len(rgb), -np.inf, np.float32)
    for entry in entries:
        np.maximum(farthest, out[:, 0] * entry[0] + out[:, 1] * entry[1] + out[:, 2] * entry[2], out=farthest)
    outside = _dot(out, light) > farthest + np.float32(_OUTSIDE)
    return np.where(outside[:, None], mixed, light)
