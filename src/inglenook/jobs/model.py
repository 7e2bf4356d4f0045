# SPDX-License-Identifier: Apache-2.0
"""A job as a value, its states, and which state may follow which. Pure."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from inglenook.base.errors import Invalid
from inglenook.base.ids import JobId, PersonId
from inglenook.base.work import WorkClass
from inglenook.store.text import storable

Json = dict[str, Any]


class JobState(StrEnum):
    QUEUED = "queued"  # accepted and kept; nothing has begun
    WAITING = "waiting"  # wants the accelerator; the runtime can say for what it waits
    RUNNING = "running"  # holds what it needs
    PAUSED = "paused"  # parked in the middle, will go on
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"  # the server stopped in the middle; a person may begin it again


NEXT: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset(
        {JobState.WAITING, JobState.RUNNING, JobState.FAILED, JobState.CANCELLED, JobState.INTERRUPTED}
    ),
    JobState.WAITING: frozenset(
        {JobState.QUEUED, JobState.RUNNING, JobState.FAILED, JobState.CANCELLED, JobState.INTERRUPTED}
    ),
    JobState.RUNNING: frozenset(
        {
            JobState.WAITING,
            JobState.PAUSED,
            JobState.SUCCEEDED,
            JobState.FAILED,
            JobState.CANCELLED,
            JobState.INTERRUPTED,
        }
    ),
    JobState.PAUSED: frozenset({JobState.RUNNING, JobState.FAILED, JobState.CANCELLED, JobState.INTERRUPTED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
    JobState.INTERRUPTED: frozenset({JobState.QUEUED}),
}
"""The transition table, written once. `records.advance` guards it in SQL."""

FINAL: frozenset[JobState] = frozenset(
    state for state, after in NEXT.items() if not after or after == frozenset({JobState.QUEUED})
)
"""Nothing more happens by itself: succeeded, failed, cancelled, interrupted."""


def before(state: JobState) -> frozenset[JobState]:
    """The states from which `state` may be entered."""
    return frozenset(earlier for earlier, after in NEXT.items() if state in after)


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed or was interrupted, as a person reads it. `kind` and `code` as in `base.errors`."""

    code: str
    kind: str
    message: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a cancel did: `how` in words, the seconds from the wish to the stop, and the memory of the
    device before and after (bytes; None where it could not be measured)."""

    how: str
    stopped_at: datetime
    seconds: float
    before_bytes: int | None = None
    after_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the table of jobs.

    Attributes:
        kind: which `Work` carries it out: `image`, later `download`, `train` …
        payload: what was asked for, JSON; enough to begin the job again after a restart.
        result: what came of it, JSON; filled while it runs (pictures as they are made).
        progress: in [0, 1]; never goes back while the job runs.
        stage: one or two words: `encode`, `denoise`, `decode` …
        estimate_s: seconds still to go, when known.
        cost_s, cost_byte_s: seconds of a lease held, and the same times the bytes reserved on the device.
        event_seq: number of the last event published; numbers never repeat, also over a restart.
    """

    id: JobId
    kind: str
    owner: PersonId
    state: JobState
    work_class: WorkClass
    title: str
    payload: Json
    created_at: datetime
    result: Json = field(default_factory=dict)
    error: JobError | None = None
    receipt: Receipt | None = None
    progress: float = 0.0
    stage: str | None = None
    estimate_s: float | None = None
    idempotency_key: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    cost_s: float = 0.0
    cost_byte_s: float = 0.0
    event_seq: int = 0

    @property
    def is_final(self) -> bool:
        return self.state in FINAL


def as_json(job: Job, explanation: Mapping[str, Any] | None = None) -> Json:
    """All fields, times in ISO 8601; `explanation` says why it waits, or is None when it does not."""
    said = asdict(job)
    for name in ("created_at", "started_at", "finished_at"):
        said[name] = _iso(said[name])
    if said["receipt"] is not None:
        said["receipt"]["stopped_at"] = _iso(said["receipt"]["stopped_at"])
    return {**said, "explanation": None if explanation is None else dict(explanation)}


def plain_json(document: Mapping[str, Any]) -> Json:
    """A copy as it is read back, its text `storable`. Raises Invalid (`job.payload`) if it is not JSON."""
    try:
        text = json.dumps(dict(document), allow_nan=False, ensure_ascii=False)
        plain: Json = json.loads(storable(text))
    except (TypeError, ValueError) as error:
        raise Invalid(f"The document is not JSON: {error}.", code="job.payload") from error
    return plain


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


class EventType(StrEnum):
    STATE = "state"  # data: the job as JSON (see `as_json`)
    PROGRESS = "progress"  # data: progress, stage, step, steps, picture, pictures, estimate_s
    PREVIEW = "preview"  # data: picture, step, media_type, b64
    RESULT = "result"  # data: one picture (or file) that has just been finished
    NOTICE = "notice"  # data: text
    WAIT = "wait"  # data: why it waits now (runtime.Explanation as JSON)


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One piece of news. `seq` rises by at least one with each event of the same job."""

    job: JobId
    seq: int
    type: EventType
    data: Json
