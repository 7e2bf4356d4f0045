# SPDX-License-Identifier: Apache-2.0
"""One picture as stable-diffusion.cpp is asked for it, and whoever makes it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Step = Callable[[int, int, np.ndarray | None], None]
"""Told of each step: its number from 1, the number of steps, and a preview, uint8 (height, width, 3)."""


@dataclass(frozen=True, eq=False)
class Painting:
    """Attributes:
    guidance_scale: at least 1; 1 draws without guidance.
    method, schedule: stable-diffusion.cpp's names, in lower case; None for the model's own.
    image: uint8 (height, width, 3). mask: uint8 (height, width), 255 where to paint.
    strength: of `image`, in (0, 1].
    tiled: the VAE works in tiles.
    preview_every: a preview at every n-th step; 0 for none.
    """

    prompt: str
    negative_prompt: str
    width: int
    height: int
    steps: int
    guidance_scale: float
    seed: int
    method: str | None = None
    schedule: str | None = None
    image: np.ndarray | None = None
    mask: np.ndarray | None = None
    strength: float = 1.0
    clip_skip: int | None = None
    tiled: bool = False
    preview_every: int = 0

    @property
    def steps_taken(self) -> int:
        """stable-diffusion.cpp begins at the noise level of step `steps * (1 - strength)`, and always takes
        one step."""
        if self.image is None:
            return self.steps
        return min(int(self.steps * self.strength) + 1, self.steps)


class Painter(Protocol):
    """A loaded model."""

    def paint(self, painting: Painting, *, step: Step) -> np.ndarray:
        """Make the picture: uint8 (height, width, 3).

        Raises:
            PaintFailed: there is no picture.
        """
        ...

    def close(self) -> None:
        """Give its memory back."""
        ...
