# SPDX-License-Identifier: Apache-2.0
"""The handler of `Train`."""

import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import torch
import torchvision
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.environments import LightningEnvironment

from inglenook.base.errors import InglenookError
from inglenook.wire.message import Message
from inglenook.wire.studio.training import (
    Began,
    Train,
    Trained,
    TrainFailed,
    TrainLastWord,
    TrainStopped,
)
from inglenook.workers.studio.context import Context
from inglenook.workers.studio.errors import Stopped
from inglenook.workers.studio.networks.weights import Origin
from inglenook.workers.studio.training.checkpoints import read_checkpoint
from inglenook.workers.studio.training.keeping import RunKeeper
from inglenook.workers.studio.training.learner import Learner, is_frozen
from inglenook.workers.studio.training.logs import RunLogs, Status
from inglenook.workers.studio.training.parking import DeviceState
from inglenook.workers.studio.training.preparing import Built, Data, build, prepare_data, settled
from inglenook.workers.studio.training.progress import Progress
from inglenook.workers.studio.training.reporting import Reporter
from inglenook.workers.studio.training.state import check_resumable


def train(work: Train, context: Context) -> Message:
    """One run. Failures of ours are told here, since only the run knows its epoch; others by the worker."""
    run = Run(work, context)
    try:
        with deterministic(work.spec.hyperparameters.deterministic):
            last_word = run.execute()
    except InglenookError as error:
        if isinstance(error, Stopped):
            last_word = run.stopped()
        else:
            epoch = run.progress.epoch if run.began else None
            last_word = TrainFailed(
                job=work.job, code=error.code, message=error.message[:4000], hint=error.hint, epoch=epoch
            )
    finally:
        run.close("finished" if run.progress.done else "failed")
    return last_word


class Run:
    def __init__(self, work: Train, context: Context) -> None:
        self._work = work
        self._context = context
        self._since = context.clock.monotonic()
        self._learner: Learner | None = None
        self._keeper: RunKeeper | None = None
        self._logs: RunLogs | None = None
        self.progress = Progress()
        self.began = False

    def execute(self) -> TrainLastWord:
        work, context = self._work, self._context
        data = prepare_data(work, context)
        content = None
        if work.resume is not None:
            content = read_checkpoint(Path(work.resume))
            self.progress = check_resumable(content, work, data.manifest.digest)
        built = build(data, context, first_weights=content is None)
        if content is not None:
            built = _as_kept(built, content)
        data = settled(data, built.origin)
        precision, note = context.device.precision(work.spec.hardware.precision)
        self._logs = RunLogs(work, Path(work.folder), epoch=self.progress.epoch)
        self._keeper = RunKeeper(work, context, data.manifest, self._logs, content)
        reporter = Reporter(
            send=context.send,
            job=work.job,
            clock=context.clock,
            every_s=context.report_every_s,
            device=context.device,
        )
        del content
        context.device.reset_peak()
        learner = self._learner = Learner(
            data,
            built,
            progress=self.progress,
            preprocessing=data.val_pipeline.steps,
            keeper=self._keeper,
            reporter=reporter,
            sums=context.device.sums,
            gate=context.gate,
            clock=context.clock,
        )
        state = DeviceState(
            modules=[learner],
            optimizer=lambda: learner.optimizer,
            device=context.device,
            spool=context.spool,
            where=learner.where,
            quiet=learner.flush,
            resumed=learner.resumed,
            loose=learner.loose,
        )
        learner.parkable = state
        self._tell_began(data, learner, precision, _notes(data, built.origin, note, context))
        self._keeper.tell_again()
        self.began = True
        if not self.progress.done:
            self._fit(learner, precision)
        return self._trained(data, reporter)

    def stopped(self) -> TrainStopped:
        """A checkpoint, and the device freed."""
        device = self._context.device
        checkpoint = self._work.resume
        if self._learner is not None and self._keeper is not None and self._learner.ready:
            self._keeper.save_last(self._learner)
            checkpoint = str(self._keeper.last)
        before = device.memory_bytes()
        self.close("stopped")
        device.release()
        return TrainStopped(
            job=self._work.job,
            epoch=self.progress.epoch,
            batch=self.progress.batch,
            checkpoint=checkpoint,
            before_bytes=before,
            after_bytes=device.memory_bytes(),
        )

    def close(self, status: Status) -> None:
        """The first call says how it ended."""
        if self._logs is not None:
            self._logs.close(status)
            self._logs = None
        if self._learner is not None:
            self._learner.data.train.close()
            self._learner = None

    def _fit(self, learner: Learner, precision: str) -> None:
        device, chosen = self._context.device, self._work.spec.hyperparameters
        trainer = Trainer(
            accelerator=device.accelerator,
            devices=[device.torch.index or 0] if device.torch.type == "cuda" else 1,
            precision=precision,
            max_epochs=chosen.max_epochs - self.progress.epoch + 1,
            limit_val_batches=0,  # validated at the end of each epoch, by the learner
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            benchmark=not chosen.deterministic,
            plugins=[LightningEnvironment()],  # or it would look for a cluster in the environment
            default_root_dir=self._work.folder,
        )
        trainer.fit(learner)

    def _tell_began(self, data: Data, learner: Learner, precision: str, notes: tuple[str, ...]) -> None:
        frozen = is_frozen(data, self.progress.epoch)
        trained = [learner.network.head] if frozen else [learner.network]
        self._context.send(
            Began(
                job=self._work.job,
                weights=learner.origin.said,
                pretrained=learner.origin.pretrained,
                parameters=sum(p.numel() for p in learner.network.parameters()),
                trainable=sum(p.numel() for module in trained for p in module.parameters()),
                device=f"{self._context.device.torch} ({self._context.device.title})",
                precision=precision,
                epoch=self.progress.epoch,
                epochs=self._work.spec.hyperparameters.max_epochs,
                batches=learner.batches,
                environment=_environment(),
                notes=notes,
            )
        )

    def _trained(self, data: Data, reporter: Reporter) -> Trained:
        assert self._keeper is not None
        progress, chosen = self.progress, self._work.spec.hyperparameters
        epochs = progress.epoch - 1
        return Trained(
            job=self._work.job,
            seconds=self._context.clock.monotonic() - self._since,
            epochs=epochs,
            ended="epochs" if epochs >= chosen.max_epochs else "early_stopping",
            monitor=None if data.val is None else f"val_{data.task.monitor}",
            best_epoch=progress.best_epoch,
            best_value=progress.best,
            values=self._keeper.last_values,
            peak_bytes=_larger(self._context.device.peak_bytes(), reporter.peak_bytes),
        )


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Only operations that give the same result each time, while inside."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(wanted)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def _as_kept(built: Built, content: dict[str, Any]) -> Built:
    return replace(built, origin=Origin(content["weights"], content["pretrained"]))


