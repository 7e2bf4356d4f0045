# SPDX-License-Identifier: Apache-2.0
"""Whatever is asked of the records, no job takes a way that the transition table does not have."""

import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from tests.databases import fresh_sqlite

from inglenook.base.ids import JobId, PersonId, new_id
from inglenook.base.work import WorkClass
from inglenook.jobs.model import FINAL, NEXT, Job, JobError, JobState, Receipt
from inglenook.jobs.records import JobRecords

NOW = datetime(2026, 1, 1, tzinfo=UTC)

states = st.sampled_from(JobState)
owners = st.sampled_from([PersonId("ann"), PersonId("bob")])
keys = st.none() | st.sampled_from(["k1", "k2"])


class JobTable(RuleBasedStateMachine):
    """The table beside a dictionary that follows `NEXT` by hand."""

    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.database = fresh_sqlite(Path(self.folder.name) / "x.db")
        self.records = JobRecords(database=self.database)
        self.model: dict[JobId, Job] = {}

    def teardown(self) -> None:
        self.database.close()
        self.folder.cleanup()

    @initialize(target=jobs)
    def first(self) -> JobId:
        return self.insert(PersonId("ann"), None, WorkClass.BATCH)

    @rule(target=jobs, owner=owners, key=keys, work_class=st.sampled_from(WorkClass))
    def submit(self, owner: PersonId, key: str | None, work_class: WorkClass) -> JobId:
        return self.insert(owner, key, work_class)

    def insert(self, owner: PersonId, key: str | None, work_class: WorkClass) -> JobId:
        job = Job(
            JobId(new_id("job", NOW)),
            "image",
            owner,
            JobState.QUEUED,
            work_class,
            "a title",
            {"n": len(self.model)},
            NOW,
            idempotency_key=key,
        )
        taken = [
            one
            for one in self.model.values()
            if key is not None and (one.owner, one.idempotency_key) == (owner, key)
        ]
        assert self.records.insert(job) is (not taken)
        if taken:
            assert self.records.by_key(owner, str(key)) == taken[0]
            return taken[0].id
        self.model[job.id] = job
        return job.id

    @rule(job=jobs, to=states, expected=st.none() | st.sets(states))
    def advance(self, job: JobId, to: JobState, expected: set[JobState] | None) -> None:
        now = self.model[job]
        allowed = to in NEXT[now.state] and (expected is None or now.state in expected)
        assert self.records.advance(job, to, expected=expected) is allowed
        if allowed:
            self.model[job] = replace(now, state=to)

    @rule(job=jobs, to=states, fraction=st.floats(0, 1))
    def advance_with_fields(self, job: JobId, to: JobState, fraction: float) -> None:
        fields: dict[str, Any] = {
            "progress": fraction,
            "error": JobError("a.b", "failed", "It did not work.", None),
            "receipt": Receipt("stopped", NOW, 0.5, None, 7),
            "finished_at": NOW,
        }
        if self.records.advance(job, to, **fields):
            assert to in NEXT[self.model[job].state]
            self.model[job] = replace(self.model[job], state=to, **fields)

    @rule(job=jobs, fraction=st.floats(0, 1))
    def update(self, job: JobId, fraction: float) -> None:
        moves = self.model[job].state not in FINAL
        assert self.records.update(job, progress=fraction) is moves
        if moves:
            self.model[job] = replace(self.model[job], progress=fraction)

    @rule(to=states)
    def advance_one_that_does_not_exist(self, to: JobState) -> None:
        assert self.records.advance(JobId("job_none"), to) is False

    @rule(owner=owners, wanted=st.none() | st.sets(states), size=st.integers(1, 3))
    def page_through(self, owner: PersonId, wanted: set[JobState] | None, size: int) -> None:
        found: list[Job] = []
        while page := self.records.listing(
            owner, states=wanted, limit=size, before=found[-1].id if found else None
        ):
            assert len(page) <= size
            found += page
        mine = [job for job in self.model.values() if job.owner == owner]
        assert found == [job for job in reversed(mine) if wanted is None or job.state in wanted]

    @invariant()
    def table_and_model_agree(self) -> None:
        unfinished = [job for job in self.model.values() if job.state not in FINAL]
        assert self.records.unfinished() == unfinished
        counts = self.records.counts()
        assert all(
            counts[state] == sum(job.state is state for job in self.model.values()) for state in JobState
        )


JobTable.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestNoWayOutsideTheTable = JobTable.TestCase
