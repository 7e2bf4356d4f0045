# SPDX-License-Identifier: Apache-2.0
"""Jobs in the database. A state changes only by `advance`, which the transition table guards in SQL."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from inglenook.base.ids import BlobId, JobId, PersonId
from inglenook.base.work import WorkClass
from inglenook.jobs.model import FINAL, Job, JobError, JobState, Json, Receipt, before
from inglenook.store.columns import Line, Moment, json_column, metadata, number_column
from inglenook.store.database import Database

UNFINISHED = frozenset(JobState) - FINAL

_table = sa.Table(
    "jobs",
    metadata,
    number_column(),
    sa.Column("id", sa.String(40), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("owner", sa.Text(), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("work_class", sa.String(16), nullable=False),
    sa.Column("title", Line(), nullable=False),
    json_column("payload"),
    sa.Column("created_at", Moment(), nullable=False),
    json_column("result"),
    json_column("error", nullable=True),
    json_column("receipt", nullable=True),
    sa.Column("progress", sa.Double(), nullable=False),
    sa.Column("stage", Line(), nullable=True),
    sa.Column("estimate_s", sa.Double(), nullable=True),
    sa.Column("idempotency_key", Line(), nullable=True),
    sa.Column("started_at", Moment(), nullable=True),
    sa.Column("finished_at", Moment(), nullable=True),
    sa.Column("cost_s", sa.Double(), nullable=False),
    sa.Column("cost_byte_s", sa.Double(), nullable=False),
    sa.Column("event_seq", sa.BigInteger(), nullable=False),
    sa.UniqueConstraint("id"),
    sa.UniqueConstraint("owner", "idempotency_key"),
    sa.Index(None, "owner", "number"),
    sa.Index(None, "state", "number"),
    sqlite_autoincrement=True,
)
_column = _table.c


class JobRecords:
    """The table of jobs. Everything blocks."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    def insert(self, job: Job) -> bool:
        """Keep a new job. Return False, and keep nothing, when its owner has used its key before."""
        try:
            with self._database.write() as connection:
                connection.execute(sa.insert(_table).values(**_as_row(job)))
        except IntegrityError:
            if job.idempotency_key is None:
                raise
            return False
        return True

    def get(self, job: JobId) -> Job | None:
        return self._one(_column.id == job)

    def by_key(self, owner: PersonId, key: str) -> Job | None:
        """The job that `owner` submitted with this idempotency key."""
        return self._one(_column.owner == owner, _column.idempotency_key == key)

    def advance(
        self, job: JobId, to: JobState, *, expected: Iterable[JobState] | None = None, **fields: Any
    ) -> bool:
        """Move the job to `to` if its state may be followed by it; return whether this call moved it.

        Args:
            expected: only from these; those from which the table has no way to `to` are left out.
                None for every state that `to` may follow.
            fields: other fields of `Job` to set with the same statement.
        """
        allowed = before(to) if expected is None else before(to) & frozenset(expected)
        values = {"state": to.value, **_encoded(fields)}
        return self._update(job, allowed, values)

    def update(self, job: JobId, **fields: Any) -> bool:
        """Set fields of a job that is not final; return whether it was not."""
        return self._update(job, UNFINISHED, _encoded(fields))

    def listing(
        self,
        owner: PersonId,
        *,
        states: Iterable[JobState] | None = None,
        kind: str | None = None,
        limit: int,
        before: JobId | None = None,
    ) -> list[Job]:
        """The owner's jobs, the last submitted first; those submitted before `before` when it is given."""
        query = sa.select(_table).where(_column.owner == owner)
        if states is not None:
            query = query.where(_column.state.in_([state.value for state in states]))
        if kind is not None:
            query = query.where(_column.kind == kind)
        if before is not None:
            start = sa.select(_column.number).where(_column.id == before, _column.owner == owner)
            query = query.where(_column.number < start.scalar_subquery())
        return self._many(query.order_by(_column.number.desc()).limit(limit))

    def unfinished(self) -> list[Job]:
        """All that are not final, in the order of their submission."""
        states = [state.value for state in UNFINISHED]
        return self._many(sa.select(_table).where(_column.state.in_(states)).order_by(_column.number))

    def counts(self, kind: str | None = None) -> Mapping[JobState, int]:
        """How many jobs, of one kind or of all, there are in each state."""
        query = sa.select(_column.state, sa.func.count()).group_by(_column.state)
        if kind is not None:
            query = query.where(_column.kind == kind)
        with self._database.read() as connection:
            found = {JobState(state): int(count) for state, count in connection.execute(query)}
        return {state: found.get(state, 0) for state in JobState}

    def mentions(self, blob: BlobId) -> bool:
        """Whether a job that is not final was asked for something with this blob."""
        states = [state.value for state in UNFINISHED]
        found = sa.select(_column.number).where(
            _column.state.in_(states), sa.cast(_column.payload, sa.Text).contains(blob, autoescape=True)
        )
        with self._database.read() as connection:
            return connection.execute(found.limit(1)).first() is not None

    def _update(self, job: JobId, allowed: Iterable[JobState], values: Mapping[str, Any]) -> bool:
        names = [state.value for state in allowed]
        statement = sa.update(_table).where(_column.id == job, _column.state.in_(names)).values(**values)
        with self._database.write() as connection:
            return connection.execute(statement).rowcount == 1

    def _one(self, *conditions: sa.ColumnElement[bool]) -> Job | None:
        found = self._many(sa.select(_table).where(*conditions))
        return found[0] if found else None

    def _many(self, query: sa.Select[Any]) -> list[Job]:
        with self._database.read() as connection:
            rows: Sequence[sa.RowMapping] = connection.execute(query).mappings().all()
        return [_from_row(row) for row in rows]


def _as_row(job: Job) -> dict[str, Any]:
    fields = {name: getattr(job, name) for name in Job.__dataclass_fields__}
    return _encoded(fields)


def _encoded(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _ENCODERS[name](value) if name in _ENCODERS else value for name, value in fields.items()}


def _error_json(error: JobError | None) -> Json | None:
    return None if error is None else asdict(error)


def _receipt_json(receipt: Receipt | None) -> Json | None:
    return None if receipt is None else {**asdict(receipt), "stopped_at": receipt.stopped_at.isoformat()}


_ENCODERS: Mapping[str, Callable[[Any], Any]] = {
    "state": str,
    "work_class": str,
    "error": _error_json,
    "receipt": _receipt_json,
}


def _from_row(row: sa.RowMapping) -> Job:
    values = dict(row)
    del values["number"]
    values["state"] = JobState(values["state"])
    values["work_class"] = WorkClass(values["work_class"])
    values["error"] = None if values["error"] is None else JobError(**values["error"])
    values["receipt"] = None if values["receipt"] is None else _receipt(values["receipt"])
    return Job(**values)


def _receipt(said: Json) -> Receipt:
    return Receipt(**{**said, "stopped_at": datetime.fromisoformat(said["stopped_at"])})
