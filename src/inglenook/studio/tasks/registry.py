# SPDX-License-Identifier: Apache-2.0
"""All kinds of tasks by name, in the order in which people choose among them."""

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from inglenook.base.errors import Invalid
from inglenook.studio.tasks.classification import Classification
from inglenook.studio.tasks.model import Task
from inglenook.studio.tasks.others import OTHERS, not_available

TASKS: Mapping[str, Task] = MappingProxyType({task.name: task for task in (Classification(), *OTHERS)})


def require_task(name: str) -> Task:
    """Raises Invalid (`task.unknown`) for what is no task's name."""
    task = TASKS.get(name)
    if task is None:
        near = get_close_matches(name, TASKS, n=1)
        meant = f"did you mean {near[0]}?" if near else f"known are {', '.join(TASKS)}"
        raise Invalid(f"{name[:80]!r} is no task.", code="task.unknown", field="task", hint=meant)
    return task


def require_available(name: str) -> Task:
    """Raises Invalid as `require_task`, and (`task.not_available`) for one that cannot be trained."""
    task = require_task(name)
    if not task.available:
        raise not_available(task.title)
    return task


def describe(task: Task) -> dict[str, Any]:
    """What can be chosen, as JSON: what a form is made of."""
    return {
        "name": task.name,
        "title": task.title,
        "available": task.available,
        "formats": list(task.formats),
        "backbones": [
            {
                "name": one.name,
                "title": one.title,
                "family": one.family,
                "parameters_m": one.parameters_m,
                "input_px": one.input_px,
                "multiple_px": one.multiple_px,
                "least_px": one.least_px,
                "licence": one.licence,
            }
            for one in task.backbones
        ],
        "losses": list(task.losses),
        "metrics": [
            {"name": one.name, "title": one.title, "higher_is_better": one.higher_is_better}
            for one in task.metrics
        ],
        "monitor": task.monitor.name,
        "transforms": list(task.transforms),
    }
