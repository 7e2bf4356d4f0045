# SPDX-License-Identifier: Apache-2.0
"""Icons of a sprite: enlarged by whole factors only, and set in the middle, so that no pixel is smeared."""

import json
from io import BytesIO
from typing import Any, Final

import numpy as np
from PIL import Image

from inglenook.base.errors import Invalid
from inglenook.pixels.files.png import png
from inglenook.pixels.files.sheet import archive
from inglenook.pixels.oklab import Bytes

ICO_SIDES: Final = (16, 32, 48, 64, 128, 256)
_WEB: Final = {"favicon-16.png": 16, "favicon-32.png": 32, "icon-192.png": 192, "icon-512.png": 512}
_ANDROID: Final = {"mdpi": 48, "hdpi": 72, "xhdpi": 96, "xxhdpi": 144, "xxxhdpi": 192}
_MAC: Final = (16, 32, 128, 256, 512)
_SAFE: Final = 0.8
"""Of a maskable icon's side: what is outside of a circle of that diameter may be cut off (W3C manifest)."""
_WHITE: Final = (255, 255, 255)
"""Under icons that may not be transparent."""


def ico(sprite: Bytes) -> bytes:
    """A Windows icon with each of `ICO_SIDES` that the sprite fits.

    Raises:
        Invalid: the sprite is larger than the largest of them.
    """
    fitting = [side for side in ICO_SIDES if side >= max(sprite.shape[:2])]
    if not fitting:
        raise _too_large(sprite, ICO_SIDES[-1])
    images = [Image.fromarray(icon(sprite, side)) for side in fitting]
    out = BytesIO()
    sizes = [(side, side) for side in fitting]
    images[-1].save(out, "ICO", sizes=sizes, append_images=images[:-1])
    return out.getvalue()


def icon(sprite: Bytes, side: int, room: float = 1.0, ground: tuple[int, int, int] | None = None) -> Bytes:
    """The sprite in the middle of a square, uint8 (side, side, 4), as large as a whole factor makes it.

    Args:
        room: share of the side that it may take.
        ground: colour under it; None leaves it transparent.

    Raises:
        Invalid: the sprite does not fit.
    """
    height, width = sprite.shape[:2]
    factor = int(side * room) // max(height, width)
    if not factor:
        raise _too_large(sprite, int(side * room))
    large = sprite.repeat(factor, 0).repeat(factor, 1)
    canvas = np.zeros((side, side, 4), np.uint8)
    top, left = (side - large.shape[0]) // 2, (side - large.shape[1]) // 2
    canvas[top : top + large.shape[0], left : left + large.shape[1]] = large
    return canvas if ground is None else _laid_on(canvas, ground)


def _laid_on(rgba: Bytes, ground: tuple[int, int, int]) -> Bytes:
    share = rgba[..., 3:].astype(np.float64) / 255
    mixed = rgba[..., :3] * share + np.array(ground) * (1 - share)
    return np.dstack([mixed.round().astype(np.uint8), np.full(rgba.shape[:2], 255, np.uint8)])


def _too_large(sprite: Bytes, side: int) -> Invalid:
    height, width = sprite.shape[:2]
    return Invalid(
        f"The sprite is {width} x {height} pixels, and the icon has room for {side} x {side}.",
        field="frames",
        hint="make the sprite smaller: icons enlarge it by whole factors and never shrink it",
    )


def icon_set(sprite: Bytes, name: str) -> bytes:
    """A zip with icons for the web, Android and Apple: each size that the sprite fits, and what names them.

    Icons that may not be transparent (Apple's, the maskable one) lie on white.

    Raises:
        Invalid: the sprite is larger than 256 pixels a side.
    """
    files = {**_web(sprite, name), **_android(sprite), **_apple(sprite)}
    return archive(files)


def _fits(sprite: Bytes, side: int) -> bool:
    largest: int = max(sprite.shape[:2])
    return side >= largest


def _web(sprite: Bytes, name: str) -> dict[str, bytes]:
    files = {"web/favicon.ico": ico(sprite)}
    listed = []
    for file, side in _WEB.items():
        if _fits(sprite, side):
            files[f"web/{file}"] = png(icon(sprite, side))
            listed.append({"src": file, "sizes": f"{side}x{side}", "type": "image/png"})
    files["web/icon-maskable-512.png"] = png(icon(sprite, 512, _SAFE / 2**0.5, _WHITE))
    maskable = {
        "src": "icon-maskable-512.png",
        "sizes": "512x512",
        "type": "image/png",
        "purpose": "maskable",
    }
    if _fits(sprite, 180):
        files["web/apple-touch-icon.png"] = png(icon(sprite, 180, 1.0, _WHITE))
    files["web/site.webmanifest"] = _json({"name": name, "icons": [*listed, maskable]})
    return files


def _android(sprite: Bytes) -> dict[str, bytes]:
    files = {
        f"android/mipmap-{density}/ic_launcher.png": png(icon(sprite, side))
        for density, side in _ANDROID.items()
        if _fits(sprite, side)
    }
    return {**files, "android/play-store-512.png": png(icon(sprite, 512))}


def _apple(sprite: Bytes) -> dict[str, bytes]:
    """An asset catalogue: one picture for iOS, those of macOS at single and double size."""
    folder = "apple/AppIcon.appiconset/"
    files = {f"{folder}ios-1024.png": png(icon(sprite, 1024, 1.0, _WHITE))}
    images: list[dict[str, Any]] = [
        {"filename": "ios-1024.png", "idiom": "universal", "platform": "ios", "size": "1024x1024"}
    ]
    for points in _MAC:
        for scale in (1, 2):
            side = points * scale
            if _fits(sprite, side):
                files[f"{folder}mac-{side}.png"] = png(icon(sprite, side))
                size = {"size": f"{points}x{points}", "scale": f"{scale}x"}
                images.append({"filename": f"mac-{side}.png", "idiom": "mac", **size})
    files[f"{folder}Contents.json"] = _json({"images": images, "info": {"author": "inglenook", "version": 1}})
    return files


def _json(told: dict[str, Any]) -> bytes:
    return json.dumps(told, ensure_ascii=False, indent=1).encode()
