# SPDX-License-Identifier: Apache-2.0
"""Jobs in a real database, with everybody at once."""

import json
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest

from inglenook.base.ids import OWNER, BlobId, JobId, PersonId, new_id
from inglenook.base.work import WorkClass
from inglenook.jobs.model import Job, JobError, JobState, Receipt
from inglenook.jobs.records import JobRecords
from inglenook.store.database import Database

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def records(database: Database) -> JobRecords:
    return JobRecords(database=database)


def a_job(**fields: object) -> Job:
    known = {
        "id": JobId(new_id("job", NOW)),
        "kind": "image",
        "owner": OWNER,
        "state": JobState.QUEUED,
        "work_class": WorkClass.BATCH,
        "title": "a job",
        "payload": {},
        "created_at": NOW,
    }
    return Job(**{**known, **fields})  # type: ignore[arg-type]


def at_once(count: int, act: Callable[[int], bool]) -> list[bool]:
    """Do `act` in `count` threads that all start together."""
    barrier = Barrier(count)

    def one(number: int) -> bool:
        barrier.wait()
        return act(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_a_job_comes_back_as_it_was_kept(records: JobRecords) -> None:
    job = a_job(
        title='"; DROP TABLE jobs; -- ü \U0001f98a',
        payload={"prompt": "a\x00b\ud800", "deep": [{"n": 1.5}, None, True]},
        result={"parts": [{"seed": 2**63 - 1}]},
        error=JobError("a.b", "failed", "It did not work.", "do this"),
        receipt=Receipt("stopped", NOW + timedelta(microseconds=1), 0.25, 2**40, None),
        progress=1 / 3,
        estimate_s=0.1,
        idempotency_key="key",
        started_at=NOW,
        cost_byte_s=1e18,
        event_seq=2**40,
    )
    assert records.insert(job) is True
    assert records.get(job.id) == job


@pytest.mark.slow
def test_two_hundred_who_end_one_job_move_it_once(records: JobRecords) -> None:
    job = a_job(state=JobState.RUNNING)
    records.insert(job)
    ends = [JobState.CANCELLED, JobState.SUCCEEDED, JobState.FAILED, JobState.INTERRUPTED]
    moved = at_once(200, lambda number: records.advance(job.id, ends[number % 4], stage=str(number)))
    assert moved.count(True) == 1
    winner = moved.index(True)
    found = records.get(job.id)
    assert found is not None
    assert (found.state, found.stage) == (ends[winner % 4], str(winner))


@pytest.mark.slow
def test_fifty_inserts_with_one_key_keep_one_job(records: JobRecords) -> None:
    jobs = [a_job(idempotency_key="once") for _ in range(50)]
    kept = at_once(50, lambda number: records.insert(jobs[number]))
    assert kept.count(True) == 1
    assert records.by_key(OWNER, "once") == jobs[kept.index(True)]
    assert records.insert(a_job(idempotency_key="once", owner=PersonId("bob"))) is True


def test_the_same_id_twice_is_a_mistake_of_the_program(records: JobRecords) -> None:
    job = a_job()
    records.insert(job)
    with pytest.raises(Exception, match=r"uq_jobs_id|jobs\.id"):
        records.insert(job)


def test_the_order_is_that_of_submission_whatever_the_clock_said(records: JobRecords) -> None:
    jobs = [a_job(created_at=NOW - timedelta(days=day)) for day in range(5)]
    for job in jobs:
        records.insert(job)
    assert records.unfinished() == jobs
    assert records.listing(OWNER, limit=2) == [jobs[4], jobs[3]]
    assert records.listing(OWNER, limit=9, before=jobs[3].id) == [jobs[2], jobs[1], jobs[0]]


def test_a_page_is_not_moved_by_jobs_that_come_meanwhile(records: JobRecords) -> None:
    jobs = [a_job() for _ in range(4)]
    for job in jobs:
        records.insert(job)
    first = records.listing(OWNER, limit=2)
    records.insert(a_job())
    assert records.listing(OWNER, limit=2, before=first[-1].id) == [jobs[1], jobs[0]]


def test_only_unfinished_jobs_hold_on_to_a_blob(records: JobRecords) -> None:
    blob, other = BlobId("ab" * 32), BlobId("cd" * 32)
    job = a_job(payload={"image": blob})
    records.insert(job)
    assert records.mentions(blob) is True
    assert records.mentions(other) is False
    records.advance(job.id, JobState.CANCELLED)
    assert records.mentions(blob) is False


def test_a_person_can_read_the_table_with_any_tool(sqlite: Database) -> None:
    JobRecords(database=sqlite).insert(a_job(payload={"prompt": "fox"}))
    assert sqlite.path is not None
    plain = sqlite3.connect(sqlite.path)
    state, payload, created = plain.execute("SELECT state, payload, created_at FROM jobs").fetchone()
    plain.close()
    assert (state, json.loads(payload)) == ("queued", {"prompt": "fox"})
    assert created == "2026-01-01 00:00:00.000000"
