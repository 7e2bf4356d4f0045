# SPDX-License-Identifier: Apache-2.0
import errno

import pytest
import torch

from inglenook.wire.message import OutOfMemory
from inglenook.workers.image.device import Device
from inglenook.workers.image.memory import evidence_of

CPU = Device("cpu")


def test_the_cpu_allocator_of_this_machine_is_understood() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**50, dtype=torch.uint8)
    evidence = evidence_of(raised.value, CPU)
    assert evidence is not None
    assert evidence.requested_bytes == 2**50


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            torch.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 512.00 MiB. GPU 0 has a total capacity of 23.69 GiB "
                "of which 100.00 MiB is free. Including non-PyTorch memory, this process has 23.5 GiB in use."
            ),
            OutOfMemory(requested_bytes=512 * 2**20, free_bytes=100 * 2**20, total_bytes=int(23.69 * 2**30)),
        ),
        (
            RuntimeError(
                "MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 1.00 GB, max allowed: "
                "9.07 GB). Tried to allocate 256.00 MB on private pool."
            ),
            OutOfMemory(requested_bytes=256 * 2**20, total_bytes=int(9.07 * 2**30)),
        ),
        (RuntimeError("CUDA error: out of memory"), OutOfMemory()),
        (
            RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 64 bytes."),
            OutOfMemory(requested_bytes=64),
        ),
        (MemoryError(), OutOfMemory()),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), OutOfMemory()),
    ],
)
def test_an_allocators_own_words_are_evidence(error: Exception, expected: OutOfMemory) -> None:
    assert evidence_of(error, CPU) == expected


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)"),
        RuntimeError("the word memory alone proves nothing"),
        OSError(errno.ENOSPC, "No space left on device"),
        ValueError("out of memory"),
    ],
)
def test_other_errors_are_never_called_out_of_memory(error: Exception) -> None:
    assert evidence_of(error, CPU) is None
