# SPDX-License-Identifier: Apache-2.0
"""Projects, pictures, versions and splits as the pages show them."""

from inglenook.studio.datasets.model import ImageRecord, VersionNote
from inglenook.vision.annotations import Box, Label
from inglenook.web.studio.dataset_room import came_as, version_rows
from inglenook.web.studio.projects import Count, goes, thumbnail_place
from inglenook.web.studio.split_pages import table_of
from inglenook.web.studio.tiles import CLASS_KEYS, class_rows, tile_of, view_of


def record(**more: object) -> ImageRecord:
    known = {
        "id": "img-1",
        "filename": "a b#.png",
        "original": "cats/a b#.png",
        "width": 200,
        "height": 100,
        "size_bytes": 2048,
        "sha256": "0" * 64,
        "added_at": "2026-01-01T00:00:00Z",
    }
    return ImageRecord(**{**known, **more})  # type: ignore[arg-type]  # a dictionary of known fields


def note(
    number: int, kind: str = "relabel", *, changed: int = 1, by: str = "ada", at: str = "00:00"
) -> VersionNote:
    return VersionNote(
        number=number,
        created_at=f"2026-01-01T{at}:{number:02d}.000Z",
        by=by,
        kind=kind,
        summary=f"{kind} {number}",
        changed=changed,
        images=9,
    )


def test_what_goes_with_a_project_is_said_in_words() -> None:
    assert goes((Count(0, "pictures"),)) == "nothing but its name"
    assert goes((Count(1, "picture"),)) == "1 picture"
    counts = (Count(12, "pictures"), Count(1, "split"), Count(0, "experiments"), Count(3, "exports"))
    assert goes(counts) == "12 pictures, 1 split and 3 exports"


def test_names_of_files_are_safe_in_addresses() -> None:
    assert (
        thumbnail_place("proj-1", "a b#/?.png")
        == "/api/datasets/proj-1/thumbnails/a%20b%23%2F%3F.png?size=256"
    )


def test_a_tile_says_its_class_and_small_pictures_keep_their_pixels() -> None:
    tile = tile_of("proj-1", record(annotations=(Label(class_id=0, class_name="cat"),)))
    assert (tile.class_name, tile.name, tile.pixelated) == ("cat", "a b#.png, cat", False)
    small = tile_of("proj-1", record(width=8, height=8))
    assert (small.class_name, small.name, small.pixelated) == ("", "a b#.png, without a class", True)


def test_boxes_are_drawn_and_told() -> None:
    box = Box(class_id=0, class_name="dog", bbox=(60.0, 40.0, 80.2, 20.0))
    view = view_of("proj-1", record(annotations=(box,)), [("first", "train")])
    assert (view.boxes[0].x, view.boxes[0].width) == (60.0, 80.2)
    assert view.annotations == ("dog: 80 × 20 px at 60, 40",)
    assert view.parts == (("first", "train"),)
    assert ("Name it came with", "cats/a b#.png") in view.facts


def test_classes_keep_their_order_and_the_first_of_them_have_keys() -> None:
    rows = class_rows({"b": 10, "a": 5, "": 3, **{f"c{number}": 0 for number in range(40)}})
    assert [(row.name, row.percent, row.key) for row in rows[:2]] == [("b", 100.0, "1"), ("a", 50.0, "2")]
    assert len(rows) == 42
    assert [row.key for row in rows if row.key] == list(CLASS_KEYS)
    assert class_rows({"a": 0})[0].percent == 0.0


def test_no_key_of_a_class_is_one_that_means_something_else() -> None:
    assert len(set(CLASS_KEYS)) == len(CLASS_KEYS)
    assert not set(CLASS_KEYS) & {"x", "z", " "}


def test_labels_given_one_by_one_are_one_row_of_versions() -> None:
    notes = [
        note(1, "import", changed=0),
        note(2),
        note(3),
        note(4),
        note(5, changed=7),
        note(6),
        note(7, by="bob"),
    ]
    rows = version_rows(notes)
    assert [(row.first, row.number) for row in rows] == [(7, 7), (6, 6), (5, 5), (2, 4), (1, 1)]
    assert rows[3].summary == "3 labels given, one after the other"
    assert rows[2].summary == "relabel 5"


def test_after_half_an_hour_without_a_label_another_sitting_begins() -> None:
    notes = [note(1, at="09:00"), note(2, at="09:29"), note(3, at="09:58"), note(4, at="10:28")]
    assert [(row.first, row.number) for row in version_rows(notes)] == [(4, 4), (1, 3)]


def test_shares_of_a_split_are_of_all_and_of_each_class() -> None:
    stats = {"train": 6, "val": 2, "test": 2, "none": 0}
    table = table_of(stats, {"a": {"train": 3, "val": 1, "test": 0}}, place="/here", split="my split")
    assert [(part.name, part.count, part.percent) for part in table.parts] == [
        ("train", 6, 60.0),
        ("val", 2, 20.0),
        ("test", 2, 20.0),
    ]
    assert table.parts[1].place == "/here?split_name=my+split&subset=val"
    assert table.classes[0].cells == ((3, 75.0), (1, 25.0), (0, 0.0))
    shown = table_of({**stats, "none": 10}, {})
    assert [part.percent for part in shown.parts] == [30.0, 10.0, 10.0, 50.0]
    assert shown.parts[0].place == ""
    assert table_of({"train": 0, "val": 0, "test": 0}, {}).parts[0].percent == 0.0


def test_where_pictures_came_from_is_told_in_words() -> None:
    assert came_as("image_folders", "pets") == "Came as a folder for each class, from pets."
    assert came_as("csv", "") == "Came as a table of labels (CSV)."
    assert came_as("", "pets.zip") == "Came from pets.zip."
    assert came_as("", "") == ""
