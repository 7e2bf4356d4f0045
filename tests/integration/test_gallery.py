# SPDX-License-Identifier: Apache-2.0
"""The gallery over a real database and real files."""

import threading
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from inglenook.base.errors import Invalid, NotFound
from inglenook.base.ids import OWNER, BlobId, JobId, ModelId, PersonId, PictureId
from inglenook.gallery.model import Filter, Picture, Shape, Source
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
        "model": ModelId("starter-339"),
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


# -- favourites, tags, privacy ---------------------------------------------------------------------------


def ids(pictures: Sequence[Picture]) -> list[PictureId]:
    return [picture.id for picture in pictures]


def found(gallery: GalleryService, **wanted: Any) -> list[PictureId]:
    return ids(gallery.list(OWNER, limit=100, filter=Filter(**wanted)))


def test_tags_are_trimmed_lower_case_each_once_and_keep_their_order(gallery: GalleryService) -> None:
    picture = add(gallery)
    tagged = gallery.tag(picture.id, [" Winter  Fox ", "art", "ART", "", "äpfel"], caller=OWNER)
    assert tagged.tags == ("winter fox", "art", "äpfel")
    assert gallery.get(picture.id, caller=OWNER) == tagged
    assert gallery.tag(picture.id, [], caller=OWNER).tags == ()


@pytest.mark.parametrize("tags", [["x" * 51], [str(number) for number in range(21)]])
def test_too_long_and_too_many_tags_are_refused_and_nothing_changes(
    gallery: GalleryService, tags: list[str]
) -> None:
    picture = add(gallery, tags=["kept"])
    with pytest.raises(Invalid) as refused:
        gallery.tag(picture.id, tags, caller=OWNER)
    assert refused.value.field == "tags"
    assert gallery.get(picture.id, caller=OWNER).tags == ("kept",)


def test_tags_are_added_to_and_taken_from_many_pictures_or_from_none(gallery: GalleryService) -> None:
    one, two = add(gallery, tags=["a", "b"]), add(gallery, b"2", tags=["c"])
    assert gallery.retag([one.id, two.id], add=["New"], remove=["b"], caller=OWNER) == 2
    assert [gallery.get(each.id, caller=OWNER).tags for each in (one, two)] == [("a", "new"), ("c", "new")]
    full = add(gallery, b"3", tags=[str(number) for number in range(20)])
    with pytest.raises(Invalid):
        gallery.retag([one.id, full.id], add=["more"], remove=[], caller=OWNER)
    assert gallery.get(one.id, caller=OWNER).tags == ("a", "new")


def test_the_tags_and_the_models_are_counted_without_the_trash(gallery: GalleryService) -> None:
    add(gallery, b"1", tags=["fox", "snow"])
    add(gallery, b"2", tags=["fox"])
    gone = add(gallery, b"3", tags=["snow", "gone"], model=ModelId("other"))
    add(gallery, b"4", owner=BOB, tags=["fox"])
    gallery.trash([gone.id], caller=OWNER)
    assert list(gallery.tags(OWNER)) == [("fox", 2), ("snow", 1)]
    assert list(gallery.models(OWNER)) == [("starter-339", 2)]


def test_favourites_are_marked_and_found(gallery: GalleryService) -> None:
    pictures = [add(gallery, bytes([number])) for number in range(3)]
    assert gallery.favour([pictures[0].id, pictures[2].id, PictureId("pic_none")], True, caller=OWNER) == 2
    assert found(gallery, favourite=True) == [pictures[2].id, pictures[0].id]
    assert found(gallery, favourite=False) == [pictures[1].id]
    assert gallery.favour([pictures[0].id], False, caller=OWNER) == 1
    assert found(gallery, favourite=True) == [pictures[2].id]


def test_nobody_marks_or_throws_away_another_persons_pictures(gallery: GalleryService) -> None:
    theirs = add(gallery, owner=ANN, tags=["hers"])
    assert gallery.favour([theirs.id], True, caller=BOB) == 0
    assert gallery.retag([theirs.id], add=["mine"], remove=[], caller=BOB) == 0
    assert list(gallery.trash([theirs.id], caller=BOB)) == []
    for act in (
        lambda: gallery.tag(theirs.id, ["mine"], caller=BOB),
        lambda: gallery.publish(theirs.id, True, caller=BOB),
        lambda: gallery.some([theirs.id], caller=BOB),
    ):
        with pytest.raises(NotFound):
            act()
    assert gallery.get(theirs.id, caller=ANN) == theirs


