# SPDX-License-Identifier: Apache-2.0
"""Archives that somebody else made are unpacked with nothing but their files."""

import gzip
import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from inglenook.engines.llamacpp import archives
from inglenook.engines.llamacpp.archives import unpack
from inglenook.engines.llamacpp.errors import ArchiveRefused

Fill = Callable[[tarfile.TarFile], None]


def tar_of(path: Path, fill: Fill) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        fill(archive)
    return path


def file_in(archive: tarfile.TarFile, name: str, data: bytes = b"data", *, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    archive.addfile(entry, io.BytesIO(data))


def odd_in(archive: tarfile.TarFile, name: str, kind: bytes, to: str = "") -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, to
    archive.addfile(entry)


def test_a_tar_as_the_project_makes_it_comes_out_without_its_first_folder(tmp_path: Path) -> None:
    def fill(archive: tarfile.TarFile) -> None:
        odd_in(archive, "llama-b11462/", tarfile.DIRTYPE)
        odd_in(archive, "llama-b11462/libllama.so", tarfile.SYMTYPE, "libllama.so.0")
        odd_in(archive, "llama-b11462/libllama.so.0", tarfile.SYMTYPE, "libllama.so.0.0.11462")
        file_in(archive, "llama-b11462/libllama.so.0.0.11462", b"library")
        file_in(archive, "llama-b11462/llama-server", b"program", mode=0o4755)
        file_in(archive, "llama-b11462/LICENSE", b"MIT")

    out = tmp_path / "out"
    out.mkdir()
    unpack(tar_of(tmp_path / "a.tar.gz", fill), out, name="a")
    assert sorted(path.name for path in out.iterdir()) == [
        "LICENSE", "libllama.so", "libllama.so.0", "libllama.so.0.0.11462", "llama-server",
    ]  # fmt: skip
    assert (out / "libllama.so").read_bytes() == b"library"
    assert stat.S_IMODE((out / "llama-server").stat().st_mode) & 0o7711 == 0o711, "run by all, setuid by none"
    assert not (out / "LICENSE").stat().st_mode & stat.S_IXUSR


def each(archive: tarfile.TarFile, put: Callable[[int], None], count: int) -> None:
    for number in range(count):
        put(number)


def through_a_link(archive: tarfile.TarFile) -> None:
    odd_in(archive, "llama-b1/d", tarfile.SYMTYPE, "e")
    file_in(archive, "llama-b1/d/x")


HOSTILE: dict[str, Fill] = {
    "a path that climbs out": lambda a: file_in(a, "llama-b1/../../evil"),
    "an absolute path": lambda a: file_in(a, "/tmp/evil"),
    "a link that climbs out": lambda a: odd_in(a, "llama-b1/lib.so", tarfile.SYMTYPE, "../../../etc/passwd"),
    "an absolute link": lambda a: odd_in(a, "llama-b1/lib.so", tarfile.SYMTYPE, "/etc/passwd"),
    "a link to nothing": lambda a: odd_in(a, "llama-b1/lib.so", tarfile.SYMTYPE, "gone"),
    "a link to itself": lambda a: odd_in(a, "llama-b1/lib.so", tarfile.SYMTYPE, "lib.so"),
    "a hard link": lambda a: odd_in(a, "llama-b1/lib.so", tarfile.LNKTYPE, "/etc/passwd"),
    "a device": lambda a: odd_in(a, "llama-b1/null", tarfile.CHRTYPE),
    "a pipe": lambda a: odd_in(a, "llama-b1/pipe", tarfile.FIFOTYPE),
    "a hidden name": lambda a: file_in(a, "llama-b1/.bashrc"),
    "a name with a line break": lambda a: file_in(a, "llama-b1/a\nb"),
    "a name with a backslash": lambda a: file_in(a, "llama-b1/..\\evil"),
    "the same file twice": lambda a: each(a, lambda _: file_in(a, "llama-b1/x"), 2),
    "a file through a link": through_a_link,
    "more files than there can be": lambda a: each(a, lambda n: file_in(a, f"f{n}", b""), 2001),
}  # fmt: skip


@pytest.mark.parametrize("what", list(HOSTILE))
def test_a_hostile_tar_is_refused_and_nothing_leaves_its_folder(tmp_path: Path, what: str) -> None:
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    packed = tar_of(tmp_path / "a.tar.gz", HOSTILE[what])
    with pytest.raises(ArchiveRefused):
        unpack(packed, out, name="llama-b1.tar.gz")
    outside = [path for path in tmp_path.rglob("*") if out not in (path, *path.parents) and path.is_file()]
    assert outside == [packed]


def test_an_archive_that_unfolds_without_end_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_BYTES", 1_000_000)
    out = tmp_path / "out"
    out.mkdir()
    packed = tar_of(tmp_path / "a.tar.gz", lambda a: file_in(a, "zeros", bytes(2_000_000)))
    assert packed.stat().st_size < 10_000
    with pytest.raises(ArchiveRefused, match="more than 977 KiB"):
        unpack(packed, out, name="a")


def test_a_header_that_unfolds_without_end_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pax header is read whole by tarfile before anything of ours sees it."""
    monkeypatch.setattr(archives, "MAX_BYTES", 1_000_000)
    monkeypatch.setattr(archives, "MAX_FILES", 1)
    out = tmp_path / "out"
    out.mkdir()
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, 8 * 2**30
    packed = tmp_path / "a.tar.gz"
    packed.write_bytes(gzip.compress(header.tobuf() + bytes(4_000_000)))
    with pytest.raises(ArchiveRefused):
        unpack(packed, out, name="a")


@pytest.mark.parametrize("cut", [0, 10, 100, -20])
def test_an_archive_that_is_cut_off_is_refused(tmp_path: Path, cut: int) -> None:
    packed = tar_of(tmp_path / "a.tar.gz", lambda a: file_in(a, "llama-server", os.urandom(5000)))
    packed.write_bytes(packed.read_bytes()[:cut])
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(ArchiveRefused):
        unpack(packed, out, name="a")


def test_a_zip_comes_out_with_its_folders(tmp_path: Path) -> None:
    packed = tmp_path / "a.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("llama-server.exe", b"program")
        archive.writestr("rocblas/library/x.dat", b"data")
    out = tmp_path / "out"
    out.mkdir()
    unpack(packed, out, name="a.zip")
    assert (out / "llama-server.exe").read_bytes() == b"program"
    assert (out / "rocblas" / "library" / "x.dat").read_bytes() == b"data"


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "C:evil", "..\\evil"])
def test_a_zip_with_a_path_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    packed = tmp_path / "a.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, b"data")
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(ArchiveRefused):
        unpack(packed, out, name="a.zip")
    assert list(out.iterdir()) == []


def test_a_zip_with_a_link_is_refused(tmp_path: Path) -> None:
    packed = tmp_path / "a.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        entry = zipfile.ZipInfo("lib.dll")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(ArchiveRefused, match="is not a file"):
        unpack(packed, tmp_path, name="a.zip")
