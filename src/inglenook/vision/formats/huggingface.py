# SPDX-License-Identifier: Apache-2.0
"""Hugging Face's data set folders: `imagefolder` with metadata, parquet files, and folders of `save_to_disk`.

Tables themselves are read by whoever has the library for it; here is what their names and schemas say.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from inglenook.vision.formats import tables
from inglenook.vision.formats.folders import SUBSETS
from inglenook.vision.formats.model import (
    CLASSIFICATION,
    MAX_DOCUMENT_BYTES,
    Entry,
    Format,
    FormatError,
    Parsed,
    Row,
    Tree,
    class_name,
)

METADATA: Final = ("metadata.csv", "metadata.jsonl")
IMAGE_COLUMNS: Final = ("image", "img", "picture", "photo", "pixel_values")
LABEL_COLUMNS: Final = ("label", "labels", "fine_label", "class", "category", "target")


def metadata_files(tree: Tree) -> list[str]:
    """At the top, or one folder below."""
    return [
        path for path in tree.paths if path.rpartition("/")[2].lower() in METADATA and path.count("/") <= 1
    ]


def recognise_metadata(tree: Tree) -> bool:
    return bool(metadata_files(tree))


def parse_metadata(tree: Tree, task: str) -> Parsed:
    """Raises FormatError."""
    parts = []
    for path in metadata_files(tree):
        text = tree.text(path, MAX_DOCUMENT_BYTES)
        folder = path.rpartition("/")[0]
        base = folder + "/" if folder else ""
        parts.append((folder, tables.read_rows(tree, _sheet(path, text, base), task)))
    if not parts:
        raise FormatError("There is no metadata.csv and no metadata.jsonl.")
    classes = dict.fromkeys(name for _, parsed in parts for name in parsed.classes)
    rows = (_in_subset(row, folder) for folder, parsed in parts for row in parsed.rows)
    return Parsed(tuple(classes), rows)


def _sheet(path: str, text: str, base: str) -> tables.Sheet:
    if path.lower().endswith(".csv"):
        return tables.Sheet(path, lambda: tables.csv_records(text, path), base)
    return tables.Sheet(path, lambda: tables.jsonl_records(text), base)


def _in_subset(row: Row, folder: str) -> Row:
    subset = SUBSETS.get(folder.lower())
    if subset is None or not isinstance(row, Entry):
        return row
    return Entry(
        row.path,
        label=row.label,
        anomalous=row.anomalous,
        group=row.group,
        taken_at=row.taken_at,
        tags=tuple(sorted({*row.tags, subset})),
    )


def table_files(tree: Tree) -> list[str]:
    """Parquet and Arrow files, in the order of their names; only one configuration of several."""
    return [path for path in tree.paths if path.lower().endswith((".parquet", ".arrow"))]


def recognise_tables(tree: Tree) -> bool:
    return bool(table_files(tree))


def subset_of(path: str) -> str | None:
    """`data/train-00000-of-00002.parquet`, `train/data-00000-of-00001.arrow` → `train`."""
    for part in reversed(path.lower().split("/")):
        word = part.split("-")[0].split(".")[0]
        if word in SUBSETS:
            return SUBSETS[word]
    return None


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a table are what. `names`: of the classes, where the label is a number."""

    image: str
    label: str | None
    names: tuple[str, ...] | None = None


def columns(names: list[str], metadata: Mapping[bytes, bytes] | None, images: list[str]) -> Columns:
    """Args:
        names: of all columns. images: of those that hold pictures by their type.
        metadata: of the schema; `datasets` writes its features there, under `huggingface`.

    Raises:
        FormatError: no column holds pictures.
    """
    features = _features(metadata)
    declared = [name for name in names if _type_of(features.get(name)) == "Image"]
    candidates = declared or [name for name in IMAGE_COLUMNS if name in images] or images
    if not candidates:
        raise FormatError(
            f"No column of the table holds pictures; its columns are: {', '.join(names[:12]) or 'none'}.",
            hint="a picture is a column of bytes, or a structure with bytes and path",
        )
    labels = [name for name in names if _type_of(features.get(name)) == "ClassLabel"]
    label = next(iter(labels), None) or next((name for name in LABEL_COLUMNS if name in names), None)
    return Columns(candidates[0], label, None if label is None else _class_names(features.get(label)))


def _features(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    try:
        said = json.loads((metadata or {}).get(b"huggingface", b"{}"))
        features = said["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _type_of(feature: object) -> str | None:
    found = feature.get("_type") if isinstance(feature, dict) else None
    return found if isinstance(found, str) else None


def _class_names(feature: object) -> tuple[str, ...] | None:
    given = feature.get("names") if isinstance(feature, dict) else None
    if not isinstance(given, list):
        return None
    names = [class_name(str(name)) for name in given]
    if None in names or len(set(names)) != len(names):
        raise FormatError("The names of the classes in the table's schema cannot be classes.")
    return tuple(name for name in names if name)


def parse_tables(tree: Tree, task: str) -> Parsed:  # noqa: ARG001 - every format is asked the same
    raise FormatError("Tables of pictures are read row by row, not as files.")


METADATA_FORMAT: Final = Format(
    name="imagefolder",
    title="Hugging Face's imagefolder with metadata",
    tasks=(CLASSIFICATION,),
    made_for=CLASSIFICATION,
    instead="",
    recognise=recognise_metadata,
    parse=parse_metadata,
)
TABLES: Final = Format(
    name="parquet",
    title="tables of pictures (parquet or Arrow)",
    tasks=(CLASSIFICATION,),
    made_for=CLASSIFICATION,
    instead="",
    recognise=recognise_tables,
    parse=parse_tables,
)
