# SPDX-License-Identifier: Apache-2.0
"""What came of a generation, as PixelAI's client reads it, and with what we know more."""

import base64
from collections.abc import Mapping
from typing import Any

from inglenook.api.pixelai.desk import Made
from inglenook.api.pixelai.milestones import Status
from inglenook.api.pixelai.rgba import Raw
from inglenook.api.pixelai.shapes import failure
from inglenook.api.pixelai.tracks import Track
from inglenook.base.errors import InglenookError
from inglenook.door.problem import problem_of
from inglenook.pixels.palettes import hex_of


def answer_of(made: Made) -> dict[str, Any]:
    """The body of a generation that has succeeded. Blocks: megabytes are made base64."""
    track, result = made.track, made.result
    asked = track.asked
    images = [image_of(track, frame) for frame in made.frames]
    said = {
        "success": True,
        "image": images[0],
        "seed": seed_of(made),
        "prompt": asked.prompt,
        "generation_time": round(track.elapsed_s, 3),
        "generation_id": track.id,
        "full_prompt": track.full_prompt,
        **facts_of(made),
        "durations_ms": list(result.get("durations_ms") or ()),
        "pictures": [part["picture_id"] for part in result.get("parts", ()) if "picture_id" in part],
    }
    return said | ({"images": images} if len(images) > 1 else {})


def image_of(track: Track, frame: Raw) -> dict[str, Any]:
    return {
        "base64": base64.b64encode(frame.data).decode("ascii"),
        "width": frame.width,
        "height": frame.height,
        "mode": "rgba",
        "fit_mode": track.asked.fit_mode,
        "preserve_aspect": track.asked.preserve_aspect,
    }


def seed_of(made: Made) -> int | str | None:
    """Of the first variant; as a text where it was sent as one."""
    seeds = made.result.get("seeds") or [None]
    sent = made.track.asked.seed_sent
    return seeds[0] if sent is None or seeds[0] is None else str(seeds[0])


def facts_of(made: Made) -> dict[str, Any]:
    """What of the result is said alike over HTTP and on a socket."""
    result = made.result
    palette = result.get("palette")
    return {
        "engine": result.get("engine"),
        "model": result.get("model"),
        "device": result.get("device"),
        "seeds": list(result.get("seeds") or ()),
        "palette": None if palette is None else [hex_of(tuple(color)) for color in palette],
        "proof": result.get("proof"),
        "tags": [_tag(tag) for tag in result.get("tags") or ()],
        "notes": [*made.track.asked.notes, *(result.get("notes") or ())],
    }


def _tag(tag: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": tag["name"],
        "from": tag["first"],
        "to": tag["last"],
        "direction": str(tag.get("direction", "forward")).replace("-", ""),
    }


def progress_of(track: Track) -> dict[str, Any]:
    """The body of /progress: 0 to 100, and never less than before."""
    now = track.milestones.now
    asked = track.asked
    status = Status.EXPIRED if track.is_expired else track.status
    heard_at = track.heard_at or track.ended_at or track.clock.now()
    said: dict[str, Any] = {
        "success": not track.is_expired,
        "generation_id": track.id,
        "progress": now.progress,
        "status": status.value,
        "message": now.message,
        "timestamp": heard_at.isoformat(),
        "current_step": now.step,
        "total_steps": now.steps,
        "elapsed_seconds": round(track.elapsed_s, 3),
        "eta_seconds": now.eta_s,
        "seconds_per_it": now.seconds_per_it,
        "width": asked.width,
        "height": asked.height,
        "steps": asked.steps,
        "expires_at": None if track.expires_at is None else track.expires_at.isoformat(),
        "expired_at": track.expires_at.isoformat() if track.is_expired and track.expires_at else None,
        "stage": now.stage,
        "canceling": track.stopping and not track.ended.is_set(),
        "position": now.position,
        "why": now.why,
    }
    return said | _end_of(track)


def _end_of(track: Track) -> dict[str, Any]:
    if track.status is Status.CANCELED:
        return {"message": "Generation canceled", "code": "CANCELED"}
    error = track.error()
    if track.status is not Status.ERROR or error is None:
        return {}
    said = failure_of(error, track)
    return {"message": said["error"], "error": said["error"], "code": said["code"]}


def failure_of(error: InglenookError, track: Track, *, hinted: bool = True) -> dict[str, Any]:
    return failure(problem_of(error), engine=track.engine, generation_id=track.id, hinted=hinted)
