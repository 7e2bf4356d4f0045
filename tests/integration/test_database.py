# SPDX-License-Identifier: Apache-2.0
"""The database on both of its kinds: migrations, transactions, and what a person reads when it fails."""

import importlib
import pkgutil
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory

import inglenook
from inglenook.base.errors import Busy, Conflict, Failed, Invalid, Unavailable
from inglenook.base.ids import OWNER
from inglenook.gallery.model import Filter
from inglenook.gallery.records import PictureRecords
from inglenook.store import database as databases
from inglenook.store import schema
from inglenook.store.columns import Line, Moment, metadata
from inglenook.store.database import Database, sqlite_url
from inglenook.store.migrations import HEAD, REVISIONS
from inglenook.store.overrides import SettingOverrides
from inglenook.testing.clock import FakeClock


@pytest.fixture
def empty(empty_url: str) -> Iterator[Database]:
    made = Database(empty_url)
    yield made
    made.close()


def import_every_table() -> None:
    for found in pkgutil.walk_packages(inglenook.__path__, "inglenook."):
        if found.name.endswith(".records") or found.name.startswith("inglenook.store.overrides"):
            importlib.import_module(found.name)


def table_names(database: Database) -> set[str]:
    with database.read() as connection:
        return set(sa.inspect(connection).get_table_names())


def test_the_migrations_make_exactly_the_tables_that_the_records_declare(empty: Database) -> None:
    import_every_table()
    schema.upgrade(empty)
    with empty.write() as connection:
        command.check(schema.config(connection, metadata))  # raises when a migration is missing


def test_the_list_of_revisions_is_the_folder_of_migrations(empty: Database) -> None:
    with empty.read() as connection:
        scripts = ScriptDirectory.from_config(schema.config(connection))
    assert [script.revision for script in scripts.walk_revisions()] == list(reversed(REVISIONS))
    assert all(len(revision) <= 32 for revision in REVISIONS)


def test_a_database_is_upgraded_once_and_can_go_back(empty: Database) -> None:
    assert schema.version(empty) is None
    assert schema.upgrade(empty) is True
    assert schema.version(empty) == HEAD
    assert schema.upgrade(empty) is False
    schema.downgrade(empty, "base")
    assert table_names(empty) == {"alembic_version"}
    assert schema.upgrade(empty) is True
    assert "jobs" in table_names(empty)


def test_a_migration_that_fails_leaves_the_database_as_it_was(empty: Database) -> None:
    with empty.write() as connection:
        connection.execute(sa.text("CREATE TABLE setting_overrides (section INTEGER)"))
    with pytest.raises(sa.exc.DBAPIError, match="setting_overrides"):
        schema.upgrade(empty)
    assert table_names(empty) == {"setting_overrides"}
    assert schema.version(empty) is None


def test_a_database_of_a_newer_program_is_refused_with_both_versions(empty: Database) -> None:
    schema.upgrade(empty)
    with empty.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999_far_future'"))
    with pytest.raises(Conflict, match="9999_far_future") as refused:
        schema.upgrade(empty)
    assert refused.value.code == "store.newer"
    assert HEAD in refused.value.message


