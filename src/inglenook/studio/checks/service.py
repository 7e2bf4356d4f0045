# SPDX-License-Identifier: Apache-2.0
"""Findings of a data set, for those who want to act on them. Everything here blocks."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inglenook.base.clock import Clock
from inglenook.base.errors import NotFound
from inglenook.studio.checks.model import CheckDocument, SourceDocument
from inglenook.studio.datasets.model import ImageRecord
from inglenook.studio.datasets.service import DatasetsService
from inglenook.studio.documents import read_document, stamp, write_document
from inglenook.vision.checks.kinds import leakage
from inglenook.vision.checks.model import Finding, Item

FOLDER: Final = "checks"
KEPT: Final = 10
"""Checks of earlier versions that are kept."""
_BY_VERSION: Final = re.compile(r"\d{6}\.json")
_ORDER: Final = {"error": 0, "warning": 1, "note": 2}


@dataclass(frozen=True, slots=True)
class Overview:
    """`checked`: the newest check; None before the first. `stale`: the data set has changed since.

    `findings`: the worst first.
    """

    current: int
    checked: CheckDocument | None
    findings: tuple[Finding, ...]

    @property
    def stale(self) -> bool:
        return self.checked is not None and self.checked.dataset_version != self.current


@dataclass(frozen=True, slots=True)
class ItemPage:
    """Items of one finding with those of their pictures that are still there."""

    finding: Finding
    items: tuple[tuple[Item, tuple[ImageRecord, ...]], ...]
    total: int


def version_path(datasets: DatasetsService, project_id: str, version: int) -> Path:
    return datasets.book.folder(project_id) / FOLDER / f"{version:06d}.json"


@dataclass(frozen=True, slots=True)
class ChecksService:
    datasets: DatasetsService
    clock: Clock

    def overview(self, project_id: str, split: str | None = None) -> Overview:
        """What is known to be wrong; with `split`, also what it has put into several parts.

        Raises ProjectNotFound, DatasetNotImported, SplitNotFound, CorruptDocument.
        """
        head = self.datasets.head(project_id)
        checked = self._newest(project_id)
        found = [] if checked is None else list(checked.found.findings)
        if checked is not None and split is not None:
            found += self._leakage(project_id, checked, split)
        for document in self._sources(project_id):
            found += document.findings
        found.sort(key=lambda one: _ORDER[one.severity])
        return Overview(head.current, checked, tuple(found))

    def items(
        self,
        project_id: str,
        kind: str,
        *,
        source: str | None = None,
        split: str | None = None,
        page: int = 1,
        page_size: int = 50,
    ) -> ItemPage:
        """A page of one finding. Raises NotFound: there is no such finding; and as `overview`."""
        for finding in self.overview(project_id, split).findings:
            if finding.kind == kind and source in (None, finding.source):
                return self._page(project_id, finding, page, page_size)
        raise NotFound(f"There is no finding {kind[:60]!r}.", code="checks.not_found")

    def put(self, project_id: str, source: str, findings: Sequence[Finding]) -> None:
        """Keep what somebody else has found (`evaluation eval-…`: label noise); replaces what it said before.

        Raises ProjectNotFound, DatasetNotImported, Failed, Unavailable.
        """
        document = SourceDocument(
            source=source,
            dataset_version=self.datasets.head(project_id).current,
            created_at=stamp(self.clock.now()),
            findings=tuple(findings),
        )
        with self.datasets.book.workspace.locked(project_id):
            path = self._source_path(project_id, source)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_document(path, document)

    def drop(self, project_id: str, source: str) -> None:
        """Forget what `source` has said. Idempotent."""
        with self.datasets.book.workspace.locked(project_id):
            self._source_path(project_id, source).unlink(missing_ok=True)

    def tidy(self, project_id: str) -> None:
        """Delete checks of versions long gone by."""
        with self.datasets.book.workspace.locked(project_id):
            for path in self._by_version(project_id)[:-KEPT]:
                path.unlink(missing_ok=True)

    def _by_version(self, project_id: str) -> list[Path]:
        folder = self.datasets.book.folder(project_id) / FOLDER
        if not folder.is_dir():
            return []
        return sorted(path for path in folder.iterdir() if _BY_VERSION.fullmatch(path.name))

    def _newest(self, project_id: str) -> CheckDocument | None:
        paths = self._by_version(project_id)
        return read_document(paths[-1], CheckDocument) if paths else None

    def _source_path(self, project_id: str, source: str) -> Path:
        name = re.sub(r"[^a-z0-9]+", "-", source.lower())[:80]
        return self.datasets.book.folder(project_id) / FOLDER / f"from-{name}.json"

    def _sources(self, project_id: str) -> Iterable[SourceDocument]:
        folder = self.datasets.book.folder(project_id) / FOLDER
        if folder.is_dir():
            for path in sorted(folder.glob("from-*.json")):
                yield read_document(path, SourceDocument)

    def _leakage(self, project_id: str, checked: CheckDocument, split: str) -> list[Finding]:
        splits = self.datasets.book.splits
        if splits is None:
            return []
        subsets = splits.assignments(project_id, split)
        found = [
            leakage(checked.found.exact, subsets, split, exact=True),
            leakage(checked.found.near, subsets, split, exact=False),
        ]
        return [one for one in found if one is not None]

    def _page(self, project_id: str, finding: Finding, page: int, page_size: int) -> ItemPage:
        shown = finding.items[(page - 1) * page_size : page * page_size]
        wanted = list(dict.fromkeys(id_ for item in shown for id_ in item.ids))
        there = self.datasets.some(project_id, wanted)
        rows = tuple((item, tuple(there[id_] for id_ in item.ids if id_ in there)) for item in shown)
        return ItemPage(finding, rows, len(finding.items))
