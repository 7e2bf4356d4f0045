# SPDX-License-Identifier: Apache-2.0
"""A configuration as a form: every field with its range, as `wire.studio.spec` declares it. Pure."""

from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
from msgspec import inspect

from inglenook.studio.tasks.model import Backbone, Task
from inglenook.wire.studio.spec import Hardware, Hyperparameters, ModelSpec, TrainSpec

Kind = Literal["number", "whole", "switch", "choice", "text", "list"]


@dataclass(frozen=True, slots=True)
class Wording:
    """How a field is called. `when`: another field and the values with which this one counts for anything
    (`hyperparameters.loss=focal`); `empty`: what an empty field means."""

    name: str
    label: str
    help: str = ""
    when: str = ""
    empty: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """`name`: as the API takes it. `low`, `high`: None for no bound; `open_low`, `open_high`: the bound
    itself is no value. `options`: value and words of each choice."""

    name: str
    label: str
    help: str
    kind: Kind
    value: Any
    low: float | None
    high: float | None
    options: tuple[tuple[str, str], ...]
    when: str
    empty: str
    open_low: bool = False
    open_high: bool = False

    @property
    def id(self) -> str:
        return self.name.replace(".", "-")

    @property
    def range(self) -> str:
        if self.kind not in ("number", "whole") or (self.low is None and self.high is None):
            return ""
        if self.low is None:
            return f"up to {_plain(self.high or 0)}"
        if self.high is None:
            return f"{'above' if self.open_low else 'from'} {_plain(self.low)}"
        low = f"above {_plain(self.low)}" if self.open_low else _plain(self.low)
        return f"{low} {'and below' if self.open_high else 'to'} {_plain(self.high)}"

    @property
    def shown(self) -> str:
        """The value, to be read where it cannot be changed."""
        return shown(self.value, dict(self.options))


@dataclass(frozen=True, slots=True)
class Section:
    name: str
    title: str
    fields: tuple[Field, ...]


_M, _H = "model", "hyperparameters"
_SCHEDULER = f"{_H}.scheduler"
SECTIONS: Final[tuple[tuple[str, str, tuple[Wording, ...]], ...]] = (
    (
        "architecture",
        "Network",
        (
            Wording(f"{_M}.backbone", "Network"),
            Wording(f"{_M}.head", "Head"),
            Wording(
                f"{_M}.pretrained",
                "Begin with trained weights",
                "What it began with is said when it begins, and kept.",
            ),
            Wording(
                f"{_M}.weights",
                "Weights from",
                "auto, hub, package, or a file below the models folder.",
                f"{_M}.pretrained=auto true",
            ),
            Wording(f"{_M}.dropout", "Dropout", "Before the last layer."),
            Wording(f"{_M}.freeze_backbone", "Only the head learns"),
            Wording(
                f"{_M}.unfreeze_epoch",
                "The rest learns from epoch",
                "",
                f"{_M}.freeze_backbone=true",
                "never",
            ),
            Wording(f"{_M}.backbone_lr_scale", "Learning rate of the backbone", "As a share of the head's."),
        ),
    ),
    (
        "optimization",
        "Optimisation",
        (
            Wording(f"{_H}.max_epochs", "Epochs", "At most."),
            Wording(f"{_H}.batch_size", "Batch size", "Pictures at a time."),
            Wording(
                f"{_H}.batch_multiplier", "Batches a step", "Their gradients are added up before a step."
            ),
            Wording(f"{_H}.optimizer", "Optimiser"),
            Wording(f"{_H}.learning_rate", "Learning rate"),
            Wording(f"{_H}.weight_decay", "Weight decay"),
            Wording(f"{_H}.momentum", "Momentum", "", f"{_H}.optimizer=sgd"),
            Wording(_SCHEDULER, "Learning rate over time"),
            Wording(f"{_H}.warmup_epochs", "Warm-up epochs", "The rate rises from a tenth over these."),
            Wording(f"{_H}.step_size", "Epochs a step", "", f"{_SCHEDULER}=step"),
            Wording(f"{_H}.milestones", "Milestones", "Epochs, with commas.", f"{_SCHEDULER}=multistep"),
            Wording(f"{_H}.gamma", "Factor at each step", "", f"{_SCHEDULER}=step multistep"),
            Wording(f"{_H}.poly_power", "Power", "", f"{_SCHEDULER}=poly"),
            Wording(
                f"{_H}.early_stopping_patience",
                "Patience",
                "It ends after so many epochs without a better metric; 0: never.",
            ),
            Wording(f"{_H}.gradient_clip", "Largest gradient", "Its norm; 0: any."),
            Wording(f"{_H}.ema_decay", "Average of the weights", "Decay of the moving average; 0: none."),
            Wording(f"{_H}.seed", "Seed"),
            Wording(f"{_H}.deterministic", "Same numbers each time", "Slower on a GPU."),
        ),
    ),
    (
        "objective",
        "Objective",
        (
            Wording(f"{_H}.loss", "Loss"),
            Wording(f"{_H}.label_smoothing", "Label smoothing"),
            Wording(f"{_H}.focal_gamma", "Gamma of the focal loss", "", f"{_H}.loss=focal"),
            Wording(f"{_H}.class_weights", "Weights of the classes", "Balanced: rare classes count more."),
            Wording(f"{_H}.sampling", "Sampling", "Balanced: each class is drawn equally often."),
            Wording(f"{_H}.mixup", "Mixup", "Alpha of its Beta distribution; 0: off."),
            Wording(f"{_H}.cutmix", "CutMix", "Alpha of its Beta distribution; 0: off."),
        ),
    ),
    (
        "hardware",
        "Hardware",
        (
            Wording("hardware.selected_devices", "Devices"),
            Wording("hardware.precision", "Precision"),
            Wording("hardware.workers", "Reading processes", "Beside the training; 0 reads within it."),
        ),
    ),
)
ALIASES: Final = frozenset({f"{_H}.dropout"})
"""AI Studio's second place for `model.dropout`, which the form has once."""

