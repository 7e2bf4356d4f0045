# SPDX-License-Identifier: Apache-2.0
"""Measures on pictures, in numpy. A picture is float32 (H, W, 3) in [0, 1].

Retrieval asks: of all clean drawings of all nouns, is the nearest one a drawing of the noun that was asked
for? Both are first cut out of their background, cropped and scaled to one size, so that place, size and
background do not count. It is a coarse measure: it says "the right outline and colours", not "a good
picture". Look at the sheets as well.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from training.starter.pictures import Array, colour_word, rgb_to_hsv

CELLS = 16  # side of the grid on which outlines are compared


@dataclass(frozen=True)
class Features:
    """outline (N, CELLS * CELLS) coverage in [0, 1]; colours (N, 64) histogram, sums to 1 or 0."""

    outline: Array
    colours: Array

    def __len__(self) -> int:
        return len(self.outline)


def border_colour(picture: Array) -> Array:
    """The median colour of the outermost pixels, (3,): the background, mostly."""
    edge = np.concatenate([picture[0], picture[-1], picture[1:-1, 0], picture[1:-1, -1]])
    median: Array = np.median(edge, axis=0).astype(np.float32)
    return median


def foreground(picture: Array, threshold: float = 0.12) -> np.ndarray:
    """bool (H, W): pixels that differ from the background in any channel."""
    distinct: np.ndarray = np.abs(picture - border_colour(picture)).max(-1) > threshold
    return distinct


def features(pictures: list[Array]) -> Features:
    """Outline and colours of each picture's object."""
    outlines = np.zeros((len(pictures), CELLS * CELLS), np.float32)
    colours = np.zeros((len(pictures), 64), np.float32)
    for k, picture in enumerate(pictures):
        mask = foreground(picture)
        if not mask.any():
            continue
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        side = max(box.shape)
        square = np.zeros((side, side), np.uint8)  # padded, so that a tall thing stays tall
        top, left = (side - box.shape[0]) // 2, (side - box.shape[1]) // 2
        square[top : top + box.shape[0], left : left + box.shape[1]] = box * 255
        small = Image.fromarray(square).resize((CELLS, CELLS), Image.Resampling.BOX)
        outlines[k] = np.asarray(small, np.float32).ravel() / 255
        levels = np.clip(picture[mask] * 3.999, 0, 3).astype(np.int64)
        bins = levels[:, 0] * 16 + levels[:, 1] * 4 + levels[:, 2]
        colours[k] = np.bincount(bins, minlength=64) / len(bins)
    return Features(outlines, colours)


def outline_overlap(a: Features, b: Features) -> Array:
    """Intersection over union of coverages: (len(a), len(b)) in [0, 1]; 0 where both are empty."""
    result = np.zeros((len(a), len(b)), np.float32)
    for k, row in enumerate(
        a.outline
    ):  # row by row: the whole (A, B, cells) array would not fit in the cache
        union = np.maximum(row, b.outline).sum(1)
        result[k] = np.minimum(row, b.outline).sum(1) / np.maximum(union, 1e-6)
    return result


def colour_overlap(a: Features, b: Features) -> Array:
    """Histogram intersection: (len(a), len(b)) in [0, 1]."""
    return np.stack([np.minimum(row, b.colours).sum(1) for row in a.colours])


def ranks(similarity: Array, owner: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The place of the wanted noun among all nouns, 0 best, judging each noun by its most similar drawing.

    similarity (N, M); owner (M,) noun of each drawing; wanted (N,) noun asked for. Ties count in its favour.
    """
    count = int(owner.max()) + 1
    best = np.full((len(similarity), count), -np.inf, np.float32)
    for noun in range(count):
        if (owner == noun).any():
            best[:, noun] = similarity[:, owner == noun].max(1)
    own = best[np.arange(len(best)), wanted]
    place: np.ndarray = (best > own[:, None]).sum(1)
    return place


def top(place: np.ndarray, k: int) -> float:
    """The share of ranks below k."""
    return float((place < k).mean())


def rmse(a: Array, b: Array) -> float:
    """Root mean square difference, in steps of 1/255."""
    return float(np.sqrt(((a - b) ** 2).mean()) * 255)


def nearest_rmse(picture: Array, bank: Array, reach_px: int = 2) -> float:
    """The RMSE (of 255) to the nearest picture of bank (M, H, W, 3), shifts of up to reach_px allowed."""
    flat = bank.reshape(len(bank), -1)
    squares = (flat**2).sum(1)
    padded = np.pad(picture, ((reach_px, reach_px), (reach_px, reach_px), (0, 0)), mode="edge")
    height, width = picture.shape[:2]
    best = np.inf
    for dy in range(2 * reach_px + 1):
        for dx in range(2 * reach_px + 1):
            shifted = padded[dy : dy + height, dx : dx + width].ravel()
            distance = squares - 2 * flat @ shifted + (shifted**2).sum()
            best = min(best, float(distance.min()))
    return float(np.sqrt(max(best, 0.0) / flat.shape[1]) * 255)


def background_word(picture: Array) -> str:
    """The colour word of the background."""
    return colour_word(*rgb_to_hsv(border_colour(picture)).tolist())
