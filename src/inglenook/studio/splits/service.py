# SPDX-License-Identifier: Apache-2.0
"""Splits of a project: made once, never changed, kept with all that is needed to make them again. Blocks.

Who may do it is asked of `ProjectsService.require` by the caller.
"""

import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from inglenook.base.clock import Clock
from inglenook.base.errors import Conflict, InglenookError, Invalid, NotFound
from inglenook.studio.datasets.model import Subset
from inglenook.studio.datasets.service import DatasetsService
from inglenook.studio.documents import stamp
from inglenook.studio.errors import DatasetNotImported, ImageNotFound, InUse, SplitNotFound
from inglenook.studio.projects.model import named
from inglenook.studio.splits.model import (
    SUBSETS,
    Part,
    Plan,
    Preview,
    Split,
    SplitState,
    SplitSummary,
    Stats,
)
from inglenook.studio.workspace import Workspace

MAX_SPLITS: Final = 500
_RESERVED: Final = frozenset({"preview"})
"""Names that a route already has."""
_ID = re.compile(r"split-[0-9a-f]{8}")

Users = Callable[[str, SplitSummary], Iterable[str]]
"""Names of a project's experiments that use a split; `!` before a name: it runs now."""


@dataclass(slots=True)
class SplitsService:
    workspace: Workspace
    datasets: DatasetsService
    clock: Clock
    _users: list[Users] = field(default_factory=list)
    _known: dict[Path, tuple[int, SplitSummary]] = field(default_factory=dict)
    """By document: when it was written (ns), and what it says: each may have a line for every picture."""
    _counted: dict[tuple[str, str], tuple[int, SplitState]] = field(default_factory=dict)
    """By project and split: of which version of the data set, and what was counted."""

    def use_with(self, users: Users) -> None:
        """From now on, `users` is asked who uses a split before it is deleted."""
        self._users.append(users)

    # -- reading -----------------------------------------------------------------------------------------

    def list(self, project_id: str) -> Sequence[SplitState]:
        """In the order in which they were made. A document that cannot be read is left out; see
        `problems`.
        """
        found, _ = self._all(project_id)
        return [self._state(project_id, split, place) for place, split in enumerate(found)]

    def names(self, project_id: str) -> Sequence[str]:
        return [it.name for it in self._all(project_id)[0]]

    def summaries(self, project_id: str) -> Sequence[SplitSummary]:
        """As they were made, without counting anew."""
        return self._all(project_id)[0]

    def problems(self, project_id: str) -> Sequence[str]:
        """Of documents that cannot be read, each in a sentence that names it."""
        return self._all(project_id)[1]

    def get(self, project_id: str, name: str) -> SplitState:
        """By its name, or its id. Raises SplitNotFound, ProjectNotFound."""
        found, _ = self._all(project_id)
        split = _named(found, name)
        return self._state(project_id, split, found.index(split))

    def find(self, project_id: str, name: str) -> str:
        """A split's id by its name or its id. Raises SplitNotFound."""
        return self.summary(project_id, name).id

    def summary(self, project_id: str, name: str) -> SplitSummary:
        """By its name, or its id, as it was made. Raises SplitNotFound."""
        return _named(self._all(project_id)[0], name)

    def assignments(self, project_id: str, name: str) -> Mapping[str, Subset]:
        """Part by a picture's id; pictures in no part are not in it. Raises SplitNotFound,
        CorruptDocument.
        """
        path = self._folder(project_id) / f"{self.find(project_id, name)}.json"
        return self.workspace.read(path, Split).assignments

    def _all(self, project_id: str) -> tuple[Sequence[SplitSummary], Sequence[str]]:
        found: list[SplitSummary] = []
        problems: list[str] = []
        folder = self._folder(project_id)
        paths = (
            [it for it in folder.glob("split-*.json") if _ID.fullmatch(it.stem)] if folder.exists() else []
        )
        for path in paths:
            try:
                found.append(self._summary(path))
            except (NotFound, FileNotFoundError):
                continue  # deleted meanwhile
            except InglenookError as error:
                problems.append(error.message)
        return sorted(found, key=lambda it: (it.index, it.id)), problems

    def _summary(self, path: Path) -> SplitSummary:
        """Raises NotFound, FileNotFoundError, CorruptDocument."""
        written = path.stat().st_mtime_ns
        known = self._known.get(path)
        if known is None or known[0] != written:
            known = (written, self.workspace.read(path, SplitSummary))
            self._known[path] = known
        return known[1]

    def _state(self, project_id: str, split: SplitSummary, place: int) -> SplitState:
        """With the counts of now; counted once for each version of the data set."""
        try:
            head = self.datasets.head(project_id)
        except DatasetNotImported:
            nobody: Stats = dict.fromkeys(SUBSETS, 0)
            assigned = sum(split.stats.values()) - split.stats["none"]
            return SplitState(split=split, index=place, stats=nobody, class_distribution={}, gone=assigned)
        if (head.id, head.current) == (split.dataset_id, split.dataset_version):
            return SplitState(
                split=split, index=place, stats=split.stats, class_distribution=split.class_distribution
            )
        known = self._counted.get((project_id, split.id))
        if known is None or known[0] != head.current:
            counts = self.datasets.split_counts(project_id, split.id)
            known = (head.current, _state_of(split, counts, head.classes))
            self._counted[project_id, split.id] = known
        return msgspec.structs.replace(known[1], index=place)

    # -- making ------------------------------------------------------------------------------------------

    def preview(self, project_id: str, plan: Plan) -> Preview:
        """What the plan gives now. Raises Invalid, DatasetNotImported, ProjectNotFound."""
        from inglenook.studio.splits.planning import plan_parts  # brings numpy

        head = self.datasets.head(project_id)
        records = list(self.datasets.iterate(project_id))
        return plan_parts(plan, records, task=head.task, classes=head.classes, dataset_version=head.current)

    def create(self, project_id: str, name: str, plan: Plan, *, by: str) -> Sequence[SplitState]:
        """Make the plan's split; of k-fold, k splits named `name 1` … `name k`.

        Raises:
            Invalid: the name or the plan cannot be accepted. Conflict: there is one of that name.
            DatasetNotImported, ProjectNotFound.
        """
        with self.workspace.locked(project_id):
            there, _ = self._all(project_id)
            head = self.datasets.head(project_id)
            wanted = _free_names(name, plan, there)
            preview = self.preview(project_id, plan)
            if preview.dataset_version != head.current:
                raise Conflict("The data set was changed meanwhile.", code="dataset.changed")
            start = max((it.index for it in there), default=-1) + 1
            family = f"fold-{secrets.token_hex(4)}"
            kept = []
            for place, (one, part) in enumerate(zip(wanted, preview.parts, strict=True)):
                split = self._split(one, start + place, preview, part, head.id, by)
                if plan.method == "kfold":
                    options = msgspec.structs.replace(split.options, fold=place + 1, family=family)
                    split = msgspec.structs.replace(split, options=options)
                summary = self._keep(project_id, split)
                kept.append(self._state(project_id, summary, len(there) + place))
            return kept

    def adopt(
        self,
        project_id: str,
        name: str,
        assignments: Mapping[str, Subset],
        *,
        by: str,
        warnings: Sequence[str] = (),
    ) -> SplitState:
        """Keep a division that somebody else has made.

        Args:
            assignments: part by a picture's id; pictures that are not in it are in no part.

        Raises:
            Invalid, Conflict: as `create`. ImageNotFound: a picture that is not there.
        """
        from inglenook.studio.splits.planning import part_of  # brings numpy

        plan = Plan(method="manual")
        with self.workspace.locked(project_id):
            there, _ = self._all(project_id)
            head = self.datasets.head(project_id)
            wanted = _free_names(name, plan, there)
            part = part_of(list(self.datasets.iterate(project_id)), assignments, head.classes)
            if len(part.assignments) != len(assignments):
                raise ImageNotFound("The split names pictures that the data set does not have.")
            preview = Preview(
                plan=plan,
                dataset_version=head.current,
                classes=head.classes,
                parts=(part,),
                warnings=tuple(warnings),
            )
            index = max((it.index for it in there), default=-1) + 1
            split = self._split(wanted[0], index, preview, part, head.id, by)
            return self._state(project_id, self._keep(project_id, split), len(there))

    def _split(self, name: str, index: int, preview: Preview, part: Part, dataset_id: str, by: str) -> Split:
        return Split(
            id=f"split-{secrets.token_hex(4)}",
            name=name,
            index=index,
            method=preview.plan.method,
            ratios=preview.plan.ratios,
            seed=preview.plan.seed,
            options=preview.plan.options,
            created_at=stamp(self.clock.now()),
            created_by=by,
            dataset_id=dataset_id,
            dataset_version=preview.dataset_version,
            classes=preview.classes,
            stats=part.stats,
            class_distribution=part.class_distribution,
            warnings=preview.warnings,
            assignments=part.assignments,
        )

    def _keep(self, project_id: str, split: Split) -> SplitSummary:
        folder = self._folder(project_id)
        folder.mkdir(mode=0o700, exist_ok=True)
        self.workspace.write(folder / f"{split.id}.json", split)
        return self.workspace.read(folder / f"{split.id}.json", SplitSummary)

    def users(self, project_id: str, name: str) -> Sequence[str]:
        """Names of the experiments that use the split."""
        split = self.summary(project_id, name)
        found = [user for users in self._users for user in users(project_id, split)]
        return [user.removeprefix("!") for user in found]

    def delete(self, project_id: str, name: str) -> Sequence[str]:
        """Delete a split; the names of the experiments that were made with it. Their manifests stay.

        Raises:
            SplitNotFound. InUse: an experiment with it runs.
        """
        with self.workspace.locked(project_id):
            split = self.summary(project_id, name)
            found = [user for users in self._users for user in users(project_id, split)]
            running = [user.removeprefix("!") for user in found if user.startswith("!")]
            if running:
                raise InUse(
                    f"The split {split.name!r} is in use by {', '.join(running)}.", hint="stop that first"
                )
            (self._folder(project_id) / f"{split.id}.json").unlink(missing_ok=True)
            self._counted.pop((project_id, split.id), None)
            self._known.pop(self._folder(project_id) / f"{split.id}.json", None)
            self.datasets.forget_split(project_id, split.id)
            return found

    def count(self, project_id: str) -> int:
        folder = self._folder(project_id)
        return (
            sum(1 for it in folder.glob("split-*.json") if _ID.fullmatch(it.stem)) if folder.exists() else 0
        )

    def _folder(self, project_id: str) -> Path:
        return self.workspace.project_folder(project_id) / "splits"


