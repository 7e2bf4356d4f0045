# SPDX-License-Identifier: Apache-2.0
"""From pictures to sprites, in an order in which no step undoes what another has promised.

    at the picture's size
      1. matte       what is not the subject becomes transparent while its edge still has all its pixels
      2. grid, fit   where the picture pretends to have pixels they are found; then it is cut or padded
      3. reduce      many pixels become one; transparent ones tint nothing
    at the sprite's size, as RGBA
      4. alpha       0 or 255; from here on nothing is half transparent
      5. specks      opaque islands go before they can claim a colour of the palette
    as indices into one palette (of all frames of an animation)
      6. palette     chosen from the opaque pixels alone, or given; rare colours join; then pixels are mapped
      7. islands, holes, edges   only colours that are there are used, so the palette still holds
      8. tile        before symmetry: a mirror image of a half that tiles down tiles down too, and what is
                     mirrored across tiles across by itself; patches laid afterwards would break the mirror
      9. symmetry
     10. outline     last of all that draws, so that nothing cuts it; around the other side of a tile
     11. trim        only takes away what is empty, never along an axis that tiles
     12. proof       counted on what is handed out

Steps 6 to 11 handle indices, so no colour can come up that is not in the palette.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inglenook.pixels.alpha import hardened, with_matte
from inglenook.pixels.border import border_cut
from inglenook.pixels.colouring import Coloured, coloured, keeps_every_color
from inglenook.pixels.edges import cleaned
from inglenook.pixels.fit import fitted, target_size
from inglenook.pixels.grid import find_grid
from inglenook.pixels.model import (
    Alpha,
    Background,
    Dither,
    Grid,
    GridMode,
    Outline,
    Proof,
    Recipe,
    Sprite,
    Symmetry,
    Tile,
)
from inglenook.pixels.outline import outlined, touches_border
from inglenook.pixels.proof import prove, weighted
from inglenook.pixels.reduce import reduce
from inglenook.pixels.regions import CLEAR, Indices
from inglenook.pixels.speckle import with_holes_filled, with_islands_joined, without_specks
from inglenook.pixels.symmetry import mirrored
from inglenook.pixels.tile import TILES, tiled
from inglenook.pixels.trim import Box, box_of, pivot_of

Rgba = npt.NDArray[np.uint8]
Grey = npt.NDArray[np.uint8]


def pixelate(
    frames: Sequence[Rgba],
    mattes: Sequence[Grey | None],
    recipe: Recipe,
    *,
    whole_animation: bool = False,
    look: Callable[[], None] = lambda: None,
) -> list[Sprite]:
    """A sprite of each picture.

    Args:
        frames: uint8 (h, w, 4), straight alpha. Asked for one by one, so they may be read when they are.
        mattes: uint8 (h, w) for each, 255 is the subject; or None.
        whole_animation: they are the frames of one animation: one size, crop and palette, cut alike where
            they are to tile. Otherwise each is made for itself.
        look: called between steps; it may raise to end the work.

    Raises ValueError: a matte has not its picture's size.
    """
    if not whole_animation:
        return [
            _together([frame], [matte], recipe, look)[0] for frame, matte in zip(frames, mattes, strict=True)
        ]
    return _together(frames, mattes, recipe, look)


@dataclass(frozen=True, slots=True, eq=False)
class _Small:
    """A frame at the sprite's size, alpha 0 or 255.

    Attributes:
        shape: of the picture that it was.
        grid: of that picture. canvas_grid: of what it was fitted to.
    """

    rgba: Rgba
    shape: tuple[int, ...]
    grid: Grid | None
    canvas_grid: Grid | None
    notes: tuple[str, ...]


def _together(
    frames: Sequence[Rgba], mattes: Sequence[Grey | None], recipe: Recipe, look: Callable[[], None]
) -> list[Sprite]:
    """Sprites of one size and with one palette."""
    small: list[_Small] = []
    for frame, matte in zip(frames, mattes, strict=True):
        look()
        small.append(_shrunk(frame, matte, recipe, small[0] if small else None))
    look()
    spoiled = all(one.canvas_grid is not None for one in small)
    found = coloured([one.rgba for one in small], recipe, spoiled=spoiled)
    indices, notes = _finished(found, recipe, look)
    box, trimmed = _box(indices, recipe)
    look()
    return [
        _sprite(one, box, found, recipe, before=before, notes=(*before.notes, *found.notes, *notes, *trimmed))
        for one, before in zip(indices, small, strict=True)
    ]


def _finished(
    found: Coloured, recipe: Recipe, look: Callable[[], None]
) -> tuple[list[Indices], tuple[str, ...]]:
    """Steps 7 to 10."""
    notes: list[str] = []
    indices = [_tidied(one, found.colors, recipe) for one in found.frames]
    if recipe.despeckle and recipe.dither is not Dither.NONE:
        notes.append("despeckle left the colours as they are: dithering is made of specks")
    look()
    indices = _fitted_ends(indices, found.colors, recipe)
    look()
    indices = [mirrored(one, recipe.symmetry) for one in indices]
    return _with_outline(indices, found.outline, recipe, notes), tuple(notes)


def _tidied(indices: Indices, colors: npt.NDArray[np.uint8], recipe: Recipe) -> Indices:
    if recipe.despeckle and recipe.dither is Dither.NONE:
        indices = with_islands_joined(indices, recipe.despeckle)
    if recipe.fill_holes:
        indices = with_holes_filled(indices, recipe.fill_holes)
    return cleaned(indices, colors) if recipe.clean_edges else indices


def _fitted_ends(indices: list[Indices], colors: npt.NDArray[np.uint8], recipe: Recipe) -> list[Indices]:
    """The ends that meet in a tile; where a mirror makes them meet by itself nothing is done."""
    across, down = wraps(recipe)
    opaque = np.full((len(colors), 4), 255, np.uint8)
    opaque[:, :3] = colors
    vectors = weighted(np.concatenate([np.zeros((1, 4), np.uint8), opaque]))
    if across and recipe.symmetry not in (Symmetry.LEFT, Symmetry.RIGHT):
        indices = tiled(indices, vectors, closed=down)
    if down and recipe.symmetry not in (Symmetry.TOP, Symmetry.BOTTOM):
        indices = [one.T for one in tiled([one.T for one in indices], vectors, closed=across)]
    return indices


def wraps(recipe: Recipe) -> tuple[bool, bool]:
    """Whether the sprite goes on at its other side: across, down."""
    return recipe.tile in (Tile.X, Tile.BOTH), recipe.tile in (Tile.Y, Tile.BOTH)


def _with_outline(
    indices: list[Indices], color: int | None, recipe: Recipe, notes: list[str]
) -> list[Indices]:
    if recipe.outline is Outline.NONE or color is None:
        return indices
    across, down = wraps(recipe)
    if recipe.outline is Outline.OUTSIDE:
        if all((one != CLEAR).all() for one in indices):
            notes.append("there is no outline: no pixel is transparent, so nothing lies around the sprite")
        elif any(touches_border(one, wrap_x=across, wrap_y=down) for one in indices):
            notes.append("the outline is open where the sprite touches the border of its canvas")
    return [outlined(one, color, recipe.outline, wrap_x=across, wrap_y=down) for one in indices]


def _box(indices: list[Indices], recipe: Recipe) -> tuple[Box, tuple[str, ...]]:
    """What is kept of the canvas, the same of each frame."""
    height, width = indices[0].shape
    whole = Box(0, 0, width, height)
    if not recipe.trim:
        return whole, ()
    found = box_of(indices)
    if found is None:
        return whole, ("nothing was trimmed: no pixel is opaque",)
    across, down = wraps(recipe)
    left, right = (0, width) if across else (found.left, found.right)
    top, bottom = (0, height) if down else (found.top, found.bottom)
    kept = Box(left, top, right, bottom)
    if (across and (found.left, found.right) != (0, width)) or (
        down and (found.top, found.bottom) != (0, height)
    ):
        return kept, ("a tile is not trimmed along an axis in which it tiles",)
    return kept, ()


def _sprite(
    indices: Indices, box: Box, found: Coloured, recipe: Recipe, *, before: _Small, notes: Sequence[str]
) -> Sprite:
    indices = indices[box.top : box.bottom, box.left : box.right]
    table = np.zeros((len(found.colors) + 1, 4), np.uint8)
    table[1:, :3], table[1:, 3] = found.colors, 255
    pixels = table[indices + 1]
    palette = None if keeps_every_color(recipe) else as_triples(found.colors)
    proof = prove(pixels, palette)
    every = [*notes, *_untiled(proof, recipe)]
    return Sprite(
        pixels=pixels,
        palette=palette,
        proof=proof,
        grid=before.grid,
        offset=(box.left, box.top),
        pivot=pivot_of(indices),
        notes=tuple(dict.fromkeys(every)),
    )


def as_triples(colors: npt.NDArray[np.uint8]) -> tuple[tuple[int, int, int], ...]:
    return tuple((int(red), int(green), int(blue)) for red, green, blue in colors)


def _untiled(proof: Proof, recipe: Recipe) -> list[str]:
    """Where the seam stayed sharper than a tile's."""
    across, down = wraps(recipe)
    seams = [("left and right", proof.seam_x if across else None)]
    seams += [("top and bottom", proof.seam_y if down else None)]
    return [
        f"the sprite does not tile well: where {ends} meet, the step is {seam:.1f} times those inside"
        for ends, seam in seams
        if seam is not None and seam > TILES
    ]


