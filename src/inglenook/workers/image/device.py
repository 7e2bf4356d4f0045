# SPDX-License-Identifier: Apache-2.0
"""One torch device as the worker sees it: what its allocator holds, and how far ahead of it we may run."""

import gc
import logging
from typing import Any

import numpy as np
import torch

log = logging.getLogger(__name__)


class Fetched:
    """A tensor on its way to host memory. `host`: where it will be; `arrived`: a device's event, or None when
    it is there."""

    def __init__(self, host: torch.Tensor, arrived: Any) -> None:
        self._host = host
        self._arrived = arrived

    def numpy(self) -> np.ndarray:
        """Waits until it is there."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._host.numpy()


class Device:
    """Args:
    name: a torch device, e.g. `cpu`, `cuda:0`, `mps`.
    """

    def __init__(self, name: str) -> None:
        self.torch = torch.device(name)
        self._last_step: Any = None

    @property
    def fuses_attention(self) -> bool:
        """Whether attention runs as one kernel that never writes the scores to memory. Metal has none."""
        return self.torch.type != "mps"

    @property
    def runs_ahead(self) -> bool:
        """Whether work is submitted faster than it is done, so that asking for a result holds it up."""
        return self.torch.type == "cuda"

    def fetch(self, tensor: torch.Tensor) -> Fetched:
        """Bring a tensor to host memory without waiting for it, where the device runs ahead."""
        if not self.runs_ahead:
            return Fetched(tensor.cpu(), None)
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        host.copy_(tensor, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record(torch.cuda.current_stream(self.torch))
        return Fetched(host, arrived)

    def held_bytes(self) -> int | None:
        """What this process's allocator holds of the device, used or cached; None on a CPU."""
        match self.torch.type:
            case "cuda":
                return int(torch.cuda.memory_reserved(self.torch))
            case "mps":
                return int(torch.mps.driver_allocated_memory())
            case _:
                return None

    def peak_bytes(self) -> int | None:
        """The most that tensors took since `reset_peak`; None where the allocator does not say."""
        return int(torch.cuda.max_memory_allocated(self.torch)) if self.torch.type == "cuda" else None

    def reset_peak(self) -> None:
        if self.torch.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.torch)

    def free_and_total_bytes(self) -> tuple[int, int] | None:
        """What the device itself reports, over all processes; None where it does not say."""
        return torch.cuda.mem_get_info(self.torch) if self.torch.type == "cuda" else None

    def release(self) -> None:
        """Give cached memory back to the device."""
        gc.collect()
        match self.torch.type:
            case "cuda":
                torch.cuda.empty_cache()
            case "mps":
                torch.mps.empty_cache()

    def step_submitted(self) -> None:
        """Wait for the step before the one just submitted.

        A GPU takes its work from a queue that can hold a whole picture: without this, every step would be
        reported in the first second and a cancel would come too late. One step ahead keeps the device busy.
        """
        if self.torch.type == "cuda":
            event = torch.cuda.Event()
            event.record(torch.cuda.current_stream(self.torch))
        elif self.torch.type == "mps":
            event = torch.mps.Event()
            event.record()
        else:
            return
        if self._last_step is not None:
            self._last_step.synchronize()
        self._last_step = event
