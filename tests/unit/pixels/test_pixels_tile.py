# SPDX-License-Identifier: Apache-2.0
"""Tiles made of a sprite's own pixels."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from inglenook.pixels.proof import seams, weighted
from inglenook.pixels.regions import CLEAR, Indices
from inglenook.pixels.tile import TILES, tiled

PALETTE = np.array([[20 * n, 255 - 9 * n, 40 + 7 * n, 255] for n in range(12)], np.uint8)
TABLE = np.concatenate([np.zeros((1, 4), np.uint8), PALETTE])
VECTORS = weighted(TABLE)

sprites = hnp.arrays(
    np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(-1, 11)
)


def across(indices: Indices) -> float:
    found = seams(TABLE[indices + 1])[0]
    return 0.0 if found is None else found


def tile(indices: Indices, *, closed: bool = False) -> Indices:
    return tiled([indices], VECTORS, closed=closed)[0]


def slope(width: int, height: int) -> Indices:
    """Dark at the left, light at the right, in uneven bands: its ends do not fit at all."""
    rng = np.random.default_rng(5)
    noise = rng.integers(-1, 2, (height, width))
    return np.clip(np.arange(width) * 12 // width + noise, 0, 11).astype(np.int32)


def test_the_ends_of_a_slope_are_made_to_fit() -> None:
    before = slope(32, 24)
    after = tile(before)
    assert across(before) > 3
    assert across(after) <= TILES
    assert after.shape == before.shape


def test_the_middle_of_the_sprite_stays_where_it_was() -> None:
    before = slope(32, 24)
    after = tile(before)
    assert (after[:, 13:19] == before[:, 13:19]).all()


def test_what_tiles_already_is_left_alone() -> None:
    stripes = np.tile(np.array([0, 1, 2, 1], np.int32), (6, 4))
    assert (tile(stripes) == stripes).all()


def test_all_frames_are_cut_alike() -> None:
    one = slope(24, 10)
    moved = np.where(one == 3, 4, one).astype(np.int32)
    found = tiled([one, moved], VECTORS, closed=False)
    same = one == moved
    assert (found[0] == found[1])[:, 10:14][same[:, 10:14]].all()
    assert (np.where(found[0] == 3, 4, found[0]) == found[1]).all()


@settings(max_examples=40, deadline=None)
@given(sprites, st.booleans())
def test_the_seam_never_gets_sharper_and_no_colour_comes_up(indices: Indices, closed: bool) -> None:
    found = tile(indices, closed=closed)
    assert found.shape == indices.shape
    assert across(found) <= across(indices) + 1e-6
    assert set(np.unique(found)) <= set(np.unique(indices)) | {CLEAR}


def test_both_axes_one_after_the_other() -> None:
    rng = np.random.default_rng(3)
    down, right = np.mgrid[:40, :40]
    before = np.clip((down + right) * 12 // 80 + rng.integers(-1, 2, (40, 40)), 0, 11).astype(np.int32)
    found = tile(tile(before, closed=True).T, closed=True).T
    assert across(found) < across(before)
    assert across(found.T) < across(before.T)
    assert max(across(found), across(found.T)) <= TILES
