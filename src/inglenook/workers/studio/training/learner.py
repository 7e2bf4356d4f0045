# SPDX-License-Identifier: Apache-2.0
"""What Lightning drives: one step, one epoch's end. All that a run is, between two batches, is in here.

Lightning brings the loop, the device, the precision with its scaler, and clipping in its place. The order of
batches, the validation and the checkpoints are ours, because a run must go on exactly from the middle of
an epoch, and be parked between any two batches.
"""

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from lightning.pytorch import LightningModule
from torch import nn

from inglenook.base.clock import Clock
from inglenook.wire.studio.spec import Step
from inglenook.wire.studio.training import Sample
from inglenook.workers.studio.data.dataset import PictureBatch
from inglenook.workers.studio.data.sampling import Key
from inglenook.workers.studio.gate import Gate, Parkable, Where
from inglenook.workers.studio.training.averaging import Average
from inglenook.workers.studio.training.optimizers import make_optimizer, set_rate
from inglenook.workers.studio.training.preparing import Built, Data
from inglenook.workers.studio.training.progress import Progress
from inglenook.workers.studio.training.reporting import Reporter
from inglenook.workers.studio.training.schedule import factor

SAMPLES = 8
"""Pictures of the validation part that are shown each epoch, always the same."""


class Sums(nn.Module):
    """Losses and metrics of the epoch in hand. `loss`: sum over examples; `examples`: how many."""

    loss: torch.Tensor
    examples: torch.Tensor

    def __init__(self, metrics: Any, dtype: torch.dtype) -> None:
        super().__init__()
        self.metrics = metrics
        self.register_buffer("loss", torch.zeros((), dtype=dtype))
        self.register_buffer("examples", torch.zeros((), dtype=torch.int64))

    def add(self, loss: torch.Tensor, outputs: Any, targets: Any, count: int) -> None:
        self.loss += loss.detach() * count
        self.examples += count
        self.metrics.update(outputs.detach(), targets)

    def values(self, part: str) -> dict[str, float]:
        """Of `val` also how sure the metrics are."""
        if not self.examples:
            return {}
        found = {"loss": float(self.loss / self.examples), **self.metrics.values()}
        if part == "val":
            found |= self.metrics.intervals()
        return {f"{part}_{name}": value for name, value in found.items()}

    def reset(self) -> None:
        self.loss.zero_()
        self.examples.zero_()
        self.metrics.reset()


class Keeper(Protocol):
    """What the run does beside learning: checkpoints, records, logs, notices."""

    def started(self, learner: "Learner") -> None:
        """Everything is on the device; what a checkpoint holds is put in now."""
        ...

    def after_batch(self, learner: "Learner") -> None: ...

    def after_epoch(
        self, learner: "Learner", values: dict[str, float], samples: list[Sample], *, best: bool
    ) -> None:
        """`learner.progress` is still that of the epoch."""
        ...

    def turned(self, learner: "Learner") -> None:
        """`learner.progress` stands before the first batch of the next epoch."""
        ...

    def unread(self, part: str, batch: PictureBatch) -> None:
        """Some pictures of a batch could not be read. Raises `Unreadable` when they are too many."""
        ...


