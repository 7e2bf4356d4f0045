# SPDX-License-Identifier: Apache-2.0
"""Exports as their page shows them. Everything here blocks."""

from typing import Any, Final

from inglenook.base.ids import PersonId
from inglenook.base.units import format_bytes
from inglenook.studio.export.model import ExportRecord, Status
from inglenook.studio.export.service import FORMATS
from inglenook.studio.studio import WorkingStudio
from inglenook.studio.training.model import Status as Trained
from inglenook.web.studio.training import Fact, seconds_words
from inglenook.wire.studio.export import LEAST_OPSET, MEASURED, ExportOptions

STATUS_WORDS: Final = {
    Status.PENDING: "waiting",
    Status.RUNNING: "being made",
    Status.COMPLETED: "ready",
    Status.FAILED: "failed",
}
STAGES: Final = {
    "load": "reading the checkpoint",
    "trace": "writing the network down",
    "quantise": "quantising",
    "check": "comparing it with the checkpoint",
    "measure": "measuring its accuracy",
}
QUANTISED: Final = {
    "none": "32-bit numbers",
    "dynamic": "8-bit weights",
    "static": "8-bit weights and arithmetic",
}
FILE_WORDS: Final = {"MODEL_CARD.md": "Model card", "predict.py": "Script that runs it"}


def list_of(studio: WorkingStudio, person: PersonId, project_id: str) -> dict[str, Any]:
    """The context of the list: the newest first."""
    found = studio.exports.list(person, project_id)
    lines = [
        {
            "id": one.id,
            "name": one.experiment_name or one.experiment_id,
            "status": one.status.value,
            "words": STATUS_WORDS[one.status],
            "what": f"{one.checkpoint}, {one.format}, {QUANTISED[one.quantization]}",
            "size": "" if one.output_size_mb is None else f"{one.output_size_mb:.3g} MiB",
            "model": one.model,
            "place": f"/projects/{project_id}/export?export_id={one.id}",
        }
        for one in reversed(found)
    ]
    return {"lines": lines}


def exportable(studio: WorkingStudio, person: PersonId, project_id: str) -> list[dict[str, Any]]:
    """The experiments that can be exported, the newest first, with their checkpoints."""
    found = []
    for line in reversed(studio.experiments.list(person, project_id)):
        if line.status is not Trained.COMPLETED:
            continue
        one = studio.experiments.get(person, project_id, line.id)
        names = [name for name in ("best", "last") if name in one.checkpoints]
        if names:
            found.append({"id": one.id, "name": one.name, "checkpoints": names})
    return found


def form_of() -> dict[str, Any]:
    """What the form of a new export begins with."""
    return {
        "formats": [(name, title) for name, title, available in FORMATS if available],
        "quantised": tuple(QUANTISED.items()),
        "options": ExportOptions(),
        "least_opset": LEAST_OPSET,
        "measured": MEASURED,
    }


def record_of(
    studio: WorkingStudio, person: PersonId, project_id: str, export_id: str, *, administrator: bool
) -> dict[str, Any]:
    """The context of one export. `administrator`: whether the reader is one, who alone changes the library.

    Raises ProjectNotFound, ExportNotFound, CorruptDocument.
    """
    one = studio.exports.get(person, project_id, export_id)
    project = studio.projects.require(person, project_id, write=False)
    return {
        "one": one,
        "status": one.status.value,
        "words": STATUS_WORDS[one.status],
        "may_write": project.may(person, write=True),
        "may_register": administrator and project.may(person, write=True),
        "api": f"/api/export/{project_id}/{one.id}",
        "facts": _facts(one),
        "validation": _validation(one),
        "quantised": _quantised(one),
        "files": [(name, FILE_WORDS.get(name, "The model")) for name in one.files],
        "model_name": f"{project.name} {one.experiment_name}"[:80],
        "classes": ", ".join(one.classes),
    }


def _facts(one: ExportRecord) -> list[Fact]:
    facts = [
        Fact("Checkpoint", one.checkpoint if one.epoch is None else f"{one.checkpoint}, epoch {one.epoch}")
    ]
    facts.append(Fact("Format", f"{one.format}, {QUANTISED[one.options.quantization]}"))
    if one.opset is not None:
        facts.append(Fact("Opset", str(one.opset)))
    if one.input_shape:
        batch = "any number" if one.options.dynamic_axes is not None else str(one.input_shape[0])
        shape = " x ".join(map(str, one.input_shape[1:]))
        facts.append(Fact("Takes", f"{batch} of {shape}, {one.input_dtype}"))
    if one.output_size_mb is not None:
        facts.append(Fact("Size", f"{one.output_size_mb:.3g} MiB"))
    if one.weights is not None:
        begun = f"trained before: {one.weights}" if one.pretrained else "random"
        facts.append(Fact("First weights of the training", begun))
    if one.licence:
        facts.append(Fact("Licence", one.licence))
    if one.seconds is not None:
        facts.append(Fact("Made in", seconds_words(one.seconds)))
    return facts


def _validation(one: ExportRecord) -> list[Fact]:
    found = one.validation
    if found is None:
        return []
    return [
        Fact(
            "Same class as the checkpoint",
            f"{found.agreement:.1%} of {found.images} pictures ({found.subset})",
        ),
        Fact("Largest difference of a logit", f"{found.max_diff:.2g} (at most {found.tolerance:.2g})"),
        Fact("Mean difference", f"{found.mean_diff:.2g} (at most {found.mean_tolerance:.2g})"),
        Fact("Batches that were tried", ", ".join(map(str, found.batches))),
    ]


def _quantised(one: ExportRecord) -> list[Fact]:
    found = one.quantized
    if found is None:
        return []
    facts = [Fact("Size", f"{format_bytes(found.size_before)} → {format_bytes(found.size_after)}")]
    if found.accuracy_before is not None and found.accuracy_after is not None:
        facts.append(Fact("Accuracy", f"{found.accuracy_before:.1%} → {found.accuracy_after:.1%}"))
    facts.append(Fact("Same class", f"{found.agreement:.1%} of {found.images} pictures ({found.subset})"))
    return facts
