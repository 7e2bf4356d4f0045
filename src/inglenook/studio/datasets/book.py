# SPDX-License-Identifier: Apache-2.0
"""What a project's data set consists of on the disk, kept in step: head, history, index. Everything blocks.

A change is made in this order: its log, its note, the index, and last the head, which alone says which
version counts. A server that is killed between two of them leaves the version before.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import msgspec

from inglenook.base.clock import Clock
from inglenook.base.errors import NotFound
from inglenook.studio.datasets.history import Entry, History
from inglenook.studio.datasets.model import (
    Change,
    DatasetHead,
    ImageQuery,
    VersionNote,
)
from inglenook.studio.datasets.records import ImageIndex
from inglenook.studio.documents import stamp
from inglenook.studio.errors import DatasetNotImported
from inglenook.studio.workspace import Workspace

DATASET: Final = "dataset"
HEAD: Final = "dataset.json"
INDEX: Final = "index.sqlite"
_WHOLE_AFTER: Final = 500
"""Change logs after which a version is also written as a whole, so that making the index anew stays quick."""

Listener = Callable[[str, VersionNote], None]
"""Is told a project's id and its new version, while the project is locked: it must be quick."""


class Splits(Protocol):
    """What a data set asks of the splits that are made of it."""

    def find(self, project_id: str, name: str) -> str:
        """A split's id by its name or its id. Raises SplitNotFound."""
        ...

    def assignments(self, project_id: str, name: str) -> Mapping[str, str]:
        """Subset by a picture's id."""
        ...


@dataclass(slots=True)
class DatasetBook:
    workspace: Workspace
    clock: Clock
    listeners: list[Listener] = field(default_factory=list)
    splits: Splits | None = None

    # -- reading -----------------------------------------------------------------------------------------

    def folder(self, project_id: str) -> Path:
        """Raises ProjectNotFound."""
        return self.workspace.project_folder(project_id) / DATASET

    def history(self, project_id: str) -> History:
        return History(self.folder(project_id) / "versions")

    def head(self, project_id: str) -> DatasetHead:
        """Raises ProjectNotFound, DatasetNotImported, CorruptDocument."""
        try:
            return self.workspace.read(self.folder(project_id) / HEAD, DatasetHead)
        except NotFound as error:
            if error.code != "studio.missing":
                raise
            raise DatasetNotImported(
                "The project has no pictures yet.", hint="import some into its data set first"
            ) from None

    def asked(self, project_id: str, query: ImageQuery) -> tuple[ImageIndex, ImageQuery]:
        """The index, knowing the query's split, and the query with that split's id. Raises SplitNotFound;
        else as `head`.
        """
        index = self.index(project_id)
        if query.split is None or self.splits is None:
            return index, query
        split = self.splits.find(project_id, query.split)
        self.know_split(project_id, index, split)
        return index, msgspec.structs.replace(query, split=split)

    def index(self, project_id: str) -> ImageIndex:
        """The index, of the current version. Raises as `head`."""
        index = self._index(project_id)
        head = self.head(project_id)
        if index.state() != (head.id, head.current):
            with self.workspace.locked(project_id):
                self._catch_up(project_id, index)
        return index

    def _index(self, project_id: str) -> ImageIndex:
        return ImageIndex(self.folder(project_id) / INDEX)

    def _catch_up(self, project_id: str, index: ImageIndex) -> None:
        """Make the index true again: by the change logs that it lacks, where there are few, else anew."""
        head, history = self.head(project_id), self.history(project_id)
        state = index.state()
        if state == (head.id, head.current):
            return  # another thread has done it
        behind = head.current - state[1] if state is not None and state[0] == head.id else 0
        if 0 < behind <= _WHOLE_AFTER:
            logs = [history.changes(number) for number in range(head.current - behind + 1, head.current + 1)]
            if None not in logs:
                changes = (change for some in logs if some is not None for change in some)
                index.apply(head.id, head.current, changes)
                return
        records = history.records(head.current)
        index.rebuild(head.id, head.current, sorted(records.values(), key=lambda it: it.filename))

    # -- splits ------------------------------------------------------------------------------------------

    def know_split(self, project_id: str, index: ImageIndex, split: str) -> None:
        """Load a split's parts into the index, once. Raises SplitNotFound."""
        if self.splits is not None and not index.knows_split(split):
            assignments = self.splits.assignments(project_id, split)
            with self.workspace.locked(project_id):
                if not index.knows_split(split):  # nor has another thread loaded it meanwhile
                    index.add_split(split, assignments)

    def forget_split(self, project_id: str, split: str) -> None:
        with self.workspace.locked(project_id):
            index = self._index(project_id)
            if index.state() is not None:
                index.drop_split(split)

    # -- changing ----------------------------------------------------------------------------------------

    def keep(
        self,
        project_id: str,
        head: DatasetHead,
        note: VersionNote,
        *,
        classes: Sequence[str],
        changes: Sequence[Change],
    ) -> VersionNote:
        """Make a version of changes. The project is locked by the caller."""
        history = self.history(project_id)
        history.write_changes(note.number, changes)
        index = self.index(project_id)
        history.add(Entry(note=note, classes=tuple(classes)))
        index.apply(head.id, note.number, changes)
        newer = msgspec.structs.replace(
            head,
            current=note.number,
            classes=tuple(classes),
            updated_at=note.created_at,
            # Looks at every picture, so not where none came or went.
            image_stats=index.stats() if note.added or note.removed else head.image_stats,
        )
        self.workspace.write(self.folder(project_id) / HEAD, newer)
        if history.distance(note.number) >= _WHOLE_AFTER:
            history.write_whole(note.number, index.iterate())
        self.tell(project_id, note)
        return note

    def keep_whole(self, project_id: str, head: DatasetHead, note: VersionNote) -> VersionNote:
        """Make a version of which `History.write_whole` has written the pictures; the head's `image_stats`
        are counted here. The project is locked by the caller.
        """
        history = self.history(project_id)
        history.add(Entry(note=note, classes=head.classes))
        index = self._index(project_id)
        index.rebuild(head.id, head.current, history.whole(note.number))
        self.workspace.write(
            self.folder(project_id) / HEAD, msgspec.structs.replace(head, image_stats=index.stats())
        )
        self.tell(project_id, note)
        return note

    def tell(self, project_id: str, note: VersionNote) -> None:
        for listener in self.listeners:
            listener(project_id, note)

    def now(self) -> str:
        return stamp(self.clock.now())
