# SPDX-License-Identifier: Apache-2.0
"""CSV: a row names a picture and its class, perhaps with a group and a date.

`labels.csv`, or the only CSV file. Also `metadata.csv` and `metadata.jsonl` of Hugging Face's `imagefolder`.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from inglenook.vision.formats.model import (
    ANOMALY,
    CLASSIFICATION,
    MAX_CLASSES,
    MAX_DOCUMENT_BYTES,
    Entry,
    Format,
    FormatError,
    Issue,
    Parsed,
    Row,
    Tree,
    class_name,
    safe_path,
)

NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "filename": ("filename", "file_name", "file", "image", "path", "image_path", "filepath"),
    "label": ("label", "class", "class_name", "category", "target"),
    "group": ("group", "group_id", "session", "subject"),
    "date": ("date", "taken_at", "datetime", "timestamp", "time"),
    "subset": ("split", "subset", "set"),
    "is_anomalous": ("is_anomalous", "anomalous"),
}
"""Column → how it may be called, the likeliest first; without case."""
FOLDERS_OF_PICTURES: Final = ("", "images/")
YES: Final = frozenset({"1", "true", "yes", "y"})
NO: Final = frozenset({"0", "false", "no", "n"})

Record = Mapping[str, str]


def the_table(tree: Tree) -> str | None:
    """The CSV file that describes the pictures; None for none, and for several that are not `labels.csv`."""
    tables = [path for path in tree.root_files() if path.lower().endswith((".csv", ".tsv"))]
    for path in tables:
        if path.lower() == "labels.csv":
            return path
    return tables[0] if len(tables) == 1 else None


def recognise(tree: Tree) -> bool:
    return any(path.lower().endswith((".csv", ".tsv")) for path in tree.root_files())


def parse(tree: Tree, task: str) -> Parsed:
    """Raises FormatError: several files, no header, columns that are missing."""
    table = the_table(tree)
    if table is None:
        found = [path for path in tree.root_files() if path.lower().endswith((".csv", ".tsv"))]
        if not found:
            raise FormatError("There is no CSV file.", hint="put a labels.csv beside the pictures")
        raise FormatError(
            f"There are {len(found)} CSV files: {', '.join(found[:5])}.",
            hint="call the one that names the classes labels.csv",
        )
    text = tree.text(table, MAX_DOCUMENT_BYTES)
    return read_rows(tree, Sheet(table, lambda: csv_records(text, table)), task)


@dataclass(frozen=True, slots=True)
class Sheet:
    """Where rows are from, how to read them (twice), and the folder that their file names begin in."""

    path: str
    records: Callable[[], Iterator[tuple[int, Record | str]]]
    base: str = ""


def csv_records(text: str, path: str) -> Iterator[tuple[int, Record | str]]:
    """Row numbers as a spreadsheet shows them, with cells by column; a text instead: what is wrong with it.

    Raises FormatError: no header.
    """
    header_line = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header_line.count)  # the first of equals: a comma
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise FormatError(f"The header of {path} cannot be read: {error}.") from None
    columns = _columns([cell.strip().lower() for cell in header])
    if "filename" not in columns:
        shown = ", ".join(cell.strip()[:40] for cell in header[:8]) or "nothing"
        raise FormatError(
            f"{path} has no column for the file's name; its header is: {shown}.",
            hint="the first line names the columns: filename,label",
        )
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield reader.line_num, f"the row cannot be read: {error}"
            continue
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield (
                reader.line_num,
                {name: cells[at].strip() for name, at in columns.items() if at < len(cells)},
            )


def _columns(header: list[str]) -> dict[str, int]:
    found = {}
    for column, names in NAMES.items():
        for name in names:
            if name in header:
                found[column] = header.index(name)
                break
    return found


def jsonl_records(text: str) -> Iterator[tuple[int, Record | str]]:
    """Lines of JSON objects; values become texts, what is no text or number is left out."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line, type=dict[str, object])
        except (msgspec.MsgspecError, RecursionError) as error:
            yield number, f"the line is no JSON object: {str(error)[:120]}"
            continue
        lower = {key.lower(): value for key, value in row.items()}
        record = {}
        for column, names in NAMES.items():
            for name in names:
                if isinstance(lower.get(name), str | int | float):
                    record[column] = str(lower[name]).strip()
                    break
        yield number, record


