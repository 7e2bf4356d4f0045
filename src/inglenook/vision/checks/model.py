# SPDX-License-Identifier: Apache-2.0
"""Findings as values. They are kept as JSON."""

from typing import Final, Literal

import msgspec

MAX_DISTANCE: Final = 12
"""Bits of 64 from which on hashes are not near any more, whatever is asked for."""

Severity = Literal["error", "warning", "note"]
Action = Literal["remove", "relabel", "tag"]
"""What a data set can do with the pictures of an item; `remove` spares the one in `keep`."""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """Pictures that belong to one another in a finding, or one alone.

    Attributes:
        ids: of the pictures, in the data set's order. why: for people.
        classes: that are concerned. keep: the one that stays where the others are removed.
    """

    ids: tuple[str, ...] = ()
    why: str = ""
    classes: tuple[str, ...] = ()
    keep: str | None = None


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of trouble with all its items.

    Attributes:
        kind: stable: `corrupt`, `exact_duplicates`, `near_duplicates`, `conflicting_labels` (and `…_near`),
            `leakage` (and `…_near`), `tiny`, `odd_aspect`, `imbalance`, `singleton_classes`, `empty_classes`,
            `one_class`, `unlabelled`, `label_noise`.
        source: who has found it: `check`, `split <id>`, `evaluation <id>`.
        pictures: how many are concerned.
    """

    kind: str
    source: str = "check"
    severity: Severity
    title: str
    help: str = ""
    pictures: int
    actions: tuple[Action, ...] = ()
    items: tuple[Item, ...] = ()


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What a check has found. `exact`, `near`: groups of ids that are, or look, the same (for splits)."""

    pictures: int
    files_read: bool
    distance: int
    findings: tuple[Finding, ...]
    exact: tuple[tuple[str, ...], ...] = ()
    near: tuple[tuple[str, ...], ...] = ()