def test_two_servers_that_upgrade_one_database_at_once_both_succeed(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four do, and the last of them waits for all that the first does, which on a slow disk takes seconds."""
    monkeypatch.setattr(databases, "BUSY_TIMEOUT_S", 60.0)
    barrier = threading.Barrier(4)
    done: list[bool] = []

    def start() -> None:
        mine = Database(empty_url)
        barrier.wait()
        done.append(schema.upgrade(mine))
        mine.close()

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [False, False, False, True]


def test_a_database_that_is_up_to_date_is_opened_without_alembic(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "x.db")
    made = Database(url)
    schema.upgrade(made)
    made.close()
    program = (
        "import sys\n"
        "from inglenook.store import schema\n"
        "from inglenook.store.database import Database\n"
        "assert schema.upgrade(Database(sys.argv[1])) is False\n"
        "assert not [name for name in sys.modules if name.startswith(('alembic', 'mako', 'pg8000'))]\n"
    )
    subprocess.run([sys.executable, "-c", program, url], check=True, timeout=60)


def test_a_write_that_raises_is_undone(database: Database) -> None:
    overrides = SettingOverrides(database=database, clock=FakeClock())
    overrides.put("images", "max_side_px", 512, person=OWNER)
    with pytest.raises(sa.exc.DBAPIError, match="no_such_table"), database.write() as connection:  # noqa: PT012 - two statements in one transaction
        connection.execute(sa.text("DELETE FROM setting_overrides"))
        connection.execute(sa.text("DELETE FROM no_such_table"))
    assert overrides.mapping() == {"images": {"max_side_px": 512}}


def test_a_read_keeps_nothing_of_what_it_wrote(database: Database) -> None:
    overrides = SettingOverrides(database=database, clock=FakeClock())
    overrides.put("images", "max_side_px", 512, person=OWNER)
    with database.read() as connection:
        connection.execute(sa.text("DELETE FROM setting_overrides"))
    assert overrides.mapping() == {"images": {"max_side_px": 512}}


@pytest.mark.slow
def test_a_hundred_threads_that_count_up_lose_no_count(empty: Database) -> None:
    with empty.write() as connection:
        connection.execute(sa.text("CREATE TABLE tally (n INTEGER)"))
        connection.execute(sa.text("INSERT INTO tally VALUES (0)"))

    def count_up() -> None:
        for _ in range(5):
            with empty.write() as connection:
                connection.execute(sa.text("UPDATE tally SET n = n + 1"))

    threads = [threading.Thread(target=count_up) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with empty.read() as connection:
        assert connection.execute(sa.text("SELECT n FROM tally")).scalar_one() == 500


def test_overrides_are_set_replaced_and_cleared(database: Database) -> None:
    clock = FakeClock()
    overrides = SettingOverrides(database=database, clock=clock)
    overrides.put("jobs", "queue_limit", 5, person=OWNER)
    clock.advance(60)
    overrides.put("jobs", "queue_limit", {"nested": [1, None, "ü"]}, person=OWNER)
    overrides.put("images", "default_model", None, person=OWNER)
    found = overrides.listing()
    assert [(one.section, one.key, one.value) for one in found] == [
        ("images", "default_model", None),
        ("jobs", "queue_limit", {"nested": [1, None, "ü"]}),
    ]
    assert found[1].changed_at == clock.now()
    assert overrides.clear("jobs", "queue_limit") is True
    assert overrides.clear("jobs", "queue_limit") is False
    assert overrides.mapping() == {"images": {"default_model": None}}


def test_times_come_back_in_utc_to_the_microsecond_and_text_without_what_databases_refuse(
    empty: Database,
) -> None:
    scratch = sa.Table("scratch", sa.MetaData(), sa.Column("at", Moment()), sa.Column("text", Line()))
    east = timezone(timedelta(hours=5, minutes=30))
    with empty.write() as connection:
        scratch.create(connection)
        connection.execute(
            sa.insert(scratch).values(
                at=datetime(2026, 3, 1, 2, 0, 0, 123456, east), text="a\x00b\ud800c\U0001f98a"
            )
        )
    with empty.read() as connection:
        at, text = connection.execute(sa.select(scratch)).one()
    assert at == datetime(2026, 2, 28, 20, 30, 0, 123456, UTC)
    assert at.tzinfo is UTC
    assert text == "a\ufffdb\ufffdc\U0001f98a"


def test_sqlite_is_set_up_as_promised(tmp_path: Path) -> None:
    sqlite = Database(sqlite_url(tmp_path / "inglenook.db"))
    schema.upgrade(sqlite)
    with sqlite.read() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "busy_timeout", "foreign_keys", "synchronous")
        }
    assert pragmas == {"journal_mode": "wal", "busy_timeout": 5000, "foreign_keys": 1, "synchronous": 1}
    assert sqlite.path is not None
    assert sqlite.path.stat().st_mode & 0o077 == 0
    sqlite.close()


def test_a_read_goes_on_while_another_thread_writes(sqlite: Database) -> None:
    with sqlite.write() as writing, sqlite.read() as reading:
        writing.execute(sa.text("CREATE TABLE fresh (n INTEGER)"))
        assert "fresh" not in sa.inspect(reading).get_table_names()
    assert "fresh" in table_names(sqlite)


def test_a_file_that_another_process_holds_gives_busy(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "BUSY_TIMEOUT_S", 0.01)
    assert sqlite.path is not None
    short = Database(sqlite_url(sqlite.path))
    other = sqlite3.connect(sqlite.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Busy) as refused, short.write():
        pass
    other.execute("ROLLBACK")
    other.close()
    assert refused.value.code == "store.busy"
    with short.write():
        pass
    short.close()


def test_threads_of_one_server_wait_for_each_other_however_long_a_write_takes(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's own patience is made shorter than the write, so that only our turn can be what waits."""
    monkeypatch.setattr(databases, "BUSY_TIMEOUT_S", 0.01)
    assert sqlite.path is not None
    short = Database(sqlite_url(sqlite.path))
    done: list[object] = []

    def write() -> None:
        with short.write() as connection:
            done.append(connection.execute(sa.text("SELECT 1")).scalar_one())

    second = threading.Thread(target=write)
    with short.write():
        second.start()
        second.join(timeout=0.2)
        assert second.is_alive()
    second.join()
    short.close()
    assert done == [1]


def test_a_file_that_is_no_database_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"this is not a database at all, but long enough to be read as one" * 100)
    broken = Database(sqlite_url(path))
    with pytest.raises(Failed, match="not a database") as refused:
        schema.upgrade(broken)
    assert refused.value.code == "store.broken"
    broken.close()


