# SPDX-License-Identifier: Apache-2.0
"""The studio's worker: training and what goes with it, in a child of our own, spoken to over the wire.

A child that trains can be parked: it frees its device at a batch boundary, and goes on when it is told to.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from inglenook.base.cancel import StopToken
from inglenook.runtime.contracts import ChildFailed, Device, Failure, LoadPlan
from inglenook.runtime.parkable_child import ParkableChild
from inglenook.runtime.visibility import only
from inglenook.runtime.worker import WorkerProcess
from inglenook.runtime.worker_child import Tell
from inglenook.wire.message import Message
from inglenook.wire.studio.evaluation import (
    Embed,
    Embedded,
    EmbedLastWord,
    Evaluate,
    Evaluated,
    EvaluateLastWord,
    Explain,
    Explained,
    ExplainLastWord,
    WorkFailed,
    WorkStopped,
)
from inglenook.wire.studio.export import Export, Exported, ExportFailed, ExportLastWord, ExportStopped
from inglenook.wire.studio.finding import (
    AugmentationsPreviewed,
    BatchSizeFound,
    FindBatchSize,
    FindingFailed,
    FindLearningRate,
    LearningRateFound,
    PreviewAugmentations,
)
from inglenook.wire.studio.messages import FindingLastWord, FromStudioWorker
from inglenook.wire.studio.training import (
    OpenStudio,
    Train,
    Trained,
    TrainFailed,
    TrainLastWord,
    TrainStopped,
)

NAME: Final = "studio"
MODULE: Final = "inglenook.workers.studio"
WORKING: Final = "while it trained"
WORKING_OF: Final[Mapping[str, str]] = {
    "export": "while it made an export",
    "evaluate": "while it looked at pictures",
    "explain": "while it looked at a picture",
}
"""By the plan's variant, where it does not train."""
OFFLINE: Final[Mapping[str, str]] = {"HF_HUB_OFFLINE": "1"}
"""No library asks the hub behind our back."""
BY_FORCE: Final = -1
"""`TrainStopped.epoch` of a run whose process had to be ended."""

TORCH_DEVICE: Final[Mapping[str, str]] = {"cpu": "cpu", "cuda": "cuda", "rocm": "cuda", "mps": "mps"}
"""Kind of device → PyTorch's word. It knows no others."""

FINDING_STOPPED: Final = "finding.stopped"
FindWork = FindBatchSize | FindLearningRate | PreviewAugmentations
FOUND: Final = (BatchSizeFound, LearningRateFound, AugmentationsPreviewed, FindingFailed)
EXPORT_ENDS: Final = (Exported, ExportFailed, ExportStopped)
LOOKED: Final = (Evaluated, Explained, Embedded, WorkFailed, WorkStopped)
LAST_WORDS: Final[tuple[type[Message], ...]] = (
    *(Trained, TrainFailed, TrainStopped),
    *FOUND,
    *EXPORT_ENDS,
    *LOOKED,
)
"""What ends a piece of work. Who brings another kind of work adds its last words here."""


class StudioEngine:
    """Args:
    spool_root: where each child gets a folder of its own.
    start_timeout_s: from the start of the process to its being ready.
    cancel_grace_s: how long a stopped run may take to write its checkpoint before the child is ended.
    stop_grace_s: how long a child may take to end by itself.
    cpu_threads: for a child on the CPU; None leaves it to the library.
    models: folders in which weights may lie.
    """

    name = NAME

    def __init__(
        self,
        *,
        spool_root: Path,
        start_timeout_s: float,
        cancel_grace_s: float,
        stop_grace_s: float,
        cpu_threads: int | None,
        models: tuple[Path, ...] = (),
        module: str = MODULE,
    ) -> None:
        self._spool_root = spool_root
        self._start_timeout_s = start_timeout_s
        self._cancel_grace_s = cancel_grace_s
        self._stop_grace_s = stop_grace_s
        self._cpu_threads = cpu_threads
        self._models = models
        self._module = module

    async def start(self, plan: LoadPlan, device: Device) -> "StudioChild":
        """Raises `ChildFailed`."""
        where = TORCH_DEVICE.get(device.kind)
        if where is None:
            text = f"{plan.model} could not be started: PyTorch does not run on {device.kind}."
            raise ChildFailed(Failure("child.not_started", text))
        worker = WorkerProcess(
            module=self._module,
            name=f"The studio worker of {plan.model}",
            union=FromStudioWorker,
            spool_root=self._spool_root,
            extra={**only(device), **OFFLINE},
            grace_s=self._stop_grace_s,
        )
        await worker.start()
        load = OpenStudio(
            device=where,
            threads=self._cpu_threads if where == "cpu" else None,
            spool=str(worker.spool),
            models=tuple(str(folder) for folder in self._models),
        )
        return StudioChild(
            worker,
            load,
            model=str(plan.model),
            working=WORKING_OF.get(plan.variant, WORKING),
            start_timeout_s=self._start_timeout_s,
            cancel_grace_s=self._cancel_grace_s,
            stop_grace_s=self._stop_grace_s,
        )


