# SPDX-License-Identifier: Apache-2.0
"""Pictures in the database.

A page is found through a narrow index and only then read: the inner query gives numbers, the outer one rows.
The words that are searched for stand beside the picture, and the index of the database over them is kept in
step by the database itself (SQLite: triggers over FTS5; PostgreSQL: GIN over an expression).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect

from inglenook.base.ids import BlobId, PersonId, PictureId
from inglenook.gallery.model import ANY, Filter, Picture, Shape, Source
from inglenook.store.columns import Line, Moment, json_column, metadata, number_column
from inglenook.store.database import Database
from inglenook.store.text import search_document, search_words

MAX_SEARCHED = 32
"""Words of a search that are looked for; the rest is not."""


class _Tags(sa.types.TypeDecorator[tuple[str, ...]]):
    """Tags, one a line: none holds a line break."""

    impl = sa.Text()
    cache_ok = True

    def process_bind_param(self, value: Iterable[str] | None, _dialect: Dialect) -> str | None:
        return None if value is None else "\n".join(value)

    def process_result_value(self, value: str | None, _dialect: Dialect) -> tuple[str, ...] | None:
        return None if value is None else tuple(value.split("\n")) if value else ()


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
    sa.Column("source", sa.String(16), nullable=False, server_default="made"),
    sa.Column("favourite", sa.Boolean(), nullable=False, server_default=sa.false()),
    sa.Column("tags", _Tags(), nullable=False, server_default=""),
    sa.Column("deleted_at", Moment(), nullable=True),
    sa.Column("is_public", sa.Boolean(), nullable=False, server_default=sa.false()),
    sa.Column("public_until", Moment(), nullable=True),
    # What follows is read off the parameters, for the index alone.
    sa.Column("mode", sa.String(16), nullable=True),
    sa.Column("has_lora", sa.Boolean(), nullable=False, server_default=sa.false()),
    sa.Column("words", sa.Text(), nullable=False, server_default=""),
    sa.UniqueConstraint("id"),
    sa.Index(None, "blob"),
    sqlite_autoincrement=True,
)
_column = _table.c
_listed, _trashed = _column.deleted_at.is_(None), _column.deleted_at.is_not(None)


def _index(name: str, *columns: str, where: sa.ColumnElement[bool]) -> None:
    # The migration says the same for PostgreSQL; said here, it would import that dialect everywhere (2.5 MB).
    sa.Index(
        f"ix_pictures_{name}",
        *(_column[column] for column in columns),
        sqlite_where=where,
    )


# Everything that a list is filtered by stands in the index, so that rows that do not fit are never read.
_index(
    "listed",
    *("owner", "number", "favourite", "mode", "has_lora", "width", "height", "created_at", "source"),
    *("is_public", "public_until", "model"),
    where=_listed,
)
_index("by_model", "owner", "model", "number", where=_listed)
_index("favourites", "owner", "number", where=sa.and_(_listed, _column.favourite))
_index("trashed", "owner", "number", "deleted_at", where=_trashed)

_tags = sa.Table(
    "picture_tags",
    metadata,
    sa.Column("owner", sa.Text(), nullable=False),
    sa.Column("tag", sa.Text(), nullable=False),
    sa.Column("picture", _column.number.type, nullable=False, autoincrement=False),
    sa.PrimaryKeyConstraint("owner", "tag", "picture"),
    sa.ForeignKeyConstraint(["picture"], ["pictures.number"], ondelete="CASCADE"),
    sa.Index(None, "picture"),
)
"""The tags again, the other way round: for finding. Those of pictures in the trash are kept."""

_KEPT = tuple(field.name for field in fields(Picture))
_READ = sa.select(*(_column[name] for name in _KEPT))


class PictureRecords:
    """The table of pictures. Everything blocks."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    def insert(self, picture: Picture) -> None:
        with self._database.write() as connection:
            added = connection.execute(sa.insert(_table).values(**_as_row(picture)))
            assert added.inserted_primary_key is not None
            _write_tags(connection, picture.owner, {int(added.inserted_primary_key[0]): picture.tags})

    def insert_many(self, pictures: Sequence[Picture]) -> None:
        """All of them in one transaction; without tags. For filling a gallery."""
        with self._database.write() as connection:
            connection.execute(sa.insert(_table), [_as_row(picture) for picture in pictures])

    def get(self, picture: PictureId) -> Picture | None:
        """Also one that lies in the trash."""
        found = self._many(_READ.where(_column.id == picture))
        return found[0] if found else None

    def of(self, owner: PersonId, pictures: Iterable[PictureId]) -> list[Picture]:
        """Those of these that are the owner's, also in the trash, in no order."""
        return self._many(_READ.where(_column.owner == owner, _column.id.in_(list(pictures))))

    def listing(
        self,
        owner: PersonId,
        *,
        limit: int,
        now: datetime,
        before: PictureId | None = None,
        after: PictureId | None = None,
        filter: Filter = ANY,  # noqa: A002 - what it is
        oldest_first: bool = False,
    ) -> list[Picture]:
        """The owner's pictures, the last made first.

        Args:
            now: decides which public pictures still are.
            before, after: only those made before, or after, this one.
            oldest_first: the other way round.
        """
        number = _column.number
        conditions = [_column.owner == owner, *_conditions(filter, now)]
        for anchor, compare in ((before, number.__lt__), (after, number.__gt__)):
            if anchor is not None:
                start = sa.select(number).where(_column.id == anchor, _column.owner == owner)
                conditions.append(compare(start.scalar_subquery()))
        order = number.asc() if oldest_first else number.desc()
        numbers = sa.select(number).where(*conditions).order_by(order).limit(limit)
        narrowed = self._narrowed(numbers, owner, filter, oldest_first=oldest_first)
        if narrowed is None:
            return []
        return self._many(_READ.where(number.in_(narrowed)).order_by(order))

    def slice(
        self,
        owner: PersonId,
        *,
        offset: int,
        limit: int | None,
        now: datetime,
        filter: Filter,  # noqa: A002
    ) -> tuple[list[Picture], int]:
        """Some of the owner's pictures that fit, the last made first, and how many fit in all.

        For doors that page by offset: reading deep pages takes longer than with `listing`.
        """
        number = _column.number
        fitting = sa.select(number).where(_column.owner == owner, *_conditions(filter, now))
        narrowed = self._narrowed(fitting.order_by(number.desc()), owner, filter, oldest_first=False)
        if narrowed is None:
            return [], 0
        total = self._number(sa.select(sa.func.count()).select_from(narrowed.subquery()))
        page = narrowed.offset(offset).limit(total if limit is None else limit)
        return self._many(_READ.where(number.in_(page)).order_by(number.desc())), total

    def _narrowed(
        self, numbers: sa.Select[Any], owner: PersonId, wanted: Filter, *, oldest_first: bool
    ) -> sa.Select[Any] | None:
        """With the tags and the words of the filter; None where there is nothing that could be found."""
        for tag in wanted.tags:
            mine = _tags.alias()
            numbers = numbers.join(
                mine, sa.and_(mine.c.picture == _column.number, mine.c.owner == owner, mine.c.tag == tag)
            )
        if not wanted.search.strip():
            return numbers
        words = search_words(wanted.search)[:MAX_SEARCHED]
        if not words:
            return None
        # A space after the last word says that it is whole.
        whole = not wanted.search[-1:].isalnum()
        match = _MATCHES[self._database.dialect]
        return match(numbers, words, whole, oldest_first)

    def count(self, owner: PersonId, *, trashed: bool = False) -> int:
        where = _trashed if trashed else _listed
        return self._number(sa.select(sa.func.count()).where(_column.owner == owner, where))

    def counts(self, owner: PersonId | None, now: datetime) -> Mapping[str, int]:
        """How many there are, how many of them are public now, and of how many that has ended."""
        whose = [] if owner is None else [_column.owner == owner]
        public = [_listed, _column.is_public]
        ended = sa.and_(_column.public_until.is_not(None), _column.public_until <= now)
        of = sa.select(sa.func.count()).select_from(_table)
        return {
            "total": self._number(of.where(*whose, _listed)),
            "public": self._number(of.where(*whose, *public, ~ended)),
            "expired": self._number(of.where(*whose, *public, ended)),
        }

    def tags(self, owner: PersonId, *, limit: int) -> list[tuple[str, int]]:
        """The owner's tags with the number of pictures, those that are used most first."""
        count = sa.func.count().label("count")
        query = (
            sa.select(_tags.c.tag, count)
            .join(_table, _column.number == _tags.c.picture)
            .where(_tags.c.owner == owner, _listed)
            .group_by(_tags.c.tag)
            .order_by(count.desc(), _tags.c.tag)
            .limit(limit)
        )
        with self._database.read() as connection:
            return [(tag, int(number)) for tag, number in connection.execute(query)]

    def models(self, owner: PersonId, *, limit: int) -> list[tuple[str, int]]:
        """The models of the owner's pictures with the number of pictures, by name."""
        query = (
            sa.select(_column.model, sa.func.count())
            .where(_column.owner == owner, _listed, _column.model != "")
            .group_by(_column.model)
            .order_by(_column.model)
            .limit(limit)
        )
        with self._database.read() as connection:
            return [(model, int(number)) for model, number in connection.execute(query)]

    def uses(self, blob: BlobId) -> int:
        """How many pictures, of anybody, also in the trash, have this file."""
        return self._number(sa.select(sa.func.count()).where(_column.blob == blob))

    def twins(self, picture: Picture, blob: BlobId) -> int:
        """How many pictures of the same owner, model and seed name a blob in their parameters: those that
        were made alike, and so may share what was drawn."""
        named = sa.cast(_column.parameters, sa.Text).contains(blob, autoescape=True)
        alike = (
            _column.owner == picture.owner,
            _column.model == picture.model,
            _column.seed == picture.seed,
        )
        return self._number(sa.select(sa.func.count()).where(*alike, named))

    def set(self, owner: PersonId, pictures: Iterable[PictureId], **values: Any) -> int:
        """Set columns of those of these pictures that are the owner's and not in the trash; how many."""
        statement = sa.update(_table).where(_column.owner == owner, _column.id.in_(list(pictures)), _listed)
        with self._database.write() as connection:
            return int(connection.execute(statement.values(**values)).rowcount)

    def retag(
        self,
        owner: PersonId,
        pictures: Iterable[PictureId],
        change: Callable[[tuple[str, ...]], tuple[str, ...]],
    ) -> int:
        """Give each of these pictures of the owner that are not in the trash the tags that `change` makes of
        its own; how many there were. All or none."""
        wanted = sa.select(_column.number, *(_column[name] for name in _KEPT)).where(
            _column.owner == owner, _column.id.in_(list(pictures)), _listed
        )
        with self._database.write() as connection:
            rows = connection.execute(wanted).mappings().all()
            fresh = {int(row["number"]): change(row["tags"]) for row in rows}
            for row in rows:
                tags = fresh[int(row["number"])]
                picture = _from_row(row)
                connection.execute(
                    sa.update(_table)
                    .where(_column.number == row["number"])
                    .values(tags=tags, words=_words(picture, tags))
                )
            connection.execute(sa.delete(_tags).where(_tags.c.picture.in_(list(fresh))))
            _write_tags(connection, owner, fresh)
        return len(rows)

    def trash(self, owner: PersonId, pictures: Iterable[PictureId], when: datetime) -> list[PictureId]:
        """Those that this call has put into the trash."""
        return self._moved(owner, pictures, _listed, when)

    def restore(self, owner: PersonId, pictures: Iterable[PictureId]) -> list[PictureId]:
        """Those that this call has taken out of the trash."""
        return self._moved(owner, pictures, _trashed, None)

    def _moved(
        self,
        owner: PersonId,
        pictures: Iterable[PictureId],
        state: sa.ColumnElement[bool],
        when: datetime | None,
    ) -> list[PictureId]:
        statement = (
            sa.update(_table)
            .where(_column.owner == owner, _column.id.in_(list(pictures)), state)
            .values(deleted_at=when)
            .returning(_column.id)
        )
        with self._database.write() as connection:
            return [PictureId(name) for name in connection.execute(statement).scalars()]

    def in_trash(
        self, *, owner: PersonId | None = None, before: datetime | None = None, limit: int
    ) -> list[PictureId]:
        """Pictures in the trash of one person or of everybody; those only that were put there before."""
        query = sa.select(_column.id).where(_trashed).order_by(_column.number).limit(limit)
        if owner is not None:
            query = query.where(_column.owner == owner)
        if before is not None:
            query = query.where(_column.deleted_at < before)
        with self._database.read() as connection:
            return [PictureId(name) for name in connection.execute(query).scalars()]

    def make_private(self, now: datetime) -> int:
        """End the publicity of everything whose time is over; how many that were."""
        over = sa.and_(_column.is_public, _column.public_until.is_not(None), _column.public_until <= now)
        statement = sa.update(_table).where(over).values(is_public=False, public_until=None)
        with self._database.write() as connection:
            return int(connection.execute(statement).rowcount)

    def delete(self, picture: PictureId) -> bool:
        """Return whether this call deleted it."""
        with self._database.write() as connection:
            return connection.execute(sa.delete(_table).where(_column.id == picture)).rowcount == 1

    def _number(self, query: sa.Select[Any]) -> int:
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def _many(self, query: sa.Select[Any]) -> list[Picture]:
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [_from_row(row) for row in rows]


