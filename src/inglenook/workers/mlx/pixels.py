# SPDX-License-Identifier: Apache-2.0
"""Pictures and masks as the networks take them."""

import numpy as np


def as_input(pixels: np.ndarray) -> np.ndarray:
    """uint8 (height, width, 3) to float32 (1, 3, height, width) in [-1, 1]."""
    return (pixels.astype(np.float32) / np.float32(255) * 2 - 1).transpose(2, 0, 1)[None]


def mask_of(levels: np.ndarray) -> np.ndarray:
    """uint8 (height, width), light where to paint, to float32 (1, 1, height, width) of 0 and 1."""
    return (levels >= 128).astype(np.float32)[None, None]


def at_size(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """By the nearest pixel."""
    rows, columns = (np.arange(n) * has // n for n, has in zip((height, width), mask.shape[2:], strict=True))
    return mask[:, :, rows][:, :, :, columns]
