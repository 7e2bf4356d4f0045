# SPDX-License-Identifier: Apache-2.0
"""An engine whose children are real processes that can be parked: `inglenook.testing.training`."""

from pathlib import Path

from inglenook.base.cancel import StopToken
from inglenook.runtime.contracts import Device, LoadPlan
from inglenook.runtime.parkable_child import ParkableChild
from inglenook.runtime.worker import WorkerProcess
from inglenook.runtime.worker_child import Tell
from inglenook.testing.engines import PATIENCE_S
from inglenook.testing.training import TrainBehaviour
from inglenook.wire.message import Hello, Loaded, LoadFailed
from inglenook.wire.studio.training import (
    Batch,
    Began,
    OpenStudio,
    Parked,
    Train,
    Trained,
    TrainFailed,
    TrainLastWord,
    TrainStopped,
    Unparked,
)

FromTraining = (
    Hello | Loaded | LoadFailed | Began | Batch | Parked | Unparked | Trained | TrainFailed | TrainStopped
)


class ScriptedTraining(ParkableChild[TrainLastWord]):
    """A child of `ScriptedTrainingEngine`."""

    async def train(self, train: Train, *, stop: StopToken, tell: Tell) -> TrainLastWord:
        cancelled = TrainStopped(job=train.job, epoch=0, batch=0, checkpoint=None)
        return await self.work(train, job=train.job, cancelled=cancelled, stop=stop, tell=tell)


class ScriptedTrainingEngine:
    """An `Engine` whose children are real processes that can be parked: `inglenook.testing.training`.

    `plan.options["behaviour"]` tells what a child does; see `TrainBehaviour`.

    Attributes:
        children: all that were ever started, oldest first.
    """

    def __init__(
        self,
        *,
        spool_root: Path,
        name: str = "training",
        start_timeout_s: float = 60.0,
        cancel_grace_s: float = 2.0,
        stop_grace_s: float = PATIENCE_S,
    ) -> None:
        self.name = name
        self._spool_root = spool_root
        self._start_timeout_s = start_timeout_s
        self._cancel_grace_s = cancel_grace_s
        self._stop_grace_s = stop_grace_s
        self.children: list[ScriptedTraining] = []

    async def start(self, plan: LoadPlan, device: Device) -> ScriptedTraining:
        behaviour = TrainBehaviour(plan.options.get("behaviour", TrainBehaviour.NORMAL))
        worker = WorkerProcess(
            module="inglenook.testing.training",
            name=f"The scripted training of {plan.model}",
            union=FromTraining,
            spool_root=self._spool_root,
            extra={},
            grace_s=self._stop_grace_s,
            arguments=(behaviour.value,),
        )
        await worker.start()
        child = ScriptedTraining(
            worker,
            OpenStudio(device=device.id, spool=str(worker.spool)),
            model=str(plan.model),
            what="training worker",
            working="while it trained",
            last_words=(Trained, TrainFailed, TrainStopped),
            start_timeout_s=self._start_timeout_s,
            cancel_grace_s=self._cancel_grace_s,
            stop_grace_s=self._stop_grace_s,
        )
        self.children.append(child)
        return child
