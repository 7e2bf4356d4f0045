# SPDX-License-Identifier: Apache-2.0
"""Projects as the list of them shows them. Everything here blocks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from inglenook.base.ids import PersonId
from inglenook.studio.datasets.model import ImageQuery
from inglenook.studio.errors import DatasetNotImported
from inglenook.studio.projects.model import Project, Share
from inglenook.studio.studio import Studio
from inglenook.studio.tasks.registry import TASKS, require_task

COUNTED: Final = (
    ("images", "picture", "pictures"),
    ("splits", "split", "splits"),
    ("experiments", "experiment", "experiments"),
    ("exports", "export", "exports"),
)
_FIRST = ImageQuery()


@dataclass(frozen=True, slots=True)
class Count:
    number: int
    words: str


@dataclass(frozen=True, slots=True)
class ProjectCard:
    """Attributes:
    picture: address of the first picture, small; None without pictures.
    changed_at: ISO 8601; when the project, or its data set, was changed last.
    goes: what deleting it deletes, in words.
    """

    id: str
    name: str
    description: str
    task: str
    owner: str
    owned: bool
    may_write: bool
    shared_with: tuple[Share, ...]
    counts: tuple[Count, ...]
    changed_at: str
    picture: str | None
    goes: str


@dataclass(frozen=True, slots=True)
class TaskChoice:
    name: str
    title: str
    available: bool


def task_choices() -> tuple[TaskChoice, ...]:
    return tuple(TaskChoice(task.name, task.title, task.available) for task in TASKS.values())


def cards_of(studio: Studio, person: PersonId) -> tuple[list[ProjectCard], tuple[str, ...]]:
    """The projects that the person sees, the newest first, and what is wrong with others."""
    found = studio.projects.list(person)
    return [card_of(studio, it, person) for it in reversed(found.projects)], found.problems


def card_of(studio: Studio, project: Project, person: PersonId) -> ProjectCard:
    counts = _counts(studio.projects.counts(project.id))
    changed_at, picture = _dataset(studio, project)
    return ProjectCard(
        id=project.id,
        name=project.name,
        description=project.description or "",
        task=require_task(project.task).title,
        owner=project.owner,
        owned=project.owner == person,
        may_write=project.may(person, write=True),
        shared_with=project.shared_with,
        counts=counts,
        changed_at=changed_at,
        picture=picture,
        goes=goes(counts),
    )


def _counts(found: Mapping[str, int]) -> tuple[Count, ...]:
    return tuple(
        Count(found[name], one if found[name] == 1 else many) for name, one, many in COUNTED if name in found
    )


def goes(counts: tuple[Count, ...]) -> str:
    """``12 pictures, 1 split and 3 experiments``; ``nothing but its name`` for an empty project."""
    some = [f"{it.number} {it.words}" for it in counts if it.number]
    if not some:
        return "nothing but its name"
    return some[0] if len(some) == 1 else f"{', '.join(some[:-1])} and {some[-1]}"


def _dataset(studio: Studio, project: Project) -> tuple[str, str | None]:
    try:
        head = studio.datasets.head(project.id)
        first = studio.datasets.images(project.id, _FIRST, limit=1).images
    except DatasetNotImported:
        return project.updated_at, None
    picture = thumbnail_place(project.id, first[0].filename) if first else None
    return max(project.updated_at, head.updated_at), picture


def picture_place(project_id: str, filename: str) -> str:
    return f"/api/datasets/{project_id}/images/{quote(filename, safe='')}"


def thumbnail_place(project_id: str, filename: str, side_px: int = 256) -> str:
    return f"/api/datasets/{project_id}/thumbnails/{quote(filename, safe='')}?size={side_px}"
