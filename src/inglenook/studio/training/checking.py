# SPDX-License-Identifier: Apache-2.0
"""A configuration from what somebody sent: merged into what is there, every name checked. Pure."""

import typing
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final

import msgspec

from inglenook.studio.tasks.model import Task
from inglenook.studio.tasks.parameters import wrong_parameter
from inglenook.studio.training.errors import BadSpec
from inglenook.studio.training.footprint import side_px
from inglenook.wire.studio.spec import (
    Augmentations,
    Hardware,
    Hyperparameters,
    ModelSpec,
    Spec,
    Step,
    TrainSpec,
)

PARTS: Final[Mapping[str, type[Spec]]] = {
    "model": ModelSpec,
    "hyperparameters": Hyperparameters,
    "augmentations": Augmentations,
    "hardware": Hardware,
}


def merged(spec: TrainSpec, changes: Mapping[str, Any]) -> TrainSpec:
    """`spec` with the members that `changes` names; the others keep their value.

    Args:
        changes: by part (`model` …) its members. Texts are read as numbers and switches where those are
            meant, as forms send them.

    Raises:
        BadSpec: a part that is no object, an unknown member, or a value out of its range.
    """
    parts: dict[str, Any] = {}
    for name, kind in PARTS.items():
        given = changes.get(name)
        if given is None:
            parts[name] = getattr(spec, name)
            continue
        if not isinstance(given, Mapping):
            raise BadSpec(f"{name} must be an object; got {given!r:.60}.", field=name)
        kept = msgspec.to_builtins(getattr(spec, name))
        parts[name] = _read(kind, {**kept, **_without_empty(kind, given)}, name)
    return _one_dropout(TrainSpec(**parts), changes)


def _one_dropout(spec: TrainSpec, changes: Mapping[str, Any]) -> TrainSpec:
    """AI Studio has dropout in two places. What was said last holds, in both."""
    dropout = spec.hyperparameters.dropout
    if (changes.get("hyperparameters") or {}).get("dropout") is not None:
        assert dropout is not None
        return msgspec.structs.replace(spec, model=msgspec.structs.replace(spec.model, dropout=dropout))
    if (changes.get("model") or {}).get("dropout") is not None and dropout is not None:
        told = msgspec.structs.replace(spec.hyperparameters, dropout=spec.model.dropout)
        return msgspec.structs.replace(spec, hyperparameters=told)
    return spec


def _read(kind: type[Spec], members: Mapping[str, Any], part: str) -> Spec:
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    for name in members:
        if name not in fields:
            raise BadSpec(
                f"{part} has no member {name!r:.60}.", field=f"{part}.{name}", hint=near(name, fields)
            )
    try:
        return msgspec.convert(dict(members), kind, strict=False)
    except msgspec.ValidationError as error:
        raise _refused(kind, members, part, str(error)) from None


def _without_empty(kind: type[Spec], members: Mapping[str, Any]) -> dict[str, Any]:
    """A form's empty field is null where that is a value, and else was not filled in."""
    hints = typing.get_type_hints(kind)
    kept = {}
    for name, value in members.items():
        if value != "":
            kept[name] = value
        elif type(None) in typing.get_args(hints.get(name)):
            kept[name] = None
    return kept


def _refused(kind: type[Spec], members: Mapping[str, Any], part: str, text: str) -> BadSpec:
    """msgspec's words, with the field as we call it, the value, and the nearest valid one."""
    what, _, where = text.partition(" - at `$.")
    path = where.rstrip("`")
    name = path.partition(".")[0].partition("[")[0]
    said = members.get(name)
    options = _options(kind, name)
    hint = near(str(said), options) if options else None
    return BadSpec(
        f"{part}.{path or name}: {what}; got {said!r:.80}.", field=f"{part}.{path or name}", hint=hint
    )


