# SPDX-License-Identifier: Apache-2.0
"""Connections to the database: SQLite in the data folder, or PostgreSQL by URL. Everything here blocks."""

import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import ArgumentError, DBAPIError

from inglenook.base.errors import Busy, Conflict, Failed, InglenookError, Invalid, Unavailable
from inglenook.base.units import MIB

POSTGRES_TIMEOUT_S = 20.0
"""For one answer, the first one included: a server that accepts and never speaks is not waited for."""
BUSY_TIMEOUT_S = 5.0
"""How long a SQLite connection waits for another process's write to end."""

_POOL = {"pool_size": 8, "max_overflow": 56, "pool_timeout": 30.0}
_WRITE = "inglenook_write"
_CLAIM_KEY = 0x1A9E_0002  # any number that other programs in the same PostgreSQL are unlikely to take


def sqlite_url(path: Path) -> str:
    """The URL of the SQLite file at `path`, whatever characters the path has."""
    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


class Database:
    """A pool of connections to one database, usable from many threads.

    `read` and `write` are the only two ways in. A write sees and locks out other writes from its
    first statement; several processes may write to one file, each waiting for the others.

    Raises:
        Invalid: the URL is neither SQLite (a file) nor PostgreSQL.
    """

    def __init__(self, url: str) -> None:
        parsed = _parse(url)
        self.dialect = parsed.get_backend_name()
        self.address = parsed.render_as_string(hide_password=True)
        self.path = Path(parsed.database) if self.dialect == "sqlite" and parsed.database else None
        self._claim: Connection | None = None
        self._engine = _sqlite(parsed) if self.path is not None else _postgres(parsed)
        # SQLite lets one write at a time; its own way to wait is to poll, which is unfair and slow.
        self._turn: AbstractContextManager[Any] = nullcontext() if self.path is None else threading.Lock()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one state of the database; whatever it wrote is undone.

        Raises:
            Unavailable: the database cannot be reached (`store.unreachable`).
            Busy: another process holds it for longer than `BUSY_TIMEOUT_S` (`store.busy`).
        """
        with self._translated(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A connection in a transaction: kept when the block ends, undone when it raises.

        Raises:
            Unavailable, Busy: as `read`.
            Failed: no room on the disk (`store.disk_full`), or the file cannot be used (`store.broken`).
        """
        with self._translated(), self._turn, self._engine.connect() as plain:
            connection = plain.execution_options(**{_WRITE: True})
            with connection.begin():
                yield connection

    def claim(self) -> None:
        """Be the only server on this database until `close`. SQLite needs none: its folder has a lock.

        Raises:
            Conflict: another server has it (`store.locked`).
        """
        if self.path is not None:
            return
        with self._translated():
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            taken = connection.execute(sa.select(sa.func.pg_try_advisory_lock(_CLAIM_KEY))).scalar_one()
        if not taken:
            connection.close()
            raise Conflict(
                f"Another server already uses the database {self.address}.",
                code="store.locked",
                hint="use that one, stop it, or give this one another database",
            )
        self._claim = connection

    def close(self) -> None:
        if self._claim is not None:
            with suppress(DBAPIError, TimeoutError):  # gone already, and the claim with it
                # The session's end frees it too, but only when the server has come to notice: too late for
                # whoever starts in this moment.
                self._claim.execute(sa.select(sa.func.pg_advisory_unlock(_CLAIM_KEY)))
            self._claim.invalidate()
            self._claim.close()
            self._claim = None
        self._engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            known = _translate(error, self)
            if known is None:
                raise
            raise known from error
        except TimeoutError as error:  # pg8000 does not wrap it
            raise Unavailable(
                f"The database {self.address} has not answered for {POSTGRES_TIMEOUT_S:g} s.",
                code="store.unreachable",
                hint="check that it runs, and store.database_url",
            ) from error


