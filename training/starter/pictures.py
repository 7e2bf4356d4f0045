# SPDX-License-Identifier: Apache-2.0
"""Picture transforms in numpy: recolour, place, mirror, put on a background, put side by side.

A sprite is float32 (H, W, 4), RGB straight (not premultiplied) and alpha, range [0, 1]. A picture is float32
(32, 32, 3), range [0, 1]. Every function returns a new array and is deterministic; chance comes from the
caller.
"""

import numpy as np
from PIL import Image

from training.starter.vocabulary import COLOURS

SIZE_PX = 32  # side of a training picture
RASTER_PX = 64  # side of a stored sprite: twice the picture, so that a scaled sprite is still sharp

Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def rgb_to_hsv(rgb: Array) -> Array:
    """rgb (..., 3) in [0, 1] -> hue in degrees [0, 360), saturation and value in [0, 1]."""
    value = rgb.max(-1)
    chroma = value - rgb.min(-1)
    safe = np.where(chroma > 1e-6, chroma, 1.0)
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    hue = (
        np.where(value == r, (g - b) / safe % 6, np.where(value == g, (b - r) / safe + 2, (r - g) / safe + 4))
        * 60
    )
    hue = np.where(chroma > 1e-6, hue, 0.0) % 360
    saturation = np.where(value > 0, chroma / np.where(value > 0, value, 1.0), 0.0)
    return np.stack([hue, saturation, value], -1).astype(np.float32)


def hsv_to_rgb(hsv: Array) -> Array:
    """The inverse of rgb_to_hsv; a hue outside [0, 360) wraps."""
    hue, saturation, value = hsv[..., 0:1] / 60, hsv[..., 1:2], hsv[..., 2:3]
    # Each channel is a trapezoid in hue; 5, 3 and 1 are where red, green and blue start to fall.
    sector = (np.array([5, 3, 1], np.float32) + hue) % 6
    rgb: Array = value - value * saturation * np.clip(np.minimum(sector, 4 - sector), 0, 1)
    return rgb.astype(np.float32)


def colour_word(hue: float, saturation: float, value: float) -> str:
    """The colour word for one colour; hue in degrees."""
    if value < 0.25:
        return "black"
    if saturation < 0.15:
        return "white" if value > 0.85 else "gray"
    if hue < 15 or hue >= 345:
        return "red" if saturation > 0.5 else "pink"
    if hue < 42:
        return "orange" if value > 0.75 and saturation > 0.55 else "brown"
    for bound, word in ((68, "yellow"), (170, "green"), (255, "blue"), (300, "purple")):
        if hue < bound:
            return word
    return "pink"


def main_colour(sprite: Array) -> tuple[str, Array, Array]:
    """Find the colour that a person would name.

    Returns its word, the share (H, W) in [0, 1] with which each pixel belongs to it, and its median hue,
    saturation and value (3,). The dominant hue counts if at least a quarter of the visible pixels are
    coloured; otherwise the neutral pixels do.
    """
    hsv = rgb_to_hsv(sprite[..., :3])
    hue, saturation, value = hsv[..., 0], hsv[..., 1], hsv[..., 2]
    visible = sprite[..., 3] > 0.5
    coloured = visible & (saturation > 0.2) & (value > 0.2)
    if coloured.sum() > 0.25 * visible.sum():
        votes, _ = np.histogram(hue[coloured], 24, (0, 360), weights=(saturation * value)[coloured])
        smooth = votes + 0.6 * (np.roll(votes, 1) + np.roll(votes, -1))  # a hue may straddle two bins
        centre = (float(smooth.argmax()) + 0.5) * 15
        distance = np.abs((hue - centre + 180) % 360 - 180)
        share = np.clip((52 - distance) / 16, 0, 1) * np.clip((saturation - 0.1) / 0.15, 0, 1)
        core = coloured & (distance < 36)
        # Hue is circular: take the median of the offset from the centre.
        middle = (centre + float(np.median((hue[core] - centre + 180) % 360 - 180))) % 360
        median = np.array([middle, np.median(saturation[core]), np.median(value[core])], np.float32)
        return colour_word(*median.tolist()), share.astype(np.float32), median
    neutral = visible & (saturation < 0.3)
    core = neutral if neutral.any() else visible
    share = np.where(value > 0.25, 1.0, 0.3) * np.clip((0.32 - saturation) / 0.15, 0, 1)
    median = np.array([0, 0, np.median(value[core]) if core.any() else 0.5], np.float32)
    return colour_word(*median.tolist()), share.astype(np.float32), median


