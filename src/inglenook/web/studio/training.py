# SPDX-License-Identifier: Apache-2.0
"""Experiments as their pages show them. Everything here blocks."""

import json
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from inglenook.base.ids import PersonId
from inglenook.base.units import format_bytes
from inglenook.runtime.contracts import Device
from inglenook.studio.errors import DatasetNotImported
from inglenook.studio.studio import WorkingStudio
from inglenook.studio.tasks.model import Metric, Task
from inglenook.studio.tasks.registry import require_task
from inglenook.studio.training.model import FINISHED, Experiment, Status, Summary
from inglenook.web.studio import spec_form, steps
from inglenook.wire.studio.spec import TrainSpec
from inglenook.wire.studio.weights import WeightsHere

STATUS_WORDS: Final = {
    Status.CREATED: "not started",
    Status.PENDING: "waiting",
    Status.TRAINING: "training",
    Status.COMPLETED: "completed",
    Status.FAILED: "failed",
    Status.CANCELLED: "stopped",
}
PRESETS: Final = (
    ("quick", "Quick", "a first look in minutes, also without a GPU"),
    ("balanced", "Balanced", "for most work"),
    ("best", "Best", "several times as long, and holds back over-fitting"),
)


@dataclass(frozen=True, slots=True)
class Line:
    """One experiment in the list. `metric`: of its best epoch, in words; empty before there is one.
    `imported`: it was another program's."""

    id: str
    name: str
    status: str
    words: str
    backbone: str
    split: str
    epochs: str
    metric: str
    place: str
    imported: bool = False


@dataclass(frozen=True, slots=True)
class Fact:
    label: str
    value: str


@dataclass(frozen=True, slots=True)
class StepLine:
    title: str
    name: str
    words: str


def list_of(studio: WorkingStudio, person: PersonId, project_id: str) -> dict[str, Any]:
    """The context of the list: the newest first."""
    found = studio.experiments.list(person, project_id)
    lines = [line_of(one, project_id) for one in reversed(found)]
    running = any(one.status in (Status.PENDING, Status.TRAINING) for one in found)
    return {"lines": lines, "running": running, "list_place": f"/api/training/{project_id}/experiments"}


def line_of(one: Summary, project_id: str) -> Line:
    best = one.best_metric_value
    return Line(
        id=one.id,
        name=one.name,
        status=one.status.value,
        words=STATUS_WORDS[one.status],
        backbone=one.backbone,
        split=one.split_name,
        epochs="" if one.status is Status.CREATED else f"epoch {one.epoch} of {one.max_epochs}",
        metric="" if best is None else f"{best:.3f}",
        place=f"/projects/{project_id}/training?experiment_id={one.id}",
        imported=one.imported,
    )


def split_names(studio: WorkingStudio, project_id: str) -> list[str]:
    try:
        studio.datasets.head(project_id)
    except DatasetNotImported:
        return []
    return list(studio.splits.names(project_id))


def has_pictures(studio: WorkingStudio, project_id: str) -> bool:
    try:
        return studio.datasets.head(project_id) is not None
    except DatasetNotImported:
        return False


def workspace_of(
    studio: WorkingStudio, person: PersonId, project_id: str, experiment_id: str, weights: WeightsHere
) -> dict[str, Any]:
    """The context of one experiment. Raises ProjectNotFound, ExperimentNotFound, CorruptDocument."""
    found = studio.experiments.get_with_last(person, project_id, experiment_id)
    project = studio.projects.require(person, project_id, write=False)
    task = require_task(found.task)
    devices = device_choices(studio.runs.devices)
    monitor = task.monitor if found.imported is None else _monitor_of(found, task)
    changeable = found.status is Status.CREATED and found.imported is None and project.may(person, write=True)
    return {
        "one": found,
        "status": found.status.value,
        "words": STATUS_WORDS[found.status],
        "may_write": project.may(person, write=True),
        "changeable": changeable,
        "own": found.imported is None,
        "finished": found.status in FINISHED,
        "resumable": found.status in (Status.FAILED, Status.CANCELLED) and "last" in found.checkpoints,
        "sections": spec_form.sections(found.spec, task, devices),
        "splits": split_names(studio, project_id),
        "presets": PRESETS,
        "weights_said": _weights_said(found.spec, weights) if changeable else "",
        "weights_json": json.dumps(
            {it.name: weights.outlook(it.name) for it in task.backbones if changeable}
        ),
        "steps": _steps_json(found.spec, task),
        "train_steps": _step_lines(found.spec, "train"),
        "val_steps": _step_lines(found.spec, "val"),
        "facts": facts_of(found),
        "notes": notes_of(found),
        "monitor": monitor.name,
        "monitor_title": monitor.title,
        "api": f"/api/training/{project_id}/experiments/{found.id}",
        "project_id": project_id,
        "classes_json": json.dumps([] if found.data is None else list(found.data.classes)),
        "effective": found.hyperparameters.batch_size * found.hyperparameters.batch_multiplier,
        "goes": goes(found),
    }


def notes_of(found: Experiment) -> tuple[str, ...]:
    """What a person should know of a run, or of where it came from."""
    own = () if found.built is None else found.built.notes
    return own if found.imported is None else (*found.imported.notes, *own)


def _monitor_of(found: Experiment, task: Task) -> Metric:
    """Another program's run may have been chosen by another metric: by the one of its best epoch."""
    names = [name.removeprefix("val_") for name in found.best_metric or ()]
    return next((one for one in task.metrics if one.name in names), task.monitor)


