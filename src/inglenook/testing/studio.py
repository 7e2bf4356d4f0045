# SPDX-License-Identifier: Apache-2.0
"""A studio's worker that learns nothing and behaves as it is told: `python -m inglenook.testing.studio`.

A real process that speaks the wire and knows no tensor library. What it does is told by the name of the
experiment (`lineage["name"]`), see `StudioBehaviour`; its numbers follow from the epoch alone, so that a run
that was stopped and resumed has the same as one that was not. It evaluates as well: every picture is what it
is, and what else happens is told by the batch size, see `EVALUATION_WAITS`.
"""

import json
import os
import signal
import sys
import threading
from enum import StrEnum
from pathlib import Path
from typing import Final

from inglenook.wire.channel import PeerGone, WorkerChannel
from inglenook.wire.message import Cancel, Loaded, Message, Shutdown
from inglenook.wire.studio.evaluation import LOGITS, Evaluate, Evaluated, Predicted, WorkFailed, WorkStopped
from inglenook.wire.studio.messages import ToStudioWorker
from inglenook.wire.studio.training import (
    Batch,
    Began,
    Checkpoint,
    Epoch,
    OpenStudio,
    Park,
    Parked,
    Sample,
    Samples,
    StudioNotice,
    Train,
    Trained,
    TrainFailed,
    TrainStopped,
    Unpark,
    Unparked,
)

EXIT_PEER_GONE: Final = 3
BATCHES: Final = 4
MONITOR: Final = "val_accuracy"
EVALUATION_WAITS: Final = 101
"""A batch size: after the first picture, until it is cancelled or the file `go` lies in the folder."""
EVALUATION_KILLED: Final = 102
EVALUATION_FAILS: Final = 103


class StudioBehaviour(StrEnum):
    """Names of experiments; any other name is NORMAL."""

    NORMAL = "normal"
    WAITS = "waits"  # after its first epoch, until it is cancelled or the file `go` lies in the run's folder
    KILLED = "killed"  # SIGKILL in the second epoch, when it was not resumed
    DIVERGES = "diverges"  # in the second epoch
    NOT_FINITE = "not finite"  # a loss in each epoch
    IGNORES_CANCEL = "ignores cancel"
    TALKS_NONSENSE = "talks nonsense"


def loss_of(epoch: int) -> float:
    return round(1.0 / epoch, 6)


def accuracy_of(epoch: int) -> float:
    """The best is the third epoch's."""
    return round(1.0 - abs(epoch - 3) / 10, 6)


class ScriptedStudio:
    def __init__(self, channel: WorkerChannel) -> None:
        self._channel = channel
        self._changed = threading.Condition()
        self._inbox: list[OpenStudio | Train | Evaluate | Shutdown] = []
        self._cancelled: set[str] = set()
        self._park: set[str] = set()

    def run(self) -> int:
        threading.Thread(target=self._read, daemon=True).start()
        if not isinstance(self._next(), OpenStudio):
            return 0
        sys.stdout.write("ready to play\n")
        sys.stdout.flush()
        self._channel.send(Loaded(seconds=0.0, weights_bytes=0))
        while not isinstance(work := self._next(), Shutdown | OpenStudio):
            self._channel.send(_Run(work, self).go() if isinstance(work, Train) else self._evaluate(work))
        return 0

    def _evaluate(self, work: Evaluate) -> Message:
        import numpy as np

        lines = Path(work.manifest).read_bytes().splitlines()
        targets = [int(json.loads(line)["target"]) for line in lines]
        self.say(Predicted(job=work.job, done=1, whole=len(lines)))
        if work.batch_size == EVALUATION_WAITS:
            self.wait(work.job, Path(work.folder) / "go", heeds=True, epoch=0)
            if self.is_cancelled(work.job):
                return WorkStopped(job=work.job, done=1)
        if work.batch_size == EVALUATION_KILLED:
            os.kill(os.getpid(), signal.SIGKILL)
        if work.batch_size == EVALUATION_FAILS:
            return WorkFailed(job=work.job, code="studio.failed", message="It was told to fail.")
        np.save(Path(work.folder) / LOGITS, 4 * np.eye(2, dtype=np.float32)[targets])
        epoch = int(json.loads(Path(work.checkpoint).read_text())["epoch"])
        return Evaluated(job=work.job, classes=("cat", "dog"), epoch=epoch, seconds=0.0)

    def _read(self) -> None:
        try:
            while True:
                self._take(self._channel.receive())
        except PeerGone:
            os._exit(EXIT_PEER_GONE)

    def _take(self, message: Message) -> None:
        with self._changed:
            match message:
                case Cancel():
                    self._cancelled.add(message.job)
                case Park():
                    self._park.add(message.job)
                case Unpark():
                    self._park.discard(message.job)
                case OpenStudio() | Train() | Evaluate() | Shutdown():
                    self._inbox.append(message)
                case _:
                    raise AssertionError(f"{message} is not for this worker")
            self._changed.notify_all()

    def _next(self) -> OpenStudio | Train | Evaluate | Shutdown:
        with self._changed:
            self._changed.wait_for(lambda: bool(self._inbox))
            return self._inbox.pop(0)

    # -- for a run -------------------------------------------------------------------------------------------

    def say(self, message: Message) -> None:
        self._channel.send(message)

    def is_cancelled(self, job: str) -> bool:
        with self._changed:
            return job in self._cancelled

    def boundary(self, job: str, epoch: int, batch: int) -> None:
        """Between two batches: park here if that is wished, until it is no longer."""
        with self._changed:
            if job not in self._park:
                return
            self.say(
                Parked(job=job, seconds=0.0, before_bytes=1000, after_bytes=10, epoch=epoch, batch=batch)
            )
            self._changed.wait_for(lambda: job not in self._park or job in self._cancelled)
            if job not in self._park:
                self.say(Unparked(job=job, seconds=0.0, memory_bytes=1000))

    def wait(self, job: str, file: Path, *, heeds: bool, epoch: int) -> None:
        """Until the job is cancelled or the file is there; parks meanwhile where that is wished."""
        while not (heeds and self.is_cancelled(job)) and not file.exists():
            self.boundary(job, epoch, BATCHES)
            with self._changed:
                self._changed.wait(0.02)


