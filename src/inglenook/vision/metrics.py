# SPDX-License-Identifier: Apache-2.0
"""What a classifier's predictions are worth: counts, rates, curves, calibration, and how sure each figure
is.

Everywhere: `truth` int [N], the true classes' numbers; `probabilities` float [N, C], rows that sum to 1;
`predicted` int [N]. A figure that is not defined (precision of a class that was never predicted) is NaN,
and never silently 0; means over classes leave such classes out only where it is said.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer]
Floats = NDArray[np.floating]

Z_95: Final = 1.959963984540054
"""The 97.5 % point of the normal distribution: two-sided 95 % intervals."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ClassScore:
    """Of one class. `support`: how many pictures are of it; rates in [0, 1], NaN where they are not
    defined.
    """

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class Averages:
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of a curve, in the order of falling `thresholds`; `area` below it."""

    x: Floats
    y: Floats
    thresholds: Floats
    area: float


@dataclass(frozen=True, slots=True)
class Bin:
    """One bar of a reliability diagram: predictions with a confidence in (low, high]."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """`ece`: expected calibration error, in [0, 1]; `bins` of the same width."""

    ece: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the same pictures.

    Attributes:
        only_first, only_second: pictures that only one of them has right.
        difference: accuracy of the first less that of the second, with its interval.
        p_value: of McNemar's exact test: how likely so uneven a split is if both are equally good.
    """

    both: int
    only_first: int
    only_second: int
    neither: int
    difference: Interval
    p_value: float


def confusion(truth: Ints, predicted: Ints, classes: int) -> NDArray[np.int64]:
    """Counts [C, C]: rows are true classes, columns predicted ones.

    Raises ValueError if a number is not in [0, classes) or the lengths differ.
    """
    if truth.shape != predicted.shape or truth.ndim != 1:
        raise ValueError(
            f"truth has the shape {truth.shape}, predicted {predicted.shape}: two equal rows are needed"
        )
    both = np.concatenate([truth, predicted]) if len(truth) else np.zeros(0, int)
    if len(both) and (both.min() < 0 or both.max() >= classes):
        raise ValueError(
            f"class numbers go from {both.min()} to {both.max()}: they must lie in [0, {classes})"
        )
    flat = np.bincount(
        truth.astype(np.int64) * classes + predicted.astype(np.int64), minlength=classes * classes
    )
    return flat.reshape(classes, classes).astype(np.int64)


def accuracy(matrix: NDArray[np.int64]) -> float:
    """The share of pictures that are right; NaN for no pictures."""
    whole = matrix.sum()
    return float(np.trace(matrix) / whole) if whole else math.nan


def per_class(matrix: NDArray[np.int64]) -> tuple[ClassScore, ...]:
    """Of each class. F1 is 0 where a class has pictures or predictions and none of them is right."""
    right = np.diag(matrix).astype(float)
    said, are = matrix.sum(axis=0), matrix.sum(axis=1)
    return tuple(
        ClassScore(
            precision=_share(right[number], said[number]),
            recall=_share(right[number], are[number]),
            f1=_share(2 * right[number], said[number] + are[number]),
            support=int(are[number]),
        )
        for number in range(len(matrix))
    )


def macro(scores: Sequence[ClassScore]) -> Averages:
    """The plain mean over classes that have pictures or were predicted; what is not defined counts as 0.

    So do torchmetrics (`average="macro"`) and scikit-learn (`zero_division=0`), and so does training.
    """
    known = [score for score in scores if score.support or not math.isnan(score.precision)]
    return _mean(known, [1.0] * len(known))


def weighted(scores: Sequence[ClassScore]) -> Averages:
    """The mean over classes, weighted by how many pictures each has."""
    known = [score for score in scores if score.support]
    return _mean(known, [float(score.support) for score in known])


def top_k_accuracy(truth: Ints, probabilities: Floats, k: int) -> float:
    """The share of pictures whose class is among the `k` most likely ones. Ties go to the lower number, as
    `argmax` has it. NaN for no pictures."""
    if not len(truth):
        return math.nan
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float(np.mean(np.any(best == truth[:, None], axis=1)))


def wilson(right: int, whole: int) -> Interval:
    """A share with Wilson's score interval (E. B. Wilson, 1927), which holds for small numbers and for
    shares of 0 and 1. NaN for `whole` 0.
    """
    if not whole:
        return Interval(math.nan, math.nan, math.nan)
    share, z2 = right / whole, Z_95**2
    middle = (share + z2 / (2 * whole)) / (1 + z2 / whole)
    half = Z_95 / (1 + z2 / whole) * math.sqrt(share * (1 - share) / whole + z2 / (4 * whole**2))
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))


def roc(positive: NDArray[np.bool_], score: Floats) -> Curve:
    """Receiver operating characteristic: x false positive rate, y true positive rate; area by trapezoids.

    The first point is (0, 0), at a threshold of infinity. Everything is NaN where one side is empty.
    """
    hits, alarms, thresholds = _counts(positive, score)
    y = np.concatenate([[0.0], hits]) / (positive.sum() or math.nan)
    x = np.concatenate([[0.0], alarms]) / ((~positive).sum() or math.nan)
    return Curve(x, y, np.concatenate([[math.inf], thresholds]), float(np.trapezoid(y, x)))


