# SPDX-License-Identifier: Apache-2.0
"""From pictures of a sprite's size to indices into one palette for all of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from inglenook.pixels.dither import remap
from inglenook.pixels.histogram import Histogram, counted
from inglenook.pixels.model import Outline, Quantiser, Recipe
from inglenook.pixels.nearest import nearest
from inglenook.pixels.oklab import to_oklab
from inglenook.pixels.quantise import best_of, is_binned, palette_of
from inglenook.pixels.rare import merge_rare
from inglenook.pixels.regions import CLEAR, Indices
from inglenook.pixels.restoring import agreement

Rgba = npt.NDArray[np.uint8]
Rgb = tuple[int, int, int]
Entries = npt.NDArray[np.intp]

_NONE: Final = np.empty((0, 3), np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Coloured:
    """Attributes:
    frames: int32 (h, w) each: an entry of `colors`, `CLEAR` where it is transparent.
    colors: uint8 (k, 3): the palette, or, where every colour is kept, the colours that occur.
    outline: the entry of the outline's colour; None where there is no outline, or no colour at all.
    notes: what could not be done as asked.
    """

    frames: list[Indices]
    colors: npt.NDArray[np.uint8]
    outline: int | None
    notes: tuple[str, ...]


def keeps_every_color(recipe: Recipe) -> bool:
    """Whether the sprite has no palette."""
    return recipe.palette is None and not recipe.colors


def coloured(frames: Sequence[Rgba], recipe: Recipe, *, spoiled: bool = False) -> Coloured:
    """The frames in the colours of one palette.

    Args:
        frames: uint8 (h, w, 4), alpha 0 or 255. Transparent pixels count for no colour.
        spoiled: they are cells of pictures that pretend to have pixels; see `restoring`.
    """
    notes: list[str] = []
    seen = _seen(frames)
    if keeps_every_color(recipe):
        found = _every_color(frames, seen, recipe)
    elif recipe.palette is not None:
        found = _fixed(frames, seen, recipe, np.array(recipe.palette, np.uint8), notes)
    else:
        choose = _chooser(frames, seen, recipe, spoiled=spoiled)
        found = _chosen(frames, seen, recipe, choose, notes)
    indices, colors = found
    return Coloured(indices, colors, _outline_entry(colors, recipe, notes), tuple(notes))


def _seen(frames: Sequence[Rgba]) -> Histogram:
    """The colours of the opaque pixels of all frames."""
    return counted(np.concatenate([one[one[..., 3] > 0][:, :3] for one in frames]))


def _every_color(
    frames: Sequence[Rgba], seen: Histogram, recipe: Recipe
) -> tuple[list[Indices], npt.NDArray[np.uint8]]:
    colors = seen.rgb
    entries = merge_rare(seen.rgb, seen.counts, recipe.merge_rare)[seen.inverse].astype(np.int32)
    if recipe.outline is not Outline.NONE and recipe.outline_color is not None:
        colors = np.concatenate([colors, np.array([recipe.outline_color], np.uint8)])
    found, start = [], 0
    for one in frames:
        solid = one[..., 3] > 0
        indices = np.full(solid.shape, CLEAR, np.int32)
        count = int(solid.sum())
        indices[solid] = entries[start : start + count]
        found.append(indices)
        start += count
    return found, colors


def _fixed(
    frames: Sequence[Rgba],
    seen: Histogram,
    recipe: Recipe,
    palette: npt.NDArray[np.uint8],
    notes: list[str],
) -> tuple[list[Indices], npt.NDArray[np.uint8]]:
    """All of the palette stays, in its order, unless `colors` asks for fewer."""
    if recipe.colors is not None and recipe.colors < len(palette):
        kept = _best_with_outline(palette, seen, recipe, recipe.colors)
        notes.append(f"{len(kept)} of the palette's {len(palette)} colours are used, as asked")
        palette = palette[kept]
    used = _frequent(palette, seen, recipe.merge_rare)
    return [_mapped(one, palette, used, recipe) for one in frames], palette


def _best_with_outline(palette: npt.NDArray[np.uint8], seen: Histogram, recipe: Recipe, most: int) -> Entries:
    """The entries that the picture needs, ascending; one of them the outline's, where one is asked for."""
    kept = best_of(palette, seen.rgb, seen.counts, most)
    if recipe.outline is Outline.NONE or recipe.outline_color is None:
        return kept
    outline = int(nearest(palette, np.array(recipe.outline_color, np.uint8)[None])[0])
    if outline in kept or most == 1:
        return kept
    return np.union1d(best_of(palette, seen.rgb, seen.counts, most - 1), [outline]).astype(np.intp)


