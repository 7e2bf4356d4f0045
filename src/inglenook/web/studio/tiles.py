# SPDX-License-Identifier: Apache-2.0
"""Pictures of a data set as the pages show them: tiles of the grid, one with all that is known. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inglenook.base.units import format_bytes
from inglenook.studio.datasets.model import ImageRecord
from inglenook.vision.annotations import Anomaly, Box, Label, primary_class
from inglenook.web.studio.projects import picture_place, thumbnail_place

PIXEL_SIDE_PX = 64
"""Pictures that small are shown with their pixels as they are."""
CLASS_KEYS = "1234567890qwertyuiopfghjklvbnm"
"""Keys that give a picture a class, in the order of the classes; others already mean something."""


@dataclass(frozen=True, slots=True)
class Tile:
    """`part`: of the split that is looked at; empty without one."""

    id: str
    filename: str
    file: str
    thumbnail: str
    width: int
    height: int
    class_name: str
    part: str
    tags: tuple[str, ...]

    @property
    def pixelated(self) -> bool:
        return max(self.width, self.height) <= PIXEL_SIDE_PX

    @property
    def name(self) -> str:
        """For those who hear it, and for the picture itself."""
        return f"{self.filename}, {self.class_name or 'without a class'}"


@dataclass(frozen=True, slots=True)
class BoxView:
    """A box as an SVG draws it: its numbers, and its class."""

    x: float
    y: float
    width: float
    height: float
    class_name: str


@dataclass(frozen=True, slots=True)
class ImageView:
    """Everything about one picture. `parts`: split → part, in the order of the splits."""

    tile: Tile
    annotations: tuple[str, ...]
    boxes: tuple[BoxView, ...]
    parts: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]
    added_at: str
    taken_at: str | None


@dataclass(frozen=True, slots=True)
class ClassRow:
    """`percent`: of the largest class, for a bar; `key`: that gives a picture this class, or empty."""

    name: str
    count: int
    percent: float
    key: str


def tile_of(project_id: str, record: ImageRecord, part: str = "") -> Tile:
    return Tile(
        id=record.id,
        filename=record.filename,
        file=picture_place(project_id, record.filename),
        thumbnail=thumbnail_place(project_id, record.filename),
        width=record.width,
        height=record.height,
        class_name=primary_class(record.annotations) or "",
        part=part,
        tags=record.tags,
    )


def view_of(project_id: str, record: ImageRecord, parts: Sequence[tuple[str, str]]) -> ImageView:
    facts = [("Size", f"{record.width} × {record.height} px, {format_bytes(record.size_bytes)}")]
    if record.original != record.filename:
        facts.append(("Name it came with", record.original))
    if record.group:
        facts.append(("Group", record.group))
    facts.append(("SHA-256", record.sha256))
    return ImageView(
        tile=tile_of(project_id, record),
        annotations=tuple(_words(it) for it in record.annotations),
        boxes=tuple(
            BoxView(*it.bbox, class_name=it.class_name) for it in record.annotations if isinstance(it, Box)
        ),
        parts=tuple(parts),
        facts=tuple(facts),
        added_at=record.added_at,
        taken_at=record.taken_at,
    )


def _words(annotation: Label | Anomaly | Box) -> str:
    match annotation:
        case Label():
            return annotation.class_name
        case Anomaly():
            return "anomalous" if annotation.is_anomalous else "normal"
        case Box():
            x, y, width, height = (round(it) for it in annotation.bbox)
            return f"{annotation.class_name}: {width} × {height} px at {x}, {y}"


def class_rows(counts: Mapping[str, int]) -> list[ClassRow]:
    """In the order of the data set's classes; pictures without a class are no row."""
    named = [(name, count) for name, count in counts.items() if name]
    most = max((count for _, count in named), default=0)
    return [
        ClassRow(name, count, 100 * count / most if most else 0.0, CLASS_KEYS[place : place + 1])
        for place, (name, count) in enumerate(named)
    ]
