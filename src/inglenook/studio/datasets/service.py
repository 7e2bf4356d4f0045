# SPDX-License-Identifier: Apache-2.0
"""Data sets: the pictures of a project, their labels, and every version of them. Everything here blocks.

Who may do it is asked of `ProjectsService.require` by the caller; this service knows projects by their ids.
"""

import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from inglenook.base.errors import NotFound
from inglenook.store.files import sync_folder, write_error
from inglenook.studio.datasets import editing, importing
from inglenook.studio.datasets.book import DATASET, DatasetBook, Listener, Splits
from inglenook.studio.datasets.model import (
    ANY_IMAGE,
    DatasetHead,
    ImageQuery,
    ImageRecord,
    Page,
    VersionNote,
)
from inglenook.studio.datasets.staging import Staging
from inglenook.studio.datasets.thumbnails import ThumbnailMaker
from inglenook.studio.errors import DatasetNotImported, ImageNotFound
from inglenook.studio.projects.service import ProjectsService

SPLITS: Final = "splits"

Needed = Callable[[str], Iterable[str]]
"""Names of files of a project's data set that must not be purged."""


@dataclass(slots=True)
class DatasetsService:
    book: DatasetBook
    projects: ProjectsService
    thumbnails: ThumbnailMaker
    max_images: int
    _needed: list[Needed] = field(default_factory=list)

    # -- what other parts add ----------------------------------------------------------------------------

    def listen(self, listener: Listener) -> None:
        """From now on, `listener` is told of each new version."""
        self.book.listeners.append(listener)

    def need_with(self, needed: Needed) -> None:
        """From now on, `needed` is asked before files are purged."""
        self._needed.append(needed)

    def forget_split(self, project_id: str, split: str) -> None:
        """A split was deleted."""
        self.book.forget_split(project_id, split)

    def split_with(self, splits: Splits) -> None:
        """From now on, lists by parts of a split ask `splits`."""
        self.book.splits = splits

    # -- reading -----------------------------------------------------------------------------------------

    def head(self, project_id: str) -> DatasetHead:
        """Raises ProjectNotFound, DatasetNotImported, CorruptDocument."""
        return self.book.head(project_id)

    def size(self, project_id: str) -> int:
        """How many pictures there are; 0 without a data set."""
        try:
            return self.head(project_id).image_stats.num_images
        except DatasetNotImported:
            return 0

    def images(
        self, project_id: str, query: ImageQuery = ANY_IMAGE, *, limit: int = 50, after: str | None = None
    ) -> Page:
        """A page of what fits, and `after` for the next one; as fast at the end of a list as at its
        beginning.

        Raises:
            Invalid: `after` is of another list. DatasetNotImported, ProjectNotFound, SplitNotFound.
        """
        index, wanted = self.book.asked(project_id, query)
        return index.page(wanted, limit=limit, after=after)

    def page(
        self, project_id: str, query: ImageQuery = ANY_IMAGE, *, page: int, page_size: int
    ) -> tuple[Sequence[ImageRecord], int]:
        """The pictures of the page with that number (from 1), and how many fit in all."""
        index, wanted = self.book.asked(project_id, query)
        found = index.slice(wanted, limit=page_size, offset=(page - 1) * page_size)
        return found, index.count(wanted)

    def count(self, project_id: str, query: ImageQuery = ANY_IMAGE) -> int:
        index, wanted = self.book.asked(project_id, query)
        return index.count(wanted)

    def ids(self, project_id: str, query: ImageQuery = ANY_IMAGE) -> list[str]:
        """Of all pictures that fit, in no order."""
        index, wanted = self.book.asked(project_id, query)
        return index.ids(wanted)

    def class_counts(self, project_id: str, query: ImageQuery = ANY_IMAGE) -> Mapping[str, int]:
        """Pictures by their primary class, in the order of the data set's classes, also those without one;
        "" for pictures without a class, where there are some.
        """
        index, wanted = self.book.asked(project_id, query)
        counted = index.class_counts(wanted)
        classes = self.head(project_id).classes
        rest = {name: count for name, count in counted.items() if name not in classes}
        return {name: counted.get(name, 0) for name in classes} | rest

    def tag_counts(self, project_id: str) -> Mapping[str, int]:
        return self.book.index(project_id).tag_counts()

    def get(self, project_id: str, name: str) -> ImageRecord:
        """A picture by its filename or its id. Raises ImageNotFound, DatasetNotImported."""
        found = self.book.index(project_id).find(name)
        if found is None:
            raise ImageNotFound(f"The data set has no picture {name[:100]!r}.")
        return found

    def ids_of(self, project_id: str, names: Sequence[str]) -> list[str]:
        """Ids of pictures that are named by their id or their filename. Raises ImageNotFound."""
        found = self.book.index(project_id).ids_of(names)
        missing = next((it for it in names if it not in found), None)
        if missing is not None:
            raise ImageNotFound(f"The data set has no picture {missing[:100]!r}.")
        return list(dict.fromkeys(found[it] for it in names))

    def some(self, project_id: str, images: Sequence[str]) -> Mapping[str, ImageRecord]:
        """Those of these ids that are there."""
        return self.book.index(project_id).by_id(images)

    def split_counts(self, project_id: str, split: str) -> Mapping[tuple[str, str], int]:
        """Pictures of now by part (also `none`) and class ("" for none) of a split."""
        index = self.book.index(project_id)
        self.book.know_split(project_id, index, split)
        return index.split_counts(split)

    def subsets(
        self, project_id: str, images: Sequence[str], splits: Iterable[str]
    ) -> Mapping[str, Mapping[str, str]]:
        """By a picture's id, its subset by each of the splits; left out where it is `none`."""
        index = self.book.index(project_id)
        for split in splits:
            self.book.know_split(project_id, index, split)
        return index.subsets(images)

    def iterate(self, project_id: str, version: int | None = None) -> Iterator[ImageRecord]:
        """Every picture, by filename: of now, or of an earlier version. Changes meanwhile are not seen.

        Raises (at once): DatasetNotImported, ProjectNotFound. NotFound: the version is not kept.
        """
        head = self.head(project_id)
        if version is None or version == head.current:
            return self.book.index(project_id).iterate()
        if not 1 <= version <= head.current:
            raise NotFound(f"The data set has no version {version}.", code="dataset.no_version")
        found = self.book.history(project_id).records(version).values()
        return iter(sorted(found, key=lambda it: it.filename))

    def versions(self, project_id: str) -> Sequence[VersionNote]:
        """Every version, oldest first. Raises DatasetNotImported, CorruptDocument."""
        head = self.head(project_id)
        return [entry.note for entry in self.book.history(project_id).entries(head.current)]

    def file(self, project_id: str, record: ImageRecord) -> Path:
        """Where the picture lies; only to be read."""
        return self.book.folder(project_id) / "images" / record.filename

    def thumbnail(self, project_id: str, record: ImageRecord, *, side_px: int = 256) -> "Future[Path]":
        """A WebP with sides of at most 128 or 256 pixels. The future's errors: `ThumbnailMaker.make`."""
        target = self.book.folder(project_id) / ".thumbs" / str(side_px) / f"{record.id}.webp"
        return self.thumbnails.make(self.file(project_id, record), target, side_px)

    # -- importing ---------------------------------------------------------------------------------------

    def begin(
        self,
        project_id: str,
        mode: Literal["add", "replace"],
        *,
        by: str,
        source_format: str,
        source_path: str,
    ) -> Staging:
        """Begin an import. `replace` keeps nothing of what is there; a picture that comes again (the same
        file under the same original name) keeps its id, and so its place in splits.

        Raises ProjectNotFound, Failed, Unavailable.
        """
        folder = self.book.folder(project_id) / f".new-{secrets.token_hex(6)}"
        try:
            folder.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise write_error(error, folder) from error

        def finish(staging: Staging, summary: str, classes: Sequence[str]) -> VersionNote:
            source = importing.Source(mode=mode, by=by, format=source_format, path=source_path)
            return importing.finish(self.book, project_id, staging, source, summary, classes)

        return Staging(folder, most=self.max_images, finish=finish)

    # -- changing ----------------------------------------------------------------------------------------

    def relabel(self, project_id: str, ids: Sequence[str], class_name: str | None, *, by: str) -> VersionNote:
        """Give these pictures one class; None takes theirs away. A class that is new is added.

        Raises:
            ImageNotFound: one of them is not there; nothing is changed.
            Invalid: the task's pictures have no class of their own, or the name is none.
        """
        return editing.relabel(self.book, project_id, ids, class_name, by=by)

    def tag(
        self,
        project_id: str,
        ids: Sequence[str],
        *,
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
        by: str,
    ) -> VersionNote:
        """Raises ImageNotFound, Invalid."""
        return editing.tag(self.book, project_id, ids, add=add, remove=remove, by=by)

    def remove(self, project_id: str, ids: Sequence[str], *, by: str) -> VersionNote:
        """Take pictures out; their files stay for earlier versions. Raises ImageNotFound."""
        return editing.remove(self.book, project_id, ids, by=by)

    def rename_class(self, project_id: str, old: str, new: str, *, by: str) -> VersionNote:
        """Raises NotFound: there is no such class. Conflict: `new` is one already."""
        return editing.rename_class(self.book, project_id, old, new, by=by)

    def merge_classes(self, project_id: str, names: Sequence[str], into: str, *, by: str) -> VersionNote:
        """Make all of `names` the class `into`, which may be one of them, another one, or new."""
        return editing.merge_classes(self.book, project_id, names, into, by=by)

    def return_to(self, project_id: str, number: int, *, by: str) -> VersionNote:
        """Make a new version that is like an earlier one. Raises NotFound: that one is not kept."""
        return editing.return_to(self.book, project_id, number, by=by)

    def purge(self, project_id: str) -> int:
        """Forget all earlier versions, and delete the files that nothing needs any more; how many those
        were.
        """
        return editing.purge(
            self.book, project_id, [name for need in self._needed for name in need(project_id)]
        )

    def clear(self, project_id: str) -> None:
        """Delete the data set with all its versions and files, and the splits that were made of it.

        Raises InUse: an experiment of the project runs.
        """
        with self.book.workspace.locked(project_id) as folder:
            self.projects.require_idle(project_id)
            if not (folder / DATASET).exists():
                return
            gone = [folder / f".gone-{secrets.token_hex(6)}" for _ in range(2)]
            try:
                (folder / DATASET).rename(gone[0])
                if (folder / SPLITS).exists():
                    (folder / SPLITS).rename(gone[1])
                sync_folder(folder)
            except OSError as error:
                raise write_error(error, folder / DATASET) from error
        for one in gone:
            shutil.rmtree(one, ignore_errors=True)  # what stays is cleared when the workspace is opened
