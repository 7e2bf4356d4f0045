# SPDX-License-Identifier: Apache-2.0
"""Writes down what becomes of one run, and tells it to those who watch: first the disk, then the readers."""

import asyncio
import math
from collections.abc import Callable
from typing import Any, Final

import msgspec

from inglenook.base.clock import Clock
from inglenook.base.errors import Failed
from inglenook.jobs.work import Report
from inglenook.studio.training.documents import ExperimentDocuments
from inglenook.studio.training.model import (
    MAX_MESSAGE,
    MAX_TRACEBACK,
    Built,
    Data,
    EpochRecord,
    Experiment,
    Kept,
    Parking,
    Status,
    Why,
)
from inglenook.studio.training.news import Key, Kind, News, Newsroom, number
from inglenook.wire.message import Message
from inglenook.wire.studio.training import (
    Batch,
    Began,
    Checkpoint,
    Epoch,
    Samples,
    StudioNotice,
    Trained,
)

TRAIN_SHARE: Final = 0.9
"""Of an epoch's progress, what training is; looking at the validation part is the rest."""


class Chronicle:
    """Belongs to the event loop; what blocks runs in threads, one after the other.

    Args:
        experiment: as it is on the disk.
    """

    def __init__(
        self,
        *,
        documents: ExperimentDocuments,
        newsroom: Newsroom,
        clock: Clock,
        key: Key,
        experiment: Experiment,
        report: Report,
    ) -> None:
        self.experiment = experiment
        self._documents = documents
        self._newsroom = newsroom
        self._clock = clock
        self._key = key
        self._report = report
        self._began_s: float | None = None
        self._began_at = 0.0
        self._parked_s: float | None = None
        self.parked_seconds = 0.0

    # -- status --------------------------------------------------------------------------------------------

    async def move(self, to: Status, said: str, **changes: Any) -> None:
        """To another status, with a line in the log."""
        await self._change(lambda old: old.moved(to, **changes))
        await self.note(said)
        self._tell("status", self._status())
        if not self.experiment.is_running:
            self._tell("complete", self._status())

    async def settle_data(self, data: Data) -> None:
        await self._change(lambda old: msgspec.structs.replace(old, data=data))

    async def note(self, text: str) -> None:
        await asyncio.to_thread(self._documents.note, *self._key, text)

    async def notice(self, text: str) -> None:
        """Something a person should know, told everywhere."""
        await self.note(text)
        await self._report.notice(text)
        self._tell("notice", {"text": text})

    # -- what the worker says ------------------------------------------------------------------------------

    async def hear(self, message: Message) -> None:
        match message:
            case Began():
                await self._began(message)
            case Batch():
                await self._batch(message)
            case Epoch():
                await self._epoch(message)
            case Checkpoint():
                await self._checkpoint(message)
            case Samples():
                said = msgspec.to_builtins(message)
                await asyncio.to_thread(self._documents.keep_samples, *self._key, said)
                self._tell("samples", {"epoch": message.epoch, "samples": said["samples"]})
            case StudioNotice():
                await self.notice(message.text)
            case _:
                raise Failed(f"The studio worker said {type(message).__name__} while it trained.")

    async def _began(self, said: Began) -> None:
        self._began_s = self._clock.monotonic()
        self._began_at = (said.epoch - 1) / max(1, said.epochs)
        built = Built(
            weights=said.weights,
            pretrained=said.pretrained,
            parameters=said.parameters,
            trainable=said.trainable,
            device=said.device,
            precision=said.precision,
            environment=said.environment,
            notes=said.notes,
        )
        # What was done after the checkpoint from which it goes on is done again.
        await asyncio.to_thread(self._documents.drop_epochs, *self._key, said.epoch)
        done = said.epoch - 1
        await self._change(lambda old: _begun(old, built, done))
        where = f"on {said.device} with precision {said.precision}"
        await self.note(f"began epoch {said.epoch} of {said.epochs} {where}; first weights: {said.weights}")
        if said.pretrained and said.epoch == 1 and self.experiment.model.pretrained == "auto":
            await self.notice(f"It begins with trained weights: {said.weights}.")
        for text in said.notes:
            await self.notice(text)

    async def _batch(self, said: Batch) -> None:
        epochs = self.experiment.hyperparameters.max_epochs
        share = said.batch / max(1, said.batches)
        share = share * TRAIN_SHARE if said.stage == "train" else TRAIN_SHARE + share * (1 - TRAIN_SHARE)
        done = min(1.0, (said.epoch - 1 + share) / epochs)
        detail = {
            name: value for name, value in msgspec.to_builtins(said).items() if name not in ("kind", "job")
        }
        detail["epochs"] = epochs
        estimate_s = self._estimate_s(done)
        await self._report.progress(done, stage=said.stage, estimate_s=estimate_s, detail=detail)
        self._tell("batch", {**detail, "progress": done, "estimate_s": estimate_s})

    def _estimate_s(self, done: float) -> float | None:
        """Seconds to go if it goes on as it did since it began, parked time left out."""
        gained = done - self._began_at
        if self._began_s is None or gained <= 0:
            return None
        spent_s = self._clock.monotonic() - self._began_s - self.parked_seconds
        return max(0.0, spent_s / gained * (1 - done))

    async def _epoch(self, said: Epoch) -> None:
        values = {name: value for name, value in said.values.items() if math.isfinite(value)}
        record = EpochRecord(
            epoch=said.epoch,
            at=self._documents.now(),
            values=values,
            best=said.best,
            not_finite=tuple(sorted({*said.not_finite, *(said.values.keys() - values.keys())})),
        )
        await asyncio.to_thread(self._documents.add_epoch, *self._key, record)
        await self._change(
            lambda old: msgspec.structs.replace(old, epoch=said.epoch, final_metrics=values, interrupted=0)
        )
        await self.note(f"epoch {said.epoch}: {_in_words(values)}")
        self._tell("epoch_end", record.as_json(), epoch=said.epoch)

    async def _checkpoint(self, said: Checkpoint) -> None:
        kept = Kept(
            file=said.file,
            epoch=said.epoch,
            batch=said.batch,
            size_bytes=said.size_bytes,
            written_at=self._documents.now(),
            monitor=said.monitor,
            value=said.value,
        )
        changes: dict[str, Any] = {"checkpoints": {**self.experiment.checkpoints, said.name: kept}}
        if said.name == "best":
            changes |= {"best_epoch": said.epoch, "best_checkpoint_path": said.file}
            if said.monitor is not None and said.value is not None:
                changes["best_metric"] = {said.monitor: said.value}
        await self._change(lambda old: msgspec.structs.replace(old, **changes))

    # -- parking -------------------------------------------------------------------------------------------

    async def parked(self, text: str) -> None:
        if self._parked_s is not None:
            return
        self._parked_s = self._clock.monotonic()
        old = self.experiment.parking
        parking = Parking(times=old.times + 1, seconds=old.seconds, since=self._documents.now())
        await self._change(lambda one: msgspec.structs.replace(one, parking=parking))
        await self.note(f"parked: {text}")
        self._tell("parking", {"parked": True, "text": text})

    async def went_on(self) -> None:
        """It is no longer parked; idempotent."""
        if self._parked_s is None:
            return
        seconds = self._clock.monotonic() - self._parked_s
        self._parked_s = None
        self.parked_seconds += seconds
        old = self.experiment.parking
        parking = Parking(times=old.times, seconds=round(old.seconds + seconds, 3))
        await self._change(lambda one: msgspec.structs.replace(one, parking=parking))
        await self.note(f"goes on after {seconds:.1f} s")
        self._tell("parking", {"parked": False, "seconds": seconds})

    # -- ends ----------------------------------------------------------------------------------------------

    async def completed(self, last: Trained) -> None:
        changes: dict[str, Any] = {"final_metrics": _finite(last.values), "ended": last.ended}
        if last.best_epoch is not None:
            changes["best_epoch"] = last.best_epoch
        if last.monitor is not None and last.best_value is not None:
            changes["best_metric"] = {last.monitor: last.best_value}
        if last.peak_bytes is not None:
            changes["peak_bytes"] = last.peak_bytes
        why = "no better metric for a while" if last.ended == "early_stopping" else "all epochs are done"
        await self.move(
            Status.COMPLETED, f"completed: {why}", completed_at=self._documents.now(), error=None, **changes
        )

    async def failed(self, why: Why) -> None:
        await self.move(
            Status.FAILED, f"failed: {why.message}", completed_at=self._documents.now(), error=why
        )

    async def add_seconds(self, seconds: float) -> None:
        total = round(self.experiment.seconds + seconds, 3)
        await self._change(lambda old: msgspec.structs.replace(old, seconds=total))

    # ------------------------------------------------------------------------------------------------------

    def _status(self) -> dict[str, Any]:
        project_id, experiment_id = self._key
        return {
            "project_id": project_id,
            "experiment_id": experiment_id,
            "status": self.experiment.status.value,
        }

    async def _change(self, change: Callable[[Experiment], Experiment]) -> None:
        self.experiment = await asyncio.to_thread(self._documents.change, *self._key, change)

    def _tell(self, kind: Kind, data: dict[str, Any], *, epoch: int | None = None) -> None:
        told = None if epoch is None else number(self.experiment.generation, epoch)
        self._newsroom.tell(self._key, News(kind, data, told))


def _begun(old: Experiment, built: Built, done: int) -> Experiment:
    """As it is when a worker begins; after which epoch it went on, only the checkpoint knows for sure."""
    resumed = old.resumed_from
    if resumed and done and resumed[-1] != done and old.checkpoints.get("last") is not None:
        resumed = (*resumed[:-1], done)
    return msgspec.structs.replace(old, built=built, epoch=min(old.epoch, done), resumed_from=resumed)


def why(code: str, message: str, hint: str | None = None, lines: tuple[str, ...] = ()) -> Why:
    """Never empty, never too long."""
    text = message.strip() or "It failed without saying why."
    return Why(
        type=code,
        message=text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE - 1]}…",
        hint=hint,
        traceback="\n".join(lines)[-MAX_TRACEBACK:] or None,
    )


def _finite(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _in_words(values: dict[str, float]) -> str:
    return (
        ", ".join(f"{name} {value:.5g}" for name, value in sorted(values.items())) or "nothing was measured"
    )
