# SPDX-License-Identifier: Apache-2.0
"""Figures of a classifier, against scikit-learn's and against cases that can be counted by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import (
    average_precision_score,
    precision_recall_fscore_support,
    roc_auc_score,
    roc_curve,
)

from inglenook.vision import metrics

CLASSES = 4


@st.composite
def answers(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """True classes and logits of up to 40 pictures, with ties among them."""
    count = draw(st.integers(1, 40))
    truth = np.array(draw(st.lists(st.integers(0, CLASSES - 1), min_size=count, max_size=count)))
    rows = st.lists(st.integers(-3, 3), min_size=CLASSES, max_size=CLASSES)
    logits = np.array(draw(st.lists(rows, min_size=count, max_size=count)), float)
    return truth, logits


def test_accuracy_is_accuracy_and_macro_recall_is_macro_recall() -> None:
    matrix = np.array([[18, 0], [6, 0]])
    assert metrics.accuracy(matrix) == 0.75
    assert metrics.macro(metrics.per_class(matrix)).recall == 0.5


def test_a_class_that_was_never_predicted_has_no_precision_and_counts_as_0_in_the_mean() -> None:
    scores = metrics.per_class(np.array([[2, 0], [2, 0]]))
    assert math.isnan(scores[1].precision)
    assert scores[1].f1 == 0.0
    assert metrics.macro(scores).precision == 0.25


def test_a_class_that_is_neither_there_nor_predicted_does_not_count_in_the_means() -> None:
    scores = metrics.per_class(np.array([[3, 0, 0], [0, 3, 0], [0, 0, 0]]))
    assert metrics.macro(scores) == metrics.Averages(1.0, 1.0, 1.0)
    assert math.isnan(scores[2].recall)


def test_rows_are_true_classes() -> None:
    matrix = metrics.confusion(np.array([0, 0, 1]), np.array([1, 0, 1]), 2)
    assert matrix.tolist() == [[1, 1], [0, 1]]


def test_numbers_outside_the_classes_and_rows_of_other_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must lie in \[0, 2\)"):
        metrics.confusion(np.array([0]), np.array([2]), 2)
    with pytest.raises(ValueError, match="two equal rows"):
        metrics.confusion(np.array([0, 1]), np.array([1]), 2)


def test_no_pictures_give_no_figures() -> None:
    none = np.zeros(0, int)
    assert metrics.confusion(none, none, 2).tolist() == [[0, 0], [0, 0]]
    assert math.isnan(metrics.accuracy(np.zeros((2, 2), int)))
    assert math.isnan(metrics.top_k_accuracy(none, np.zeros((0, 2)), 1))
    assert math.isnan(metrics.calibration(none, np.zeros((0, 2))).ece)
    assert math.isnan(metrics.wilson(0, 0).value)
    assert metrics.temperature(none, np.zeros((0, 2))) == 1.0


@given(answers())
def test_means_over_classes_are_those_of_scikit_learn(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    truth, logits = drawn
    predicted = logits.argmax(axis=1)
    scores = metrics.per_class(metrics.confusion(truth, predicted, CLASSES))
    known = sorted(set(truth.tolist()) | set(predicted.tolist()))
    for kind, ours in (("macro", metrics.macro(scores)), ("weighted", metrics.weighted(scores))):
        theirs = precision_recall_fscore_support(
            truth, predicted, labels=known, average=kind, zero_division=0
        )
        assert (ours.precision, ours.recall, ours.f1) == pytest.approx(theirs[:3])


@given(answers())
def test_curves_are_those_of_scikit_learn(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    truth, logits = drawn
    positive, score = truth == 0, metrics.softmax(logits)[:, 0]
    ours = metrics.roc(positive, score)
    if not 0 < positive.sum() < len(positive):
        assert math.isnan(ours.area)
        return
    assert ours.area == pytest.approx(roc_auc_score(positive, score))
    false, true, thresholds = roc_curve(positive, score, drop_intermediate=False)
    assert ours.x == pytest.approx(false)
    assert ours.y == pytest.approx(true)
    assert ours.thresholds == pytest.approx(thresholds)
    precision = metrics.precision_recall(positive, score)
    assert precision.area == pytest.approx(average_precision_score(positive, score))
    assert precision.x[-1] == 1.0


@given(answers(), st.integers(1, CLASSES))
def test_the_class_is_among_the_k_best_or_not(drawn: tuple[np.ndarray, np.ndarray], k: int) -> None:
    truth, logits = drawn
    found = sum(
        int(true in sorted(range(CLASSES), key=lambda c: (-row[c], c))[:k])
        for true, row in zip(truth, logits, strict=True)
    )
    assert metrics.top_k_accuracy(truth, metrics.softmax(logits), k) == pytest.approx(found / len(truth))


def test_a_model_that_is_as_often_right_as_it_is_sure_has_no_calibration_error() -> None:
    probabilities = np.tile([0.75, 0.25], (8, 1))
    truth = np.array([0] * 6 + [1] * 2)
    assert metrics.calibration(truth, probabilities, bins=4).ece == pytest.approx(0.0)
    boastful = metrics.calibration(truth, np.tile([1.0, 0.0], (8, 1)), bins=4)
    assert boastful.ece == pytest.approx(0.25)
    assert [bar.count for bar in boastful.bins] == [0, 0, 0, 8]
    assert boastful.bins[-1].accuracy == 0.75


def test_logits_that_were_made_too_sharp_by_some_factor_get_that_factor_as_temperature() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(4000, 3)) * 2
    truth = np.array([random.choice(3, p=row) for row in metrics.softmax(logits)])
    assert metrics.temperature(truth, logits) == pytest.approx(1.0, rel=0.1)
    assert metrics.temperature(truth, logits * 5) == pytest.approx(5.0, rel=0.1)


def test_an_interval_holds_its_share_and_is_never_outside_0_and_1() -> None:
    # Wilson's interval for 9 of 10, as in Newcombe, Statistics in Medicine 17 (1998)
    nine = metrics.wilson(9, 10)
    assert (nine.value, nine.low, nine.high) == pytest.approx((0.9, 0.5958, 0.9821), abs=1e-3)
    assert metrics.wilson(10, 10).high == pytest.approx(1.0)
    assert metrics.wilson(10, 10).high <= 1.0
    assert metrics.wilson(0, 10).low == 0.0
    assert metrics.wilson(0, 10).high > 0.2


def test_two_models_are_compared_on_the_pictures_on_which_they_differ() -> None:
    first = np.array([True] * 14 + [False] * 6)
    second = np.array([True] * 4 + [False] * 10 + [True] * 2 + [False] * 4)
    compared = metrics.compare(first, second)
    assert (compared.both, compared.only_first, compared.only_second, compared.neither) == (4, 10, 2, 4)
    assert compared.difference.value == pytest.approx(0.4)
    # binomial: 2 * (C(12,0) + C(12,1) + C(12,2)) / 2**12
    assert compared.p_value == pytest.approx(2 * (1 + 12 + 66) / 4096)


def test_models_that_never_differ_are_not_told_apart() -> None:
    same = np.array([True, False, True])
    assert metrics.compare(same, same).p_value == 1.0
    with pytest.raises(ValueError, match="the same pictures"):
        metrics.compare(same, same[:2])


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_binomial_test(first: int, second: int) -> None:
    expected = binomtest(first, first + second).pvalue if first + second else 1.0
    assert metrics.mcnemar(first, second) == pytest.approx(expected)
