# SPDX-License-Identifier: Apache-2.0
"""From what is known of the pictures to what is wrong with them."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from inglenook.vision.checks.alike import Signatures, confirmed, groups_of, near_groups
from inglenook.vision.checks.kinds import finding_of
from inglenook.vision.checks.model import Finding, Findings, Item

Signs = Callable[[Sequence[int]], Signatures]
MOST_LOOKED_AT: Final = 20_000


@dataclass(slots=True)
class Known:
    """What is known of the pictures; all lists have the same order. `dhashes`: None for flat pictures."""

    ids: list[str] = field(default_factory=list)
    sha256: list[str] = field(default_factory=list)
    dhashes: list[str | None] = field(default_factory=list)
    sides: list[tuple[int, int]] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Rules:
    """From when on something is told.

    Attributes:
        distance: bits of 64 in which hashes of pictures that look alike may differ.
        tiny_px: a picture with a shorter side is tiny. aspect: a side so many times the other is odd.
        imbalance: so many times the pictures of the smallest class in the largest.
    """

    distance: int = 4
    tiny_px: int = 32
    aspect: float = 4.0
    imbalance: float = 10.0


def all_findings(
    known: Known,
    classes: Sequence[str],
    rules: Rules,
    *,
    damaged: Sequence[Item],
    files_read: bool,
    look: Callable[[], None] = lambda: None,
    signatures: Signs | None = None,
) -> Findings:
    """Everything that the pictures themselves tell.

    Args:
        damaged: what reading the files has found. look: called now and then; may raise.
        signatures: of the pictures at these places, to look a second time at those whose hashes are near.
    """
    exact = groups_of(known.sha256)
    near = _near(known, rules.distance, look, signatures)
    found = [
        finding_of("corrupt", damaged),
        finding_of("exact_duplicates", [_same(known, group) for group in exact]),
        finding_of("near_duplicates", [_alike(known, group) for group in near]),
        finding_of("conflicting_labels", [*_conflicts(known, exact, "the same file")]),
        finding_of("conflicting_labels_near", [*_conflicts(known, near, "pictures that look alike")]),
        finding_of("tiny", _tiny(known, rules.tiny_px)),
        finding_of("odd_aspect", _odd(known, rules.aspect)),
        *_about_classes(known, classes, rules.imbalance),
    ]
    return Findings(
        pictures=len(known),
        files_read=files_read,
        distance=rules.distance,
        findings=tuple(one for one in found if one is not None),
        exact=tuple(tuple(known.ids[at] for at in group) for group in exact),
        near=tuple(tuple(known.ids[at] for at in group) for group in near),
    )


def _near(known: Known, distance: int, look: Callable[[], None], signatures: Signs | None) -> list[list[int]]:
    at = [index for index, value in enumerate(known.dhashes) if value is not None]
    hashes = np.array([int(known.dhashes[index] or "0", 16) for index in at], np.uint64)
    groups = [[at[index] for index in group] for group in near_groups(hashes, distance, look=look)]
    if signatures is not None:
        groups = [
            [group[index] for index in part]
            for group in groups
            for part in _second_look(known, group, distance, look, signatures)
        ]
    return [group for group in groups if len({known.sha256[index] for index in group}) > 1]


def _second_look(
    known: Known, group: list[int], distance: int, look: Callable[[], None], signatures: Signs
) -> list[list[int]]:
    """Places in the group. A group of very many is one of pictures that hashes cannot tell apart; what is
    the same in it are exact duplicates.
    """
    if len(group) > MOST_LOOKED_AT:
        return []
    hashes = np.array([int(known.dhashes[index] or "0", 16) for index in group], np.uint64)
    return confirmed(hashes, signatures(group), distance, look=look)


def _same(known: Known, group: Sequence[int]) -> Item:
    ids = tuple(known.ids[at] for at in group)
    return Item(ids=ids, why=f"{len(ids)} times the same file", classes=_classes(known, group), keep=ids[0])


def _alike(known: Known, group: Sequence[int]) -> Item:
    """The largest picture is the one to keep."""
    ids = tuple(known.ids[at] for at in group)
    best = max(group, key=lambda at: (known.sides[at][0] * known.sides[at][1], -at))
    why = f"{len(ids)} pictures look alike"
    return Item(ids=ids, why=why, classes=_classes(known, group), keep=known.ids[best])


def _classes(known: Known, group: Sequence[int]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(label for at in group if (label := known.labels[at]) is not None))


def _conflicts(known: Known, groups: Sequence[Sequence[int]], what: str) -> list[Item]:
    items = []
    for group in groups:
        classes = _classes(known, group)
        if len(classes) > 1:
            ids = tuple(known.ids[at] for at in group)
            items.append(Item(ids=ids, why=f"{what}, labelled {' and '.join(classes[:6])}", classes=classes))
    return items


def _tiny(known: Known, tiny_px: int) -> list[Item]:
    return [
        Item(ids=(known.ids[at],), why=f"{width} × {height} pixels")
        for at, (width, height) in enumerate(known.sides)
        if min(width, height) < tiny_px
    ]


def _odd(known: Known, aspect: float) -> list[Item]:
    return [
        Item(ids=(known.ids[at],), why=f"{width} × {height} pixels")
        for at, (width, height) in enumerate(known.sides)
        if max(width, height) > aspect * min(width, height)
    ]


def _about_classes(known: Known, classes: Sequence[str], imbalance: float) -> list[Finding | None]:
    counts = Counter(label for label in known.labels if label is not None)
    singles = [
        Item(ids=(known.ids[at],), why=f"the only picture of {label}", classes=(label,))
        for at, label in enumerate(known.labels)
        if label is not None and counts[label] == 1
    ]
    empty = [Item(why=f"no picture of {name}", classes=(name,)) for name in classes if not counts[name]]
    unlabelled = [
        Item(ids=(known.ids[at],), why="it has no class")
        for at, label in enumerate(known.labels)
        if label is None
    ]
    return [
        finding_of("singleton_classes", singles),
        finding_of("empty_classes", empty),
        finding_of("unlabelled", unlabelled),
        _imbalance(counts, imbalance),
        _one_class(counts),
    ]


def _imbalance(counts: Counter[str], limit: float) -> Finding | None:
    if len(counts) < 2:
        return None
    (most, largest), (least, smallest) = counts.most_common(1)[0], counts.most_common()[-1]
    if largest <= limit * smallest:
        return None
    why = f"{most} has {largest} pictures, {least} has {smallest}: {largest / smallest:.0f} times as many"
    return finding_of("imbalance", [Item(why=why, classes=(most, least))])


def _one_class(counts: Counter[str]) -> Finding | None:
    if len(counts) != 1:
        return None
    (name, count), *_ = counts.items()
    return finding_of(
        "one_class", [Item(why=f"all {count} labelled pictures are of {name}", classes=(name,))]
    )
