# SPDX-License-Identifier: Apache-2.0
"""An evaluation as values: what was asked, what came of it. Pure.

Fields of AI Studio's documents keep their names; what it lacks stands beside them. Figures that are not
defined are null, never a NaN that JSON does not know.
"""

from typing import Annotated, Any, Literal

import msgspec

from inglenook.studio.datasets.model import Subset
from inglenook.studio.documents import Document

MAX_ERROR = 4000
MAX_UNREADABLE = 100
"""Pictures that could not be read which are named in the document."""
Status = Literal["pending", "running", "completed", "failed", "cancelled"]
NEXT: dict[Status, frozenset[Status]] = {
    "pending": frozenset({"running", "failed", "cancelled"}),
    # Back to pending: the server stopped in the middle, and the next one begins it again.
    "running": frozenset({"pending", "completed", "failed", "cancelled"}),
    "completed": frozenset(),
    # Its job was asked to be done once more.
    "failed": frozenset({"pending"}),
    "cancelled": frozenset({"pending"}),
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


class NotSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A picture without an answer."""

    filename: str
    reason: str


class EvaluationRecord(Document, frozen=True, kw_only=True):
    """The document `evaluation.json`.

    Attributes:
        checkpoint: its name without `.ckpt`; checkpoint_epoch: of its weights, once it was read.
        split_name: of the experiment's split. dataset_version: whose labels count.
        job: the job that carries it out; owner: whose that is.
        unreadable: how many pictures have no answer; `not_seen` names the first of them.
        left_out: how many pictures of the subsets are not looked at, and why: `gone`, `unlabelled`.
        used_device: on which it was computed. note: what a person should know.
        error_code, error_hint: of what it failed with.
    """

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
    owner: str = ""
    progress: Progress = Progress()
    started_at: str | None = None
    completed_at: str | None = None
    checkpoint_epoch: int | None = None
    unreadable: int = 0
    not_seen: tuple[NotSeen, ...] = ()
    left_out: dict[str, int] = msgspec.field(default_factory=dict)
    used_device: str | None = None
    seconds: float | None = None
    peak_bytes: int | None = None
    note: str | None = None
    error: str | None = None
    error_code: str | None = None
    error_hint: str | None = None

    @property
    def is_running(self) -> bool:
        return self.status in ("pending", "running")

    def moved(self, to: Status, **changes: Any) -> "EvaluationRecord":
        """Raises ValueError where `to` may not follow: whoever moves it looks first."""
        if to not in NEXT[self.status]:
            raise ValueError(f"{self.id} is {self.status}: {to} may not follow")
        return msgspec.structs.replace(self, status=to, **changes)


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


class Aggregate(Document, frozen=True, kw_only=True):
    """The document `aggregate.json`. Rows of `confusion_matrix` are true classes."""

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