def precision_recall(positive: NDArray[np.bool_], score: Floats) -> Curve:
    """x recall, y precision; the area is average precision: the sum of precision times the step in recall,
    which does not draw lines between points (it would be too kind). NaN where nothing is positive.
    """
    hits, alarms, thresholds = _counts(positive, score)
    x = hits / (positive.sum() or math.nan)
    y = hits / (hits + alarms)
    steps = np.diff(np.concatenate([[0.0], x]))
    return Curve(x, y, thresholds, float(np.sum(steps * y)))


def calibration(truth: Ints, probabilities: Floats, bins: int = 15) -> Calibration:
    """Expected calibration error over bins of equal width (Guo et al., 2017): the mean distance between how
    sure the model is of its answer and how often it is right, weighted by the bin's share of the pictures.
    """
    confidence = probabilities.max(axis=1) if len(truth) else np.zeros(0)
    right = probabilities.argmax(axis=1) == truth if len(truth) else np.zeros(0, bool)
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    found, error = [], 0.0
    for number in range(bins):
        inside = place == number
        count = int(inside.sum())
        sure = float(confidence[inside].mean()) if count else math.nan
        good = float(right[inside].mean()) if count else math.nan
        error += count * abs(sure - good) / len(truth) if count else 0.0
        found.append(Bin(number / bins, (number + 1) / bins, count, sure, good))
    return Calibration(error if len(truth) else math.nan, tuple(found))


def temperature(truth: Ints, logits: Floats) -> float:
    """The number by which logits are divided so that the mean negative log-likelihood is least (temperature
    scaling, Guo et al., 2017). In [0.05, 20], by golden-section search over its logarithm, in which the
    loss has one minimum. 1 for no pictures.
    """
    if not len(truth):
        return 1.0
    low, high = math.log(0.05), math.log(20.0)
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = (negative_log_likelihood(truth, logits / math.exp(at)) for at in (left, right))
    while high - low > 1e-6:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = negative_log_likelihood(truth, logits / math.exp(left))
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = negative_log_likelihood(truth, logits / math.exp(right))
    return math.exp((low + high) / 2)


def softmax(logits: Floats) -> Floats:
    """Rows [N, C] to probabilities."""
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    whole: Floats = raised / raised.sum(axis=1, keepdims=True)
    return whole


def negative_log_likelihood(truth: Ints, logits: Floats) -> float:
    """Mean of -log p(true class), in nats."""
    highest = logits.max(axis=1)
    whole = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))
    return float(np.mean(whole - logits[np.arange(len(truth)), truth]))


def compare(first_right: NDArray[np.bool_], second_right: NDArray[np.bool_]) -> Comparison:
    """Two models on the same pictures, in the same order. The interval of the difference is that of paired
    shares (Wald, for matched pairs). Raises ValueError if the lengths differ.
    """
    if first_right.shape != second_right.shape:
        raise ValueError(f"{len(first_right)} and {len(second_right)} answers: the same pictures are needed")
    whole = len(first_right)
    only_first = int(np.sum(first_right & ~second_right))
    only_second = int(np.sum(~first_right & second_right))
    both = int(np.sum(first_right & second_right))
    difference = Interval(math.nan, math.nan, math.nan)
    if whole:
        value = (only_first - only_second) / whole
        spread = (only_first + only_second) / whole - value**2
        half = Z_95 * math.sqrt(max(0.0, spread) / whole)
        difference = Interval(value, max(-1.0, value - half), min(1.0, value + half))
    return Comparison(
        both=both,
        only_first=only_first,
        only_second=only_second,
        neither=whole - both - only_first - only_second,
        difference=difference,
        p_value=mcnemar(only_first, only_second),
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """McNemar's exact test, two-sided: the binomial chance, at one half, of a split of the discordant pairs
    that is at least so uneven. 1 where there are none.
    """
    whole, fewer = only_first + only_second, min(only_first, only_second)
    if not whole:
        return 1.0
    logs = [
        math.lgamma(whole + 1) - math.lgamma(k + 1) - math.lgamma(whole - k + 1) - whole * math.log(2)
        for k in range(fewer + 1)
    ]
    return min(1.0, 2.0 * math.fsum(math.exp(log) for log in logs))


def _counts(positive: NDArray[np.bool_], score: Floats) -> tuple[Floats, Floats, Floats]:
    """Cumulated hits and false alarms at each different score, from the highest."""
    order = np.argsort(-score, kind="stable")
    ranked, hit = score[order], positive[order].astype(float)
    last = np.flatnonzero(np.append(np.diff(ranked) != 0, True)) if len(ranked) else np.zeros(0, int)
    return np.cumsum(hit)[last], np.cumsum(1 - hit)[last], ranked[last]


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else math.nan


def _mean(scores: Sequence[ClassScore], weights: Sequence[float]) -> Averages:
    def mean(values: list[float]) -> float:
        whole = math.fsum(weights)
        return math.fsum(w * v for w, v in zip(weights, values, strict=True)) / whole if whole else math.nan

    return Averages(
        precision=mean([0.0 if math.isnan(score.precision) else score.precision for score in scores]),
        recall=mean([0.0 if math.isnan(score.recall) else score.recall for score in scores]),
        f1=mean([score.f1 for score in scores]),
    )
