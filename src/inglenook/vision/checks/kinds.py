# SPDX-License-Identifier: Apache-2.0
"""The kinds of findings: how bad each is, what it is called, what can be done. The server imports it."""

from collections.abc import Mapping, Sequence
from typing import Final

from inglenook.vision.checks.model import Finding, Item

SUBSETS: Final = ("train", "val", "test")

_SORTS: Final = {
    # kind: severity, title, help, actions
    "corrupt": ("error", "Damaged or missing files", "Training would stop at them.", ("remove",)),
    "conflicting_labels": (
        "error",
        "The same picture with different labels",
        "No model can learn both.",
        ("relabel", "remove"),
    ),
    "exact_duplicates": (
        "warning",
        "Exact duplicates",
        "One of each is enough; copies in different parts of a split make results look better than they are.",
        ("remove", "tag"),
    ),
    "near_duplicates": (
        "warning",
        "Pictures that look alike",
        "Keep one, or give them one group so that a split keeps them together.",
        ("remove", "tag"),
    ),
    "conflicting_labels_near": (
        "warning",
        "Pictures that look alike with different labels",
        "One of the labels may be wrong.",
        ("relabel", "remove", "tag"),
    ),
    "leakage": (
        "error",
        "The same file in several parts of the split",
        "What is tested was trained on. Remove copies, or make a grouped split.",
        ("remove", "tag"),
    ),
    "leakage_near": (
        "warning",
        "Pictures that look alike in several parts of the split",
        "Results may look better than they are. A split grouped by likeness keeps them together.",
        ("remove", "tag"),
    ),
    "label_noise": ("warning", "Labels that may be wrong", "A trained model disagrees.", ("relabel", "tag")),
    "tiny": ("note", "Tiny pictures", "There may be too little in them to learn from.", ("remove", "tag")),
    "odd_aspect": ("note", "Long or tall pictures", "Cropping cuts much of them off.", ("remove", "tag")),
    "imbalance": (
        "warning",
        "Classes of very different size",
        "Use balanced sampling or class weights, and look at the macro metrics.",
        (),
    ),
    "singleton_classes": ("warning", "Classes of one picture", "It cannot be split.", ("relabel", "remove")),
    "empty_classes": ("note", "Classes without pictures", "Nothing can be learnt of them.", ()),
    "unlabelled": ("note", "Pictures without a class", "They are not trained on.", ("relabel", "remove")),
    "one_class": ("warning", "Only one class", "There is nothing to tell apart.", ()),
}  # fmt: skip


def leakage(
    groups: Sequence[tuple[str, ...]], subset_of: Mapping[str, str], split: str, *, exact: bool
) -> Finding | None:
    """Groups of the same or like pictures that a split has put into several parts; None where it has none."""
    items = []
    for group in groups:
        members = [(id_, subset_of.get(id_, "none")) for id_ in group]
        parts = [part for part in SUBSETS if any(where == part for _, where in members)]
        if len(parts) > 1:
            inside = tuple(id_ for id_, where in members if where in SUBSETS)
            keep = next(id_ for id_, where in members if where == parts[0])
            how = "the same file" if exact else "pictures that look alike"
            items.append(Item(ids=inside, why=f"{how} in {' and '.join(parts)}", keep=keep))
    return finding_of("leakage" if exact else "leakage_near", items, source=f"split {split}")


def finding_of(kind: str, items: Sequence[Item], source: str = "check") -> Finding | None:
    return finding(kind, items, source) if items else None


def finding(kind: str, items: Sequence[Item], source: str) -> Finding:
    """A finding of one of the kinds above; an evaluation makes its `label_noise` with it too."""
    severity, title, why, actions = _SORTS[kind]
    pictures = len({id_ for item in items for id_ in item.ids})
    return Finding(
        kind=kind,
        source=source,
        severity=severity,  # type: ignore[arg-type]  # of the table above
        title=title,
        help=why,
        pictures=pictures,
        actions=actions,  # type: ignore[arg-type]  # of the table above
        items=tuple(items),
    )
