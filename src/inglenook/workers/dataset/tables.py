# SPDX-License-Identifier: Apache-2.0
"""Pictures in parquet and Arrow files, as Hugging Face's `datasets` writes them. Read in small batches."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from inglenook.vision.formats.huggingface import Columns, columns, subset_of
from inglenook.vision.formats.model import FormatError, Issue, class_name
from inglenook.workers.dataset.errors import NoLibrary

ROWS: Final = 32
"""Read at once: a row may hold a picture of many megabytes."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A picture as a table holds it."""

    original: str
    data: bytes
    label: str | None
    tags: tuple[str, ...]


class TableFile:
    """One parquet or Arrow file. Raises FormatError, NoLibrary when it is opened."""

    def __init__(self, path: Path, name: str) -> None:
        try:
            import pyarrow as pa
            import pyarrow.parquet
        except ImportError:
            raise NoLibrary(
                "Parquet and Arrow files are read with pyarrow, which is not installed.",
                hint="install it with: pip install 'inglenook[studio]'",
            ) from None
        self._pa = pa
        self._name = name
        try:
            if name.lower().endswith(".parquet"):
                self._parquet = pa.parquet.ParquetFile(path, pre_buffer=False, memory_map=False)
                schema, self.rows = self._parquet.schema_arrow, int(self._parquet.metadata.num_rows)
            else:
                self._parquet = None
                self._reader = self._arrow(path)
                schema, self.rows = self._reader.schema, 0
        except MemoryError:  # of Arrow too, which is one of its own errors besides
            raise
        except (pa.ArrowException, OSError, ValueError) as error:
            raise FormatError(f"{name} cannot be read: {str(error)[:160]}.") from None
        self._columns = _columns(schema, pa)
        self.classes = self._columns.names or ()

    def _arrow(self, path: Path) -> Any:
        with path.open("rb") as file:
            magic = file.read(6)
        source = self._pa.memory_map(str(path))
        return self._pa.ipc.open_file(source) if magic == b"ARROW1" else self._pa.ipc.open_stream(source)

    def cells(self) -> Iterator[Cell | Issue]:
        """Rows in their order. Raises FormatError when the file is damaged in its middle."""
        number = 0
        try:
            for batch in self._batches():
                images = batch.column(self._columns.image).to_pylist()
                label = self._columns.label
                labels = [None] * len(images) if label is None else batch.column(label).to_pylist()
                for image, given in zip(images, labels, strict=True):
                    number += 1
                    yield self._cell(image, given, number)
        except MemoryError:
            raise
        except (self._pa.ArrowException, OSError, ValueError, IndexError) as error:
            raise FormatError(f"{self._name} is damaged after row {number}: {str(error)[:160]}.") from None

    def _batches(self) -> Iterator[Any]:
        wanted = [name for name in (self._columns.image, self._columns.label) if name is not None]
        if self._parquet is not None:
            yield from self._parquet.iter_batches(batch_size=ROWS, columns=wanted)
        elif hasattr(self._reader, "num_record_batches"):
            for at in range(self._reader.num_record_batches):
                yield from _pieces(self._reader.get_batch(at))
        else:
            for batch in self._reader:
                yield from _pieces(batch)

    def _cell(self, image: object, given: object, number: int) -> Cell | Issue:
        where = f"{self._name}, row {number}"
        data = image.get("bytes") if isinstance(image, dict) else image
        path = image.get("path") if isinstance(image, dict) else None
        if not isinstance(data, bytes):
            why = f"only a path: {path[:100]}" if isinstance(path, str) and path else "nothing"
            return Issue(where, "missing_file", f"the table holds no bytes for the picture, but {why}")
        label = self._label(given)
        if given is not None and given != -1 and label is None:
            return Issue(where, "no_class", f"its label {str(given)[:60]!r} cannot be a class")
        subset = subset_of(self._name)
        base = path.replace("\\", "/").rpartition("/")[2] if isinstance(path, str) else ""
        stem = self._name.rpartition("/")[2].rpartition(".")[0]
        original = f"{label or 'unlabelled'}/{base or f'{stem}-{number:06d}'}"
        return Cell(original, data, label, () if subset is None else (subset,))

    def _label(self, given: object) -> str | None:
        names = self._columns.names
        if given is None or isinstance(given, list | dict | bytes):
            return None
        if names is not None and isinstance(given, int):
            return names[given] if 0 <= given < len(names) else None  # -1 is no label
        return class_name(str(given))


def _pieces(batch: Any) -> Iterator[Any]:
    for start in range(0, batch.num_rows, ROWS):
        yield batch.slice(start, ROWS)


def _columns(schema: Any, pa: Any) -> Columns:
    images = [field.name for field in schema if _holds_pictures(field.type, pa)]
    return columns(list(schema.names), schema.metadata, images)


def _holds_pictures(kind: Any, pa: Any) -> bool:
    if pa.types.is_struct(kind):
        return any(kind.field(at).name == "bytes" for at in range(kind.num_fields))
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
