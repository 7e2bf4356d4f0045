# SPDX-License-Identifier: Apache-2.0
"""What the families have in common whose model is a transformer that follows a flow from noise to picture.

A flow mixes the two on a straight line: at noise level `s` the latents are `(1 - s) * picture + s * noise`,
and the model is asked at the timestep `1000 * s`. Large pictures need more steps at high noise, so the levels
are shifted; how far, the model's scheduler configuration says.
"""

import inspect
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch

from inglenook.workers.image.errors import LoadUnsupported
from inglenook.workers.image.families.latent import LatentModel
from inglenook.workers.image.schedulers import Scheduler

PATCH_LATENTS = 2
"""Side of the square of latents that is one token to the model."""


class FlowTransformer(LatentModel):
    """Raises `LoadUnsupported` as `LatentModel` does."""

    network = "transformer"
    last_level_by_steps: ClassVar[bool] = True
    """Whether the levels of `n` steps go evenly from 1 to 1/n before they are shifted, as these models were
    made to be drawn with; else the scheduler lays them out."""

    max_shift: ClassVar[float] = 1.15
    """Of the largest pictures, where the scheduler's configuration does not say."""

    def __init__(self, **parts: Any) -> None:
        self._shifts: Mapping[str, Any] = parts["scheduler"]
        super().__init__(**parts)

    @property
    def multiple_px(self) -> int:
        return PATCH_LATENTS * self.pixels_per_latent

    @property
    def sees_masked_picture(self) -> bool:
        return False

    @property
    def samples_picture_first(self) -> bool:
        return True

    def set_timesteps(self, scheduler: Scheduler, steps: int, *, width: int, height: int) -> None:
        """The levels as diffusers' own pipelines lay them out, for some models shifted by the size."""
        takes = inspect.signature(scheduler.set_timesteps).parameters
        options: dict[str, Any] = {}
        if self._shifts.get("use_dynamic_shifting"):
            shift = self._shift(width, height)
            if "mu" in takes and scheduler.config.get("use_dynamic_shifting"):
                options["mu"] = shift
            else:
                _fix_shift(scheduler, shift)
        if self.last_level_by_steps and "sigmas" in takes and not scheduler.config.get("use_flow_sigmas"):
            options["sigmas"] = np.linspace(1.0, 1 / steps, steps)
        scheduler.set_timesteps(steps, device=self.device.torch, **options)

    def _shift(self, width: int, height: int) -> float:
        """Logarithm of the shift: a straight line through the smallest and the largest pictures' numbers."""
        told = self._shifts
        small, large = told.get("base_image_seq_len", 256), told.get("max_image_seq_len", 4096)
        low, high = told.get("base_shift", 0.5), told.get("max_shift", self.max_shift)
        slope = (high - low) / (large - small)
        tokens = (width // self.multiple_px) * (height // self.multiple_px)
        return float(tokens * slope + (low - slope * small))


def require_width(what: str, given: int, wanted: int) -> None:
    """Raises `LoadUnsupported` when a text encoder is not the one that the transformer was trained with."""
    if given != wanted:
        raise LoadUnsupported(
            f"The transformer reads {what} of {wanted} numbers; the text encoders give {given}.",
            hint="they belong to another family of models",
        )


def packed(latents: torch.Tensor, side: int = PATCH_LATENTS) -> torch.Tensor:
    """(n, channels, height, width) → (n, tokens, channels * side²): one token a square, row by row."""
    n, channels, height, width = latents.shape
    squares = latents.reshape(n, channels, height // side, side, width // side, side)
    return squares.permute(0, 2, 4, 1, 3, 5).reshape(
        n, (height // side) * (width // side), channels * side * side
    )


def unpacked(tokens: torch.Tensor, height: int, width: int, side: int = PATCH_LATENTS) -> torch.Tensor:
    """(n, tokens, channels * side²) → (n, channels, height, width); both are of latents."""
    n, _, features = tokens.shape
    squares = tokens.reshape(n, height // side, width // side, features // side**2, side, side)
    return squares.permute(0, 3, 1, 4, 2, 5).reshape(n, features // side**2, height, width)


def _fix_shift(scheduler: Scheduler, shift: float) -> None:
    """For schedulers that know one shift for all sizes: theirs is the exponential of ours."""
    for name in ("shift", "flow_shift"):
        if name in scheduler.config:
            scheduler.register_to_config(**{name: math.exp(shift)})  # type: ignore[attr-defined]