def _parse(url: str) -> URL:
    try:
        parsed = sa.make_url(url)
    except ArgumentError as error:
        raise Invalid(
            "The database's address is not a URL.",
            code="store.url",
            hint="write postgresql://person:password@host/name, or nothing for a file in the data folder",
        ) from error
    backend = "postgresql" if parsed.drivername == "postgres" else parsed.get_backend_name()
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+pg8000")
    if backend == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return parsed.set(drivername="sqlite+pysqlite")
    raise Invalid(
        f"{parsed.render_as_string(hide_password=True)} is not a database that can be used.",
        code="store.url",
        hint="use postgresql://… or sqlite:///path/to/file.db",
    )


def _json_text(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def _sqlite(url: URL) -> Engine:
    engine = sa.create_engine(
        url,
        json_serializer=_json_text,
        connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False},
        poolclass=sa.QueuePool,
        **_POOL,
    )
    path = str(url.database)
    event.listen(engine, "do_connect", lambda *_: _create_private(path))
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _create_private(path: str) -> None:
    """Make the file readable for its owner only, before SQLite makes it readable for everybody.

    Only a file that is not there: POSIX drops all of a process's locks on a file as soon as the process
    closes any descriptor of it. Opening and closing the database beside SQLite would take the locks of every
    connection away, and another program that looks at the file would delete the log under the server.
    """
    with suppress(OSError):  # it is there, or SQLite says what is wrong with the path
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _configure_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself: `_begin_sqlite` does
    for pragma in (
        f"busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}",
        "journal_mode = WAL",
        "synchronous = NORMAL",
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _postgres(url: URL) -> Engine:
    return sa.create_engine(
        url,
        json_serializer=_json_text,
        pool_pre_ping=True,
        connect_args={"timeout": POSTGRES_TIMEOUT_S},
        **_POOL,
    )


def _translate(error: DBAPIError, database: Database) -> InglenookError | None:
    """What a person can do something about; None for a mistake of the program."""
    if database.path is not None:
        return _translate_sqlite(error, database.path)
    return _translate_postgres(error, database.address)


def _translate_sqlite(error: DBAPIError, path: Path) -> InglenookError | None:
    name = str(getattr(error.orig, "sqlite_errorname", ""))
    if name.startswith("SQLITE_FULL") or (name.startswith("SQLITE_IOERR") and _is_full(path)):
        return Failed(
            f"The disk that holds {path} is full.",
            code="store.disk_full",
            hint="free some room, then try again",
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return Busy(
            f"Another process has held {path} for more than {BUSY_TIMEOUT_S:.0f} s.",
            code="store.busy",
            hint="close programs that have the file open",
            retry_after_s=1.0,
        )
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")):
        return Unavailable(
            f"{path} cannot be opened for writing ({error.orig}).",
            code="store.unreachable",
            hint="check that the folder exists and belongs to you",
        )
    if name.startswith(("SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_SHM")):
        return Failed(
            f"{path} cannot be written ({error.orig}).",
            code="store.unwritable",
            hint="look at the disk: a quota that is used up, or a fault",
        )
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_IOERR")):
        return Failed(
            f"{path} cannot be used ({error.orig}).", code="store.broken", hint="restore it from a backup"
        )
    return None


def _is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < MIB
    except OSError:
        return False


def _translate_postgres(error: DBAPIError, address: str) -> InglenookError | None:
    said = error.orig.args[0] if error.orig is not None and error.orig.args else None
    state = str(said.get("C", "")) if isinstance(said, dict) else ""
    if state == "53100":
        return Failed(f"The disk of {address} is full.", code="store.disk_full", hint="free some room there")
    if state.startswith(("08", "28", "3D", "53", "57P")) or (not state and _is_connection(error)):
        reason = said.get("M") if isinstance(said, dict) else error.orig
        return Unavailable(
            f"The database {address} cannot be used: {reason}.",
            code="store.unreachable",
            hint="check that it runs, and the name and password in the URL",
        )
    return None


def _is_connection(error: DBAPIError) -> bool:
    return error.connection_invalidated or isinstance(error, sa.exc.InterfaceError | sa.exc.OperationalError)
