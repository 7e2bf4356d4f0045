# SPDX-License-Identifier: Apache-2.0
"""Which function does which work. A part of the studio that brings work of its own adds a line here and
its messages in `wire/studio/messages.py`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from inglenook.wire.message import Message
from inglenook.wire.studio.evaluation import Embed, Evaluate, Explain, WorkFailed
from inglenook.wire.studio.export import Export, ExportFailed
from inglenook.wire.studio.finding import (
    FindBatchSize,
    FindingFailed,
    FindLearningRate,
    PreviewAugmentations,
)
from inglenook.wire.studio.training import Train, TrainFailed
from inglenook.workers.studio.context import Context
from inglenook.workers.studio.evaluation.predicting import evaluate
from inglenook.workers.studio.finding.batch_size import find_batch_size
from inglenook.workers.studio.finding.learning_rate import find_learning_rate
from inglenook.workers.studio.finding.preview import preview
from inglenook.workers.studio.training.run import train


@dataclass(frozen=True, slots=True)
class Handler:
    """Attributes:
    run: does the work and returns its last word. What it raises is told by `failed`.
    failed: the last word of work that failed: takes `job`, `code`, `message`, `hint`, perhaps
    `out_of_memory`.
    prefix: of the codes for errors that no code of ours names.
    """

    run: Callable[[Any, Context], Message]
    failed: Callable[..., Message]
    prefix: str


def _export(work: Export, context: Context) -> Message:
    """Imports ONNX's libraries, which a training does not need."""
    from inglenook.workers.studio.export.handler import export

    return export(work, context)


def _explain(work: Explain, context: Context) -> Message:
    from inglenook.workers.studio.evaluation.explaining import explain

    return explain(work, context)


def _embed(work: Embed, context: Context) -> Message:
    """Imports scikit-learn."""
    from inglenook.workers.studio.evaluation.embedding import embed

    return embed(work, context)


HANDLERS: Mapping[type[Message], Handler] = {
    Train: Handler(train, TrainFailed, "train"),
    Export: Handler(_export, ExportFailed, "export"),
    Evaluate: Handler(evaluate, WorkFailed, "studio"),
    Explain: Handler(_explain, WorkFailed, "studio"),
    Embed: Handler(_embed, WorkFailed, "studio"),
    FindBatchSize: Handler(find_batch_size, FindingFailed, "train"),
    FindLearningRate: Handler(find_learning_rate, FindingFailed, "train"),
    PreviewAugmentations: Handler(preview, FindingFailed, "train"),
}