def test_what_lies_beside_a_sprite_goes_with_the_last_picture_that_names_it(
    gallery: GalleryService, blobs: LocalBlobs
) -> None:
    frame, drawing = blobs.put(b"frame").id, blobs.put(b"drawing").id
    parameters = {"sprite": {"frames": [frame], "drawings": [drawing]}}
    one, two = (add(gallery, data, parameters=parameters) for data in (b"one", b"two"))
    imported = add(gallery, b"three", parameters=parameters, source=Source.IMPORTED)
    gallery.delete(imported.id, caller=OWNER)
    gallery.delete(one.id, caller=OWNER)
    assert blobs.exists(frame)
    gallery.delete(two.id, caller=OWNER)
    assert not blobs.exists(frame)
    assert not blobs.exists(drawing)


def test_a_public_picture_becomes_private_again_and_is_never_deleted(
    gallery: GalleryService, clock: FakeClock
) -> None:
    picture = add(gallery)
    assert not picture.public_at(clock.now())
    public = gallery.publish(picture.id, True, caller=OWNER, hours=24)
    assert public.public_at(clock.now())
    assert found(gallery, public=True) == [picture.id]
    clock.set_wall(clock.now() + timedelta(hours=24))
    assert not public.public_at(clock.now())
    assert found(gallery, public=True) == []
    assert found(gallery, public=False) == [picture.id]
    assert dict(gallery.counts(OWNER)) == {"total": 1, "public": 0, "expired": 1}
    assert gallery.sweep() == 0
    kept = gallery.get(picture.id, caller=OWNER)
    assert (kept.is_public, kept.public_until) == (False, None)
    assert gallery.publish(picture.id, True, caller=OWNER).public_until is None


@pytest.mark.parametrize(("public", "hours"), [(True, 0), (True, 8761), (False, 3)])
def test_publicity_has_bounds(gallery: GalleryService, public: bool, hours: int) -> None:
    with pytest.raises(Invalid):
        gallery.publish(add(gallery).id, public, caller=OWNER, hours=hours)


# -- the trash -------------------------------------------------------------------------------------------


def test_what_is_thrown_away_vanishes_at_once_and_comes_back_as_it_was(
    gallery: GalleryService, blobs: LocalBlobs
) -> None:
    picture, other = add(gallery, b"fox", tags=["t"]), add(gallery, b"owl")
    gallery.favour([picture.id], True, caller=OWNER)
    before = gallery.get(picture.id, caller=OWNER)
    assert list(gallery.trash([picture.id, picture.id], caller=OWNER)) == [picture.id]
    assert list(gallery.trash([picture.id], caller=OWNER)) == []
    for act in (gallery.get, gallery.file):
        with pytest.raises(NotFound):
            act(picture.id, caller=OWNER)
    assert found(gallery) == [other.id]
    assert found(gallery, tags=("t",)) == found(gallery, search="fox starter", favourite=True) == []
    assert found(gallery, trashed=True) == [picture.id]
    assert (gallery.count(OWNER), gallery.count(OWNER, trashed=True)) == (1, 1)
    assert gallery.file(picture.id, caller=OWNER, trashed=True)[1] == "image/png"
    assert list(gallery.restore([picture.id, other.id], caller=OWNER)) == [picture.id]
    assert gallery.get(picture.id, caller=OWNER) == before
    assert found(gallery, tags=("t",)) == [picture.id]
    assert blobs.exists(picture.blob)


def test_a_page_can_begin_after_a_picture_that_was_thrown_away(gallery: GalleryService) -> None:
    pictures = [add(gallery, bytes([number])) for number in range(4)]
    gallery.trash([pictures[2].id], caller=OWNER)
    assert ids(gallery.list(OWNER, limit=9, before=pictures[2].id)) == [pictures[1].id, pictures[0].id]


def test_the_sweep_deletes_after_thirty_days_and_not_before(
    gallery: GalleryService, blobs: LocalBlobs, clock: FakeClock
) -> None:
    old, kept = add(gallery, b"old"), add(gallery, b"kept")
    gallery.trash([old.id], caller=OWNER)
    clock.set_wall(clock.now() + timedelta(days=29))
    assert gallery.sweep() == 0
    gallery.trash([kept.id], caller=OWNER)
    clock.set_wall(clock.now() + timedelta(days=2))
    assert gallery.sweep() == 1
    assert found(gallery, trashed=True) == [kept.id]
    assert not blobs.exists(old.blob)
    assert blobs.exists(kept.blob)


