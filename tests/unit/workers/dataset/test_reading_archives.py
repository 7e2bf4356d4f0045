# SPDX-License-Identifier: Apache-2.0
"""Zip archives, kind and hostile."""

import io
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from tests.dataset_trees import picture
from tests.unit.workers.dataset.reading import BOUNDS, read

from inglenook.vision.formats.model import FormatError
from inglenook.wire.studio.dataset import ArchiveSource, Bounds
from inglenook.workers.dataset.errors import TooMuch


def packed(path: Path, entries, *, squeezed: int = zipfile.ZIP_DEFLATED) -> ArchiveSource:
    """`entries`: contents by name, or by `ZipInfo`."""
    with zipfile.ZipFile(path, "w", squeezed) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return ArchiveSource(path=str(path))


def test_an_archive_is_read_with_and_without_a_folder_around_everything(tmp_path):
    entries = [("cats/1.png", picture(1)), ("dogs/2.png", picture(2)), ("birds/", b"")]
    wrapped = [(f"my set/{name}", data) for name, data in entries]
    for number, some in enumerate((entries, wrapped)):
        heard = read(packed(tmp_path / f"{number}.zip", some), tmp_path / f"out{number}")
        assert heard.labels == {"cats/1.png": "cats", "dogs/2.png": "dogs"}
        assert heard.last is not None
        assert heard.last.classes == ("birds", "cats", "dogs")


@pytest.mark.parametrize(
    "name", ["../evil.png", "c/../../evil.png", "/abs/evil.png", "C:/evil.png", "..\\evil.png"]
)
def test_a_name_that_leads_out_is_refused_and_the_rest_is_read(tmp_path, name):
    source = packed(tmp_path / "a.zip", [(name, picture(9)), ("c/1.png", picture(1))])
    heard = read(source, tmp_path / "out")
    assert list(heard.reasons.values()) == ["path_outside"]
    assert set(heard.labels) == {"c/1.png"}
    assert not list(tmp_path.rglob("evil.png"))


def test_a_symbolic_link_in_an_archive_is_refused(tmp_path):
    link = zipfile.ZipInfo("c/link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    heard = read(
        packed(tmp_path / "a.zip", [(link, "/etc/passwd"), ("c/1.png", picture())]), tmp_path / "out"
    )
    assert heard.reasons == {"c/link.png": "link"}


