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
    """A network that can be chosen.

    Attributes:
        parameters_m: millions of values without a head.
        input_px: side of the pictures that its weights were trained with.
        saved_m: millions of values that training keeps of each such picture until the backward pass.
        multiple_px: sides must be a multiple of this. least_px: smaller ones leave nothing to look at.
        licence: of the weights, as their makers state it; None where there are none.
    """

    name: str
    title: str
    family: str
    parameters_m: float
    input_px: int = 224
    saved_m: float = 0.0
    multiple_px: int = 1
    least_px: int = 32
    licence: str | None = None


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
        head: its name for what follows the backbone.
        transforms: names of the transforms that its augmentations are made of.
    """

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def available(self) -> bool: ...
    @property
    def annotation(self) -> type[Annotation]: ...
    @property
    def formats(self) -> tuple[str, ...]: ...
    @property
    def backbones(self) -> tuple[Backbone, ...]: ...
    @property
    def losses(self) -> tuple[str, ...]: ...
    @property
    def metrics(self) -> tuple[Metric, ...]: ...
    @property
    def monitor(self) -> Metric: ...
    @property
    def head(self) -> str: ...
    @property
    def transforms(self) -> tuple[str, ...]: ...

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
