# SPDX-License-Identifier: Apache-2.0
"""A kind of task, as the server knows it. The worker has its own half (`workers/studio/tasks`), under the
same name.

A new task is one more value in `tasks.registry` and one more module in the worker; nothing else asks which
task it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from inglenook.vision.annotations import Annotation
from inglenook.wire.studio.spec import TrainSpec


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network that can be chosen. `parameters` in millions; `input_px` that its weights were trained
    with.
    """

    name: str
    title: str
    family: str
    parameters_m: float
    input_px: int = 224


@dataclass(frozen=True, slots=True)
class Metric:
    """`name` as it stands in records without its subset (`accuracy`); `higher_is_better`."""

    name: str
    title: str
    higher_is_better: bool


class Task(Protocol):
    """What the studio asks of a task.

    Attributes:
        name: as in a project: `classification`. title: for people.
        available: whether it can be trained here; a task that cannot is known by name, and says so.
        annotation: the type of annotation that it learns from.
        formats: of data that it can import, as `vision.formats` names them.
        monitor: the metric that tells the best epoch.
    """

    name: str
    title: str
    available: bool
    annotation: type[Annotation]
    formats: tuple[str, ...]
    backbones: tuple[Backbone, ...]
    losses: tuple[str, ...]
    metrics: tuple[Metric, ...]
    monitor: Metric

    def defaults(self) -> TrainSpec: ...

    def presets(self) -> dict[str, TrainSpec]:
        """`quick`, `balanced`, `best`."""
        ...

    def label(self, annotations: Sequence[Annotation], classes: Sequence[str]) -> str | None:
        """The class by which a picture is listed, filtered and stratified; None for none."""
        ...

    def target(self, annotations: Sequence[Annotation], classes: Sequence[str]) -> Any:
        """What the worker learns from (`Example.target`); None: the picture cannot be learned from."""
        ...
