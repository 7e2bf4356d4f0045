# SPDX-License-Identifier: Apache-2.0
"""What a finished sprite is, counted on its pixels."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from inglenook.pixels.histogram import pack
from inglenook.pixels.model import Proof
from inglenook.pixels.oklab import to_oklab

Rgba = npt.NDArray[np.uint8]
Rgb = tuple[int, int, int]

LEAST_INSIDE: Final = 1e-3
"""The mean distance inside is not taken for less, so that a seam has a finite figure: neighbouring sRGB
colours are about 0.004 apart, so the inside of a sprite is below it only where nearly all of it is flat."""


def prove(rgba: Rgba, palette: Sequence[Rgb] | None) -> Proof:
    """Count. Nothing is taken from the recipe; colours below transparent pixels do not count.

    Args:
        rgba: uint8 (h, w, 4).
        palette: its colours, in order; None where every colour is allowed.
    """
    height, width = rgba.shape[:2]
    keys, counts = np.unique(pack(rgba[rgba[..., 3] > 0]), return_counts=True)
    seam_x, seam_y = seams(rgba)
    within, off, each = None, 0, None
    if palette is not None:
        allowed = pack(np.array(palette, np.uint8).reshape(-1, 3))
        off = int(counts[~np.isin(keys, allowed)].sum())
        within = off == 0
        each = _counted(keys, counts, allowed)
    return Proof(
        width=width,
        height=height,
        colors=len(keys),
        within_palette=within,
        off_palette=off,
        alphas=tuple(int(one) for one in np.unique(rgba[..., 3])),
        seam_x=seam_x,
        seam_y=seam_y,
        counts=each,
    )


def _counted(
    keys: npt.NDArray[np.uint32], counts: npt.NDArray[np.intp], allowed: npt.NDArray[np.uint32]
) -> tuple[int, ...]:
    """Pixels of each palette entry; of two entries of one colour the first has them."""
    found = {int(key): int(count) for key, count in zip(keys, counts, strict=True)}
    return tuple(found.pop(int(one), 0) for one in allowed)


def seams(rgba: Rgba) -> tuple[float | None, float | None]:
    """How much sharper the step over the wrapped border is than those inside, across and down.

    The distance of two pixels is Euclid's in OKLab with alpha as a fourth axis, colour weighted by alpha:
    what is transparent differs from whatever is opaque and not from itself. None for one column or row.
    """
    height, width = rgba.shape[:2]
    return (
        _seam(rgba.transpose(1, 0, 2)) if width > 1 else None,
        _seam(rgba) if height > 1 else None,
    )


def _seam(rgba: Rgba) -> float:
    """Down the first axis. In strips, so that a large sprite needs no large memory."""
    total, strip = 0.0, max(1, 1_000_000 // rgba.shape[1])
    for start in range(0, len(rgba) - 1, strip):
        values = weighted(rgba[start : start + strip + 1])
        total += float(_distance(values[1:], values[:-1]).sum(dtype=np.float64))
    inside: float = total / ((len(rgba) - 1) * rgba.shape[1])
    ends = weighted(rgba[[-1, 0]])
    across = float(_distance(ends[0], ends[1]).mean(dtype=np.float64))
    return across / max(inside, LEAST_INSIDE)


def weighted(rgba: Rgba) -> npt.NDArray[np.float32]:
    """float32 (..., 4): OKLab weighted by alpha, and alpha, 0 to 1."""
    alpha = rgba[..., 3:].astype(np.float32) / np.float32(255)
    return np.concatenate([to_oklab(rgba[..., :3]) * alpha, alpha], axis=-1)


def _distance(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = np.sqrt(((one - other) ** 2).sum(axis=-1))
    return found
