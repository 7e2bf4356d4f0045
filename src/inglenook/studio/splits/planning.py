# SPDX-License-Identifier: Apache-2.0
"""From pictures and a plan to parts, with everything that should be said about them. Pure."""

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import msgspec
import numpy as np

from inglenook.base.errors import Invalid
from inglenook.studio.datasets.model import ImageRecord, Subset
from inglenook.studio.splits.model import SUBSETS, Options, Part, Plan, Preview, Ratios, Stats
from inglenook.vision import splits
from inglenook.vision.annotations import ANOMALOUS, primary_class

BACKGROUND: Final = "__background__"
"""The class of a picture in which nothing was marked, where that means something."""
_NEEDS_CLASS: Final = frozenset({"classification", "anomaly_detection"})
_ANOMALY: Final = "anomaly_detection"
_FOLDERS: Mapping[str, Subset] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
_NAMED: Final = 5
"""So many names stand in a warning; then it says how many more."""


@dataclass(slots=True)
class _Pictures:
    """The pictures that take part, in the order of their filenames, and those that cannot."""

    records: list[ImageRecord]
    names: list[str]
    """Class of each."""
    left_out: int = 0
    warnings: list[str] = field(default_factory=list)

    @property
    def numbers(self) -> splits.Ints:
        order = {name: place for place, name in enumerate(sorted(set(self.names)))}
        return np.array([order[name] for name in self.names], np.int64)


