# SPDX-License-Identifier: Apache-2.0
"""The device freed, and taken again with every value as it was.

On a GPU the tensors go to host memory. On a processor host memory is the device, so they go into a file of
the spool, and the freed memory goes back to the system.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from torch import nn

from inglenook.workers.studio.device import StudioDevice
from inglenook.workers.studio.gate import Where


class DeviceState:
    """Everything of one piece of work that lies on the device: a `Parkable`.

    Args:
        modules: parameters, their gradients, buffers.
        optimizer: asked when it is needed, since it may not be made yet; its state.
        spool: where a file for what is parked may be written.
        loose: other tensors.
        quiet: called before, when nothing is in flight: what else refers to the device lets go of it.
    """

    def __init__(
        self,
        *,
        modules: Iterable[nn.Module],
        optimizer: Callable[[], torch.optim.Optimizer | None],
        device: StudioDevice,
        spool: Path,
        where: Callable[[], Where],
        quiet: Callable[[], None] = lambda: None,
        resumed: Callable[[], None] = lambda: None,
        loose: Callable[[], Iterable[torch.Tensor]] = tuple,
    ) -> None:
        self._modules = list(modules)
        self._optimizer = optimizer
        self._device = device
        self._file = spool / "parked.pt"
        self._where = where
        self._quiet = quiet
        self._resumed = resumed
        self._loose = loose
        self._moved: list[torch.Tensor] = []

    def where(self) -> Where:
        return self._where()

    def held_bytes(self) -> int | None:
        return self._device.memory_bytes()

    def park(self) -> None:
        self._quiet()
        self._moved = [tensor for tensor in self._tensors() if tensor.device.type == self._device.torch.type]
        if self._device.on_host:
            torch.save([tensor.data for tensor in self._moved], self._file)
            for tensor in self._moved:
                tensor.data = tensor.data.new_empty(0)
        else:
            for tensor in self._moved:
                tensor.data = tensor.data.to("cpu")
        self._device.release()

    def unpark(self) -> None:
        if self._device.on_host:
            self.recover()
        else:
            for tensor in self._moved:
                tensor.data = tensor.data.to(self._device.torch)
        self._moved = []
        self._resumed()

    def recover(self) -> None:
        if not self._device.on_host:
            return
        kept = torch.load(self._file, weights_only=True)
        for tensor, values in zip(self._moved, kept, strict=True):
            tensor.data = values
        self._file.unlink()

    def _tensors(self) -> Iterator[torch.Tensor]:
        """Each once."""
        seen: set[int] = set()
        for tensor in self._all():
            if id(tensor) not in seen:
                seen.add(id(tensor))
                yield tensor

    def _all(self) -> Iterator[torch.Tensor]:
        for module in self._modules:
            for parameter in module.parameters():
                yield parameter
                if parameter.grad is not None:
                    yield parameter.grad
            yield from module.buffers()
        yield from self._loose()
        optimizer = self._optimizer()
        if optimizer is not None:
            for state in optimizer.state.values():
                yield from (value for value in state.values() if isinstance(value, torch.Tensor))
