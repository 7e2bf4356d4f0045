# SPDX-License-Identifier: Apache-2.0
"""Sprites whose pixels are known, and what is done to them before somebody asks for them back."""

from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

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


def creature(seed: int) -> Rgba:
    """Mirrored, two hues in three shades each, an outline, a plain ground; 16 to 48 pixels a side."""
    random = np.random.default_rng(10_000 + seed)
    side = int(random.choice([16, 24, 32, 48]))
    y, x = np.mgrid[:side, : side // 2] / side - 0.5
    rough = _smoothed(random.normal(size=y.shape))
    body = np.hypot(x, y) + 0.25 * rough < 0.42
    hues = random.random(2)[(_smoothed(random.normal(size=y.shape)) > 0).astype(int)]
    light = np.clip(3 * (0.5 - y) + random.normal(0, 0.35, y.shape), 0, 2).astype(int)
    out = np.full((side, side, 4), 255, np.uint8)
    out[..., :3] = [(255, 255, 255), (0, 0, 0), (90, 140, 200), (120, 120, 120)][random.integers(4)]
    half = out[:, : side // 2]
    half[body, :3] = _rgb((hues + 0.03 * light) % 1, 0.75 - 0.15 * light, 0.45 + 0.22 * light)[body]
    near = np.pad(body, 1)
    ring = (near[:-2, 1:-1] | near[2:, 1:-1] | near[1:-1, :-2] | near[1:-1, 2:]) & ~body
    half[ring, :3] = (16, 12, 24) if half[0, 0, 0] else (230, 230, 240)
    out[:, side // 2 :] = half[:, ::-1]
    return out


def landscape(seed: int) -> Rgba:
    """Bands that blend by ordered dithering, and squares, border to border; 16 to 64 pixels a side."""
    random = np.random.default_rng(20_000 + seed)
    side, count = int(random.choice([16, 32, 64])), int(random.integers(3, 7))
    step = np.arange(count)
    hue, high = (random.random() + 0.1 * step) % 1, 0.2 + 0.75 * step / count
    palette = np.concatenate([_rgb(hue, 0.5 + 0.1 * (step % 3), high), _rgb(random.random(1), 0.8, 0.8)])
    y, x = np.mgrid[:side, :side]
    hills = 0.08 * np.sin(6.3 * x / side * random.integers(1, 3) + 6 * random.random())
    dots = 0.9 * np.array([[0.0, 0.5], [0.75, 0.25]])[y % 2, x % 2]
    bands = np.clip(np.floor((y / side + hills) * (count - 1) + dots), 0, count - 1).astype(int)
    for _ in range(random.integers(3, 9)):
        top, left, width = *random.integers(0, side, 2), random.integers(1, max(2, side // 8))
        bands[top : top + width, left : left + width] = count
    return np.dstack([palette[bands], np.full((side, side), 255)]).astype(np.uint8)


def icon(seed: int) -> Rgba:
    """Thin lines, frames, discs and dots on a plain ground; 16 to 48 pixels a side."""
    random = np.random.default_rng(30_000 + seed)
    side = int(random.choice([16, 24, 32, 48]))

    def ink() -> tuple[int, ...]:
        return (*(int(level) for level in random.integers(0, 256, 3)), 255)

    image = Image.new("RGBA", (side, side), ink())
    draw = ImageDraw.Draw(image)
    for kind in random.integers(0, 4, random.integers(4, 9)):
        left, right = sorted(int(one) for one in random.integers(1, side - 1, 2))
        top, bottom = sorted(int(one) for one in random.integers(1, side - 1, 2))
        if kind == 0:
            draw.line((left, top, right, bottom), fill=ink())
        elif kind == 1:
            draw.rectangle((left, top, right, bottom), outline=ink())
        elif kind == 2:
            draw.ellipse((left, top, right, bottom), outline=ink(), fill=ink())
        else:
            draw.point([int(one) for one in random.integers(0, side, 20)], fill=ink())
    return np.asarray(image)


def _smoothed(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    around = np.pad(values, 1, mode="edge")
    rows, columns = values.shape
    found: npt.NDArray[np.float64] = np.mean(
        [around[y : y + rows, x : x + columns] for y in range(3) for x in range(3)], axis=0
    )
    return found


def _rgb(hue: npt.ArrayLike, saturation: npt.ArrayLike, value: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """0 to 255, (..., 3), of HSV, each 0 to 1."""
    turn, s, v = np.broadcast_arrays(6 * np.asarray(hue), saturation, value)
    away = (np.array([5, 3, 1]) + turn[..., None]) % 6
    part = np.clip(np.minimum(away, 4 - away), 0, 1)
    found: npt.NDArray[np.float64] = 255 * v[..., None] * (1 - s[..., None] * part)
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
