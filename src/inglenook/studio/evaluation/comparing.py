# SPDX-License-Identifier: Apache-2.0
"""Two evaluations on the same pictures. Pure, NumPy only."""

import math
from typing import Any, Final

import numpy as np

from inglenook.studio.evaluation.errors import NothingShared
from inglenook.studio.evaluation.table import Table
from inglenook.vision import metrics

SIGNIFICANT: Final = 0.05
MOST_NAMED: Final = 200


def compared(first: Table, second: Table) -> dict[str, Any]:
    """Accuracies, who is right where the other is not, the difference with its 95 % interval, and McNemar's
    exact test. Pictures whose label differs between the two (it was corrected in between) are left out.

    Raises:
        NothingShared: they have looked at no picture in common.
    """
    places = {name: row for row, name in enumerate(second.ids)}
    pairs = [(row, places[name]) for row, name in enumerate(first.ids) if name in places]
    same = [(a, b) for a, b in pairs if first.classes[first.truth[a]] == second.classes[second.truth[b]]]
    if not same:
        raise NothingShared(
            "The two evaluations share no pictures: there is nothing to compare.",
            hint="evaluate both on the same parts of the same split",
        )
    rows_a, rows_b = np.array([a for a, _ in same]), np.array([b for _, b in same])
    right_a, right_b = _right(first)[rows_a], _right(second)[rows_b]
    found = metrics.compare(right_a, right_b)
    named = np.array([first.filenames[row] for row in rows_a])
    learned_a = sum(first.subsets[row] == "train" for row in rows_a)
    learned_b = sum(second.subsets[row] == "train" for row in rows_b)
    return {
        "pictures": len(same),
        "left_out": {
            "only_first": len(first) - len(pairs),
            "only_second": len(second) - len(pairs),
            "labels_differ": len(pairs) - len(same),
        },
        "learned_from": {"first": int(learned_a), "second": int(learned_b)},
        "accuracy": {"first": float(right_a.mean()), "second": float(right_b.mean())},
        "both_right": found.both,
        "only_first_right": found.only_first,
        "only_second_right": found.only_second,
        "both_wrong": found.neither,
        "difference": {
            name: value if math.isfinite(value) else None
            for name, value in (
                ("value", found.difference.value),
                ("low", found.difference.low),
                ("high", found.difference.high),
            )
        },
        "test": "McNemar, exact, two-sided",
        "p_value": found.p_value,
        "significant": found.p_value < SIGNIFICANT,
        "only_first_right_pictures": named[right_a & ~right_b][:MOST_NAMED].tolist(),
        "only_second_right_pictures": named[~right_a & right_b][:MOST_NAMED].tolist(),
    }


def _right(table: Table) -> np.ndarray:
    """bool [N]."""
    found: np.ndarray = table.probabilities.argmax(axis=1) == table.truth
    return found
