# SPDX-License-Identifier: Apache-2.0
"""Databases for tests, with our tables. The migrations run once a process; then their result is copied."""

import tempfile
from functools import cache
from pathlib import Path

from inglenook.store import schema
from inglenook.store.database import Database, sqlite_url


def fresh_sqlite(file: Path) -> Database:
    """A new SQLite database in `file` with our tables, empty: 50 times faster than running the migrations."""
    file.touch(mode=0o600)  # as the program makes it
    file.write_bytes(_migrated())
    return Database(sqlite_url(file))


@cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "migrated.db"
        database = Database(sqlite_url(file))
        schema.upgrade(database)
        with database.read() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
        return file.read_bytes()
