# SPDX-License-Identifier: Apache-2.0
"""The model card of an export: what a person should know before using it, in Markdown. Pure.

Its parts follow Mitchell et al., "Model Cards for Model Reporting" (2019). What nobody has said stays
a question: nothing is made up.
"""

from typing import Any, Final

from inglenook.studio.export.model import ExportRecord

NAME: Final = "MODEL_CARD.md"
UNSAID: Final = "Nobody has said so yet; write it here."
MAX_CLASSES: Final = 200


def card(record: ExportRecord, *, project: str, examples: dict[str, int]) -> str:
    """Args:
    project: its name. examples: how many pictures of each part it was trained with.
    """
    options = record.options
    parts = [
        f"# {options.title or record.experiment_name or record.id}",
        options.description
        or f"A model for {record.task} with {len(record.classes)} classes, "
        f"trained in the project {_plain(project)}.",
        "## Intended use",
        options.intended_use or UNSAID,
        "## Classes",
        _classes(record.classes),
        "## Figures",
        _figures(record),
        "## Check of the file",
        _check(record),
        *_integers(record),
        "## How a picture is prepared",
        _preparation(record),
        "## Where it comes from",
        _table({**record.lineage, **_examples(examples)}),
        "## Licence",
        _licence(record),
        *(("## Notes", "\n".join(f"- {note}" for note in record.notes)) if record.notes else ()),
    ]
    return "\n\n".join(parts) + "\n"


def _classes(names: tuple[str, ...]) -> str:
    shown = "\n".join(f"{number}. {_plain(name)}" for number, name in enumerate(names[:MAX_CLASSES]))
    more = len(names) - MAX_CLASSES
    return (
        "Numbered from 0, in the order of the outputs.\n\n"
        + shown
        + (f"\n\n… {more} more" if more > 0 else "")
    )


def _figures(record: ExportRecord) -> str:
    if not record.values:
        return "The checkpoint tells none."
    told = f"Of epoch {record.epoch}, as training measured them; `val_` is the part that was validated on."
    return told + "\n\n" + _table({name: f"{value:.4f}" for name, value in sorted(record.values.items())})


def _check(record: ExportRecord) -> str:
    found = record.validation
    if found is None:
        return "It was not checked."
    batches = " and ".join(str(size) for size in found.batches)
    return (
        f"Compared with the checkpoint on {found.images} pictures of the {found.subset} part, {batches} at a "
        f"time: logits differ by {found.max_diff:.3g} at most ({found.tolerance:.3g} is allowed) and by "
        f"{found.mean_diff:.3g} on average ({found.mean_tolerance:.3g}); {found.agreement:.1%} of them "
        "get the same class."
    )


def _integers(record: ExportRecord) -> list[str]:
    found = record.quantized
    if found is None:
        return []
    facts = {
        "method": found.method,
        "size": f"{found.size_before / 2**20:.2f} MiB to {found.size_after / 2**20:.2f} MiB",
        "accuracy before": _share(found.accuracy_before),
        "accuracy after": _share(found.accuracy_after),
        "same class": _share(found.agreement),
        "largest difference of a probability": f"{found.max_diff:.4f}",
        "measured on": f"{found.images} pictures of the {found.subset} part",
        "ranges found by": f"{found.calibration_images} pictures of the training part",
    }
    return ["## 8-bit integers", "The check above is of the file before they were made.\n\n" + _table(facts)]


def _share(value: float | None) -> str:
    return "the pictures have no class" if value is None else f"{value:.2%}"


def _preparation(record: ExportRecord) -> str:
    shape = " x ".join(str(side) if side else "N" for side in record.input_shape)
    steps = (record.preprocessing or {}).get("steps", ())
    lines = ["- upright, as its EXIF says, and RGB"]
    for step in steps:
        facts = ", ".join(f"{key} {_flat(value)}" for key, value in step.items() if key != "step" and value)
        lines.append(f"- {step['step']}: {facts}")
    ready = (
        "- pixels as they are, 0 to 255: the file normalises them itself; resizing stays outside"
        if (record.preprocessing or {}).get("raw")
        else "- numbers: divided by 255 before `normalize`"
    )
    return "\n".join(
        [*lines, ready, "", f"The input `input` is {record.input_dtype} {shape}; `output` are logits."]
    )


def _flat(value: Any) -> str:
    return " x ".join(str(one) for one in value) if isinstance(value, list | tuple) else str(value)


def _examples(counts: dict[str, int]) -> dict[str, str]:
    return {f"pictures ({part})": str(count) for part, count in counts.items()}


def _licence(record: ExportRecord) -> str:
    said = record.licence or UNSAID
    first = record.weights or "random"
    if not record.pretrained:
        return f"{said}\n\nIts first weights were random: they are nobody else's work."
    terms = record.lineage.get("weights_licence")
    under = "under terms of their own" if terms is None else f"published under {_plain(str(terms))}"
    return f"{said}\n\nIts first weights are somebody's work, {under}: {_plain(first)}."


def _table(facts: dict[str, Any]) -> str:
    rows = [f"| {_plain(key)} | {_plain(_cell(value))} |" for key, value in facts.items()]
    return "\n".join(["| | |", "| --- | --- |", *rows])


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {value[key]}" for key in value)
    return str(value)


def _plain(text: str) -> str:
    """Names are anybody's: nothing of them becomes markup or another row."""
    flat = " ".join(text.split())
    return "".join(f"\\{char}" if char in "\\`*_[]<>|#" else char for char in flat)
