# SPDX-License-Identifier: Apache-2.0
"""Training over the wire.

    server                          worker
      │  ◄──────── Hello ─────────────│   after connecting
      │ ────────── OpenStudio ──────► │   which device
      │  ◄──────── Loaded / LoadFailed
      │ ────────── Train ───────────► │
      │  ◄──────── Began              │   what was really built: network, weights, device, precision
      │  ◄──────── Batch …            │   at most a few times a second
      │  ◄──────── Checkpoint …       │   a file is whole and in its place
      │  ◄──────── Epoch …            │   one record an epoch, complete
      │  ◄──────── Samples …          │   a few pictures with what is predicted
      │  ◄──────── Notice …
      │ ────────── Park ────────────► │   at the next batch boundary the device is freed …
      │  ◄──────── Parked             │   … and this says so
      │ ────────── Unpark ──────────► │
      │  ◄──────── Unparked           │
      │ ────────── Cancel ──────────► │   at the next batch boundary: a checkpoint, then TrainStopped
      │  ◄──────── Trained / TrainFailed / TrainStopped   exactly one, last
      │ ────────── Shutdown ────────► │

Folders are named in messages; the worker writes into the run's own folder and nowhere else, and never into a
document of the workspace. Numbers that are not finite do not travel: a record leaves them out and names them
in `not_finite`.
"""

from typing import Any, Final, Literal

import msgspec

from inglenook.wire.message import Message, OutOfMemory
from inglenook.wire.studio.spec import TrainSpec


class OpenStudio(Message, frozen=True, kw_only=True, tag="open_studio"):
    """Make ready for work on one device. Sent once.

    Attributes:
        device: as PyTorch calls it: `cpu`, `cuda`, `mps`; the child sees only its own.
        threads: CPU threads; None leaves it to the library.
        spool: an existing folder, private to this child.
        models: folders in which weights may lie, in this order.
    """

    device: str
    threads: int | None = None
    spool: str
    models: tuple[str, ...] = ()


class Train(Message, frozen=True, kw_only=True, tag="train"):
    """Run one experiment.

    Attributes:
        job: the server's id for it, echoed in every answer.
        task: `classification` …
        classes: names, in the order of their numbers.
        manifest: a file with one `Example` a line (JSON).
        folder: the run's own: checkpoints go to `checkpoints/last.ckpt` and `checkpoints/best.ckpt`, logs of
            TensorBoard and MLflow beside them.
        resume: a checkpoint of this run to go on from, exactly; None begins anew.
        told: so many epochs are written down. Those after them that the checkpoint knows are told again, for
            a server that ended may have heard less than its worker had done. None: nothing is told again.
        save_every_s: `last.ckpt` is also written within an epoch, this often.
        lineage: what the server knows of where this comes from (project, experiment, split, version of the
        data
            set, of this program …); kept in checkpoints, TensorBoard and MLflow as it is.
    """

    job: str
    task: str
    spec: TrainSpec
    classes: tuple[str, ...]
    manifest: str
    folder: str
    resume: str | None = None
    told: int | None = None
    save_every_s: float = 120.0
    lineage: dict[str, str] = msgspec.field(default_factory=dict)


class Began(Message, frozen=True, kw_only=True, tag="train_began"):
    """What was really built.

    Attributes:
        weights: where the first weights are from, for people: `random`, `file …`, `package … (sha256 …)`.
        pretrained: whether they are anybody's work.
        parameters, trainable: numbers of values.
        precision: as it is used on this device, which may be another than was asked for; `notes` says so.
        environment: versions of Python, PyTorch, Lightning …, threads, device's name.
    """

    job: str
    weights: str
    pretrained: bool
    parameters: int
    trainable: int
    device: str
    precision: str
    epoch: int
    epochs: int
    batches: int
    environment: dict[str, str]
    notes: tuple[str, ...] = ()


class Batch(Message, frozen=True, kw_only=True, tag="train_batch"):
    """How far it is. `epoch` from 1, `batch` of `batches` done in it; `stage` is `train` or `val`.

    `loss` is the newest; None where it is not finite. `examples_per_s` since the last one; `memory_bytes`
    that the device holds for it.
    """

    job: str
    epoch: int
    batch: int
    batches: int
    stage: Literal["train", "val"]
    loss: float | None = None
    learning_rate: float | None = None
    examples_per_s: float | None = None
    memory_bytes: int | None = None


