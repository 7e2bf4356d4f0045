# SPDX-License-Identifier: Apache-2.0
"""Sprites whose pixels are known, and what is done to them before somebody asks for them back."""

from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Rgba = npt.NDArray[np.uint8]


def field(seed: int, side: int = 32, colors: int = 8) -> Rgba:
    """Patches of random colours from border to border, opaque."""
    random = np.random.default_rng(seed)
    palette = random.integers(0, 256, (colors, 3))
    around = np.pad(random.normal(size=(side, side)), 1, mode="wrap")
    smooth = sum(around[y : y + side, x : x + side] for y in range(3) for x in range(3))
    ranks = np.asarray(smooth).argsort(axis=None).argsort().reshape(side, side)
    return np.dstack([palette[ranks * colors // side**2], np.full((side, side), 255)]).astype(np.uint8)


def subject(seed: int, side: int = 32, background: tuple[int, int, int, int] = (255, 255, 255, 255)) -> Rgba:
    """A disc of patches with a dark outline on a plain background."""
    found = field(seed, side)
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    away = np.hypot(x, y)
    found[away > side * 0.38 - 1.2] = (20, 20, 30, 255)
    found[away > side * 0.38] = background
    return found


def enlarged(rgba: Rgba, width: int, height: int, how: Image.Resampling = Image.Resampling.NEAREST) -> Rgba:
    return np.asarray(Image.fromarray(rgba).resize((width, height), how))


def blurred(rgba: Rgba, sigma_px: float) -> Rgba:
    return np.asarray(Image.fromarray(rgba).filter(ImageFilter.GaussianBlur(sigma_px)))


def through_jpeg(rgba: Rgba, quality: int) -> Rgba:
    """The alpha comes through as it was: JPEG has none."""
    out = BytesIO()
    Image.fromarray(rgba[..., :3]).save(out, "JPEG", quality=quality)
    return np.dstack([np.asarray(Image.open(out)), rgba[..., 3]])


def noisy(rgba: Rgba, sigma: float, seed: int = 0) -> Rgba:
    """`sigma`: in levels of 255."""
    found = rgba.astype(np.float64)
    found[..., :3] += np.random.default_rng(seed).normal(0, sigma, found[..., :3].shape)
    return found.round().clip(0, 255).astype(np.uint8)


def jittered(rgba: Rgba, most_px: int, seed: int = 0) -> Rgba:
    """Each row moved sideways by up to `most_px`."""
    shifts = np.random.default_rng(seed).integers(-most_px, most_px + 1, len(rgba))
    return np.stack([np.roll(row, int(by), axis=0) for row, by in zip(rgba, shifts, strict=True)])
