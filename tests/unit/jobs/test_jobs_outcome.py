# SPDX-License-Identifier: Apache-2.0
from datetime import UTC, datetime

import pytest

from inglenook.base.cancel import StopReason
from inglenook.base.errors import Busy
from inglenook.base.ids import OWNER, JobId
from inglenook.base.work import WorkClass
from inglenook.jobs import outcome as outcomes
from inglenook.jobs.model import Job, JobState, Receipt
from inglenook.jobs.outcome import Outcome

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RECEIPT = Receipt("stopped", NOW, 0.1)


def job(state: JobState, **fields: object) -> Job:
    return Job(JobId("job_1"), "image", OWNER, state, WorkClass.BATCH, "t", {}, NOW, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("reason", [StopReason.CANCELLED, StopReason.CLIENT_GONE])
@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.WAITING, JobState.RUNNING, JobState.PAUSED])
def test_a_wish_to_stop_cancels_with_its_receipt(reason: StopReason, state: JobState) -> None:
    found = outcomes.stopped(job(state), reason, RECEIPT, restarts=True)
    assert (found.state, found.receipt, found.again) == (JobState.CANCELLED, RECEIPT, False)


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.WAITING])
def test_a_shutdown_sends_what_had_not_begun_back_to_the_queue(state: JobState) -> None:
    assert outcomes.stopped(job(state), StopReason.SHUTDOWN, RECEIPT, restarts=False).state is JobState.QUEUED
    assert outcomes.found_unfinished(job(state), restarts=False).state is JobState.QUEUED


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.PAUSED])
@pytest.mark.parametrize("restarts", [True, False])
def test_a_shutdown_interrupts_what_was_in_the_middle(state: JobState, restarts: bool) -> None:
    for found in (
        outcomes.stopped(job(state), StopReason.SHUTDOWN, RECEIPT, restarts=restarts),
        outcomes.found_unfinished(job(state), restarts=restarts),
    ):
        assert (found.state, found.again) == (JobState.INTERRUPTED, restarts)
        assert found.error is not None
        assert found.error.code == "job.interrupted"


def test_an_interruption_says_where_and_whether_something_is_kept() -> None:
    bare = outcomes.found_unfinished(job(JobState.RUNNING), restarts=False).error
    rich = outcomes.found_unfinished(
        job(JobState.RUNNING, progress=0.456, stage="denoise", result={"parts": [{}]}), restarts=False
    ).error
    assert bare is not None
    assert rich is not None
    assert bare.message.endswith("at 0%.")
    assert rich.message.endswith("at 46% (denoise).")
    assert "kept" in str(rich.hint)
    assert "kept" not in str(bare.hint)


def test_a_failure_keeps_what_a_person_reads() -> None:
    found = outcomes.failed(Busy("No room.", code="x.full", hint="later"))
    assert found.error is not None
    assert (found.error.code, found.error.kind, found.error.message, found.error.hint) == (
        "x.full",
        "busy",
        "No room.",
        "later",
    )


def test_success_keeps_the_parts_beside_what_was_returned() -> None:
    running = job(JobState.RUNNING, progress=0.5, result={"parts": [1], "stale": 2})
    fields = Outcome(JobState.SUCCEEDED, result={"seed": 7, "parts": "not these"}).fields(running)
    assert fields["result"] == {"seed": 7, "parts": [1]}
    assert fields["progress"] == 1.0


def test_a_failure_does_not_touch_the_result() -> None:
    fields = outcomes.broken("abcd").fields(job(JobState.RUNNING, result={"parts": [1]}))
    assert "result" not in fields
    assert "progress" not in fields
    assert "abcd" in fields["error"].message