def test_emptying_the_trash_deletes_ones_own_and_nothing_else(
    gallery: GalleryService, blobs: LocalBlobs
) -> None:
    mine, same, theirs = add(gallery, b"fox"), add(gallery, b"fox"), add(gallery, b"owl", owner=BOB)
    gallery.trash([mine.id], caller=OWNER)
    gallery.trash([theirs.id], caller=BOB)
    assert gallery.empty_trash(caller=OWNER) == 1
    assert blobs.exists(same.blob)
    assert gallery.count(BOB, trashed=True) == 1
    assert gallery.empty_trash(caller=OWNER) == 0


def test_whoever_made_something_of_a_file_hears_that_it_is_gone(
    database: Database, blobs: LocalBlobs, clock: FakeClock, needed: Needed
) -> None:
    heard: list[BlobId] = []
    gallery = GalleryService(
        records=PictureRecords(database=database),
        blobs=blobs,
        clock=clock,
        in_use=needed,
        forget=heard.append,
    )
    one, same = add(gallery, b"fox"), add(gallery, b"fox")
    gallery.delete(one.id, caller=OWNER)
    assert heard == []
    gallery.delete(same.id, caller=OWNER)
    assert heard == [same.blob]


# -- finding ---------------------------------------------------------------------------------------------


def test_words_are_found_in_prompt_negative_prompt_model_and_tags(gallery: GalleryService) -> None:
    picture = add(
        gallery,
        prompt="A Red-Fox, im SCHNEE; café",
        parameters={"negative_prompt": "blurry hands"},
        tags=["Winter"],
        model=ModelId("lab/fox-XL_v2"),
    )
    add(gallery, b"other", prompt="an owl", model=ModelId("x"))
    for words in (
        *("red", "fox red", "RED FOX", "schnee", "cafe", "CAFÉ", "blurry", "winter", "lab", "xl v2", "schn"),
        *("fox-xl", "winter schnee cafe hand", "red,fox"),
    ):
        assert found(gallery, search=words) == [picture.id], words
    for words in ("redfox", "owls", "fox owl", "ed", "schn e", "hand winter"):
        assert found(gallery, search=words) == [], words


def test_the_last_word_may_be_a_beginning_until_a_space_ends_it(gallery: GalleryService) -> None:
    one, two = add(gallery, prompt="a fox"), add(gallery, b"2", prompt="a foxglove")
    assert found(gallery, search="fox") == [two.id, one.id]
    assert found(gallery, search="fox ") == [one.id]
    assert found(gallery, search="fo a") == []


@pytest.mark.parametrize(
    ("prompt", "words"),
    [("雪の中の赤い狐", "狐 雪"), ("a 東京tower", "京 tow"), ("สุนัขจิ้งจอก", "จอก"), ("Żółć ﬁre", "zołc fire")],
)
def test_every_script_is_found(gallery: GalleryService, prompt: str, words: str) -> None:
    picture = add(gallery, prompt=prompt)
    assert found(gallery, search=words) == [picture.id]


@pytest.mark.parametrize(
    "hostile",
    [
        *('"', "'", '"""', "fox\"'", "fox*", "*", "(", "fox)", "fox OR owl", "fox NOT red", "NEAR(fox red)"),
        *(
            "words:fox",
            "-fox",
            "^fox",
            "fox & !red",
            "fox | owl",
            "fox:*",
            "fox <-> red",
            "'; DROP TABLE x;--",
        ),
        *("\\", "\\'", "fox\x00", "\ud800", "%", "_", "{fox}", "fox AND", "🦊", "fox\u2028red", " ", "\t\n"),
        "x " * 5000,
        "z" * 100_000,
    ],
)
def test_nothing_that_a_person_types_is_syntax(gallery: GalleryService, hostile: str) -> None:
    fox = add(gallery, prompt="a red fox")
    for page in (found(gallery, search=hostile), found(gallery, search=hostile, tags=("'; --",))):
        assert page in ([], [fox.id])
    assert found(gallery, search="red fox") == [fox.id]


def test_what_only_looks_like_an_operator_is_a_word(gallery: GalleryService) -> None:
    both = add(gallery, prompt="fox or owl")
    add(gallery, b"2", prompt="fox")
    assert found(gallery, search="fox OR owl") == [both.id]


