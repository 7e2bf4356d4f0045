# SPDX-License-Identifier: Apache-2.0
"""Whether an error means that memory ran out. Evidence comes from the allocator's own error alone."""

import errno

from inglenook.wire.message import OutOfMemory

_SENTENCES = (
    "CUDA failed with error out of memory",  # CTranslate2's allocator
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "std::bad_alloc",
)


def evidence_of(error: BaseException) -> OutOfMemory | None:
    """Something when `error` says that memory ran out (CTranslate2 tells no figures); else None."""
    if (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError) and any(sentence in str(error) for sentence in _SENTENCES))
    ):
        return OutOfMemory()
    return None
