# SPDX-License-Identifier: Apache-2.0
"""An experiment of AI Studio as one of ours, to be read: its configuration, its epochs, how it ended. Pure.

Two faults of its figures, seen on its runs, are put right, and it is said: its "accuracy" is the mean of the
classes' recalls; and the record of an epoch holds the loss of its own validation beside the other figures of
the epoch before, so that the last epoch's are lost.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from inglenook.studio.training import checking
from inglenook.studio.training.errors import BadSpec
from inglenook.studio.training.model import (
    MAX_DESCRIPTION,
    MAX_MESSAGE,
    MAX_TRACEBACK,
    EpochRecord,
    Experiment,
    Imported,
    Status,
    Why,
)
from inglenook.wire.studio.spec import TrainSpec

PROGRAM: Final = "AI Studio"
_ENDED: Final = {
    one.value: one for one in (Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.CREATED)
}
_OWN: Final = ("val_loss", "lr", "duration_s")
"""What a record holds of its own epoch also where the rest is of the one before."""
RENAMED: Final = "Its accuracy is the mean of the classes' recalls, and is called so here: recall_macro."
SHIFTED: Final = (
    "Its records hold training and validation figures one epoch late; here they stand at their own epoch,"
    " and those of the last one are lost."
)


@dataclass(slots=True)
class Read:
    """`notes`: what is otherwise than its documents say, and what could not be read."""

    spec: TrainSpec
    epochs: list[EpochRecord] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    shifted: bool = False


def read(fields: Mapping[str, Any], metrics: Any, defaults: TrainSpec) -> Read:
    """Args:
    fields: of its `experiment.json`. metrics: its `metrics.json`; None where there is none.
    defaults: for what it does not say.
    """
    found = Read(spec=defaults)
    _configure(found, fields)
    at = _text(fields.get("completed_at")) or _text(fields.get("started_at")) or ""
    records = metrics.get("epochs") if isinstance(metrics, Mapping) else None
    rows = [row for row in records if _is_row(row)] if isinstance(records, list) else []
    if isinstance(records, list) and len(rows) < len(records):
        found.notes.append(f"{len(records) - len(rows)} records of epochs could not be read.")
    values = {int(row["epoch"]): _values(row) for row in rows}
    found.shifted = _is_shifted(values)
    if found.shifted:
        values = _put_right(values)
        found.notes.append(SHIFTED)
    if any("recall_macro" in name for of in values.values() for name in of):
        found.notes.append(RENAMED)
    best = _best(fields, found.shifted)
    found.epochs = [_record(epoch, values[epoch], at, best) for epoch in sorted(values)]
    return found


def experiment_of(
    fields: Mapping[str, Any],
    found: Read,
    *,
    new_id: str,
    name: str,
    old_id: str,
    owner: str,
    task: str,
    now: str,
    split_id: str,
) -> Experiment:
    """The document: ended, whatever it was doing, unless it had never begun. Without checkpoints."""
    said = str(fields.get("status", "unknown"))[:80]
    status = _ENDED.get(said, Status.FAILED)
    last = found.epochs[-1] if found.epochs else None
    lasted = sum(one.values.get("duration_s", 0.0) for one in found.epochs)
    return Experiment(
        id=new_id,
        name=name,
        description=(_text(fields.get("description")) or "")[:MAX_DESCRIPTION] or None,
        created_at=_text(fields.get("created_at")) or now,
        status=status,
        started_at=_text(fields.get("started_at")),
        completed_at=_text(fields.get("completed_at")),
        split_name=_text(fields.get("split_name")) or "",
        split_id=split_id,
        model=found.spec.model,
        hyperparameters=found.spec.hyperparameters,
        augmentations=found.spec.augmentations,
        hardware=found.spec.hardware,
        best_epoch=_best(fields, found.shifted),
        best_metric=_finite(fields.get("best_metric")),
        final_metrics=_finite(fields.get("final_metrics")),
        error=_error(fields.get("error"), said) if status is Status.FAILED else None,
        task=task,
        owner=owner,
        epoch=0 if last is None else last.epoch,
        seconds=round(lasted, 3),
        imported=Imported(program=PROGRAM, id=old_id, status=said, notes=tuple(found.notes)),
    )


# -- configuration -------------------------------------------------------------------------------------------


def _configure(found: Read, fields: Mapping[str, Any]) -> None:
    """Field by field: what cannot be accepted is named, and the task's own value stands there."""
    for part in checking.PARTS:
        given = fields.get(part)
        for name, value in given.items() if isinstance(given, Mapping) else ():
            try:
                found.spec = checking.merged(found.spec, {part: {name: value}})
            except BadSpec:
                found.notes.append(
                    f"Its {part}.{str(name)[:60]} ({value!r:.60}) is nothing that is known here."
                )


