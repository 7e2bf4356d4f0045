# SPDX-License-Identifier: Apache-2.0
"""The colours of a picture, each once, with how often it occurs. All colour work goes over these."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from inglenook.pixels.oklab import Bytes, Floats, to_oklab

MAX_COLORS_APART: Final = 32_768
"""With more colours than this, choosing a palette puts alike ones into bins first."""
BIN_SIDE: Final = 1 / 80
"""Side of a bin in OKLab: half of what an eye can tell apart. All of sRGB falls into some 30,000 of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Colours by their value 0xRRGGBB, ascending.

    Attributes:
        rgb: uint8 (n, 3).
        counts: int64 (n,).
        inverse: intp, of the picture's shape: where in `rgb` its pixel's colour stands.
    """

    rgb: Bytes
    counts: npt.NDArray[np.int64]
    inverse: npt.NDArray[np.intp]


def counted(rgb: Bytes) -> Histogram:
    """The colours of `rgb`, uint8 (..., 3), also of none at all."""
    packed, inverse, counts = np.unique(pack(rgb), return_inverse=True, return_counts=True)
    return Histogram(unpack(packed), counts.astype(np.int64), inverse.reshape(rgb.shape[:-1]))


def pack(rgb: Bytes) -> npt.NDArray[np.uint32]:
    """0xRRGGBB of each colour (..., 3)."""
    wide = rgb.astype(np.uint32)
    return (wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]).astype(np.uint32)


def unpack(packed: npt.NDArray[np.uint32]) -> Bytes:
    """The reverse of `pack`."""
    return np.stack([packed >> 16, packed >> 8 & 255, packed & 255], -1).astype(np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Colours as weighted points in OKLab: float32 (n, 3), float64 (n,)."""

    lab: Floats
    weights: npt.NDArray[np.float64]


def points(rgb: Bytes, counts: npt.NDArray[np.int64]) -> Points:
    """One point a colour; one a bin (the mean of what is in it) for more than `MAX_COLORS_APART`."""
    lab = to_oklab(rgb)
    weights = counts.astype(np.float64)
    if len(rgb) <= MAX_COLORS_APART:
        return Points(lab, weights)
    _, inverse = np.unique(bins(lab, BIN_SIDE), return_inverse=True)
    return merged(Points(lab, weights), inverse, int(inverse.max()) + 1)


def bins(lab: Floats, side: float) -> npt.NDArray[np.int64]:
    """A number for each colour's bin; `side` at least 1/1000."""
    cell = np.floor(lab.astype(np.float64) / side).astype(np.int64) + 1024
    return cell[..., 0] << 24 | cell[..., 1] << 12 | cell[..., 2]


def merged(cloud: Points, labels: npt.NDArray[np.intp], count: int) -> Points:
    """The weighted mean and the weight of each group 0 to `count` - 1; (0, 0, 0) for an empty one.

    bincount adds one after the other, so the sums do not depend on the processor.
    """
    weights = np.bincount(labels, cloud.weights, count).astype(np.float64)
    lab = [np.bincount(labels, cloud.weights * cloud.lab[:, axis], count) for axis in range(3)]
    return Points((np.stack(lab, -1) / np.maximum(weights, 1e-300)[:, None]).astype(np.float32), weights)
