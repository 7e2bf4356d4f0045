# SPDX-License-Identifier: Apache-2.0
"""A picture as the page shows it: a tile, and everything that is needed to make it again. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inglenook.base.units import format_bytes, format_seconds
from inglenook.gallery.model import Picture

PIXEL_SIDE_PX = 256
"""Pictures up to this side are enlarged with hard edges: smoothing would only blur what is there."""

_LABELS: Mapping[str, str] = {
    "negative_prompt": "Without",
    "model": "Model",
    "engine": "Engine",
    "mode": "Made",
    "size": "Size",
    "seed": "Seed",
    "steps": "Steps",
    "guidance_scale": "Guidance",
    "scheduler": "Scheduler",
    "sigmas": "Noise levels",
    "strength": "Strength",
    "style": "Style",
    "loras": "LoRAs",
    "vae": "VAE",
    "clip_skip": "CLIP skip",
    "hires": "Second pass",
    "transparent": "Transparent",
    "sprite": "Sprite",
    "matted_by": "Cut out by",
    "seconds": "Took",
}
_MODES: Mapping[str, str] = {
    "text": "from words",
    "image": "from a picture",
    "inpaint": "inside a mask",
    "edit": "from a picture, by words",
}
_NOT_SHOWN = frozenset(
    {
        "prompt",
        "software",
        "image",
        "mask",
        "more_images",
        "width",
        "height",
        "drawn_width",
        "drawn_height",
        "plain_prompt",
        "plain_negative_prompt",
        "output_format",
    }
)

_SUFFIX: Mapping[str, str] = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
}


@dataclass(frozen=True, slots=True)
class PictureView:
    """Enough for a tile: where the file is, how large it is, and what was asked."""

    id: str
    url: str
    width: int
    height: int
    prompt: str
    seed: int
    model: str = ""
    media_type: str = "image/png"
    size_bytes: int = 0
    created_at: str = ""
    job: str = ""

    @property
    def pixelated(self) -> bool:
        return max(self.width, self.height) <= PIXEL_SIDE_PX

    @property
    def alt(self) -> str:
        return f"Drawn from: {self.prompt[:200]}"

    @property
    def file_words(self) -> str:
        return f"{self.media_type.removeprefix('image/').upper()}, {format_bytes(self.size_bytes)}"

    @property
    def file_name(self) -> str:
        return f"{self.id}.{_SUFFIX.get(self.media_type, 'png')}"


def of_part(part: Mapping[str, Any], *, prompt: str) -> PictureView:
    """One entry of `job.result["parts"]`."""
    picture_id = str(part["picture_id"])
    return PictureView(
        id=picture_id,
        url=file_url(picture_id),
        width=int(part["width"]),
        height=int(part["height"]),
        prompt=prompt,
        seed=int(part["seed"]),
        media_type=str(part.get("media_type") or "image/png"),
        size_bytes=int(part.get("size_bytes") or 0),
    )


def of_picture(picture: Picture) -> PictureView:
    return PictureView(
        id=picture.id,
        url=file_url(picture.id),
        width=picture.width,
        height=picture.height,
        prompt=picture.prompt,
        seed=picture.seed,
        model=picture.model,
        media_type=picture.media_type,
        size_bytes=picture.size_bytes,
        created_at=picture.created_at.isoformat(),
        job=picture.job or "",
    )


def file_url(picture_id: str) -> str:
    return f"/v1/pictures/{picture_id}/file"


def parameter_rows(parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(label, value) of everything that was kept, known names first and in a fixed order."""
    shown = {name: value for name, value in parameters.items() if name not in _NOT_SHOWN}
    shown["size"] = _size(parameters)
    names = [name for name in _LABELS if name in shown] + sorted(set(shown) - set(_LABELS))
    return [
        (_LABELS.get(name, name.replace("_", " ").capitalize()), _text(name, shown[name]))
        for name in names
        if shown[name] is not False and shown[name] not in (None, "", [], {})  # 0 says something
    ]


def _size(parameters: Mapping[str, Any]) -> str:
    width, height = parameters.get("width"), parameters.get("height")
    drawn = parameters.get("drawn_width"), parameters.get("drawn_height")
    if width is None or height is None:
        return ""
    words = f"{width} × {height}"
    return words if drawn in ((None, None), (width, height)) else f"{words}, drawn at {drawn[0]} × {drawn[1]}"


def _text(name: str, value: Any) -> str:
    if name == "mode":
        return _MODES.get(str(value), str(value))
    if name == "loras":
        return ", ".join(f"{it['model']} × {float(it['weight']):g}" for it in value)
    if name == "hires":
        size = f"{value['width']} × {value['height']}"
        return f"{size}, changed by {float(value['strength']):g}, from {value['upscaler']}"
    if name == "sprite" and isinstance(value, dict):
        return _sprite(value)
    if name == "seconds":
        return format_seconds(float(value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


def _sprite(told: Mapping[str, Any]) -> str:
    """What was kept of a sprite, in words; its files and figures are for programs."""
    durations, palette = told.get("durations_ms"), told.get("palette")
    words = [f"by {told['engine']}"] if isinstance(told.get("engine"), str) else []
    if isinstance(durations, list) and len(durations) > 1:
        words.append(f"{len(durations)} frames of {durations[0]} ms")
    words.append(f"palette of {len(palette)}" if isinstance(palette, list) else "every colour kept")
    return ", ".join(words)
