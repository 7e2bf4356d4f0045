# SPDX-License-Identifier: Apache-2.0
"""From logits to the figures of an evaluation. Pure, NumPy only."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from inglenook.studio.evaluation.model import (
    Aggregate,
    Averages,
    ClassFigures,
    CurvePoints,
    Estimate,
    Reliability,
    ReliabilityBin,
)
from inglenook.vision import metrics
from inglenook.vision.metrics import Curve, Floats, Interval, Ints

CURVE_POINTS: Final = 200
ALL_POINTS: Final = 40_000
"""Of all curves of one kind together: with a thousand classes the document stays one that can be read."""
LEAST_POINTS: Final = 20
TOP_K: Final = (1, 3, 5)


def aggregate(classes: Sequence[str], truth: Ints, logits: Floats, subsets: Sequence[str]) -> Aggregate:
    """All figures of the pictures with finite logits.

    Args:
        truth: int [N], numbers of `classes`.
        logits: float [N, C].
        subsets: `train`, `val` or `test` of each picture.
    """
    seen = np.isfinite(logits).all(axis=1) if len(logits) else np.zeros(0, bool)
    truth, logits = truth[seen], logits[seen].astype(np.float64)
    parts = np.asarray(list(subsets), dtype="<U8")[seen]
    probabilities = metrics.softmax(logits) if len(logits) else logits
    predicted = probabilities.argmax(axis=1) if len(logits) else np.zeros(0, int)
    matrix = metrics.confusion(truth, predicted, len(classes))
    scores = metrics.per_class(matrix)
    macro, weighted = metrics.macro(scores), metrics.weighted(scores)
    rocs = [metrics.roc(truth == number, probabilities[:, number]) for number in range(len(classes))]
    recalls = [
        metrics.precision_recall(truth == number, probabilities[:, number]) for number in range(len(classes))
    ]
    right = int(np.trace(matrix))
    most = max(LEAST_POINTS, min(CURVE_POINTS, ALL_POINTS // max(1, len(classes))))
    return Aggregate(
        count=len(truth),
        classes=tuple(classes),
        accuracy=_finite(metrics.accuracy(matrix)),
        accuracy_interval=_estimate(metrics.wilson(right, len(truth))),
        precision_macro=_finite(macro.precision),
        recall_macro=_finite(macro.recall),
        f1_macro=_finite(macro.f1),
        weighted=Averages(
            precision=_finite(weighted.precision), recall=_finite(weighted.recall), f1=_finite(weighted.f1)
        ),
        top_k={
            str(k): _finite(metrics.top_k_accuracy(truth, probabilities, k))
            for k in TOP_K
            if k == 1 or k < len(classes)
        },
        loss=_finite(metrics.negative_log_likelihood(truth, logits)) if len(truth) else None,
        confusion_matrix=tuple(tuple(int(count) for count in row) for row in matrix),
        per_class={
            name: _class_figures(matrix, number, scores[number], rocs[number], recalls[number])
            for number, name in enumerate(classes)
        },
        roc_auc_macro=_mean([curve.area for curve in rocs]),
        roc={name: _points(curve, most) for name, curve in zip(classes, rocs, strict=True)},
        precision_recall={name: _points(curve, most) for name, curve in zip(classes, recalls, strict=True)},
        calibration=_reliability(truth, logits, parts),
        subsets={part: int(np.sum(parts == part)) for part in ("train", "val", "test") if part in parts},
    )


def _class_figures(
    matrix: np.ndarray, number: int, score: metrics.ClassScore, roc: Curve, recall: Curve
) -> ClassFigures:
    right = int(matrix[number, number])
    return ClassFigures(
        precision=_finite(score.precision),
        recall=_finite(score.recall),
        f1=_finite(score.f1),
        support=score.support,
        precision_interval=_estimate(metrics.wilson(right, int(matrix[:, number].sum()))),
        recall_interval=_estimate(metrics.wilson(right, int(matrix[number].sum()))),
        roc_auc=_finite(roc.area),
        average_precision=_finite(recall.area),
    )


def _reliability(truth: Ints, logits: Floats, parts: np.ndarray) -> Reliability:
    """The temperature is fitted on `val` where it is there and something else is too, so that `ece_scaled` is
    measured on pictures that it was not fitted on; else on all."""
    if not len(truth):
        return Reliability(ece=None, bins=())
    found = metrics.calibration(truth, metrics.softmax(logits))
    held_out = (parts == "val") if 0 < np.sum(parts == "val") < len(parts) else np.ones(len(parts), bool)
    rest = ~held_out if not held_out.all() else held_out
    temperature = metrics.temperature(truth[held_out], logits[held_out])
    scaled = metrics.calibration(truth[rest], metrics.softmax(logits[rest] / temperature))
    return Reliability(
        ece=_finite(found.ece),
        bins=tuple(
            ReliabilityBin(
                low=bar.low,
                high=bar.high,
                count=bar.count,
                confidence=_finite(bar.confidence),
                accuracy=_finite(bar.accuracy),
            )
            for bar in found.bins
        ),
        temperature=temperature,
        fitted_on="val" if not held_out.all() else "all",
        ece_scaled=_finite(scaled.ece),
    )


def _points(curve: Curve, most: int) -> CurvePoints:
    """At most `most`: thinned evenly by its length, the first and the last point kept. Empty where it is not
    defined."""
    known = np.isfinite(curve.x) & np.isfinite(curve.y)
    if not known.all() or not len(curve.x):
        return CurvePoints(x=(), y=(), threshold=())
    chosen = np.unique(np.linspace(0, len(curve.x) - 1, min(most, len(curve.x))).round().astype(int))
    return CurvePoints(
        x=tuple(float(value) for value in curve.x[chosen]),
        y=tuple(float(value) for value in curve.y[chosen]),
        threshold=tuple(_finite(float(value)) for value in curve.thresholds[chosen]),
    )


def _estimate(interval: Interval) -> Estimate:
    return Estimate(value=_finite(interval.value), low=_finite(interval.low), high=_finite(interval.high))


def _mean(values: Sequence[float]) -> float | None:
    """Over those that are defined."""
    known = [value for value in values if math.isfinite(value)]
    return math.fsum(known) / len(known) if known else None


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
