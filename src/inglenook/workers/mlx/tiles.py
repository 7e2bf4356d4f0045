# SPDX-License-Identifier: Apache-2.0
"""The VAE in tiles that overlap, so that its memory does not grow with the picture. Seams are blended
linearly."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np

TILE_LATENTS = 64
"""Side of a tile: 512 pixels for most VAEs."""

_OVERLAP_LATENTS = 16


def tiled_decode(vae: Any, latents: mx.array, pixels_per_latent: int) -> mx.array:
    """(1, height, width, channels) of latents → pixels."""
    made = _tiled(
        lambda tile: [vae.decode(tile)], latents, TILE_LATENTS, _OVERLAP_LATENTS, pixels_per_latent, 1
    )
    return made[0]


def tiled_encode(vae: Any, pixels: mx.array, pixels_per_latent: int) -> tuple[mx.array, mx.array | None]:
    """(1, height, width, 3) → mean and standard deviation."""
    side, overlap = TILE_LATENTS * pixels_per_latent, _OVERLAP_LATENTS * pixels_per_latent

    def encode(tile: mx.array) -> list[mx.array]:
        mean, std = vae.encode(tile)
        return [mean] if std is None else [mean, std]

    made = _tiled(encode, pixels, side, overlap, 1, pixels_per_latent)
    return made[0], made[1] if len(made) > 1 else None


def _tiled(
    change: Callable[[mx.array], list[mx.array]],
    x: mx.array,
    side: int,
    overlap: int,
    larger: int,
    smaller: int,
) -> list[mx.array]:
    """Change x tile by tile.

    Args:
        side, overlap: of the tiles as they go in.
        larger, smaller: a side that goes in as n comes out as n * larger // smaller.
    """
    height, width = x.shape[1], x.shape[2]
    if height <= side and width <= side:
        return change(x)
    sums: list[np.ndarray] = []
    weight = np.zeros((height * larger // smaller, width * larger // smaller, 1), np.float32)
    for top in _starts(height, side, overlap):
        for left in _starts(width, side, overlap):
            made = change(x[:, top : top + side, left : left + side])
            arrays = [np.array(one[0].astype(mx.float32)) for one in made]
            at = (top * larger // smaller, left * larger // smaller)
            counts = _counts(arrays[0].shape[:2], overlap * larger // smaller, at, weight.shape[:2])
            if not sums:
                sums = [np.zeros((*weight.shape[:2], one.shape[2]), np.float32) for one in arrays]
            place = (slice(at[0], at[0] + counts.shape[0]), slice(at[1], at[1] + counts.shape[1]))
            for whole, one in zip(sums, arrays, strict=True):
                whole[place] += one * counts
            weight[place] += counts
    return [mx.array(whole / weight)[None] for whole in sums]


def _starts(length: int, side: int, overlap: int) -> list[int]:
    """Tiles of one size, the last one flush with the end."""
    if length <= side:
        return [0]
    return [*range(0, length - side, side - overlap), length - side]


def _counts(size: tuple[int, int], overlap: int, at: tuple[int, int], whole: tuple[int, int]) -> np.ndarray:
    """How much a tile counts at each place: less towards a side where another tile is; (height, width, 1)."""
    ramps = []
    for length, start, end in zip(size, at, whole, strict=True):
        ramp = np.ones(length, np.float32)
        rise = (np.arange(overlap, dtype=np.float32) + 1) / (overlap + 1)
        if start > 0:
            ramp[:overlap] = np.minimum(ramp[:overlap], rise)
        if start + length < end:
            ramp[-overlap:] = np.minimum(ramp[-overlap:], rise[::-1])
        ramps.append(ramp)
    return (ramps[0][:, None] * ramps[1][None, :])[..., None]