MEASURED: Final = ("duration_s", "examples_per_s", "memory_bytes")
"""What an epoch's record says of the machine: the same learning at another time differs in these alone."""


class Epoch(Message, frozen=True, kw_only=True, tag="train_epoch"):
    """One epoch is done.

    Attributes:
        values: of this epoch and no other: `train_loss`, `val_loss`, `train_accuracy`, `val_accuracy`,
            `val_f1` …, `val_accuracy_low` and `val_accuracy_high` (95 %),
            with `lr`, `duration_s`, `examples_per_s` (of the training part) and `memory_bytes` (the most that
            was seen, where the device tells); finite.
        not_finite: names that were not.
        best: whether it is the best so far by the monitored metric.
    """

    job: str
    epoch: int
    values: dict[str, float]
    not_finite: tuple[str, ...] = ()
    best: bool = False


class Checkpoint(Message, frozen=True, kw_only=True, tag="train_checkpoint"):
    """A checkpoint is whole and in its place. `name`: `best` or `last`; `file` below the run's folder.

    `monitor` with its `value`: why it is the best one.
    """

    job: str
    name: Literal["best", "last"]
    file: str
    epoch: int
    batch: int
    size_bytes: int
    monitor: str | None = None
    value: float | None = None


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One picture of the validation part: the example's `id`, what it is and what is predicted (task's own
    JSON).
    """

    id: str
    target: Any
    prediction: Any
    confidence: float | None = None
    loss: float | None = None


class Samples(Message, frozen=True, kw_only=True, tag="train_samples"):
    job: str
    epoch: int
    samples: tuple[Sample, ...]


class Park(Message, frozen=True, kw_only=True, tag="park"):
    """Free the device at the next batch boundary and wait. Answered by `Parked`, also when it is parked
    already.
    """

    job: str


class Unpark(Message, frozen=True, kw_only=True, tag="unpark"):
    """Take the device again and go on."""

    job: str


class Parked(Message, frozen=True, kw_only=True, tag="parked"):
    """The receipt: `seconds` from the wish to the free device, its memory held before and after (bytes; None
    where it cannot be measured), and where it stopped."""

    job: str
    seconds: float
    before_bytes: int | None = None
    after_bytes: int | None = None
    epoch: int
    batch: int


class Unparked(Message, frozen=True, kw_only=True, tag="unparked"):
    job: str
    seconds: float
    memory_bytes: int | None = None


class StudioNotice(Message, frozen=True, kw_only=True, tag="studio_notice"):
    """Something a person should know: a picture that cannot be read and is left out, a precision that is not
    to be had …"""

    job: str
    text: str


class Trained(Message, frozen=True, kw_only=True, tag="trained"):
    """It ran to its end. `best_epoch` is the epoch of `best.ckpt`; None where nothing was validated.

    `ended`: `epochs` or `early_stopping`. `values`: of the last epoch.
    """

    job: str
    seconds: float
    epochs: int
    ended: Literal["epochs", "early_stopping"]
    monitor: str | None = None
    best_epoch: int | None = None
    best_value: float | None = None
    values: dict[str, float]
    peak_bytes: int | None = None


class TrainFailed(Message, frozen=True, kw_only=True, tag="train_failed"):
    """It failed; what was kept before stays.

    `code` is stable: `train.diverged` (a loss that is not finite), `train.out_of_memory`,
    `train.no_weights`, `train.unknown_model`,
    `train.bad_augmentation`, `train.bad_checkpoint`, `train.no_data`, `train.unreadable` (too many pictures
    cannot be read), `train.loader_died`, `train.disk_full`, `train.unknown_task`, `train.invalid`,
    `train.failed`. `message` is never empty and at most 4,000 characters.
    """

    job: str
    code: str
    message: str
    hint: str | None = None
    epoch: int | None = None
    out_of_memory: OutOfMemory | None = None


class TrainStopped(Message, frozen=True, kw_only=True, tag="train_stopped"):
    """It stopped on request, after `batch` batches of `epoch`; `checkpoint` is the file from which it goes
    on.
    """

    job: str
    epoch: int
    batch: int
    checkpoint: str | None
    before_bytes: int | None = None
    after_bytes: int | None = None


TrainLastWord = Trained | TrainFailed | TrainStopped
