# SPDX-License-Identifier: Apache-2.0
"""The speech worker: faster-whisper in a child of our own, spoken to over the wire."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Literal

from inglenook.base.cancel import StopToken
from inglenook.runtime.contracts import ChildFailed, Device, Failure, LoadPlan
from inglenook.runtime.visibility import only
from inglenook.runtime.worker import WorkerProcess
from inglenook.runtime.worker_child import Tell, WorkerChild
from inglenook.runtime.worker_engine import WorkerEngine
from inglenook.wire.speech import (
    FromSpeechWorker,
    LastWord,
    LoadSpeechModel,
    Transcribe,
    TranscribeCancelled,
    Transcribed,
    TranscribeFailed,
)

NAME: Final = "faster-whisper"
MODULE: Final = "inglenook.workers.speech"
DEVICES: Final[Mapping[str, Literal["cpu", "cuda"]]] = {"cpu": "cpu", "cuda": "cuda"}
"""Kind of device → CTranslate2's word. It knows no others."""

WORKING: Final = "while it wrote down a recording"

FindProgram = Callable[[], str | None]


def find_ffmpeg() -> str | None:
    """The path of the program on `PATH`."""
    return shutil.which("ffmpeg")


class WhisperEngine(WorkerEngine):
    """Args, besides those of every `WorkerEngine`:
    cpu_threads: for a child on the CPU; None leaves it to the library.
    ffmpeg: asked before each start for the program that reads what libsndfile does not.
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
        ffmpeg: FindProgram = find_ffmpeg,
    ) -> None:
        super().__init__(
            spool_root=spool_root,
            start_timeout_s=start_timeout_s,
            cancel_grace_s=cancel_grace_s,
            stop_grace_s=stop_grace_s,
        )
        self._cpu_threads = cpu_threads
        self._ffmpeg = ffmpeg

    async def start(self, plan: LoadPlan, device: Device) -> "SpeechChild":
        """`plan.options`: `path`, and perhaps `compute_type`.

        Raises `ChildFailed`.
        """
        where = DEVICES.get(device.kind)
        if where is None:
            text = f"{plan.model} could not be started: faster-whisper does not run on {device.kind}."
            raise ChildFailed(Failure("child.not_started", text))
        worker = await self._process(
            MODULE,
            name=f"The speech worker of {plan.model}",
            union=FromSpeechWorker,
            environment=only(device),
        )
        load = LoadSpeechModel(
            path=str(plan.options["path"]),
            device=where,
            compute_type=plan.options.get("compute_type", "auto"),
            threads=self._cpu_threads if where == "cpu" else None,
            ffmpeg=self._ffmpeg(),
            spool=str(worker.spool),
        )
        return SpeechChild(worker, load, model=str(plan.model), **self._patience)


class SpeechChild(WorkerChild[LastWord]):
    """One speech worker with one model. One `Transcribe` at a time: its lease capacity is 1."""

    def __init__(
        self,
        worker: WorkerProcess,
        load: LoadSpeechModel,
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
            what="speech worker",
            working=WORKING,
            last_words=(Transcribed, TranscribeFailed, TranscribeCancelled),
            start_timeout_s=start_timeout_s,
            cancel_grace_s=cancel_grace_s,
            stop_grace_s=stop_grace_s,
        )

    async def transcribe(self, asked: Transcribe, *, stop: StopToken, tell: Tell) -> LastWord:
        """Write down a recording; see `WorkerChild.work`."""
        cancelled = TranscribeCancelled(job=asked.job, heard=-1.0)
        return await self.work(asked, job=asked.job, cancelled=cancelled, stop=stop, tell=tell)
