# SPDX-License-Identifier: Apache-2.0
import json
from datetime import UTC, datetime

import pytest

from inglenook.base.errors import Invalid
from inglenook.base.ids import OWNER, JobId
from inglenook.base.work import WorkClass
from inglenook.jobs.model import FINAL, NEXT, Job, JobError, JobState, Receipt, as_json, before, plain_json


def a_job(**fields: object) -> Job:
    known = {
        "id": JobId("job_1"),
        "kind": "image",
        "owner": OWNER,
        "state": JobState.RUNNING,
        "work_class": WorkClass.BATCH,
        "title": "a red fox",
        "payload": {"prompt": "a red fox"},
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return Job(**{**known, **fields})  # type: ignore[arg-type]


def test_every_state_has_a_row_in_the_table_and_can_be_reached() -> None:
    assert set(NEXT) == set(JobState)
    reached = {JobState.QUEUED}
    while more := {after for state in reached for after in NEXT[state]} - reached:
        reached |= more
    assert reached == set(JobState)


def test_final_is_what_nothing_follows_by_itself() -> None:
    assert {state.value for state in FINAL} == {"succeeded", "failed", "cancelled", "interrupted"}


def test_every_unfinished_state_can_end_in_each_unhappy_way() -> None:
    unhappy = {JobState.FAILED, JobState.CANCELLED, JobState.INTERRUPTED}
    assert all(unhappy <= NEXT[state] for state in set(JobState) - FINAL)


@pytest.mark.parametrize("state", JobState)
def test_before_is_the_table_read_backwards(state: JobState) -> None:
    assert before(state) == {earlier for earlier in JobState if state in NEXT[earlier]}


def test_a_job_as_json_has_every_field_and_survives_a_round_trip() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    job = a_job(
        error=JobError("job.interrupted", "unavailable", "The server stopped.", "again"),
        receipt=Receipt("stopped", moment, 0.5, 2, 1),
        started_at=moment,
    )
    said = json.loads(json.dumps(as_json(job, {"position": 1})))
    assert set(said) == {*Job.__dataclass_fields__, "explanation"}
    assert said["started_at"] == said["receipt"]["stopped_at"] == "2026-01-02T03:04:05+00:00"
    assert said["finished_at"] is None
    assert said["state"] == "running"
    assert said["error"]["hint"] == "again"
    assert said["explanation"] == {"position": 1}


def test_a_payload_is_copied_as_it_will_be_read_back() -> None:
    given = {"size": (1, 2), 3: {"deep": [1]}}
    plain = plain_json(given)  # type: ignore[arg-type]
    given[3]["deep"].append(2)  # type: ignore[index]
    assert plain == {"size": [1, 2], "3": {"deep": [1]}}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes", object(), {1, 2}])
def test_a_payload_that_is_not_json_is_refused(value: object) -> None:
    with pytest.raises(Invalid) as refused:
        plain_json({"value": value})
    assert refused.value.code == "job.payload"