def _notes(data: Data, origin: Origin, precision: str | None, context: Context) -> tuple[str, ...]:
    chosen, model = data.spec.hyperparameters, data.spec.model
    notes = [*data.notes, *([precision] if precision else [])]
    if data.val is None:
        notes.append(
            "There is no validation part: nothing tells which epoch is best, so best.ckpt is that of the last"
            " epoch" + (", and early stopping is off." if chosen.early_stopping_patience else ".")
        )
    if origin.missing:
        learns = " All of it learns, though only the head was to." if model.freeze_backbone else ""
        notes.append(f"{origin.missing}: it begins with random ones.{learns}")
    elif model.freeze_backbone and not data.all_learns and not origin.pretrained:
        notes.append(
            "The backbone is frozen and nobody has trained it: only its random view is learned from."
        )
    if origin.pretrained and (note := _other_normalisation(data)) is not None:
        notes.append(note)
    if chosen.warmup_epochs >= chosen.max_epochs > 1:
        notes.append(f"The warm-up of {chosen.warmup_epochs} epochs is cut to {chosen.max_epochs - 1}.")
    if len(data.spec.hardware.selected_devices) > 1:
        notes.append(f"One run uses one device: {context.device.torch}.")
    return tuple(notes)


def _other_normalisation(data: Data) -> str | None:
    """When pictures are normalised in another way than those that the first weights were trained on."""
    facts = data.facts
    for step in data.val_pipeline.steps:
        mean, std = step.params.get("mean"), step.params.get("std")
        if step.name == "Normalize" and (tuple(mean or ()), tuple(std or ())) != (facts.mean, facts.std):
            return (
                f"The weights of {facts.title} were trained on pictures normalised with mean {facts.mean} and"
                f" std {facts.std}; here it is {mean} and {std}."
            )
    return None


def _environment() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
        "lightning": str(lightning.__version__),
        "platform": sys.platform,
        "threads": str(torch.get_num_threads()),
        "cuda": str(torch.version.cuda) if torch.cuda.is_available() else "none",
    }


def _larger(one: int | None, other: int | None) -> int | None:
    known = [value for value in (one, other) if value is not None]
    return max(known, default=None)
