# SPDX-License-Identifier: Apache-2.0
"""How far a generation is, in PixelAI's numbers: 0 to 100, never back. Pure but for the time that is given.

0  accepted, or waiting for the accelerator     40 to 75  the steps, evenly
5  it has what it needs; the model may load     80 90 95  matte, pixels, kept       98  made   100  done
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from inglenook.jobs.model import EventType, JobEvent, JobState

ACCEPTED, BEGUN, ENCODED, FIRST, LAST, MADE, DONE = 0, 5, 20, 40, 75, 98, 100
AFTER: Final[Mapping[str, int]] = {"matte": 80, "pixels": 90, "keep": 95}
"""Stages after the drawing → what is reached when one begins."""
SAMPLES: Final = 3
"""So many steps must have been timed before anything is foretold."""
_REMEMBERED: Final = 32


class Status(StrEnum):
    GENERATING = "generating"
    COMPLETED = "completed"
    ERROR = "error"
    CANCELED = "canceled"
    EXPIRED = "expired"


ENDED: Final[Mapping[JobState, Status]] = {
    JobState.SUCCEEDED: Status.COMPLETED,
    JobState.FAILED: Status.ERROR,
    JobState.INTERRUPTED: Status.ERROR,
    JobState.CANCELLED: Status.CANCELED,
}


@dataclass(frozen=True, slots=True)
class Standing:
    """Attributes:
    progress: 0 to 100.
    step, steps: of all pictures together; 0 before the first is known.
    eta_s: seconds until the drawing is done; None until `SAMPLES` steps were timed.
    position, why: in the queue; None when it does not wait.
    """

    progress: int = ACCEPTED
    message: str = "Initialising"
    stage: str = "queued"
    step: int = 0
    steps: int = 0
    eta_s: float | None = None
    seconds_per_it: float | None = None
    position: int | None = None
    why: str | None = None


class Milestones:
    """Hears a job's events and says where it stands."""

    def __init__(self) -> None:
        self.now = Standing()
        self._paces_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._timed: tuple[int, float] | None = None  # step, when it was done
        self._is_last = True  # whether the picture in work is the last

    def hear(self, event: JobEvent, at_s: float) -> Standing:
        """Args: at_s: monotonic seconds at which the event was heard."""
        if event.type is EventType.STATE:
            self._state(JobState(event.data["state"]), event.data.get("explanation"))
        elif event.type is EventType.WAIT:
            self._wait(event.data)
        elif event.type is EventType.PROGRESS:
            self._progress(event.data, at_s)
        elif event.type is EventType.RESULT:
            self._reach(MADE if self._is_last else self.now.progress, "A picture is finished", "keep")
        return self.now

    def _state(self, state: JobState, explanation: Mapping[str, Any] | None) -> None:
        if state in (JobState.QUEUED, JobState.WAITING):
            self._reach(ACCEPTED, "Waiting", "queued")
            if explanation is not None:
                self._wait(explanation)
        elif state is JobState.RUNNING and self.now.progress < BEGUN:
            self._reach(BEGUN, "Preparing", "encode")
        elif state is JobState.SUCCEEDED:
            self._reach(DONE, "Generation complete", "done")

    def _wait(self, explanation: Mapping[str, Any]) -> None:
        reason = explanation.get("reason") or {}
        why = str(reason.get("text") or "others are served first")
        position = explanation.get("position")
        self._reach(ACCEPTED, f"Waiting: {why}", "queued", position=position, why=why)

    def _progress(self, data: Mapping[str, Any], at_s: float) -> None:
        stage = str(data.get("stage"))
        steps = int(data.get("steps") or 0)
        pictures = int(data.get("pictures") or 1)
        picture = int(data.get("picture") or 0)
        done = picture * steps + int(data.get("step") or 0)
        self._is_last = picture + 1 >= pictures
        if stage == "denoise" and steps:
            self._step(done, steps * pictures, at_s)
        elif stage == "encode":
            self._reach(ENCODED, "Reading the prompt", stage)
        elif stage == "decode":
            self._reach(_between((picture + 1) / pictures), "Decoding the picture", stage)
        else:  # of one picture among several: the others are still to be drawn
            reached = AFTER.get(stage, 0) if self._is_last else _between((picture + 1) / pictures)
            self._reach(reached, _WORDS.get(stage, stage), stage)

    def _step(self, done: int, steps: int, at_s: float) -> None:
        self._time(done, at_s)
        pace_s = sum(self._paces_s) / len(self._paces_s) if len(self._paces_s) >= SAMPLES else None
        self._reach(
            _between(done / steps),
            f"Step {done} of {steps}",
            "denoise",
            step=done,
            steps=steps,
            seconds_per_it=None if pace_s is None else round(pace_s, 4),
            eta_s=None if pace_s is None else round(pace_s * max(0, steps - done), 2),
        )

    def _time(self, done: int, at_s: float) -> None:
        """News may come rarer than steps do: one pause is then the time of several."""
        if self._timed is not None:
            before, then_s = self._timed
            self._paces_s.extend(
                [(at_s - then_s) / (done - before)] * (done - before) if done > before else []
            )
        self._timed = (done, at_s)

    def _reach(self, progress: int, message: str, stage: str, **more: Any) -> None:
        known = {"step": self.now.step, "steps": self.now.steps, "seconds_per_it": self.now.seconds_per_it}
        self.now = Standing(
            progress=max(self.now.progress, progress), message=message, stage=stage, **{**known, **more}
        )


_WORDS: Final = {
    "matte": "Cutting out the subject",
    "pixels": "Making pixels of it",
    "keep": "Keeping the sprite",
}


def _between(share: float) -> int:
    return FIRST + int((LAST - FIRST) * min(1.0, share))
