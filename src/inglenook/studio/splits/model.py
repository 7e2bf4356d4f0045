# SPDX-License-Identifier: Apache-2.0
"""A split as a value: which picture is in which part, how that came about. Pure."""

from typing import Annotated, Literal

import msgspec

from inglenook.studio.datasets.model import Subset
from inglenook.studio.documents import Document

Method = Literal["stratified", "grouped", "time", "manual", "kfold"]
GroupBy = Literal["group", "folder", "duplicates"]
Seed = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
Ratio = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]

SUBSETS: tuple[Subset, ...] = ("train", "val", "test", "none")


class Ratios(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shares of the pictures; their sum is 1 within 1e-6."""

    train: Ratio
    val: Ratio
    test: Ratio

    def shares(self) -> tuple[float, float, float]:
        return (self.train, self.val, self.test)


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What belongs to some methods only.

    Attributes:
        group_by: what makes pictures stay together, also in k-fold: the same `group`, the same folder that
        they
            came from, the same file. Empty for the method `grouped` counts as `group`.
        folds: of `kfold`. Each fold in turn is val; `ratios.test` is held out of all of them first.
        fold: which of them this split is, from 1; set by us.
        family: the same for all splits of one `kfold`; set by us.
        assignments: of `manual`: part by filename or id.
        from_folders: of `manual`: pictures whose original path has a folder `train`, `val` or `test` (or
            another usual word for one of them) go there.
        rest: of `manual`: where all others go.
    """

    group_by: tuple[GroupBy, ...] = ()
    folds: Annotated[int, msgspec.Meta(ge=2, le=50)] = 5
    fold: Annotated[int, msgspec.Meta(ge=1, le=50)] | None = None
    family: str | None = None
    assignments: dict[str, Subset] = {}
    from_folders: bool = False
    rest: Subset = "none"


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked for. `ratios` may be left out where the method does not need them."""

    method: Method = "stratified"
    ratios: Ratios | None = None
    seed: Seed = 0
    options: Options = Options()


Stats = dict[str, int]
"""Pictures by part: `train`, `val`, `test`, `none`."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One division of the pictures, not kept yet.

    Attributes:
        assignments: part by a picture's id; pictures in no part are not in it.
        class_distribution: by class, pictures by part.
    """

    assignments: dict[str, Subset]
    stats: Stats
    class_distribution: dict[str, Stats]


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan would give. `parts`: one; of k-fold, one a fold."""

    plan: Plan
    dataset_version: int
    classes: tuple[str, ...]
    parts: tuple[Part, ...]
    warnings: tuple[str, ...]


class SplitSummary(Document, frozen=True, kw_only=True):
    """A split without who is where.

    Attributes:
        index: rises from split to split of a project.
        stats, class_distribution: of the data set as it was then (`dataset_version`).
        warnings: what was said when it was made.
    """

    id: str
    name: str
    index: int
    method: Method
    ratios: Ratios | None
    seed: Seed
    options: Options
    created_at: str
    created_by: str
    dataset_id: str
    dataset_version: int
    classes: tuple[str, ...]
    stats: Stats
    class_distribution: dict[str, Stats]
    warnings: tuple[str, ...] = ()


class Split(SplitSummary, frozen=True, kw_only=True):
    """As its document keeps it. `assignments`: as in `Part`."""

    assignments: dict[str, Subset]


class SplitState(msgspec.Struct, frozen=True, kw_only=True):
    """A split and the data set of now.

    Attributes:
        index: place in the project's list of splits, from 0.
        stats, class_distribution: of the pictures that are there now; those that came later are in `none`.
        gone: pictures of the split that were removed since.
    """

    split: SplitSummary
    index: int
    stats: Stats
    class_distribution: dict[str, Stats]
    gone: int = 0
