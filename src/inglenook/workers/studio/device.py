# SPDX-License-Identifier: Apache-2.0
"""The studio's device: what it holds, what precision it has, and how all of its memory is given back."""

import ctypes
import platform
import sys
from contextlib import suppress
from typing import Literal

import psutil
import torch

from inglenook.wire.studio.spec import Precision
from inglenook.workers.image.device import Device

Used = Literal["32-true", "16-mixed", "bf16-mixed"]


class StudioDevice(Device):
    """Args:
    name: a torch device: `cpu`, `cuda`, `cuda:0`, `mps`.
    """

    @property
    def on_host(self) -> bool:
        """Whether the device's memory is this process's own."""
        return self.torch.type == "cpu"

    @property
    def accelerator(self) -> str:
        """As Lightning calls it."""
        return {"cuda": "gpu"}.get(self.torch.type, self.torch.type)

    @property
    def sums(self) -> torch.dtype:
        """In which sums over an epoch are kept. Metal has no double precision."""
        return torch.float32 if self.torch.type == "mps" else torch.float64

    @property
    def title(self) -> str:
        """For people: the card's name, or the processor's."""
        if self.torch.type == "cuda":
            return str(torch.cuda.get_device_name(self.torch))
        return platform.processor() or platform.machine()

    def memory_bytes(self) -> int | None:
        """What is held for the work: of the allocator on a GPU, resident memory of this process on a CPU."""
        held = self.held_bytes()
        return int(psutil.Process().memory_info().rss) if held is None and self.on_host else held

    def release(self) -> None:
        """Give all memory back that nothing refers to: to the device, and to the system."""
        super().release()
        if self.torch.type == "cuda":
            with suppress(AttributeError):  # a private name of torch, which may go
                torch._C._cuda_clearCublasWorkspaces()
            torch.cuda.empty_cache()
        if sys.platform == "linux":
            with suppress(OSError, AttributeError):  # another C library than GNU's has no such call
                ctypes.CDLL("libc.so.6").malloc_trim(0)

    def precision(self, wanted: Precision) -> tuple[Used, str | None]:
        """As Lightning calls what is used here, and why it is not what was wanted."""
        match wanted, self.torch.type:
            case "32", _:
                return "32-true", None
            case "bf16-mixed", "cpu":
                return "bf16-mixed", None
            case "16-mixed", "cpu":
                return "bf16-mixed", "A CPU does not train in 16-mixed: bf16-mixed is used."
            case "16-mixed", "cuda":
                return "16-mixed", None
            case "bf16-mixed", "cuda":
                if torch.cuda.is_bf16_supported(including_emulation=False):
                    return "bf16-mixed", None
                return "16-mixed", f"{self.title} has no bf16: 16-mixed is used."
            case _:
                return "32-true", f"{self.torch.type} does not train in {wanted}: 32 is used."