def _as_row(picture: Picture) -> dict[str, Any]:
    return {
        **{name: getattr(picture, name) for name in _KEPT},
        "source": picture.source.value,
        "mode": picture.mode,
        "has_lora": picture.has_lora,
        "words": _words(picture, picture.tags),
    }


def _words(picture: Picture, tags: Iterable[str]) -> str:
    return search_document(picture.prompt, picture.negative_prompt, picture.model, *tags)


def _from_row(row: sa.RowMapping) -> Picture:
    return Picture(**{name: row[name] for name in _KEPT} | {"source": Source(row["source"])})


def _write_tags(connection: Connection, owner: PersonId, of: Mapping[int, Iterable[str]]) -> None:
    rows = [{"owner": owner, "tag": tag, "picture": number} for number, tags in of.items() for tag in tags]
    if rows:
        connection.execute(sa.insert(_tags), rows)


# -- what a filter means ---------------------------------------------------------------------------------


def _conditions(wanted: Filter, now: datetime) -> list[sa.ColumnElement[bool]]:
    width, height = _column.width, _column.height
    shapes = {
        Shape.SQUARE: width == height,
        Shape.LANDSCAPE: width > height,
        Shape.PORTRAIT: width < height,
    }
    over = sa.and_(_column.public_until.is_not(None), _column.public_until <= now)
    public = sa.and_(_column.is_public, ~over)
    found: list[sa.ColumnElement[bool]] = [_trashed if wanted.trashed else _listed]
    if wanted.shape is not None:
        found.append(shapes[wanted.shape])
    if wanted.favourite is not None:
        found.append(_column.favourite if wanted.favourite else ~_column.favourite)
    if wanted.has_lora is not None:
        found.append(_column.has_lora if wanted.has_lora else ~_column.has_lora)
    if wanted.public is not None:
        found.append(public if wanted.public else ~public)
    if wanted.since is not None:
        found.append(_column.created_at >= wanted.since)
    if wanted.until is not None:
        found.append(_column.created_at < wanted.until)
    exact = {"model": wanted.model, "width": wanted.width, "height": wanted.height, "mode": wanted.mode}
    exact["source"] = None if wanted.source is None else wanted.source.value
    found.extend(_column[name] == value for name, value in exact.items() if value is not None)
    return found


