# SPDX-License-Identifier: Apache-2.0
"""An experiment as a value: what is asked for, what became of it, and which status may follow which. Pure."""

import unicodedata
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from inglenook.base.errors import Invalid
from inglenook.studio.documents import Document
from inglenook.studio.training.errors import TrainingInProgress, WrongStatus
from inglenook.wire.studio.spec import Augmentations, Hardware, Hyperparameters, ModelSpec, TrainSpec

MAX_NAME: Final = 120
MAX_DESCRIPTION: Final = 2000
MAX_MESSAGE: Final = 4000
MAX_TRACEBACK: Final = 16_000


class Status(StrEnum):
    """AI Studio's words."""

    CREATED = "created"  # a configuration that can be changed
    PENDING = "pending"  # it was started and has its place in the queue
    TRAINING = "training"  # a worker has it, perhaps parked
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"  # somebody stopped it; a checkpoint is kept


NEXT: Mapping[Status, frozenset[Status]] = {
    Status.CREATED: frozenset({Status.PENDING}),
    Status.PENDING: frozenset(
        {
            Status.CREATED,  # it could not be put into the queue: the start is taken back
            Status.TRAINING,
            Status.COMPLETED,  # it had been done when the server died before it could be told
            Status.FAILED,
            Status.CANCELLED,
        }
    ),
    Status.TRAINING: frozenset(
        {
            Status.PENDING,  # the server stopped in the middle; it goes on from its last checkpoint
            Status.COMPLETED,
            Status.FAILED,
            Status.CANCELLED,
        }
    ),
    Status.COMPLETED: frozenset({Status.CREATED}),
    Status.FAILED: frozenset({Status.PENDING, Status.CREATED}),
    Status.CANCELLED: frozenset({Status.PENDING, Status.CREATED}),
}
"""The transition table, written once. From what has ended, `pending` is a resume and `created` a restart."""

RUNNING: Final = frozenset({Status.PENDING, Status.TRAINING})
FINISHED: Final = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """Why an experiment failed.

    Attributes:
        type: stable and machine-readable: `train.diverged`, `child.killed`, `interrupted` …
        message: 1 to 4,000 characters. hint: what to do next.
        traceback: the last lines that the worker printed; None where it said nothing.
    """

    type: str
    message: str
    hint: str | None = None
    traceback: str | None = None


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint that is whole and in its place.

    Attributes:
        file: below the experiment's folder. epoch, batch: how far it was when it was written.
        monitor, value: why it is the best one.
    """

    file: str
    epoch: int
    batch: int
    size_bytes: int
    written_at: str
    monitor: str | None = None
    value: float | None = None


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """What was really built, as the worker said when it began (`wire.studio.training.Began`).

    Attributes:
        weights: where the first weights are from, in words: `random`, `package …`, `file …`.
        pretrained: whether they are anybody's work.
        parameters, trainable: numbers of values.
        device: its name. precision: as it is used there.
    """

    weights: str
    pretrained: bool
    parameters: int
    trainable: int
    device: str
    precision: str
    environment: dict[str, str]
    notes: tuple[str, ...] = ()


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """With which code it ran. `commit` and `modified` where it runs from a git checkout, else None."""

    version: str
    commit: str | None = None
    modified: bool | None = None


class Data(msgspec.Struct, frozen=True, kw_only=True):
    """What it learns from, settled when it is started.

    Attributes:
        dataset_version: of the data set whose labels were taken. split_seed: of the split.
        examples: how many pictures of each part are in the manifest.
        left_out: how many pictures of the split are not, and why: `gone`, `unlabelled`.
    """

    dataset_version: int
    split_id: str
    split_seed: int | None
    classes: tuple[str, ...]
    examples: dict[str, int]
    left_out: dict[str, int] = msgspec.field(default_factory=dict)


class Parking(msgspec.Struct, frozen=True, kw_only=True):
    """How often it made room for others, and for how many seconds in all; `since` while it is parked."""

    times: int = 0
    seconds: float = 0.0
    since: str | None = None


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """That an experiment was another program's: it is read, and never trained.

    Attributes:
        program: whose. id, status: what it was there.
        notes: where it is told otherwise than there, and what could not be read.
    """

    program: str
    id: str
    status: str
    notes: tuple[str, ...] = ()


class Experiment(Document, frozen=True, kw_only=True):
    """`experiment.json`. The fields up to `error` are AI Studio's, the others ours.

    Attributes:
        split_name: of the split by its name, as it was called when the experiment was made.
        best_epoch: the epoch of `checkpoints/best.ckpt`; best_metric: the monitored metric there.
        best_checkpoint_path: below the experiment's folder.
        final_metrics: of the last epoch that was trained.
        job: the job that carries it out, or did last. started_by: whose job that is.
        generation: how often it was restarted: results of an earlier generation are gone.
        epoch: the last epoch that is done.
        resumed_from: the epochs after which it went on from a checkpoint, in order.
        interrupted: how often the server stopped in the middle, since the last epoch that was done.
        seconds: for which it was trained, parked time left out. peak_bytes: of the device, as the worker
            measured.
        ended: `epochs` or `early_stopping`, where it ran to its end.
        owner: who made it.
        metadata: what a client of OpenAI's dialect wants kept with it.
    """

    id: str
    name: str
    description: str | None = None
    created_at: str
    status: Status = Status.CREATED
    started_at: str | None = None
    completed_at: str | None = None
    split_name: str
    model: ModelSpec
    hyperparameters: Hyperparameters
    augmentations: Augmentations
    hardware: Hardware
    best_epoch: int | None = None
    best_checkpoint_path: str | None = None
    best_metric: dict[str, float] | None = None
    final_metrics: dict[str, float] | None = None
    error: Why | None = None

    task: str = "classification"
    owner: str = ""
    split_id: str = ""
    data: Data | None = None
    built: Built | None = None
    code: Code | None = None
    checkpoints: dict[str, Kept] = msgspec.field(default_factory=dict)
    epoch: int = 0
    generation: int = 0
    resumed_from: tuple[int, ...] = ()
    interrupted: int = 0
    parking: Parking = Parking()
    seconds: float = 0.0
    peak_bytes: int | None = None
    ended: str | None = None
    job: str | None = None
    started_by: str | None = None
    copied_from: str | None = None
    imported: Imported | None = None
    metadata: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def spec(self) -> TrainSpec:
        return TrainSpec(
            model=self.model,
            hyperparameters=self.hyperparameters,
            augmentations=self.augmentations,
            hardware=self.hardware,
        )

    @property
    def is_running(self) -> bool:
        return self.status in RUNNING

    def moved(self, to: Status, **changes: Any) -> "Experiment":
        """Raises ValueError where `to` may not follow: whoever moves it looks first."""
        if to not in NEXT[self.status]:
            raise ValueError(f"{self.id} is {self.status}: {to} may not follow")
        return msgspec.structs.replace(self, status=to, **changes)

    def with_spec(self, spec: TrainSpec) -> "Experiment":
        return msgspec.structs.replace(
            self,
            model=spec.model,
            hyperparameters=spec.hyperparameters,
            augmentations=spec.augmentations,
            hardware=spec.hardware,
        )


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the list of experiments; the first five fields are AI Studio's."""

    id: str
    name: str
    created_at: str
    status: Status
    best_metric_value: float | None = None
    split_name: str = ""
    backbone: str = ""
    epoch: int = 0
    max_epochs: int = 0
    imported: bool = False