class Learner(LightningModule):
    """Args:
    progress: where it goes on from.
    sums: in which losses are summed up over an epoch.
    parkable: what the gate parks; given afterwards, since it is made of this.
    """

    def __init__(
        self,
        data: Data,
        built: Built,
        *,
        progress: Progress,
        preprocessing: tuple[Step, ...],
        keeper: Keeper,
        reporter: Reporter,
        sums: torch.dtype,
        gate: Gate,
        clock: Clock,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.data = data
        self.origin = built.origin
        self.network = built.network
        self.loss = built.loss
        self.mixer = built.mixer
        self.progress = progress
        self.preprocessing = preprocessing
        self.sums = Sums(data.task.metrics(), sums)
        self.val_sums = Sums(data.task.metrics(), sums)
        self.average: Average | None = None
        self.batches = len(data.plan(1))
        self.parkable: Parkable | None = None
        self.ready = False
        self._keeper = keeper
        self._reporter = reporter
        self._gate = gate
        self._clock = clock
        self._since = 0.0
        decay = data.spec.hyperparameters.ema_decay
        if decay > 0:
            self.average = Average(self.network, decay)
        self.freeze()

    # What Lightning asks for

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return make_optimizer(self.network, self.data.spec)

    def train_dataloader(self) -> "TrainPasses":
        return TrainPasses(self)

    def transfer_batch_to_device(self, batch: Any, *_: Any) -> Any:
        """Not here: Lightning would hold on to the device's copy while the run is parked."""
        return batch

    def on_train_start(self) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Lightning would go on until the epoch ends
        self._keeper.started(self)
        self.ready = True
        self._reporter.paused()

    def on_train_epoch_start(self) -> None:
        self.freeze()
        self.network.train()
        self.freeze()
        self._since = self._clock.monotonic() - self.progress.seconds

    def training_step(self, batch: PictureBatch) -> None:
        loss = None
        if batch.unread:
            self._keeper.unread("train", batch)
        if batch.pixels is not None:
            loss = self._learn(batch)
        if self._last_of_window():
            self._move()
        self.progress.batch += 1
        self.progress.seconds = self._clock.monotonic() - self._since
        self._reporter.train(
            epoch=self.progress.epoch,
            batch=self.progress.batch,
            batches=self.batches,
            loss=loss,
            examples=len(batch),
            rate=self.rate,
        )
        self._keeper.after_batch(self)

    def on_before_optimizer_step(self, _: Any) -> None:
        """Gradients are unscaled here, whatever the precision."""
        largest = self.data.spec.hyperparameters.gradient_clip
        if largest > 0:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), largest)

    def on_train_epoch_end(self) -> None:
        values = self.sums.values("train")  # reads from the device, so that all its steps are done
        self.progress.seconds = self._clock.monotonic() - self._since
        values |= self._speed()
        samples = self._validate()
        values |= self.val_sums.values("val")
        self._reporter.flush(self.progress.epoch)
        self.progress.seconds = self._clock.monotonic() - self._since
        values |= {"lr": self.rate, "duration_s": self.progress.seconds, **self._reporter.epoch_memory()}
        best = self._judge(values)
        self._keeper.after_epoch(self, values, samples, best=best)
        self._turn()
        self._keeper.turned(self)
        if self.progress.done:
            self.trainer.should_stop = True

    # What the run asks for

    @property
    def optimizer(self) -> torch.optim.Optimizer | None:
        found = self.trainer.strategy.optimizers if self._trainer is not None else []
        return found[0] if found else None

    @property
    def scaler(self) -> Any:
        """Of the gradients, in 16-mixed on a GPU; else None."""
        return getattr(self.trainer.precision_plugin, "scaler", None)

    @property
    def rate(self) -> float:
        chosen = self.data.spec.hyperparameters
        return chosen.learning_rate * factor(chosen, self.progress.epoch)

    def where(self) -> Where:
        return Where(self.progress.epoch, self.progress.batch)

    def averaged(self) -> AbstractContextManager[None]:
        """Inside, the network has the values that are to be used."""
        return nullcontext() if self.average is None else self.average.in_place(self.network)

    def freeze(self) -> None:
        """As the epoch wants it. A frozen backbone is in eval mode, so statistics of its norms stand
        still."""
        frozen = is_frozen(self.data, self.progress.epoch)
        self.network.backbone.requires_grad_(not frozen)
        if frozen:
            self.network.backbone.eval()

    def check(self) -> None:
        if self.parkable is not None:
            self._gate.check(self.parkable)

    def resumed(self) -> None:
        """After it was parked: the time does not count."""
        self._since = self._clock.monotonic() - self.progress.seconds
        self._reporter.paused()

    def loose(self) -> list[torch.Tensor]:
        """What lies on the device and belongs to no module."""
        found = (getattr(self.scaler, name, None) for name in ("_scale", "_growth_tracker"))
        counts = (tensor for sums in (self.sums, self.val_sums) for tensor in sums.metrics.tensors())
        return [*counts, *(tensor for tensor in found if tensor is not None)]

    def flush(self) -> None:
        self._reporter.flush(self.progress.epoch)

    # Steps

    def _learn(self, batch: PictureBatch) -> torch.Tensor:
        assert batch.pixels is not None
        pixels = batch.pixels.to(self.device, non_blocking=True)
        targets = batch.targets.to(self.device, non_blocking=True)
        if self.mixer is not None:
            pixels, targets = self.mixer(pixels, targets)
        outputs = self.network(pixels)
        loss = self.loss(outputs, targets)
        self.manual_backward(loss / self._window())
        self.sums.add(loss, outputs, targets, len(batch))
        return loss.detach()

    def _window(self) -> int:
        """Batches whose gradients are added up in the window in hand; the last one of an epoch may be
        shorter."""
        size = self.data.spec.hyperparameters.batch_multiplier
        start = self.progress.batch - self.progress.batch % size
        return min(size, self.batches - start)

    def _last_of_window(self) -> bool:
        size = self.data.spec.hyperparameters.batch_multiplier
        done = self.progress.batch + 1
        return done % size == 0 or done == self.batches

    def _move(self) -> None:
        optimizer: Any = self.optimizers()
        set_rate(optimizer.optimizer, self.rate)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(self.network)

    def _validate(self) -> list[Sample]:
        self.val_sums.reset()
        if self.data.val is None:
            return []
        shown = _spread(len(self.data.manifest.val))
        outputs: dict[int, Any] = {}
        plan = self.data.val_plan()
        self.network.eval()
        with torch.no_grad(), self.averaged():
            for number, batch in enumerate(self.data.val.over(plan), 1):
                self.check()
                self._look(batch, shown, outputs)
                self._reporter.validate(
                    epoch=self.progress.epoch, batch=number, batches=len(plan), examples=len(batch)
                )
        if not outputs:
            return []
        indices = sorted(outputs)
        examples = [self.data.manifest.val[index] for index in indices]
        return self.data.task.samples(examples, torch.stack([outputs[index] for index in indices]))

    def _look(self, batch: PictureBatch, shown: set[int], outputs: dict[int, Any]) -> None:
        if batch.unread:
            self._keeper.unread("val", batch)
        if batch.pixels is None:
            return
        with self.trainer.precision_plugin.val_step_context():
            found = self.network(batch.pixels.to(self.device, non_blocking=True))
            targets = batch.targets.to(self.device, non_blocking=True)
            loss = self.loss(found, targets)
        self.val_sums.add(loss, found, targets, len(batch))
        for place, key in enumerate(batch.keys):
            if key.index in shown:
                outputs[key.index] = found[place].cpu()

    # Epochs

    def _speed(self) -> dict[str, float]:
        """Of the training part of the epoch, without its validation."""
        seconds = self.progress.seconds
        return {"examples_per_s": float(self.sums.examples) / seconds} if seconds > 0 else {}

    def _judge(self, values: dict[str, float]) -> bool:
        """Whether this epoch is the best so far; counts how long there was none."""
        progress, task = self.progress, self.data.task
        value = values.get(f"val_{task.monitor}")
        if value is None or not math.isfinite(value):
            progress.waited += 1
            return False
        sign = 1 if task.higher_is_better else -1
        if progress.best is None or sign * value > sign * progress.best:
            progress.best, progress.best_epoch, progress.waited = value, progress.epoch, 0
            return True
        progress.waited += 1
        return False

    def _turn(self) -> None:
        progress, chosen = self.progress, self.data.spec.hyperparameters
        progress.total_s += progress.seconds
        patience = chosen.early_stopping_patience
        progress.done = progress.epoch >= chosen.max_epochs or (
            self.data.val is not None and 0 < patience <= progress.waited
        )
        progress.epoch += 1
        progress.batch = 0
        progress.seconds = 0.0
        self.sums.reset()


class TrainPasses:
    """The training batches of the epoch in hand, from the one where it goes on. Has no length, so
    Lightning counts none."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner

    def __iter__(self) -> Iterator[PictureBatch]:
        learner = self._learner
        plan: list[list[Key]] = learner.data.plan(learner.progress.epoch)
        for batch in learner.data.train.over(plan[learner.progress.batch :]):
            # The batch that was read last waits in host memory; what was computed before it is done.
            learner.check()
            yield batch


def is_frozen(data: Data, epoch: int) -> bool:
    model = data.spec.model
    return (
        model.freeze_backbone
        and not data.all_learns
        and (model.unfreeze_epoch is None or epoch < model.unfreeze_epoch)
    )


def _spread(count: int) -> set[int]:
    return {index * count // SAMPLES for index in range(SAMPLES)} if count >= SAMPLES else set(range(count))
