# SPDX-License-Identifier: Apache-2.0
"""Previews: latents to a small RGB picture by one linear map, measured once on the model's own encoder."""

from collections.abc import Callable

import numpy as np

LinearMap = tuple[np.ndarray, np.ndarray]
"""`(channels, 3)` and `(3,)`: latents @ first + second = RGB in [0, 1], roughly."""

_SIDE_LATENTS = 16
_PATCH_LATENTS = 2


def measure_map(encode: Callable[[np.ndarray], np.ndarray], pixels_per_latent: int) -> LinearMap:
    """Fit the map by least squares.

    Args:
        encode: float32 (1, 3, height, width) in [-1, 1] to the latents that the model works on.
    """
    colours = _patches()
    pixels = colours.repeat(pixels_per_latent, axis=2).repeat(pixels_per_latent, axis=3)
    latents = encode(pixels * 2 - 1)[0]
    points = latents.reshape(len(latents), -1).T
    with_one = np.concatenate([points, np.ones((len(points), 1), np.float32)], axis=1)
    solved = np.linalg.lstsq(with_one, colours[0].reshape(3, -1).T, rcond=None)[0].astype(np.float32)
    return solved[:-1], solved[-1]


def preview_pixels(linear: LinearMap, latents: np.ndarray) -> np.ndarray:
    """uint8 (height, width, 3): one pixel a latent, roughly the colours of the finished picture."""
    weights, offset = linear
    colours = np.nan_to_num(latents[0].transpose(1, 2, 0) @ weights + offset)
    return np.ascontiguousarray((colours.clip(0, 1) * 255).round().astype(np.uint8))


def _patches() -> np.ndarray:
    """float32 (1, 3, side, side) in [0, 1]: patches of random colours, always the same."""
    count = _SIDE_LATENTS // _PATCH_LATENTS
    drawn = np.random.Generator(np.random.PCG64(0)).random((1, 3, count, count), np.float32)
    return drawn.repeat(_PATCH_LATENTS, axis=2).repeat(_PATCH_LATENTS, axis=3)
