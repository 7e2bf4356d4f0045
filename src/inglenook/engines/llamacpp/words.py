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
_OF_EVERY_REQUEST: Final = re.compile(
    r"^(?:\d+\.)+\d+ (?:I slot |W slot .*(?:need to evaluate at least 1 token|n_past was set to))"
)
"""Seven to nine lines: they would push everything else out of the journal within a hundred requests, and cost
a seventh of the processor time that a request takes in the server."""

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
_MISSING: Final = re.compile(r"No such file or directory|Permission denied")
_UNSUPPORTED: Final = re.compile(
    r"unknown model architecture|^error: invalid argument|unsupported|not supported|unknown tokenizer"
    r"|unknown pre-tokenizer type"
    r"|invalid ggml type|this GGUF file is version|unknown projector type"
)
_CORRUPT: Final = re.compile(
    r"invalid magic|bad magic|failed to read|not within the file bounds|corrupted or incomplete"
    r"|missing tensor|tensor '[^']*' not found|wrong number of tensors|wrong shape|has wrong|duplicate"
    r"|key not found in model"
    r"|end of file|invalid split file|error loading model (?:hyperparameters|vocabulary)"
    r"|(?:gguf|ggml)[a-z_]*: (?:invalid|failed)"
)
_OTHER_FILE: Final = re.compile(r"(lora adapter|multimodal model|draft model)s?,? (?:from )?'([^']+)'")
_ERROR: Final = re.compile(r"^(?:error: |error while handling argument|terminate called|\s*what\(\): )")
_REFUSALS: Final = (
    (
        "load.missing",
        _MISSING,
        "the file was moved or deleted, or another user owns it: look, and scan again",
    ),
    ("load.unsupported", _UNSUPPORTED, "update llama.cpp (`inglenook engines update`), or take another file"),
    ("load.corrupt", _CORRUPT, "the file is damaged or incomplete: fetch it again, and compare its checksum"),
)
REFUSED_HINT: Final = "change what is set for this model; its last lines are in the log"


def level_of(line: str) -> int:
    """A level of `logging`; a line without a letter is information, what is said of every request is for the
    child's own last lines only."""
    if _OF_EVERY_REQUEST.match(line):
        return logging.DEBUG
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
        hint = "use a shorter context, fewer conversations at once, or a smaller file of the model"
        return replace(failure, code=code, message=text, hint=hint, out_of_memory=evidence)
    return _refused(failure, lines, model) if loading else failure


def _refused(failure: Failure, lines: Sequence[str], model: str) -> Failure:
    """Why the model was not taken, in llama.cpp's words: the first error that it printed is the cause, the
    others say what that led to."""
    errors = [without_prefix(line) for line in lines if level_of(line) >= logging.ERROR or _ERROR.match(line)]
    if not errors:
        return failure
    other = next((found for line in errors if (found := _OTHER_FILE.search(line)) is not None), None)
    what = model if other is None else f"The {other[1]} {other[2]} of {model}"
    code, hint = next(
        ((code, hint) for code, pattern, hint in _REFUSALS for line in errors if pattern.search(line)),
        ("load.refused", REFUSED_HINT),
    )
    return replace(failure, code=code, message=f"{what} could not be loaded: {errors[0]}", hint=hint)