_PARTS: Final = {"model": ModelSpec, "hyperparameters": Hyperparameters, "hardware": Hardware}
WORDS: Final = {
    "adam": "Adam",
    "adamw": "AdamW",
    "sgd": "SGD",
    "cosine": "along a cosine",
    "step": "falls every few epochs",
    "multistep": "falls at milestones",
    "poly": "along a power",
    "none": "none",
    "cross_entropy": "cross entropy",
    "focal": "focal",
    "label_smoothing_cross_entropy": "cross entropy with label smoothing",
    "default": "the task's own (cross entropy)",
    "balanced": "balanced",
    "shuffle": "as they are",
    "32": "32 bit",
    "16-mixed": "16 bit, mixed",
    "bf16-mixed": "bfloat16, mixed",
    "auto": "automatic",
    "cpu": "processor",
}
PRETRAINED: Final = (
    ("auto", "where they are at hand, else random"),
    ("true", "yes, and not without them"),
    ("false", "no: random"),
)


def sections(spec: TrainSpec, task: Task, devices: tuple[tuple[str, str], ...]) -> tuple[Section, ...]:
    """`devices`: value and words of each that there is."""
    return tuple(
        Section(name, title, tuple(_field(one, spec, task, devices) for one in wordings))
        for name, title, wordings in SECTIONS
    )


def _field(wording: Wording, spec: TrainSpec, task: Task, devices: tuple[tuple[str, str], ...]) -> Field:
    part, name = wording.name.split(".")
    declared = next(it for it in inspect.type_info(_PARTS[part]).fields if it.name == name)  # type: ignore[attr-defined]  # of a Struct
    bare = _bare(declared.type)
    kind, low, high, options = _declared(bare)
    options = {
        "backbone": tuple((it.name, backbone_words(it)) for it in task.backbones),
        "head": ((task.head, task.head),),
        "selected_devices": devices,
        "pretrained": PRETRAINED,
    }.get(name, options)
    if name == "loss":
        options = tuple(it for it in options if it[0] in task.losses)
    if options and kind in ("text", "switch"):
        kind = "choice"
    value = msgspec.to_builtins(getattr(getattr(spec, part), name))
    if kind == "choice":
        value = spelled(value)
    return Field(
        name=wording.name,
        label=wording.label,
        help=wording.help,
        kind=kind,
        value=value,
        low=low,
        high=high,
        options=options,
        when=wording.when,
        empty=wording.empty,
        open_low=getattr(bare, "gt", None) is not None,
        open_high=getattr(bare, "lt", None) is not None,
    )


def spelled(value: Any) -> Any:
    """A choice as a form spells it: JSON's words for truth values."""
    return str(value).lower() if isinstance(value, bool) else value


def _bare(kind: Any) -> Any:
    """Without what may be left out, and without notes."""
    match kind:
        case inspect.Metadata():
            return _bare(kind.type)
        case inspect.UnionType():
            return _bare(next(it for it in kind.types if not isinstance(it, inspect.NoneType)))
        case _:
            return kind


def _declared(kind: Any) -> tuple[Kind, float | None, float | None, tuple[tuple[str, str], ...]]:
    match kind:
        case inspect.BoolType():
            return "switch", None, None, ()
        case inspect.IntType() | inspect.FloatType():
            low = kind.ge if kind.ge is not None else kind.gt
            high = kind.le if kind.le is not None else kind.lt
            return "whole" if isinstance(kind, inspect.IntType) else "number", low, high, ()
        case inspect.LiteralType():
            return "choice", None, None, tuple((it, WORDS.get(it, it)) for it in map(str, kind.values))
        case inspect.VarTupleType():
            return "list", None, None, ()
        case _:
            return "text", None, None, ()


def _plain(value: float) -> str:
    """``4294967295`` and ``0.9``: every digit, and no more."""
    return str(int(value)) if value == int(value) else f"{value:g}"


def backbone_words(one: Backbone) -> str:
    return f"{one.title} ({one.parameters_m:.3g} M, {one.input_px} px)"


def shown(value: Any, words: dict[str, str] | None = None) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value in ("", [], ()):
        return "none"
    if isinstance(value, list | tuple):
        return ", ".join(shown(it, words) for it in value)
    if isinstance(value, float):
        return f"{value:g}"
    return (words or {}).get(str(value), str(value))
