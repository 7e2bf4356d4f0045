# SPDX-License-Identifier: Apache-2.0
"""A folder for each class."""

import pytest
from tests.dataset_trees import tree

from inglenook.vision.formats.folders import FOLDERS, PLAIN
from inglenook.vision.formats.model import ANOMALY, CLASSIFICATION, Entry, FormatError, Issue
from inglenook.vision.formats.registry import choose


def read(files, task=CLASSIFICATION, asked=None, empty=()):
    form, inner = choose(tree(dict.fromkeys(files, ""), empty=empty), task, asked)
    parsed = form.parse(inner, task)
    return form, parsed, list(parsed.rows)


def entries(rows):
    return [row for row in rows if isinstance(row, Entry)]


def issues(rows):
    return {row.path: row.reason for row in rows if isinstance(row, Issue)}


def test_classes_are_sorted_without_case_and_empty_ones_stay():
    form, parsed, rows = read(["b/1.png", "A/2.JPG"], empty=("C",))
    assert form is FOLDERS
    assert parsed.classes == ("A", "b", "C")
    assert [(row.path, row.label) for row in rows] == [("A/2.JPG", "A"), ("b/1.png", "b")]


def test_folders_below_a_class_become_groups_that_name_their_class():
    _, _, rows = read(["cats/tom/day 1/1.png", "cats/2.png", "dogs/rex/3.png"])
    assert {row.path: row.group for row in rows} == {
        "cats/tom/day 1/1.png": "cats/tom/day 1",
        "cats/2.png": None,
        "dogs/rex/3.png": "dogs/rex",
    }


def test_what_is_no_picture_or_has_no_class_is_told_with_its_reason():
    _, _, rows = read(["cats/1.png", "cats/notes.txt", "dogs/1.png", "loose.png"])
    assert issues(rows) == {"cats/notes.txt": "other_file", "loose.png": "no_class"}


def test_one_folder_around_everything_is_stepped_into():
    _, parsed, rows = read(["my set/cats/1.png", "my set/dogs/1.png"])
    assert parsed.classes == ("cats", "dogs")
    assert [row.path for row in rows] == ["cats/1.png", "dogs/1.png"]


def test_one_folder_with_pictures_in_it_is_one_class():
    _, parsed, rows = read(["cats/1.png"])
    assert parsed.classes == ("cats",)
    assert len(rows) == 1


def test_train_val_and_test_are_no_classes_but_tags():
    _, parsed, rows = read(["train/cats/1.png", "Validation/dogs/2.png", "test/cats/3.png"])
    assert parsed.classes == ("cats", "dogs")
    assert {(row.label, row.tags) for row in rows} == {
        ("cats", ("train",)),
        ("dogs", ("val",)),
        ("cats", ("test",)),
    }
    assert "tags" in parsed.about[0]


def test_train_and_test_with_pictures_straight_in_them_are_classes():
    _, parsed, _ = read(["train/1.png", "test/2.png"])
    assert parsed.classes == ("test", "train")


@pytest.mark.parametrize("name", ["猫", "кошки", "γάτα", "قطط", "고양이", "แมว", "Kätzchen", "बिल्ली"])
def test_a_class_may_be_written_in_any_script(name):
    _, parsed, rows = read([f"{name}/{name}.png"])
    assert parsed.classes == (name,)
    assert rows == [Entry(f"{name}/{name}.png", label=name)]


def test_a_folder_whose_name_cannot_be_a_class_is_left_out_alone():
    _, parsed, rows = read(["x" * 201 + "/1.png", "cats/1.png"])
    assert parsed.classes == ("cats",)
    assert list(issues(rows).values()) == ["class_name"]


def test_folders_without_a_picture_are_refused():
    with pytest.raises(FormatError, match="no picture"):
        read(["cats/1.txt"])


def test_pictures_without_folders_come_without_classes():
    form, parsed, rows = read(["1.png", "2.png", "x.txt"])
    assert form is PLAIN
    assert parsed.classes == ()
    assert [row.label for row in entries(rows)] == [None, None]
    assert issues(rows) == {"x.txt": "other_file"}


def test_nothing_at_all_is_refused_with_words():
    with pytest.raises(FormatError, match="no picture here"):
        read([])


def test_anomaly_detection_knows_folders_by_their_aliases():
    _, parsed, rows = read(["OK/1.png", "defect/2.png"], task=ANOMALY)
    assert parsed.classes == ("normal", "anomalous")
    assert {row.path: row.anomalous for row in rows} == {"OK/1.png": False, "defect/2.png": True}


def test_anomaly_detection_refuses_other_folders():
    with pytest.raises(FormatError, match="cats, dogs"):
        read(["cats/1.png", "dogs/1.png"], task=ANOMALY)
