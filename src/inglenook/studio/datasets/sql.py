# SPDX-License-Identifier: Apache-2.0
"""What people ask of the index, as SQL. All values are parameters; the text is our own. Pure."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

from inglenook.base.errors import Invalid
from inglenook.studio.datasets.model import ImageQuery

SORTS: Mapping[str, str] = {
    "filename": "filename",
    "class": "label_folded",
    "size": "area",
    "added": "added_at",
}

_NUMBER = "(SELECT no FROM splits WHERE split = ?)"
_PART_OF = f"SELECT 1 FROM parts WHERE parts.no = {_NUMBER} AND parts.seq = images.seq"  # noqa: S608


def conditions(query: ImageQuery, *, collected: bool = True) -> tuple[list[str], list[Any]]:
    """SQL that holds together, and its values.

    Args:
        collected: whether the pictures of a part of a split are collected first, or each one is asked.
    """
    where: list[str] = []
    values: list[Any] = []

    def add(condition: str, *given: Any) -> None:
        where.append(condition)
        values.extend(given)

    if query.labels:
        marks = ", ".join("?" * len(query.labels))
        add(f"label_folded IN ({marks})", *(it.casefold() for it in query.labels))
    if query.search:
        add("instr(folded, ?)", query.search.casefold())
    for tag in query.tags:
        add("id IN (SELECT id FROM tags WHERE tag = ?)", tag)
    if query.group is not None:
        add("family = ?", query.group)
    if query.min_side is not None:
        add("side >= ?", query.min_side)
    if query.ids is not None:
        add("id IN (SELECT value FROM json_each(?))", json.dumps(query.ids))
    if query.split is not None and query.subset is not None:
        if query.subset == "none":
            add(f"NOT EXISTS ({_PART_OF})", query.split)
        elif collected:
            some = f"SELECT seq FROM parts WHERE parts.no = {_NUMBER} AND subset = ?"  # noqa: S608
            add(f"seq IN ({some})", query.split, query.subset)
        else:
            add(f"EXISTS ({_PART_OF} AND subset = ?)", query.split, query.subset)
    return where, values


def where_of(conditions: Sequence[str]) -> str:
    return f"WHERE {' AND '.join(conditions)}" if conditions else ""


def select(where: Sequence[str], column: str, way: str) -> str:
    order = f"filename {way}" if column == "filename" else f"{column} {way}, filename {way}"
    return f"SELECT record, {column} FROM images {where_of(where)} ORDER BY {order} LIMIT ? OFFSET ?"  # noqa: S608 - our own words; values are parameters


def closed(key: Any, filename: str, query: ImageQuery) -> str:
    """Where a list stands, as clients hand it back."""
    place = json.dumps([query.sort, query.descending, key, filename])
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def opened(after: str, query: ImageQuery) -> tuple[Any, str]:
    try:
        place = json.loads(base64.urlsafe_b64decode(after + "=" * (-len(after) % 4)))
        sort, descending, key, filename = place
        if [sort, descending] == [query.sort, query.descending] and isinstance(key, str | int):
            return key, str(filename)
    except (ValueError, TypeError, binascii.Error):
        pass
    raise Invalid("`after` does not belong to this list.", field="after", hint="begin again without it")
