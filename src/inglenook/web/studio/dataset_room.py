# SPDX-License-Identifier: Apache-2.0
"""What the pages of a data set show, read from the services. Everything here blocks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from inglenook.studio.datasets.model import ImageQuery, VersionNote
from inglenook.studio.errors import DatasetNotImported
from inglenook.studio.studio import Studio
from inglenook.vision.annotations import primary_class
from inglenook.vision.formats.registry import FORMATS
from inglenook.web.studio.projects import picture_place, thumbnail_place
from inglenook.web.studio.query import SORTS, SUBSETS, USUAL, DataQuery
from inglenook.web.studio.tiles import CLASS_KEYS, ClassRow, Tile, class_rows, tile_of, view_of

SHOTS: Final = 60
MOST_TAGS: Final = 24
MOST_BARS: Final = 60
ITEMS: Final = 12
"""Groups of pictures of a finding that are shown at once."""
_UNLABELLED = ImageQuery(labels=("",))


@dataclass(frozen=True, slots=True)
class Summary:
    """What stands above the pictures. `unlabelled`: pictures without a class."""

    images: int
    classes: list[ClassRow]
    unlabelled: int
    sides: str
    formats: str
    source: str
    imported_at: str
    version: int


def summary_of(studio: Studio, project_id: str) -> Summary | None:
    """None without a data set."""
    try:
        head = studio.datasets.head(project_id)
    except DatasetNotImported:
        return None
    stats = head.image_stats
    counts = studio.datasets.class_counts(project_id)
    source = came_as(head.source_format, head.source_path)
    return Summary(
        images=stats.num_images,
        classes=class_rows(counts),
        unlabelled=counts.get("", 0),
        sides=f"{_range(stats.min_width, stats.max_width)} × {_range(stats.min_height, stats.max_height)} px",
        formats=", ".join(it.upper() for it in stats.formats) or "none",
        source=source,
        imported_at=head.imported_at,
        version=head.current,
    )


def came_as(name: str, place: str) -> str:
    """``Came as a folder for each class, from pets.``; empty where nothing is known."""
    title = next((one.title for one in FORMATS if one.name == name), name)
    parts = [f"as {title}" if title else "", f"from {place}" if place else ""]
    told = ", ".join(part for part in parts if part)
    return f"Came {told}." if told else ""


def _range(least: int, most: int) -> str:
    return str(least) if least == most else f"{least} to {most}"


def listing(studio: Studio, project_id: str, query: DataQuery, after: str | None) -> dict[str, Any]:
    """The grid: a page of pictures, and what they can be narrowed to. Raises Invalid: `after` is wrong."""
    splits = _split_ids(studio, project_id)
    tags = studio.datasets.tag_counts(project_id)
    fresh = [(name, count) for name, count in tags.items() if name not in query.tags]
    fresh.sort(key=lambda it: (-it[1], it[0]))
    return {
        **_page(studio, project_id, query, splits, after),
        "query": query,
        "total": studio.datasets.count(project_id, query.images(splits)),
        "continued": after is not None,
        "split_names": list(splits),
        "tags": [
            (name, count, DataQuery(query.place, (*query.pairs, ("tag", name))).address())
            for name, count in fresh[:MOST_TAGS]
        ],
        "all_tags": sorted(tags),
        "sorts": SORTS,
        "subsets": SUBSETS,
        "usual": USUAL,
    }


def page_after(studio: Studio, project_id: str, query: DataQuery, after: str) -> dict[str, Any]:
    """The next pictures alone: nothing is counted, so that it takes as long at the end as at the beginning.

    Raises as `listing`.
    """
    return _page(studio, project_id, query, _split_ids(studio, project_id), after)


def _split_ids(studio: Studio, project_id: str) -> dict[str, str]:
    return {it.name: it.id for it in studio.splits.summaries(project_id)}


def _page(
    studio: Studio, project_id: str, query: DataQuery, splits: Mapping[str, str], after: str | None
) -> dict[str, Any]:
    wanted = query.images(splits)
    found = studio.datasets.images(project_id, wanted, limit=SHOTS, after=after)
    parts: Mapping[str, Mapping[str, str]] = {}
    if wanted.split:
        parts = studio.datasets.subsets(project_id, [it.id for it in found.images], [wanted.split])
    return {
        "tiles": [
            tile_of(project_id, it, parts[it.id].get(wanted.split, "none") if wanted.split else "")
            for it in found.images
        ],
        "more": query.address(after=found.after) if found.after else None,
    }


def tiles_of_items(project_id: str, items: Sequence[Mapping[str, Any]]) -> list[Tile]:
    """Of pictures as the API's list has them."""
    return [
        Tile(
            id=it["id"],
            filename=it["filename"],
            file=picture_place(project_id, it["filename"]),
            thumbnail=thumbnail_place(project_id, it["filename"]),
            width=it["width"],
            height=it["height"],
            class_name=it["class_name"] or "",
            part=it["selected_split_value"] or "",
            tags=tuple(it["tags"]),
        )
        for it in items
    ]


