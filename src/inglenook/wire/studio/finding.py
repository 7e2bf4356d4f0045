# SPDX-License-Identifier: Apache-2.0
"""What is asked of the studio's worker before a run: which batch fits, which learning rate suits, what the
augmentations make of a picture.

Each is one piece of work with one last word, as `Train` is; Cancel, Park and Unpark mean the same.
"""

from typing import Annotated

import msgspec

from inglenook.wire.message import Message, OutOfMemory
from inglenook.wire.studio.spec import TrainSpec


class FindBatchSize(Message, frozen=True, kw_only=True, tag="find_batch_size"):
    """Try batches of 2, 4, 8 … pictures through real training steps, and say which is the best that fits.

    Attributes:
        ceiling: no batch is larger than this, nor than the training part.
        steps: of each size, after one that warms up.
        limit_bytes: so much memory of the device (of the process, on a CPU) may be taken; None: what there
        is.
    """

    job: str
    task: str
    spec: TrainSpec
    classes: tuple[str, ...]
    manifest: str
    ceiling: Annotated[int, msgspec.Meta(ge=1, le=256)] = 256
    steps: Annotated[int, msgspec.Meta(ge=1, le=50)] = 3
    limit_bytes: int | None = None


class TriedBatch(msgspec.Struct, frozen=True, kw_only=True):
    """One size. `peak_bytes` and `examples_per_s` of the steps alone, without the reading of pictures;
    None where it did not fit or cannot be measured."""

    size: int
    fits: bool
    peak_bytes: int | None = None
    examples_per_s: float | None = None


class BatchSizeTried(Message, frozen=True, kw_only=True, tag="batch_size_tried"):
    """Progress: one more size was tried."""

    job: str
    tried: TriedBatch


class BatchSizeFound(Message, frozen=True, kw_only=True, tag="batch_size_found"):
    """`largest` that fits; `suggested`: the smallest that is within a tenth of the fastest. `reason`: why no
    larger one was tried, for people."""

    job: str
    largest: int
    suggested: int
    tried: tuple[TriedBatch, ...]
    reason: str


class FindLearningRate(Message, frozen=True, kw_only=True, tag="find_learning_rate"):
    """Train some steps with a rate that rises from `lowest` to `highest`, each step by the same factor,
    and watch the loss. The weights are thrown away."""

    job: str
    task: str
    spec: TrainSpec
    classes: tuple[str, ...]
    manifest: str
    lowest: Annotated[float, msgspec.Meta(gt=0.0)] = 1e-7
    highest: Annotated[float, msgspec.Meta(gt=0.0)] = 1.0
    steps: Annotated[int, msgspec.Meta(ge=10, le=1000)] = 100


class RatePoint(msgspec.Struct, frozen=True):
    """`loss` of the batch that was learned from at `learning_rate`; `smoothed`: its running average."""

    learning_rate: float
    loss: float
    smoothed: float


class LearningRateTried(Message, frozen=True, kw_only=True, tag="learning_rate_tried"):
    """Progress: one more step."""

    job: str
    step: int
    steps: int
    point: RatePoint


class LearningRateFound(Message, frozen=True, kw_only=True, tag="learning_rate_found"):
    """The curve, and where it falls most steeply; None with the `reason` where it falls nowhere."""

    job: str
    suggested: float | None
    points: tuple[RatePoint, ...]
    reason: str


class PreviewAugmentations(Message, frozen=True, kw_only=True, tag="preview_augmentations"):
    """Show what training will see: some pictures of the training part as the epochs 1, 2 … will get them.

    Attributes:
        pictures: so many of the training part. epochs: so many of each.
        examples: these ids instead of the first ones.
    """

    job: str
    task: str
    spec: TrainSpec
    classes: tuple[str, ...]
    manifest: str
    pictures: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4
    epochs: Annotated[int, msgspec.Meta(ge=1, le=16)] = 4
    examples: tuple[str, ...] = ()


class AugmentedPicture(msgspec.Struct, frozen=True, kw_only=True):
    """PNG files in the spool: `val`, as it is looked at, and one for each epoch. All are as the network
    gets them, with the normalisation taken back."""

    id: str
    val: str
    epochs: tuple[str, ...]


class AugmentationsPreviewed(Message, frozen=True, kw_only=True, tag="augmentations_previewed"):
    job: str
    pictures: tuple[AugmentedPicture, ...]
    notes: tuple[str, ...] = ()


class FindingFailed(Message, frozen=True, kw_only=True, tag="finding_failed"):
    """The last word of these when they fail or are stopped. `code`: `studio.stopped`, or as `TrainFailed`
    has them."""

    job: str
    code: str
    message: str
    hint: str | None = None
    out_of_memory: OutOfMemory | None = None
