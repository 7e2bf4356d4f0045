# SPDX-License-Identifier: Apache-2.0
"""The figures of an evaluation, and its table of pictures."""

import msgspec
import numpy as np
import pytest

from inglenook.base.errors import Invalid
from inglenook.studio.evaluation.figures import aggregate
from inglenook.studio.evaluation.model import ResultQuery
from inglenook.studio.evaluation.table import Table

CATS_DOGS = ("cats", "dogs")


def always_first(count: int) -> np.ndarray:
    return np.tile([4.0, 0.0], (count, 1))


def test_a_model_that_always_says_cats_has_half_of_four_pictures_right() -> None:
    found = aggregate(CATS_DOGS, np.array([0, 0, 1, 1]), always_first(4), ["test"] * 4)
    assert found.accuracy == 0.5
    assert found.confusion_matrix == ((2, 0), (2, 0))
    assert found.per_class["dogs"].precision is None
    assert found.per_class["dogs"].recall == 0.0
    assert found.recall_macro == 0.5


def test_an_imbalanced_set_tells_accuracy_from_macro_recall() -> None:
    found = aggregate(CATS_DOGS, np.array([0] * 18 + [1] * 6), always_first(24), ["test"] * 24)
    assert found.accuracy == 0.75
    assert found.recall_macro == 0.5
    assert found.accuracy_interval.low is not None
    assert found.accuracy_interval.low < 0.75


def test_pictures_that_could_not_be_read_do_not_count() -> None:
    logits = always_first(3)
    logits[2] = np.nan
    found = aggregate(CATS_DOGS, np.array([0, 0, 1]), logits, ["val", "test", "test"])
    assert found.count == 2
    assert found.accuracy == 1.0
    assert found.subsets == {"val": 1, "test": 1}


def test_no_pictures_give_a_document_without_figures() -> None:
    found = aggregate(CATS_DOGS, np.zeros(0, int), np.zeros((0, 2)), [])
    assert found.accuracy is None
    assert found.per_class["cats"].support == 0
    assert b"NaN" not in msgspec.json.encode(found)


def test_the_document_is_json_and_comes_back_as_it_was() -> None:
    found = aggregate(("a", "b", "c", "d"), np.arange(4), np.eye(4) * 3, ["val", "val", "test", "test"])
    assert msgspec.json.decode(msgspec.json.encode(found), type=type(found)) == found
    assert list(found.top_k) == ["1", "3"]
    assert found.roc["a"].threshold[0] is None
    assert found.roc_auc_macro == 1.0


def test_the_temperature_is_fitted_on_val_and_its_worth_measured_on_the_rest() -> None:
    random = np.random.default_rng(1)
    truth = random.integers(0, 2, 400)
    right = random.random(400) < 0.8
    logits = np.where((truth == 0) == right, 1.0, -1.0)[:, None] * np.array([[6.0, -6.0]])
    parts = ["val"] * 200 + ["test"] * 200
    found = aggregate(CATS_DOGS, truth, logits, parts).calibration
    assert found.fitted_on == "val"
    assert found.ece is not None
    assert found.ece_scaled is not None
    assert found.ece > 0.15
    assert found.ece_scaled < 0.1
    assert aggregate(CATS_DOGS, truth, logits, ["test"] * 400).calibration.fitted_on == "all"


@pytest.fixture
def table() -> Table:
    """Sure and right, unsure and right, unsure and wrong, sure and wrong."""
    return Table(
        classes=CATS_DOGS,
        ids=("i1", "i2", "i3", "i4"),
        filenames=("d.png", "c.png", "b.png", "A.png"),
        subsets=("val", "test", "test", "test"),
        truth=np.array([0, 0, 1, 1]),
        logits=np.array([[5.0, 0.0], [0.5, 0.0], [0.5, 0.0], [5.0, 0.0]]),
    )


def names(table: Table, **query: object) -> list[str]:
    return [table.filenames[row] for row in table.rows(msgspec.convert(query, ResultQuery))]


def test_pictures_are_listed_by_name_without_regard_to_case(table: Table) -> None:
    assert names(table) == ["A.png", "b.png", "c.png", "d.png"]
    assert names(table, sort_order="desc") == ["d.png", "c.png", "b.png", "A.png"]


def test_the_most_confident_mistakes_come_first_by_falling_error(table: Table) -> None:
    assert names(table, sort_by="error", sort_order="desc") == ["A.png", "b.png", "c.png", "d.png"]
    assert names(table, sort_by="loss", sort_order="desc")[0] == "A.png"
    assert names(table, sort_by="confidence", sort_order="desc") == ["A.png", "d.png", "b.png", "c.png"]


def test_a_cell_of_the_confusion_matrix_shows_its_pictures(table: Table) -> None:
    assert names(table, filter_class="Dogs", filter_predicted="cats") == ["A.png", "b.png"]
    assert names(table, filter_class="dogs", filter_predicted="dogs") == []


def test_filters_hold_together(table: Table) -> None:
    assert names(table, filter_correct=True, filter_subset="test") == ["c.png"]
    assert names(table, search="a.P") == ["A.png"]


def test_an_unknown_class_is_refused_with_those_that_there_are(table: Table) -> None:
    with pytest.raises(Invalid, match="no class 'birds'") as refused:
        table.rows(ResultQuery(filter_class="birds"))
    assert refused.value.hint == "there are cats, dogs"


def test_a_row_is_told_in_words_and_numbers(table: Table) -> None:
    result = table.result(3)
    assert (result.ground_truth["class_name"], result.prediction["class_name"]) == ("dogs", "cats")
    assert not result.correct
    assert sum(result.probabilities.values()) == pytest.approx(1.0)
    assert result.loss == pytest.approx(5.0067, abs=1e-3)
