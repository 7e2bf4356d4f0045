# SPDX-License-Identifier: Apache-2.0
"""Many pixels become one.

With a grid each of its cells becomes a pixel first; where the sprite is to have another size, that picture of
cells is reduced or enlarged again. Without one the picture is divided evenly.

Colours are compared and averaged in OKLab, areas in linear light. A transparent pixel gives its cell alpha
and no colour.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from inglenook.pixels.cellwork import (
    Labs,
    Mask,
    Places,
    Rgba,
    areas,
    blocks,
    coverage,
    even,
    middles,
)
from inglenook.pixels.clusters import central, dominant, k_centroid, median, standing_out, two_colours
from inglenook.pixels.grid import cells
from inglenook.pixels.lines import with_lines
from inglenook.pixels.model import Grid, Reduction
from inglenook.pixels.oklab import from_linear, to_linear, to_srgb

_METHODS: Final[dict[Reduction, Callable[[Labs, Mask], Labs]]] = {
    Reduction.DOMINANT: dominant,
    Reduction.MEDIAN: median,
    Reduction.K_CENTROID: k_centroid,
}


def reduce(
    rgba: Rgba,
    width: int,
    height: int,
    how: Reduction,
    grid: Grid | None,
    *,
    keep_outline: bool = False,
) -> Rgba:
    """The picture with width by height pixels.

    Args:
        rgba: uint8 (h, w, 4), straight alpha, at least one pixel.
        width, height: at least 1; more than the picture has enlarge it by whole pixels.
        how: `NEAREST` keeps the alpha of the pixel it takes; the others give the mean alpha of the cell.
        grid: of this picture; its cells become pixels.
        keep_outline: dark lines that are thinner than a cell win the cell, and make it opaque where they
            are the border to what is transparent.

    Returns:
        uint8 (height, width, 4); (0, 0, 0, 0) where the alpha is 0.
    """
    rows, columns = rgba.shape[:2]
    if grid is not None:
        x, y = cells(rgba.shape, grid)
        rgba = _reduced(rgba, x, y, how, core=True, keep_outline=keep_outline)
        rgba = _nearly(rgba, width, height)
        rows, columns = rgba.shape[:2]
        if (columns, rows) == (width, height):
            return rgba
    return _reduced(
        rgba, even(columns, width), even(rows, height), how, core=False, keep_outline=keep_outline
    )


def _nearly(rgba: Rgba, width: int, height: int) -> Rgba:
    """A row or column more or less is cut off or repeated at the border.

    Scaling 63 cells to 64 pixels would double one of them in the middle of the picture.
    """
    for axis, wanted in ((0, height), (1, width)):
        count = rgba.shape[axis]
        if count == wanted or abs(count - wanted) > max(1, wanted // 32):
            continue
        first = (count - wanted) // 2
        rgba = np.take(rgba, np.clip(np.arange(first, first + wanted), 0, count - 1), axis=axis)
    return rgba


def _reduced(rgba: Rgba, x: Places, y: Places, how: Reduction, *, core: bool, keep_outline: bool) -> Rgba:
    if how is Reduction.NEAREST:
        found = rgba[middles(y, rgba.shape[0])[:, None], middles(x, rgba.shape[1])[None, :]].copy()
    elif how is Reduction.AREA:
        found = _area(rgba, x, y)
    elif how is Reduction.EDGE:
        found = _edge(rgba, x, y, core=core)
    else:
        # The core of a cell that was found is one colour; a cell that was only divided off may hold several.
        colour_of = central if core and how is Reduction.DOMINANT else _METHODS[how]
        found = _clustered(rgba, x, y, colour_of, core=core)
    if keep_outline:
        found = with_lines(rgba, x, y, found)
    found[found[..., 3] == 0] = 0
    return found


def _clustered(
    rgba: Rgba, x: Places, y: Places, colour_of: Callable[[Labs, Mask], Labs], *, core: bool
) -> Rgba:
    found = np.empty((len(y) - 1, len(x) - 1, 4), np.uint8)
    for block in blocks(rgba, x, y, core=core):
        part = found[block.first : block.first + len(block.rgba)]
        part[..., :3] = to_srgb(colour_of(block.lab, block.valid))
        part[..., 3] = coverage(block)
    return found


def _edge(rgba: Rgba, x: Places, y: Places, *, core: bool) -> Rgba:
    """Two colours of each cell are kept until the surroundings of all are known."""
    shape = (len(y) - 1, len(x) - 1)
    first, second = np.empty((*shape, 3), np.float32), np.empty((*shape, 3), np.float32)
    share, alpha = np.empty(shape, np.float32), np.empty(shape, np.uint8)
    for block in blocks(rgba, x, y, core=core):
        rows = slice(block.first, block.first + len(block.rgba))
        first[rows], second[rows], share[rows] = two_colours(block.lab, block.valid)
        alpha[rows] = coverage(block)
    chosen = standing_out(first, second, share, alpha)
    return np.dstack([to_srgb(chosen), alpha])


def _area(rgba: Rgba, x: Places, y: Places) -> Rgba:
    """The mean over the exact area of each cell, in linear light, weighted with alpha."""
    share = rgba[..., 3:].astype(np.float64) / 255
    planes = np.concatenate([to_linear(rgba[..., :3]) * share, share], axis=2)
    means = areas(areas(planes, y).transpose(1, 0, 2), x).transpose(1, 0, 2)
    cover = means[..., 3:]
    light = means[..., :3] / np.where(cover > 0, cover, 1.0)
    alpha = np.rint(cover[..., 0] * 255).clip(0, 255).astype(np.uint8)
    return np.dstack([from_linear(light.clip(0.0, 1.0)), alpha])