class StudioChild(ParkableChild[Message]):
    """One worker of the studio. One piece of work at a time: its lease capacity is 1."""

    def __init__(
        self,
        worker: WorkerProcess,
        load: OpenStudio,
        *,
        model: str,
        working: str,
        start_timeout_s: float,
        cancel_grace_s: float,
        stop_grace_s: float,
    ) -> None:
        super().__init__(
            worker,
            load,
            model=model,
            what="studio worker",
            working=working,
            last_words=LAST_WORDS,
            start_timeout_s=start_timeout_s,
            cancel_grace_s=cancel_grace_s,
            stop_grace_s=stop_grace_s,
        )

    async def train(self, train: Train, *, stop: StopToken, tell: Tell) -> TrainLastWord:
        """Run an experiment; see `WorkerChild.work`. A run whose process had to be ended says `BY_FORCE`."""
        cancelled = TrainStopped(job=train.job, epoch=BY_FORCE, batch=BY_FORCE, checkpoint=None)
        last = await self.work(train, job=train.job, cancelled=cancelled, stop=stop, tell=tell)
        assert isinstance(last, Trained | TrainFailed | TrainStopped), f"{last} ends no training"
        return last

    async def find(self, asked: FindWork, *, stop: StopToken, tell: Tell) -> FindingLastWord:
        """Find a batch size or a learning rate, or show augmentations; see `WorkerChild.work`."""
        cancelled = FindingFailed(job=asked.job, code=FINDING_STOPPED, message="It was stopped.")
        last = await self.work(asked, job=asked.job, cancelled=cancelled, stop=stop, tell=tell)
        assert isinstance(last, FOUND), f"{last} ends no search"
        return last

    async def export(self, asked: Export, *, stop: StopToken, tell: Tell) -> ExportLastWord:
        """Make a file of a checkpoint; see `WorkerChild.work`."""
        cancelled = ExportStopped(job=asked.job)
        last = await self.work(asked, job=asked.job, cancelled=cancelled, stop=stop, tell=tell)
        assert isinstance(last, EXPORT_ENDS), f"{last} ends no export"
        return last

    async def evaluate(self, asked: Evaluate, *, stop: StopToken, tell: Tell) -> EvaluateLastWord:
        """Predict a manifest's pictures; see `WorkerChild.work`."""
        cancelled = WorkStopped(job=asked.job, done=0)
        last = await self.work(asked, job=asked.job, cancelled=cancelled, stop=stop, tell=tell)
        assert isinstance(last, Evaluated | WorkFailed | WorkStopped), f"{last} ends no evaluation"
        return last

    async def explain(self, asked: Explain, *, stop: StopToken) -> ExplainLastWord:
        """Show where on a picture a class was found; see `WorkerChild.work`."""
        cancelled = WorkStopped(job=asked.job, done=0)
        last = await self.work(asked, job=asked.job, cancelled=cancelled, stop=stop, tell=_nobody)
        assert isinstance(last, Explained | WorkFailed | WorkStopped), f"{last} explains nothing"
        return last

    async def embed(self, asked: Embed, *, stop: StopToken, tell: Tell) -> EmbedLastWord:
        """Lay pictures out on a plane; see `WorkerChild.work`."""
        cancelled = WorkStopped(job=asked.job, done=0)
        last = await self.work(asked, job=asked.job, cancelled=cancelled, stop=stop, tell=tell)
        assert isinstance(last, Embedded | WorkFailed | WorkStopped), f"{last} ends no map"
        return last


async def _nobody(message: Message) -> None:
    """Is told nothing: it is over in a moment."""