def image_view(studio: Studio, project_id: str, name: str) -> dict[str, Any]:
    """One picture with everything. Raises ImageNotFound, DatasetNotImported."""
    record = studio.datasets.get(project_id, name)
    splits = studio.splits.summaries(project_id)
    parts = studio.datasets.subsets(project_id, [record.id], [it.id for it in splits])[record.id]
    named = [(it.name, SUBSETS[parts.get(it.id, "none")]) for it in splits]
    classes = studio.datasets.head(project_id).classes
    return {"it": view_of(project_id, record, named), "classes": list(zip_keys(classes))}


def zip_keys(classes: Sequence[str]) -> list[tuple[str, str]]:
    """Each class with the key that gives it; the last ones have none."""
    return [(name, CLASS_KEYS[place : place + 1]) for place, name in enumerate(classes)]


# -- versions --------------------------------------------------------------------------------------------


SITTING_S: Final = 30 * 60.0
"""Who gives no label for so long has got up: the next one begins a row of its own."""


@dataclass(frozen=True, slots=True)
class VersionRow:
    """One version, or a sitting: several in a row that were made picture by picture (`first` < `number`)."""

    number: int
    first: int
    summary: str
    kind: str
    by: str
    created_at: str
    images: int
    changed: int


def version_rows(notes: Sequence[VersionNote]) -> list[VersionRow]:
    """Newest first; labels that one person gave one after the other are one row."""
    rows: list[VersionRow] = []
    for note in notes:
        last = rows[-1] if rows else None
        if last and _goes_on(last, note):
            count = note.number - last.first + 1
            words = "labels given" if note.kind == "relabel" else "pictures tagged"
            rows[-1] = _row(note, last.first, f"{count} {words}, one after the other", count)
        else:
            rows.append(_row(note, note.number, note.summary, note.changed))
    return rows[::-1]


def _goes_on(last: VersionRow, note: VersionNote) -> bool:
    """Whether the version belongs to the sitting of the row before it."""
    if note.kind not in ("relabel", "tag") or note.changed != 1 or not _single(last):
        return False
    pause = datetime.fromisoformat(note.created_at) - datetime.fromisoformat(last.created_at)
    return (last.kind, last.by) == (note.kind, note.by) and pause.total_seconds() < SITTING_S


def _single(row: VersionRow) -> bool:
    """Whether every version of the row changed one picture."""
    return row.changed == row.number - row.first + 1


def _row(note: VersionNote, first: int, summary: str, changed: int) -> VersionRow:
    return VersionRow(
        number=note.number,
        first=first,
        summary=summary,
        kind=note.kind,
        by=note.by,
        created_at=note.created_at,
        images=note.images,
        changed=changed,
    )


# -- labelling -------------------------------------------------------------------------------------------


def labelling(studio: Studio, project_id: str) -> dict[str, Any]:
    """Raises DatasetNotImported."""
    head = studio.datasets.head(project_id)
    left = studio.datasets.count(project_id, _UNLABELLED)
    total = head.image_stats.num_images
    return {"classes": zip_keys(head.classes), "total": total, "left": left, "done": total - left}


# -- checks ----------------------------------------------------------------------------------------------


def overview(studio: Studio, project_id: str, split: str | None) -> dict[str, Any]:
    """What the last check has found. Raises DatasetNotImported, SplitNotFound."""
    found = studio.checks.overview(project_id, split or None)
    return {
        "found": found,
        "split_names": list(studio.splits.names(project_id)),
        "split_name": split or "",
        "classes": list(studio.datasets.head(project_id).classes),
    }


def items(
    studio: Studio, project_id: str, kind: str, *, source: str | None, split: str | None, page: int
) -> dict[str, Any]:
    """A page of groups of pictures of one finding. Raises NotFound."""
    found = studio.checks.items(project_id, kind, source=source, split=split, page=page, page_size=ITEMS)
    groups = [
        {
            "why": item.why,
            "classes": item.classes,
            "keep": item.keep,
            "tiles": [tile_of(project_id, record) for record in records],
            "gone": len(item.ids) - len(records),
            "labels": sorted({primary_class(it.annotations) or "" for it in records} - {""}),
        }
        for item, records in found.items
    ]
    more = page + 1 if page * ITEMS < found.total else None
    return {"finding": found.finding, "groups": groups, "total": found.total, "page": page, "next": more}


# -- importing -------------------------------------------------------------------------------------------


def format_choices(task: str) -> list[tuple[str, str]]:
    """Formats that an import of this task can be told to be: name, title."""
    return [(it.name, it.title) for it in FORMATS if task in it.tasks]