class _Run:
    def __init__(self, train: Train, worker: ScriptedStudio) -> None:
        self._train = train
        self._worker = worker
        self._folder = Path(train.folder)
        self._epochs = train.spec.hyperparameters.max_epochs
        name = train.lineage.get("name", "")
        self._behaviour = StudioBehaviour(name) if name in set(StudioBehaviour) else StudioBehaviour.NORMAL

    def go(self) -> Message:
        job = self._train.job
        done = (
            0
            if self._train.resume is None
            else int(json.loads(Path(self._train.resume).read_text())["epoch"])
        )
        self._began(done)
        if self._behaviour is StudioBehaviour.TALKS_NONSENSE:
            self._worker.say(Loaded(seconds=0.0, weights_bytes=0))
        for epoch in range(done + 1, self._epochs + 1):
            for batch in range(1, BATCHES + 1):
                if self._worker.is_cancelled(job):
                    return self._stopped(epoch - 1)
                self._worker.boundary(job, epoch, batch - 1)
                self._batch(epoch, batch)
                if epoch == 2 and batch == 2 and not done:
                    self._misfortune()
            if epoch == 2 and self._behaviour is StudioBehaviour.DIVERGES:
                return TrainFailed(
                    job=job, code="train.diverged", message="The loss is not a finite number.", epoch=2
                )
            self._end(epoch)
            heeds = self._behaviour is not StudioBehaviour.IGNORES_CANCEL
            if (
                not done
                and epoch == 1
                and self._behaviour in (StudioBehaviour.WAITS, StudioBehaviour.IGNORES_CANCEL)
            ):
                self._worker.wait(job, self._folder / "go", heeds=heeds, epoch=epoch)
        best = max(range(1, self._epochs + 1), key=accuracy_of)
        return Trained(
            job=job,
            seconds=0.0,
            epochs=self._epochs,
            ended="epochs",
            monitor=MONITOR,
            best_epoch=best,
            best_value=accuracy_of(best),
            values=self._values(self._epochs),
            peak_bytes=1000,
        )

    def _began(self, done: int) -> None:
        examples = Path(self._train.manifest).read_text().splitlines()
        self._worker.say(
            Began(
                job=self._train.job,
                weights="random",
                pretrained=False,
                parameters=10,
                trainable=10,
                device="cpu",
                precision="32",
                epoch=done + 1,
                epochs=self._epochs,
                batches=BATCHES,
                environment={"worker": "scripted", "examples": str(len(examples))},
            )
        )

    def _misfortune(self) -> None:
        if self._behaviour is StudioBehaviour.KILLED:
            os.kill(os.getpid(), signal.SIGKILL)

    def _batch(self, epoch: int, batch: int) -> None:
        self._worker.say(
            Batch(
                job=self._train.job, epoch=epoch, batch=batch, batches=BATCHES, stage="train",
                loss=loss_of(epoch), learning_rate=0.1, examples_per_s=100.0, memory_bytes=1000,
            )
        )  # fmt: skip

    def _values(self, epoch: int) -> dict[str, float]:
        values = {"train_loss": loss_of(epoch), "val_loss": loss_of(epoch), MONITOR: accuracy_of(epoch)}
        if self._behaviour is StudioBehaviour.NOT_FINITE:
            del values["train_loss"]
        return {**values, "lr": 0.1, "duration_s": 0.5, "examples_per_s": 100.0, "memory_bytes": 1000.0}

    def _end(self, epoch: int) -> None:
        job = self._train.job
        best = all(accuracy_of(epoch) > accuracy_of(before) for before in range(1, epoch))
        if best:
            self._checkpoint("best", epoch)
        self._checkpoint("last", epoch)
        missing = ("train_loss",) if self._behaviour is StudioBehaviour.NOT_FINITE else ()
        self._worker.say(
            Epoch(job=job, epoch=epoch, values=self._values(epoch), not_finite=missing, best=best)
        )
        sample = Sample(id="img-000000000001", target=0, prediction=1, confidence=0.5, loss=0.7)
        self._worker.say(Samples(job=job, epoch=epoch, samples=(sample,)))
        self._worker.say(StudioNotice(job=job, text=f"epoch {epoch} was only played"))

    def _checkpoint(self, name: str, epoch: int) -> None:
        path = self._folder / "checkpoints" / f"{name}.ckpt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"epoch": epoch}))
        is_best = name == "best"
        self._worker.say(
            Checkpoint(
                job=self._train.job,
                name="best" if is_best else "last",
                file=f"checkpoints/{name}.ckpt",
                epoch=epoch,
                batch=BATCHES,
                size_bytes=path.stat().st_size,
                monitor=MONITOR if is_best else None,
                value=accuracy_of(epoch) if is_best else None,
            )
        )

    def _stopped(self, epoch: int) -> TrainStopped:
        if epoch:
            self._checkpoint("last", epoch)
        return TrainStopped(
            job=self._train.job,
            epoch=epoch,
            batch=BATCHES if epoch else 0,
            checkpoint="checkpoints/last.ckpt" if epoch else None,
            before_bytes=1000,
            after_bytes=10,
        )


def main() -> int:
    return ScriptedStudio(WorkerChannel.from_environment("scripted-studio", ToStudioWorker)).run()


if __name__ == "__main__":
    sys.exit(main())
