# SPDX-License-Identifier: Apache-2.0
"""Data sets: imports, changes, versions, and an index that is never the truth."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.studio_bench import ANNA, add, fill, ids, label, project, studio_in

from inglenook.base.errors import Conflict, Failed, Invalid, NotFound, Unavailable
from inglenook.studio.datasets.model import ImageQuery, ImageRecord
from inglenook.studio.datasets.names import free_name, safe_name
from inglenook.studio.datasets.records import ImageIndex
from inglenook.studio.errors import CorruptDocument, DatasetNotImported, ImageNotFound
from inglenook.studio.studio import Studio
from inglenook.vision.annotations import Anomaly, Box, Label


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    with studio_in(tmp_path) as made:
        yield made


@pytest.fixture
def pets(studio: Studio) -> str:
    """A project with three cats and two dogs."""
    made = project(studio)
    fill(studio, made.id, {"cats": 3, "dogs": 2})
    return made.id


def classes_of(studio: Studio, project_id: str) -> dict[str, str | None]:
    return {
        it.filename: it.annotations[0].class_name if it.annotations else None
        for it in studio.datasets.iterate(project_id)
        if not it.annotations or isinstance(it.annotations[0], Label)
    }


# -- names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("original", "kept"),
    [
        ("cats/a b#1&.PNG", "a b#1&.png"),
        ("..\\..\\evil.png", "evil.png"),
        ("../../etc/passwd", "passwd"),
        (".hidden.png", "hidden.png"),
        ("con.png", "_con.png"),
        ("Кот 猫 قطة.jpeg", "Кот 猫 قطة.jpeg"),
        ("a\0b\n.png", "a_b_.png"),
        ("a\u202egnp.exe.png", "a_gnp.exe.png"),
        ('<>:"|?*.png', "_______.png"),
        ("", "_"),
    ],
)
def test_a_files_name_is_safe_everywhere_and_of_every_script(original: str, kept: str) -> None:
    assert safe_name(original) == kept


@given(st.text(max_size=400))
def test_a_safe_name_has_no_separator_and_fits_into_every_file_system(original: str) -> None:
    name = safe_name(original)
    assert 0 < len(name.encode()) <= 190
    assert not set(name) & set('/\\\0<>:"|?*')
    assert not name.startswith(".")
    assert name.isprintable() or " " in name or not name.isascii()


def test_names_that_differ_in_case_only_do_not_meet() -> None:
    taken: set[str] = set()
    names = [free_name(it, taken) for it in ("a/shared_name.png", "b/Shared_Name.PNG", "c/shared_name.png")]
    assert names == ["shared_name.png", "Shared_Name_1.png", "shared_name_2.png"]


# -- imports ---------------------------------------------------------------------------------------------


def test_a_project_without_pictures_says_so(studio: Studio) -> None:
    empty = project(studio)
    for ask in (studio.datasets.head, studio.datasets.images, studio.datasets.versions):
        with pytest.raises(DatasetNotImported):
            ask(empty.id)
    assert studio.datasets.size(empty.id) == 0


def test_an_import_is_a_version_with_its_classes_in_their_order(studio: Studio) -> None:
    pets = project(studio)
    note = fill(studio, pets.id, {"dogs": 2, "cats": 3, "empty": 0})
    head = studio.datasets.head(pets.id)
    assert (note.number, note.kind, note.added, note.images, note.by) == (1, "import", 5, 5, ANNA)
    assert head.classes == ("dogs", "cats", "empty")
    assert head.image_stats.num_images == 5
    assert head.image_stats.formats == ("png",)
    assert studio.datasets.class_counts(pets.id) == {"dogs": 2, "cats": 3, "empty": 0}
    cat = studio.datasets.get(pets.id, "cats_0.png")
    assert cat.annotations == (Label(class_id=1, class_name="cats"),)
    assert studio.datasets.file(pets.id, cat).read_bytes() == b"cats 0"


def test_the_same_name_in_two_folders_gives_two_files(studio: Studio) -> None:
    pets = project(studio)
    staging = studio.datasets.begin(pets.id, "replace", by=ANNA, source_format="f", source_path="/")
    for folder in ("cats", "dogs"):
        add(staging, f"{folder}/shared_name.png", folder.encode(), label(folder))
    staging.commit("2")
    assert classes_of(studio, pets.id) == {"shared_name.png": "cats", "shared_name_1.png": "dogs"}
    assert studio.datasets.get(pets.id, "shared_name_1.png").original == "dogs/shared_name.png"


def test_adding_keeps_what_is_there_and_numbers_classes_on(studio: Studio, pets: str) -> None:
    before = ids(studio, pets)
    note = fill(studio, pets, {"birds": 1, "cats": 1}, mode="add", make=lambda *_: b"new")
    assert (note.number, note.added, note.images) == (2, 2, 7)
    assert studio.datasets.head(pets).classes == ("cats", "dogs", "birds")
    after = ids(studio, pets)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"birds_0.png", "cats_0_1.png"}
    assert studio.datasets.get(pets, "birds_0.png").annotations == (Label(class_id=2, class_name="birds"),)


def test_replacing_keeps_the_id_of_a_picture_that_comes_again(studio: Studio, pets: str) -> None:
    before = ids(studio, pets)
    note = fill(studio, pets, {"cats": 1, "birds": 1})
    assert (note.number, note.added, note.changed, note.removed, note.images) == (2, 1, 0, 4, 2)
    after = ids(studio, pets)
    assert set(after) == {"cats_0.png", "birds_0.png"}
    assert after["cats_0.png"] == before["cats_0.png"]
    assert studio.datasets.head(pets).classes == ("cats", "birds")


def test_an_import_that_is_abandoned_leaves_everything_as_it_was(studio: Studio, pets: str) -> None:
    staging = studio.datasets.begin(pets, "replace", by=ANNA, source_format="f", source_path="/")
    add(staging, "x.png", b"x", label("x"))
    staging.abandon()
    assert not staging.folder.exists()
    assert studio.datasets.head(pets).current == 1
    with pytest.raises(Conflict, match="over already"):
        staging.commit("x")


def test_an_import_of_nothing_and_files_from_elsewhere_are_refused(studio: Studio, tmp_path: Path) -> None:
    pets = project(studio)
    staging = studio.datasets.begin(pets.id, "replace", by=ANNA, source_format="f", source_path="/")
    (tmp_path / "secret").write_bytes(b"secret")
    for file in ("../../../../secret", str(tmp_path / "secret"), "missing"):
        with pytest.raises(Invalid, match="no file of the folder"):
            add(staging, "x.png", b"x", file=file)
    with pytest.raises(Invalid, match="no picture"):
        staging.commit("nothing")
    with pytest.raises(DatasetNotImported):
        studio.datasets.head(pets.id)


def test_a_full_disk_in_an_import_leaves_the_old_set(
    studio: Studio, pets: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = studio.datasets.begin(pets, "replace", by=ANNA, source_format="f", source_path="/")
    for place in range(3):
        add(staging, f"{place}.png", str(place).encode(), label("x"))
    real = os.fsync

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Failed, match="no room"):
        staging.commit("3")
    monkeypatch.setattr(os, "fsync", real)
    assert studio.datasets.head(pets).current == 1
    assert studio.datasets.count(pets) == 5
    fill(studio, pets, {"x": 3}, mode="add")  # and the next one works
    assert studio.datasets.count(pets) == 8


def test_more_pictures_than_allowed_are_refused(studio: Studio) -> None:
    pets = project(studio)
    studio.datasets.max_images = 2
    staging = studio.datasets.begin(pets.id, "replace", by=ANNA, source_format="f", source_path="/")
    for place in range(2):
        add(staging, f"{place}.png", b"x")
    with pytest.raises(Invalid, match=r"2 pictures \(studio\.max_images\)"):
        add(staging, "2.png", b"x")
    staging.abandon()
    fill(studio, pets.id, {"cats": 2})
    with pytest.raises(Invalid, match=r"studio\.max_images"):
        fill(studio, pets.id, {"dogs": 1}, mode="add")
    assert studio.datasets.count(pets.id) == 2


# -- changes ---------------------------------------------------------------------------------------------


def test_pictures_are_relabelled_also_with_a_class_that_is_new_or_none(studio: Studio, pets: str) -> None:
    known = ids(studio, pets)
    note = studio.datasets.relabel(pets, [known["cats_0.png"], known["cats_1.png"]], " big  birds", by="bert")
    assert (note.number, note.kind, note.changed, note.by) == (2, "relabel", 2, "bert")
    assert note.summary == "2 pictures labelled big birds"
    assert studio.datasets.head(pets).classes == ("cats", "dogs", "big birds")
    studio.datasets.relabel(pets, [known["dogs_0.png"]], None, by=ANNA)
    assert classes_of(studio, pets) == {
        "cats_0.png": "big birds",
        "cats_1.png": "big birds",
        "cats_2.png": "cats",
        "dogs_0.png": None,
        "dogs_1.png": "dogs",
    }
    assert studio.datasets.class_counts(pets) == {"cats": 1, "dogs": 1, "big birds": 2, "": 1}
    assert studio.datasets.count(pets, ImageQuery(labels=("",))) == 1


def test_a_picture_that_is_not_there_changes_nothing(studio: Studio, pets: str) -> None:
    with pytest.raises(ImageNotFound):
        studio.datasets.relabel(pets, [ids(studio, pets)["cats_0.png"], "img-000000000000"], "x", by=ANNA)
    with pytest.raises(Invalid):
        studio.datasets.relabel(pets, [], "x", by=ANNA)
    with pytest.raises(Invalid):
        studio.datasets.relabel(pets, [ids(studio, pets)["cats_0.png"]], "x" * 201, by=ANNA)
    assert studio.datasets.head(pets).current == 1


def test_what_changes_nothing_is_no_version(studio: Studio, pets: str) -> None:
    known = ids(studio, pets)
    assert studio.datasets.relabel(pets, [known["cats_0.png"]], "cats", by=ANNA).number == 1
    assert studio.datasets.tag(pets, [known["cats_0.png"]], remove=["nothing"], by=ANNA).number == 1


def test_tags_come_and_go(studio: Studio, pets: str) -> None:
    known = ids(studio, pets)
    studio.datasets.tag(pets, [known["cats_0.png"], known["dogs_0.png"]], add=["b", "a"], by=ANNA)
    studio.datasets.tag(pets, [known["dogs_0.png"]], add=["c"], remove=["a"], by=ANNA)
    assert studio.datasets.get(pets, "cats_0.png").tags == ("a", "b")
    assert studio.datasets.get(pets, "dogs_0.png").tags == ("b", "c")
    assert studio.datasets.tag_counts(pets) == {"a": 1, "b": 2, "c": 1}
    assert studio.datasets.count(pets, ImageQuery(tags=("b", "c"))) == 1


def test_classes_are_renamed_and_merged_with_their_numbers(studio: Studio, pets: str) -> None:
    fill(studio, pets, {"birds": 1}, mode="add")
    with pytest.raises(Conflict, match="merge"):
        studio.datasets.rename_class(pets, "cats", "dogs", by=ANNA)
    with pytest.raises(NotFound, match="no class 'fish'"):
        studio.datasets.rename_class(pets, "fish", "x", by=ANNA)
    studio.datasets.rename_class(pets, "cats", "felines", by=ANNA)
    assert studio.datasets.head(pets).classes == ("felines", "dogs", "birds")
    note = studio.datasets.merge_classes(pets, ["felines", "dogs"], "mammals", by=ANNA)
    assert note.summary == "classes felines, dogs merged into mammals"
    assert studio.datasets.head(pets).classes == ("mammals", "birds")
    assert studio.datasets.class_counts(pets) == {"mammals": 5, "birds": 1}
    assert studio.datasets.get(pets, "birds_0.png").annotations == (Label(class_id=1, class_name="birds"),)


def test_pictures_of_anomaly_detection_are_normal_or_anomalous(studio: Studio) -> None:
    made = project(studio, task="anomaly_detection")
    staging = studio.datasets.begin(made.id, "replace", by=ANNA, source_format="f", source_path="/")
    add(staging, "good.png", b"1", (Anomaly(is_anomalous=False),))
    staging.commit("1", ["normal", "anomalous"])
    known = ids(studio, made.id)["good.png"]
    studio.datasets.relabel(made.id, [known], "anomalous", by=ANNA)
    assert studio.datasets.get(made.id, known).annotations == (Anomaly(is_anomalous=True),)
    assert studio.datasets.class_counts(made.id) == {"normal": 0, "anomalous": 1}
    with pytest.raises(Invalid, match="normal or anomalous"):
        studio.datasets.relabel(made.id, [known], "cats", by=ANNA)


def test_pictures_with_boxes_have_no_class_of_their_own(studio: Studio) -> None:
    made = project(studio, task="object_detection")
    staging = studio.datasets.begin(made.id, "replace", by=ANNA, source_format="coco", source_path="/")
    add(staging, "a.png", b"1", (Box(class_id=7, class_name="dog", bbox=(1, 2, 3, 4)),))
    staging.commit("1", ["cat", "dog"])
    record = studio.datasets.get(made.id, "a.png")
    assert record.annotations == (Box(class_id=1, class_name="dog", bbox=(1, 2, 3, 4)),)
    with pytest.raises(Invalid, match="no class of their own"):
        studio.datasets.relabel(made.id, [record.id], "cat", by=ANNA)


# -- versions --------------------------------------------------------------------------------------------


def test_every_version_can_be_read_and_returned_to(studio: Studio, pets: str) -> None:
    known = ids(studio, pets)
    first = list(studio.datasets.iterate(pets))
    studio.datasets.relabel(pets, [known["cats_0.png"]], "birds", by=ANNA)
    second = list(studio.datasets.iterate(pets))
    studio.datasets.remove(pets, [known["cats_1.png"], known["dogs_0.png"]], by=ANNA)
    assert studio.datasets.count(pets) == 3
    assert list(studio.datasets.iterate(pets, version=1)) == first
    assert list(studio.datasets.iterate(pets, version=2)) == second
    note = studio.datasets.return_to(pets, 1, by=ANNA)
    assert (note.number, note.kind, note.added, note.changed, note.removed) == (4, "return", 2, 1, 0)
    assert list(studio.datasets.iterate(pets)) == first
    assert studio.datasets.head(pets).classes == ("cats", "dogs")
    studio.datasets.return_to(pets, 3, by=ANNA)
    assert studio.datasets.count(pets) == 3
    for number in (0, 5, 99):
        with pytest.raises(NotFound):
            studio.datasets.return_to(pets, number, by=ANNA)
        if number != 5:
            with pytest.raises(NotFound):
                studio.datasets.iterate(pets, version=number)


def test_going_back_reads_only_what_changed_since(studio: Studio, pets: str, tmp_path: Path) -> None:
    known = ids(studio, pets)
    first = list(studio.datasets.iterate(pets))
    studio.datasets.relabel(pets, [known["cats_0.png"]], "birds", by=ANNA)
    studio.datasets.relabel(pets, [known["cats_0.png"], known["cats_1.png"]], "fish", by=ANNA)
    studio.datasets.remove(pets, [known["cats_1.png"]], by=ANNA)
    studio.datasets.tag(pets, [known["dogs_0.png"]], add=["new"], by=ANNA)
    studio.datasets.tag(pets, [known["dogs_0.png"]], remove=["new"], by=ANNA)
    whole = tmp_path / "studio" / "projects" / pets / "dataset" / "versions" / "000001.jsonl"
    whole.rename(whole.with_suffix(".away"))
    note = studio.datasets.return_to(pets, 1, by=ANNA)
    assert (note.added, note.changed, note.removed) == (1, 1, 0), "what came and went again is no change"
    assert list(studio.datasets.iterate(pets)) == first


def test_going_back_before_an_import_that_replaced_everything_is_exact(studio: Studio, pets: str) -> None:
    studio.datasets.relabel(pets, [ids(studio, pets)["cats_0.png"]], "birds", by=ANNA)
    second = list(studio.datasets.iterate(pets))
    fill(studio, pets, {"cats": 1, "fish": 4})
    fill(studio, pets, {"crabs": 2}, mode="add")
    studio.datasets.return_to(pets, 2, by=ANNA)
    assert list(studio.datasets.iterate(pets)) == second
    assert studio.datasets.head(pets).classes == ("cats", "dogs", "birds")


def test_purging_forgets_earlier_versions_and_deletes_what_nothing_needs(
    studio: Studio, pets: str, tmp_path: Path
) -> None:
    known = ids(studio, pets)
    studio.datasets.remove(pets, [known["cats_0.png"], known["cats_1.png"]], by=ANNA)
    images = tmp_path / "studio" / "projects" / pets / "dataset" / "images"
    assert len(list(images.iterdir())) == 5
    studio.datasets.need_with(lambda _: ["cats_1.png"])  # of a run's manifest
    assert studio.datasets.purge(pets) == 1
    assert not (images / "cats_0.png").exists()
    assert (images / "cats_1.png").exists()
    assert [it.number for it in studio.datasets.versions(pets)] == [2]
    with pytest.raises(NotFound):
        studio.datasets.return_to(pets, 1, by=ANNA)
    assert len(list(studio.datasets.iterate(pets))) == 3
    studio.datasets.relabel(pets, [known["cats_2.png"]], "dogs", by=ANNA)
    (tmp_path / "studio" / "projects" / pets / "dataset" / "index.sqlite").unlink()
    assert studio.datasets.class_counts(pets) == {"cats": 0, "dogs": 3}


def test_many_versions_are_written_as_a_whole_now_and_then(
    studio: Studio, pets: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("inglenook.studio.datasets.book._WHOLE_AFTER", 3)
    cat = ids(studio, pets)["cats_0.png"]
    for place in range(7):
        studio.datasets.relabel(pets, [cat], f"class {place}", by=ANNA)
    versions = tmp_path / "studio" / "projects" / pets / "dataset" / "versions"
    whole = [it.name for it in sorted(versions.glob("0*.jsonl")) if "changes" not in it.name]
    assert whole == ["000001.jsonl", "000004.jsonl", "000007.jsonl"]
    for number in range(2, 9):
        record = next(it for it in studio.datasets.iterate(pets, version=number) if it.id == cat)
        assert record.annotations[0] == Label(class_id=number, class_name=f"class {number - 2}")


def test_half_a_line_of_notes_is_cut_off(studio: Studio, pets: str, tmp_path: Path) -> None:
    notes = tmp_path / "studio" / "projects" / pets / "dataset" / "versions" / "notes.jsonl"
    with notes.open("ab") as file:
        file.write(b'{"note": {"numb')
    assert [it.number for it in studio.datasets.versions(pets)] == [1]
    studio.datasets.relabel(pets, [ids(studio, pets)["cats_0.png"]], "dogs", by=ANNA)
    assert [it.number for it in studio.datasets.versions(pets)] == [1, 2]


def test_listeners_are_told_of_each_version(studio: Studio, pets: str) -> None:
    told = []
    studio.datasets.listen(lambda project_id, note: told.append((project_id, note.kind)))
    studio.datasets.remove(pets, [ids(studio, pets)["cats_0.png"]], by=ANNA)
    fill(studio, pets, {"cats": 1})
    assert told == [(pets, "remove"), (pets, "import")]


def test_a_set_that_is_cleared_is_gone_with_its_splits(studio: Studio, pets: str, tmp_path: Path) -> None:
    studio.datasets.clear(pets)
    studio.datasets.clear(pets)
    with pytest.raises(DatasetNotImported):
        studio.datasets.head(pets)
    left = [it.name for it in (tmp_path / "studio" / "projects" / pets).iterdir()]
    assert left == ["project.json"]


# -- the index -------------------------------------------------------------------------------------------


def index_of(tmp_path: Path, project_id: str) -> Path:
    return tmp_path / "studio" / "projects" / project_id / "dataset" / "index.sqlite"


@pytest.mark.parametrize("harm", ["missing", "no database", "cut short", "other schema", "behind", "ahead"])
def test_an_index_that_is_not_right_is_made_again(
    studio: Studio, pets: str, tmp_path: Path, harm: str
) -> None:
    path = index_of(tmp_path, pets)
    old = path.read_bytes()
    studio.datasets.relabel(pets, [ids(studio, pets)["cats_0.png"]], "dogs", by=ANNA)
    if harm == "missing":
        path.unlink()
    elif harm == "no database":
        path.write_bytes(b"x" * 5000)
    elif harm == "cut short":
        path.write_bytes(path.read_bytes()[:3000])
    elif harm == "behind":
        path.write_bytes(old)
    else:
        with sqlite3.connect(path) as connection:
            key, value = ("schema", "0") if harm == "other schema" else ("version", "9")
            connection.execute("UPDATE meta SET value = ? WHERE key = ?", (value, key))
        connection.close()
    assert studio.datasets.class_counts(pets) == {"cats": 2, "dogs": 3}
    assert ImageIndex(path).state() == (studio.datasets.head(pets).id, 2)


def test_an_index_that_is_damaged_inside_is_told_of_once_and_made_again(
    studio: Studio, tmp_path: Path
) -> None:
    pets = project(studio)
    fill(studio, pets.id, {"cats": 300})
    path = index_of(tmp_path, pets.id)
    with path.open("r+b") as file:  # all but its first pages, which say what it is of
        file.seek(3 * 4096)
        file.write(b"\xff" * (path.stat().st_size - 3 * 4096))
    with pytest.raises(Unavailable, match="ask again"):
        list(studio.datasets.iterate(pets.id))
    assert len(list(studio.datasets.iterate(pets.id))) == 300


def test_an_index_without_room_leaves_the_version_before(
    studio: Studio, pets: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ImageIndex._connect

    def small(index: ImageIndex) -> sqlite3.Connection:
        connection = real(index)
        connection.execute("PRAGMA max_page_count = 1")  # no larger than it is
        return connection

    with monkeypatch.context() as patched:
        patched.setattr(ImageIndex, "_connect", small)
        with pytest.raises(Failed, match="no room on the disk"):
            fill(studio, pets, {"birds": 200}, mode="add")
    assert studio.datasets.head(pets).current == 1
    assert studio.datasets.class_counts(pets) == {"cats": 3, "dogs": 2}
    assert [it.number for it in studio.datasets.versions(pets)] == [1]
    fill(studio, pets, {"birds": 200}, mode="add")
    assert studio.datasets.count(pets) == 205


def test_a_corrupt_version_is_named(studio: Studio, pets: str, tmp_path: Path) -> None:
    index_of(tmp_path, pets).unlink()
    path = tmp_path / "studio" / "projects" / pets / "dataset" / "versions" / "000001.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CorruptDocument, match=r"000001\.jsonl cannot be read: line 5"):
        studio.datasets.images(pets)


def record(place: int, label_number: int, side: int, tags: tuple[str, ...] = ()) -> ImageRecord:
    return ImageRecord(
        id=f"img-{place:012x}",
        filename=f"{'aAbBüÜ'[place % 6]}_{place * 7 % 10}_{place}.png",
        original="x",
        width=side,
        height=8,
        size_bytes=1,
        sha256=f"{place:064x}",
        annotations=label(f"{'cC'[place % 2]}lass{label_number}") if label_number else (),
        tags=tags,
        added_at=f"2026-01-0{place % 3 + 1}",
    )


RECORDS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), max_size=25).map(
    lambda rows: [record(place, *row) for place, row in enumerate(rows)]
)
QUERIES = st.builds(
    ImageQuery,
    labels=st.sampled_from([(), ("class1",), ("CLASS2", "class3"), ("",)]),
    search=st.sampled_from(["", "A_", "ü", "PNG", "%", "7"]),
    min_side=st.sampled_from([None, 5]),
    split=st.sampled_from([None, "s"]),
    subset=st.sampled_from([None, "train", "none"]),
    sort=st.sampled_from(["filename", "class", "size", "added"]),
    descending=st.booleans(),
)


def expected(records: list[ImageRecord], query: ImageQuery, parts: dict[str, str]) -> list[str]:
    def name(it: ImageRecord) -> str:
        return it.annotations[0].class_name.casefold() if it.annotations else ""  # type: ignore[union-attr]  # labels

    keys = {
        "filename": lambda it: it.filename,
        "class": name,
        "size": lambda it: it.width * it.height,
        "added": lambda it: it.added_at,
    }
    kept = [
        it
        for it in records
        if (not query.labels or name(it) in {label.casefold() for label in query.labels})
        and query.search.casefold() in it.filename.casefold()
        and min(it.width, it.height) >= (query.min_side or 0)
        and (query.split is None or query.subset is None or parts.get(it.id, "none") == query.subset)
    ]
    kept.sort(key=lambda it: (keys[query.sort](it), it.filename), reverse=query.descending)
    return [it.id for it in kept]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=RECORDS, query=QUERIES, limit=st.integers(1, 7))
def test_pages_by_key_and_by_number_hold_what_fits_in_order(
    tmp_path_factory: pytest.TempPathFactory, records: list[ImageRecord], query: ImageQuery, limit: int
) -> None:
    index = ImageIndex(tmp_path_factory.mktemp("index") / "index.sqlite")
    index.rebuild("d", 1, records)
    parts = {it.id: ("train", "val")[place % 2] for place, it in enumerate(records) if place % 3}
    index.add_split("s", parts)
    wanted = expected(records, query, parts)
    found: list[str] = []
    after = None
    while True:
        page = index.page(query, limit=limit, after=after)
        found += [it.id for it in page.images]
        after = page.after
        if after is None:
            break
    assert found == wanted
    pages = [index.slice(query, limit=limit, offset=start) for start in range(0, len(wanted) + 1, limit)]
    assert [it.id for page in pages for it in page] == wanted
    assert index.count(query) == len(wanted) == sum(index.class_counts(query).values())
    assert sorted(index.ids(query)) == sorted(wanted)


def test_after_is_of_one_list_only(studio: Studio, pets: str) -> None:
    page = studio.datasets.images(pets, ImageQuery(sort="size"), limit=2)
    assert page.after is not None
    for query, after in (
        (ImageQuery(), page.after),
        (ImageQuery(sort="size", descending=True), page.after),
        (ImageQuery(), "rubbish"),
        (ImageQuery(), "W10"),
    ):
        with pytest.raises(Invalid, match="does not belong to this list"):
            studio.datasets.images(pets, query, after=after)
