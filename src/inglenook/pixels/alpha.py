# SPDX-License-Identifier: Apache-2.0
"""Alpha: what a matte takes away, and what is left of half-transparent pixels (nothing)."""

import numpy as np
import numpy.typing as npt

from inglenook.pixels.model import Alpha
from inglenook.pixels.oklab import from_linear, to_linear

Rgba = npt.NDArray[np.uint8]
Grey = npt.NDArray[np.uint8]


def with_matte(rgba: Rgba, matte: Grey) -> Rgba:
    """The picture with its alpha times the matte's. `matte`: uint8 (h, w), 255 is the subject.

    Raises ValueError: they differ in size.
    """
    if matte.shape != rgba.shape[:2]:
        raise ValueError(f"The matte is {matte.shape}, the picture {rgba.shape[:2]}.")
    found = rgba.copy()
    product = rgba[..., 3].astype(np.uint32) * matte
    found[..., 3] = (product + 127) // 255
    return found


def hardened(
    rgba: Rgba, alpha: Alpha, *, threshold: int, background: tuple[int, int, int] = (255, 255, 255)
) -> Rgba:
    """Every alpha 0 or 255; transparent pixels are (0, 0, 0, 0).

    Args:
        threshold: BINARY: an alpha of at least this is opaque.
        background: OPAQUE: the picture is laid on it, in linear light, and all of it is 255.
    """
    if alpha is Alpha.OPAQUE:
        return _laid_on(rgba, background)
    found = rgba.copy()
    solid = rgba[..., 3] >= threshold
    found[..., 3] = 255
    found[~solid] = 0
    return found


def _laid_on(rgba: Rgba, background: tuple[int, int, int]) -> Rgba:
    found = rgba.copy()
    found[..., 3] = 255
    mixed = rgba[..., 3] < 255  # the others keep their bytes, whatever rounding does
    if mixed.any():
        share = rgba[mixed][:, 3:].astype(np.float32) / np.float32(255)
        below = to_linear(np.array(background, np.uint8))
        light = to_linear(rgba[mixed][:, :3]) * share + below * (1 - share)
        found[mixed, :3] = from_linear(light)
    return found