def _match_sqlite(
    numbers: sa.Select[Any], words: Sequence[str], whole: bool, oldest_first: bool
) -> sa.Select[Any]:
    """Every word in quotation marks, in which FTS5 knows no syntax; our words hold letters and digits alone.

    The index is asked first, and gives its rows in the order of their numbers; what follows only looks up.
    """
    terms = [f'"{word}"' for word in words]
    if not whole:
        terms[-1] += "*"
    index = sa.table("picture_words", sa.column("rowid"), sa.column("picture_words"))
    order = index.c.rowid.asc() if oldest_first else index.c.rowid.desc()
    return (
        numbers.join(index, index.c.rowid == _column.number)
        .where(index.c.picture_words.op("MATCH")(" ".join(terms)))
        .order_by(None)
        .order_by(order)
    )


def _match_postgres(
    numbers: sa.Select[Any], words: Sequence[str], whole: bool, _oldest_first: bool
) -> sa.Select[Any]:
    """Every word as a quoted lexeme, in which `tsquery` knows no syntax."""
    terms = [f"'{word}'" for word in words]
    if not whole:
        terms[-1] += ":*"
    document = sa.func.array_to_tsvector(sa.func.string_to_array(_column.words, " "))
    return numbers.where(document.op("@@")(sa.cast(" & ".join(terms), _TsQuery())))


class _TsQuery(sa.types.UserDefinedType[str]):
    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "tsquery"


_MATCHES: Mapping[str, Callable[[sa.Select[Any], Sequence[str], bool, bool], sa.Select[Any]]] = {
    "sqlite": _match_sqlite,
    "postgresql": _match_postgres,
}
