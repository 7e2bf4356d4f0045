# SPDX-License-Identifier: Apache-2.0
"""Results as CSV (RFC 4180, UTF-8). What is not defined is an empty cell. Pure."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from inglenook.studio.evaluation.model import Aggregate

if TYPE_CHECKING:
    from inglenook.studio.evaluation.table import Table


def _written(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


def results(table: "Table") -> bytes:
    """A line a picture, with the probability of every class."""
    header = ["id", "filename", "subset", "true_class", "predicted_class", "correct", "confidence", "loss"]
    header += [f"p_{name}" for name in table.classes]
    probabilities, losses = table.probabilities, table.losses() if len(table) else ()
    predicted = probabilities.argmax(axis=1)
    rows = (
        [
            *(table.ids[row], table.filenames[row], table.subsets[row]),
            *(table.classes[table.truth[row]], table.classes[predicted[row]]),
            int(predicted[row] == table.truth[row]),
            *(f"{probabilities[row, predicted[row]]:.6f}", f"{losses[row]:.6f}"),
            *(f"{share:.6f}" for share in probabilities[row]),
        ]
        for row in range(len(table))
    )
    return _written(header, rows)


def per_class(found: Aggregate) -> bytes:
    header = ["class", "precision", "recall", "f1", "support", "roc_auc", "average_precision"]
    header += ["precision_low", "precision_high", "recall_low", "recall_high"]
    rows = (
        [
            *(name, one.precision, one.recall, one.f1, one.support, one.roc_auc, one.average_precision),
            *(one.precision_interval.low, one.precision_interval.high),
            *(one.recall_interval.low, one.recall_interval.high),
        ]
        for name, one in found.per_class.items()
    )
    return _written(header, rows)


def confusion_matrix(found: Aggregate) -> bytes:
    """Counts; rows are true classes, columns predicted ones."""
    rows = ([name, *counts] for name, counts in zip(found.classes, found.confusion_matrix, strict=True))
    return _written(["true \\ predicted", *found.classes], rows)


def curves(found: Aggregate) -> bytes:
    """Points of both kinds of curves: `roc` x false positive rate, y true positive rate; `precision_recall`
    x recall, y precision."""
    rows = (
        [kind, name, x, y, threshold]
        for kind, some in (("roc", found.roc), ("precision_recall", found.precision_recall))
        for name, curve in some.items()
        for x, y, threshold in zip(curve.x, curve.y, curve.threshold, strict=True)
    )
    return _written(["curve", "class", "x", "y", "threshold"], rows)


def reliability(found: Aggregate) -> bytes:
    rows = ([one.low, one.high, one.count, one.confidence, one.accuracy] for one in found.calibration.bins)
    return _written(["confidence_above", "confidence_up_to", "pictures", "confidence", "accuracy"], rows)
