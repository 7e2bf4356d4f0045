# SPDX-License-Identifier: Apache-2.0
"""What can be read out of an evaluation: pages of pictures, one of them, comparison, files. Blocks.

NumPy is imported where it is used: a server that nobody asks for results does without.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from inglenook.base.errors import NotFound
from inglenook.studio.errors import CorruptDocument, ImageNotFound
from inglenook.studio.evaluation.documents import EvaluationDocuments, Key
from inglenook.studio.evaluation.model import Aggregate, EvaluationRecord, Result, ResultQuery

if TYPE_CHECKING:
    from inglenook.studio.evaluation.table import Table

TABLES_KEPT: Final = 4


@dataclass(frozen=True, slots=True)
class ResultPage:
    """`total`: how many pictures fit."""

    results: tuple[Result, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a picture stands in a list: its page, from 1, and the names beside it; None at the ends, and all
    None where it is not in the list."""

    page: int | None
    previous: str | None
    next: str | None


class EvaluationViews:
    """Results never change, so the tables that were read last are kept."""

    def __init__(self, *, documents: EvaluationDocuments) -> None:
        self.documents = documents
        self._lock = threading.Lock()
        self._tables: OrderedDict[Key, Table] = OrderedDict()

    def table(self, key: Key) -> "Table":
        """Raises NotReady: it is not completed. EvaluationNotFound, CorruptDocument."""
        from inglenook.studio.evaluation.stored import read_table

        self.documents.require_completed(key)
        with self._lock:
            known = self._tables.get(key)
            if known is not None:
                self._tables.move_to_end(key)
                return known
        table, _ = read_table(self.documents.folder(key), self.aggregate(key).classes)
        with self._lock:
            self._tables[key] = table
            while len(self._tables) > TABLES_KEPT:
                self._tables.popitem(last=False)
        return table

    def aggregate(self, key: Key) -> Aggregate:
        """Raises NotReady, EvaluationNotFound, CorruptDocument."""
        self.documents.require_completed(key)
        found = self.documents.aggregate(key)
        if found is None:
            raise CorruptDocument(f"The figures of {key[2]} are gone.", hint="evaluate it again")
        return found

    def page(self, key: Key, query: ResultQuery, *, page: int, page_size: int) -> ResultPage:
        """Raises Invalid: no such class; as `table`."""
        table = self.table(key)
        rows = table.rows(query)
        shown = rows[(page - 1) * page_size : page * page_size]
        return ResultPage(tuple(table.result(int(row)) for row in shown), len(rows))

    def one(self, key: Key, name: str) -> Result:
        """By its filename or its id. Raises ImageNotFound; as `table`."""
        table = self.table(key)
        return table.result(row_of(table, name))

    def place(self, key: Key, query: ResultQuery, name: str, *, page_size: int) -> Place:
        """Raises as `page` and `one`."""
        table = self.table(key)
        row = row_of(table, name)
        rows = [int(one) for one in table.rows(query)]
        if row not in rows:
            return Place(None, None, None)
        at = rows.index(row)
        return Place(
            page=at // page_size + 1,
            previous=table.filenames[rows[at - 1]] if at else None,
            next=table.filenames[rows[at + 1]] if at + 1 < len(rows) else None,
        )

    def compare(self, first: Key, second: Key) -> dict[str, Any]:
        """Two evaluations on the pictures that both have looked at. Raises NothingShared; as `table`."""
        from inglenook.studio.evaluation.comparing import compared

        said = compared(self.table(first), self.table(second))
        return {
            "first": self._named(first),
            "second": self._named(second),
            **said,
        }

    def _named(self, key: Key) -> dict[str, Any]:
        record = self.documents.read(key)
        experiment = self.documents.experiments.read(key[0], key[1])
        return {
            "experiment_id": key[1],
            "experiment": experiment.name,
            "evaluation_id": record.id,
            "checkpoint": record.checkpoint,
            "checkpoint_epoch": record.checkpoint_epoch,
            "split_subsets": list(record.split_subsets),
        }

    # -- files ---------------------------------------------------------------------------------------------

    def file(self, key: Key, name: str) -> tuple[bytes, str]:
        """One of `FILES`, and its media type. Raises NotFound; as `table`."""
        if name not in FILES:
            raise NotFound(
                f"An evaluation has no file {name[:80]!r}.",
                code="evaluation.no_file",
                hint=f"there are {', '.join(FILES)}",
            )
        make, media_type = FILES[name]
        return make(self, key), media_type

    def record(self, key: Key) -> EvaluationRecord:
        return self.documents.read(key)


def row_of(table: "Table", name: str) -> int:
    """Raises ImageNotFound."""
    for names in (table.filenames, table.ids):
        if name in names:
            return names.index(name)
    raise ImageNotFound(
        f"The evaluation has no picture {name[:100]!r}.",
        hint="it is of another part of the split, or could not be read",
    )


def _results_csv(views: EvaluationViews, key: Key) -> bytes:
    from inglenook.studio.evaluation import sheets

    return sheets.results(views.table(key))


def _sheet(name: str) -> Callable[[EvaluationViews, Key], bytes]:
    def make(views: EvaluationViews, key: Key) -> bytes:
        from inglenook.studio.evaluation import sheets

        made: bytes = getattr(sheets, name)(views.aggregate(key))
        return made

    return make


def _plot(name: str) -> Callable[[EvaluationViews, Key], bytes]:
    def make(views: EvaluationViews, key: Key) -> bytes:
        from inglenook.studio.evaluation import plots

        made: bytes = getattr(plots, name)(views.aggregate(key))
        return made

    return make


def _aggregate_json(views: EvaluationViews, key: Key) -> bytes:
    said = {
        "evaluation": msgspec.to_builtins(views.record(key)),
        "aggregate": msgspec.to_builtins(views.aggregate(key)),
    }
    return msgspec.json.format(msgspec.json.encode(said), indent=2) + b"\n"


_CSV: Final = "text/csv; charset=utf-8"
FILES: Final[dict[str, tuple[Callable[[EvaluationViews, Key], bytes], str]]] = {
    "results.csv": (_results_csv, _CSV),
    "aggregate.json": (_aggregate_json, "application/json"),
    "per_class.csv": (_sheet("per_class"), _CSV),
    "confusion_matrix.csv": (_sheet("confusion_matrix"), _CSV),
    "curves.csv": (_sheet("curves"), _CSV),
    "reliability.csv": (_sheet("reliability"), _CSV),
    "confusion_matrix.png": (_plot("confusion_matrix"), "image/png"),
    "roc.png": (_plot("roc"), "image/png"),
    "precision_recall.png": (_plot("precision_recall"), "image/png"),
    "reliability.png": (_plot("reliability"), "image/png"),
}
"""What can be downloaded: what makes it, and its media type."""
