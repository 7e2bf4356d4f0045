# SPDX-License-Identifier: Apache-2.0
"""What can go wrong in the vision worker. The codes are those that the wire promises."""

import errno

from inglenook.base.errors import Cancelled, Failed, Invalid
from inglenook.wire.message import OutOfMemory


class BadPicture(Invalid):
    """One of the pictures cannot be looked at; codes `picture.…`.

    Args:
        place: which one, from 0.
    """

    default_code = "picture.unreadable"

    def __init__(self, message: str, *, place: int, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, code=code, hint=hint)
        self.place = place


class NotFinite(Failed):
    """The network gave something that is no number."""

    default_code = "predict.not_finite"


class LoadUnsupported(Failed):
    default_code = "load.unsupported"


class LoadCorrupt(Failed):
    default_code = "load.corrupt"


class Stopped(Cancelled):
    default_code = "predict.cancelled"


_SENTENCES = (
    "Failed to allocate memory",  # onnxruntime's arena
    "CUDA failure 2",  # cudaErrorMemoryAllocation
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "std::bad_alloc",
)


def evidence_of(error: BaseException) -> OutOfMemory | None:
    """Something when `error` says that memory ran out; onnxruntime tells no figures."""
    if (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or any(sentence in str(error) for sentence in _SENTENCES)
    ):
        return OutOfMemory()
    return None
