# SPDX-License-Identifier: Apache-2.0
"""What llama.cpp prints, understood: how important a line is, and why a child is gone. Pure.

Its lines begin with the time and one letter: `0.04.168.907 E srv    load_model: failed to load model, …`.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from inglenook.base.units import MIB
from inglenook.runtime.contracts import Failure, OutOfMemoryEvidence

LEVELS: Final = {
    "E": logging.ERROR,
    "W": logging.WARNING,
    "I": logging.INFO,
    "D": logging.DEBUG,
    "T": logging.DEBUG,
}
_PREFIX: Final = re.compile(r"^(?:\d+\.)+\d+ ([EWIDT]) ")

_OUT_OF_MEMORY: Final = re.compile(
    r"failed to allocate|unable to allocate|cudaMalloc failed: out of memory|CUDA error: out of memory"
    r"|ErrorOutOfDeviceMemory|ErrorOutOfHostMemory|Device memory allocation of size \d+ failed"
    r"|hipMalloc failed|insufficient memory|std::bad_alloc|kIOGPUCommandBufferCallbackErrorOutOfMemory"
)
_REQUESTED: Final = (
    (re.compile(r"allocating ([\d.]+) MiB on device"), MIB),
    (re.compile(r"buffer of size (\d+)"), 1),
    (re.compile(r"buffer, size = ([\d.]+) MiB"), MIB),
    (re.compile(r"allocation of size (\d+) failed"), 1),
    (re.compile(r"attempted to allocate ([\d.]+) MB"), MIB),
)
_FREE: Final = re.compile(r"(\d+) MiB free")

_UNSUPPORTED: Final = re.compile(
    r"unknown model architecture|unsupported model architecture|unknown pre-tokenizer type|unknown tokenizer"
    r"|invalid ggml type|unsupported file version|this GGUF file is version|unknown projector type"
    r"|not supported|unsupported"
)
_CORRUPT: Final = re.compile(
    r"invalid magic|missing tensor|wrong number of tensors|wrong shape|tensor '[^']*' data is not within"
    r"|failed to read|tensor .* out of (?:file )?bounds|key not found in model|corrupted or incomplete|bad magic"
    r"|failed to load model from|unexpectedly reached end of file|invalid split file|gguf_init_from_file"
    r"|failed to open GGUF|error loading model hyperparameters|error loading model vocabulary"
    r"|duplicate|invalid number|has wrong"
)
_TOLD: Final = re.compile(
    r"error loading model|failed to load|gguf_init_from|error:|exception|what\(\)|unsupported|invalid"
)
UNSUPPORTED_HINT: Final = "update llama.cpp (`inglenook engines update`), or take another file of this model"
CORRUPT_HINT: Final = "the file is damaged or incomplete: fetch it again, and compare its size and checksum"


def level_of(line: str) -> int:
    """A level of `logging`; a line without a letter is information."""
    found = _PREFIX.match(line)
    return logging.INFO if found is None else LEVELS[found[1]]


def without_prefix(line: str) -> str:
    return _PREFIX.sub("", line).strip()


def out_of_memory(lines: Sequence[str]) -> OutOfMemoryEvidence | None:
    """The allocator's own word, quoted, with the bytes that it named; None when no line says so."""
    said = [without_prefix(line) for line in lines if _OUT_OF_MEMORY.search(line)]
    if not said:
        return None
    requested = [bytes_ for line in said if (bytes_ := _bytes(line)) is not None]
    first = next((line for line in said if _bytes(line) is not None), said[0])
    return OutOfMemoryEvidence(
        source=f"llama.cpp: {first}", requested_bytes=requested[0] if requested else None
    )


def _bytes(line: str) -> int | None:
    for pattern, unit in _REQUESTED:
        found = pattern.search(line)
        if found is not None:
            return int(float(found[1]) * unit)
    return None


def told(failure: Failure, lines: Sequence[str], *, model: str, doing: str, loading: bool) -> Failure:
    """The failure of a child that ended by itself, with the cause that its lines give, if they give one.

    A kernel's word for it (`failure.out_of_memory`) stands above what the child has printed.
    """
    if failure.out_of_memory is not None:
        return failure
    evidence = out_of_memory(lines)
    if evidence is not None:
        code = "load.out_of_memory" if loading else "child.out_of_memory"
        text = f"{model} ran out of memory {doing}. {evidence.source}"
        hint = "use a shorter context, fewer conversations at once, a smaller file of the model, or lower runtime.budgets"
        return replace(failure, code=code, message=text, hint=hint, out_of_memory=evidence)
    return _refused(failure, lines, model) if loading else failure


def _refused(failure: Failure, lines: Sequence[str], model: str) -> Failure:
    """Why the file was not taken, in llama.cpp's words."""
    said = [without_prefix(line) for line in lines if _TOLD.search(line)]
    for code, pattern, hint in (
        ("load.unsupported", _UNSUPPORTED, UNSUPPORTED_HINT),
        ("load.corrupt", _CORRUPT, CORRUPT_HINT),
    ):
        reason = next((line for line in said if pattern.search(line)), None)
        if reason is not None:
            return replace(failure, code=code, message=f"{model} could not be loaded: {reason}", hint=hint)
    return failure
