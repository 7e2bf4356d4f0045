# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL server to throw away: fast, on loopback, gone with the process that started it."""

import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pg8000.native

from inglenook.base.errors import Unavailable

_READY = "database system is ready to accept connections"
_SUPERUSER = "inglenook"
_START_S = 60.0
_PR_SET_PDEATHSIG = 1
_DELETE_ALL_ROWS = """
DO $$ DECLARE names text;
BEGIN
  SELECT string_agg(quote_ident(tablename), ', ') INTO names
    FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version';
  IF names IS NOT NULL THEN EXECUTE 'TRUNCATE ' || names || ' RESTART IDENTITY CASCADE'; END IF;
END $$
"""


@dataclass(frozen=True, slots=True)
class _Account:
    """Whom the server runs as: PostgreSQL refuses to run as root."""

    uid: int
    gid: int


class ThrowAwayPostgres:
    """Use it as a context manager; `database` gives the URL of a new empty database in it.

    Args:
        binaries: the folder with `initdb` and `postgres` (`inglenook.testing.parts.postgres_bin`).

    Raises:
        Unavailable: it could not be started; the message holds its last lines.
    """

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._account = _account()
        self._folder = Path(tempfile.mkdtemp(prefix="inglenook-postgres-"))
        self._lines: deque[str] = deque(maxlen=20)
        self._ready = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self.port = _free_port()

    def __enter__(self) -> Self:
        try:
            self._initialise()
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @contextmanager
    def database(self) -> Iterator[str]:
        """A new database, dropped at the end whoever is still connected."""
        name = f"test_{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name}")
        try:
            yield self.url(name)
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def empty(self, url: str) -> None:
        """Delete all rows of a database, but not what migrations noted: a tenth of the time of a new one."""
        self.execute(_DELETE_ALL_ROWS, name=url.rpartition("/")[2])

    def url(self, name: str) -> str:
        return f"postgresql://{_SUPERUSER}@127.0.0.1:{self.port}/{name}"

    def execute(self, statement: str, *, name: str = "postgres") -> None:
        """Run one statement in the database `name`, outside any transaction."""
        where = {"host": "127.0.0.1", "port": self.port, "database": name}
        connection = pg8000.native.Connection(_SUPERUSER, **where)
        try:
            connection.run(statement)
        finally:
            connection.close()

    def stop(self) -> None:
        """End it at once and delete its files. Idempotent."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(timeout=_START_S)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _initialise(self) -> None:
        os.chown(self._folder, self._account.uid, self._account.gid)
        command = [
            self._binaries / "initdb",
            "-D",
            self._data,
            "-U",
            _SUPERUSER,
            "--auth=trust",
            "-E",
            "UTF8",
        ]
        done = subprocess.run(
            [*map(str, command), "--no-sync", "--no-instructions"],
            capture_output=True,
            text=True,
            check=False,
            **self._as(),
        )
        if done.returncode != 0:
            raise Unavailable(f"initdb ended with {done.returncode}: {done.stderr.strip()[-500:]}")

    def _start(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "off",
            "max_connections": "300",
            "lc_messages": "C",
        }
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        self._process = subprocess.Popen(
            [str(self._binaries / "postgres"), "-D", str(self._data), *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call, nothing that could be locked
            **self._as(),
        )
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()
        self._ready.wait(_START_S)
        if self._process.poll() is not None or not self._ready.is_set():
            raise Unavailable("PostgreSQL did not start: " + " | ".join(self._lines))

    def _read(self, process: "subprocess.Popen[str]") -> None:
        """Keep the last lines, and see when it is ready; its end counts as an answer too."""
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                self._lines.append(line.strip())
                if _READY in line:
                    self._ready.set()
        process.wait()
        self._ready.set()

    def _as(self) -> dict[str, Any]:
        here: dict[str, Any] = {
            "cwd": self._folder,
            "env": {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
        }
        if os.geteuid() == self._account.uid:
            return here
        return {**here, "user": self._account.uid, "group": self._account.gid, "extra_groups": []}

    @property
    def _data(self) -> Path:
        return self._folder / "data"


def can_run() -> bool:
    """Whether there is an account that PostgreSQL accepts: ours, or `postgres` when we are root."""
    with suppress(Unavailable):
        _account()
        return True
    return False


def _account() -> _Account:
    if os.geteuid() != 0:
        return _Account(os.geteuid(), os.getegid())
    try:
        found = pwd.getpwnam("postgres")
    except KeyError as error:
        raise Unavailable("PostgreSQL does not run as root, and there is no account postgres.") from error
    return _Account(found.pw_uid, found.pw_gid)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with_parent() -> None:
    """Runs in the child before it becomes PostgreSQL. Linux only; elsewhere `stop` is all there is."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
