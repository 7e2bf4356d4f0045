# SPDX-License-Identifier: Apache-2.0
"""Tasks by name. A task that is added needs one line here."""

from collections.abc import Callable, Mapping

from inglenook.workers.studio.errors import UnknownTask
from inglenook.workers.studio.tasks.classification import Classification
from inglenook.workers.studio.tasks.model import StudioTask

TASKS: Mapping[str, Callable[[tuple[str, ...]], StudioTask]] = {"classification": Classification}


def task_of(name: str, classes: tuple[str, ...]) -> StudioTask:
    """Raises `UnknownTask`."""
    make = TASKS.get(name)
    if make is None:
        raise UnknownTask(f"No task {name!r} is trained here.", hint=f"there are {', '.join(TASKS)}")
    return make(classes)
