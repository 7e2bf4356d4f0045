# SPDX-License-Identifier: Apache-2.0
"""The per-picture table of an evaluation: sorted, filtered, paged over arrays. Pure, NumPy only."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inglenook.base.errors import Invalid
from inglenook.studio.evaluation.model import Result, ResultQuery
from inglenook.vision import metrics
from inglenook.vision.metrics import Floats, Ints


@dataclass(frozen=True, slots=True)
class Table:
    """Every picture that was looked at. `rows` of all arrays belong together.

    Attributes:
        truth: int [N]. logits: float [N, C], finite.
    """

    classes: tuple[str, ...]
    ids: tuple[str, ...]
    filenames: tuple[str, ...]
    subsets: tuple[str, ...]
    truth: Ints
    logits: Floats

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, query: ResultQuery) -> np.ndarray:
        """Numbers of the rows that are asked for, in the order asked for.

        Raises Invalid for a class that is not there.
        """
        probabilities = self.probabilities
        predicted = probabilities.argmax(axis=1) if len(self) else np.zeros(0, int)
        wanted = np.ones(len(self), bool)
        if query.filter_correct is not None:
            wanted &= (predicted == self.truth) == query.filter_correct
        if query.filter_class is not None:
            wanted &= self.truth == self._number(query.filter_class)
        if query.filter_predicted is not None:
            wanted &= predicted == self._number(query.filter_predicted)
        if query.filter_subset is not None:
            wanted &= np.array([subset == query.filter_subset for subset in self.subsets], bool)
        if query.search:
            sought = query.search.casefold()
            wanted &= np.array([sought in name.casefold() for name in self.filenames], bool)
        rows = np.flatnonzero(wanted)
        return self._sorted(rows, query, probabilities, predicted)

    @property
    def probabilities(self) -> Floats:
        return metrics.softmax(self.logits) if len(self) else np.zeros((0, len(self.classes)))

    def result(self, row: int) -> Result:
        shares = metrics.softmax(self.logits[row : row + 1])[0]
        truth, predicted = int(self.truth[row]), int(shares.argmax())
        return Result(
            id=self.ids[row],
            filename=self.filenames[row],
            subset=self.subsets[row],  # type: ignore[arg-type]  # what the manifest holds
            ground_truth={"class_id": truth, "class_name": self.classes[truth]},
            prediction={
                "class_id": predicted,
                "class_name": self.classes[predicted],
                "confidence": float(shares[predicted]),
            },
            correct=predicted == truth,
            loss=metrics.negative_log_likelihood(self.truth[row : row + 1], self.logits[row : row + 1]),
            probabilities={name: float(share) for name, share in zip(self.classes, shares, strict=True)},
        )

    def losses(self) -> Floats:
        """float [N], -log of each true class's probability."""
        highest = self.logits.max(axis=1)
        whole = highest + np.log(np.exp(self.logits - highest[:, None]).sum(axis=1))
        found: Floats = whole - self.logits[np.arange(len(self)), self.truth]
        return found

    def _sorted(
        self, rows: np.ndarray, query: ResultQuery, probabilities: Floats, predicted: Ints
    ) -> np.ndarray:
        """Ties by filename, which also rises when the order falls."""
        names = np.array([self.filenames[row].casefold() for row in rows])
        rows = rows[np.argsort(names, kind="stable")] if len(rows) else rows
        if query.sort_by == "filename":
            return rows[::-1] if query.sort_order == "desc" else rows
        key = self._key(query, probabilities, predicted)[rows]
        return rows[np.argsort(-key if query.sort_order == "desc" else key, kind="stable")]

    def _key(self, query: ResultQuery, probabilities: Floats, predicted: Ints) -> Floats:
        confidence: Floats = probabilities.max(axis=1)
        if query.sort_by == "confidence":
            return confidence
        if query.sort_by == "loss":
            return self.losses()
        wrong: Floats = np.where(predicted == self.truth, 1.0 - confidence, 1.0 + confidence)
        return wrong

    def _number(self, name: str) -> int:
        for number, known in enumerate(self.classes):
            if known.casefold() == name.casefold():
                return number
        raise Invalid(
            f"There is no class {name[:80]!r} in this evaluation.",
            code="evaluation.unknown_class",
            hint=f"there are {_listed(self.classes)}",
        )


def _listed(names: Sequence[str], most: int = 10) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
