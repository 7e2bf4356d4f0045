# SPDX-License-Identifier: Apache-2.0
"""The second, larger pass over a picture: what it begins from. See the image worker's `hires`."""

from dataclasses import replace

import numpy as np
from PIL import Image

from inglenook.workers.mlx.model import Model, Posterior
from inglenook.workers.mlx.pixels import as_input
from inglenook.workers.mlx.sampling import Plan

_CUBIC = -0.75
"""Keys' coefficient (1981), as torch has it."""


def from_latents(model: Model, plan: Plan, latents: np.ndarray) -> Plan:
    """The plan of the second pass with the latents of the first as its picture, enlarged: as the model works
    on them."""
    assert plan.source is not None
    height, width = model.latent_shape(plan.width, plan.height)[-2:]
    enlarged = _cubic(_cubic(latents, height, axis=2), width, axis=3)
    return replace(plan, source=replace(plan.source, latents=enlarged))


def from_pixels(model: Model, plan: Plan, pixels: np.ndarray) -> Plan:
    """The same with the decoded picture of the first pass, uint8 (height, width, 3)."""
    assert plan.source is not None
    picture = Image.fromarray(pixels).resize((plan.width, plan.height), Image.Resampling.LANCZOS)
    encoded: Posterior = model.posterior(as_input(np.asarray(picture)))
    return replace(plan, source=replace(plan.source, image=encoded))


def _cubic(x: np.ndarray, size: int, *, axis: int) -> np.ndarray:
    """Enlarged along one axis by cubic convolution, pixels as squares."""
    has = x.shape[axis]
    places = (np.arange(size) + 0.5) * has / size - 0.5
    below = np.floor(places).astype(int)
    away = (places - below).astype(np.float32)
    found = np.zeros((*x.shape[:axis], size, *x.shape[axis + 1 :]), np.float32)
    broad = [1] * x.ndim
    broad[axis] = size
    for tap in (-1, 0, 1, 2):
        weight = _weight(np.abs(away - tap)).reshape(broad)
        found += np.take(x, np.clip(below + tap, 0, has - 1), axis=axis) * weight
    return found


def _weight(distance: np.ndarray) -> np.ndarray:
    near = (_CUBIC + 2) * distance**3 - (_CUBIC + 3) * distance**2 + 1
    far = _CUBIC * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    return np.where(distance <= 1, near, far).astype(np.float32)
