# SPDX-License-Identifier: Apache-2.0
"""The gallery over a real database and real files."""

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from inglenook.base.errors import Invalid, NotFound
from inglenook.base.ids import OWNER, BlobId, JobId, ModelId, PersonId, PictureId
from inglenook.gallery.model import Picture
from inglenook.gallery.records import PictureRecords
from inglenook.gallery.service import GalleryService
from inglenook.store.blobs import BlobStore, LocalBlobs
from inglenook.store.database import Database
from inglenook.testing.blobs import MemoryBlobs
from inglenook.testing.clock import FakeClock

ANN, BOB = PersonId("ann"), PersonId("bob")


class Needed:
    """What else needs blobs: jobs that wait."""

    def __init__(self) -> None:
        self.blobs: set[BlobId] = set()

    def __call__(self, blob: BlobId) -> bool:
        return blob in self.blobs


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    return LocalBlobs(tmp_path / "blobs")


@pytest.fixture
def needed() -> Needed:
    return Needed()


def over(database: Database, blobs: BlobStore, clock: FakeClock, needed: Needed) -> GalleryService:
    return GalleryService(records=PictureRecords(database=database), blobs=blobs, clock=clock, in_use=needed)


@pytest.fixture
def gallery(database: Database, blobs: LocalBlobs, clock: FakeClock, needed: Needed) -> GalleryService:
    return over(database, blobs, clock, needed)


def add(gallery: GalleryService, data: bytes = b"png", *, owner: PersonId = OWNER, **fields: Any) -> Picture:
    known: dict[str, Any] = {
        "job": JobId("job_1"),
        "media_type": "image/png",
        "width": 64,
        "height": 32,
        "model": ModelId("starter-200"),
        "prompt": "a red fox",
        "seed": 2**63 - 1,
        "parameters": {"steps": 4, "sizes": [1, 2], "none": None},
    }
    return gallery.add(owner=owner, data=data, **{**known, **fields})


def test_a_picture_comes_back_as_it_was_kept(gallery: GalleryService, clock: FakeClock) -> None:
    picture = add(gallery, b"fox", prompt="ein Fuchs \U0001f98a", job=None)
    assert gallery.get(picture.id, caller=OWNER) == picture
    assert (picture.size_bytes, picture.created_at, picture.seed) == (3, clock.now(), 2**63 - 1)


def test_the_file_is_a_path_where_there_is_one_and_bytes_elsewhere(
    gallery: GalleryService, database: Database, clock: FakeClock, needed: Needed
) -> None:
    kept, media_type = gallery.file(add(gallery, b"fox").id, caller=OWNER)
    assert isinstance(kept, Path)
    assert (kept.read_bytes(), media_type) == (b"fox", "image/png")
    elsewhere = over(database, MemoryBlobs(), clock, needed)
    picture = add(elsewhere, b"owl", media_type="image/webp")
    assert elsewhere.file(picture.id, caller=OWNER) == (b"owl", "image/webp")


def test_the_newest_come_first_and_pages_meet_without_gap_although_all_have_one_time(
    gallery: GalleryService, clock: FakeClock
) -> None:
    pictures = [add(gallery, bytes([number])) for number in range(7)]
    clock.set_wall(clock.now() - timedelta(days=30))
    pictures.append(add(gallery, b"after the clock went back"))
    found: list[Picture] = []
    while page := gallery.list(OWNER, limit=3, before=found[-1].id if found else None):
        found += page
    assert [picture.id for picture in found] == [picture.id for picture in reversed(pictures)]


def test_a_picture_deleted_in_the_middle_moves_no_page(gallery: GalleryService) -> None:
    pictures = [add(gallery, bytes([number])) for number in range(5)]
    gallery.delete(pictures[3].id, caller=OWNER)
    assert [p.id for p in gallery.list(OWNER, limit=9, before=pictures[4].id)] == [
        pictures[n].id for n in (2, 1, 0)
    ]


def test_nobody_sees_lists_or_deletes_another_persons_picture(gallery: GalleryService) -> None:
    picture = add(gallery, owner=ANN)
    for act in (
        lambda: gallery.get(picture.id, caller=BOB),
        lambda: gallery.file(picture.id, caller=BOB),
        lambda: gallery.delete(picture.id, caller=BOB),
        lambda: gallery.list(BOB, limit=5, before=picture.id),
        lambda: gallery.get(PictureId("pic_none"), caller=ANN),
    ):
        with pytest.raises(NotFound) as refused:
            act()
        assert refused.value.code == "picture.not_found"
    assert gallery.list(BOB, limit=5) == []
    assert (gallery.count(ANN), gallery.count(BOB)) == (1, 0)


def test_a_file_goes_with_the_last_picture_that_has_it(gallery: GalleryService, blobs: LocalBlobs) -> None:
    mine, theirs = add(gallery, b"fox", owner=ANN), add(gallery, b"fox", owner=BOB)
    assert mine.blob == theirs.blob
    gallery.delete(mine.id, caller=ANN)
    assert blobs.exists(theirs.blob)
    gallery.delete(theirs.id, caller=BOB)
    assert not blobs.exists(theirs.blob)
    with pytest.raises(NotFound):
        gallery.get(theirs.id, caller=BOB)


def test_a_file_that_a_waiting_job_needs_stays(
    gallery: GalleryService, blobs: LocalBlobs, needed: Needed
) -> None:
    picture = add(gallery, b"fox")
    needed.blobs.add(picture.blob)
    gallery.delete(picture.id, caller=OWNER)
    assert blobs.exists(picture.blob)


def test_adding_and_deleting_the_same_content_at_once_never_loses_a_file(
    gallery: GalleryService, blobs: LocalBlobs
) -> None:
    def come_and_go() -> None:
        for _ in range(10):
            picture = add(gallery, b"the same for all")
            assert blobs.exists(picture.blob)
            gallery.delete(picture.id, caller=OWNER)

    failures: list[threading.ExceptHookArgs] = []
    before, threading.excepthook = threading.excepthook, failures.append
    try:
        threads = [threading.Thread(target=come_and_go) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        threading.excepthook = before
    assert failures == []
    assert list(blobs.ids()) == []


def test_a_picture_without_its_file_says_which_is_missing(gallery: GalleryService, blobs: LocalBlobs) -> None:
    picture = add(gallery, b"fox")
    blobs.delete(picture.blob)
    with pytest.raises(NotFound) as refused:
        gallery.file(picture.id, caller=OWNER)
    assert refused.value.code == "blob.not_found"


@pytest.mark.parametrize("limit", [0, -3, 1001])
def test_a_page_has_a_size(gallery: GalleryService, limit: int) -> None:
    with pytest.raises(Invalid, match=str(limit)):
        gallery.list(OWNER, limit=limit)
