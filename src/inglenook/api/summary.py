# SPDX-License-Identifier: Apache-2.0
"""/metrics as ALICE's dashboard reads it: a few numbers in JSON."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from inglenook.base.ids import PersonId
from inglenook.door.services import Jobs
from inglenook.images.work import KIND
from inglenook.jobs.model import FINAL, Job, JobState

AVERAGED = 100
"""Of so many of the caller's last drawings the average time is told."""
_ACTIVE = (JobState.RUNNING, JobState.PAUSED)
_GB = 1 << 30

SUMMARY: dict[str, Any] = {
    "type": "object",
    "required": ["queueDepth", "activeGenerations", "modelsLoaded", "totalGenerations"],
    "properties": {
        "queueDepth": {"type": "integer", "description": "drawings that are not over, running ones included"},
        "activeGenerations": {"type": "integer"},
        "gpuUtilization": {
            "type": "number",
            "description": "0 to 1: share of the accelerators' memory in use",
        },
        "gpuMemoryUsed": {"type": "string"},
        "gpuMemoryTotal": {"type": "string"},
        "modelsLoaded": {"type": "integer"},
        "totalGenerations": {"type": "integer", "description": "drawings that succeeded, ever"},
        "avgGenerationTime": {"type": "number", "description": "seconds, without the wait"},
    },
}


def wants_summary(accept: str | None) -> bool:
    """Whether JSON is asked for rather than Prometheus' text.

    Prometheus names `text/plain` or OpenMetrics; ALICE's dashboard and scripts say `*/*`, as every plain HTTP
    client does. So: what is named wins, by weight and then by place; `*/*` alone is JSON; no header at all is
    the text, as is a browser's `text/html`.
    """
    if accept is None:
        return False
    weights = [_weighed(part, place) for place, part in enumerate(accept.split(","))]
    named = [one for one in weights if one[2] != "*/*" and one[0] > 0]
    json = [one for one in named if one[2] in ("application/json", "application/*")]
    text = [
        one for one in named if one[2].startswith("text/") or one[2].startswith("application/openmetrics")
    ]
    if json and text:
        return max(json)[:2] > max(text)[:2]
    return bool(json) or not text


def _weighed(part: str, place: int) -> tuple[float, int, str]:
    """Weight, place (the first is the greatest) and media range."""
    kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
    weight = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                weight = float(value)
            except ValueError:
                weight = 0.0
    return weight, -place, kind


def models_loaded(snapshot: Mapping[str, Any]) -> int:
    return sum(resident["state"] == "ready" for resident in snapshot["residents"])


async def summary(*, jobs: Jobs, snapshot: Mapping[str, Any], person: PersonId) -> dict[str, Any]:
    """Args:
    snapshot: the runtime's.
    person: whose drawings are averaged.
    """
    counts = await jobs.counts(KIND)
    last = await jobs.list(person, states=[JobState.SUCCEEDED], kind=KIND, limit=AVERAGED)
    used, total = _memory(snapshot["devices"])
    return {
        "queueDepth": sum(count for state, count in counts.items() if state not in FINAL),
        "activeGenerations": sum(counts.get(state, 0) for state in _ACTIVE),
        "gpuUtilization": round(used / total, 4) if total else 0.0,
        "gpuMemoryUsed": _gb(used),
        "gpuMemoryTotal": _gb(total),
        "modelsLoaded": models_loaded(snapshot),
        "totalGenerations": counts.get(JobState.SUCCEEDED, 0),
        "avgGenerationTime": _average_s(last),
    }


def _memory(devices: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Bytes in use and in all of the accelerators; a CPU is none."""
    gpus = [device for device in devices if device.get("kind", "cpu") != "cpu"]
    return sum(device.get("used_bytes") or 0 for device in gpus), sum(
        device["total_bytes"] for device in gpus
    )


def _gb(count: int) -> str:
    return f"{count / _GB:.1f} GB"


def _average_s(done: Sequence[Job]) -> float:
    seconds = [
        (job.finished_at - job.started_at).total_seconds()
        for job in done
        if job.finished_at is not None and job.started_at is not None
    ]
    return round(fmean(seconds), 3) if seconds else 0.0