def _chosen(
    frames: Sequence[Rgba],
    seen: Histogram,
    recipe: Recipe,
    choose: Callable[[int], npt.NDArray[np.uint8]],
    notes: list[str],
) -> tuple[list[Indices], npt.NDArray[np.uint8]]:
    """The palette is chosen from the picture, with room for the outline's colour."""
    if len(seen.rgb) == 0:
        notes.append("no pixel is opaque: there was no colour to choose")
        return [np.full(one.shape[:2], CLEAR, np.int32) for one in frames], _NONE
    if is_binned(seen.rgb) and recipe.quantiser is not Quantiser.OCTREE:
        notes.append(
            f"{len(seen.rgb)} different colours are many: those that no eye tells apart were put together"
            " before the palette was chosen"
        )
    palette = _without_rare(choose(recipe.colors or 1), seen, recipe)
    if recipe.outline is not Outline.NONE and recipe.outline_color is not None and recipe.colors != 1:
        line = np.array([recipe.outline_color], np.uint8)
        if not (palette == line).all(axis=1).any():
            if len(palette) == recipe.colors:
                palette = _without_rare(choose(recipe.colors - 1), seen, recipe)
            palette = np.unique(np.concatenate([palette, line]), axis=0)
            palette = palette[np.argsort(to_oklab(palette)[:, 0], kind="stable")]
    everything = np.arange(len(palette))
    return [_mapped(one, palette, everything, recipe) for one in frames], palette


def _chooser(
    frames: Sequence[Rgba], seen: Histogram, recipe: Recipe, *, spoiled: bool
) -> Callable[[int], npt.NDArray[np.uint8]]:
    """What gives a palette of at most so many colours."""
    weights = seen.counts
    if spoiled:
        agreeing = np.concatenate([agreement(one)[one[..., 3] > 0] for one in frames])
        weights = np.bincount(seen.inverse, agreeing, len(seen.rgb)).astype(np.int64)
    return lambda most: palette_of(seen.rgb, weights, most, recipe.quantiser, recipe.seed, spoiled=spoiled)


def _without_rare(palette: npt.NDArray[np.uint8], seen: Histogram, recipe: Recipe) -> npt.NDArray[np.uint8]:
    return palette[_frequent(palette, seen, recipe.merge_rare)]


def _frequent(palette: npt.NDArray[np.uint8], seen: Histogram, share: float) -> Entries:
    """The entries that cover at least `share` of the pixels; those that cover less have joined them."""
    if share <= 0 or len(seen.rgb) == 0:
        return np.arange(len(palette))
    counts = np.bincount(nearest(palette, seen.rgb), seen.counts, len(palette)).astype(np.int64)
    return np.unique(merge_rare(palette, counts, share))


def _mapped(rgba: Rgba, palette: npt.NDArray[np.uint8], used: Entries, recipe: Recipe) -> Indices:
    """Each pixel's entry, out of those that are used."""
    indices = remap(rgba, palette[used], recipe.dither, recipe.dither_strength)
    return np.where(rgba[..., 3] > 0, used[indices], CLEAR).astype(np.int32)


def _outline_entry(colors: npt.NDArray[np.uint8], recipe: Recipe, notes: list[str]) -> int | None:
    """The outline's colour itself, else what is nearest to it; the darkest one where none is asked for."""
    if recipe.outline is Outline.NONE or len(colors) == 0:
        return None
    if recipe.outline_color is None:
        return int(to_oklab(colors)[:, 0].argmin())
    wanted = np.array(recipe.outline_color, np.uint8)
    same = (colors == wanted).all(axis=1)
    if same.any():
        return int(same.argmax())
    entry = int(nearest(colors, wanted[None])[0])
    notes.append(
        f"the outline is {as_hex(tuple(colors[entry]))}: the palette has no {as_hex(recipe.outline_color)}"
    )
    return entry


def as_hex(color: Sequence[int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*(int(one) for one in color))
