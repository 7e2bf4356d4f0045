# SPDX-License-Identifier: Apache-2.0
"""Fixtures that more than one folder of tests uses. Keep it small."""

import gc
import re
import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from inglenook.store import schema
from inglenook.store.database import Database, sqlite_url
from inglenook.testing import parts
from inglenook.testing.clock import FakeClock
from inglenook.testing.postgres import ThrowAwayPostgres, can_run
from tests.databases import fresh_sqlite
from tests.starters import chat_model, embedding_model, matting_model, speech_model

GC_THRESHOLDS = (20_000, 20, 100)
"""Python's own are 700, 10 and 10; with them a quarter of the time goes into looking for garbage."""
ALL_SLOW = re.compile(r"^pytestmark = \[?pytest\.mark\.slow\b", re.MULTILINE)

# An example takes a millisecond, and on a busy machine now and then a second: that is no finding.
settings.register_profile("patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

__all__ = ["chat_model", "embedding_model", "matting_model", "speech_model"]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What importing all tests leaves behind stays to the end: the garbage collector, which would otherwise
    look through it every few tests for seconds, is told to leave it alone. And it looks more rarely: making
    one application makes a hundred thousand objects, of which few are garbage."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        gc.enable()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Files that are slow as a whole are not even imported for the everyday tests: many import torch."""
    if config.option.markexpr != "not slow" or collection_path.suffix != ".py":
        return None
    return True if ALL_SLOW.search(collection_path.read_text(encoding="utf-8")) else None


def pytest_configure() -> None:
    """A shell that starts the tests in the background has them ignore Ctrl+C, and every child with them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def _opened(database: Database) -> Iterator[Database]:
    try:
        yield database
    finally:
        database.close()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def postgres() -> Iterator[ThrowAwayPostgres]:
    """A server for the whole session; each test takes a database of its own."""
    binaries = parts.postgres_bin()
    parts.require(binaries is not None, "PostgreSQL is not installed")
    parts.require(can_run(), "PostgreSQL does not run as root, and there is no account postgres")
    assert binaries is not None
    with ThrowAwayPostgres(binaries) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres: ThrowAwayPostgres) -> Iterator[str]:
    """A database that is emptied after each test that uses it."""
    with postgres.database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without tables, on each kind of database."""
    if request.param == "sqlite":
        yield sqlite_url(tmp_path / "inglenook.db")
        return
    with request.getfixturevalue("postgres").database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Our tables, empty, on each kind of database. A test that makes tables of its own takes `empty_url`."""
    if request.param == "sqlite":
        with _opened(fresh_sqlite(tmp_path / "inglenook.db")) as made:
            yield made
        return
    url = request.getfixturevalue("postgres_url")
    with _opened(Database(url)) as made:
        schema.upgrade(made)
        yield made
    request.getfixturevalue("postgres").empty(url)


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Database]:
    """A database with our tables, on SQLite alone: for tests that are not about the database."""
    with _opened(fresh_sqlite(tmp_path / "inglenook.db")) as made:
        yield made
