# SPDX-License-Identifier: Apache-2.0
"""Which pictures train, validate and test: the splits of a project, and the making of a new one."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from inglenook.base.ids import PersonId
from inglenook.door.caller import Caller, FromCaller
from inglenook.door.fragments import Fragments
from inglenook.studio.errors import DatasetNotImported
from inglenook.studio.splits.model import Options, SplitState, Stats
from inglenook.studio.studio import Studio
from inglenook.web.studio.frame import frame_of, studio_page
from inglenook.web.templating import html

METHODS: Final = {
    "stratified": ("By class", "Each part has the same mix of classes."),
    "grouped": ("By groups", "What belongs together stays in one part."),
    "time": ("By time", "The oldest pictures train, the newest test."),
    "manual": ("By hand", "Folders or a list say who is where."),
    "kfold": ("k-fold", "Several splits; each picture validates once."),
}
GROUPINGS: Final = {
    "group": "the group of a picture",
    "folder": "the folder it came from",
    "duplicates": "the same file",
}
PARTS: tuple[tuple[str, str], ...] = (
    ("train", "Train"),
    ("val", "Validation"),
    ("test", "Test"),
    ("none", "In no part"),
)


@dataclass(frozen=True, slots=True)
class PartView:
    """`place`: address that shows its pictures; empty in a preview."""

    name: str
    words: str
    count: int
    percent: float
    place: str


@dataclass(frozen=True, slots=True)
class ClassShare:
    """`cells`: count and percent of the class, by part."""

    name: str
    cells: tuple[tuple[int, float], ...]
    total: int


@dataclass(frozen=True, slots=True)
class Table:
    """How pictures are divided, in all and by class."""

    parts: tuple[PartView, ...]
    classes: tuple[ClassShare, ...]
    total: int


@dataclass(frozen=True, slots=True)
class SplitCard:
    id: str
    name: str
    method: str
    ratios: str
    seed: int
    options: tuple[str, ...]
    created_at: str
    created_by: str
    version: int
    gone: int
    warnings: tuple[str, ...]
    users: tuple[str, ...]
    table: Table


def split_pages(studio: Studio, fragments: Fragments) -> APIRouter:
    router = APIRouter(prefix="/projects/{project_id}/split", include_in_schema=False)
    _register(studio, fragments)

    @router.get("")
    async def splits(request: Request, caller: FromCaller, project_id: str) -> Response:
        context = await asyncio.to_thread(_context, studio, caller.person, project_id)
        return studio_page(request, "studio/splits.html", context)

    return router


def _context(studio: Studio, person: PersonId, project_id: str) -> dict[str, Any]:
    """Blocks."""
    project = frame_of(studio, person, project_id)
    try:
        head = studio.datasets.head(project_id)
    except DatasetNotImported:
        return {"project": project, "pictures": 0, "cards": [], "problems": ()}
    return {
        "project": project,
        "pictures": head.image_stats.num_images,
        "cards": _cards(studio, project_id),
        "problems": studio.splits.problems(project_id),
        "methods": METHODS,
        "groupings": GROUPINGS,
    }


def _cards(studio: Studio, project_id: str) -> list[SplitCard]:
    """The newest first. Blocks."""
    found = [
        card_of(project_id, state, studio.splits.users(project_id, state.split.id))
        for state in studio.splits.list(project_id)
    ]
    return found[::-1]


def card_of(project_id: str, state: SplitState, users: Sequence[str]) -> SplitCard:
    split = state.split
    place = f"/projects/{project_id}/dataset"
    return SplitCard(
        id=split.id,
        name=split.name,
        method=METHODS[split.method][0],
        ratios="" if split.ratios is None else " / ".join(f"{100 * it:g} %" for it in split.ratios.shares()),
        seed=split.seed,
        options=tuple(_option_words(split.options)),
        created_at=split.created_at,
        created_by=split.created_by,
        version=split.dataset_version,
        gone=state.gone,
        warnings=split.warnings,
        users=tuple(users),
        table=table_of(state.stats, state.class_distribution, place=place, split=split.name),
    )


def _option_words(options: Options) -> list[str]:
    said = [GROUPINGS[it] for it in options.group_by]
    words = [f"together stays {', '.join(said)}"] if said else []
    if options.fold is not None:
        words.append(f"fold {options.fold} of {options.folds}")
    if options.from_folders:
        words.append("parts by folders")
    return words


def table_of(
    stats: Mapping[str, int], classes: Mapping[str, Stats], *, place: str = "", split: str = ""
) -> Table:
    """Percentages are of all pictures, and of a class's own ones."""
    total = sum(stats.values())
    shown = [it for it in PARTS if it[0] != "none" or stats.get("none")]
    return Table(
        parts=tuple(
            PartView(
                name,
                words,
                stats.get(name, 0),
                _percent(stats.get(name, 0), total),
                f"{place}?{urlencode({'split_name': split, 'subset': name})}" if place else "",
            )
            for name, words in shown
        ),
        classes=tuple(_share(name, counts, [it[0] for it in shown]) for name, counts in classes.items()),
        total=total,
    )


def _share(name: str, counts: Mapping[str, int], parts: Sequence[str]) -> ClassShare:
    total = sum(counts.get(part, 0) for part in parts)
    cells = tuple((counts.get(part, 0), _percent(counts.get(part, 0), total)) for part in parts)
    return ClassShare(name, cells, total)


def _percent(count: int, total: int) -> float:
    return 100 * count / total if total else 0.0


def _register(studio: Studio, fragments: Fragments) -> None:
    async def grid(request: Request, caller: Caller, data: Mapping[str, Any]) -> Response:  # noqa: ARG001
        project_id = request.path_params["project_id"]
        context = await asyncio.to_thread(_context, studio, caller.person, project_id)
        return html("studio/split_grid.html", context)

    async def preview(request: Request, caller: Caller, data: Mapping[str, Any]) -> Response:  # noqa: ARG001
        folds = data.get("folds") or [data]
        tables = [table_of(it["stats"], it["class_distribution"]) for it in folds]
        return html("studio/split_preview.html", {"tables": tables, "warnings": data["warnings"]})

    for route in ("splits.list", "splits.create", "splits.delete"):
        fragments.register(route, grid)
    fragments.register("splits.preview", preview)