def _options(kind: type[Spec], name: str) -> tuple[str, ...]:
    """The words that a field accepts, where it accepts words of a list."""
    hint = typing.get_type_hints(kind).get(name)
    if typing.get_origin(hint) is typing.Literal:
        return tuple(str(option) for option in typing.get_args(hint))
    inner = [one for one in typing.get_args(hint) if typing.get_origin(one) is typing.Literal]
    if inner and bool in typing.get_args(hint):
        return ("true", "false", *map(str, typing.get_args(inner[0])))
    return ()


def near(name: str, known: Iterable[str]) -> str:
    """`did you mean …?`, or what there is."""
    options = list(known)
    found = get_close_matches(name, options, n=1, cutoff=0.5)
    return f"did you mean {found[0]}?" if found else f"one of {', '.join(options)}"


def check(spec: TrainSpec, task: Task) -> None:
    """Whether the task knows every name in it, and its numbers go together.

    Raises:
        BadSpec: the first thing that is wrong.
    """
    names = [backbone.name for backbone in task.backbones]
    _one_of(spec.model.backbone, names, "model.backbone", "network")
    _one_of(spec.model.head, [task.head], "model.head", "head")
    _one_of(spec.hyperparameters.loss, task.losses, "hyperparameters.loss", "loss")
    for part in ("train", "val"):
        for number, step in enumerate(getattr(spec.augmentations, part)):
            field = f"augmentations.{part}[{number}]"
            _one_of(step.name, task.transforms, f"{field}.name", "transform")
            _check_parameters(step, part, number)
    _check_schedule(spec)
    _check_size(spec, task)
    if not spec.hardware.selected_devices:
        raise BadSpec(
            "hardware.selected_devices must name one device at least.", field="hardware.selected_devices"
        )


def _check_size(spec: TrainSpec, task: Task) -> None:
    """Whether the network can look at pictures of the size that the augmentations make."""
    backbone = next(one for one in task.backbones if one.name == spec.model.backbone)
    for part in ("train", "val"):
        side = side_px(getattr(spec.augmentations, part), backbone.input_px)
        if side % backbone.multiple_px or side < backbone.least_px:
            raise BadSpec(
                f"augmentations.{part} makes pictures of {side} pixels: not for {backbone.name}.",
                field=f"augmentations.{part}",
                hint=f"it takes sides from {backbone.least_px} that are multiples of {backbone.multiple_px}",
            )


def _one_of(name: str, known: Iterable[str], field: str, what: str) -> None:
    options = list(known)
    if name not in options:
        raise BadSpec(f"There is no {what} {name[:80]!r}.", field=field, hint=near(name, options))


def _check_parameters(step: Step, part: str, number: int) -> None:
    found = wrong_parameter(step)
    if found is None:
        return
    name, why, hint = found
    words = {"train": "while it trains", "val": "whenever it looks"}[part]
    raise BadSpec(
        f"Step {number + 1} of the augmentations {words} ({step.name}): {name[:60]} {why}.",
        field=f"augmentations.{part}[{number}].params.{name[:60]}",
        hint=hint,
    )


def _check_schedule(spec: TrainSpec) -> None:
    hyper = spec.hyperparameters
    if len(set(hyper.milestones)) != len(hyper.milestones):
        raise BadSpec("hyperparameters.milestones names an epoch twice.", field="hyperparameters.milestones")
    if hyper.scheduler == "multistep" and hyper.milestones and min(hyper.milestones) >= hyper.max_epochs:
        raise BadSpec(
            f"Every milestone is beyond the last epoch ({hyper.max_epochs}): the rate would never fall.",
            field="hyperparameters.milestones",
            hint="name earlier epochs, or raise max_epochs",
        )
    unfreeze = spec.model.unfreeze_epoch
    if unfreeze is not None and unfreeze > hyper.max_epochs:
        raise BadSpec(
            f"The backbone would begin to learn in epoch {unfreeze}, and there are {hyper.max_epochs}.",
            field="model.unfreeze_epoch",
            hint="name an earlier epoch, or leave it empty",
        )
