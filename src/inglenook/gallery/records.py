# SPDX-License-Identifier: Apache-2.0
"""Pictures in the database."""

from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from inglenook.base.ids import BlobId, PersonId, PictureId
from inglenook.gallery.model import Picture
from inglenook.store.columns import Line, Moment, json_column, metadata, number_column
from inglenook.store.database import Database

_table = sa.Table(
    "pictures",
    metadata,
    number_column(),
    sa.Column("id", sa.String(40), nullable=False),
    sa.Column("owner", sa.Text(), nullable=False),
    sa.Column("job", sa.String(40), nullable=True),
    sa.Column("blob", sa.String(64), nullable=False),
    sa.Column("media_type", sa.String(64), nullable=False),
    sa.Column("width", sa.Integer(), nullable=False),
    sa.Column("height", sa.Integer(), nullable=False),
    sa.Column("size_bytes", sa.BigInteger(), nullable=False),
    sa.Column("model", Line(), nullable=False),
    sa.Column("prompt", Line(), nullable=False),
    sa.Column("seed", sa.BigInteger(), nullable=False),
    json_column("parameters"),
    sa.Column("created_at", Moment(), nullable=False),
    sa.UniqueConstraint("id"),
    sa.Index(None, "owner", "number"),
    sa.Index(None, "blob"),
    sqlite_autoincrement=True,
)
_column = _table.c


class PictureRecords:
    """The table of pictures. Everything blocks."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    def insert(self, picture: Picture) -> None:
        with self._database.write() as connection:
            connection.execute(sa.insert(_table).values(**asdict(picture)))

    def get(self, picture: PictureId) -> Picture | None:
        found = self._many(sa.select(_table).where(_column.id == picture))
        return found[0] if found else None

    def listing(self, owner: PersonId, *, limit: int, before: PictureId | None = None) -> list[Picture]:
        """The owner's pictures, the last made first; those made before `before` when it is given."""
        query = sa.select(_table).where(_column.owner == owner)
        if before is not None:
            start = sa.select(_column.number).where(_column.id == before, _column.owner == owner)
            query = query.where(_column.number < start.scalar_subquery())
        return self._many(query.order_by(_column.number.desc()).limit(limit))

    def count(self, owner: PersonId) -> int:
        query = sa.select(sa.func.count()).select_from(_table).where(_column.owner == owner)
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def uses(self, blob: BlobId) -> int:
        """How many pictures, of anybody, have this file."""
        query = sa.select(sa.func.count()).select_from(_table).where(_column.blob == blob)
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def delete(self, picture: PictureId) -> bool:
        """Return whether this call deleted it."""
        with self._database.write() as connection:
            return connection.execute(sa.delete(_table).where(_column.id == picture)).rowcount == 1

    def _many(self, query: sa.Select[Any]) -> list[Picture]:
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [Picture(**{name: value for name, value in row.items() if name != "number"}) for row in rows]