def _named(splits: Sequence[SplitSummary], name: str) -> SplitSummary:
    """Raises SplitNotFound."""
    wanted = " ".join(name.split())
    for split in splits:
        if wanted in (split.name, split.id):
            return split
    raise SplitNotFound(f"There is no split {name[:100]!r}.")


def _free_names(name: str, plan: Plan, there: Sequence[SplitSummary]) -> Sequence[str]:
    """Raises Invalid, Conflict."""
    base = named(name)
    wanted = [base]
    if plan.method == "kfold":
        wanted = [named(f"{base} {fold}") for fold in range(1, plan.options.folds + 1)]
    if base.casefold() in _RESERVED or _ID.fullmatch(base):
        raise Invalid(f"A split cannot be called {base!r}.", field="name", hint="choose another name")
    if len(there) + len(wanted) > MAX_SPLITS:
        raise Invalid(f"A project may have {MAX_SPLITS} splits.", field="name")
    taken = {it.name.casefold() for it in there}
    twice = next((it for it in wanted if it.casefold() in taken), None)
    if twice is not None:
        raise Conflict(
            f"There is a split {twice!r} already.", code="split.exists", hint="choose another name"
        )
    return wanted


def _state_of(
    split: SplitSummary, counts: Mapping[tuple[str, str], int], classes: Sequence[str]
) -> SplitState:
    """Args:
    counts: pictures by part and class.
    """
    stats: Stats = {subset: sum(n for (part, _), n in counts.items() if part == subset) for subset in SUBSETS}
    names = [*classes, *sorted({name for _, name in counts if name} - set(classes))]
    assigned = sum(split.stats[it] for it in ("train", "val", "test"))
    there = sum(stats[it] for it in ("train", "val", "test"))
    return SplitState(
        split=split,
        index=split.index,
        stats=stats,
        class_distribution={
            name: {subset: counts.get((subset, name), 0) for subset in SUBSETS} for name in names
        },
        gone=assigned - there,
    )
