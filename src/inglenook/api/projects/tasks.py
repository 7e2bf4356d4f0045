# SPDX-License-Identifier: Apache-2.0
"""/api/tasks: what can be chosen in a project of each task; what a form is made of."""

from typing import Any

import msgspec
from fastapi import APIRouter, Depends
from starlette.responses import Response

from inglenook.api.projects.envelope import REFUSALS, EnvelopeRoute, ok
from inglenook.base.errors import NotFound
from inglenook.door.caller import caller
from inglenook.studio.tasks.registry import TASKS, describe


def tasks_router() -> APIRouter:
    router = APIRouter(
        prefix="/api/tasks",
        tags=["training"],
        dependencies=[Depends(caller)],
        route_class=EnvelopeRoute,
        responses=REFUSALS,
    )

    @router.get("", summary="All tasks, and which of them can be trained")
    def listing() -> Response:
        names = [{"name": it.name, "title": it.title, "available": it.available} for it in TASKS.values()]
        return ok({"tasks": names})

    @router.get("/{task}", summary="Networks, losses, metrics, transforms, defaults and presets of a task")
    def one(task: str) -> Response:
        found = TASKS.get(task)
        if found is None:
            raise NotFound(f"There is no task {task[:60]!r}.", code="task.unknown")
        said: dict[str, Any] = {**describe(found), "defaults": None, "presets": {}}
        if found.available:
            said["defaults"] = msgspec.to_builtins(found.defaults())
            said["presets"] = {name: msgspec.to_builtins(spec) for name, spec in found.presets().items()}
        return ok(said)

    return router
