# SPDX-License-Identifier: Apache-2.0
"""How much memory a speech model will need, before anybody has measured it. Pure.

On a CPU two peaks do not happen together, and the larger counts:

    loading    CTranslate2 reads the file and converts it: 2.25 times the file (2.3 here)
    working    the weights as they are computed with, the spectrogram of a piece of five minutes, and the
               model that tells speech from silence

Both on top of a process with the libraries imported. Measured once with Whisper tiny.en (75.5 MB, float16 in
the file; CTranslate2 4.8 on a CPU, one thread), growth of the process in MiB:

    imported 50 · loaded as int8 120, at most 219 · as float32 222 · spectrogram of 300 s: at most 389 ·
    after encoding 239 · after telling speech from silence 339

On a GPU nothing was measured: weights in half precision, and a gigabyte for the driver's context, cuBLAS, and
what is computed. The scheduler prefers what it learns.
"""

from collections.abc import Mapping
from typing import Final

from inglenook.base.units import GIB, MIB
from inglenook.catalog.model import ModelRecord

RUNTIME_BYTES: Final = 64 * MIB
LOADING: Final = 2.3
WORK_BYTES: Final = 288 * MIB
CUDA_BYTES: Final = GIB

COMPUTED_BYTES: Final = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0, "int8": 1.2}
"""Bytes a weight when it is computed with; with 8 bits some layers stay wider."""
STORED_BYTES: Final = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0, "int8": 1.1}


def speech_footprint(record: ModelRecord, compute_type: str) -> Mapping[str, int]:
    """Bytes by kind of device.

    Args:
        compute_type: of `wire.speech`; `auto` is 8 bits on a CPU, half precision on a GPU.
    """
    weights = record.weights_bytes / STORED_BYTES.get(record.dtype, 2.0)
    on_cpu = weights * _computed(compute_type, "int8")
    on_gpu = weights * _computed(compute_type, "float16")
    return {
        "cpu": RUNTIME_BYTES + int(max(record.weights_bytes * LOADING, on_cpu + WORK_BYTES)),
        "cuda": CUDA_BYTES + int(on_gpu),
    }


def _computed(compute_type: str, automatic: str) -> float:
    wanted = automatic if compute_type == "auto" else compute_type.partition("_")[0]
    return COMPUTED_BYTES[wanted]
