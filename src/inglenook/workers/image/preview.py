# SPDX-License-Identifier: Apache-2.0
"""Previews: latents to a small RGB picture by one linear map, without running the decoder.

The map is not a table of numbers for well-known models: it is measured once on the model's own encoder, so
it fits every VAE, also one that was retrained, and costs one encoding of a small picture.
"""

from collections.abc import Callable

import numpy as np
import torch

LinearMap = tuple[torch.Tensor, torch.Tensor]
"""`(channels, 3)` and `(3,)`, on one device: latents @ first + second = RGB in [0, 1], roughly."""

_SIDE_LATENTS = 16
"""Side of the measured picture, in latents: 256 points for the few unknowns of the map."""

_PATCH_LATENTS = 2


def measure_map(encode: Callable[[torch.Tensor], torch.Tensor], pixels_per_latent: int) -> LinearMap:
    """Fit the map by least squares.

    Args:
        encode: float32 (1, 3, height, width) in [-1, 1] to the latents that the model works on.
    """
    colours = _patches()
    pixels = torch.nn.functional.interpolate(colours, scale_factor=pixels_per_latent, mode="nearest")
    points = encode(pixels * 2 - 1)[0].flatten(1).T.float().cpu()
    known = colours[0].flatten(1).T
    with_one = torch.cat([points, torch.ones(len(points), 1)], dim=1)
    solved = torch.linalg.lstsq(with_one, known, driver="gelsd").solution
    return solved[:-1], solved[-1]


def preview_levels(linear: LinearMap, latents: torch.Tensor) -> torch.Tensor:
    """uint8 (height, width, 3) on the map's device: one pixel a latent, roughly the colours of the finished
    picture."""
    weights, offset = linear
    points = latents[0].float().to(weights.device).permute(1, 2, 0)
    colours = torch.nan_to_num(points @ weights + offset)
    return (colours.clamp(0, 1) * 255).round().to(torch.uint8)


def preview_pixels(linear: LinearMap, latents: torch.Tensor) -> np.ndarray:
    """`preview_levels` in host memory."""
    return preview_levels(linear, latents).cpu().numpy()


def _patches() -> torch.Tensor:
    """float32 (1, 3, side, side) in [0, 1]: patches of random colours, always the same."""
    count = _SIDE_LATENTS // _PATCH_LATENTS
    drawn = torch.rand((1, 3, count, count), generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(drawn, scale_factor=_PATCH_LATENTS, mode="nearest")