def plan_parts(
    plan: Plan, records: Sequence[ImageRecord], *, task: str, classes: Sequence[str], dataset_version: int
) -> Preview:
    """Args:
        records: in the order of their filenames, on which the result depends.

    Raises:
        Invalid: the plan does not fit, or the pictures do not.
    """
    pictures = _pictures(records, task)
    dealt, more = _METHODS[plan.method](plan, pictures, task)
    parts = tuple(_part(records, pictures, numbers, classes) for numbers in dealt)
    _prove(plan, records, parts)
    warnings = [*pictures.warnings, *_about_classes(pictures, task), *more]
    for part in parts[:1]:
        warnings += _about_part(plan, records, part)
    return Preview(
        plan=plan,
        dataset_version=dataset_version,
        classes=tuple(classes),
        parts=parts,
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _pictures(records: Sequence[ImageRecord], task: str) -> _Pictures:
    if task not in _NEEDS_CLASS:
        return _Pictures(list(records), [primary_class(it.annotations) or BACKGROUND for it in records])
    kept = [it for it in records if it.annotations]
    found = _Pictures(kept, [str(primary_class(it.annotations)) for it in kept], len(records) - len(kept))
    if found.left_out:
        found.warnings.append(f"{_count(found.left_out)} without a class, in no part.")
    return found


# -- methods ---------------------------------------------------------------------------------------------
# Each: (plan, pictures, task) → for every split, the part of each picture that takes part; and warnings.

_Dealt = tuple[list[splits.Ints], list[str]]


def _stratified(plan: Plan, pictures: _Pictures, task: str) -> _Dealt:
    ratios = _ratios(plan)
    if plan.options.group_by:
        return _grouped(plan, pictures, task)
    if task == _ANOMALY:
        strange = np.array([name == ANOMALOUS for name in pictures.names], bool)
        return [splits.anomaly(strange, ratios, plan.seed)], []
    numbers, result, single, said = _without_singles(pictures)
    sizes = splits.part_sizes(int((~single).sum()), ratios)
    result[~single] = splits.stratified(numbers[~single], sizes, plan.seed)
    return [result], said


def _without_singles(pictures: _Pictures) -> tuple[splits.Ints, splits.Ints, np.ndarray, list[str]]:
    """Classes of one picture go to train, where there are others: it cannot be both learned and tested."""
    numbers = pictures.numbers
    counts = np.bincount(numbers, minlength=1)
    single = counts[numbers] == 1 if len(numbers) else np.zeros(0, bool)
    if single.all():
        single = np.zeros(len(numbers), bool)  # nothing but such classes: they are dealt like one
        numbers = np.zeros(len(numbers), np.int64)
    result = np.full(len(numbers), splits.TRAIN, np.int64)
    lonely = [name for name, one in zip(pictures.names, single, strict=True) if one]
    said = [f"Classes with one picture, which goes to train: {_names(lonely)}."] if lonely else []
    return numbers, result, single, said


def _grouped(plan: Plan, pictures: _Pictures, task: str) -> _Dealt:
    ratios = _ratios(plan)
    groups = _groups(plan, pictures)
    if task == _ANOMALY:
        return _grouped_anomaly(plan, pictures, groups, ratios)
    sizes = splits.part_sizes(len(pictures.names), ratios)
    return [splits.grouped(pictures.numbers, groups, sizes, plan.seed)], _about_groups(groups)


def _grouped_anomaly(
    plan: Plan, pictures: _Pictures, groups: splits.Ints, ratios: tuple[float, float, float]
) -> _Dealt:
    """A group with an anomalous picture never trains, and neither do the normal ones in it."""
    strange = np.array([name == ANOMALOUS for name in pictures.names], bool)
    mixed = strange | np.isin(groups, groups[strange & (groups >= 0)])
    if mixed.any() and ratios[1] + ratios[2] <= 0:
        raise Invalid("Anomalous pictures need a part that is not train: val or test.", field="ratios")
    result = np.full(len(groups), splits.NONE, np.int64)
    zeros = np.zeros(len(groups), np.int64)
    sizes = splits.part_sizes(int((~mixed).sum()), ratios)
    result[~mixed] = splits.grouped(zeros[~mixed], groups[~mixed], sizes, plan.seed)
    held = (0.0, ratios[1], ratios[2])
    if mixed.any():
        sizes = splits.part_sizes(int(mixed.sum()), [it / sum(held) for it in held])
        result[mixed] = splits.grouped(strange[mixed].astype(np.int64), groups[mixed], sizes, plan.seed + 1)
    return [result], _about_groups(groups)


def _time(plan: Plan, pictures: _Pictures, task: str) -> _Dealt:  # noqa: ARG001 - as every method
    times = np.array([_seconds(it.taken_at) for it in pictures.records], np.float64)
    unknown = int(np.isnan(times).sum())
    if unknown == len(times):
        raise Invalid(
            "No picture of the data set says when it was taken.",
            field="method",
            hint="import them with a column of times, or choose another method",
        )
    said = [f"{_count(unknown)} of unknown time, in no part."] if unknown else []
    return [splits.by_time(times, _ratios(plan))], said


def _manual(plan: Plan, pictures: _Pictures, task: str) -> _Dealt:  # noqa: ARG001
    options = plan.options
    if not options.assignments and not options.from_folders:
        raise Invalid("A split by hand needs `assignments`, or `from_folders`.", field="options.assignments")
    known = {it.filename for it in pictures.records} | {it.id for it in pictures.records}
    missing = next((it for it in options.assignments if it not in known), None)
    if missing is not None:
        raise Invalid(
            f"{missing[:100]!r} is no picture of the data set that has a class.", field="options.assignments"
        )
    parts = [_by_hand(record, options) for record in pictures.records]
    return [np.array([_number(it) for it in parts], np.int64)], []


def _by_hand(record: ImageRecord, options: Options) -> Subset:
    for name in (record.id, record.filename):
        if name in options.assignments:
            return options.assignments[name]
    if options.from_folders:
        for folder in re.split(r"[/\\]", record.original.casefold())[:-1]:
            if folder in _FOLDERS:
                return _FOLDERS[folder]
    return options.rest


def _kfold(plan: Plan, pictures: _Pictures, task: str) -> _Dealt:
    if task == _ANOMALY:
        raise Invalid(
            "There is no k-fold for anomaly detection, whose anomalous pictures never train.", field="method"
        )
    count, test = plan.options.folds, 0.0 if plan.ratios is None else plan.ratios.test
    groups = _groups(plan, pictures) if plan.options.group_by else None
    labels = pictures.numbers
    held = np.zeros(len(labels), bool)
    if test > 0:
        sizes = splits.part_sizes(len(labels), (1.0 - test, 0.0, test))
        held = _deal(labels, groups, sizes, plan.seed) == splits.TEST
    rest = ~held
    if int(rest.sum()) < count:
        raise Invalid(f"{count} folds need as many pictures; there are {int(rest.sum())}.", field="folds")
    sub = None if groups is None else groups[rest]
    folds = _deal(labels[rest], sub, splits.even_sizes(int(rest.sum()), count), plan.seed + 1)
    said = [] if groups is None else _about_groups(groups)
    result = []
    for fold in range(count):
        numbers = np.full(len(labels), splits.TEST, np.int64)
        numbers[rest] = np.where(folds == fold, splits.VAL, splits.TRAIN)
        result.append(numbers)
    if len(set(folds.tolist())) < count:
        raise Invalid(f"There are not enough groups for {count} folds.", field="folds")
    return result, said


def _deal(labels: splits.Ints, groups: splits.Ints | None, sizes: Sequence[int], seed: int) -> splits.Ints:
    if groups is None:
        return splits.stratified(labels, sizes, seed)
    return splits.grouped(labels, groups, sizes, seed)


_METHODS: Mapping[str, Callable[[Plan, _Pictures, str], _Dealt]] = {
    "stratified": _stratified,
    "grouped": _grouped,
    "time": _time,
    "manual": _manual,
    "kfold": _kfold,
}


def _ratios(plan: Plan) -> tuple[float, float, float]:
    if plan.ratios is None:
        raise Invalid("The ratios of train, val and test are missing.", field="ratios")
    return splits.check_ratios(plan.ratios.shares())


def _groups(plan: Plan, pictures: _Pictures) -> splits.Ints:
    kinds = plan.options.group_by or ("group",)
    return splits.joined(*([_key(kind, it) for it in pictures.records] for kind in kinds))


def _key(kind: str, record: ImageRecord) -> Hashable | None:
    if kind == "group":
        return record.group
    if kind == "folder":
        return record.original.replace("\\", "/").rpartition("/")[0] or None
    return record.sha256


def _seconds(text: str | None) -> float:
    """Since 1970; a time without a zone counts as UTC. NaN for none, or for what is no time."""
    if text is None:
        return float("nan")
    try:
        taken = datetime.fromisoformat(text)
    except ValueError:
        return float("nan")
    return (taken if taken.tzinfo is not None else taken.replace(tzinfo=UTC)).timestamp()


def _number(subset: Subset) -> int:
    return splits.NONE if subset == "none" else splits.PARTS.index(subset)


# -- what comes of it ------------------------------------------------------------------------------------


def _part(
    records: Sequence[ImageRecord], pictures: _Pictures, numbers: splits.Ints, classes: Sequence[str]
) -> Part:
    words: tuple[Subset, ...] = ("train", "val", "test")
    assignments: dict[str, Subset] = {
        record.id: words[number]
        for record, number in zip(pictures.records, numbers.tolist(), strict=True)
        if number != splits.NONE
    }
    return part_of(records, assignments, classes)


def part_of(records: Sequence[ImageRecord], given: Mapping[str, Subset], classes: Sequence[str]) -> Part:
    """The part with its counts; what `given` says of pictures that are not there is left out."""
    assignments = {it.id: given[it.id] for it in records if given.get(it.id, "none") != "none"}
    return Part(
        assignments=assignments,
        stats=_stats(assignments.get(it.id, "none") for it in records),
        class_distribution=distribution(
            ((primary_class(it.annotations), assignments.get(it.id, "none")) for it in records), classes
        ),
    )


def _stats(subsets: Iterator[Subset]) -> Stats:
    counted = Counter(subsets)
    return {subset: counted.get(subset, 0) for subset in SUBSETS}


def distribution(pairs: Iterator[tuple[str | None, Subset]], classes: Sequence[str]) -> dict[str, Stats]:
    """By class, pictures by part; the data set's classes first, also those without a picture."""
    counted = Counter(pairs)
    others = sorted({name for name, _ in counted if name is not None} - set(classes))
    return {
        name: {subset: counted.get((name, subset), 0) for subset in SUBSETS} for name in (*classes, *others)
    }


def _prove(plan: Plan, records: Sequence[ImageRecord], parts: Sequence[Part]) -> None:
    """Raises AssertionError: a picture is there twice, or a group lies in two parts. Checked without
    looking at how the parts were made.
    """
    there = {it.id for it in records}
    for part in parts:
        assert part.assignments.keys() <= there
        assert sum(part.stats.values()) == len(records)
        together = plan.method == "grouped" or (plan.method != "manual" and plan.options.group_by)
        for kind in (plan.options.group_by or ("group",)) if together else ():
            keys = {it.id: _key(kind, it) for it in records}
            found = splits.overlaps(part.assignments, keys)
            assert not found, f"{found[0]} share their {kind} and lie in different parts"
    if plan.method == "kfold":
        validated = Counter(
            it for part in parts for it, subset in part.assignments.items() if subset == "val"
        )
        assert all(count == 1 for count in validated.values())


def _about_classes(pictures: _Pictures, task: str) -> Iterator[str]:
    total = len(pictures.names)
    if total < 3:
        yield f"There {'is' if total == 1 else 'are'} {_count(total)}: too few for three parts."
    kinds = set(pictures.names)
    if task == _ANOMALY:
        if ANOMALOUS not in kinds:
            yield "No picture is anomalous: nothing can be measured."
        if kinds <= {ANOMALOUS}:
            yield "No picture is normal: nothing can be learned."
    elif len(kinds) == 1:
        yield f"All pictures are of one class, {next(iter(kinds))}."


def _about_part(plan: Plan, records: Sequence[ImageRecord], part: Part) -> Iterator[str]:
    wanted = [
        subset
        for subset, share in zip(("train", "val", "test"), _shares(plan.ratios), strict=True)
        if share > 0 and plan.method != "kfold"
    ]
    for subset in wanted:
        if part.stats[subset] == 0:
            yield f"No picture is in {subset}."
            continue
        lacking = [
            name
            for name, counts in part.class_distribution.items()
            if sum(counts.values()) - counts["none"] > 1
            and counts[subset] == 0
            and not (name == ANOMALOUS and subset == "train")
        ]
        if lacking:
            yield f"Classes without a picture in {subset}: {_names(lacking)}."
    twice = splits.overlaps(part.assignments, {it.id: it.sha256 for it in records})
    if twice:
        yield (
            f"{len(twice)} file{'s lie' if len(twice) > 1 else ' lies'} in more than one part under different"
            " names: keep duplicates together, or remove them."
        )


def _shares(ratios: Ratios | None) -> tuple[float, float, float]:
    return (0.0, 0.0, 0.0) if ratios is None else ratios.shares()


def _about_groups(groups: splits.Ints) -> list[str]:
    together = groups[groups >= 0]
    if len(together) == 0:
        return ["No two pictures belong together: every one is alone."]
    largest = int(np.bincount(together).max())
    if 2 * largest > len(groups):
        return [f"One group holds {largest} of {len(groups)} pictures."]
    return []


def _names(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(sorted(names)[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _count(number: int) -> str:
    return f"{number} picture{'' if number == 1 else 's'}"


def numbered(plan: Plan, fold: int, family: str) -> Plan:
    """The plan of one fold."""
    return msgspec.structs.replace(
        plan, options=msgspec.structs.replace(plan.options, fold=fold, family=family)
    )
