# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from inglenook.base.errors import Unavailable
from inglenook.store.files import atomic_file, write_atomic


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_a_file_is_written_privately_and_alone(tmp_path: Path) -> None:
    write_atomic(tmp_path / "x.json", b"{}")
    assert (tmp_path / "x.json").read_bytes() == b"{}"
    assert (tmp_path / "x.json").stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == ["x.json"]


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with atomic_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), atomic_file(path) as file:  # noqa: PT012 - it fails in the middle
        file.write(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["x"]


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="nowhere") as refused:
        write_atomic(tmp_path / "nowhere" / "x", b"")
    assert refused.value.code == "store.unwritable"


def test_a_name_that_is_a_folder_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(Unavailable):
        write_atomic(tmp_path / "x", b"data")
    assert names(tmp_path) == ["x"]
