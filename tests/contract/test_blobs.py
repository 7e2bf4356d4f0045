# SPDX-License-Identifier: Apache-2.0
"""What every store of blobs promises, the real one and the fake."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inglenook.base.errors import Invalid, NotFound
from inglenook.base.ids import BlobId
from inglenook.store.blobs import BlobStore, LocalBlobs
from inglenook.testing.blobs import MemoryBlobs

MISSING = BlobId("0" * 64)


@pytest.fixture(params=["local", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    return LocalBlobs(tmp_path / "blobs") if request.param == "local" else MemoryBlobs()


@given(data=st.binary(max_size=4096))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
def test_what_is_put_is_read_under_its_digest(blobs: BlobStore, data: bytes) -> None:
    kept = blobs.put(data)
    assert (kept.id, kept.size_bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert blobs.read(kept.id) == data
    assert blobs.size_bytes(kept.id) == len(data)
    with blobs.open(kept.id) as file:
        assert file.read() == data


def test_the_same_content_is_kept_once(blobs: BlobStore) -> None:
    assert blobs.put(b"fox") == blobs.put(b"fox")
    blobs.put(b"owl")
    assert len(list(blobs.ids())) == 2


def test_many_who_put_the_same_content_at_once_agree(blobs: BlobStore) -> None:
    data = b"x" * 300_000
    with ThreadPoolExecutor(16) as pool:
        kept = set(pool.map(blobs.put, [data] * 64))
    assert len(kept) == 1
    assert blobs.read(kept.pop().id) == data


def test_a_file_is_copied_and_stays_where_it_was(blobs: BlobStore, tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_bytes(b"ab" * 1_500_000)
    kept = blobs.put_file(path)
    assert kept == blobs.put(path.read_bytes())
    path.write_bytes(b"changed")
    assert blobs.read(kept.id) == b"ab" * 1_500_000
    assert blobs.put_file(path).size_bytes == 7


def test_a_file_that_is_missing_is_named(blobs: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere") as refused:
        blobs.put_file(tmp_path / "nowhere")
    assert refused.value.code == "blob.no_file"


def test_a_blob_is_deleted_once(blobs: BlobStore) -> None:
    kept = blobs.put(b"fox")
    assert blobs.exists(kept.id) is True
    assert blobs.delete(kept.id) is True
    assert blobs.delete(kept.id) is False
    assert blobs.exists(kept.id) is False
    assert list(blobs.ids()) == []


def test_whoever_has_a_blob_open_keeps_reading_it(blobs: BlobStore) -> None:
    kept = blobs.put(b"fox")
    with blobs.open(kept.id) as file:
        blobs.delete(kept.id)
        assert file.read() == b"fox"


def test_a_blob_that_is_not_there_is_told_by_every_way_in(blobs: BlobStore) -> None:
    for way in (blobs.open, blobs.read, blobs.size_bytes, blobs.path):
        with pytest.raises(NotFound) as refused:
            way(MISSING)
        assert refused.value.code == "blob.not_found"


@pytest.mark.parametrize(
    "name", ["", "ab", "A" * 64, "../" + "0" * 61, "0" * 63 + "/", "0" * 64 + "\n", "/etc/passwd", "0" * 65]
)
def test_nothing_but_a_digest_names_a_blob(blobs: BlobStore, name: str) -> None:
    for way in (blobs.open, blobs.read, blobs.size_bytes, blobs.path, blobs.exists, blobs.delete):
        with pytest.raises(Invalid) as refused:
            way(BlobId(name))
        assert refused.value.code == "blob.id"


def test_a_path_is_a_file_with_the_content_or_none(blobs: BlobStore) -> None:
    kept = blobs.put(b"fox")
    path = blobs.path(kept.id)
    assert path is None or path.read_bytes() == b"fox"
