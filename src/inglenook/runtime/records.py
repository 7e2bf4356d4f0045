# SPDX-License-Identifier: Apache-2.0
"""Learned footprints in the database."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from inglenook.base.clock import Clock
from inglenook.base.ids import ModelId
from inglenook.runtime.contracts import FootprintKey
from inglenook.store.columns import Moment, metadata
from inglenook.store.database import Database

_table = sa.Table(
    "footprints",
    metadata,
    sa.Column("engine", sa.String(64), primary_key=True),
    sa.Column("model", sa.Text(), primary_key=True),
    sa.Column("device_kind", sa.String(16), primary_key=True),
    sa.Column("scale", sa.Integer(), primary_key=True, autoincrement=False),
    sa.Column("peak_bytes", sa.BigInteger(), nullable=False),
    sa.Column("load_s", sa.Double(), nullable=False),
    sa.Column("learned_at", Moment(), nullable=False),
)
_column = _table.c


class FootprintRecords:
    """A `FootprintBook` that outlives the server."""

    def __init__(self, *, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def learned(self) -> Mapping[FootprintKey, tuple[int, float]]:
        with self._database.read() as connection:
            rows = connection.execute(sa.select(_table)).all()
        return {
            _key(row): (
                row.peak_bytes,
                row.load_s,
            )
            for row in rows
        }

    def learn(self, key: FootprintKey, *, peak_bytes: int, load_s: float) -> None:
        """Two servers never share a book, and one server learns one thing at a time: update, else insert."""
        where = sa.and_(
            _column.engine == _engine_text(key),
            _column.model == key.model,
            _column.device_kind == key.device_kind,
            _column.scale == key.scale,
        )
        news: dict[str, Any] = {"learned_at": self._clock.now()}
        if peak_bytes:
            news["peak_bytes"] = peak_bytes
        if load_s:
            news["load_s"] = load_s
        with self._database.write() as connection:
            if connection.execute(sa.update(_table).where(where).values(**news)).rowcount:
                return
            row = {"peak_bytes": peak_bytes, "load_s": load_s, "learned_at": self._clock.now()}
            connection.execute(
                sa.insert(_table).values(
                    engine=_engine_text(key),
                    model=key.model,
                    device_kind=key.device_kind,
                    scale=key.scale,
                    **row,
                )
            )


_SAVING = " saving "
"""Between an engine's name and a saving level, in the column of engines: a model that spares memory is, to
this book, one that another engine has loaded."""
_FORM = " form "
"""Then how it was loaded, for the same reason."""


def _engine_text(key: FootprintKey) -> str:
    text = f"{key.engine}{_SAVING}{key.saving}" if key.saving else key.engine
    return f"{text}{_FORM}{key.form}" if key.form else text


def _key(row: Any) -> FootprintKey:
    text, _, form = row.engine.partition(_FORM)
    engine, _, saving = text.partition(_SAVING)
    return FootprintKey(engine, ModelId(row.model), row.device_kind, row.scale, int(saving or 0), form)
