# SPDX-License-Identifier: Apache-2.0
"""Whether an error means that memory ran out, and what the allocator said about it.

Evidence comes from the allocator's own error and from nothing else. The types are torch's where there is
one; the CPU's and Metal's allocators raise a bare RuntimeError, so their sentences are recognised here, in
one place.
"""

import errno
import re

import torch

from inglenook.wire.message import OutOfMemory
from inglenook.workers.image.device import Device

MEMORY_ERRORS = (RuntimeError, MemoryError, OSError)
"""What an allocator may raise; `evidence_of` says whether one of them was about memory."""

_SENTENCES = (
    "DefaultCPUAllocator: can't allocate memory",  # Linux, macOS
    "DefaultCPUAllocator: not enough memory",  # Windows
    "MPS backend out of memory",
    "Invalid buffer size",  # Metal, for one buffer above the device's limit
    "CUDA error: out of memory",  # raised by a kernel or a library instead of the caching allocator
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "HIP error: out of memory",
)
_UNITS = {"bytes": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "KB": 2**10, "MB": 2**20, "GB": 2**30}
_AMOUNT = r"([\d.]+)\s*(bytes|B|KiB|MiB|GiB|KB|MB|GB)\b"
_REQUESTED = re.compile(rf"[Tt]ried to allocate {_AMOUNT}")
_FREE = re.compile(rf"of which {_AMOUNT} is free")
_TOTAL = re.compile(rf"total capacity of {_AMOUNT}|max allowed: {_AMOUNT}")


def evidence_of(error: BaseException, device: Device) -> OutOfMemory | None:
    """The allocator's figures when `error` says that memory ran out; None for every other error."""
    text = str(error)
    if not (
        isinstance(error, torch.OutOfMemoryError | MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError) and any(sentence in text for sentence in _SENTENCES))
    ):
        return None
    free, total = _amount(_FREE, text), _amount(_TOTAL, text)
    reported = device.free_and_total_bytes()
    if reported is not None:
        free, total = reported
    return OutOfMemory(requested_bytes=_amount(_REQUESTED, text), free_bytes=free, total_bytes=total)


def _amount(pattern: re.Pattern[str], text: str) -> int | None:
    found = pattern.search(text)
    if found is None:
        return None
    number, unit = (group for group in found.groups() if group is not None)
    return int(float(number) * _UNITS[unit])
