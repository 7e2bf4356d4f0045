# SPDX-License-Identifier: Apache-2.0
"""Sprites as JSON."""

import base64
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from inglenook.api.openai.answers import require_success
from inglenook.engines.pixels import MadePicture
from inglenook.jobs.model import Job
from inglenook.pixels.palettes import hex_of


def sprite_json(made: MadePicture) -> dict[str, Any]:
    """One sprite that was made of a picture."""
    return {
        "width": made.width,
        "height": made.height,
        "png": _base64(made.png),
        "palette": None if made.palette is None else [hex_of(color) for color in made.palette],
        "proof": made.proof.as_json(),
        "grid": None if made.grid is None else asdict(made.grid),
        "offset": list(made.offset),
        "pivot": list(made.pivot),
        "notes": list(made.notes),
    }


def converted(sprites: Sequence[MadePicture]) -> dict[str, Any]:
    """The first sprite, and all of them as `frames` where there are several."""
    first = sprite_json(sprites[0])
    return first if len(sprites) == 1 else {**first, "frames": [sprite_json(one) for one in sprites]}


def result(job: Job, frames: Sequence[bytes]) -> dict[str, Any]:
    """A finished job: what it says of itself, and each variant with its frames as PNGs.

    Args:
        frames: of all variants, in their order.

    Raises what the job failed with.
    """
    told = dict(require_success(job).result)
    parts = sorted(told.pop("parts", []), key=lambda part: part["index"])
    rest = iter(frames)
    return {
        "object": "pixel.sprites",
        "job_id": job.id,
        **told,
        "palette": _hexes(told.get("palette")),
        "sprites": [
            {
                **part,
                "palette": _hexes(part["palette"]),
                "frames": [
                    {"blob": blob, "png": _base64(next(rest)), "duration_ms": duration}
                    for blob, duration in zip(part["frames"], part["durations_ms"], strict=True)
                ],
            }
            for part in parts
        ],
    }


def _hexes(palette: Sequence[Sequence[int]] | None) -> list[str] | None:
    return None if palette is None else [hex_of((color[0], color[1], color[2])) for color in palette]


def _base64(png: bytes) -> str:
    return base64.b64encode(png).decode("ascii")
