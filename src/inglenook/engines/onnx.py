# SPDX-License-Identifier: Apache-2.0
"""The vision worker: onnxruntime in a child of our own, spoken to over the wire."""

from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

from inglenook.base.cancel import StopToken
from inglenook.runtime.contracts import ChildFailed, Device, Failure, LoadPlan
from inglenook.runtime.visibility import only
from inglenook.runtime.worker import WorkerProcess
from inglenook.runtime.worker_child import WorkerChild
from inglenook.runtime.worker_engine import WorkerEngine
from inglenook.wire.message import Message
from inglenook.wire.vision import (
    FromVisionWorker,
    LoadVisionModel,
    Matte,
    Matted,
    Predict,
    PredictCancelled,
    Predicted,
    PredictFailed,
    PredictLastWord,
)

NAME: Final = "onnxruntime"
MODULE: Final = "inglenook.workers.vision"
DEVICES: Final[Mapping[str, Literal["cpu", "cuda"]]] = {"cpu": "cpu", "cuda": "cuda"}
WORKING: Final = "while it looked at pictures"
_PACKAGES: Final[Mapping[str, frozenset[str]]] = {
    "onnxruntime-gpu": frozenset({"cpu", "cuda"}),
    "onnxruntime": frozenset({"cpu"}),
}


@cache
def kinds_of_devices() -> frozenset[str]:
    """Where the installed onnxruntime can run, by its package's name; empty where there is none. It is not
    imported."""
    for package, kinds in _PACKAGES.items():
        try:
            metadata.distribution(package)
        except metadata.PackageNotFoundError:
            continue
        return kinds
    return frozenset()


class OnnxEngine(WorkerEngine):
    """Args, besides those of every `WorkerEngine`:
    cpu_threads: for a child on the CPU; None leaves it to the library.
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
    ) -> None:
        super().__init__(
            spool_root=spool_root,
            start_timeout_s=start_timeout_s,
            cancel_grace_s=cancel_grace_s,
            stop_grace_s=stop_grace_s,
        )
        self._cpu_threads = cpu_threads

    async def start(self, plan: LoadPlan, device: Device) -> "VisionChild":
        """`plan.options`: `model`, the fields of a `LoadVisionModel` but for device, threads and spool.

        Raises `ChildFailed`.
        """
        where = DEVICES.get(device.kind)
        if where is None:
            text = f"{plan.model} could not be started: onnxruntime does not run on {device.kind} here."
            raise ChildFailed(Failure("child.not_started", text))
        worker = await self._process(
            MODULE,
            name=f"The vision worker of {plan.model}",
            union=FromVisionWorker,
            environment=only(device),
        )
        load = LoadVisionModel(
            device=where,
            threads=self._cpu_threads if where == "cpu" else None,
            spool=str(worker.spool),
            **plan.options["model"],
        )
        return VisionChild(worker, load, model=str(plan.model), **self._patience)


class VisionChild(WorkerChild[PredictLastWord]):
    """One vision worker with one model. One `Predict` at a time: its lease capacity is 1."""

    def __init__(
        self,
        worker: WorkerProcess,
        load: LoadVisionModel,
        *,
        model: str,
        start_timeout_s: float,
        cancel_grace_s: float,
        stop_grace_s: float,
    ) -> None:
        super().__init__(
            worker,
            load,
            model=model,
            what="vision worker",
            working=WORKING,
            last_words=(Predicted, Matted, PredictFailed, PredictCancelled),
            start_timeout_s=start_timeout_s,
            cancel_grace_s=cancel_grace_s,
            stop_grace_s=stop_grace_s,
        )

    async def predict(self, asked: Predict, *, stop: StopToken) -> PredictLastWord:
        """Look at pictures; see `WorkerChild.work`."""
        cancelled = PredictCancelled(job=asked.job)
        return await self.work(asked, job=asked.job, cancelled=cancelled, stop=stop, tell=_unheard)

    async def matte(self, asked: Matte, *, stop: StopToken) -> PredictLastWord:
        """Tell the subject from its background; see `WorkerChild.work`."""
        cancelled = PredictCancelled(job=asked.job)
        return await self.work(asked, job=asked.job, cancelled=cancelled, stop=stop, tell=_unheard)


async def _unheard(message: Message) -> None:
    """Nothing comes before the last word."""
