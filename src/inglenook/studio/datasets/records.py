# SPDX-License-Identifier: Apache-2.0
"""The index of a data set: an SQLite file that is made from the data set's own files, for lists and searches.

It is never the truth. One that is missing, damaged, of another schema or of another version of the data set
is made again. A connection lives as long as one operation, so any thread may ask; only one may write at a
time, which the project's lock sees to.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from inglenook.base.errors import Failed, Unavailable
from inglenook.store.files import FREE
from inglenook.studio.datasets.model import ANY_IMAGE, Change, ImageQuery, ImageRecord, ImageStats, Page
from inglenook.studio.datasets.sql import SORTS, closed, conditions, opened, select, where_of
from inglenook.vision.annotations import primary_class

SCHEMA: Final = 1
_BUSY_S: Final = 60.0
_MANY: Final = 500
"""Ids that are asked for at once; SQLite takes 999 parameters in its oldest builds."""

_TABLES = """
DROP TABLE IF EXISTS meta; DROP TABLE IF EXISTS images; DROP TABLE IF EXISTS tags;
DROP TABLE IF EXISTS parts; DROP TABLE IF EXISTS splits; DROP TABLE IF EXISTS labels;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE images (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL,
  filename TEXT NOT NULL,
  folded TEXT NOT NULL,
  label TEXT NOT NULL,
  label_folded TEXT NOT NULL,
  area INTEGER NOT NULL,
  side INTEGER NOT NULL,
  width INTEGER NOT NULL,
  height INTEGER NOT NULL,
  ending TEXT NOT NULL,
  added_at TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  family TEXT,
  record BLOB NOT NULL
);
CREATE TABLE labels (label TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE tags (tag TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (tag, id)) WITHOUT ROWID;
CREATE TABLE splits (no INTEGER PRIMARY KEY, split TEXT NOT NULL UNIQUE);
CREATE TABLE parts (
  no INTEGER NOT NULL, seq INTEGER NOT NULL, subset TEXT NOT NULL, PRIMARY KEY (no, seq)
) WITHOUT ROWID;
"""
_INDEXES = """
CREATE UNIQUE INDEX images_id ON images (id);
CREATE UNIQUE INDEX images_filename ON images (filename, folded);
CREATE INDEX images_label ON images (label_folded, filename, label);
CREATE INDEX images_area ON images (area, filename);
CREATE INDEX images_added ON images (added_at, filename);
CREATE INDEX images_sha256 ON images (sha256);
CREATE INDEX images_family ON images (family, filename) WHERE family IS NOT NULL;
CREATE INDEX tags_id ON tags (id);
CREATE INDEX parts_subset ON parts (no, subset);
INSERT INTO labels SELECT label, COUNT(*) FROM images GROUP BY label;
"""
_COLUMNS: Final = 14
_INSERT = f"""INSERT INTO images (id, filename, folded, label, label_folded, area, side, width, height,
  ending, added_at, sha256, family, record) VALUES ({", ".join("?" * _COLUMNS)})"""  # noqa: S608 - question marks
_UPDATE = """UPDATE images SET id = ?, filename = ?, folded = ?, label = ?, label_folded = ?, area = ?,
  side = ?, width = ?, height = ?, ending = ?, added_at = ?, sha256 = ?, family = ?, record = ?
  WHERE id = ?"""
_COUNT = """INSERT INTO labels (label, count) VALUES (?, ?)
  ON CONFLICT (label) DO UPDATE SET count = count + excluded.count"""
_FEW: Final = 5000
"""A part of a split with fewer pictures is looked up picture by picture; of a larger one, pages are filled
in the list's order."""
_record = msgspec.json.Decoder(ImageRecord)
_encode = msgspec.json.Encoder().encode


class ImageIndex:
    """Args:
    path: of the file; its folder exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Raises Unavailable: the file is damaged; it is thrown away, and the next who asks makes it anew."""
        try:
            with closing(self._connect()) as connection:
                yield connection
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise
            self._throw_away()
            raise Unavailable(
                f"The index {self._path} was damaged.",
                code="dataset.index_damaged",
                hint="ask again: it is made anew from the data set's own files",
                retry_after_s=1,
            ) from error

    def _throw_away(self) -> None:
        for ending in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + ending).unlink(missing_ok=True)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it or nothing. Raises Failed: no room on the disk (`store.disk_full`)."""
        try:
            with closing(self._connect()) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                except BaseException:
                    if connection.in_transaction:  # SQLite itself may have ended it
                        connection.rollback()
                    raise
                connection.commit()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            raise Failed(
                f"There is no room on the disk for {self._path}.",
                code="store.disk_full",
                hint=FREE,
            ) from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        connection.executescript(
            "PRAGMA synchronous=NORMAL; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-16000"
        )
        return connection

    # -- keeping it true ---------------------------------------------------------------------------------

    def state(self) -> tuple[str, int] | None:
        """Id and version of the data set that it shows; None where it must be made again."""
        if not self._path.exists():
            return None
        try:
            with closing(self._connect()) as connection:
                meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
        except sqlite3.DatabaseError:
            return None
        if meta.get("schema") != str(SCHEMA):
            return None
        return meta["dataset"], int(meta["version"])

    def rebuild(self, dataset: str, version: int, records: Iterable[ImageRecord]) -> None:
        """Make it anew. A damaged file is thrown away first."""
        if self.state() is None:
            self._throw_away()
        with self._writing() as connection:
            for statement in _TABLES.split(";"):
                connection.execute(statement)
            connection.executemany(_INSERT, map(_row, self._tagged(connection, records)))
            for statement in _INDEXES.split(";"):
                connection.execute(statement)
            connection.execute("ANALYZE")
            _set_version(connection, dataset, version)

    def _tagged(
        self, connection: sqlite3.Connection, records: Iterable[ImageRecord]
    ) -> Iterator[ImageRecord]:
        for record in records:
            if record.tags:
                _tag(connection, record)
            yield record

    def apply(self, dataset: str, version: int, changes: Iterable[Change]) -> None:
        """Bring it from the version before to this one."""
        labels: Counter[str] = Counter()
        with self._writing() as connection:
            for change in changes:
                for record, more in ((change.before, -1), (change.after, 1)):
                    if record is not None:
                        labels[primary_class(record.annotations) or ""] += more
                _apply(connection, change)
            connection.execute("DELETE FROM parts WHERE no NOT IN (SELECT no FROM splits)")
            connection.executemany(_COUNT, [(label, more) for label, more in labels.items() if more])
            _set_version(connection, dataset, version)

    # -- splits ------------------------------------------------------------------------------------------

    def knows_split(self, split: str) -> bool:
        with self._reading() as connection:
            return connection.execute("SELECT 1 FROM splits WHERE split = ?", (split,)).fetchone() is not None

    def add_split(self, split: str, assignments: Mapping[str, str]) -> None:
        """Args:
        assignments: subset by a picture's id; `none` may be left out.
        """
        with self._writing() as connection:
            _forget_split(connection, split)
            number = connection.execute("INSERT INTO splits (split) VALUES (?)", (split,)).lastrowid
            rows = connection.execute("SELECT id, seq FROM images ORDER BY seq").fetchall()
            connection.executemany(
                "INSERT INTO parts (no, seq, subset) VALUES (?, ?, ?)",
                (
                    (number, seq, assignments[image])
                    for image, seq in rows
                    if assignments.get(image, "none") != "none"
                ),
            )

    def drop_split(self, split: str) -> None:
        with self._writing() as connection:
            _forget_split(connection, split)

    def split_counts(self, split: str) -> dict[tuple[str, str], int]:
        """Pictures by part (`none` for those in no part) and primary class."""
        rows = self._rows(
            "SELECT COALESCE(subset, 'none'), label, COUNT(*) FROM images"
            " LEFT JOIN parts ON parts.no = (SELECT no FROM splits WHERE split = ?)"
            " AND parts.seq = images.seq GROUP BY 1, 2",
            (split,),
        )
        return {(subset, label): count for subset, label, count in rows}

    def subsets(self, images: Sequence[str]) -> dict[str, dict[str, str]]:
        """By picture, the subset by split; a split that has the picture nowhere is left out."""
        found: dict[str, dict[str, str]] = {image: {} for image in images}
        with self._reading() as connection:
            splits = connection.execute("SELECT no, split FROM splits").fetchall()
            for some in _batches(images):
                marks = ", ".join("?" * len(some))
                ids = dict(
                    connection.execute(f"SELECT seq, id FROM images WHERE id IN ({marks})", some).fetchall()  # noqa: S608 - question marks
                )
                marks = ", ".join("?" * len(ids))
                for number, split in splits:
                    rows = connection.execute(
                        f"SELECT seq, subset FROM parts WHERE no = ? AND seq IN ({marks})",  # noqa: S608
                        (number, *ids),
                    )
                    for seq, subset in rows:
                        found[ids[seq]][split] = subset
        return found

    # -- asking ------------------------------------------------------------------------------------------

    def page(self, query: ImageQuery, *, limit: int, after: str | None = None) -> Page:
        """Raises Invalid: `after` is none of ours, or of a list in another order."""
        column = SORTS[query.sort]
        where, values = self._conditions(query)
        sign, way = ("<", "DESC") if query.descending else (">", "ASC")
        if after is not None:
            key, name = opened(after, query)
            where.append(
                f"filename {sign} ?" if column == "filename" else f"({column}, filename) {sign} (?, ?)"
            )
            values += [name] if column == "filename" else [key, name]
        rows = self._rows(select(where, column, way), (*values, limit + 1, 0))
        images = tuple(_record.decode(record) for record, _ in rows[:limit])
        if len(rows) <= limit or not images:
            return Page(images=images)
        return Page(images=images, after=closed(rows[limit - 1][1], images[-1].filename, query))

    def slice(self, query: ImageQuery, *, limit: int, offset: int) -> tuple[ImageRecord, ...]:
        column = SORTS[query.sort]
        where, values = self._conditions(query)
        way = "DESC" if query.descending else "ASC"
        rows = self._rows(select(where, column, way), (*values, limit, offset))
        return tuple(_record.decode(record) for record, _ in rows)

    def count(self, query: ImageQuery) -> int:
        if query.split is not None and query.subset == "none":
            every = msgspec.structs.replace(query, split=None, subset=None)
            where, values = conditions(every)
            where.append("seq IN (SELECT seq FROM parts WHERE no = (SELECT no FROM splits WHERE split = ?))")
            in_some = f"SELECT COUNT(*) FROM images {where_of(where)}"  # noqa: S608 - our own words
            return self.count(every) - int(self._rows(in_some, (*values, query.split))[0][0])
        where, values = conditions(query)
        return int(self._rows(f"SELECT COUNT(*) FROM images {where_of(where)}", values)[0][0])  # noqa: S608

    def ids(self, query: ImageQuery) -> list[str]:
        """Of all pictures that fit, in no order."""
        where, values = conditions(query)
        return [row[0] for row in self._rows(f"SELECT id FROM images {where_of(where)}", values)]  # noqa: S608

    def class_counts(self, query: ImageQuery) -> dict[str, int]:
        """Pictures by primary class; "" for those without one."""
        if msgspec.structs.replace(query, sort="filename", descending=False) == ANY_IMAGE:
            return dict(self._rows("SELECT label, count FROM labels WHERE count > 0 ORDER BY label", ()))
        where, values = conditions(query)
        rows = self._rows(
            f"SELECT label, COUNT(*) FROM images {where_of(where)} GROUP BY label ORDER BY label",  # noqa: S608
            values,
        )
        return dict(rows)

    def by_id(self, images: Sequence[str]) -> dict[str, ImageRecord]:
        found: dict[str, ImageRecord] = {}
        for some in _batches(images):
            marks = ", ".join("?" * len(some))
            rows = self._rows(f"SELECT record FROM images WHERE id IN ({marks})", some)  # noqa: S608
            found |= {record.id: record for record in (_record.decode(row[0]) for row in rows)}
        return found

    def ids_of(self, names: Sequence[str]) -> dict[str, str]:
        """Id by what is an id or a filename, of those that are there."""
        found: dict[str, str] = {}
        for column in ("id", "filename"):  # a filename counts before an id
            for some in _batches(names):
                marks = ", ".join("?" * len(some))
                statement = f"SELECT {column}, id FROM images WHERE {column} IN ({marks})"  # noqa: S608
                found |= dict(self._rows(statement, some))
        return found

    def find(self, name: str) -> ImageRecord | None:
        """By filename, else by id."""
        for column in ("filename", "id"):
            rows = self._rows(f"SELECT record FROM images WHERE {column} = ?", (name,))  # noqa: S608
            if rows:
                return _record.decode(rows[0][0])
        return None

    def iterate(self) -> Iterator[ImageRecord]:
        """Every picture, by filename, as it is at the beginning; changes meanwhile are not seen."""
        with self._reading() as connection:
            for (record,) in connection.execute("SELECT record FROM images ORDER BY filename"):
                yield _record.decode(record)

    def names(self) -> set[str]:
        """Of all files."""
        return {row[0] for row in self._rows("SELECT filename FROM images", ())}

    def tag_counts(self) -> dict[str, int]:
        return dict(self._rows("SELECT tag, COUNT(*) FROM tags GROUP BY tag ORDER BY tag", ()))

    def groups(self) -> int:
        """How many groups there are."""
        return int(self._rows("SELECT COUNT(DISTINCT family) FROM images WHERE family IS NOT NULL", ())[0][0])

    def stats(self) -> ImageStats:
        rows = self._rows("SELECT COUNT(*), MIN(width), MAX(width), MIN(height), MAX(height) FROM images", ())
        endings = self._rows("SELECT DISTINCT ending FROM images ORDER BY ending", ())
        count, *sides = rows[0]
        least_w, most_w, least_h, most_h = (side or 0 for side in sides)
        return ImageStats(
            num_images=count,
            min_width=least_w,
            max_width=most_w,
            min_height=least_h,
            max_height=most_h,
            formats=tuple(row[0] for row in endings),
        )

    def _conditions(self, query: ImageQuery) -> tuple[list[str], list[Any]]:
        """For a page: a large part of a split is not collected first, and nothing is looked for in vain."""
        if query.split is None or query.subset is None:
            return conditions(query)
        if query.subset == "none":
            in_some = "SELECT COUNT(*) FROM parts WHERE no = (SELECT no FROM splits WHERE split = ?)"
            rest = f"SELECT (SELECT COUNT(*) FROM images) - ({in_some})"  # noqa: S608 - our own words
            every = self._rows(rest, (query.split,))[0][0] == 0
            return (["FALSE"], []) if every else conditions(query)
        size = self._rows(
            "SELECT COUNT(*) FROM parts WHERE no = (SELECT no FROM splits WHERE split = ?) AND subset = ?",
            (query.split, query.subset),
        )[0][0]
        return conditions(query, collected=size < _FEW)

    def _rows(self, statement: str, values: Sequence[Any]) -> list[Any]:
        with self._reading() as connection:
            return connection.execute(statement, tuple(values)).fetchall()


def _row(record: ImageRecord) -> tuple[Any, ...]:
    label = primary_class(record.annotations) or ""
    return (
        record.id,
        record.filename,
        record.filename.casefold(),
        label,
        label.casefold(),
        record.width * record.height,
        min(record.width, record.height),
        record.width,
        record.height,
        record.filename.rpartition(".")[2].lower(),
        record.added_at,
        record.sha256,
        record.group,
        _encode(record),
    )


def _apply(connection: sqlite3.Connection, change: Change) -> None:
    before, after = change.before, change.after
    if after is None or before is None or before.tags != after.tags:
        connection.execute("DELETE FROM tags WHERE id = ?", (change.id,))
        if after is not None:
            _tag(connection, after)
    if after is None:
        connection.execute(
            "DELETE FROM parts WHERE seq = (SELECT seq FROM images WHERE id = ?)", (change.id,)
        )
        connection.execute("DELETE FROM images WHERE id = ?", (change.id,))
    elif before is None:
        connection.execute(_INSERT, _row(after))
        # A split may know the picture of old: what was loaded of splits is loaded again.
        connection.execute("DELETE FROM splits")
    else:
        _update(connection, before, after)


def _update(connection: sqlite3.Connection, before: ImageRecord, after: ImageRecord) -> None:
    """Each column that is set costs the indexes in which it is, changed or not: so no more than differ."""
    label = primary_class(after.annotations) or ""
    same = msgspec.structs.replace(before, annotations=after.annotations, tags=after.tags)
    if same != after:
        connection.execute(_UPDATE, (*_row(after), after.id))
    elif label != (primary_class(before.annotations) or ""):
        values = (label, label.casefold(), _encode(after), after.id)
        connection.execute("UPDATE images SET label = ?, label_folded = ?, record = ? WHERE id = ?", values)
    else:
        connection.execute("UPDATE images SET record = ? WHERE id = ?", (_encode(after), after.id))


def _forget_split(connection: sqlite3.Connection, split: str) -> None:
    number = "(SELECT no FROM splits WHERE split = ?)"
    connection.execute(f"DELETE FROM parts WHERE no = {number}", (split,))  # noqa: S608 - our own words
    connection.execute("DELETE FROM splits WHERE split = ?", (split,))


def _tag(connection: sqlite3.Connection, record: ImageRecord) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO tags (tag, id) VALUES (?, ?)", ((it, record.id) for it in record.tags)
    )


def _set_version(connection: sqlite3.Connection, dataset: str, version: int) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)",
        (("schema", str(SCHEMA)), ("dataset", dataset), ("version", str(version))),
    )


def _batches(items: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), _MANY):
        yield items[start : start + _MANY]