def _weights_said(spec: TrainSpec, weights: WeightsHere) -> str:
    return weights.outlook(spec.model.backbone)[spec_form.spelled(spec.model.pretrained)]


def _steps_json(spec: TrainSpec, task: Task) -> dict[str, str]:
    """For the script that builds the rows."""
    return {
        "declared": json.dumps(steps.declared(task.transforms)),
        "train": json.dumps(msgspec.to_builtins(spec.augmentations.train)),
        "val": json.dumps(msgspec.to_builtins(spec.augmentations.val)),
        "train_start": json.dumps(msgspec.to_builtins(task.defaults().augmentations.train)),
        "val_start": json.dumps(msgspec.to_builtins(task.defaults().augmentations.val)),
    }


def _step_lines(spec: TrainSpec, part: str) -> list[StepLine]:
    found = getattr(spec.augmentations, part)
    return [
        StepLine(steps.TITLES.get(it.name, it.name), it.name, steps.in_words(it.name, it.params))
        for it in found
    ]


def device_choices(devices: tuple[Device, ...]) -> tuple[tuple[str, str], ...]:
    """What `hardware.selected_devices` may hold here, with words."""
    choices = [("auto", "automatic")]
    for one in devices:
        if one.kind == "cpu":
            choices.append(("cpu", f"processor ({one.name})"))
        elif one.kind in ("cuda", "rocm"):
            choices.append((f"gpu:{one.index or 0}", f"{one.name} ({format_bytes(one.total_bytes)})"))
        elif one.kind == "mps":
            choices.append(("mps", one.name))
    return tuple(choices)


def facts_of(one: Experiment) -> list[Fact]:
    """What was really built, and of what it learns: the weights first, and said plainly."""
    facts = []
    if one.imported is not None:
        facts.append(Fact("Came from", f"{one.imported.program}, where it was {one.imported.id}"))
        facts.append(Fact("Its status there", one.imported.status))
    if one.built is not None:
        facts.append(Fact("First weights", _weights(one)))
        facts.append(Fact("Parameters", f"{one.built.parameters:,}, of which {one.built.trainable:,} learn"))
        facts.append(Fact("Device", f"{one.built.device}, precision {one.built.precision}"))
    if one.data is not None:
        counts = ", ".join(f"{number} {part}" for part, number in one.data.examples.items())
        facts.append(Fact("Pictures", f"{counts}; version {one.data.dataset_version} of the data"))
        left_out = ", ".join(f"{number} {why}" for why, number in one.data.left_out.items() if number)
        if left_out:
            facts.append(Fact("Left out", left_out))
    if one.best_epoch is not None:
        facts.append(Fact("Best epoch", str(one.best_epoch)))
    if one.seconds:
        facts.append(Fact("Trained for", seconds_words(one.seconds)))
    if one.peak_bytes:
        facts.append(Fact("Most memory", format_bytes(one.peak_bytes)))
    if one.parking.times:
        facts.append(
            Fact(
                "Made room for others",
                f"{one.parking.times} times, {seconds_words(one.parking.seconds)} in all",
            )
        )
    if one.resumed_from:
        facts.append(Fact("Resumed after epoch", ", ".join(map(str, one.resumed_from))))
    if one.code is not None:
        facts.append(Fact("Made with", f"Inglenook {one.code.version}"))
    return facts


def _weights(one: Experiment) -> str:
    assert one.built is not None
    if not one.built.pretrained:
        return "random: nobody has trained them before"
    return f"trained before: {one.built.weights}"


def seconds_words(seconds: float) -> str:
    """``45 s``, ``3 min``, ``2 h 5 min``."""
    if seconds < 90:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def goes(one: Experiment) -> str:
    """What a restart, or deleting it, takes away."""
    parts = []
    if one.epoch:
        parts.append(f"the records of {one.epoch} {'epoch' if one.epoch == 1 else 'epochs'}")
    if one.checkpoints:
        size = sum(it.size_bytes for it in one.checkpoints.values())
        many = len(one.checkpoints)
        parts.append(f"{many} {'checkpoint' if many == 1 else 'checkpoints'} ({format_bytes(size)})")
    return ", ".join([*parts, "its log and its evaluations"])


def compared(studio: WorkingStudio, person: PersonId, project_id: str, ids: list[str]) -> dict[str, Any]:
    """The context of a comparison. Raises BadSpec: fewer than two; as `ExperimentsService.get`."""
    data = studio.experiments.compare(person, project_id, ids)
    columns = data["experiments"]
    names = ",".join(one["id"] for one in columns)
    rows = [
        (name, [spec_form.shown(values.get(one["id"])) for one in columns])
        for name, values in data["differences"].items()
        if not name.startswith("augmentations.")
    ]
    rows += [
        (name, [_pipeline(values.get(one["id"])) for one in columns])
        for name, values in data["differences"].items()
        if name.startswith("augmentations.")
    ]
    return {
        "columns": [
            {**one, "words": STATUS_WORDS[Status(one["status"])], "took": seconds_words(one["seconds"] or 0)}
            for one in columns
        ],
        "rows": rows,
        "compare_place": f"/api/training/{project_id}/experiments/compare?ids={names}",
        "names_json": json.dumps({one["id"]: one["name"] for one in columns}),
    }


def _pipeline(steps_of: Any) -> str:
    return " → ".join(it["name"] for it in steps_of or ()) or "none"
