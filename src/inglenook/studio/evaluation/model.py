# SPDX-License-Identifier: Apache-2.0
"""An evaluation as values: what was asked, what came of it. Pure.

Fields of AI Studio's documents keep their names; what it lacks stands beside them. Figures that are not
defined are null, never a NaN that JSON does not know.
"""

from typing import Annotated, Any, Literal

import msgspec

from inglenook.studio.datasets.model import Subset

SCHEMA = 1
Status = Literal["pending", "running", "completed", "failed", "cancelled"]
NEXT: dict[Status, frozenset[Status]] = {
    "pending": frozenset({"running", "failed", "cancelled"}),
    "running": frozenset({"completed", "failed", "cancelled"}),
    "completed": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}


class EvaluationRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person asks for. `checkpoint`: its name without `.ckpt`; `device`: as in an experiment's
    hardware.
    """

    checkpoint: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,119}$")] = "best"
    split_subsets: tuple[Literal["train", "val", "test"], ...] = ("test",)
    batch_size: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 32
    device: Annotated[str, msgspec.Meta(pattern=r"^(auto|cpu|gpu|cuda|mps|(gpu|cuda):[0-9]{1,2})$")] = "auto"


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    processed: int = 0
    total: int = 0


class EvaluationRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The document `evaluation.json`. `job`: the job that carries it out; `checkpoint_epoch`: that of the
    weights.
    """

    version: int = SCHEMA
    id: str
    experiment_id: str
    checkpoint: str
    split_subsets: tuple[str, ...]
    batch_size: int
    device: str
    status: Status
    created_at: str
    split_name: str
    dataset_version: int
    job: str | None = None
    progress: Progress = Progress()
    started_at: str | None = None
    completed_at: str | None = None
    checkpoint_epoch: int | None = None
    unreadable: int = 0
    error: str | None = None


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A figure with its 95 % confidence interval; null where it is not defined."""

    value: float | None
    low: float | None = None
    high: float | None = None


class ClassFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Of one class against the rest. `average_precision`, `roc_auc` from the scores; the others from the
    answers.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    precision_interval: Estimate
    recall_interval: Estimate
    roc_auc: float | None
    average_precision: float | None


class Averages(msgspec.Struct, frozen=True, kw_only=True):
    precision: float | None
    recall: float | None
    f1: float | None


class CurvePoints(msgspec.Struct, frozen=True, kw_only=True):
    """At most `figures.CURVE_POINTS` points of a curve; `threshold` null for infinity."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    threshold: tuple[float | None, ...]


class ReliabilityBin(msgspec.Struct, frozen=True, kw_only=True):
    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


class Reliability(msgspec.Struct, frozen=True, kw_only=True):
    """How far confidence can be believed. `temperature` is what logits would have to be divided by (fitted on
    `fitted_on`); `ece_scaled` is what the error would be then, measured on other pictures than those where
    there are any.
    """

    ece: float | None
    bins: tuple[ReliabilityBin, ...]
    temperature: float | None = None
    fitted_on: str | None = None
    ece_scaled: float | None = None


class Aggregate(msgspec.Struct, frozen=True, kw_only=True):
    """The document `aggregate.json`. Rows of `confusion_matrix` are true classes."""

    version: int = SCHEMA
    count: int
    classes: tuple[str, ...]
    accuracy: float | None
    accuracy_interval: Estimate
    precision_macro: float | None
    recall_macro: float | None
    f1_macro: float | None
    weighted: Averages
    top_k: dict[str, float | None]
    loss: float | None
    confusion_matrix: tuple[tuple[int, ...], ...]
    per_class: dict[str, ClassFigures]
    roc_auc_macro: float | None
    roc: dict[str, CurvePoints]
    precision_recall: dict[str, CurvePoints]
    calibration: Reliability
    subsets: dict[str, int]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One picture. `loss`: -log of the true class's probability, in nats."""

    id: str
    filename: str
    subset: Subset
    ground_truth: dict[str, Any]
    prediction: dict[str, Any]
    correct: bool
    loss: float
    probabilities: dict[str, float]


class ResultQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which pictures, in which order. `error` sorts by 1 less the confidence where the answer is right and
    by the
    confidence, above all of those, where it is wrong: the most confident mistakes come last, or first when
        it falls.

    Attributes:
        filter_class, filter_predicted: true and predicted class; a cell of the confusion matrix is both.
    """

    sort_by: Literal["filename", "confidence", "error", "loss"] = "filename"
    sort_order: Literal["asc", "desc"] = "asc"
    filter_correct: bool | None = None
    filter_class: str | None = None
    filter_predicted: str | None = None
    filter_subset: Literal["train", "val", "test"] | None = None
    search: str = ""
