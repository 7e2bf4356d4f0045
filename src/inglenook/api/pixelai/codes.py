# SPDX-License-Identifier: Apache-2.0
"""PixelAI's error codes, from causes: our own code first, then the kind of error. Never from a text."""

from collections.abc import Mapping
from typing import Final

NO_MODEL: Final = "pixel.no_model"
"""Our code for: there is nothing here that draws."""
MLX: Final = "mlx"

_MPS: Final = "_mps"
"""How the codes of an allocator that ran out end where it was Apple's."""

CODES: Final[Mapping[str, str]] = {
    NO_MODEL: "NO_MODEL_LOADED",
    "lora.incompatible": "INCOMPATIBLE_LORA",
    "lora.unsupported_engine": "LORA_UNSUPPORTED_ENGINE",
    "model.not_converted": "MODEL_NOT_CONVERTED",
    "model.not_found": "MODEL_LOAD_ERROR",
    "model.unusable": "MODEL_LOAD_ERROR",
    "model.ambiguous": "MODEL_LOAD_ERROR",
    "model.too_large": "OUT_OF_MEMORY",
    "engine.not_installed": "ENGINE_NOT_INSTALLED",
    "engine.unknown": "ENGINE_NOT_INSTALLED",
    "mlx.not_installed": "MLX_NOT_INSTALLED",
    "draw.out_of_memory": "OUT_OF_MEMORY",
    "load.out_of_memory": "OUT_OF_MEMORY",
    "child.out_of_memory": "OUT_OF_MEMORY",
    "pixels.out_of_memory": "OUT_OF_MEMORY",
    "image.failed": "ENGINE_INTERNAL",
    "image.nsfw": "VALIDATION_ERROR",
    "job.interrupted": "INTERRUPTED",
    "pixels.failed": "ENGINE_INTERNAL",
    "internal": "UNKNOWN_ERROR",
}
"""Our codes that stand for one of theirs."""

FAMILIES: Final[Mapping[str, str]] = {
    "load": "MODEL_LOAD_ERROR",
    "catalog": "MODEL_LOAD_ERROR",
    "draw": "ENGINE_INTERNAL",
    "child": "ENGINE_INTERNAL",
    "wire": "ENGINE_INTERNAL",
    "engine": "ENGINE_INTERNAL",
}
"""By what stands before the point of our code, for errors that are not the request's fault."""

KINDS: Final[Mapping[str, str]] = {
    "not_found": "NOT_FOUND",
    "invalid": "VALIDATION_ERROR",
    "too_large": "VALIDATION_ERROR",
    "conflict": "CONFLICT",
    "unidentified": "UNAUTHORIZED",
    "denied": "FORBIDDEN",
    "busy": "BUSY",
    "unavailable": "UNAVAILABLE",
    "cancelled": "CANCELED",
    "not_offered": "NOT_OFFERED",
    "failed": "UNKNOWN_ERROR",
}
"""Kind of error (`base.errors`) → code, where the cause says no more."""


def code_of(kind: str, code: str, *, engine: str | None = None) -> str:
    """The dialect's code for an error of ours.

    Args:
        kind, code: of the error, as in `base.errors`.
        engine: that was asked for, where the request named one.
    """
    if code.endswith(_MPS):
        return "MPS_OOM"
    found = CODES.get(code)
    if found == "ENGINE_NOT_INSTALLED" and engine == MLX:
        return "MLX_NOT_INSTALLED"
    if found is not None:
        return found
    if kind in ("failed", "unavailable"):
        family = FAMILIES.get(code.partition(".")[0])
        if family is not None:
            return family
    return KINDS[kind]