def test_a_folder_that_is_missing_says_which(tmp_path: Path) -> None:
    lost = Database(sqlite_url(tmp_path / "nowhere" / "x.db"))
    with pytest.raises(Unavailable, match="nowhere") as refused:
        schema.upgrade(lost)
    assert refused.value.code == "store.unreachable"
    lost.close()


def test_a_path_with_odd_characters_is_only_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "50% ?mode=ro&x=#1 käse"
    folder.mkdir()
    odd = Database(sqlite_url(folder / "x.db"))
    schema.upgrade(odd)
    odd.close()
    assert (folder / "x.db").is_file()


@pytest.mark.parametrize("url", ["", "not a url", "mysql://x/y", "sqlite://", "sqlite:///:memory:"])
def test_an_address_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(Invalid) as refused:
        Database(url)
    assert refused.value.code == "store.url"


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    nobody = Database("postgresql://me:hush@127.0.0.1:1/mine")
    with pytest.raises(Unavailable) as refused:
        schema.upgrade(nobody)
    nobody.close()
    assert refused.value.code == "store.unreachable"
    assert "127.0.0.1:1/mine" in refused.value.message
    assert "hush" not in str(refused.value)


def test_a_postgres_database_that_does_not_exist_is_named(request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue("postgres")
    missing = Database(server.url("no_such_database").replace("postgresql:", "postgres:"))
    with pytest.raises(Unavailable, match="no_such_database"):
        schema.upgrade(missing)
    missing.close()


def test_a_database_serves_one_server_at_a_time(request: pytest.FixtureRequest) -> None:
    with request.getfixturevalue("postgres").database() as url:
        first, second = Database(url), Database(url)
        first.claim()
        with pytest.raises(Conflict) as refused:
            second.claim()
        assert refused.value.code == "store.locked"
        with second.read():
            pass
        first.close()
        second.claim()
        second.close()


def test_a_postgres_server_that_was_restarted_is_used_again(request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue("postgres")
    with server.database() as url:
        ours = Database(url)
        schema.upgrade(ours)
        server.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            f"WHERE datname = '{url.rpartition('/')[2]}' AND pid <> pg_backend_pid()"
        )
        assert schema.version(ours) == HEAD
        ours.close()


def test_another_program_that_looks_at_the_file_takes_nothing_from_a_server_with_many_connections(
    tmp_path: Path,
) -> None:
    """POSIX drops a process's locks on a file when it closes any descriptor of it: once, opening a second
    connection did that, and whoever looked at the file then deleted the log that the server was writing."""
    path = tmp_path / "inglenook.db"
    database = Database(sqlite_url(path))
    schema.upgrade(database)
    with ExitStack() as connections:  # the pool grows
        for _ in range(4):
            connections.enter_context(database.read())
    with database.write() as connection:
        connection.execute(sa.text("CREATE TABLE kept (word TEXT)"))
    look = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]);"
        "c.execute('SELECT count(*) FROM jobs'); c.close()"
    )
    subprocess.run([sys.executable, "-c", look, str(path)], check=True)
    with database.write() as connection:
        connection.execute(sa.text("INSERT INTO kept VALUES ('after')"))
    read = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]);"
        "print(c.execute('SELECT word FROM kept').fetchall())"
    )
    seen = subprocess.run([sys.executable, "-c", read, str(path)], check=True, capture_output=True, text=True)
    assert seen.stdout.strip() == "[('after',)]"
    assert path.with_name("inglenook.db-wal").exists()
    database.close()


def test_a_database_that_accepts_and_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inglenook.store.database.POSTGRES_TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        database = Database(f"postgresql://me:secret@127.0.0.1:{silent.getsockname()[1]}/x")
        with pytest.raises(Unavailable) as refused:
            schema.version(database)
    assert refused.value.code == "store.unreachable"
    assert "secret" not in str(refused.value)
    database.close()


def test_pictures_of_an_older_database_are_found_by_their_words(empty: Database) -> None:
    with empty.write() as connection:
        command.upgrade(schema.config(connection), REVISIONS[0])
        connection.execute(
            sa.text(
                "INSERT INTO pictures (id, owner, blob, media_type, width, height, size_bytes, model, prompt,"
                " seed, parameters, created_at) VALUES ('pic_1', 'owner', 'b', 'image/png', 1, 1, 1, 'lab/x',"
                """ 'a Fox', 1, '{"mode": "text", "negative_prompt": "blur", "loras": [{"model": "l"}]}',"""
                " '2026-01-01 00:00:00')"
            )
        )
    assert schema.upgrade(empty) is True
    records = PictureRecords(database=empty)
    for search in ("fox", "BLUR", "lab x"):
        found = records.listing(OWNER, limit=5, now=datetime.now(UTC), filter=Filter(search=search))
        assert [picture.id for picture in found] == ["pic_1"]
    [kept] = records.listing(
        OWNER, limit=5, now=datetime.now(UTC), filter=Filter(mode="text", has_lora=True, favourite=False)
    )
    assert (kept.tags, kept.deleted_at, kept.is_public, kept.source) == ((), None, False, "made")