def test_a_change_of_tags_changes_what_is_found(gallery: GalleryService) -> None:
    picture = add(gallery, tags=["before"])
    gallery.tag(picture.id, ["after"], caller=OWNER)
    assert found(gallery, search="after") == [picture.id]
    assert found(gallery, search="before") == []
    gallery.delete(picture.id, caller=OWNER)
    assert found(gallery, search="after") == []


def test_every_filter_takes_what_fits_and_leaves_the_rest(gallery: GalleryService, clock: FakeClock) -> None:
    start = clock.now()
    wide = add(gallery, b"1", width=64, height=32, parameters={"mode": "text"}, tags=["x", "y"])
    clock.set_wall(start + timedelta(days=1))
    tall = add(gallery, b"2", width=32, height=64, parameters={"mode": "image"}, tags=["x"])
    clock.set_wall(start + timedelta(days=2))
    square = add(
        gallery,
        b"3",
        width=64,
        height=64,
        model=ModelId("other"),
        parameters={"loras": [{"model": "l", "weight": 1.0}]},
        source=Source.IMPORTED,
    )
    day = timedelta(days=1)
    for wanted, expected in (
        (Filter(shape=Shape.LANDSCAPE), [wide]),
        (Filter(shape=Shape.PORTRAIT), [tall]),
        (Filter(shape=Shape.SQUARE), [square]),
        (Filter(width=64), [square, wide]),
        (Filter(width=64, height=64), [square]),
        (Filter(mode="image"), [tall]),
        (Filter(has_lora=True), [square]),
        (Filter(has_lora=False), [tall, wide]),
        (Filter(model=ModelId("other")), [square]),
        (Filter(source=Source.IMPORTED), [square]),
        (Filter(tags=("x",)), [tall, wide]),
        (Filter(tags=("x", "y")), [wide]),
        (Filter(tags=("X",)), []),
        (Filter(since=start + day), [square, tall]),
        (Filter(until=start + day), [wide]),
        (Filter(since=start + day, until=start + 2 * day), [tall]),
        (Filter(tags=("x",), search="fox", shape=Shape.PORTRAIT), [tall]),
    ):
        assert ids(gallery.list(OWNER, limit=9, filter=wanted)) == ids(expected), wanted


@pytest.mark.parametrize("oldest_first", [False, True])
@pytest.mark.parametrize(
    "wanted",
    [
        Filter(),
        Filter(search="fox"),
        Filter(tags=("even",)),
        Filter(favourite=True),
        Filter(search="fox", tags=("even",), favourite=True, shape=Shape.LANDSCAPE),
    ],
)
def test_pages_meet_without_gap_in_both_directions_under_every_filter(
    gallery: GalleryService, wanted: Filter, oldest_first: bool
) -> None:
    for number in range(14):
        words = "a red fox" if number % 3 else "an owl"
        picture = add(gallery, bytes([number]), prompt=words, tags=["even"] if number % 2 == 0 else [])
        if number % 4 == 0:
            gallery.favour([picture.id], True, caller=OWNER)
    whole = gallery.list(OWNER, limit=100, filter=wanted, oldest_first=oldest_first)
    assert len(whole) >= 2
    paged: list[Picture] = []
    while True:
        last = paged[-1].id if paged else None
        anchor = {"after" if oldest_first else "before": last}
        page = gallery.list(OWNER, limit=2, filter=wanted, oldest_first=oldest_first, **anchor)
        if not page:
            break
        paged += page
    assert ids(paged) == ids(whole)


def test_what_lies_between_two_pictures_can_be_asked_for(gallery: GalleryService) -> None:
    pictures = [add(gallery, bytes([number])) for number in range(5)]
    between = gallery.list(OWNER, limit=9, before=pictures[4].id, after=pictures[1].id)
    assert ids(between) == [pictures[3].id, pictures[2].id]
    nearest = gallery.list(OWNER, limit=1, after=pictures[1].id, oldest_first=True)
    assert ids(nearest) == [pictures[2].id]


def test_some_pictures_come_in_the_order_asked_for(gallery: GalleryService) -> None:
    one, two = add(gallery), add(gallery, b"2")
    assert list(gallery.some([two.id, one.id, two.id], caller=OWNER)) == [two, one]
    gallery.trash([one.id], caller=OWNER)
    with pytest.raises(NotFound):
        gallery.some([two.id, one.id], caller=OWNER)
    for wrong in ([], [PictureId(f"pic_{number}") for number in range(1001)]):
        with pytest.raises(Invalid):
            gallery.some(wrong, caller=OWNER)
