# SPDX-License-Identifier: Apache-2.0
"""Kinds of columns that mean the same on SQLite and on PostgreSQL, and the one register of tables.

Each feature declares its table in its own `records.py` on `metadata`, and adds a migration for it.
"""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

from inglenook.store.text import storable

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    }
)


class Moment(sa.types.TypeDecorator[datetime]):
    """An aware time, to the microsecond; always UTC when read."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Line(sa.types.TypeDecorator[str]):
    """Text that a person wrote, made `storable`."""

    impl = sa.Text()
    cache_ok = True

    def process_bind_param(self, value: str | None, _dialect: Dialect) -> str | None:
        return None if value is None else storable(value)


def number_column() -> sa.Column[int]:
    """The primary key that gives rows the order in which they came, whatever the wall clock says."""
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column("number", kind, primary_key=True, autoincrement=True)


def json_column(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    """A JSON document; None is SQL's NULL."""
    return sa.Column(name, sa.JSON(none_as_null=True), nullable=nullable)
