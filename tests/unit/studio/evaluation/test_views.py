# SPDX-License-Identifier: Apache-2.0
"""What is read out of an evaluation's table and figures: comparison, suspects, sheets, plots."""

import csv
import io

import numpy as np
import pytest
from PIL import Image

from inglenook.studio.evaluation import plots, sheets
from inglenook.studio.evaluation.comparing import compared
from inglenook.studio.evaluation.errors import NothingShared
from inglenook.studio.evaluation.figures import aggregate
from inglenook.studio.evaluation.model import Aggregate
from inglenook.studio.evaluation.noise import suspects
from inglenook.studio.evaluation.table import Table


def table(truth: list[int], said: list[int], *, sure: float = 4.0, first: int = 0, **changes: tuple) -> Table:
    """Pictures `img-first …`; `said` is what the network answers."""
    count = len(truth)
    given = {
        "classes": ("cat", "dog", "owl"),
        "ids": tuple(f"img-{first + row}" for row in range(count)),
        "filenames": tuple(f"{first + row}.png" for row in range(count)),
        "subsets": ("test",) * count,
    }
    return Table(**{**given, **changes}, truth=np.array(truth), logits=sure * np.eye(3)[said])


def test_a_comparison_counts_who_is_right_where_the_other_is_not() -> None:
    truth = [0, 1, 2, 0, 1, 2]
    first, second = table(truth, [0, 1, 2, 0, 1, 0]), table(truth, [0, 1, 2, 1, 2, 2])
    said = compared(first, second)
    assert said["pictures"] == 6
    assert (said["both_right"], said["only_first_right"], said["only_second_right"]) == (3, 2, 1)
    assert said["only_first_right_pictures"] == ["3.png", "4.png"]
    assert said["difference"]["value"] == pytest.approx(1 / 6)
    assert said["p_value"] == 1.0
    assert not said["significant"]


def test_a_comparison_leaves_out_what_only_one_has_seen_and_what_was_relabelled() -> None:
    first = table([0, 1, 2], [0, 1, 2], subsets=("train", "test", "test"))
    second = table([1, 0, 1], [1, 0, 1], first=1)
    said = compared(first, second)
    assert said["pictures"] == 1
    assert said["left_out"] == {"only_first": 1, "only_second": 1, "labels_differ": 1}
    assert said["learned_from"] == {"first": 0, "second": 0}


def test_classes_are_compared_by_their_names_whatever_their_numbers() -> None:
    turned = table([2, 1, 0], [2, 1, 0], classes=("owl", "dog", "cat"))
    said = compared(table([0, 1, 2], [0, 1, 1]), turned)
    assert (said["pictures"], said["both_right"], said["only_second_right"]) == (3, 2, 1)


def test_evaluations_without_a_picture_in_common_are_not_compared() -> None:
    with pytest.raises(NothingShared):
        compared(table([0], [0]), table([0], [0], first=5))


def test_suspects_are_contradicted_surely_and_those_that_were_not_learned_come_first() -> None:
    found = suspects(
        table([0, 1, 2, 0], [1, 1, 0, 2], subsets=("train", "test", "val", "test")), "evaluation eval-1"
    )
    assert found[0].pictures == 3
    assert [item.ids for item in found[0].items] == [("img-2",), ("img-3",), ("img-0",)]
    assert found[0].items[0].classes == ("owl", "cat")
    assert "looks like cat" in found[0].items[0].why
    assert suspects(table([0, 1], [0, 1]), "x") == []
    assert suspects(table([0, 1], [1, 0], sure=0.1), "x") == []
    assert suspects(table([], []), "x") == []


def figures(classes: int = 3, count: int = 60) -> Aggregate:
    draw = np.random.default_rng(1)
    truth = draw.integers(0, classes, count)
    logits = draw.normal(0, 1, (count, classes))
    logits[np.arange(count), truth] += 1.5
    return aggregate([f"class {number}" for number in range(classes)], truth, logits, ["test"] * count)


def rows(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode())))


def test_sheets_hold_the_figures_and_leave_empty_what_is_not_defined() -> None:
    found = figures()
    assert [float(row["recall"]) for row in rows(sheets.per_class(found))] == [
        found.per_class[name].recall for name in found.classes
    ]
    never = aggregate(("a", "b"), np.array([0, 0]), np.array([[3.0, 0], [3.0, 0]]), ["test"] * 2)
    assert rows(sheets.per_class(never))[1]["precision"] == ""
    assert rows(sheets.curves(never)) == [row for row in rows(sheets.curves(never)) if row["class"] == "a"]
    listed = rows(sheets.results(table([0, 1], [0, 2])))
    assert [row["correct"] for row in listed] == ["1", "0"]
    assert sum(float(listed[0][f"p_{name}"]) for name in ("cat", "dog", "owl")) == pytest.approx(1, abs=1e-5)
    assert len(rows(sheets.reliability(found))) == 15


@pytest.mark.parametrize("name", ["roc", "precision_recall", "reliability", "confusion_matrix"])
def test_plots_are_pictures_with_something_on_them_for_any_number_of_classes(name: str) -> None:
    for classes in (2, 40):
        picture = Image.open(io.BytesIO(getattr(plots, name)(figures(classes))))
        assert picture.format == "PNG"
        assert min(picture.size) >= 250
        colours = picture.getcolors(1_000_000)
        assert colours is not None
        assert len(colours) > 20


def test_a_plot_of_nothing_is_a_plot_all_the_same() -> None:
    empty = aggregate(("a", "b"), np.zeros(0, int), np.zeros((0, 2)), [])
    for name in ("roc", "precision_recall", "reliability", "confusion_matrix"):
        assert Image.open(io.BytesIO(getattr(plots, name)(empty))).width >= 400


def test_curves_of_many_classes_are_thinned_so_that_the_whole_stays_small() -> None:
    found = figures(classes=300, count=900)
    assert sum(len(curve.x) for curve in found.roc.values()) <= 40_000
    assert all(curve.x[-1] == 1.0 for curve in found.roc.values() if curve.x)
