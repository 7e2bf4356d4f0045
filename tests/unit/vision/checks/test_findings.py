# SPDX-License-Identifier: Apache-2.0
"""From what is known of pictures to what is wrong with them."""

import numpy as np

from inglenook.vision.checks.findings import Known, Rules, all_findings
from inglenook.vision.checks.kinds import leakage
from inglenook.vision.checks.model import Item


def known(*rows):
    """Rows: id, sha256, dhash, side, label."""
    found = Known()
    for id_, sha256, dhash, side, label in rows:
        found.ids.append(id_)
        found.sha256.append(sha256)
        found.dhashes.append(dhash)
        found.sides.append(side if isinstance(side, tuple) else (side, side))
        found.labels.append(label)
    return found


def test_a_second_look_tells_pictures_apart_whose_hashes_are_near():
    rows = [(name, name, ONE, 64, "cat") for name in "abc"]
    looks = {"a": [1.0, 0.0], "b": [0.999, 0.0447], "c": [0.0, 1.0]}

    def signatures(places):
        return np.array([looks["abc"[at]] for at in places], np.float32)

    found = all_findings(known(*rows), (), Rules(), damaged=(), files_read=False, signatures=signatures)
    assert found.near == (("a", "b"),)


def check(*rows, classes=("cat", "dog"), damaged=(), **rules):
    found = all_findings(known(*rows), classes, Rules(**rules), damaged=damaged, files_read=bool(damaged))
    return {one.kind: one for one in found.findings}, found


ONE, NEAR, FAR = "00000000000000ff", "00000000000000fe", "ffffffff00000000"


def test_a_clean_set_has_no_findings():
    found, _ = check(
        ("a", "1", ONE, 64, "cat"),
        ("b", "2", FAR, 64, "dog"),
        ("c", "3", "0f0f0f0f0f0f0f0f", 64, "cat"),
        ("d", "4", "3333cccc3333cccc", 64, "dog"),
    )
    assert found == {}


def test_copies_are_exact_duplicates_and_not_near_ones():
    found, whole = check(
        ("a", "1", ONE, 64, "cat"),
        ("b", "1", ONE, 64, "cat"),
        ("c", "2", FAR, 64, "dog"),
        ("d", "3", None, 64, "dog"),
    )
    assert found["exact_duplicates"].items == (
        Item(ids=("a", "b"), why="2 times the same file", classes=("cat",), keep="a"),
    )
    assert "near_duplicates" not in found
    assert whole.exact == (("a", "b"),)


def test_pictures_that_look_alike_keep_the_largest():
    found, whole = check(
        ("a", "1", ONE, 64, "cat"),
        ("b", "2", NEAR, 128, "cat"),
        ("c", "3", FAR, 64, "dog"),
        ("d", "4", None, 64, "dog"),
    )
    (item,) = found["near_duplicates"].items
    assert (item.ids, item.keep) == (("a", "b"), "b")
    assert whole.near == (("a", "b"),)


def test_flat_pictures_do_not_look_alike_only_because_they_are_flat():
    found, _ = check(
        ("a", "1", None, 64, "cat"),
        ("b", "2", None, 64, "cat"),
        ("c", "3", None, 64, "dog"),
        ("d", "4", None, 64, "dog"),
    )
    assert found == {}


def test_copies_with_different_labels_are_an_error_and_likes_a_warning():
    found, _ = check(
        ("a", "1", ONE, 64, "cat"),
        ("b", "1", ONE, 64, "dog"),
        ("c", "2", FAR, 64, "cat"),
        ("d", "3", FAR, 64, "dog"),
    )
    assert found["conflicting_labels"].severity == "error"
    assert found["conflicting_labels"].items[0].ids == ("a", "b")
    assert found["conflicting_labels_near"].severity == "warning"
    assert found["conflicting_labels_near"].items[0].ids == ("c", "d")


def test_tiny_and_odd_pictures_are_told_with_their_sides():
    found, _ = check(
        ("a", "1", ONE, (31, 100), "cat"),
        ("b", "2", FAR, (500, 100), "cat"),
        ("c", "3", None, 64, "dog"),
        ("d", "4", None, 64, "dog"),
    )
    assert [item.why for item in found["tiny"].items] == ["31 × 100 pixels"]
    assert [item.ids for item in found["odd_aspect"].items] == [("b",)]


def test_classes_are_told_when_empty_single_or_uneven():
    rows = [(f"c{n}", f"c{n}", None, 64, "cat") for n in range(11)]
    found, _ = check(*rows, ("d", "d", None, 64, "dog"), classes=("cat", "dog", "bird"))
    assert found["empty_classes"].items[0].classes == ("bird",)
    assert found["singleton_classes"].items[0].ids == ("d",)
    assert "11 times" in found["imbalance"].items[0].why


def test_one_class_and_pictures_without_one_are_told():
    found, _ = check(
        ("a", "1", None, 64, "cat"), ("b", "2", None, 64, "cat"), ("c", "3", None, 64, None), classes=("cat",)
    )
    assert found["one_class"].items[0].classes == ("cat",)
    assert found["unlabelled"].items[0].ids == ("c",)


def test_damaged_files_come_first_of_all():
    found, whole = check(
        ("a", "1", None, 64, "cat"),
        ("b", "2", None, 64, "cat"),
        damaged=[Item(ids=("a",), why="gone")],
        classes=("cat",),
    )
    assert whole.findings[0].kind == "corrupt"
    assert found["corrupt"].pictures == 1


def test_a_split_leaks_where_a_group_lies_in_several_parts():
    groups = [("a", "b", "x"), ("c", "d")]
    parts = {"a": "train", "b": "test", "c": "train", "d": "train"}
    found = leakage(groups, parts, "split-1", exact=True)
    assert found is not None
    assert (found.kind, found.source, found.severity) == ("leakage", "split split-1", "error")
    assert found.items == (Item(ids=("a", "b"), why="the same file in train and test", keep="a"),)
    assert leakage(groups, {"a": "train", "b": "train"}, "s", exact=False) is None
