# SPDX-License-Identifier: Apache-2.0
"""The store of blobs on a real disk: what is left by a crash, and what is not left by a full disk."""

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from inglenook.base.errors import Failed, Invalid
from inglenook.store import schema
from inglenook.store.blobs import LocalBlobs
from inglenook.store.database import Database, sqlite_url


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one mebibyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("only root may mount a small file system; a limit on file size stands for it")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_blobs_are_spread_over_folders_and_private(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path / "blobs")
    kept = blobs.put(b"fox")
    assert files_in(tmp_path / "blobs") == [f"{kept.id[:2]}/{kept.id}"]
    assert blobs.path(kept.id).stat().st_mode & 0o077 == 0
    assert blobs.path(kept.id).parent.stat().st_mode & 0o077 == 0


def test_blobs_are_found_again_by_another_server(tmp_path: Path) -> None:
    kept = LocalBlobs(tmp_path).put(b"fox")
    assert LocalBlobs(tmp_path).read(kept.id) == b"fox"


def test_what_a_killed_server_had_half_written_is_removed(tmp_path: Path) -> None:
    program = (
        "import os, signal, stat, sys\n"
        "from pathlib import Path\n"
        "from inglenook.store import blobs\n"
        "from inglenook.store.files import os as file_os\n"
        "def die(file):\n"
        "    if stat.S_ISREG(os.fstat(file).st_mode):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "file_os.fsync = die\n"
        "blobs.LocalBlobs(Path(sys.argv[1])).put(b'x' * 100_000)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, timeout=60)
    assert done.returncode == -9
    assert len(files_in(tmp_path)) == 1
    assert list(LocalBlobs(tmp_path).ids()) == []
    assert files_in(tmp_path) == []


def test_a_blob_that_a_power_cut_has_shortened_is_written_again(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path)
    kept = blobs.put(b"fox and owl")
    blobs.path(kept.id).write_bytes(b"fox")
    blobs.put(b"fox and owl")
    assert blobs.read(kept.id) == b"fox and owl"


def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The race is made certain: the file is changed in the moment between hashing and copying."""
    blobs, path = LocalBlobs(tmp_path / "blobs"), tmp_path / "upload"
    path.write_bytes(b"first")
    copy = blobs._copy

    def change_then_copy(*args: object) -> object:
        path.write_bytes(b"other")
        return copy(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(blobs, "_copy", change_then_copy)
    with pytest.raises(Invalid) as refused:
        blobs.put_file(path)
    assert refused.value.code == "blob.changed"
    assert list(blobs.ids()) == []


def test_a_limit_on_file_size_gives_a_clear_error_and_leaves_nothing(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from inglenook.base.errors import Failed\n"
        "from inglenook.store.blobs import LocalBlobs\n"
        "blobs = LocalBlobs(Path(sys.argv[1]))\n"
        "blobs.put(b'small')\n"
        "try:\n"
        "    blobs.put(b'x' * 200_000)\n"
        "except Failed as error:\n"
        "    print(error.code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == "store.disk_full"
    assert [Path(name).name for name in files_in(tmp_path)] == [
        str(blob) for blob in LocalBlobs(tmp_path).ids()
    ]
    assert LocalBlobs(tmp_path).read(next(LocalBlobs(tmp_path).ids())) == b"small"


def test_a_full_disk_gives_a_clear_error_and_takes_blobs_again_when_there_is_room(
    tiny_disk: Path,
) -> None:
    blobs = LocalBlobs(tiny_disk / "blobs")
    first = blobs.put(b"a" * 600_000)
    for _ in range(3):
        with pytest.raises(Failed) as refused:
            blobs.put(b"b" * 600_000)
        assert refused.value.code == "store.disk_full"
        assert str(tiny_disk) in refused.value.message
    assert list(blobs.ids()) == [first.id]
    assert len(files_in(tiny_disk)) == 1
    blobs.delete(first.id)
    assert blobs.read(blobs.put(b"b" * 600_000).id) == b"b" * 600_000


def test_a_database_on_a_full_disk_says_so_and_goes_on_when_there_is_room(tiny_disk: Path) -> None:
    database = Database(sqlite_url(tiny_disk / "x.db"))
    schema.upgrade(database)
    ballast = tiny_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(b"x" * 2_000_000)

    def fill() -> None:
        with database.write() as connection:
            connection.execute(sa.text("CREATE TABLE big (data BLOB)"))
            connection.execute(sa.text("INSERT INTO big VALUES (zeroblob(200000))"))

    with pytest.raises(Failed) as refused:
        fill()
    assert refused.value.code == "store.disk_full"
    ballast.unlink()
    fill()
    database.close()
