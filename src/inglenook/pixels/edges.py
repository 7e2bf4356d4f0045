# SPDX-License-Identifier: Apache-2.0
"""Anti-aliasing that survived the palette: one pixel wide blends between two colours."""

from typing import Final

import numpy as np
import numpy.typing as npt

from inglenook.pixels.oklab import to_oklab
from inglenook.pixels.regions import CLEAR, Indices, Mask

LEAST_CONTRAST: Final = 0.12
"""Distance in OKLab from which two colours make an edge: less is shading."""
WIDTH: Final = 0.25
"""So far a blend may lie off the straight line between both colours, as a share of their distance: blending
happens in sRGB or in light, and the palette has moved it."""
LINES: Final = ((0, 1), (1, 0), (1, 1), (1, -1))


def cleaned(indices: Indices, palette: npt.NDArray[np.uint8]) -> Indices:
    """Each pixel that is a blend of the two on either side of it takes the nearer of both.

    A blend is one pixel wide: what lies before it goes on unchanged for at least one pixel more, and what
    lies behind it is no step of a ramp that goes on. So ramps of one pixel wide steps, which are drawn on
    purpose, stay. Looked for across, down and along both diagonals, in this order. Transparent pixels are no
    colour.

    Args:
        palette: uint8 (k, 3).
    """
    if len(palette) < 3:
        return indices
    lab = to_oklab(palette)
    found = indices.copy()
    for line in LINES:
        for way in (1, -1):
            step = (line[0] * way, line[1] * way)
            blend, ends = _blends(found, lab, step)
            found[blend] = ends[blend]
    return found


def _blends(indices: Indices, lab: npt.NDArray[np.float32], step: tuple[int, int]) -> tuple[Mask, Indices]:
    """Where there is a blend with its solid side against `step`, and the colour that it takes."""
    before, further = _shifted(indices, step, -1), _shifted(indices, step, -2)
    behind, beyond = _shifted(indices, step, 1), _shifted(indices, step, 2)
    edge = (before == further) & (before != CLEAR) & (behind != CLEAR) & (indices != CLEAR)
    edge &= (before != indices) & (behind != indices) & (before != behind)
    blend = np.zeros(indices.shape, bool)
    ends = indices.copy()
    rows, columns = np.nonzero(edge)
    if len(rows) == 0:
        return blend, ends
    first, last, here = (lab[one[rows, columns]].astype(np.float64) for one in (before, behind, indices))
    after = beyond[rows, columns]
    way = last - first
    length = np.sqrt((way**2).sum(axis=1))
    share = ((here - first) * way).sum(axis=1) / np.maximum(length, 1e-9) ** 2
    off = np.sqrt(((here - first - share[:, None] * way) ** 2).sum(axis=1)) / np.maximum(length, 1e-9)
    goes_on = after != CLEAR
    reach = ((lab[after].astype(np.float64) - first) * way).sum(axis=1) / np.maximum(length, 1e-9) ** 2
    ramp = goes_on & (after != behind[rows, columns]) & (reach > 1.1)
    is_blend = (length >= LEAST_CONTRAST) & (share > 0.1) & (share < 0.9) & (off <= WIDTH) & ~ramp
    blend[rows[is_blend], columns[is_blend]] = True
    ends[rows, columns] = np.where(share < 0.5, before[rows, columns], behind[rows, columns])
    return blend, ends


def _shifted(indices: Indices, step: tuple[int, int], times: int) -> Indices:
    """What lies `times` steps further; beyond the canvas it goes on as at its border."""
    rows = np.clip(np.arange(indices.shape[0]) + step[0] * times, 0, indices.shape[0] - 1)
    columns = np.clip(np.arange(indices.shape[1]) + step[1] * times, 0, indices.shape[1] - 1)
    return indices[rows[:, None], columns[None, :]]
