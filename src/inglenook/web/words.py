# SPDX-License-Identifier: Apache-2.0
"""What the page says, in words: places in a queue, progress, receipts. Pure text from plain values."""

from collections.abc import Mapping
from typing import Any

from inglenook.base.errors import begun
from inglenook.base.units import format_bytes, format_seconds
from inglenook.jobs.model import Job, JobState, Receipt

STATE_WORDS: Mapping[JobState, str] = {
    JobState.QUEUED: "in line",
    JobState.WAITING: "in line",
    JobState.RUNNING: "drawing",
    JobState.PAUSED: "paused",
    JobState.SUCCEEDED: "done",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
    JobState.INTERRUPTED: "interrupted",
}

_STAGES: Mapping[str, str] = {
    "encode": "Reading the prompt",
    "decode": "Finishing the picture",
    "save": "Keeping the picture",
}


def ordinal(number: int) -> str:
    """1 → ``1st``, 2 → ``2nd``, 11 → ``11th``."""
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


def about(seconds: float) -> str:
    """A duration that is only an estimate: ``about 4 s``, ``about 2 min 10 s``, ``less than a second``."""
    if seconds < 1:
        return "less than a second"
    return f"about {round(seconds)} s" if seconds < 60 else f"about {format_seconds(seconds)}"


def capfirst(text: str) -> str:
    """The first letter as a capital, and no full stop at the end: whoever shows it sets its own."""
    return sentence(text).rstrip(".")


def sentence(text: str) -> str:
    """The first letter as a capital, but for names."""
    return begun(text)


def ended(text: str) -> str:
    """With a full stop, unless it ends in a mark of its own."""
    return text if text.endswith((".", "?", "!", "…")) else f"{text}."


def join(parts: list[str]) -> str:
    return " · ".join(part for part in parts if part)


def wait_line(explanation: Mapping[str, Any] | None) -> str:
    """Where a waiting job stands and why, from a `runtime.Explanation` as JSON (None: nothing known yet)."""
    if explanation is None or "reason" not in explanation:
        return "In line; it is about to be looked at"
    position = int(explanation.get("position") or 1)
    place = "Next in line" if position == 1 else f"{ordinal(position)} in line"
    text = _reason_text(explanation["reason"])
    estimate = explanation.get("estimate_s")
    return join([f"{place}: {text}" if text else place, _begins(estimate)])


def _begins(estimate_s: Any) -> str:
    """An estimate of nothing is one that was passed already, so it promises nothing."""
    if estimate_s is None:
        return ""
    return "begins soon" if float(estimate_s) < 1 else f"begins in {about(float(estimate_s))}"


def _reason_text(reason: Any) -> str:
    if isinstance(reason, Mapping):
        return str(reason.get("text") or "").rstrip(".")
    return str(reason or "").rstrip(".")


def wait_detail(explanation: Mapping[str, Any] | None) -> str:
    """Who holds what it waits for, and what was unloaded for it; empty when there is nothing to add."""
    if explanation is None:
        return ""
    reason = explanation.get("reason")
    said = _reason_text(reason)
    holders = [str(item) for item in reason.get("holders") or ()] if isinstance(reason, Mapping) else []
    holders = [holder for holder in holders if holder not in said]
    evicted = [str(item) for item in explanation.get("evicted") or ()]
    return join(
        [
            f"Held by {', '.join(holders)}" if holders else "",
            f"Unloaded for it: {', '.join(evicted)}" if evicted else "",
        ]
    )


def progress_line(event: Mapping[str, Any]) -> str:
    """``Step 12 of 25 · picture 2 of 4 · about 3 s left``, from the data of a progress event.

    `picture` counts from 0, as on the wire.
    """
    stage = str(event.get("stage") or "")
    step, steps = event.get("step"), event.get("steps")
    if stage == "denoise" and step is not None and steps is not None:
        doing = f"Step {step} of {steps}"
    else:
        doing = _STAGES.get(stage, stage.capitalize())
    pictures = int(event.get("pictures") or 1)
    which = f"picture {int(event.get('picture') or 0) + 1} of {pictures}" if pictures > 1 else ""
    return join([doing, which, _left(event.get("estimate_s"))])


def running_line(job: Job) -> str:
    """What is known of a running job from its record alone, before the next event tells more."""
    if job.progress <= 0 and job.stage is None:
        return "Beginning"
    stage = "" if job.stage in (None, "denoise") else _STAGES.get(str(job.stage), str(job.stage).capitalize())
    return join([f"{percent(job.progress)} %", stage, _left(job.estimate_s)])


def _left(estimate_s: Any) -> str:
    return "" if estimate_s is None else f"{about(float(estimate_s))} left"


def percent(fraction: float) -> int:
    """In [0, 100]; never says 100 before it is so."""
    return min(100, max(0, int(fraction * 100)))


def receipt_line(receipt: Receipt) -> str:
    """What a cancel did: how it stopped, how long that took, and what it gave back."""
    took = f" It took {format_seconds(receipt.seconds)}." if receipt.seconds >= 0.05 else ""
    before, after = receipt.before_bytes, receipt.after_bytes
    memory = (
        ""
        if before is None or after is None
        else f" Memory in use on the device: {format_bytes(before)} before, {format_bytes(after)} after."
    )
    return f"{capfirst(receipt.how)}.{took}{memory}"


def count(number: int, one: str, many: str) -> str:
    """``1 picture``, ``3 pictures``."""
    return f"{number} {one if number == 1 else many}"