def read_rows(tree: Tree, sheet: Sheet, task: str) -> Parsed:
    """Raises FormatError: the column that the task needs is missing, or there are too many classes."""
    column = "is_anomalous" if task == ANOMALY else "label"
    classes: dict[str, None] = {}
    seen_column = False
    for _, record in sheet.records():
        if isinstance(record, str) or column not in record:
            continue
        seen_column = True
        name = class_name(record[column])
        if name is not None:
            classes[name] = None
        if len(classes) > MAX_CLASSES:
            raise FormatError(
                f"{sheet.path} names more than {MAX_CLASSES} classes.",
                hint="is the column of the labels a number that differs in every row?",
            )
    if not seen_column:
        raise FormatError(
            f"{sheet.path} has no column {column}, or no rows.",
            hint=f"the first line names the columns: filename,{column}",
        )
    names = ("normal", "anomalous") if task == ANOMALY else tuple(classes)
    return Parsed(names, _entries(tree, sheet, task))


def _entries(tree: Tree, sheet: Sheet, task: str) -> Iterator[Row]:
    taken: dict[str, str] = {}
    for number, record in sheet.records():
        where = f"{sheet.path}, row {number}"
        if isinstance(record, str):
            yield Issue(where, "row", record)
            continue
        row = _entry(tree, sheet, record, where, task)
        if isinstance(row, Entry):
            said = str(row.anomalous if task == ANOMALY else row.label)
            if row.path in taken:
                same = "again" if taken[row.path] == said else f"as {said}, and before as {taken[row.path]}"
                row = Issue(where, "given_twice", f"{row.path} is named {same}")
            else:
                taken[row.path] = said
        yield row
        if isinstance(row, Entry):
            yield from _date_remark(record, where)


def _entry(tree: Tree, sheet: Sheet, record: Record, where: str, task: str) -> Row:
    given = record.get("filename", "")
    if not given:
        return Issue(where, "row", "the file's name is empty")
    path = safe_path(given)
    if path is None:
        return Issue(where, "path_outside", f"{given[:120]!r} does not lie in the data set's folder")
    found = next(
        (hit for folder in FOLDERS_OF_PICTURES if (hit := tree.find(f"{sheet.base}{folder}{path}"))), None
    )
    if found is None:
        return Issue(where, "missing_file", f"there is no file {path[:120]}")
    subset = record.get("subset", "").lower()
    more: dict[str, object] = {
        "group": record.get("group") or None,
        "taken_at": iso_date(record.get("date", "")),
        "tags": (class_name(subset) or "",) if class_name(subset) else (),
    }
    if task == ANOMALY:
        said = record.get("is_anomalous", "").lower()
        if said not in YES | NO:
            return Issue(where, "no_class", f"is_anomalous is {said[:40]!r}, not yes or no")
        return Entry(found, anomalous=said in YES, **more)  # type: ignore[arg-type]  # as made above
    label = class_name(record.get("label", ""))
    if label is None:
        return Issue(where, "no_class", "the label is empty or cannot be a class")
    return Entry(found, label=label, **more)  # type: ignore[arg-type]  # as made above


def _date_remark(record: Record, where: str) -> Iterable[Issue]:
    given = record.get("date", "")
    if given and iso_date(given) is None:
        yield Issue(
            where, "date", f"{given[:40]!r} is no date that is understood (2026-11-26)", skipped=False
        )


def iso_date(given: str) -> str | None:
    """A date as ISO 8601; EXIF's own form too. None when it is not understood."""
    text = given.strip()
    if len(text) >= 10 and text[4] == ":" and text[7] == ":":
        text = text[:4] + "-" + text[5:7] + "-" + text[8:]
    try:
        return datetime.fromisoformat(text).isoformat()
    except ValueError:
        return None


CSV: Final = Format(
    name="csv",
    title="a table of labels (CSV)",
    tasks=(CLASSIFICATION, ANOMALY),
    made_for=CLASSIFICATION,
    instead="",
    recognise=recognise,
    parse=parse,
)
