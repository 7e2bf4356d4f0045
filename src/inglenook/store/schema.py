# SPDX-License-Identifier: Apache-2.0
"""Bring a database to the schema that this program knows. Alembic is imported only when there is work."""

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from inglenook.base.errors import Conflict
from inglenook.store.database import Database
from inglenook.store.migrations import HEAD, REVISIONS

_VERSION_TABLE = "alembic_version"
_LOCK_KEY = 0x1A9E_0001  # any number that other programs in the same PostgreSQL are unlikely to take


def version(database: Database) -> str | None:
    """The revision that the database has; None when it is empty."""
    with database.read() as connection:
        return _version(connection)


def upgrade(database: Database) -> bool:
    """Create or change the tables as needed; all or nothing. Return whether anything was done.

    Raises:
        Conflict: the database was made by a newer program (`store.newer`).
    """
    if version(database) == HEAD:
        return False
    import alembic.command  # noqa: F401 - before others have to wait for us: it takes its time

    with database.write() as connection:
        if database.dialect == "postgresql":  # two servers may start on one database at the same time
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
        found = _version(connection)
        if found == HEAD:
            return False
        if found is not None and found not in REVISIONS:
            raise Conflict(
                f"The database {database.address} has the schema {found!r}, which this program "
                f"does not know; its own is {HEAD!r}.",
                code="store.newer",
                hint="start the newer Inglenook that made it, or give this one another data folder",
            )
        _run("upgrade", connection, "head")
    return True


def downgrade(database: Database, revision: str) -> None:
    """Go back to `revision` (`base` for no tables at all). What the newer tables held is lost."""
    with database.write() as connection:
        _run("downgrade", connection, revision)


def config(connection: sa.Connection, metadata: sa.MetaData | None = None) -> Any:
    """Alembic's configuration for our migrations over `connection`."""
    from alembic.config import Config

    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    made.attributes["connection"] = connection
    made.attributes["metadata"] = metadata
    return made


def _run(command: str, connection: sa.Connection, revision: str) -> None:
    from alembic import command as commands

    getattr(commands, command)(config(connection), revision)


def _version(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table(_VERSION_TABLE):
        return None
    query = sa.select(sa.column("version_num", sa.String)).select_from(sa.table(_VERSION_TABLE))
    found = connection.execute(query).scalar()
    return None if found is None else str(found)