# -- figures -------------------------------------------------------------------------------------------------


def _is_row(row: Any) -> bool:
    epoch = row.get("epoch") if isinstance(row, Mapping) else None
    return isinstance(epoch, int) and not isinstance(epoch, bool) and epoch >= 1


def _values(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a record by our names; not finite ones are among them."""
    found = {
        _named(name): float(value)
        for name, value in row.items()
        if name != "epoch" and isinstance(value, int | float) and not isinstance(value, bool)
    }
    rates = [name for name in found if name.startswith("lr-")]
    for name in rates:
        found.setdefault("lr", found.pop(name))
    return {name: value for name, value in found.items() if not name.startswith("lr-")}


def _named(name: str) -> str:
    return (
        f"{name.removesuffix('accuracy')}recall_macro" if name in ("train_accuracy", "val_accuracy") else name
    )


def _is_shifted(values: Mapping[int, Mapping[str, float]]) -> bool:
    """Whether the first record holds nothing of a training, and a later one does."""
    first = values.get(1)
    if first is None or any(name.startswith("train_") for name in first):
        return False
    return any(name.startswith("train_") for of in values.values() for name in of)


def _put_right(values: Mapping[int, Mapping[str, float]]) -> dict[int, dict[str, float]]:
    found: dict[int, dict[str, float]] = {}
    for epoch, of in values.items():
        for name, value in of.items():
            found.setdefault(epoch if name in _OWN else epoch - 1, {})[name] = value
    found.pop(0, None)
    return found


def _record(epoch: int, values: Mapping[str, float], at: str, best: int | None) -> EpochRecord:
    finite = {name: value for name, value in values.items() if math.isfinite(value)}
    missing = tuple(sorted(values.keys() - finite.keys()))
    return EpochRecord(epoch=epoch, at=at, values=finite, best=epoch == best, not_finite=missing)


def _best(fields: Mapping[str, Any], shifted: bool) -> int | None:
    best = fields.get("best_epoch")
    if not isinstance(best, int) or isinstance(best, bool):
        return None
    return best - 1 if shifted and best > 1 else best


def _finite(values: Any) -> dict[str, float] | None:
    if not isinstance(values, Mapping):
        return None
    kept = {
        _named(str(name)): float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
    return kept or None


def _error(said: Any, status: str) -> Why:
    if isinstance(said, Mapping) and _text(said.get("message")):
        trace = _text(said.get("traceback"))
        return Why(
            type=str(said.get("type") or "unknown")[:200],
            message=str(said["message"])[:MAX_MESSAGE],
            traceback=None if trace is None else trace[-MAX_TRACEBACK:],
        )
    if status == Status.FAILED:
        return Why(type="unknown", message="It failed; its document does not say why.")
    return Why(
        type="imported",
        message=f"It was {status} when it was copied, and never ended.",
        hint="duplicate it, and train the copy",
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def kept_notes(files: Sequence[str]) -> list[str]:
    """What became of its checkpoints."""
    if not files:
        return []
    return [
        f"Its checkpoints ({', '.join(files)}) lie below ai-studio in the project, and are loaded by nothing."
    ]


def with_notes(found: Experiment, notes: Sequence[str]) -> Experiment:
    assert found.imported is not None
    said = (*found.imported.notes, *notes)
    return msgspec.structs.replace(found, imported=msgspec.structs.replace(found.imported, notes=said))