def test_an_encrypted_entry_is_refused_with_words(tmp_path):
    packed(
        tmp_path / "a.zip", [("c/1.png", picture(1)), ("c/2.png", picture(2))], squeezed=zipfile.ZIP_STORED
    )
    data = bytearray((tmp_path / "a.zip").read_bytes())
    at = data.rfind(b"PK\1\2")  # the directory's record of the second entry
    data[at + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    heard = read(ArchiveSource(path=str(tmp_path / "a.zip")), tmp_path / "out")
    assert heard.reasons == {"c/2.png": "encrypted"}
    assert "without a password" in heard.issues[0].message


def test_a_bomb_is_refused_by_what_it_claims_before_it_is_unpacked(tmp_path):
    source = packed(tmp_path / "a.zip", [("c/1.bmp", b"\0" * 70_000_000)])
    with pytest.raises(TooMuch, match="times its size") as told:
        read(source, tmp_path / "out")
    assert told.value.code == "dataset.bomb"
    small = Bounds(images=99, files=99, pixels=99, file_bytes=2**30, unpacked_bytes=50_000_000)
    with pytest.raises(TooMuch, match="are allowed"):
        read(source, tmp_path / "out", bounds=small)
    assert list((tmp_path / "out").iterdir()) == []


def test_an_entry_that_unpacks_to_more_than_it_claims_gives_no_more_than_that(tmp_path):
    packed(tmp_path / "a.zip", [("c/1.bmp", b"\0" * 500_000), ("c/2.png", picture())])
    data = bytearray((tmp_path / "a.zip").read_bytes())
    at = data.find(b"PK\1\2")
    data[at + 24 : at + 28] = struct.pack("<L", 100)
    (tmp_path / "a.zip").write_bytes(data)
    heard = read(ArchiveSource(path=str(tmp_path / "a.zip")), tmp_path / "out")
    assert list(heard.reasons) == ["c/1.bmp"]
    assert set(heard.labels) == {"c/2.png"}


def test_entries_that_overlap_are_refused(tmp_path):
    packed(tmp_path / "a.zip", [("c/1.png", picture(1)), ("c/2.png", picture(2))])
    data = bytearray((tmp_path / "a.zip").read_bytes())
    at = data.find(b"PK\1\2")
    data[at + 20 : at + 24] = struct.pack("<L", len(data))
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(TooMuch, match="overlap"):
        read(ArchiveSource(path=str(tmp_path / "a.zip")), tmp_path / "out")


def test_more_entries_than_allowed_are_refused_before_the_directory_is_read(tmp_path, monkeypatch):
    source = packed(tmp_path / "a.zip", [(f"c/{n}.png", b"") for n in range(60)])
    monkeypatch.setattr(zipfile, "ZipFile", None)
    few = Bounds(images=10, files=50, pixels=10, file_bytes=10, unpacked_bytes=10)
    with pytest.raises(TooMuch, match="60 entries; 50 are allowed"):
        read(source, tmp_path / "out", bounds=few)


def test_a_directory_that_lies_about_its_length_is_refused(tmp_path):
    packed(tmp_path / "a.zip", [("c/1.png", picture())])
    data = bytearray((tmp_path / "a.zip").read_bytes())
    at = data.rfind(b"PK\5\6")
    data[at + 12 : at + 16] = struct.pack("<L", 2**31)
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(TooMuch):
        read(ArchiveSource(path=str(tmp_path / "a.zip")), tmp_path / "out")


@pytest.mark.parametrize("data", [b"", b"no zip", b"PK\3\4" + b"\0" * 90, b"PK\5\6" + b"\xff" * 18])
def test_what_is_no_archive_is_refused_with_words(tmp_path, data):
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises((FormatError, TooMuch)):
        read(ArchiveSource(path=str(tmp_path / "a.zip")), tmp_path / "out")


def test_an_entry_with_damaged_bytes_is_left_out_alone(tmp_path):
    packed(tmp_path / "a.zip", [("c/1.png", picture(1)), ("c/2.png", picture(2))])
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[60:120] = b"\xaa" * 60
    (tmp_path / "a.zip").write_bytes(data)
    heard = read(ArchiveSource(path=str(tmp_path / "a.zip")), tmp_path / "out")
    assert heard.reasons == {"c/1.png": "unreadable"}
    assert set(heard.labels) == {"c/2.png"}


def test_names_that_are_utf_8_without_saying_so_are_read(tmp_path):
    packed(tmp_path / "a.zip", [("c/猫.png", picture(1))])
    data = bytearray((tmp_path / "a.zip").read_bytes())
    for mark, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = data.find(mark) + offset
        data[at : at + 2] = b"\0\0"
    (tmp_path / "a.zip").write_bytes(data)
    heard = read(ArchiveSource(path=str(tmp_path / "a.zip")), tmp_path / "out")
    assert set(heard.labels) == {"c/猫.png"}


def test_an_archive_of_an_archive_holds_no_picture(tmp_path):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("c/1.png", picture())
    with pytest.raises(FormatError, match="no picture"):
        read(packed(tmp_path / "a.zip", [("inner.zip", inner.getvalue())]), tmp_path / "out")


def test_a_table_in_an_archive_is_read(tmp_path):
    table = "filename,label\na.png,cat\n../b.png,dog\n"
    source = packed(tmp_path / "a.zip", [("set/labels.csv", table), ("set/images/a.png", picture(1))])
    heard = read(source, tmp_path / "out", bounds=BOUNDS)
    assert heard.labels == {"images/a.png": "cat"}
    assert heard.reasons == {"labels.csv, row 3": "path_outside"}