def _shrunk(frame: Rgba, matte: Grey | None, recipe: Recipe, first: _Small | None) -> _Small:
    """Steps 1 to 5.

    Args:
        first: of the same animation. All frames take its size, and those of its shape its grid, which would
            jitter if it were found in each for itself.
    """
    frame, notes = _cut_out(frame, matte, recipe)
    if first is None:
        grid = _grid(frame, recipe)
        width, height = target_size(frame.shape, recipe, grid)
        canvas = fitted(frame, width, height, recipe.fit)
        canvas_grid = grid if grid is None or canvas.shape == frame.shape else find_grid(canvas)
    else:
        height, width = first.rgba.shape[:2]
        canvas = fitted(frame, width, height, recipe.fit)
        same = frame.shape == first.shape
        grid, canvas_grid = (first.grid, first.canvas_grid) if same else (_grid(frame, recipe), None)
    small = reduce(
        canvas,
        width,
        height,
        recipe.reduction,
        canvas_grid,
        keep_outline=recipe.keep_outline,
    )
    small = hardened(
        small, recipe.alpha, threshold=recipe.alpha_threshold, background=recipe.background_color
    )
    if recipe.despeckle and recipe.alpha is Alpha.BINARY:
        small[~without_specks(small[..., 3] > 0, recipe.despeckle)] = 0
    return _Small(small, frame.shape, grid, canvas_grid, notes)


def _grid(frame: Rgba, recipe: Recipe) -> Grid | None:
    return find_grid(frame) if recipe.grid is GridMode.AUTO else None


def _cut_out(frame: Rgba, matte: Grey | None, recipe: Recipe) -> tuple[Rgba, tuple[str, ...]]:
    """The subject. A matte that was handed in is always used; else the border tells the background."""
    if matte is not None:
        return with_matte(frame, matte), ()
    if recipe.background is Background.KEEP:
        return frame, ()
    found = border_cut(frame)
    if found is None:
        return frame, ("the background was kept: the picture's border has no colour of its own",)
    if recipe.background is Background.MATTE:
        return found, ("there was no matte: what has the border's colour was cut out",)
    return found, ()