def recolour(sprite: Array, colour: str) -> Array:
    """Give the sprite's main colour another colour word, keeping its light, shadow and secondary colours."""
    _, share, median = main_colour(sprite)
    hue0, saturation0, value0 = median.tolist()
    hsv = rgb_to_hsv(sprite[..., :3])
    hue, saturation, value = hsv[..., 0], hsv[..., 1], hsv[..., 2]
    light = value / max(float(value0), 0.05)  # 1 at the median: shading relative to the body colour
    target = COLOURS[colour]
    if target is not None:
        was_neutral = saturation0 < 0.05
        # Keep a little of the hue variation.
        swing = (0.0 if was_neutral else 0.35) * ((hue - hue0 + 180) % 360 - 180)
        new_hue: Array = target[0] + swing
        richness = np.clip(saturation / max(float(saturation0), 0.05), 0, 1.1)
        if was_neutral:
            richness = np.full_like(saturation, 0.9)
        new_saturation = np.clip(target[1] * richness, 0, 1)
        new_value = np.clip(target[2] * (0.35 + 0.65 * np.clip(light, 0, 1.3)), 0, 1)
    else:
        new_hue, new_saturation = hue, saturation * 0.08
        if colour == "black":
            new_value = np.clip(0.21 * light, 0, 0.5)
        elif colour == "white":
            # A light grey shade keeps it off the paper.
            new_value = 1 - 0.8 * (1 - 0.94 * np.clip(light, 0, 1.05))
        else:
            new_value = np.clip(0.6 * light, 0, 0.95)
    new = hsv_to_rgb(np.stack(np.broadcast_arrays(new_hue, new_saturation, new_value), -1).astype(np.float32))
    result = sprite.copy()
    result[..., :3] += (new - sprite[..., :3]) * share[..., None]
    return result


def place(sprite: Array, side_px: int, left_px: int, top_px: int, canvas_px: int = SIZE_PX) -> Array:
    """Scale a sprite to side_px with a box filter and put it on an empty canvas.

    Returns premultiplied RGBA (canvas_px, canvas_px, 4). What lies outside the canvas is cut off.
    """
    # Premultiply before scaling: the colour of invisible pixels must not bleed into the edge.
    flat = np.concatenate([sprite[..., :3] * sprite[..., 3:], sprite[..., 3:]], -1)
    if side_px * 2 == flat.shape[0]:
        small = flat.reshape(side_px, 2, side_px, 2, 4).mean((1, 3))
    else:
        image = Image.fromarray((flat * 255 + 0.5).astype(np.uint8), "RGBA")
        # Name the mode RGBa (premultiplied): Pillow would premultiply RGBA a second time.
        image = Image.frombytes("RGBa", image.size, image.tobytes()).resize(
            (side_px, side_px), Image.Resampling.BOX
        )
        small = np.frombuffer(image.tobytes(), np.uint8).reshape(side_px, side_px, 4).astype(np.float32) / 255
    canvas = np.zeros((canvas_px, canvas_px, 4), np.float32)
    x0, y0 = max(left_px, 0), max(top_px, 0)
    x1, y1 = min(left_px + side_px, canvas_px), min(top_px + side_px, canvas_px)
    canvas[y0:y1, x0:x1] = small[y0 - top_px : y1 - top_px, x0 - left_px : x1 - left_px]
    return canvas


def mirror(canvas: Array) -> Array:
    """Left to right."""
    return np.ascontiguousarray(canvas[:, ::-1])


def over(top: Array, background: Array) -> Array:
    """Premultiplied RGBA (H, W, 4) over an opaque background (3,) or (H, W, 3) -> picture (H, W, 3)."""
    return np.clip(top[..., :3] + (1 - top[..., 3:]) * background, 0, 1).astype(np.float32)


def background_colour(colour: str) -> Array:
    """The flat background for a colour word, (3,): paler than an object of that colour."""
    if colour == "white":
        return np.ones(3, np.float32)
    target = COLOURS[colour]
    if target is None:
        return np.full(3, 0.12 if colour == "black" else 0.62, np.float32)
    hue, saturation, value = target
    return hsv_to_rgb(np.array([hue, saturation * 0.62, min(1.0, value * 0.94 + 0.06)], np.float32))
