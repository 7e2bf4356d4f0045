# SPDX-License-Identifier: Apache-2.0
"""Two servers on one data folder: real processes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from inglenook.base.errors import Conflict, Unavailable
from inglenook.store.lock import INFO_NAME, DataLock, ServerInfo, running

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ADDRESS = "http://127.0.0.1:8765"

HOLDER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from inglenook.store.lock import DataLock, this_process
lock = DataLock(Path(sys.argv[1]))
lock.acquire(this_process("http://127.0.0.1:8765", datetime(2026, 1, 1, tzinfo=UTC)))
print("held", flush=True)
sys.stdin.readline()
lock.release()
"""


@contextmanager
def another_server(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def me(address: str = "http://127.0.0.1:1") -> ServerInfo:
    return ServerInfo(os.getpid(), address, NOW)


def test_a_second_server_is_refused_with_the_first_ones_pid_and_address(tmp_path: Path) -> None:
    with another_server(tmp_path) as first:
        assert running(tmp_path) == ServerInfo(first.pid, ADDRESS, NOW)
        with pytest.raises(Conflict) as refused:
            DataLock(tmp_path).acquire(me())
        assert refused.value.code == "store.locked"
        assert ADDRESS in refused.value.message
        assert str(first.pid) in refused.value.message
        assert str(tmp_path) in refused.value.message


def test_a_server_that_ended_well_leaves_no_trace_of_itself(tmp_path: Path) -> None:
    with another_server(tmp_path) as first:
        first.communicate("end\n")
        assert not (tmp_path / INFO_NAME).exists()
    assert running(tmp_path) is None


def test_a_killed_server_does_not_hold_the_folder_although_its_note_is_there(tmp_path: Path) -> None:
    with another_server(tmp_path) as first:
        first.kill()
        first.wait()
        assert (tmp_path / INFO_NAME).exists()
        assert running(tmp_path) is None
        lock = DataLock(tmp_path)
        lock.acquire(me())
        assert running(tmp_path) == me()
        lock.release()


def test_the_address_can_be_told_once_it_is_known(tmp_path: Path) -> None:
    lock = DataLock(tmp_path)
    lock.acquire(me("http://127.0.0.1:0"))
    lock.update(me("http://127.0.0.1:4711"))
    assert running(tmp_path) == me("http://127.0.0.1:4711")
    assert json.loads((tmp_path / INFO_NAME).read_bytes())["pid"] == os.getpid()
    lock.release()
    lock.release()
    assert running(tmp_path) is None


def test_a_note_that_cannot_be_read_still_refuses_the_second_server(tmp_path: Path) -> None:
    with another_server(tmp_path):
        (tmp_path / INFO_NAME).write_bytes(b"{ half")
        with pytest.raises(Conflict, match="Another program"):
            DataLock(tmp_path).acquire(me())


def test_a_look_at_a_folder_without_a_server_makes_nothing(tmp_path: Path) -> None:
    assert running(tmp_path) is None
    assert running(tmp_path / "missing") is None
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable, match="file"):
        DataLock(tmp_path / "file").acquire(me())
