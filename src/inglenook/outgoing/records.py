# SPDX-License-Identifier: Apache-2.0
"""The ledger of outgoing connections in the database."""

from typing import Any

import sqlalchemy as sa

from inglenook.base.clock import Clock
from inglenook.outgoing.model import Entry
from inglenook.store.columns import Line, Moment, metadata, number_column
from inglenook.store.database import Database

KEPT = 10_000
"""Older entries are forgotten."""
_MAX_HOST_CHARS = 255

_table = sa.Table(
    "outgoing",
    metadata,
    number_column(),
    sa.Column("at", Moment(), nullable=False),
    sa.Column("host", sa.String(_MAX_HOST_CHARS), nullable=False),
    sa.Column("port", sa.Integer(), nullable=False),
    sa.Column("address", sa.String(64), nullable=False),
    sa.Column("purpose", Line(), nullable=False),
    sa.Column("status", sa.Integer(), nullable=True),
    sa.Column("received_bytes", sa.BigInteger(), nullable=False),
    sa.Column("problem", Line(), nullable=True),
    sqlite_autoincrement=True,
)
_column = _table.c


class OutgoingRecords:
    """The table of connections. Everything blocks."""

    def __init__(self, *, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def begin(self, *, host: str, port: int, address: str, purpose: str) -> int:
        """Write down a connection that is about to be opened, and return its number."""
        values: dict[str, Any] = {
            "at": self._clock.now(),
            "host": host[:_MAX_HOST_CHARS],
            "port": port,
            "address": address,
            "purpose": purpose,
            "status": None,
            "received_bytes": 0,
            "problem": None,
        }
        with self._database.write() as connection:
            number = connection.execute(sa.insert(_table).values(**values)).inserted_primary_key
            assert number is not None
            connection.execute(sa.delete(_table).where(_column.number <= int(number[0]) - KEPT))
            return int(number[0])

    def end(self, number: int, *, status: int | None, received_bytes: int, problem: str | None) -> None:
        values = {"status": status, "received_bytes": received_bytes, "problem": problem}
        with self._database.write() as connection:
            connection.execute(sa.update(_table).where(_column.number == number).values(**values))

    def listing(self, *, limit: int, before: int | None = None) -> list[Entry]:
        """The newest first; those before number `before` when it is given."""
        query = sa.select(_table).order_by(_column.number.desc()).limit(limit)
        if before is not None:
            query = query.where(_column.number < before)
        with self._database.read() as connection:
            return [Entry(**row) for row in connection.execute(query).mappings()]
