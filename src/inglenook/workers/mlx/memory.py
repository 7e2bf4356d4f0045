# SPDX-License-Identifier: Apache-2.0
"""What MLX's allocator holds, and what counts as "out of memory": the only place that reads its errors.

The allocator raises a bare RuntimeError. Its sentences, of MLX 0.32:

    [metal::malloc] Attempting to allocate N bytes which is greater than the maximum allowed buffer size of
        M bytes.
    [metal::malloc] Resource limit (N) exceeded.
    [malloc] Unable to allocate N bytes.
    [METAL] Command buffer execution failed: Insufficient Memory (…)

The processor's allocator raises nothing: MLX 0.32 writes to what it did not get, and the process ends by a
signal. The server then says which; the estimates of the catalogue are what keeps it from happening.
"""

import errno
import gc
import re

import mlx.core as mx

from inglenook.wire.message import OutOfMemory

MEMORY_ERRORS = (RuntimeError, MemoryError, OSError)
"""What an allocator may raise; `evidence_of` says whether one of them was about memory."""

_SENTENCES = (
    "[metal::malloc]",
    "[malloc] Unable to allocate",
    "[malloc_or_wait] Unable to allocate",
    "Insufficient Memory",
    "kIOGPUCommandBufferCallbackErrorOutOfMemory",
)
_REQUESTED = re.compile(r"allocate (\d+) bytes")
_TOTAL = re.compile(r"maximum allowed buffer size of (\d+) bytes")


def evidence_of(error: BaseException) -> OutOfMemory | None:
    """The allocator's figures when `error` says that memory ran out; None for every other error."""
    text = str(error)
    if not (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError) and any(sentence in text for sentence in _SENTENCES))
    ):
        return None
    return OutOfMemory(requested_bytes=_amount(_REQUESTED, text), total_bytes=_amount(_TOTAL, text))


def _amount(pattern: re.Pattern[str], text: str) -> int | None:
    found = pattern.search(text)
    return None if found is None else int(found[1])


def held_bytes() -> int:
    """What the allocator holds, used or cached."""
    return int(mx.get_active_memory() + mx.get_cache_memory())


def peak_bytes() -> int:
    """The most that arrays took since `reset_peak`."""
    return int(mx.get_peak_memory())


def reset_peak() -> None:
    mx.reset_peak_memory()


def release() -> None:
    """Give cached memory back."""
    gc.collect()
    mx.clear_cache()
