# SPDX-License-Identifier: Apache-2.0
"""Reading a source from its listing to its last picture."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import msgspec

from inglenook.base.clock import Clock
from inglenook.vision.formats.huggingface import TABLES, table_files
from inglenook.vision.formats.model import (
    CLASSIFICATION,
    Entry,
    Format,
    FormatError,
    Issue,
    Tree,
    is_picture,
    not_for,
)
from inglenook.vision.formats.registry import choose
from inglenook.wire.studio.dataset import (
    ArchiveSource,
    DatasetFound,
    DatasetRead,
    FolderSource,
    Listed,
    ListedSource,
    Progress,
    ReadDataset,
    TableSource,
)
from inglenook.workers.dataset.archive import ArchiveFiles
from inglenook.workers.dataset.files import Files, FolderFiles, bounded_read
from inglenook.workers.dataset.tables import TableFile
from inglenook.workers.dataset.taking import Send, Taking, from_bytes

_LISTED = msgspec.json.Decoder(Listed)


class Reading:
    """One `ReadDataset`. `spool`: a folder for what must be unpacked on the way."""

    def __init__(
        self, work: ReadDataset, *, spool: Path, send: Send, should_stop: Callable[[], bool], clock: Clock
    ) -> None:
        self._work = work
        self._spool = spool
        self._send = send
        self._should_stop = should_stop
        self._clock = clock
        self._taking: Taking | None = None

    @property
    def taken(self) -> int:
        return 0 if self._taking is None else self._taking.taken

    def run(self) -> DatasetRead:
        """Raises InglenookError, Stopped, OSError."""
        source = self._work.source
        if isinstance(source, TableSource):
            path = Path(source.path)
            self._tables([(path.name, path)], [], TABLES.title)
        elif isinstance(source, ListedSource) and source.labelled:
            self._listed(source)
        else:
            self._files(self._opened())
        taking = self._taking
        assert taking is not None
        taking.flush()
        classes = tuple(dict.fromkeys((*self._classes, *taking.classes)))
        return DatasetRead(job=self._work.job, classes=classes, pictures=taking.taken, skipped=taking.skipped)

    def _opened(self) -> Files:
        source = self._work.source
        bounds = self._work.bounds
        if isinstance(source, ArchiveSource):
            return ArchiveFiles(Path(source.path), bounds, should_stop=self._should_stop)
        if isinstance(source, ListedSource):
            return ListedFiles(source)
        assert isinstance(source, FolderSource)
        roots = tuple(Path(root) for root in source.roots)
        return FolderFiles(Path(source.path), roots, most=bounds.files, should_stop=self._should_stop)

    def _files(self, files: Files) -> None:
        try:
            self._send(Progress(job=self._work.job, stage="list", done=0, total=0))
            form, tree = self._chosen(files)
            if form is TABLES:
                tables = [(path, files.local(tree.prefix + path, self._spool)) for path in table_files(tree)]
                self._tables(tables, files.issues, form.title)
                return
            parsed = form.parse(tree, self._work.task)
            total = sum(map(is_picture, tree.paths))
            taking = self._begin(form.name, form.title, parsed.classes, total, parsed.about)
            for issue in files.issues:
                taking.leave_out(issue)
            for row in parsed.rows:
                if isinstance(row, Issue):
                    taking.leave_out(row)
                else:
                    taking.take(row, row.path, partial(files.open, tree.prefix + row.path))
        finally:
            files.close()

    def _chosen(self, files: Files) -> tuple[Format, Tree]:
        """As `choose`; where nothing fits because of what the listing left out, the error says so."""
        tree = files.tree()
        try:
            return choose(tree, self._work.task, self._work.format)
        except FormatError as error:
            if not files.issues:
                raise
            first = files.issues[0]
            left = f"{len(files.issues)} entries were left out; {first.path}: {first.message}."
            raise FormatError(f"{error.message} {left}", hint=error.hint) from None

    def _tables(self, tables: list[tuple[str, Path]], issues: list[Issue], title: str) -> None:
        if self._work.task != CLASSIFICATION:
            raise not_for(TABLES, self._work.task)
        opened = [TableFile(path, name) for name, path in tables]
        if not opened:
            raise FormatError("There is no parquet or Arrow file here.")
        classes = dict.fromkeys(name for table in opened for name in table.classes)
        rows = sum(table.rows for table in opened)
        taking = self._begin(TABLES.name, title, tuple(classes), rows, ())
        for issue in issues:
            taking.leave_out(issue)
        for table in opened:
            for cell in table.cells():
                if isinstance(cell, Issue):
                    taking.leave_out(cell)
                else:
                    entry = Entry(cell.original, label=cell.label, tags=cell.tags)
                    taking.take(entry, cell.original, from_bytes(cell.data))

    def _listed(self, source: ListedSource) -> None:
        total = sum(1 for _ in _lines(Path(source.manifest)))
        taking = self._begin("listed", "pictures that were chosen", (), total, ())
        for one in _lines(Path(source.manifest)):
            entry = Entry(
                one.original, label=one.label, group=one.group, taken_at=one.taken_at, tags=one.tags
            )
            taking.take(entry, one.original, partial(_open, one.file))

    def _begin(
        self, name: str, title: str, classes: tuple[str, ...], total: int, about: tuple[str, ...]
    ) -> Taking:
        self._classes = classes
        self._send(
            DatasetFound(
                job=self._work.job, format=name, title=title, classes=classes, files=total, about=about
            )
        )
        self._taking = Taking(
            self._work,
            total=total,
            known=_known(self._work.known),
            send=self._send,
            should_stop=self._should_stop,
            clock=self._clock,
        )
        return self._taking


class ListedFiles:
    """Files that the server has put somewhere, under the paths that they had with whoever sent them."""

    def __init__(self, source: ListedSource) -> None:
        self._at = {one.original: one.file for one in _lines(Path(source.manifest))}
        self.issues: list[Issue] = []

    def tree(self) -> Tree:
        folders = {
            "/".join(parts[: depth + 1])
            for parts in (path.split("/")[:-1] for path in self._at)
            for depth in range(len(parts))
        }
        return Tree(self._at, folders, self._read)

    def _read(self, path: str, limit: int) -> bytes:
        with self.open(path) as file:
            return bounded_read(file, path, limit)

    def open(self, path: str) -> BinaryIO:
        return _open(self._at[path])

    def local(self, path: str, spool: Path) -> Path:  # noqa: ARG002 - the protocol's signature
        return Path(self._at[path])

    def close(self) -> None:
        return


def _open(path: str) -> BinaryIO:
    return Path(path).open("rb")


def _lines(path: Path) -> Iterator[Listed]:
    with path.open("rb") as file:
        for line in file:
            yield _LISTED.decode(line)


def _known(path: str | None) -> frozenset[bytes]:
    if path is None:
        return frozenset()
    with Path(path).open() as file:
        return frozenset(bytes.fromhex(line.strip()) for line in file if line.strip())