class ExperimentIndex(Document, frozen=True, kw_only=True):
    """`experiments_index.json`: what a list shows, in the order in which they were made."""

    experiments: tuple[Summary, ...] = ()


def summary_of(experiment: Experiment) -> Summary:
    best = experiment.best_metric
    return Summary(
        id=experiment.id,
        name=experiment.name,
        created_at=experiment.created_at,
        status=experiment.status,
        best_metric_value=None if not best else next(iter(best.values())),
        split_name=experiment.split_name,
        backbone=experiment.model.backbone,
        epoch=experiment.epoch,
        max_epochs=experiment.hyperparameters.max_epochs,
        imported=experiment.imported is not None,
    )


class EpochRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `metrics.jsonl`. `values` are finite; `not_finite` names those that were not."""

    epoch: int
    at: str
    values: dict[str, float]
    best: bool = False
    not_finite: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As AI Studio has it: the values beside the number of the epoch."""
        flat: dict[str, Any] = {"epoch": self.epoch, **self.values, "at": self.at, "best": self.best}
        return {**flat, "not_finite": list(self.not_finite)} if self.not_finite else flat


def titled(text: str) -> str:
    """The name as it is kept. Raises Invalid: empty, too long, or with control characters."""
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if not name or len(name) > MAX_NAME:
        raise Invalid(f"A name has 1 to {MAX_NAME} characters; got {len(name)}.", field="name")
    if any(unicodedata.category(it) in {"Cc", "Cs"} for it in name):
        raise Invalid("A name must not hold control characters.", field="name")
    return name


def described(text: str | None) -> str | None:
    """The description as it is kept; None for a blank one. Raises Invalid: too long."""
    kept = (text or "").strip()
    if len(kept) > MAX_DESCRIPTION:
        raise Invalid(
            f"A description has {MAX_DESCRIPTION} characters at most; got {len(kept)}.", field="description"
        )
    return kept or None


def lowest_free(names: set[str], stem: str = "Experiment") -> str:
    """`Experiment N` with the lowest N from 1 that is not taken."""
    number = 1
    while f"{stem} {number}" in names:
        number += 1
    return f"{stem} {number}"


def require_stopped(experiment: Experiment) -> None:
    """Raises TrainingInProgress: it is in the queue, or runs."""
    if experiment.is_running:
        what = "in the queue" if experiment.status is Status.PENDING else "in training"
        raise TrainingInProgress(f"{experiment.name} is {what}.", hint="stop it first")


def require_own(experiment: Experiment) -> None:
    """Raises WrongStatus: it was another program's."""
    if experiment.imported is not None:
        raise WrongStatus(
            f"{experiment.name} came from {experiment.imported.program}: it can only be read.",
            code="experiment.imported",
            hint="duplicate it, choose a split, and train the copy",
        )
