# SPDX-License-Identifier: Apache-2.0
"""The size of a sprite, and the picture cut or padded to its shape.

It is done at the picture's own size, in whole pixels, so that the reduction after it has nothing left to
scale.
"""

import numpy as np
import numpy.typing as npt

from inglenook.pixels.grid import cells
from inglenook.pixels.model import MAX_SIDE_PX, Fit, Grid, Recipe, Reduction
from inglenook.pixels.reduce import reduce

Rgba = npt.NDArray[np.uint8]


def target_size(shape: tuple[int, ...], recipe: Recipe, grid: Grid | None) -> tuple[int, int]:
    """Width and height of the sprite, each 1 to `MAX_SIDE_PX`.

    What the recipe leaves open follows from the number of cells where there is a grid, else of pixels.

    Args:
        shape: (h, w, ...) of the picture.
        grid: found in a picture of that shape.
    """
    height, width = shape[:2]
    if grid is not None:
        x, y = cells(shape, grid)
        width, height = len(x) - 1, len(y) - 1
    if recipe.width is not None and recipe.height is not None:
        return recipe.width, recipe.height
    if recipe.width is not None:
        return recipe.width, _side(height * recipe.width / width)
    if recipe.height is not None:
        return _side(width * recipe.height / height), recipe.height
    shrink = min(1.0, MAX_SIDE_PX / max(width, height))
    return _side(width * shrink), _side(height * shrink)


def _side(length: float) -> int:
    return min(MAX_SIDE_PX, max(1, round(length)))


def fitted(rgba: Rgba, width: int, height: int, fit: Fit) -> Rgba:
    """The picture in the shape of width by height: centred on a transparent canvas, cut evenly, or as it is.

    A shape that differs by less than one pixel of the sprite is left as it is: sizes are rounded.
    A grid of the picture does not hold for what is returned, unless that has the picture's shape.

    Args:
        rgba: uint8 (h, w, 4).
        width, height: of the sprite, at least 1.
    """
    rows, columns = rgba.shape[:2]
    wide = columns / rows * height / width  # how much wider than the sprite's shape, as a factor
    if fit is Fit.STRETCH or abs(wide - 1) * min(width, height) < 1:
        return rgba
    if fit is Fit.COVER:
        return _cut(rgba, columns=round(columns / wide)) if wide > 1 else _cut(rgba, rows=round(rows * wide))
    return _padded(_bounded(rgba), width, height)


def _cut(rgba: Rgba, *, columns: int | None = None, rows: int | None = None) -> Rgba:
    columns = max(1, columns or rgba.shape[1])
    rows = max(1, rows or rgba.shape[0])
    top, left = (rgba.shape[0] - rows) // 2, (rgba.shape[1] - columns) // 2
    return rgba[top : top + rows, left : left + columns]


def _bounded(rgba: Rgba) -> Rgba:
    """At most `MAX_SIDE_PX` long: a ribbon padded to a square would take its length squared."""
    rows, columns = rgba.shape[:2]
    if max(rows, columns) <= MAX_SIDE_PX:
        return rgba
    shrink = MAX_SIDE_PX / max(rows, columns)
    return reduce(rgba, _side(columns * shrink), _side(rows * shrink), Reduction.AREA, None)


def _padded(rgba: Rgba, width: int, height: int) -> Rgba:
    rows, columns = rgba.shape[:2]
    canvas_columns = max(columns, round(rows * width / height))
    canvas_rows = max(rows, round(columns * height / width))
    if max(canvas_columns, canvas_rows) > 2 * MAX_SIDE_PX:
        # A sprite that is itself a ribbon: the picture is scaled into it instead.
        shrink = 2 * MAX_SIDE_PX / max(canvas_columns, canvas_rows)
        rows, columns = _side(rows * shrink), _side(columns * shrink)
        rgba = reduce(rgba, columns, rows, Reduction.AREA, None)
        canvas_columns = min(2 * MAX_SIDE_PX, max(columns, round(rows * width / height)))
        canvas_rows = min(2 * MAX_SIDE_PX, max(rows, round(columns * height / width)))
    canvas = np.zeros((canvas_rows, canvas_columns, 4), np.uint8)
    top, left = (canvas_rows - rows) // 2, (canvas_columns - columns) // 2
    canvas[top : top + rows, left : left + columns] = rgba
    return canvas
