# SPDX-License-Identifier: Apache-2.0
"""How a job ends, from how its work ended. Pure."""

from dataclasses import dataclass, field
from typing import Any

from inglenook.base.cancel import StopReason
from inglenook.base.errors import InglenookError
from inglenook.jobs.model import Job, JobError, JobState, Json, Receipt

LEFT_THE_QUEUE = "left the queue before it began"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to write down at the end.

    Attributes:
        result: what the work returned, to be kept beside the parts; empty unless it succeeded.
        again: the job goes back to the queue after it was interrupted.
    """

    state: JobState
    error: JobError | None = None
    receipt: Receipt | None = None
    result: Json = field(default_factory=dict)
    again: bool = False

    def fields(self, job: Job) -> dict[str, Any]:
        """The job's fields that change with the state."""
        changed: dict[str, Any] = {"error": self.error, "receipt": self.receipt, "estimate_s": None}
        if self.state is JobState.SUCCEEDED:
            changed["progress"] = 1.0
            changed["result"] = {
                **self.result,
                **{key: job.result[key] for key in job.result if key == "parts"},
            }
        return changed


def failed(error: InglenookError) -> Outcome:
    return Outcome(JobState.FAILED, error=JobError(error.code, error.kind, error.message, error.hint))


def broken(incident: str) -> Outcome:
    """For an exception that nobody expected; its traceback is in the log under `incident`."""
    return Outcome(
        JobState.FAILED,
        error=JobError(
            code="internal",
            kind="failed",
            message=f"Something went wrong inside the program (incident {incident}).",
            hint=f"the server's log tells what, under {incident}",
        ),
    )


def stopped(job: Job, reason: StopReason, receipt: Receipt | None, *, restarts: bool) -> Outcome:
    """For work that stopped because it was asked to.

    A person's wish cancels it. A server that shuts down sends what had not begun back to the queue, and
    interrupts the rest; what can be begun again by itself goes to the queue from there.
    """
    if reason is not StopReason.SHUTDOWN:
        return Outcome(JobState.CANCELLED, receipt=receipt)
    if job.state in (JobState.QUEUED, JobState.WAITING):
        return Outcome(JobState.QUEUED)
    return Outcome(
        JobState.INTERRUPTED, error=_interrupted(job, "was stopped"), receipt=receipt, again=restarts
    )


def found_unfinished(job: Job, *, restarts: bool) -> Outcome:
    """For a job whose server is gone without having written its end."""
    if job.state in (JobState.QUEUED, JobState.WAITING):
        return Outcome(JobState.QUEUED)
    return Outcome(JobState.INTERRUPTED, error=_interrupted(job, "stopped"), again=restarts)


def of_no_kind(job: Job) -> Outcome:
    return Outcome(
        JobState.FAILED,
        error=JobError(
            code="job.unknown_kind",
            kind="unavailable",
            message=f"This server cannot do jobs of the kind {job.kind!r}.",
            hint="another version of Inglenook, or one with more extras installed, has accepted the job",
        ),
    )


def _interrupted(job: Job, what: str) -> JobError:
    where = f"at {job.progress:.0%}" + (f" ({job.stage})" if job.stage else "")
    return JobError(
        code="job.interrupted",
        kind="unavailable",
        message=f"The server {what} in the middle of this job, {where}.",
        hint="begin it again; what it had finished is kept" if job.result.get("parts") else "begin it again",
    )
