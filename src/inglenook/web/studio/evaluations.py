# SPDX-License-Identifier: Apache-2.0
"""Evaluations as their page shows them. Everything here blocks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from inglenook.base.ids import PersonId
from inglenook.studio.evaluation.errors import EvaluationNotFound
from inglenook.studio.evaluation.model import Aggregate, Estimate, EvaluationRecord
from inglenook.studio.evaluation.views import FILES
from inglenook.studio.studio import WorkingStudio
from inglenook.web.studio.training import Fact, device_choices, line_of, seconds_words

STATUS_WORDS: Final = {
    "pending": "waiting",
    "running": "running",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "stopped",
}
SUBSETS: Final = (("test", "test"), ("val", "validation"), ("train", "training"))
LEVELS: Final = 5
"""Steps of the colour of a cell of the confusion matrix."""


@dataclass(frozen=True, slots=True)
class Tile:
    """`fine`: its interval, or what else should be known."""

    label: str
    value: str
    fine: str


@dataclass(frozen=True, slots=True)
class Cell:
    """`share`: of its row, in words. `level`: 0 to `LEVELS`, how full its row is here."""

    truth: str
    answer: str
    count: int
    share: str
    level: int
    right: bool


def list_of(studio: WorkingStudio, person: PersonId, project_id: str) -> dict[str, Any]:
    """The experiments that have a checkpoint to evaluate, the newest first."""
    lines = []
    for one in reversed(studio.experiments.list(person, project_id)):
        if one.epoch and not one.imported:
            line = line_of(one, project_id)
            lines.append((line, f"/projects/{project_id}/evaluation?experiment_id={one.id}"))
    return {"lines": lines}


def chosen_of(
    studio: WorkingStudio, person: PersonId, project_id: str, experiment_id: str, evaluation: str | None
) -> dict[str, Any]:
    """The context of one experiment with one of its evaluations, by default the newest.

    Raises ProjectNotFound, ExperimentNotFound, EvaluationNotFound (a named one), CorruptDocument.
    """
    experiment = studio.experiments.get(person, project_id, experiment_id)
    return {
        "experiment": experiment,
        "api": f"/api/evaluation/{project_id}/{experiment_id}",
        "checkpoints": list(studio.evaluations.checkpoints(person, project_id, experiment_id)),
        "subsets": SUBSETS,
        "devices": device_choices(studio.runs.devices),
        "report": report_of(studio, person, project_id, experiment_id, evaluation),
        "others": _others(studio, person, project_id, experiment_id),
    }


def _others(
    studio: WorkingStudio, person: PersonId, project_id: str, experiment_id: str
) -> list[tuple[str, str]]:
    """What an evaluation can be compared with: the newest completed one of each other experiment, and the
    other ones of this."""
    found = []
    for line in reversed(studio.experiments.list(person, project_id)):
        for record in reversed(studio.evaluations.all(person, project_id, line.id)):
            if record.status == "completed":
                words = f"{line.name}: {record.checkpoint}, {'+'.join(record.split_subsets)}"
                found.append((f"{line.id}/{record.id}", words))
                if line.id != experiment_id:
                    break
    return found


def report_of(
    studio: WorkingStudio, person: PersonId, project_id: str, experiment_id: str, evaluation: str | None
) -> dict[str, Any]:
    """The context of `evaluation_report.html`. Raises as `chosen_of`."""
    project = studio.projects.require(person, project_id, write=False)
    context: dict[str, Any] = {
        "api": f"/api/evaluation/{project_id}/{experiment_id}",
        "page": f"/projects/{project_id}/evaluation?experiment_id={experiment_id}",
        "project_id": project_id,
        "may_write": project.may(person, write=True),
        "files": tuple(FILES),
        "one": None,
    }
    try:
        record, figures = studio.evaluations.get(person, project_id, experiment_id, evaluation)
    except EvaluationNotFound:
        if evaluation is not None:
            raise
        return context
    all_of = studio.evaluations.all(person, project_id, experiment_id)
    return {
        **context,
        "one": record,
        "id": record.id,
        "words": STATUS_WORDS[record.status],
        "earlier": [(it.id, _name(it)) for it in reversed(all_of)],
        "facts": _facts(record),
        **({"tiles": (), "matrix": (), "classes": (), "rows": ()} if figures is None else _figures(figures)),
    }


def _name(one: EvaluationRecord) -> str:
    when = one.created_at[:16].replace("T", " ")
    return f"{one.checkpoint}, {' + '.join(one.split_subsets)}, {when} UTC ({STATUS_WORDS[one.status]})"


def _facts(one: EvaluationRecord) -> list[Fact]:
    epoch = "" if one.checkpoint_epoch is None else f", epoch {one.checkpoint_epoch}"
    facts = [
        Fact("Checkpoint", f"{one.checkpoint}{epoch}"),
        Fact("Parts", ", ".join(one.split_subsets)),
        Fact("Data", f"version {one.dataset_version}, split {one.split_name}"),
    ]
    if one.used_device:
        facts.append(Fact("Device", one.used_device))
    if one.seconds is not None:
        facts.append(Fact("Took", seconds_words(one.seconds)))
    left_out = [f"{number} {why}" for why, number in one.left_out.items() if number]
    if one.unreadable:
        left_out.append(f"{one.unreadable} unreadable")
    if left_out:
        facts.append(Fact("Pictures left out", ", ".join(left_out)))
    return facts


def _figures(found: Aggregate) -> dict[str, Any]:
    return {
        "tiles": _tiles(found),
        "classes": found.classes,
        "matrix": matrix_of(found.classes, found.confusion_matrix),
        "rows": [
            {
                "name": name,
                "support": one.support,
                "precision": percent(one.precision),
                "precision_range": interval(one.precision_interval),
                "recall": percent(one.recall),
                "recall_range": interval(one.recall_interval),
                "f1": number(one.f1),
                "roc_auc": number(one.roc_auc),
                "average_precision": number(one.average_precision),
            }
            for name, one in found.per_class.items()
        ],
    }


def _tiles(found: Aggregate) -> list[Tile]:
    tiles = [
        Tile("Accuracy", percent(found.accuracy), interval(found.accuracy_interval)),
        Tile("F1", number(found.f1_macro), "mean of the classes"),
        Tile("Precision", percent(found.precision_macro), "mean of the classes"),
        Tile("Recall", percent(found.recall_macro), "mean of the classes"),
        Tile("ROC AUC", number(found.roc_auc_macro), "mean of the classes"),
        Tile("Loss", number(found.loss), "mean, in nats"),
    ]
    tiles += [
        Tile(f"Top {k}", percent(value), "the true class is among them")
        for k, value in found.top_k.items()
        if k != "1"
    ]
    ece = found.calibration.ece
    tiles.append(Tile("Calibration error", percent(ece), "of its confidence"))
    tiles.append(
        Tile("Pictures", str(found.count), ", ".join(f"{n} {part}" for part, n in found.subsets.items()))
    )
    return tiles


def matrix_of(classes: Sequence[str], matrix: Sequence[Sequence[int]]) -> list[tuple[str, list[Cell]]]:
    """A row for each true class."""
    rows = []
    for truth, counts in zip(classes, matrix, strict=True):
        whole = sum(counts)
        cells = [
            Cell(
                truth=truth,
                answer=answer,
                count=count,
                share="–" if whole == 0 else f"{count / whole:.0%}",
                level=0 if count == 0 else max(1, round(count / whole * LEVELS)),
                right=truth == answer,
            )
            for answer, count in zip(classes, counts, strict=True)
        ]
        rows.append((truth, cells))
    return rows


def percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def interval(one: Estimate) -> str:
    if one.low is None or one.high is None:
        return ""
    return f"{one.low:.1%} to {one.high:.1%} (95 %)"
