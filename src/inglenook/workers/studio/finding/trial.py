# SPDX-License-Identifier: Apache-2.0
"""The network of a spec on the device, one step at a time, on batches that are thrown away."""

from collections.abc import Iterator

import torch

from inglenook.workers.studio.context import Context
from inglenook.workers.studio.data.dataset import PictureBatch
from inglenook.workers.studio.data.sampling import Key
from inglenook.workers.studio.errors import NoData
from inglenook.workers.studio.gate import Where
from inglenook.workers.studio.training.learner import is_frozen
from inglenook.workers.studio.training.optimizers import make_optimizer, set_rate
from inglenook.workers.studio.training.parking import DeviceState
from inglenook.workers.studio.training.preparing import Data, Work, build, prepare_data, settled

AMP = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


class Trial:
    """Steps with the spec's optimizer, precision, loss, mixing and frozen part; no schedule, no accumulation.

    Raises what `prepare_data` and `build` raise.
    """

    def __init__(self, work: Work, context: Context) -> None:
        self.data: Data = prepare_data(work, context)
        self._device = context.device
        self._gate = context.gate
        built = build(self.data, context)
        self.data = settled(self.data, built.origin)
        self._network = built.network.to(context.device.torch)
        self._loss = built.loss.to(context.device.torch)
        self._mixer = built.mixer
        self._precision, _ = context.device.precision(work.spec.hardware.precision)
        self._scaler = torch.amp.GradScaler(context.device.torch.type, enabled=self._precision == "16-mixed")
        frozen = is_frozen(self.data, 1)
        self._network.backbone.requires_grad_(not frozen)
        self._network.train()
        if frozen:
            self._network.backbone.eval()
        self._optimizer = make_optimizer(self._network, work.spec)
        self._steps = 0
        self._state = DeviceState(
            modules=[self._network, self._loss],
            optimizer=lambda: self._optimizer,
            device=context.device,
            spool=context.spool,
            where=lambda: Where(1, self._steps),
        )

    def batches(self, size: int, count: int) -> Iterator[PictureBatch]:
        """`count` batches of `size` pictures of the training part, from epoch 1 on, over and over. Raises
        `NoData` when not one picture of a batch can be read."""
        for batch in self.data.train.over(_plan(self.data, size, count)):
            if batch.pixels is None:
                raise NoData(f"Not one picture of a whole batch can be read: {batch.unread[0].why}")
            yield batch

    def step(self, batch: PictureBatch, *, rate: float | None = None) -> torch.Tensor:
        """Passes the gate, then learns from the batch; its loss, on the device."""
        self._gate.check(self._state)
        assert batch.pixels is not None
        if rate is not None:
            set_rate(self._optimizer, rate)
        pixels = batch.pixels.to(self._device.torch)
        targets = batch.targets.to(self._device.torch)
        if self._mixer is not None:
            pixels, targets = self._mixer(pixels, targets)
        kind = self._device.torch.type
        with torch.autocast(kind, dtype=AMP.get(self._precision), enabled=self._precision in AMP):
            loss = self._loss(self._network(pixels), targets)
        self._scaler.scale(loss).backward()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        self._steps += 1
        return loss.detach()

    def forget(self) -> None:
        """After memory ran out: what the step that failed has left."""
        self._optimizer.zero_grad(set_to_none=True)
        self._device.release()

    def close(self) -> None:
        self.data.train.close()


def _plan(data: Data, size: int, count: int) -> list[list[Key]]:
    """Epoch after epoch, in the order of the run."""
    keys: list[Key] = []
    epoch = 1
    while len(keys) < size * count:
        keys += [key for batch in data.plan(epoch) for key in batch]
        epoch += 1
    return [keys[start * size : (start + 1) * size] for start in range(count)]
